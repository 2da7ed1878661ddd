"""Pixels that a file declares as without data by other means than a no-data value."""

import h5py
import numpy as np
import pytest
import rasterio
import scipy.io
import zarr
from PIL import Image
from support.cubes import write

from dualsr_jax.io.cubes import open_cube, read_cube
from dualsr_jax.io.metadata import Metadata

CUBE = np.arange(1, 6 * 5 * 7 + 1).reshape(6, 5, 7)


def with_attributes(path, dtype, metadata=None, **attributes):
    """Writes the cube and gives it attributes; opens it."""
    write(path, CUBE.astype(dtype), metadata)
    if path.suffix == ".zarr":
        plain = {k: np.asarray(v).tolist() for k, v in attributes.items()}
        zarr.open_array(path / "cube", mode="a", zarr_format=2).attrs.update(plain)
        (path / ".zmetadata").unlink()
    else:
        with h5py.File(path, "a") as file:
            file["cube"].attrs.update(attributes)
    with open_cube(path) as reader:
        return reader.read(slice(None), slice(None)), reader.metadata


@pytest.mark.parametrize("suffix", [".nc", ".h5", ".zarr"])
@pytest.mark.parametrize(
    ("attributes", "dtype", "low", "high"),
    [
        ({"valid_range": np.array([20, 100], "i2")}, "int16", 20, 100),
        ({"valid_min": np.int16(20)}, "int16", 20, 210),
        ({"valid_max": np.uint8(100)}, "uint8", 1, 100),
        ({"valid_range": np.array([20, 100.5], "f4")}, "float32", 20, 100),
        # of unpacked values, which are stored / 2 + 1
        (
            {"valid_range": np.array([11.0, 51.0]), "scale_factor": 0.5, "add_offset": 1.0},
            "int16",
            20,
            100,
        ),
        # of stored values, as their type says
        ({"valid_max": np.int16(100), "scale_factor": 0.5}, "int16", 1, 100),
        ({"valid_max": np.nan, "valid_min": 20.0}, "float64", 20, 210),
    ],
)
def test_values_outside_of_the_valid_range(tmp_path, suffix, attributes, dtype, low, high):
    if suffix == ".zarr" and attributes.get("scale_factor") and "valid_max" in attributes:
        attributes = {**attributes, "valid_max": 100}
    found, metadata = with_attributes(tmp_path / f"a{suffix}", dtype, **attributes)
    valid = (low <= CUBE) & (high >= CUBE)
    assert valid.any()
    np.testing.assert_array_equal(found[valid], CUBE[valid])
    if found.dtype.kind == "f":
        assert np.isnan(found[~valid]).all()
        assert metadata.nodata is None
    else:
        assert (found[~valid] == metadata.nodata).all()
        assert not low <= metadata.nodata <= high
    with open_cube(tmp_path / f"a{suffix}") as reader:  # windows too
        window = reader.read(slice(1, 3), slice(2, 3), [6, 0])
    np.testing.assert_array_equal(window, found[1:3, 2:3][..., [6, 0]])


def test_the_no_data_value_stands_for_what_is_outside(tmp_path):
    found, metadata = with_attributes(
        tmp_path / "a.nc", "int16", Metadata(nodata=-1.0), valid_max=np.int16(9)
    )
    assert metadata.nodata == -1
    np.testing.assert_array_equal(found, np.where(CUBE > 9, -1, CUBE))


@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize("fill", [None, 7.0])
def test_all_values_that_are_missing_hold_no_data(tmp_path, dtype, fill):
    """CF has `_FillValue` and a `missing_value` of several numbers."""
    missing = np.array([9, 11, 300, 1e9], dtype if dtype == "float32" else "f8")
    found, metadata = with_attributes(
        tmp_path / "a.nc", dtype, Metadata(nodata=fill), missing_value=missing
    )
    invalid = np.isin(CUBE, [9, 11])
    expected = fill or (np.nan if dtype == "float32" else 9.0)
    np.testing.assert_array_equal(found, np.where(invalid, expected, CUBE).astype(dtype))
    if dtype == "int16" or fill is not None:
        assert metadata.nodata == (fill or 9)


@pytest.mark.parametrize(
    "attributes",
    [
        {"valid_range": np.array([-32768, 32767], "i2")},
        {"valid_range": np.array([5, 1], "i2")},
        {"valid_range": np.array([1, 2, 3], "i2")},
        {"valid_range": "1 to 5"},
        {"valid_min": np.array([1, 2], "i2")},
        {"valid_max": np.inf},
        {"valid_range": np.array([0.0, 1.0]), "scale_factor": 0.0},
        {"valid_range": np.array([0.0, 1.0]), "scale_factor": np.array([1.0, 2.0])},
        {"valid_min": True},
    ],
)
def test_ranges_that_exclude_nothing_are_ignored(tmp_path, attributes):
    found, metadata = with_attributes(tmp_path / "a.h5", "int16", **attributes)
    np.testing.assert_array_equal(found, CUBE)
    assert metadata.nodata is None


def test_the_range_of_unsigned_values_is_stored_as_signed(tmp_path):
    """NetCDF-3 has no unsigned types: 200 is stored as -56, the limit too."""
    path = tmp_path / "a.nc"
    values = CUBE[..., :6].astype("u1")
    with scipy.io.netcdf_file(path, "w") as file:
        for name, length in zip(("y", "x", "band"), values.shape, strict=True):
            file.createDimension(name, length)
        cube = file.createVariable("cube", "b", ("y", "x", "band"))
        cube[:] = values.view("i1")
        cube._Unsigned, cube.valid_range = b"true", np.array([5, -56], "i1")
    with open_cube(path) as reader:
        found, nodata = reader.read(slice(None), slice(None)), reader.metadata.nodata
    assert (found.dtype, nodata) == (np.uint8, 0)
    np.testing.assert_array_equal(found, np.where((values < 5) | (values > 200), 0, values))


def geotiff(path, bands=6, dtype="uint16", **profile):
    shape = {"height": 6, "width": 5, "count": bands, "dtype": dtype}
    with rasterio.open(
        path, "w", driver="GTiff", transform=(1, 0, 5, 0, -1, 5), **shape, **profile
    ) as file:
        file.write(np.moveaxis(CUBE[..., :bands], -1, 0).astype(dtype))
    return path


@pytest.mark.parametrize("inside", [True, False])
def test_geotiff_masks_are_refused_if_they_hide_pixels(tmp_path, inside):
    path = geotiff(tmp_path / "a.tif")
    for hidden in (0, 1):
        mask = np.full((6, 5), 255, "u1")
        mask[:hidden] = 0
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside), rasterio.open(path, "r+") as file:
            file.write_mask(mask)
        if inside and not hidden:
            np.testing.assert_array_equal(read_cube(path), CUBE[..., :6])
            continue
        with pytest.raises(ValueError, match=r"a\.tif: .*mask.* says which pixels hold no data"):
            read_cube(path)


def test_a_mask_next_to_a_geotiff_is_never_opened(tmp_path, monkeypatch):
    """GDAL would open it with any driver: here one that reads another file."""
    path, secret = geotiff(tmp_path / "a.tif"), geotiff(tmp_path / "b.tif", 1, "uint8")
    (tmp_path / "a.tif.msk").write_text(
        f'<VRTDataset rasterXSize="5" rasterYSize="6"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource><SourceFilename>{secret}</SourceFilename></SimpleSource></VRTRasterBand>"
        "</VRTDataset>"
    )
    with rasterio.open(path) as file:
        assert file.read_masks(1).any()  # GDAL does
    with pytest.raises(ValueError, match=r"the mask a\.tif\.msk next to it"):
        open_cube(path)


def test_an_alpha_band_is_not_a_band(tmp_path):
    path = geotiff(tmp_path / "a.tif")
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [*file.colorinterp[:-1], rasterio.enums.ColorInterp.alpha]
    with pytest.raises(ValueError, match=r"a\.tif: band 6, which is declared as alpha"):
        open_cube(path)


def test_four_bands_are_read_although_gdal_takes_the_last_for_alpha(tmp_path):
    path = geotiff(tmp_path / "a.tif", 4, "uint8")
    with rasterio.open(path) as file:
        assert file.colorinterp[-1] == rasterio.enums.ColorInterp.alpha
    np.testing.assert_array_equal(read_cube(path), CUBE[..., :4])


def test_transparent_pixels_of_band_images_are_refused(tmp_path):
    grey = np.full((4, 3, 4), 255, np.uint8)
    for alpha, refused in ((255, False), (0, True)):
        grey[0, 0, 3] = alpha
        for band in range(5):
            Image.fromarray(grey).save(tmp_path / f"a_{band}.png")
        if refused:
            with pytest.raises(ValueError, match=r"a_0\.png has transparent pixels"):
                read_cube(tmp_path)
        else:
            assert (read_cube(tmp_path) == 255).all()
