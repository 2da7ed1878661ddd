"""Sensors' products, read from small files made to their published layouts."""

import h5py
import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.sensor_files import (
    PRISMA_WAVELENGTHS,
    dlr_xml,
    write_aviris_3,
    write_aviris_ng,
    write_dlr,
    write_emit,
    write_enmap_l1b,
    write_prisma,
)

from dualsr_jax.io.cubes import create_cube, list_cubes, open_cube, read_cube
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.io.notes import forget_notes
from dualsr_jax.io.sensors import dlr

few_examples = settings(
    max_examples=20,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def prisma_cubes(rows=5, columns=4, bands=(8, 8), seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 65536, (rows, n, columns), np.uint16) for n in bands]


@pytest.mark.parametrize("level", ["L1", "L2B", "L2C", "L2D"])
@settings(few_examples, max_examples=10)
@given(data=st.data())
def test_prisma(tmp_path, level, data):
    """All usable bands of both detectors come back, each with its own values and description."""
    rows, columns = data.draw(st.integers(2, 5)), data.draw(st.integers(2, 5))
    counts = {"Vnir": data.draw(st.integers(1, 6)), "Swir": data.draw(st.integers(1, 6))}
    wavelength = st.sampled_from([0.0, 400.0, 700.0]) | st.floats(400, 1000, width=32)
    flag = st.sampled_from([0, 1, 1])
    waves = {n: sorted(data.draw(st.lists(wavelength, min_size=k, max_size=k)), reverse=True)
             for n, k in counts.items()}  # fmt: skip
    flags = {n: data.draw(st.lists(flag, min_size=k, max_size=k))
             for n, k in counts.items()}  # fmt: skip
    cubes = prisma_cubes(rows, columns, counts.values(), data.draw(st.integers(0, 9)))
    for cube in cubes:
        cube[0, :, 0] = 0  # without data
        cube[1, 0, 1] = 0  # a measurement
    path = tmp_path / data.draw(st.sampled_from(["a.he5", "a.h5", "a.hdf5"]))
    write_prisma(path, *cubes, level, wavelengths=waves, flags=flags)
    expected = []  # of each usable band: its wavelength, name, stored and physical values
    for cube, name, low, high in zip(cubes, counts, (0.0, 0.001), (1.2, 0.9), strict=True):
        usable = [k for k in range(counts[name]) if waves[name][k] and flags[name][k]]
        for k in usable:
            empty = (cube[:, usable] == 0).all(1)
            stored = np.where(empty, 0, np.maximum(cube[:, k], 1))
            physical = low + stored * (high - low) / 65535
            if level == "L1":
                physical = stored / 100 - 0.25
            wave = np.float32(waves[name][k])
            expected.append((wave, f"{name.upper()} {k + 1}", stored, physical))
    if len({name.split()[0] for _, name, _, _ in expected}) < 2:
        with pytest.raises(ValueError, match=r"no band of .*_Cube is flagged as measured"):
            open_cube(path)
        return
    expected.sort(key=lambda item: item[0])
    with open_cube(path) as reader:
        m = reader.metadata
        assert reader.shape == (rows, columns, len(expected))
        stored = reader.read(slice(None), slice(None))
        chosen = data.draw(st.permutations(range(len(expected))))[:3]
        window = reader.read(slice(1, 2), slice(1, columns), chosen)
    np.testing.assert_array_equal(window, stored[1:2, 1:][..., chosen])
    assert (m.nodata, stored.dtype) == (0, np.uint16)
    np.testing.assert_allclose(m.wavelengths, [wave for wave, *_ in expected])
    np.testing.assert_allclose(m.fwhm, [10 + wave / 1000 for wave, *_ in expected], rtol=1e-6)
    assert sorted(m.band_names) == sorted(name for _, name, _, _ in expected)
    for _, name, values, physical in expected:
        k = m.band_names.index(name)
        np.testing.assert_array_equal(stored[..., k], values)
        found = stored[..., k] * m.scale[k] + m.offset[k]
        np.testing.assert_allclose(found, physical, rtol=1e-6)
    assert m.tags["Processing_Level"] == level
    assert (m.latitude is None) == (level == "L2D")
    if level == "L2D":
        assert (m.crs, m.transform) == ("EPSG:32632", (30, 0, 5e5 - 15, 0, -30, 4.6e6 + 15))
    else:
        y, x = np.mgrid[:rows, :columns]
        np.testing.assert_allclose(m.latitude, 41.5 - 3e-4 * y + 1e-5 * x, atol=1e-5)
        np.testing.assert_allclose(m.longitude, 12.5 + 4e-4 * x + 1e-5 * y, atol=1e-5)


def test_prisma_detectors_overlap_and_are_read_alone(tmp_path):
    vnir, swir = prisma_cubes()
    path = write_prisma(tmp_path / "PRS_L2D_STD.he5", vnir + np.uint16(vnir == 0), swir)
    assert list_cubes(tmp_path) == {"PRS_L2D_STD": path}
    with open_cube(path) as reader:
        assert reader.shape == (5, 4, 6 + 7)
        assert (np.diff(reader.metadata.wavelengths) > 0).all()
        names = [name.split()[0] for name in reader.metadata.band_names]
        assert names == [*["VNIR"] * 2, *["VNIR", "SWIR"] * 4, *["SWIR"] * 3]
    with open_cube(path, "VNIR_Cube") as reader:
        assert reader.shape == (5, 4, 6)
        assert reader.metadata.wavelengths[0] == np.float32(919.1934)
        found = reader.read(slice(None), slice(None))
    expected = (vnir + np.uint16(vnir == 0))[:, :1:-1].transpose(0, 2, 1)
    np.testing.assert_array_equal(found, expected)
    assert read_cube(path, "swir").shape == (5, 4, 7)
    outer = {"Product_LRcorner_easting": 5e5 + 30 * 4, "Product_LRcorner_northing": 4.6e6 - 150.0}
    with open_cube(write_prisma(tmp_path / "b.he5", vnir, swir, **outer)) as reader:
        assert reader.metadata.transform == (30, 0, 5e5, 0, -30, 4.6e6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vnir": None}, r"has no HDFEOS/.*/VNIR_Cube: it is not a whole .* name it: --key=SWIR"),
        ({"swir": None}, r"has no HDFEOS/.*/SWIR_Cube: .* --key=VNIR"),
        ({"L2ScaleVnirMax": None}, "attribute L2ScaleVnirMax should hold 1 numbers, it holds noth"),
        ({"List_Cw_Swir": np.ones(3)}, "List_Cw_Swir should hold 8 numbers, it holds 3 values"),
        ({"List_Fwhm_Vnir": b"none"}, "List_Fwhm_Vnir should hold 8 numbers"),
        ({"swir": np.ones((5, 8, 3), "u2")}, "VNIR_Cube and SWIR_Cube differ in rows or col"),
        ({"swir": np.ones((5, 8), "u2")}, r"SWIR_Cube is uint16 \(5, 8\), expected uint16, rows x"),
        ({"swir": np.ones((5, 8, 4), "f4")}, "SWIR_Cube is float32"),
        ({"level": "L2Z"}, r"has no swath .*_HCO, the registered cubes .* only .*PRS_L2Z_HCO/"),
    ],
)
def test_prisma_files_that_are_not_whole(tmp_path, changes, message):
    vnir, swir = prisma_cubes()
    with pytest.raises(ValueError, match=message):
        open_cube(write_prisma(tmp_path / "a.he5", **{"vnir": vnir, "swir": swir, **changes}))


def test_prisma_files_are_only_read_and_know_their_axes(tmp_path):
    path = write_prisma(tmp_path / "a.he5", *prisma_cubes(), wavelengths=PRISMA_WAVELENGTHS)
    with pytest.raises(ValueError, match="the order of axes is known: leave out the axes 'y,x,b"):
        open_cube(path, axes="y,x,band")
    with pytest.raises(ValueError, match=r"has no cube 'PAN' in .*, only VNIR and SWIR"):
        open_cube(path, "PAN")
    for level, has_map in (("L2D", False), ("L1", False)):
        write_prisma(path, *prisma_cubes(), level, Epsg_Code=None)
        with open_cube(path) as reader:
            assert (reader.metadata.transform is not None) == has_map
            assert reader.metadata.latitude.shape == (5, 4)
    with (
        pytest.raises(ValueError, match=r"\.he5 is of HDF-EOS products, .* only read: write \.h5"),
        create_cube(tmp_path / "b.he5", (5, 4, 6), "u2", Metadata()),
    ):
        raise AssertionError
    with h5py.File(path, "a") as file:
        del file["HDFEOS/SWATHS/PRS_L1_HCO/Data Fields/SWIR_Cube"]
        file["HDFEOS/SWATHS/PRS_L1_HCO/Data Fields/SWIR_Cube"] = h5py.ExternalLink("b.h5", "a")
    with pytest.raises(ValueError, match=r"has no HDFEOS/.*/SWIR_Cube"):
        open_cube(path)


@few_examples
@given(data=st.data())
def test_enmap_and_desis(tmp_path, data):
    """What comes back is the image, with what the XML says of each band."""
    mission = data.draw(st.sampled_from(["EnMAP", "DESIS"]))
    bands = data.draw(st.integers(1, 7))
    cube = np.random.default_rng(0).integers(-500, 9000, (4, 3, bands)).astype(np.int16)
    number = st.floats(-10, 3000, allow_subnormal=False)
    columns = {name: data.draw(st.lists(number, min_size=bands, max_size=bands))
               for name in ("wavelength", "fwhm", "gain", "offset")}  # fmt: skip
    expected = data.draw(st.none() | st.sets(st.integers(1, bands), min_size=1))
    path = write_dlr(tmp_path, cube, mission, expected=expected, **columns)
    with open_cube(path) as reader:
        np.testing.assert_array_equal(reader.read(slice(None), slice(None)), cube)
        m = reader.metadata
        assert len(reader.files) == 2
    for name, found in (("wavelength", m.wavelengths), ("fwhm", m.fwhm), ("gain", m.scale),
                        ("offset", m.offset)):  # fmt: skip
        np.testing.assert_array_equal(found, columns[name])
    assert m.nodata == -32768
    assert m.transform == (30, 0, 4e5, 0, -30, 5e6)
    if mission == "EnMAP" and expected is not None:
        assert np.flatnonzero(~m.bad_bands).tolist() == [k - 1 for k in sorted(expected)]
    else:
        assert m.bad_bands is None


@few_examples
@given(data=st.data())
def test_enmap_level_1b(tmp_path, data):
    """Two cubes, each with its own part of the XML, in which VNIR comes first."""
    counts = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    rng = np.random.default_rng(0)
    cubes = [rng.integers(0, 9000, (4, 3, n)).astype(np.int16) for n in counts]
    number = st.floats(-10, 3000, allow_subnormal=False)
    columns = {name: data.draw(st.lists(number, min_size=sum(counts), max_size=sum(counts)))
               for name in ("wavelength", "fwhm", "gain", "offset")}  # fmt: skip
    paths = write_enmap_l1b(tmp_path, *cubes, expected={1, 2}, **columns)
    for path, cube, first in zip(paths, cubes, (0, counts[0]), strict=True):
        with open_cube(path) as reader:
            np.testing.assert_array_equal(reader.read(slice(None), slice(None)), cube)
            m = reader.metadata
            assert len(reader.files) == 2
        for found, values in zip((m.wavelengths, m.fwhm, m.scale, m.offset), columns.values(),
                                 strict=True):  # fmt: skip
            np.testing.assert_array_equal(found, values[first : first + cube.shape[2]])
        assert (m.nodata, m.bad_bands) == (-32768, None)


@pytest.mark.parametrize(
    ("num_vnir", "message"),
    [
        ("4", "XML describes 4 bands of VNIR, the image next to it has 3: expected both"),
        ("7", "numberOfVNIRBands is '7', expected a number from 1 to 6, as the bands of VNIR and"),
        ("0", "numberOfVNIRBands is '0'"),
        ("2.5", r"numberOfVNIRBands is '2\.5'"),
        ("many", "numberOfVNIRBands is 'many'"),
    ],
)
def test_enmap_level_1b_whose_xml_does_not_fit(tmp_path, num_vnir, message):
    cubes = np.ones((4, 3, 3), np.int16), np.ones((4, 3, 4), np.int16)
    with pytest.raises(ValueError, match=message):
        open_cube(write_enmap_l1b(tmp_path, *cubes, num_vnir=num_vnir)[0])


ENTITIES = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c SYSTEM "file:///etc/hostname">]>'
DEEP = "<a>" * 70 + "</a>" * 70


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (dlr_xml("EnMAP", 6), r"XML describes 6 bands, the image next to it has 7"),
        (ENTITIES + dlr_xml("EnMAP", 7), "damaged: it has a document type, which could define"),
        ((ENTITIES + dlr_xml("EnMAP", 7)).encode("utf-16"), "it has a document type"),
        (dlr_xml("EnMAP", 7).replace("<level_X>", "<level_X>&b;"), "may be damaged: undefined"),
        (dlr_xml("EnMAP", 7)[:-30], "may be damaged: unclosed token"),
        (dlr_xml("EnMAP", 7).replace("<level_X>", f"<level_X>{DEEP}"), "more than 64 deep"),
        (dlr_xml("DESIS", 7).replace(">401", ">x401"), "wavelengthCenterOfBand is not a number"),
        ("", "may be damaged: no element found"),
        ("<?xml version='1.0' encoding='nonsense'?><a/>", "may be damaged: unknown encoding"),
    ],
    ids=str.split("fewer entities utf16 undefined cut deep nan empty encoding"),
)
def test_xml_that_is_refused(tmp_path, content, message):
    path = write_dlr(tmp_path, np.ones((4, 3, 7), np.int16), "EnMAP")
    described = next(tmp_path.glob("*.XML"))
    described.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        open_cube(path)


def test_products_that_declare_more_than_they_hold(tmp_path, monkeypatch):
    path = write_prisma(tmp_path / "a.he5", *prisma_cubes())
    with h5py.File(path, "a") as file:
        fields = file["HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields"]
        del fields["SWIR_Cube"]
        fields.create_dataset("SWIR_Cube", (10**5, 8, 10**5), "u2", chunks=(5, 8, 4))
    with pytest.raises(ValueError, match=r"declares a cube of \(100000, 8, 100000\) uint16"):
        open_cube(path)
    path = write_dlr(tmp_path, np.ones((4, 3, 7), np.int16), "EnMAP")
    monkeypatch.setattr(dlr, "_MOST_XML_BYTES", 100)
    with pytest.raises(ValueError, match=r"METADATA\.XML is too long: expected at most 100 bytes"):
        open_cube(path)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"], file["lon"] = np.zeros((4, 3, 7)), np.zeros((4, 3))
        file.create_dataset("lat", (4, 3), "f4", chunks=(10**5, 10**5), maxshape=(None, None))
    with pytest.raises(ValueError, match=r"declares a cube of \(100000, 100000\) float32"):
        open_cube(tmp_path / "a.h5")


def test_an_image_without_its_xml_is_read_and_said_to_be(tmp_path, capsys):
    forget_notes()
    path = write_dlr(tmp_path, np.ones((4, 3, 7), np.int16), "DESIS")
    next(tmp_path.glob("*.xml")).unlink()
    with open_cube(path) as reader:
        assert reader.metadata.wavelengths is None
    assert "but there is no DESIS-HSI-L2A-DT1-METADATA.XML next to it" in capsys.readouterr().out
    (tmp_path / "a-METADATA.XML").touch()
    with pytest.raises(ValueError, match=r"not of a known format: .* here the image -SPECTRAL_IM"):
        open_cube(tmp_path / "a-METADATA.XML")


@settings(few_examples, max_examples=5)
@given(data=st.data())
def test_emit(tmp_path, data):
    """A swath keeps latitude and longitude; good wavelengths and fill values are understood."""
    shape = tuple(data.draw(st.integers(2, 5)) for _ in range(3))
    good = data.draw(st.lists(st.integers(0, 1), min_size=shape[2], max_size=shape[2]))
    name = data.draw(st.sampled_from(["reflectance", "radiance"]))
    path, cube, latitude, longitude = write_emit(tmp_path / "a.nc", shape, name, good)
    with open_cube(path) as reader:
        np.testing.assert_array_equal(reader.read(slice(None), slice(None)), cube)
        m = reader.metadata
    np.testing.assert_allclose(m.wavelengths, 381 + 7.4 * np.arange(shape[2]), rtol=1e-6)
    np.testing.assert_allclose(m.fwhm, np.full(shape[2], 8.4), rtol=1e-6)
    assert m.bad_bands.tolist() == [flag == 0 for flag in good]
    assert (m.nodata, m.variable, m.crs, m.transform) == (-9999, name, None, None)
    np.testing.assert_array_equal(m.latitude, np.where(latitude == -9999, np.nan, latitude))
    np.testing.assert_array_equal(m.longitude, longitude)
    assert "geotransform" not in m.enlarged(2).tags
    with create_cube(tmp_path / "b.nc", cube.shape, cube.dtype, m, overwrite=True) as writer:
        writer.write(cube, 0, 0)
    with open_cube(tmp_path / "b.nc") as reader:
        assert (reader.metadata.variable, reader.metadata.nodata) == (name, -9999)
        np.testing.assert_array_equal(reader.metadata.longitude, longitude)


def test_an_emit_file_without_its_place_is_said_to_be(tmp_path, capsys):
    forget_notes()
    path = write_emit(tmp_path / "a.nc", (4, 3, 7))[0]
    open_cube(path).close()
    assert capsys.readouterr().out == ""
    with h5py.File(path, "a") as file:
        del file["location/lat"]
    with open_cube(path) as reader:
        assert reader.metadata.longitude is None
    assert "is of EMIT, but has no latitude and longitude" in capsys.readouterr().out


def spectral_cube(data, least=1):
    """A cube in which the first pixel has no data, ascending wavelengths, and their widths."""
    rows, columns, bands = (data.draw(st.integers(n, 5)) for n in (2, 2, least))
    wave = st.floats(376, 2500, width=32)
    waves = data.draw(st.lists(wave, min_size=bands, max_size=bands, unique=True))
    widths = data.draw(st.lists(st.floats(4, 9, width=32), min_size=bands, max_size=bands))
    cube = np.random.default_rng(data.draw(st.integers(0, 9))).random((rows, columns, bands), "f4")
    cube[0, 0] = -9999
    return cube, np.sort(waves), np.array(widths)


metres = st.floats(1e5, 8e6).map(lambda x: round(x, 3))


@settings(few_examples, max_examples=10)
@given(data=st.data())
def test_aviris_3(tmp_path, data):
    """On a map with its coordinate system, or as measured with latitude and longitude."""
    cube, waves, widths = spectral_cube(data)
    orthorectified = data.draw(st.booleans())
    corner, pixel_m = data.draw(st.tuples(metres, metres)), data.draw(st.floats(0.5, 20))
    path = tmp_path / "a.nc"
    latitude, longitude = write_aviris_3(
        path, cube, orthorectified=orthorectified, wavelengths=waves, fwhm=widths,
        corner=corner, pixel_m=pixel_m,
    )  # fmt: skip
    chosen = data.draw(st.permutations(range(cube.shape[2])))[:3]
    with open_cube(path) as reader:
        np.testing.assert_array_equal(reader.read(slice(None), slice(None)), cube)
        window = reader.read(slice(1, 2), slice(1, None), chosen)
        m = reader.metadata
    np.testing.assert_array_equal(window, cube[1:2, 1:][..., chosen])
    np.testing.assert_array_equal(m.wavelengths, waves)
    np.testing.assert_array_equal(m.fwhm, widths)
    assert m.nodata == -9999
    if orthorectified:
        outer = corner[0] - pixel_m / 2, corner[1] + pixel_m / 2
        assert m.transform == (pixel_m, 0, outer[0], 0, -pixel_m, outer[1])
        assert rasterio.crs.CRS.from_wkt(m.crs).to_epsg() == 32611
        assert (m.latitude, m.longitude, m.variable) == (None, None, "reflectance")
    else:
        assert (m.crs, m.transform, m.variable) == (None, None, "radiance")
        np.testing.assert_array_equal(m.latitude, latitude)
        np.testing.assert_array_equal(m.longitude, longitude)


@few_examples
@given(data=st.data())
def test_aviris_ng(tmp_path, data):
    """An orthocorrected, rotated grid in ENVI format, whose raw file has no suffix."""
    cube, waves, widths = spectral_cube(data)
    east, north, pixel_m = data.draw(metres), data.draw(metres), data.draw(st.floats(0.5, 20))
    rotation = round(data.draw(st.floats(-180, 180)), 8)
    level = data.draw(st.sampled_from(["rfl", "rdn"]))
    header, raw = write_aviris_ng(
        tmp_path, cube, wavelengths=waves, fwhm=widths, level=level,
        map_info=(east, north, pixel_m, rotation),
        interleave=data.draw(st.sampled_from(["bil", "bip", "bsq"])),
    )  # fmt: skip
    with open_cube(data.draw(st.sampled_from([header, raw]))) as reader:
        np.testing.assert_array_equal(reader.read(slice(None), slice(None)), cube)
        m = reader.metadata
    np.testing.assert_array_equal(m.wavelengths, waves)
    np.testing.assert_array_equal(m.fwhm, widths)
    assert m.nodata == -9999
    assert rasterio.crs.CRS.from_wkt(m.crs).to_epsg() == 32606
    cos, sin = pixel_m * np.cos(np.radians(rotation)), pixel_m * np.sin(np.radians(rotation))
    expected = (cos, sin, east, sin, -cos, north)
    np.testing.assert_allclose(m.transform, expected, rtol=1e-12, atol=1e-12)
    assert header.stem in list_cubes(tmp_path)
