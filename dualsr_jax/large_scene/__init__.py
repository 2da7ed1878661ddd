"""Super-resolution of a scene of any size, tile by tile."""
