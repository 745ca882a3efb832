"""Estates out of what other tools know. Pure."""
