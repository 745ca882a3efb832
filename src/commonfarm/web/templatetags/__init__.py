"""Template tags that every room's pages load by name."""
