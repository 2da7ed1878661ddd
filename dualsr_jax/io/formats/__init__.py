"""One file per format: `open_...(path, key)` returns a `CubeReader`, `create_...` gives a writer.

Contract: opening raises what `cubes.open_cube` says. Writers come from context managers that raise
ValueError if the format cannot hold the data type or the metadata.
"""
