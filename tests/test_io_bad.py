"""Damaged, lying and missing files; outputs that must not be written or must not be left."""

import gzip
import json
import os
import pickle
import struct
import zipfile
import zlib

import h5py
import numpy as np
import pytest
import rasterio
import scipy.io
import zarr
from numcodecs import Blosc
from PIL import Image
from support.cubes import TYPES, everything, random_cube, write
from support.sensor_files import (
    write_aviris_3,
    write_aviris_ng,
    write_dlr,
    write_emit,
    write_prisma,
)
from zarr.codecs import BloscCodec

from dualsr_jax import extras
from dualsr_jax.disk import replacing
from dualsr_jax.io import damage
from dualsr_jax.io.cubes import create_cube, list_cubes, open_cube, read_cube
from dualsr_jax.io.formats import (
    band_images,
    geotiff,
    hdf5,
    matlab,
    netcdf_zarr,
    numpy_files,
)
from dualsr_jax.io.formats import envi as envi_format
from dualsr_jax.io.guards import hdf5_references, matlab5
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.io.raw import RawArray
from dualsr_jax.io.sensors import dlr, prisma

PLACE = {"transform": (1.0, 0.0, 5.0, 0.0, -1.0, 5.0)}
CUBE = random_cube((6, 5, 7), "uint16")


def read(path, **options):
    with open_cube(path, **options) as reader:
        return reader.read(slice(None), slice(None))


def envi(folder, **changes):
    write(folder / "a.hdr", CUBE, everything(7))
    text = (folder / "a.hdr").read_text()
    for key, value in changes.items():
        line = next(x for x in text.splitlines() if x.startswith(key.replace("_", " ")))
        text = text.replace(line, "" if value is None else f"{key.replace('_', ' ')} = {value}")
    (folder / "a.hdr").write_text(text)
    return folder / "a.hdr"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 6}, r"says that there are 504 bytes .*there are 420"),
        ({"samples": 10**17}, "there are 420"),
        ({"bands": 3}, "there are 420"),
        ({"lines": -6}, "lines is '-6', expected an integer"),
        ({"lines": "9" * 30}, "lines is '999"),
        ({"bands": None}, "has no entry 'bands': add it, an integer from 1"),
        ({"data_type": 6}, "there are 420"),
        ({"data_type": 7}, "unknown data type 7"),
        ({"interleave": "bsx"}, "interleave is 'bsx'"),
        ({"byte_order": 2}, "byte order is '2'"),
        ({"header_offset": "x"}, "header offset is 'x'"),
    ],
)
def test_lying_envi_headers(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        read(envi(tmp_path, **changes))


def test_envi_files_without_their_other_half(tmp_path):
    header = envi(tmp_path)
    raw = (tmp_path / "a.img").rename(tmp_path / "b.img")
    with pytest.raises(FileNotFoundError, match=r"no pixels next to the ENVI header .*a\.hdr"):
        read(header)
    with pytest.raises(FileNotFoundError, match=r"no ENVI header next to .*b\.img"):
        read(raw)
    (tmp_path / "b.hdr").write_text("NROWS 5\n")
    with pytest.raises(ValueError, match="is not an ENVI header"):
        read(raw)


def test_packed_envi(tmp_path):
    header = envi(tmp_path, byte_order="0\nfile compression = 1")
    raw = tmp_path / "a.img"
    packed = gzip.compress(CUBE.transpose(2, 0, 1).tobytes())
    raw.write_bytes(packed)
    np.testing.assert_array_equal(read(header), CUBE)
    raw.write_bytes(packed[:-30])
    with pytest.raises(ValueError, match=r"a\.img cannot be read, it may be damaged"):
        read(header)
    raw.write_bytes(packed[:40] + b"\xff\xff" + packed[42:])
    with pytest.raises(ValueError, match="may be damaged"):
        read(header)
    raw.write_bytes(gzip.compress(bytes(50_000_000)))  # 48 kB
    with pytest.raises(ValueError, match=r"420 bytes of pixels are packed .*there are more"):
        read(header)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".nc", ".mat", ".tif"])
def test_truncated_and_foreign_files(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write(path, CUBE, everything(7))
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no cube at all" * 50):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.\w+ cannot be read, it may be damaged"):
            read(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        read(path)


def test_a_tiff_with_a_tag_of_no_known_type(tmp_path):
    """GDAL's error has no public name in rasterio, and comes only when a property is read."""
    write(tmp_path / "a.tif", CUBE, everything(7))
    content = (tmp_path / "a.tif").read_bytes()
    entry = struct.pack("<HHI", 258, 3, 7)  # bits per sample: seven numbers
    assert content.count(entry) == 1
    (tmp_path / "a.tif").write_bytes(content.replace(entry, struct.pack("<HHI", 1, 0, 7)))
    with pytest.raises(ValueError, match=r"a\.tif cannot be read, it may be damaged"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("code", [14, 32772])
def test_type_codes_at_which_scipy_crashes(tmp_path, packed, code):
    scipy.io.savemat(tmp_path / "a.mat", {"cube": CUBE})
    content = bytearray((tmp_path / "a.mat").read_bytes())
    place = content.index(struct.pack("<II", 4, CUBE.nbytes))  # uint16, as many bytes
    content[place : place + 4] = struct.pack("<I", code)
    if packed:
        element = zlib.compress(content[128:])
        content[128:] = struct.pack("<II", 15, len(element)) + element
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(ValueError, match=rf"may be damaged: an element is of type {code}"):
        read(tmp_path / "a.mat")


def test_a_matrix_in_place_of_the_name_of_a_matrix(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"cube": CUBE})
    head = (tmp_path / "a.mat").read_bytes()[:128]
    flags, size = struct.pack("<IIII", 6, 8, 1, 0), struct.pack("<IIii", 5, 8, 1, 1)  # of a cell
    inner = flags + size + struct.pack("<II", 1, 0) + struct.pack("<II", 9, 0)
    content = flags + size + struct.pack("<II", 14, len(inner)) + inner
    (tmp_path / "a.mat").write_bytes(head + struct.pack("<II", 14, len(content)) + content)
    with pytest.raises(ValueError, match="an element is of type 14: expected numbers"):
        read(tmp_path / "a.mat")


def test_a_matlab_matrix_that_says_it_is_complex(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"cube": CUBE})
    content = bytearray((tmp_path / "a.mat").read_bytes())
    content[128 + 17] |= 0x08  # the flags of the first matrix; its imaginary part is not there
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(ValueError, match="a matrix has 4 elements: expected 5"):
        read(tmp_path / "a.mat")


def test_complex_data(tmp_path):
    values = CUBE.astype(np.complex64)
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "a.npz", values)
    scipy.io.savemat(tmp_path / "a.mat", {"cube": values})
    (tmp_path / "a.img").write_bytes(values.tobytes())
    (tmp_path / "a.hdr").write_text(
        "ENVI\nsamples = 5\nlines = 6\nbands = 7\ndata type = 6\ninterleave = bip\n"
    )
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"] = values
    zarr.save_array(tmp_path / "a.zarr", values)
    profile = {"driver": "GTiff", "width": 5, "height": 6, "count": 1, "dtype": "complex64"}
    with (
        pytest.warns(rasterio.errors.NotGeoreferencedWarning),
        rasterio.open(tmp_path / "a.tif", "w", **profile) as dataset,
    ):
        dataset.write(values[..., 0], 1)
    for path in tmp_path.iterdir():
        with pytest.raises(ValueError, match="complex numbers"):
            read(path)


def test_files_that_declare_more_than_they_hold(tmp_path):
    huge = (10**6, 10**6, 200)
    header = np.lib.format.dtype_to_descr(np.dtype("f8"))
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": header, "fortran_order": False, "shape": huge}
        )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(tmp_path / "a.npy", "cube.npy")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("cube", huge, "f8", chunks=(10, 10, 10))
    zarr.create_array(tmp_path / "a.zarr", shape=huge, chunks=(10, 10, 10), dtype="f8")
    profile = {"driver": "GTiff", "width": 10**5, "height": 10**5, "count": 3, "dtype": "float64"}
    with (
        pytest.warns(rasterio.errors.NotGeoreferencedWarning),
        rasterio.open(tmp_path / "a.tif", "w", sparse_ok=True, tiled=True, **profile),
    ):
        pass
    zarr.create_array(tmp_path / "b.zarr", shape=(6, 5, 7), chunks=huge, dtype="f8")
    for path in tmp_path.iterdir():
        with pytest.raises(ValueError, match=r"declares a cube of|header says"):
            read_cube(path)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cube.npy", (tmp_path / "a.npy").read_bytes() + bytes(100))
    with pytest.raises(ValueError, match="header says"):
        read(tmp_path / "a.npz")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_sparse_geotiff_is_read_by_window(tmp_path):
    profile = {"driver": "GTiff", "width": 20_000, "height": 20_000, "count": 6, "dtype": "uint16"}
    profile |= {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
    with rasterio.open(tmp_path / "a.tif", "w", sparse_ok=True, **profile) as dataset:
        dataset.write(CUBE[..., 0], 1, window=((300, 306), (300, 305)))
    with open_cube(str(tmp_path / "a.tif")) as reader:
        found = reader.read(slice(300, 306), slice(300, 305), [0, 1])
    np.testing.assert_array_equal(found[..., 0], CUBE[..., 0])
    assert not found[..., 1].any()
    with pytest.raises(ValueError, match=r"a\.tif declares a cube of \(20000, 20000, 6\)"):
        read_cube(tmp_path / "a.tif")


def test_what_deflate_can_pack_is_read_however_large(tmp_path):
    shape = (2**15, 2**15, 1)  # 1 GiB
    damage.check_size(tmp_path, shape, np.dtype("u1"), 2**20)
    with pytest.raises(ValueError, match=r"1073741824 bytes, but holds only 524288"):
        damage.check_size(tmp_path, shape, np.dtype("u1"), 2**19)


def test_a_folder_of_empty_images_is_not_unpacked(tmp_path, monkeypatch):
    for k in range(4):
        Image.new("L", (500, 500)).save(tmp_path / f"{k}.png", optimize=True)
    monkeypatch.setattr(damage, "_HARMLESS_BYTES", 2**19)
    monkeypatch.setattr(damage, "_MOST_PACKED", 100)
    with pytest.raises(ValueError, match=r"declares a cube of \(500, 500, 4\) uint8"):
        open_cube(tmp_path)


def test_hdf5_that_points_elsewhere(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("cube", (6, 5, 7), "u2", external=[("secret", 0, 420)])
    with pytest.raises(ValueError, match="only points to other files"):
        read(tmp_path / "a.h5")


class Program:
    """Creates a file when it is unpickled."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return (open, (str(self.place), "w"))


_TEXT, _PICKLE = {"id": "vlen-utf8"}, {"id": "pickle"}


def test_names_in_hdf5_that_are_not_utf8(tmp_path):
    """h5py gives them as bytes, those of datasets, of groups and of attributes."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file[b"\x7f\xff/cube"] = CUBE
        file[b"\x7f\xff/band_\xff"] = np.arange(7)
        file[b"\x7f\xff/cube"].attrs.create(b"units\xff", 1)
        file.attrs.create(b"\xff", 2)
    np.testing.assert_array_equal(read(tmp_path / "a.h5"), CUBE)
    with open_cube(tmp_path / "a.h5", "\x7f\\xff/cube") as reader:
        assert reader.shape == CUBE.shape


@pytest.mark.parametrize(
    "codecs",
    [
        {"filters": [_TEXT, _PICKLE], "compressor": None},
        {"filters": [_TEXT], "compressor": _PICKLE},
        {"filters": [_PICKLE], "compressor": None},
    ],
)
def test_zarr_is_never_unpickled(tmp_path, monkeypatch, codecs):
    monkeypatch.setattr("numcodecs.pickles.Pickle.decode", lambda _, content: pickle.loads(content))
    write(tmp_path / "a.zarr", CUBE, everything(7))
    array = tmp_path / "a.zarr" / "band_names"
    array.mkdir()
    said = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "fill_value": None}
    (array / ".zarray").write_text(json.dumps({**said, "order": "C", **codecs}))
    (array / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["n"]}')
    (array / "0").write_bytes(pickle.dumps(Program(tmp_path / "made")))
    with pytest.raises(ValueError, match=r"names the codec 'pickle', .* could run a program"):
        read(tmp_path / "a.zarr")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("zarr.json", {"codecs": [{"name": "numcodecs.pickle"}]}),
        ("zarr.json", {"codecs": [{"name": "numcodecs.zlib", "configuration": {"id": "x"}}]}),
        ("zarr.json", {"codecs": [{"configuration": {"index_codecs": ["x"]}}]}),
        ("zarr.json", {"consolidated_metadata": {"metadata": {"attributes": {"codecs": ["x"]}}}}),
        (".zmetadata", {"metadata": {"b/.zarray": {"compressor": {"id": "x"}}}}),
    ],
)
def test_unknown_codecs_are_refused_wherever_they_stand(tmp_path, name, content):
    write(tmp_path / "a.zarr", CUBE)
    (tmp_path / "a.zarr" / "cube" / name).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"names the codec '(pickle|x)'"):
        read(tmp_path / "a.zarr")


def test_zarr_of_any_known_codecs_is_read(tmp_path):
    """Attributes may have the names of codecs."""
    attributes = {"filters": ["red"], "codecs": "none"}
    names = {"dimension_names": ("y", "x", "band"), "attributes": attributes}
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3)
    group.create_array("cube", data=CUBE, chunks=(3, 5, 7), shards=(6, 5, 7), **names)
    np.testing.assert_array_equal(read(tmp_path / "a.zarr"), CUBE)


@pytest.mark.parametrize(
    "layout",
    [
        {"zarr_format": 2, "compressors": Blosc()},
        {"zarr_format": 3, "compressors": BloscCodec()},
        {"zarr_format": 3, "compressors": BloscCodec(), "shards": (6, 5, 7)},
    ],
    ids=["2", "3", "shards"],
)
@pytest.mark.parametrize("declared", [0, 2**20])
def test_blosc_frames_that_declare_more_than_is_stored(tmp_path, layout, declared):
    made = zarr.create_array(tmp_path / "a.zarr", data=CUBE, chunks=(3, 5, 7), **layout)
    np.testing.assert_array_equal(read(tmp_path / "a.zarr"), CUBE)
    first = tmp_path / "a.zarr" / made.metadata.encode_chunk_key((0, 0, 0))
    content = bytearray(first.read_bytes())
    content[12:16] = declared.to_bytes(4, "little")  # numcodecs believes it
    first.write_bytes(content)
    with pytest.raises(ValueError, match=f"a Blosc frame of {declared} bytes is stored in"):
        read(tmp_path / "a.zarr")
    first.write_bytes(content[:7])
    with pytest.raises(ValueError, match=r"may be damaged"):
        read(tmp_path / "a.zarr")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_texts_in_zarr_that_cannot_be_as_many(tmp_path, zarr_format):
    path = tmp_path / "a.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    names = {"dimension_names": ("y", "x", "band")} if zarr_format == 3 else {}
    cube = group.create_array("cube", data=CUBE, **names)
    how = {"dtype": str, "shape": (7,), "compressors": None}
    names = {"dimension_names": ("band",)} if zarr_format == 3 else {}
    texts = group.create_array("band_name", **how, **names)
    if zarr_format == 2:
        cube.attrs["_ARRAY_DIMENSIONS"], texts.attrs["_ARRAY_DIMENSIONS"] = (
            ["y", "x", "band"],
            ["band"],
        )
    texts[:] = np.array(list("abcdefg"), object)
    np.testing.assert_array_equal(read(path), CUBE)
    chunk = path / "band_name" / texts.metadata.encode_chunk_key((0,))
    content = chunk.read_bytes()
    assert content[:4] == b"\7\0\0\0"
    chunk.write_bytes(b"\xff\xff\xff\x7f" + content[4:])  # numcodecs would take 16 GB
    with pytest.raises(ValueError, match=f"2147483647 texts or lists are stored in {len(content)}"):
        read(path)


def test_links_in_a_zarr_store_are_refused(tmp_path):
    write(tmp_path / "a.zarr", CUBE)
    (tmp_path / "a.zarr" / "cube").rename(tmp_path / "cube")
    (tmp_path / "a.zarr" / "cube").symlink_to(tmp_path / "cube")
    with pytest.raises(ValueError, match="cube is a link to another place: copy the store"):
        read(tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / "cube").unlink()
    (tmp_path / "cube").rename(tmp_path / "a.zarr" / "cube")
    (tmp_path / "b.zarr").symlink_to(tmp_path / "a.zarr")  # the store itself may be one
    np.testing.assert_array_equal(read(tmp_path / "b.zarr"), CUBE)


@pytest.mark.parametrize("name", ["cube", "wavelength", "group/fwhm"])
@pytest.mark.parametrize("how", ["external", "virtual", "link", "soft link"])
def test_netcdf_that_points_elsewhere(tmp_path, name, how):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = CUBE
    with h5py.File(tmp_path / "a.nc", "w") as file:
        if name != "cube":
            file["cube"] = CUBE
        if how == "external":
            file.create_dataset(name, CUBE.shape, "u2", external=[("other.h5", 0, CUBE.nbytes)])
        elif how == "virtual":
            layout = h5py.VirtualLayout(CUBE.shape, "u2")
            layout[:] = h5py.VirtualSource("other.h5", "secret", CUBE.shape)
            file.create_virtual_dataset(name, layout)
        else:
            external = h5py.ExternalLink("other.h5", "secret")
            file[name] = external if how == "link" else h5py.SoftLink("/elsewhere")
    with pytest.raises(ValueError, match=rf"a\.nc: {name} only points to other files"):
        open_cube(tmp_path / "a.nc")


def test_a_netcdf_group_that_holds_itself(tmp_path):
    """xarray would never come to an end."""
    with h5py.File(tmp_path / "a.nc", "w") as file:
        file["cube"] = CUBE
        file.create_group("inner")["outer"] = file["/"]
    with pytest.raises(ValueError, match="only points to other files or places"):
        open_cube(tmp_path / "a.nc")


def test_hidden_names_are_not_scenes(tmp_path):
    write(tmp_path / "a.npy", CUBE)
    write(tmp_path / "b", CUBE)
    for name in (".partial.a.npy", "._a.npy", ".replaced.b.hdr", "b/._b_1.png"):
        (tmp_path / name).write_bytes(b"left over")
    write(tmp_path / "d", CUBE)
    (tmp_path / "d").rename(tmp_path / ".partial.b")
    write(tmp_path / "c", CUBE)
    (tmp_path / "c").rename(tmp_path / "b" / ".partial.c")
    assert list(list_cubes(str(tmp_path))) == ["a", "b"]
    np.testing.assert_array_equal(read(tmp_path / "b"), CUBE)


@pytest.mark.parametrize("shape", [(2**23,), (2**13, 2**10)])
def test_large_metadata_in_an_npz_is_not_unpacked(tmp_path, monkeypatch, shape):
    write(tmp_path / "a.npz", CUBE, Metadata(nodata=3.0))
    with zipfile.ZipFile(tmp_path / "a.npz", "a", zipfile.ZIP_DEFLATED) as archive:
        for name in ("fwhm", "offset"):
            with archive.open(f"{name}.npy", "w") as member:
                np.save(member, np.zeros(shape, "u1"))
        with archive.open("tags.npy", "w") as member:
            np.save(member, np.array("x" * 2**22))
    read_array = np.lib.format.read_array
    made = []
    monkeypatch.setattr(
        np.lib.format, "read_array", lambda *a, **k: made.append(read_array(*a, **k)) or made[-1]
    )
    with open_cube(tmp_path / "a.npz") as reader:
        assert reader.metadata == Metadata(nodata=3.0)
    assert max(array.nbytes for array in made) == CUBE.nbytes


@pytest.mark.filterwarnings("ignore:.*phony_dims:UserWarning")
@pytest.mark.parametrize("suffix", [".h5", ".nc", ".zarr"])
def test_metadata_of_wide_texts_or_chunks_is_not_unpacked(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write(path, CUBE, Metadata(nodata=3.0))
    if suffix == ".zarr":
        group = zarr.open_group(path, mode="a", zarr_format=2)
        for name, length, chunk, dtype in (("crs", 1, 1, "<U4000000"), ("fwhm", 7, 2**21, "f8")):
            names = {"_ARRAY_DIMENSIONS": [name]}
            group.create_array(
                name, shape=(length,), chunks=(chunk,), dtype=dtype, attributes=names
            )
    else:
        with h5py.File(path, "a") as file:
            file.create_dataset("crs", (1,), "S9000000", chunks=(1,))
            file.create_dataset("fwhm", (7,), "f8", chunks=(2**21,), maxshape=(None,))
    with open_cube(path) as reader:
        assert (reader.metadata.crs, reader.metadata.fwhm) == (None, None)
        assert reader.metadata.nodata == 3.0


@pytest.mark.parametrize(
    ("suffix", "module", "helper"),
    [
        (".hdr", envi_format, "to_metadata"),
        (".tif", geotiff, "spectral"),
        (".nc", netcdf_zarr, "from_variables"),
        (".zarr", netcdf_zarr, "rows_columns_bands"),
        (".h5", hdf5, "from_variables"),
        (".h5", hdf5_references, "_number"),
        (".mat", matlab, "to_metadata"),
        (".npy", numpy_files, "from_variables"),
        (".npz", numpy_files, "_plain"),
        ("", band_images, "_together"),
        (".npy", RawArray, "_place"),
    ],
)
def test_a_slip_of_our_own_code_is_not_reported_as_damage(
    tmp_path, monkeypatch, suffix, module, helper
):
    def slip(*_):
        raise TypeError("of our own")

    write(tmp_path / f"a{suffix}", CUBE, everything(7))
    monkeypatch.setattr(module, helper, slip)
    with pytest.raises(TypeError, match="of our own"):
        read(tmp_path / f"a{suffix}")


OF_BANDS = {"wavelengths": 400.0 + 10 * np.arange(7), "fwhm": np.full(7, 5.0)}


def aviris_3(folder):
    write_aviris_3(folder / "a.nc", CUBE.astype("f4"), orthorectified=True, **OF_BANDS)
    return folder / "a.nc"


def aviris_ng(folder):
    place = (4e5, 5e6, 4.0, 15.0)
    return write_aviris_ng(folder, CUBE.astype("f4"), map_info=place, **OF_BANDS)[0]


# Sensors' products: how a small one is written, and a helper of our own that reads it.
SENSORS = {
    "prisma": (lambda folder: write_prisma(folder / "a.he5", *[CUBE[:5, :4, :].repeat(2, 1)] * 2),
               prisma, "_metadata"),
    "enmap": (lambda folder: write_dlr(folder, CUBE.astype("i2"), "EnMAP"), dlr, "_described"),
    "desis": (lambda folder: write_dlr(folder, CUBE.astype("i2"), "DESIS"), dlr, "_channels"),
    "emit": (lambda folder: write_emit(folder / "a.nc", CUBE.shape)[0], netcdf_zarr, "angle_name"),
    "aviris_3": (aviris_3, netcdf_zarr, "_inheriting"),
    "aviris_ng": (aviris_ng, envi_format, "to_metadata"),
}  # fmt: skip


@pytest.mark.parametrize("sensor", SENSORS)
def test_damaged_products_of_sensors(tmp_path, sensor):
    """They are read or refused, as by scripts/fuzz_readers.py, whatever bytes are changed."""
    path = SENSORS[sensor][0](tmp_path)
    read(path)
    files = sorted(file for file in tmp_path.iterdir() if file.is_file())
    whole = [file.read_bytes() for file in files]
    rng = np.random.default_rng(0)
    refused = 0
    for case in range(40):
        file, content = files[case % len(files)], bytearray(whole[case % len(files)])
        place = int(rng.integers(min(len(content), 4096)))
        if case % 5 == 0:
            del content[place:]
        else:
            content[place : place + 4] = rng.bytes(4)
        file.write_bytes(content)
        try:
            read(path)
        except (ValueError, FileNotFoundError):
            refused += 1
        file.write_bytes(whole[case % len(files)])
    assert refused >= 7  # those cut short; a header may end before what nothing needs


@pytest.mark.parametrize("sensor", SENSORS)
def test_a_slip_in_a_reader_of_a_sensor_is_not_reported_as_damage(tmp_path, monkeypatch, sensor):
    def slip(*_):
        raise TypeError("of our own")

    write_one, module, helper = SENSORS[sensor]
    path = write_one(tmp_path)
    monkeypatch.setattr(module, helper, slip)
    with pytest.raises(TypeError, match="of our own"):
        read(path)


def test_a_slip_in_the_check_of_matlab_5_is_not_reported_as_damage(tmp_path, monkeypatch):
    def slip(*_):
        raise TypeError("of our own")

    scipy.io.savemat(tmp_path / "a.mat", {"cube": CUBE})
    monkeypatch.setattr(matlab5, "_matrix", slip)
    with pytest.raises(TypeError, match="of our own"):
        read(tmp_path / "a.mat")


def test_what_a_library_raises_is_reported_as_damage(tmp_path, monkeypatch):
    def damaged(*_, **__):
        raise TypeError("of the library")

    scipy.io.savemat(tmp_path / "a.mat", {"cube": CUBE})
    monkeypatch.setattr(scipy.io, "loadmat", damaged)
    with pytest.raises(ValueError, match=r"a\.mat cannot be read, it may be damaged: of the lib"):
        read(tmp_path / "a.mat")


def test_choice_of_the_variable(tmp_path):
    np.savez(tmp_path / "a.npz", one=CUBE, preview=CUBE[..., :3])
    np.testing.assert_array_equal(read(tmp_path / "a.npz"), CUBE)
    np.testing.assert_array_equal(read(tmp_path / "a.npz", key="preview"), CUBE[..., :3])
    with pytest.raises(ValueError, match=r"no cube 'two', only one \(6, 5, 7\)"):
        read(tmp_path / "a.npz", key="two")
    np.savez(tmp_path / "a.npz", one=CUBE, two=CUBE)
    with pytest.raises(ValueError, match="should hold one three-dimensional array"):
        read(tmp_path / "a.npz")


def test_unknown_formats(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(ValueError, match=r"not of a known format: expected .*\.hdr"):
        read(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"not of a known format: expected one of \.hdr"):
        write(tmp_path / "b.jpg", CUBE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no images"):
        read(tmp_path / "empty")


@pytest.mark.parametrize(
    ("rows", "columns", "bands"),
    [
        (slice(0, 7), slice(None), None),
        (slice(-2, 3), slice(None), None),
        (slice(0, 4, 2), slice(None), None),
        (slice(3, 3), slice(None), None),
        (slice(None), slice(0, 6), None),
        (slice(None), slice(None), [7]),
        (slice(None), slice(None), [-1]),
        (slice(None), slice(None), []),
    ],
)
def test_windows_outside(tmp_path, rows, columns, bands):
    np.save(tmp_path / "a.npy", CUBE)
    with open_cube(tmp_path / "a.npy") as reader, pytest.raises(ValueError, match=r"are not"):
        reader.read(rows, columns, bands)


# --- outputs


def stopped(path, **options):
    with create_cube(path, CUBE.shape, CUBE.dtype, everything(7), **options) as writer:
        writer.write(CUBE, 0, 0)
        raise RuntimeError("stop")


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("suffix", [*TYPES, ".img"])
def test_outputs_that_exist_are_refused_and_failures_leave_nothing(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(RuntimeError, match="stop"):
        stopped(path)
    assert not list(tmp_path.iterdir())
    write(path, CUBE, everything(7))
    before = contents(tmp_path)
    assert before
    with pytest.raises(ValueError, match="exists"):
        write(path, CUBE)
    with pytest.raises(RuntimeError, match="stop"):
        stopped(path, overwrite=True)
    assert contents(tmp_path) == before
    write(path, CUBE[:4], overwrite=True)
    np.testing.assert_array_equal(read(path), CUBE[:4])
    with open_cube(path) as reader:
        assert reader.metadata == Metadata()


def test_a_read_only_folder_is_refused_by_its_name(tmp_path, monkeypatch):
    """An administrator may write everywhere, so that the folder only looks read-only here."""
    there = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path and there(path, mode))
    with (
        pytest.raises(PermissionError, match=r"folder '.*' is read-only, so that a\.npy cannot"),
        create_cube(tmp_path / "a.npy", CUBE.shape, CUBE.dtype, Metadata()),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_the_header_of_an_envi_pair_is_refused_too(tmp_path):
    (tmp_path / "a.hdr").write_text("somebody's")
    with pytest.raises(ValueError, match=r"a\.hdr exists"):
        write(tmp_path / "a.bil", CUBE)


@pytest.mark.parametrize("name", ["a.npy", "a"])
def test_a_json_file_is_refused_and_replaced_like_the_cube(tmp_path, name, monkeypatch):
    described = tmp_path / f"{name}.json"
    described.write_text("somebody's")
    for metadata in (Metadata(), everything(7)):
        with pytest.raises(ValueError, match=rf"{name}\.json exists: choose another name"):
            write(tmp_path / name, CUBE, metadata)
    assert described.read_text() == "somebody's"
    described.unlink()

    def refused(source, target):
        if target == tmp_path / name:
            raise OSError("no")
        replace(source, target)

    replace = os.replace
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refused)
        with pytest.raises(OSError, match="no"):
            write(tmp_path / name, CUBE, everything(7))
    assert not list(tmp_path.iterdir())


def test_folders_of_other_images_are_not_replaced(tmp_path):
    image = tmp_path / "results" / "a.tif"
    image.parent.mkdir()
    image.touch()
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r"more than .*write into it \(--output=.*results/"):
            write(tmp_path / "results", CUBE, overwrite=overwrite)
    assert image.exists()


def test_the_files_of_others_stay(tmp_path):
    path, hidden = tmp_path / "git", tmp_path / ".git"
    hidden.mkdir()
    (hidden / "HEAD").write_text("somebody's")
    write(path, CUBE)
    assert (hidden / "HEAD").read_text() == "somebody's"
    (path / "notes.txt").write_text("somebody's")
    with pytest.raises(ValueError, match=r"git holds more than a cube of its name: choose another"):
        write(path, CUBE, overwrite=True)
    for name in ("a.zarr", "a.npy"):
        folder = tmp_path / name
        if name == "a.zarr":
            folder.write_text("somebody's")
        else:
            folder.mkdir()
        with pytest.raises(ValueError, match=r"a\.\w+ is a (file|folder), and a (file|folder) is"):
            write(folder, CUBE, overwrite=True)
    with (
        pytest.raises(IsADirectoryError, match="a file cannot take its place"),
        replacing(tmp_path / "a.npy") as partial,
    ):
        partial.touch()
    assert {p.name for p in tmp_path.iterdir()} == {"git", ".git", "a.zarr", "a.npy"}


def test_raw_files_that_would_share_a_header(tmp_path):
    write(tmp_path / "a.img", CUBE)
    with pytest.raises(ValueError, match=r"a\.img has the ENVI header a\.hdr already"):
        write(tmp_path / "a.bsq", CUBE, overwrite=True)
    (tmp_path / "a.img").rename(tmp_path / "a")
    (tmp_path / "a.dat").touch()
    with pytest.raises(ValueError, match=r"a\.hdr are a, a\.dat: name the one that holds"):
        read(tmp_path / "a.hdr")


def test_blocks_and_shapes_that_do_not_fit(tmp_path):
    path = tmp_path / "a.npy"
    for block, place in ((CUBE, (1, 0)), (CUBE, (0, 0, 1)), (CUBE, (-1, 0))):
        with (
            pytest.raises(ValueError, match="not inside"),
            create_cube(path, CUBE.shape, CUBE.dtype, Metadata()) as writer,
        ):
            writer.write(block, *place)
    with (
        pytest.raises(ValueError, match="the block is int64, the cube uint16"),
        create_cube(path, CUBE.shape, CUBE.dtype, Metadata()) as writer,
    ):
        writer.write(CUBE.astype(np.int64), 0, 0)
    for shape, dtype, metadata, message in (
        ((0, 5, 7), "u2", Metadata(), "all positive"),
        ((6, 5, 7), "c8", Metadata(), "complex64 are not written"),
        ((6, 5, 7), "g", Metadata(), "of at most 8 bytes"),
        ((6, 5, 7), "u2", everything(6), "wavelengths has 6 entries, the cube 7 bands"),
    ):
        with pytest.raises(ValueError, match=message), create_cube(path, shape, dtype, metadata):
            raise AssertionError
    with pytest.raises(FileNotFoundError, match="no folder"):
        write(tmp_path / "nowhere" / "a.npy", CUBE)
    assert not list(tmp_path.iterdir())


def test_what_a_format_cannot_hold(tmp_path):
    sheared = Metadata(transform=(2.0, 1.0, 0.0, 0.0, -2.0, 0.0))
    with pytest.raises(ValueError, match="cannot hold the sheared transform"):
        write(tmp_path / "a.hdr", CUBE, sheared)
    with pytest.raises(ValueError, match="cannot hold the tag 'long'"):
        write(tmp_path / "a.nc", CUBE, Metadata(tags={"long": "x" * 70_000}))
    assert not list(tmp_path.iterdir())
    # No uint16 pixel is -1: there is nothing to mark.
    write(tmp_path / "a.tif", CUBE, Metadata(nodata=-1.0, transform=(1.0, 0, 5, 0, -1, 5)))
    with open_cube(tmp_path / "a.tif") as reader:
        assert reader.metadata.nodata is None


@pytest.mark.parametrize("suffix", [".hdr", ".tif", ".nc", ".zarr"])
def test_a_bad_coordinate_system_is_refused_before_the_work(tmp_path, suffix):
    nowhere = Metadata(crs="by the GPS", transform=(1.0, 0, 5, 0, -1, 5))
    with (
        pytest.raises(ValueError, match=r"expected WKT, or a code such as .*, got 'by the GPS'"),
        create_cube(tmp_path / f"a{suffix}", CUBE.shape, CUBE.dtype, nowhere),
    ):
        raise AssertionError
    assert not list(tmp_path.iterdir())


def test_folders_that_are_not_band_images(tmp_path):
    Image.fromarray(CUBE[..., 0].astype(np.uint8)).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"\x89PNG and nothing else")
    with pytest.raises(ValueError, match=r"2\.png cannot be read"):
        read(tmp_path)
    Image.fromarray(CUBE[:3, :, 0].astype(np.uint8)).save(tmp_path / "2.png")
    with pytest.raises(ValueError, match="all bands of a cube must agree"):
        read(tmp_path)
    for suffix in ("png", "bmp", "tif"):
        folder = tmp_path / suffix
        folder.mkdir()
        Image.linear_gradient("L").quantize(7).save(folder / f"1.{suffix}")
        with pytest.raises(ValueError, match=rf"1\.{suffix} holds indices into a palette"):
            read(folder)
    write(tmp_path / "tif" / "1.tif", CUBE[..., :1], Metadata(nodata=3.0, **PLACE), overwrite=True)
    write(tmp_path / "tif" / "2.tif", CUBE[..., :1], Metadata(nodata=4.0, **PLACE))
    with pytest.raises(ValueError, match=r"2\.tif has the nodata value 4.0, the band before it 3"):
        read(tmp_path / "tif")
    write(tmp_path / "tif" / "1.tif", CUBE, Metadata(**PLACE), overwrite=True)
    with pytest.raises(ValueError, match=r"1\.tif holds 7 bands: one per file is expected"):
        read(tmp_path / "tif")
    write(tmp_path / "tif" / "1.tif", CUBE[..., :3], Metadata(**PLACE), overwrite=True)
    with pytest.raises(ValueError, match=r"1\.tif is a colour image"):
        read(tmp_path / "tif")


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    write(tmp_path / "a.tif", CUBE, Metadata())

    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(ValueError, match=r"needs the package 'rasterio': pip install .*\[geo\]"):
        read(tmp_path / "a.tif")
