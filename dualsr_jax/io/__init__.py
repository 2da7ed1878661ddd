"""Reading of cube files."""
