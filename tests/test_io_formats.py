"""Every format gives back what was written, pixels and metadata, whole and by window."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
import rasterio
import scipy.io
import xarray
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.cubes import (
    DEGREES,
    FLOATS,
    LAEA,
    TYPES,
    UTM,
    assert_same,
    everything,
    random_cube,
    write,
)

from dualsr_jax.io.cubes import FORMATS, create_cube, open_cube
from dualsr_jax.io.formats import matlab_output
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.io.raw import RawArray
from dualsr_jax.io.variables import from_variables, to_variables


def test_every_format_is_tested():
    assert {FORMATS[s] for s in TYPES} == set(FORMATS.values())


@pytest.mark.parametrize("suffix", TYPES)
@settings(
    max_examples=6,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_round_trip(tmp_path, suffix, data):
    dtype = data.draw(st.sampled_from(TYPES[suffix]))
    shape = tuple(data.draw(st.tuples(*[st.integers(1, 9)] * 3)))
    cube = random_cube(shape, dtype, data.draw(st.integers(0, 9)))
    full = everything(shape[2])
    metadata = data.draw(
        st.sampled_from(
            [
                Metadata(),
                full,
                dataclasses.replace(full, crs=LAEA, offset=np.full(shape[2], 0.25), nodata=None),
                dataclasses.replace(full, nodata=np.nan if dtype in FLOATS else 0.0, offset=None),
                dataclasses.replace(full, crs=DEGREES, transform=(1e-3, 0, 10.1, 0, -2e-3, 50.7)),
                dataclasses.replace(full, transform=(14.0, 9.5, 579717.18, 9.5, -14.0, 3714550.7)),
            ]
        )
    )
    path = tmp_path / f"cube{suffix}"
    write(path, cube, metadata, overwrite=True)
    rows, columns, bands = (sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2)))
                            for n in shape)  # fmt: skip
    chosen = data.draw(st.lists(st.integers(0, shape[2] - 1), min_size=1, max_size=4))
    with open_cube(path) as reader:
        assert (reader.shape, reader.dtype) == (shape, np.dtype(dtype))
        whole = reader.read(slice(None), slice(None))
        assert whole.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(whole, cube)
        window = slice(*rows), slice(*columns)
        np.testing.assert_array_equal(
            reader.read(*window, slice(*bands)), cube[*window, slice(*bands)]
        )
        np.testing.assert_array_equal(reader.read(*window, chosen), cube[*window][..., chosen])
        assert_same(reader.metadata, metadata)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("suffix", TYPES)
def test_every_type(tmp_path, suffix):
    for dtype in TYPES[suffix]:
        cube = random_cube((3, 4, 5), dtype)
        write(tmp_path / f"{dtype}{suffix}", cube)
        with open_cube(tmp_path / f"{dtype}{suffix}") as reader:
            assert reader.dtype == dtype
            np.testing.assert_array_equal(reader.read(slice(None), slice(None)), cube)
    refused = {"int8", "float16"} - set(TYPES[suffix])
    for dtype in refused - {"float16"} if suffix == ".nc" else refused:
        with pytest.raises(ValueError, match=dtype):
            write(tmp_path / f"refused{suffix}", random_cube((3, 4, 5), dtype))
        assert not list(tmp_path.glob("refused*"))


@pytest.mark.parametrize("suffix", TYPES)
def test_the_bytes_do_not_depend_on_the_order_of_blocks(tmp_path, suffix):
    cube = random_cube((300, 20, 6), "uint16")
    contents = []
    for name, starts in (("a", (0, 100, 200)), ("b", (200, 0, 100))):
        path = tmp_path / name / f"cube{suffix}"
        path.parent.mkdir()
        with create_cube(path, cube.shape, "uint16", everything(6)) as writer:
            for start in starts:
                writer.write(cube[start : start + 100], start, 0)
        contents.append(
            {f.relative_to(path.parent): f.read_bytes() for f in path.parent.rglob("*.*")
             if f.is_file()}
        )  # fmt: skip
    assert contents[0] == contents[1]


def test_gdal_and_xarray_read_what_is_written(tmp_path):
    """GDAL's own readers as oracles of ours."""
    cube, metadata = random_cube((9, 7, 6), "int16"), everything(6)
    # GDAL opens a Zarr array in a store, a variable of a NetCDF file
    names = {
        ".hdr": "{}",
        ".bil": "{}",
        ".tif": "{}",
        ".zarr": "ZARR:{}:/cube",
        ".nc": "NETCDF:{}:cube",
    }
    for suffix, name in names.items():
        path = tmp_path / f"{'second' if suffix == '.bil' else 'cube'}{suffix}"
        write(path, cube, metadata)
        path = path.with_suffix(".img") if suffix == ".hdr" else path
        with rasterio.open(name.format(path)) as dataset:
            np.testing.assert_array_equal(dataset.read().transpose(1, 2, 0), cube)
            assert dataset.crs == rasterio.crs.CRS.from_wkt(UTM)
            np.testing.assert_allclose(dataset.transform[:6], metadata.transform, rtol=1e-15)
            assert dataset.nodata == 7
            if suffix in (".hdr", ".tif"):
                wavelength = dataset.tags(3, ns="IMAGERY")["CENTRAL_WAVELENGTH_UM"]
                assert float(wavelength) == pytest.approx(0.420246, abs=5e-4)
                np.testing.assert_allclose(dataset.scales, metadata.scale)
                np.testing.assert_allclose(dataset.offsets, metadata.offset)
                assert dataset.descriptions[2].startswith("band 2")
    for opened in (
        xarray.open_zarr(tmp_path / "cube.zarr"),
        xarray.open_dataset(tmp_path / "cube.nc"),
    ):
        assert opened["cube"].dims == ("band", "y", "x")
        np.testing.assert_allclose(opened["wavelength"], metadata.wavelengths / 1e3)
        assert opened["cube"].attrs.get("grid_mapping", "spatial_ref") == "spatial_ref"
        expected = np.where(cube == 7, np.nan, cube * 1e-4).transpose(2, 0, 1)
        np.testing.assert_allclose(opened["cube"], expected, rtol=1e-6)  # CF: masked and scaled
        opened.close()


@pytest.mark.parametrize("version", [5, 7])
def test_scipy_and_h5py_read_what_is_written_for_matlab(tmp_path, version, monkeypatch):
    if version == 7:
        monkeypatch.setattr(matlab_output, "_MOST_BYTES_5", 0)
    metadata = dataclasses.replace(everything(6), band_names=("é", "", *"cdef"))
    for dtype in TYPES[".mat"]:
        cube = random_cube((5, 3, 6), dtype)
        write(tmp_path / f"{dtype}.mat", cube, metadata)
        if version == 5:
            found = scipy.io.loadmat(tmp_path / f"{dtype}.mat", simplify_cells=True)
            assert found["cube"].dtype == dtype
            np.testing.assert_array_equal(found["cube"], cube)
            np.testing.assert_allclose(found["wavelength"], metadata.wavelengths / 1e3)
            assert found["crs"] == UTM
        else:
            with h5py.File(tmp_path / f"{dtype}.mat") as file:
                np.testing.assert_array_equal(file["cube"][()].T, cube)
        with open_cube(tmp_path / f"{dtype}.mat") as reader:
            np.testing.assert_array_equal(reader.read(slice(1, 4), slice(None), [5, 0]),
                                          cube[1:4][..., [5, 0]])  # fmt: skip
            assert_same(reader.metadata, metadata)


@pytest.mark.parametrize(
    ("unit", "entries", "expected"),
    [
        ("Micrometers", "", ([455.4, 462.25], None, "Micrometers")),
        ("Nanometers", "wavelength units = Unknown\n", ([0.4554, 0.46225], None, "Nanometers")),
        ("Micrometers", "wavelength units = nm\nfwhm = {5, 6}\n", ([455.4, 462.25], [5, 6], "nm")),
        ("Micrometers", "wavelength = {1, 2}\n", ([1e3, 2e3], None, "Micrometers")),
        ("Kelvin", "", (None, None, None)),
        ("Unknown", "", (None, None, None)),
    ],
)
def test_wavelengths_in_names_of_bands(tmp_path, unit, entries, expected):
    (tmp_path / "a.img").write_bytes(bytes(4))
    (tmp_path / "a.hdr").write_text(
        "ENVI\nsamples = 2\nlines = 1\nbands = 2\ndata type = 1\ninterleave = bsq\n"
        f"{entries}band names = {{band 1 (0.455400 {unit}), x (0.462250 {unit})}}\n"
    )
    with open_cube(tmp_path / "a.hdr") as reader:
        m = reader.metadata
    for found, values in ((m.wavelengths, expected[0]), (m.fwhm, expected[1])):
        assert (found is None) == (values is None)
        if values is not None:
            np.testing.assert_allclose(found, values)
    assert m.wavelength_unit == expected[2]
    assert len(m.band_names) == 2
    bare = Metadata(band_names=m.band_names, transform=(1.0, 0.0, 5.0, 0.0, -1.0, 5.0))
    write(tmp_path / "a.tif", np.zeros((1, 2, 2), "u1"), bare)
    with open_cube(tmp_path / "a.tif") as reader:
        assert (reader.metadata.wavelengths is None) == (unit in ("Kelvin", "Unknown"))


def test_files_of_others(tmp_path, rng):
    """Layouts that we do not write: big-endian, gzip, MATLAB 5, columns first, other names."""
    cube = rng.integers(0, 1000, (5, 4, 6)).astype(np.uint16)
    (tmp_path / "big.hdr").write_bytes(
        "ENVI\r\n; a = b\r\n Samples=4\r\nLINES   = 5\r\nbands = 6\r\ndata type = 12\r\n"
        "interleave = BIP\r\nbyte order = 1\r\nheader offset = 3\r\nWavelength Units = nm\r\n"
        "wavelength =\r\n{1,2,3,\r\n4,5, 6 }\r\nbbl = {1,1,0,1,1,1}\r\n"
        "description = {caf\xe9 {1}}\r\n".encode("latin-1")
    )
    (tmp_path / "big.dat").write_bytes(b"abc" + cube.astype(">u2").tobytes())
    scipy.io.savemat(
        tmp_path / "five.mat",
        {"cube": cube, "rgb": cube[..., :3], "wl": np.arange(1, 7) / 10, "bbl": [1, 1, 0, 1, 1, 1]},
    )
    with h5py.File(tmp_path / "deep.h5", "w") as file:
        file["site/reflectance"] = cube
        file["site/meta/Wavelength"] = np.arange(1.0, 7)
        file["site/meta/Wavelength"].attrs["Units"] = "nanometers"
    np.save(tmp_path / "fortran.npy", np.asfortranarray(cube))
    zarr.save_array(tmp_path / "bare.zarr", cube)
    profile = {"driver": "COG", "width": 4, "height": 5, "count": 6, "dtype": "uint16"}
    place = rasterio.Affine(2, 0, 10, 0, -2, 20)
    with rasterio.open(tmp_path / "cog.tif", "w", transform=place, **profile) as dataset:
        dataset.write(cube.transpose(2, 0, 1))
    (tmp_path / "bands").mkdir()
    profile |= {"driver": "GTiff", "count": 1, "crs": UTM, "transform": place, "nodata": 3}
    for k in range(6):
        with rasterio.open(tmp_path / "bands" / f"B{k:02d}.tif", "w", **profile) as dataset:
            dataset.write(cube[..., k], 1)
    names = ("downtrack", "crosstrack", "bands")
    xarray.Dataset({"radiance": (names, cube.astype(np.int16))}).to_netcdf(
        tmp_path / "classic.nc", engine="scipy"
    )
    found = {}
    for path in tmp_path.iterdir():
        with open_cube(path) as reader:
            np.testing.assert_array_equal(reader.read(slice(None), slice(None)), cube, str(path))
            np.testing.assert_array_equal(reader.read(slice(1, 3), slice(2, 4), [5, 0]),
                                          cube[1:3, 2:4, [5, 0]])  # fmt: skip
            found[path.name] = reader.metadata
    np.testing.assert_array_equal(found["big.hdr"].wavelengths, [1, 2, 3, 4, 5, 6])
    assert found["big.hdr"].bad_bands.tolist() == [False, False, True, False, False, False]
    assert found["big.hdr"].tags == {"description": "{café {1}"}
    np.testing.assert_allclose(found["five.mat"].wavelengths, np.arange(1, 7) * 100)
    assert found["five.mat"].wavelength_unit == "Micrometers"
    assert found["five.mat"].bad_bands[2]
    assert found["deep.h5"].wavelengths[5] == 6
    assert found["cog.tif"].transform == found["bands"].transform == (2, 0, 10, 0, -2, 20)
    assert found["bands"].nodata == 3
    assert rasterio.crs.CRS.from_wkt(found["bands"].crs) == rasterio.crs.CRS.from_wkt(UTM)


def test_a_header_in_a_struct_of_matlab(tmp_path):
    """As hyperspectral toolboxes store it next to the cube."""
    header = {"wavelength": np.arange(401.0, 407), "fwhm": np.arange(6.0), "sensor_type": "AVIRIS"}
    cube = np.arange(120, dtype=np.int16).reshape(5, 4, 6)
    scipy.io.savemat(tmp_path / "a.mat", {"cube": cube, "info": header, "other": {"fwhm": 1}})
    with open_cube(tmp_path / "a.mat") as reader:
        np.testing.assert_array_equal(reader.metadata.wavelengths, header["wavelength"])
        np.testing.assert_array_equal(reader.metadata.fwhm, header["fwhm"])
        assert reader.metadata.tags == {"sensor type": "AVIRIS"}


def test_numpy_files_of_the_second_version(tmp_path):
    cube = np.arange(120, dtype=np.int16).reshape(5, 4, 6)
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, cube, version=(2, 0))
    with open_cube(tmp_path / "a.npy") as reader:
        np.testing.assert_array_equal(reader.read(slice(None), slice(None)), cube)


def test_band_images_are_in_the_order_of_their_numbers(tmp_path):
    for k in (1, 2, 9, 10, 11, 100):
        Image.fromarray(np.full((2, 3), k, np.uint8)).save(tmp_path / f"s2_band{k}.png")
    with open_cube(tmp_path) as reader:
        cube = reader.read(slice(0, 1), slice(0, 1))
    assert cube.ravel().tolist() == [1, 2, 9, 10, 11, 100]


@pytest.mark.parametrize("dtype", ["int16", "uint32", "float64"])
def test_band_tiffs_are_as_stored_and_say_their_scales(tmp_path, dtype):
    cube, m = random_cube((3, 4, 5), dtype), everything(5)
    m = dataclasses.replace(m, tags={}, nodata=0.0)
    for k in range(5):
        write(tmp_path / f"{k}.tif", cube[..., k : k + 1], m.select([k]))
    with open_cube(tmp_path) as reader:
        np.testing.assert_array_equal(reader.read(slice(None), slice(None)), cube)
        assert reader.dtype == dtype
        assert_same(reader.metadata, m)
    other = dataclasses.replace(m.select([4]), scale=None, bad_bands=None)
    write(tmp_path / "4.tif", cube[..., 4:], other, overwrite=True)
    sidecar = tmp_path.with_name(tmp_path.name + ".json")
    sidecar.write_text('{"nodata": [3], "bbl": [1, 1, 0, 0, 1]}')
    with open_cube(tmp_path) as reader:
        assert reader.metadata.scale.tolist() == [1e-4] * 4 + [1]
        assert reader.metadata.nodata == 3
        assert reader.metadata.bad_bands.tolist() == [False, False, True, True, False]
        np.testing.assert_allclose(reader.metadata.wavelengths, m.wavelengths)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"_FillValue": -9999}, {"nodata": -9999}),
        ({"missing_value": -9999}, {"nodata": -9999}),
        ({"_FillValue": np.nan, "missing_value": -9999}, {"nodata": -9999}),
        ({"scale_factor": 1e-4, "add_offset": 0.5}, {"scale": 1e-4, "offset": 0.5}),
        ({"Data_Ignore_Value": -9999.0, "Scale_Factor": 1e4},  # as in NEON's files
         {"nodata": -9999, "reflectance_scale": 1e4}),
        ({"Scale_Factor": 1e4, "missing_value": "none", "_FillValue": [1, 2]}, {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".h5", ".nc", ".zarr"])
def test_attributes_of_others(tmp_path, suffix, attributes, expected):
    cube = np.ones((3, 4, 5), np.float32)
    if suffix == ".h5":
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["site/cube"] = cube
            file["site/cube"].attrs.update(attributes)
    elif suffix == ".zarr":
        array = zarr.create_array(tmp_path / "a.zarr", data=cube)
        array.attrs.update({k: "NaN" if v is np.nan else v for k, v in attributes.items()})
    else:
        write(tmp_path / "a.nc", cube)
        with h5py.File(tmp_path / "a.nc", "a") as file:
            file["cube"].attrs.update(attributes)
    with open_cube(tmp_path / f"a{suffix}") as reader:
        assert_same(reader.metadata, Metadata(**{
            name: np.full(5, value) if name in ("scale", "offset") else value
            for name, value in expected.items()
        }))  # fmt: skip


def test_scale_factors_above_1_in_hdf5_are_not_taken(tmp_path):
    """CF multiplies by them, other files divide: only NetCDF and Zarr are CF."""
    for suffix in (".h5", ".nc"):
        write(tmp_path / f"a{suffix}", np.ones((3, 4, 5), np.int16))
        with h5py.File(tmp_path / f"a{suffix}", "a") as file:
            file["cube"].attrs.update({"scale_factor": 1e4, "add_offset": 3.0})
    with open_cube(tmp_path / "a.h5") as reader:
        assert_same(reader.metadata, Metadata())
    with open_cube(tmp_path / "a.nc") as reader:
        assert_same(reader.metadata, Metadata(scale=np.full(5, 1e4), offset=np.full(5, 3.0)))


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_units_and_names_stay_with_the_variable(tmp_path, suffix):
    tags = {"units": "W m-2 sr-1", "long_name": "radiance", "history": "of the file"}
    path = tmp_path / f"a{suffix}"
    write(path, np.ones((3, 4, 5), np.float32), Metadata(tags=tags))
    opened = xarray.open_dataset(path, engine="zarr" if suffix == ".zarr" else None)
    assert opened["cube"].attrs == {k: tags[k] for k in ("units", "long_name")}
    assert opened.attrs == {"Conventions": "CF-1.8", "history": "of the file"}
    opened.close()
    with open_cube(path) as reader:
        assert reader.metadata.tags == tags


@pytest.mark.parametrize("suffix", [".hdr", ".tif", ".h5", ".zarr"])
def test_threads_share_readers_and_writers(tmp_path, suffix):
    cube = random_cube((64, 32, 8), "uint16")
    path = tmp_path / f"cube{suffix}"
    windows = [(row, column) for row in range(0, 64, 8) for column in range(0, 32, 8)]
    with ThreadPoolExecutor(4) as pool:
        with create_cube(path, cube.shape, "uint16", Metadata()) as writer:
            list(pool.map(lambda w: writer.write(cube[w[0] :, w[1] :][:8, :8], *w), windows))
        with open_cube(path) as reader:

            def read(w):
                return reader.read(slice(w[0], w[0] + 8), slice(w[1], w[1] + 8))

            for (row, column), block in zip(windows, pool.map(read, windows), strict=True):
                np.testing.assert_array_equal(block, cube[row : row + 8, column : column + 8])


def test_enlarged_and_selected():
    metadata = dataclasses.replace(
        everything(6),
        transform=(14.0, 9.5, 579717.18, 9.5, -14.0, 3714550.7),
        tags={"x start": "85", "note": "stays"},
    )
    larger = metadata.enlarged(3)
    corner = rasterio.Affine(*metadata.transform) @ (12, 7)  # any pixel corner stays where it is
    np.testing.assert_allclose(rasterio.Affine(*larger.transform) @ (36, 21), corner, rtol=1e-15)
    assert larger.transform[2] == 579717.18
    assert larger.transform[5] == 3714550.7
    assert larger.tags == {"note": "stays"}
    some = metadata.select([4, 2])
    assert some.band_names == ("band 4", "band 2")
    assert some.bad_bands.tolist() == [False, True]
    np.testing.assert_array_equal(some.wavelengths, metadata.wavelengths[[4, 2]])
    assert_same(metadata.select(slice(None)), metadata)


@pytest.mark.parametrize("unit", ["Index", "Wavenumber", "GHz"])
def test_units_that_are_no_lengths_stay_text(tmp_path, unit):
    write(tmp_path / "a.hdr", random_cube((2, 2, 3), "uint8"))
    with (tmp_path / "a.hdr").open("a") as file:
        file.write(f"wavelength units = {unit}\nwavelength = {{1, 2, 3}}\n")
    with open_cube(tmp_path / "a.hdr") as reader:
        assert reader.metadata.wavelengths is None
        assert reader.metadata.tags == {"wavelength units": unit, "wavelength": "{1, 2, 3}"}


@pytest.mark.parametrize(
    ("tags", "kept"),
    [
        ({"history": "by A\r\ninterleave = bip\r\nnote"}, "by A interleave = bip note"),
        ({"history": "by A\rdata type = 2\x85x\u2028y"}, "by A data type = 2 x y"),
        ({" interleave ": "bip"}, None),
        ({"Data  Type": "2"}, None),
        ({"a\rinterleave": "bip"}, "bip"),
        ({"data ignore value": "7"}, "7"),
        ({"Wavelength": "{1, 2, 3, 4, 5, 6, 7, 8, 9}"}, "{1, 2, 3, 4, 5, 6, 7, 8, 9}"),
    ],
)
def test_text_of_others_does_not_become_a_header(tmp_path, tags, kept):
    cube = random_cube((4, 3, 9), "uint16")
    names = ("{a}", *"bcdefgh", "data ignore value = 7")
    unit = "Nanometers\ndata type = 2" if "history" in tags else None
    metadata = Metadata(tags=tags, band_names=names, fwhm=np.ones(9), wavelength_unit=unit)
    write(tmp_path / "a.hdr", cube, metadata)
    with open_cube(tmp_path / "a.hdr") as reader:
        np.testing.assert_array_equal(reader.read(slice(None), slice(None)), cube)
        assert (reader.metadata.nodata, reader.metadata.wavelengths) == (None, None)
        assert reader.metadata.band_names == ("(a)", *names[1:])
        assert list(reader.metadata.tags.values())[:1] == ([] if kept is None else [kept])


@pytest.mark.parametrize(("length", "unit"), [(101.0, 1.0), (999.0, 1.0), (99.0, 1e3)])
def test_wavelengths_without_a_unit_are_micrometres_below_100(length, unit):
    found = from_variables({"wavelength": np.array([0.5, 0.6, length])}, 3)
    np.testing.assert_array_equal(found.wavelengths, np.array([0.5, 0.6, length]) * unit)


def test_geotiff_renames_tags_that_gdal_or_rasterio_takes_for_something_else(tmp_path):
    tags = {"a=b": "c=d", "e:f": "g:h", "bidx": "5", "ns": "6", "i\0": "j\x01\nk\ud800", "l": "m"}
    write(tmp_path / "a.tif", random_cube((2, 2, 3), "uint8"), Metadata(tags=tags))
    with open_cube(tmp_path / "a.tif") as reader:
        assert reader.metadata.tags == {
            "a_b": "c=d", "e_f": "g:h", "bidx_": "5", "ns_": "6", "i_": "j_\nk_", "l": "m"
        }  # fmt: skip


@pytest.mark.parametrize("suffix", [".hdr", ".tif", ".nc", ".zarr"])
def test_the_coordinate_system_may_be_a_code(tmp_path, suffix):
    place = (30.0, 0.0, 4e5, 0.0, -30.0, 5e6)
    metadata = Metadata(crs="EPSG:32633", transform=place)
    write(tmp_path / f"a{suffix}", random_cube((2, 2, 3), "uint8"), metadata)
    with open_cube(tmp_path / f"a{suffix}") as reader:
        assert_same(reader.metadata, dataclasses.replace(metadata, crs=UTM))


@pytest.mark.parametrize("form", ["NETCDF3_64BIT", "NETCDF4"])
def test_unsigned_netcdf(tmp_path, form):
    cube = random_cube((4, 3, 6), "uint8")
    attributes = {"_Unsigned": "true", "_FillValue": np.int8(-1)}
    variable = xarray.Variable(("y", "x", "band"), cube.view("i1"), attributes)
    engine = "scipy" if form == "NETCDF3_64BIT" else "h5netcdf"
    dataset = xarray.Dataset({"cube": variable})
    dataset.to_netcdf(tmp_path / "a.nc", format=form, engine=engine)
    with open_cube(tmp_path / "a.nc") as reader:
        assert (reader.dtype, reader.metadata.nodata) == (np.uint8, 255)
        np.testing.assert_array_equal(reader.read(slice(None), slice(None)), cube)


def test_variables_of_other_kinds_are_left_out():
    variables = to_variables(everything(6)) | {"bbl": np.ones(4), "nodata": "seven", "fwhm": "wide"}
    found = from_variables(variables, 6)
    assert found.bad_bands is None
    assert found.nodata is None
    assert found.fwhm is None
    np.testing.assert_array_equal(found.wavelengths, everything(6).wavelengths)


def test_reading_needs_no_more_memory_than_the_window(tmp_path):
    with (tmp_path / "sparse").open("w+b") as file:
        array = RawArray(file, (1000, 2000, 3000), np.dtype("<f8"))  # 48 GB of holes
        array.allocate()
        assert array[998:1000, 1998:2000, 2990:3000].shape == (2, 2, 10)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_tag_without_a_name_is_left_out(tmp_path, suffix):
    """HDF5 has no attributes without a name; a JSON sidecar may hold such a tag."""
    path = tmp_path / f"a{suffix}"
    write(path, random_cube((3, 4, 5), "uint16"), Metadata(tags={"": "x", "b": "y"}))
    with open_cube(path) as reader:
        assert dict(reader.metadata.tags) == {"b": "y"}
