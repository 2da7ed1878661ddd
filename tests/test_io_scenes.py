"""Real files where they are at hand: read, rewritten, and reopened by GDAL and Spectral Python."""

import dataclasses
import gzip
import warnings

import numpy as np
import pytest
import rasterio
import scipy.io
import spectral.io.envi
import xarray
from support.cubes import UTM, assert_same, everything, random_cube, write
from support.files import ROOT

from dualsr_jax.io.cubes import open_cube

DATA = ROOT.parent / "shared" / "data"
ENMAP = DATA / "envi" / "EnMAP_BerlinUrbanGradient_raw.hdr"
CORN = DATA / "envi" / "corn-kernel-hyperspectral.hdr"
SALTON = DATA / "airborne" / "salton_sea_roi.mat"
AIRPORTS = [DATA / "airborne" / f"abu-airport-{k}.mat" for k in (1, 2)]
HERE = pytest.mark.skipif(not ENMAP.is_file(), reason="the scenes are not next to this checkout")


def read(path):
    with open_cube(path) as reader:
        return reader.read(slice(None), slice(None)), reader.metadata


def spectral_agrees(path, cube, m):
    """What Spectral Python says of an ENVI file of ours."""
    image = spectral.io.envi.open(path)
    with warnings.catch_warnings():
        # NumPy 2.5 warns of how Spectral Python 0.25 sets shapes and types.
        warnings.filterwarnings("ignore", r"Setting the \w+ on a NumPy", DeprecationWarning)
        loaded = image.load(dtype=cube.dtype, scale=False)
    np.testing.assert_array_equal(loaded.squeeze(), cube)
    factor = 1e3 if m.wavelength_unit == "Micrometers" else 1.0
    if m.wavelengths is not None:
        np.testing.assert_allclose(np.array(image.bands.centers) * factor, m.wavelengths)
        assert image.bands.band_unit == m.wavelength_unit
    if m.fwhm is not None:
        np.testing.assert_allclose(np.array(image.bands.bandwidths) * factor, m.fwhm)
    if m.bad_bands is not None:
        assert image.metadata["bbl"] == [int(not bad) for bad in m.bad_bands]
    if m.nodata is not None:
        assert float(image.metadata["data ignore value"]) == m.nodata
    if m.transform is not None:
        info = image.metadata["map info"]
        assert [float(part) for part in info[1:5]] == [1, 1, m.transform[2], m.transform[5]]


def gdal_agrees(name, cube, m):
    with rasterio.open(name) as dataset:
        np.testing.assert_array_equal(dataset.read().transpose(1, 2, 0), cube)
        assert dataset.nodata == m.nodata
        if m.transform is not None:
            assert dataset.crs == rasterio.crs.CRS.from_wkt(m.crs)
            np.testing.assert_allclose(dataset.transform[:6], m.transform, rtol=1e-14)
        if m.wavelengths is not None:
            found = [float(dataset.tags(k)["wavelength"]) for k in dataset.indexes]
            factor = 1e3 if m.wavelength_unit == "Micrometers" else 1.0
            np.testing.assert_allclose(np.array(found) * factor, m.wavelengths, rtol=1e-12)


def check_rewritten(folder, path):
    cube, metadata = read(path)
    for suffix in (".hdr", ".tif", ".zarr"):
        write(folder / f"out{suffix}", cube, metadata)
        again, found = read(folder / f"out{suffix}")
        np.testing.assert_array_equal(again, cube)
        if suffix == ".zarr" and metadata.wavelengths is not None:
            metadata = dataclasses.replace(metadata, wavelength_unit=found.wavelength_unit)
        assert_same(found, metadata)
    spectral_agrees(folder / "out.hdr", cube, metadata)
    gdal_agrees(folder / "out.img", cube, metadata)
    gdal_agrees(folder / "out.tif", cube, metadata)
    stored = xarray.open_zarr(folder / "out.zarr", mask_and_scale=False, chunks=None)
    np.testing.assert_array_equal(stored["cube"].transpose("y", "x", "band"), cube)
    return cube, metadata


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.filterwarnings("ignore::spectral.utilities.errors.NaNValueWarning")
@pytest.mark.parametrize("path", [ENMAP, CORN, SALTON, *AIRPORTS], ids=lambda path: path.stem)
def test_scenes_are_read_and_rewritten(tmp_path, path):
    if not path.is_file():
        pytest.skip(f"{path.name} is not next to this checkout")
    cube, m = check_rewritten(tmp_path, path)
    if path in (ENMAP, CORN):
        with rasterio.Env(CPL_VSIL_GZIP_WRITE_PROPERTIES="NO"), rasterio.open(_raw(path)) as gdal:
            np.testing.assert_array_equal(gdal.read().transpose(1, 2, 0), cube)
            assert m.transform is None or m.transform == tuple(gdal.transform[:6])
            assert m.crs is None or gdal.crs == rasterio.crs.CRS.from_wkt(m.crs)
    if path == ENMAP:
        assert (m.nodata, m.wavelength_unit, m.wavelengths[0]) == (-99, "Micrometers", 424)
        assert m.transform == (30, 0, 383472.37, 0, -30, 5818302.35)
        assert m.fwhm[0] == pytest.approx(6.9, abs=1e-12)
        assert m.tags["sensor type"] == "Unknown"
        assert len(m.band_names) == 244
    if path == CORN:
        assert (m.wavelength_unit, m.wavelengths[-1]) == ("nm", 1048.421)
    if path == SALTON:
        content = scipy.io.loadmat(path)
        np.testing.assert_array_equal(cube, content["I"])
        np.testing.assert_array_equal(m.bad_bands, content["bbl"][0] == 0)
        np.testing.assert_allclose(m.wavelengths, content["wl"][0] * 1e3, rtol=1e-6)
        assert np.hypot(m.transform[0], m.transform[1]) == pytest.approx(16.9)
        assert np.degrees(np.arctan2(m.transform[1], m.transform[0])) == pytest.approx(34)
        assert m.fwhm[0] == 9.8521
        assert "11" in m.tags["description"]
        assert 'central_meridian",-117' in m.crs.lower()
    if path in AIRPORTS:
        np.testing.assert_array_equal(cube, scipy.io.loadmat(path)["data"])


def _raw(header):
    return header.with_suffix(".bsq" if header == ENMAP else ".raw")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_made_up_scene_is_rewritten(tmp_path):
    """The same without the data: packed, as the files of EnMAP are."""
    cube, metadata = random_cube((8, 6, 10), "int16"), everything(10)
    write(tmp_path / "in.hdr", cube, dataclasses.replace(metadata, wavelength_unit=None))
    text = (tmp_path / "in.hdr").read_text().replace("byte order = 0", "file compression = 1")
    (tmp_path / "in.hdr").write_text(text)
    pixels = (tmp_path / "in.img").read_bytes()
    (tmp_path / "in.img").write_bytes(gzip.compress(pixels))
    found, m = check_rewritten(tmp_path, tmp_path / "in.img")
    np.testing.assert_array_equal(found, cube)
    assert m.transform == metadata.transform
    assert rasterio.crs.CRS.from_wkt(m.crs) == rasterio.crs.CRS.from_wkt(UTM)
