import jax
import numpy as np
import pytest
from support.scenes import small_networks, smooth

from dualsr_jax.io.cubes import create_cube
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.large_scene.in_memory import upscale_array

xarray = pytest.importorskip("xarray")


@pytest.fixture(scope="module")
def networks():
    return small_networks(2)


def test_floats_are_what_the_networks_give(rng, networks):
    cube = smooth(rng, 21, 18, 6)
    np.testing.assert_allclose(networks.upscale(cube), networks(cube).fine, atol=1e-5)
    doubled = networks.upscale(8 * cube.astype(np.float64), peak=8.0)
    assert doubled.dtype == np.float64
    np.testing.assert_allclose(doubled / 8, networks(cube).fine, atol=1e-5)


def test_a_second_cube_of_the_same_shape_is_not_compiled_again(rng, networks):
    networks.upscale(smooth(rng, 21, 18, 6))
    compiled = []

    def note(event, seconds, **_):
        compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    networks.upscale(smooth(rng, 21, 18, 6))
    jax.monitoring.unregister_event_duration_listener(note)
    assert not [event for event in compiled if "backend_compile" in event]


def test_labelled_arrays_come_back_as_they_were(rng, networks):
    cube = smooth(rng, 21, 18, 6, np.int16, 5000.0)
    cube[2:5, 7] = -1
    y, x = 5e6 - 30.0 * (np.arange(21) + 0.5), 4e5 + 30.0 * (np.arange(18) + 0.5)
    labelled = xarray.DataArray(
        cube.transpose(2, 0, 1),
        dims=("band", "y", "x"),
        coords={
            "band": np.arange(1, 7),
            "wavelength": ("band", np.linspace(400, 900, 6)),
            "y": ("y", y, {"units": "m"}),
            "x": x,
            "east": (("y", "x"), x + 0.5 * y[:, None]),
            "row_name": ("y", [f"r{k}" for k in range(21)]),
            "spatial_ref": ((), 0, {"GeoTransform": "400000.0 30.0 0.0 5000000.0 0.0 -30.0"}),
        },
        attrs={"_FillValue": -1, "long_name": "reflectance"},
        name="scene",
    )
    found = networks.upscale(labelled)
    np.testing.assert_array_equal(
        found.values.transpose(1, 2, 0), networks.upscale(cube, nodata=-1)
    )
    assert (found.dims, found.name, found.dtype) == (labelled.dims, "scene", np.int16)
    assert found.attrs == labelled.attrs
    fine_y = 5e6 - 15.0 * (np.arange(42) + 0.5)
    fine_x = 4e5 + 15.0 * (np.arange(36) + 0.5)
    np.testing.assert_allclose(found.y, fine_y, rtol=1e-12)
    np.testing.assert_allclose(found.x, fine_x, rtol=1e-12)
    np.testing.assert_allclose(found.east, fine_x + 0.5 * fine_y[:, None], rtol=1e-12)
    assert found.y.attrs == {"units": "m"}
    assert list(found.row_name.values[:4]) == ["r0", "r0", "r1", "r1"]
    np.testing.assert_array_equal(found.wavelength, labelled.wavelength)
    assert found.spatial_ref.attrs["GeoTransform"] == "400000.0 15.0 0.0 5000000.0 0.0 -15.0"
    other = networks.upscale(labelled.transpose("x", "band", "y"))
    xarray.testing.assert_identical(other.transpose("band", "y", "x"), found)


def test_a_file_and_its_array_agree(tmp_path, rng, networks):
    path, cube = tmp_path / "a.nc", smooth(rng, 21, 18, 7, np.int16, 5000.0)
    cube[2:5, 7] = -1
    metadata = Metadata(
        nodata=-1.0,
        bad_bands=np.arange(7) == 2,
        scale=np.linspace(1e-4, 2e-4, 7),
        reflectance_scale=6000.0,
    )
    with create_cube(path, cube.shape, cube.dtype, metadata) as writer:
        writer.write(cube, 0, 0)
    with xarray.open_dataset(path, mask_and_scale=False) as opened:
        found = networks.upscale(opened["cube"])
    expected = upscale_array(networks.coarse_stage, cube, metadata)
    np.testing.assert_array_equal(found.values.transpose(1, 2, 0), expected)
    with xarray.open_dataset(path) as opened:  # floats, NaN where masked
        found = networks.upscale(opened["cube"])
    floats = np.where(cube == -1, np.nan, cube).astype(found.dtype)
    expected = upscale_array(networks.coarse_stage, floats, Metadata(bad_bands=metadata.bad_bands))
    np.testing.assert_array_equal(found.values.transpose(1, 2, 0), expected)


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
def test_rioxarray_agrees(rng, networks):
    rioxarray = pytest.importorskip("rioxarray")
    assert rioxarray
    labelled = xarray.DataArray(smooth(rng, 21, 18, 6), dims=("y", "x", "band"))
    labelled = labelled.rio.write_crs("EPSG:32633").rio.write_nodata(-7.0)
    transform = (10.0, 0.0, 5e5, 0.0, -10.0, 4e6)
    affine = type(labelled.rio.transform())(*transform)
    labelled = labelled.rio.write_transform(affine)
    found = networks.upscale(labelled)
    assert tuple(found.rio.transform())[:6] == (5.0, 0.0, 5e5, 0.0, -5.0, 4e6)
    assert found.rio.crs == labelled.rio.crs
    assert found.rio.nodata == -7.0


def test_jax_arrays_come_back_as_such(rng, networks):
    cube = smooth(rng, 21, 18, 6)
    for device in jax.devices():
        found = networks.upscale(jax.device_put(cube, device))
        assert isinstance(found, jax.Array)
        assert found.devices() == {device}
        np.testing.assert_array_equal(found, networks.upscale(cube))
    with pytest.raises(ValueError, match=r"call it outside of jax\.jit"):
        jax.jit(networks.upscale)(cube)


def test_what_dask_has_not_computed_stays_so(rng, networks):
    dask_array = pytest.importorskip("dask.array")
    read = []

    def block(block_info=None):
        read.append(1)
        rows, bands, columns = (slice(*ends) for ends in block_info[None]["array-location"])
        return stored[rows, bands, columns]

    cube = smooth(rng, 21, 18, 6, np.int16, 5000.0)
    cube[2:5, 7] = -1
    stored = cube.transpose(0, 2, 1)
    chunks = (10, 11), (4, 2), (18,)
    waiting = dask_array.map_blocks(block, chunks=chunks, dtype=np.int16, meta=np.empty((0, 0, 0)))
    labelled = xarray.DataArray(
        waiting, dims=("y", "band", "x"), attrs={"_FillValue": -1, "units": "1"}, name="scene"
    )
    expected = networks.upscale(cube, nodata=-1, consistent=1)
    found = networks.upscale(labelled, consistent=1)
    bare = networks.upscale(waiting, axes="y,band,x", nodata=-1, dtype=np.float32)
    assert not read
    assert (found.shape, found.dtype, found.name) == ((42, 6, 36), np.int16, "scene")
    assert found.chunks == ((42,), (6,), (36,))
    assert found.attrs == labelled.attrs
    np.testing.assert_array_equal(found.compute().transpose("y", "x", "band"), expected)
    assert len(read) == 4
    assert (bare.shape, bare.dtype) == ((42, 6, 36), np.float32)
    np.testing.assert_array_equal(
        np.asarray(bare), networks.upscale(stored, axes="y,band,x", nodata=-1, dtype=np.float32)
    )
    with pytest.raises(ValueError, match="got an array of shape"):
        networks.upscale(waiting[0])


def test_a_dataset_is_refused(rng, networks):
    cubes = {name: (("y", "x", "band"), smooth(rng, 12, 11, 6)) for name in ("low", "high")}
    dataset = xarray.Dataset({**cubes, "mask": (("y", "x"), np.zeros((12, 11)))})
    with pytest.raises(ValueError, match=r"dataset\[name\], with name 'low' or 'high'$"):
        networks.upscale(dataset)
    with pytest.raises(ValueError, match="name of a variable with three dimensions"):
        networks.upscale(dataset[["mask"]])


def test_bad_input(rng, networks):
    cube = smooth(rng, 12, 11, 6)
    for wrong, message in (
        (cube[0], r"a cube \[H, W, L\] is expected, got an array of shape \(11, 6\)"),
        (cube.astype(complex), "values of type complex128 are not intensities"),
        (cube[..., :4], "the cube has 4 bands, at least 5 are needed"),
        ([1], "a NumPy array or an xarray.DataArray is expected, got list"),
        (xarray.DataArray(cube, dims=("a", "x", "b")), "expected three, one of them named 'y'"),
        (np.ma.masked_less(cube, 0.1), r"got a masked one: call upscale\(cube.filled\(x\), nodata"),
        (-cube, "no value is positive .*: set the peak"),
    ):
        with pytest.raises(ValueError, match=message):
            networks.upscale(wrong)
    with pytest.raises(ValueError, match="got a masked one"):
        networks(np.ma.masked_less(cube, 0.1))
    cube[..., :2] = np.nan
    with pytest.raises(ValueError, match=r"4 of 6 bands are usable, .*: band 1 empty, 2 empty"):
        networks.upscale(cube)
    cube[..., :2] = 0.5
    with pytest.raises(ValueError, match=r"4 of 6 bands .* band 1 constant, 2 constant"):
        networks.upscale(cube)
    with pytest.raises(ValueError, match="peak must be a positive number, got 0"):
        networks.upscale(smooth(rng, 12, 11, 6), peak=0.0)
