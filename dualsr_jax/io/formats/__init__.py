"""One file per format: how cubes are read and written.

Contract: every `open_...(path, key)` returns a `CubeReader` and raises what `cubes.open_cube` says;
formats that hold one cube have no use for `key`. Every `create_...` is a context manager that gives
a `CubeWriter`; it raises ValueError if the format cannot hold the data type or the metadata.
"""
