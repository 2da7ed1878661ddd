"""The order of axes: named by the user, assumed and said, and of flattened pixels."""

import logging

import h5py
import numpy as np
import pytest
import scipy.io
import xarray
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.cubes import write
from support.scenes import small_networks, smooth

from dualsr_jax.io.axes import parse_axes
from dualsr_jax.io.cubes import open_cube, read_cube
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.io.notes import forget_notes
from dualsr_jax.io.variables import rows_columns_bands

NAMES = ("y", "x", "band")
ARRAYS = (".npy", "fortran.npy", ".npz", ".h5", ".mat", "7.mat", ".zarr", ".nc")


@pytest.fixture(autouse=True)
def _notes_anew():
    forget_notes()


def save(path, array, **variables):
    """Writes an array as others do; a `.mat` file so that MATLAB shows the same shape."""
    variables = {"cube": array, **variables}
    if path.suffix == ".npy":
        np.save(path, np.asfortranarray(array) if "fortran" in path.name else array)
    elif path.suffix == ".npz":
        np.savez(path, **variables)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file.update(variables)
    elif path.name.endswith("7.mat"):
        with h5py.File(path, "w", userblock_size=512) as file:
            file.update({name: np.transpose(value) for name, value in variables.items()})
    elif path.suffix == ".mat":
        scipy.io.savemat(path, variables)
    elif path.suffix == ".zarr":
        zarr.save_array(path, array)
    else:
        dims = [f"n{k}" for k in range(array.ndim)]
        xarray.Dataset({"cube": (dims, array)}).to_netcdf(path, engine="h5netcdf")
    return path


@settings(
    max_examples=24,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_named_axes_in_any_order(tmp_path, data):
    """What comes back is the cube, whatever the order in which it is stored."""
    shape = data.draw(st.tuples(*[st.integers(1, 7)] * 3))
    cube = np.random.default_rng(0).integers(0, 99, shape, np.int16)
    order = data.draw(st.permutations(range(3)))
    name = data.draw(st.sampled_from(ARRAYS))
    path = save(tmp_path / f"{data.draw(st.uuids())}{name}", cube.transpose(order))
    axes = [NAMES[k] for k in order]
    text = data.draw(st.sampled_from([axes, ",".join(axes), ", ".join(axes).upper()]))
    np.testing.assert_array_equal(read_cube(path, axes=text), cube)
    bands = data.draw(st.lists(st.integers(0, shape[2] - 1), min_size=1, max_size=3))
    with open_cube(path, axes=text) as reader:
        found = reader.read(slice(0, 1), slice(None), bands)
    np.testing.assert_array_equal(found, cube[:1][..., bands])


@settings(
    max_examples=24,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_flattened_cubes(tmp_path, data):
    """`Y` of bands x pixels with `nRow`, `nCol`, counted by columns, as MATLAB's reshape does."""
    rows, columns, bands = (data.draw(st.integers(2, 6)) for _ in range(3))
    cube = np.random.default_rng(0).integers(0, 99, (rows, columns, bands), np.int16)
    by_columns = cube.transpose(2, 1, 0).reshape(bands, -1)
    pixels_last = data.draw(st.booleans())
    array = by_columns if pixels_last else by_columns.T
    name = data.draw(st.sampled_from([".npz", ".h5", ".mat", "7.mat"]))
    path = tmp_path / f"{data.draw(st.uuids())}{name}"
    given_sides = data.draw(st.booleans()) or bands == rows * columns
    if given_sides:
        save(path, array)
        sides = [f"y={rows}", f"x={columns}"][:: 1 if path.suffix == ".mat" else -1]
        axes = ["band", *sides] if pixels_last else [*sides, "band"]
        assert not any(f"={bands * n}" in axes for n in (rows, columns))
        found = read_cube(path, axes=",".join(axes))
    else:
        save(path, array, nRow=[[float(rows)]], nCol=[[columns]], maxValue=[[7]])
        found = read_cube(path)
    np.testing.assert_array_equal(found, cube)


def test_flattened_npy_and_zarr(tmp_path):
    cube = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    for name in (".npy", "fortran.npy", ".zarr"):
        path = save(tmp_path / f"a{name}", cube.reshape(6, 4))
        np.testing.assert_array_equal(read_cube(path, axes="y=2,x=3,band"), cube)
        with pytest.raises(ValueError, match=r"--axes=y=ROWS,x=COLUMNS,band"):
            open_cube(path)
    with pytest.raises(ValueError, match="is flattened, which is not read in NetCDF"):
        open_cube(save(tmp_path / "a.nc", cube.reshape(6, 4)), axes="y=2,x=3,band")


def test_a_flattened_cube_next_to_another_array_is_named(tmp_path, capsys):
    """Abundances `[H, W, materials]` next to the cube that they are of."""
    cube = np.arange(84, dtype=np.int16).reshape(3, 4, 7)
    flat = cube.transpose(2, 1, 0).reshape(7, 12)
    other = np.zeros((3, 4, 5))
    for name in (".npz", ".h5", ".mat", "7.mat"):
        path = save(tmp_path / f"a{name}", other, Y=flat, nRow=[[3]], nCol=[[4]])
        assert read_cube(path).shape == (3, 4, 5)
        np.testing.assert_array_equal(read_cube(path, "Y"), cube)
        said = f"note: {path}: Y (7, 12) is read as 3 rows of 4 pixels, counted by columns as in"
        assert said in capsys.readouterr().out
        sides = "band,y=3,x=4" if path.suffix == ".mat" else "band,x=4,y=3"
        np.testing.assert_array_equal(read_cube(path, "Y", axes=sides), cube)
        save(path, other, Y=flat)
        with pytest.raises(ValueError, match=r"if Y is a flattened cube, say the sides"):
            open_cube(path, "Y")


def test_named_axes_count_more_than_names_in_the_file(tmp_path):
    cube = np.arange(84, dtype=np.int16).reshape(3, 4, 7)
    xarray.Dataset({"cube": (("x", "y", "band"), cube)}).to_netcdf(tmp_path / "a.nc")
    np.testing.assert_array_equal(read_cube(tmp_path / "a.nc"), cube.transpose(1, 0, 2))
    np.testing.assert_array_equal(read_cube(tmp_path / "a.nc", axes="y,x,band"), cube)


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        ("y", "x"), ("lat", "lon"), ("latitude", "longitude"), ("row", "column"), ("rows", "cols"),
        ("line", "sample"), ("lines", "samples"), ("downtrack", "crosstrack"),
        ("northing", "easting"), ("scan", "pixel"),
    ],
)  # fmt: skip
def test_dimensions_that_say_their_order(rows, columns):
    """As in files of CF, of EMIT and of AVIRIS-3."""
    assert rows_columns_bands((columns, "bands", rows.upper())) == (2, 0, 1)
    assert rows_columns_bands(("bands", columns, "other")) is None


def test_metadata_follows_the_axes(tmp_path):
    save(tmp_path / "a.npz", np.zeros((6, 3, 4)), wl=np.arange(1.0, 7), rgb=np.zeros((3, 3, 4)))
    with open_cube(tmp_path / "a.npz", axes="band,y,x") as reader:
        assert reader.shape == (3, 4, 6)
        np.testing.assert_allclose(reader.metadata.wavelengths, np.arange(1.0, 7) * 1e3)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ("y,x", r"axes 'y,x' are not those of a cube: expected three names"),
        ("y,x,x", "are not those of a cube"),
        ("y,x,bnad", "are not those of a cube"),
        ("", "are not those of a cube"),
        (["y", "x"], "are not those of a cube"),
        ("band,y=0,x=3", "give y the length '0': expected a positive number"),
        ("band,y=-2,x=3", "give y the length '-2'"),
        ("band,y=,x=3", "give y the length ''"),
        ("y=3,x=5,band", r"do not fit what it holds, cube \(3, 4, 7\): expected three axes"),
        ("y,x,band=5", "do not fit what it holds"),
    ],
)
def test_axes_that_do_not_fit(tmp_path, axes, message):
    path = save(tmp_path / "a.npz", np.zeros((3, 4, 7)))
    with pytest.raises(ValueError, match=message):
        open_cube(path, axes=axes)


def test_axes_of_files_that_say_their_order(tmp_path):
    write(tmp_path / "a.hdr", np.zeros((3, 4, 7), np.int16))
    with pytest.raises(ValueError, match="says itself which axes are rows, columns and bands"):
        open_cube(tmp_path / "a.hdr", axes="y,x,band")


def test_flattened_cubes_whose_sides_are_unknown(tmp_path):
    expected = r"if Y is a flattened cube, say the sides of its image: --axes=band,y=ROWS,x=COLUMN"
    for name in (".npz", ".h5", ".mat", "7.mat"):
        for sides in ({}, {"nRow": [[3]]}, {"nRow": [[3]], "nCol": [[5]]}):
            path = save(tmp_path / f"a{name}", np.zeros((1, 1)), Y=np.zeros((7, 12)), **sides)
            with pytest.raises(ValueError, match=expected):
                open_cube(path)
            with pytest.raises(ValueError, match="do not fit what it holds"):
                open_cube(path, axes="band,y=5,x=3")
            assert open_cube(path, axes="band,y=4,x=3").shape == (4, 3, 7)


def test_what_is_assumed_of_a_doubtful_shape_is_said(tmp_path, capsys):
    path = save(tmp_path / "a.npy", np.zeros((5, 6, 9)))
    for _ in range(2):
        open_cube(path).close()
    said = capsys.readouterr().out
    assert said.count("\n") == 1  # once
    assert (
        f"note: {path} does not say the order of its axes (5, 6, 9); rows, columns, bands" in said
    )
    assert "--axes=band,y,x" in said
    doubtful = {".mat": (9, 5, 6), "7.mat": (9, 5, 7), ".h5": (9, 5, 8), ".nc": (5, 9, 6)}
    for name, shape in doubtful.items():
        open_cube(save(tmp_path / f"b{name}", np.zeros(shape))).close()
        assert f"of its axes {shape}; rows" in capsys.readouterr().out
    open_cube(save(tmp_path / "c.npy", np.zeros((5, 6, 5)))).close()
    open_cube(path, axes="y,x,band").close()
    write(tmp_path / "d.nc", np.zeros((5, 6, 9)))  # named dimensions
    spectral = Metadata(wavelengths=np.arange(400.0, 409))  # as many as bands
    write(tmp_path / "e.npz", np.zeros((5, 6, 9)), spectral)
    write(tmp_path / "f.npy", np.zeros((5, 6, 8)), Metadata(tags={"dualsr_scale": "2"}))  # a result
    for name in ("d.nc", "e.npz", "f.npy"):
        open_cube(tmp_path / name).close()
    assert capsys.readouterr().out == ""


def test_arrays_in_memory(rng, caplog):
    caplog.set_level(logging.INFO, "dualsr_jax")
    networks = small_networks(2)
    cube = smooth(rng, 12, 10, 6)
    expected = networks.upscale(cube)
    assert "the axes" not in caplog.text
    networks.upscale(cube.reshape(24, 5, 6))
    assert "the axes (24, 5, 6) count as rows, columns, bands: if" in caplog.text
    caplog.clear()
    found = networks.upscale(np.ascontiguousarray(cube.transpose(2, 1, 0)), axes="band,x,y")
    np.testing.assert_array_equal(found, expected.transpose(2, 1, 0))
    found = networks.upscale(cube.reshape(-1, 6), axes=("y=12", "x=10", "band"))
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(
        ValueError, match=r"'y,x=3,band' do not fit an array of shape \(12, 10, 6\)"
    ):
        networks.upscale(cube, axes="y,x=3,band")
    with pytest.raises(ValueError, match="axes are for NumPy arrays"):
        networks.upscale(xarray.DataArray(cube, dims=("y", "x", "band")), axes="y,x,band")
    assert "the axes" not in caplog.text
    assert parse_axes(None) is None
