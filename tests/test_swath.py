"""Latitude and longitude of every pixel, and the names that variables keep."""

import dataclasses

import numpy as np
import pytest
import rasterio
import xarray
import zarr
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.cubes import TYPES, assert_same, everything, random_cube, write

from dualsr_jax.io.cubes import FORMATS, open_cube
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.io.notes import forget_notes
from dualsr_jax.io.swath import finer_angles

CUBE = random_cube((6, 5, 7), "int16")
ANGLES = {
    "latitude": 40 + np.arange(30.0).reshape(6, 5) / 7,
    "longitude": -120 + np.arange(30.0).reshape(6, 5) ** 2 / 9,
}


@pytest.fixture(autouse=True)
def _notes_anew():
    forget_notes()


@pytest.mark.parametrize("suffix", [".nc", ".h5", ".zarr"])
def test_angles_are_written_and_read(tmp_path, suffix):
    metadata = dataclasses.replace(everything(7), **ANGLES)
    metadata.latitude[0, 0] = np.nan
    write(tmp_path / f"a{suffix}", CUBE, metadata)
    with open_cube(tmp_path / f"a{suffix}") as reader:
        assert_same(reader.metadata, metadata)
    if suffix == ".nc":
        with xarray.open_dataset(tmp_path / "a.nc") as opened:
            assert opened["cube"].latitude.attrs["units"] == "degrees_north"
            assert opened["cube"].longitude.dims == ("y", "x")


@pytest.mark.parametrize("suffix", sorted(set(TYPES) - {".nc", ".h5", ".zarr"}))
def test_formats_without_angles_say_that_they_are_left_out(tmp_path, suffix, capsys):
    for name in ("a", "b"):
        write(tmp_path / f"{name}{suffix}", CUBE.astype("uint16"), Metadata(**ANGLES))
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert f"a{suffix} does not hold latitude and longitude of every pixel" in said
    with open_cube(tmp_path / f"a{suffix}") as reader:
        assert reader.metadata.latitude is None
    assert not FORMATS[suffix].holds_angles


def test_angles_of_another_shape(tmp_path):
    with pytest.raises(
        ValueError, match=r"longitude is of shape \(5, 6\), the cube has 6 rows of 5"
    ):
        write(tmp_path / "a.nc", CUBE, Metadata(**{**ANGLES, "longitude": np.zeros((5, 6))}))


@settings(max_examples=30, derandomize=True, deadline=None)
@example(corner=179.95, steps=(0.0, 0.1), shape=(2, 5), factor=2)
@example(corner=-179.95, steps=(-0.1, 0.0), shape=(5, 2), factor=4)
@given(
    corner=st.floats(-180, 180),
    steps=st.tuples(st.floats(-0.1, 0.1), st.floats(-0.1, 0.1)),
    shape=st.tuples(st.integers(2, 6), st.integers(2, 6)),
    factor=st.sampled_from([2, 3, 4]),
)
def test_finer_angles_of_a_plane_are_exact(corner, steps, shape, factor):
    """Also where it crosses the meridian of 180 degrees; pixel centres, not corners."""

    def plane(rows, columns):
        turned = corner + steps[0] * rows[:, None] + steps[1] * columns
        return (turned + 180) % 360 - 180

    coarse = plane(*(np.arange(float(n)) for n in shape))
    fine = plane(*((np.arange(n * factor) + 0.5) / factor - 0.5 for n in shape))
    found = finer_angles(coarse, factor)
    assert found.shape == fine.shape
    distance = np.abs(found - fine)
    assert np.minimum(distance, 360 - distance).max() < 1e-9
    assert np.abs(found).max() <= 180.2  # half a pixel beyond the last centre


def test_finer_angles_next_to_nan_are_nan():
    coarse = np.ones((4, 4))
    coarse[0, 0] = np.nan
    found = finer_angles(coarse, 2)
    assert np.isnan(found[:3, :3]).all()
    assert (found[3:, :] == 1).all()
    larger = Metadata(latitude=coarse, longitude=coarse, transform=None).enlarged(2)
    np.testing.assert_array_equal(larger.latitude, found)


@pytest.mark.parametrize("name", ["reflectance", "x", "../a", "wavelength", "é"])
@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_the_variable_keeps_its_name_if_it_is_plain(tmp_path, name, suffix):
    write(tmp_path / f"a{suffix}", CUBE, dataclasses.replace(everything(7), variable=name))
    with open_cube(tmp_path / f"a{suffix}") as reader:
        np.testing.assert_array_equal(reader.read(slice(None), slice(None)), CUBE)
        assert reader.metadata.variable == (name if name == "reflectance" else None)
    assert [p.name for p in tmp_path.iterdir()] == [f"a{suffix}"]


def test_coordinates_of_the_root_belong_to_groups(tmp_path):
    """As in the orthorectified files of AVIRIS-3."""
    root = xarray.Dataset(
        coords={"northing": 5e6 - 4.0 * np.arange(6), "easting": 4e5 + 4.0 * np.arange(5)}
    )
    crs = rasterio.crs.CRS.from_epsg(32611).to_wkt()
    root["transverse_mercator"] = ((), "", {"spatial_ref": crs, "crs_wkt": crs})
    group = xarray.Dataset(
        {"reflectance": (("wavelength", "northing", "easting"), CUBE.transpose(2, 0, 1))},
        coords={"wavelength": ("wavelength", 400.0 + np.arange(7), {"units": "nm"})},
    )
    group["reflectance"].attrs["grid_mapping"] = "transverse_mercator"
    group["fwhm"] = ("wavelength", np.full(7, 5.0))
    root.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    group.to_netcdf(tmp_path / "a.nc", engine="h5netcdf", group="reflectance", mode="a")
    with open_cube(tmp_path / "a.nc") as reader:
        np.testing.assert_array_equal(reader.read(slice(None), slice(None)), CUBE)
        assert reader.metadata.transform == (4.0, 0.0, 4e5 - 2, 0.0, -4.0, 5e6 + 2)
        assert rasterio.crs.CRS.from_wkt(reader.metadata.crs).to_epsg() == 32611
        assert reader.metadata.wavelengths.tolist() == list(range(400, 407))
        assert reader.metadata.fwhm.tolist() == [5.0] * 7
        assert reader.metadata.variable == "reflectance"


def test_a_fill_value_of_zero_in_a_zarr_store_is_reported(tmp_path, capsys):
    for version, noted in ((2, True), (3, False)):
        path = tmp_path / f"{version}.zarr"
        group = zarr.open_group(path, mode="w", zarr_format=version)
        names = (
            {"attributes": {"_ARRAY_DIMENSIONS": ["y", "x", "band"]}}
            if version == 2
            else {"dimension_names": ["y", "x", "band"]}
        )
        array = group.create_array("cube", shape=CUBE.shape, dtype="i2", fill_value=0, **names)
        array[:] = CUBE
        with open_cube(path) as reader:
            assert reader.metadata.nodata == (0 if noted else None)
        said = capsys.readouterr().out
        assert ("pixels of value 0 count as pixels without data" in said) == noted
    write(tmp_path / "c.zarr", CUBE)  # no value for no data
    open_cube(tmp_path / "c.zarr").close()
    assert capsys.readouterr().out == ""
