"""One file per format: how cubes are read and written."""
