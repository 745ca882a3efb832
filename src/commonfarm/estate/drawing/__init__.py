"""Pictures of an estate, as SVG that needs nothing from elsewhere."""
