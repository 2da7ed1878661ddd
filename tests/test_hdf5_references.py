"""References to texts in HDF5 files: lies in them are reported before HDF5 believes them."""

import re
import struct

import h5py
import numpy as np
import pytest
from support.cubes import everything, random_cube, write

from dualsr_jax.io.cubes import open_cube

CUBE = random_cube((6, 5, 7), "uint16")


def lie(path, place, content):
    with path.open("r+b") as file:
        file.seek(place)
        file.write(content)


def reference(content, length, userblock):
    """Where the reference to a text of this length stands: its length, then its heap's address."""
    heaps = [m.start() - userblock for m in re.finditer(b"GCOL", content)]
    found = [content.find(struct.pack("<IQ", length, heap)) for heap in heaps]
    (place,) = [place for place in found if place >= 0]
    return place


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"libver": "latest"},
        {"track_order": True},
        {"libver": "latest", "userblock_size": 512},
    ],
    ids=str,
)
def test_every_text_is_found(tmp_path, layout):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", **layout) as file:
        file["group/cube"] = CUBE
        file["group/crs"] = "x" * 1001
        chunked = np.array(["x" * 1002, "y" * 1003, "z" * 1004], object)
        file.create_dataset("names", data=chunked, chunks=(2,), dtype=h5py.string_dtype())
        file["large"] = np.zeros((300, 300))
        file["large"].attrs["units"] = "x" * 1005
        file["group"].attrs["two"] = ["x" * 1006, "y" * 1007]
        for length in range(1008, 1018):  # more than eight are not stored where fewer are
            file["group/cube"].attrs[f"attribute {length}"] = "x" * length
        numbers = np.empty(1, object)
        numbers[0] = np.ones(1018, np.uint8)
        file.attrs.create("numbers", numbers, dtype=h5py.vlen_dtype(np.uint8))
    with open_cube(path) as cube:
        assert cube.metadata.crs == "x" * 1001
    content = path.read_bytes()
    for length in range(1001, 1019):
        place = reference(content, length, layout.get("userblock_size", 0))
        lie(path, place, struct.pack("<I", 2**30))
        # HDF5 itself has checksums in its newer layout, and else says it after it took a GB.
        with pytest.raises(ValueError, match=r"of length 1073741824 is not in the heap|checksum"):
            open_cube(path)
        lie(path, place, content[place : place + 4])
    with open_cube(path) as cube:
        np.testing.assert_array_equal(cube.read(slice(None), slice(None)), CUBE)


@pytest.mark.parametrize("suffix", [".h5", ".nc"])
def test_damaged_heaps(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write(path, CUBE, everything(7))
    content = path.read_bytes()
    heap = content.index(b"GCOL")
    free = heap + 16
    while (number := int.from_bytes(content[free : free + 2], "little")) != 0:
        length = int.from_bytes(content[free + 8 : free + 16], "little")
        free += 16 + length + -length % 8
    assert number == 0
    for place, lies, message in (
        (free + 8, bytes(8), f"the heap of texts at {heap} is damaged"),  # HDF5 would never end
        (free + 8, b"\xff" * 8, f"the heap of texts at {heap} is damaged"),
        (heap + 8, struct.pack("<Q", 2**40), f"there is no heap of texts at {heap}"),
        (heap, b"GC0L", f"there is no heap of texts at {heap}"),
    ):
        lie(path, place, lies)
        with pytest.raises(ValueError, match=message):
            open_cube(path)
        lie(path, place, content[place : place + len(lies)])
    with open_cube(path) as cube:
        assert cube.metadata.crs is not None


def test_lists_of_an_unknown_kind(tmp_path):
    path = tmp_path / "a.h5"
    write(path, CUBE, everything(7))
    with h5py.File(path, "a") as file:
        numbers = np.empty(1, object)
        numbers[0] = np.ones(3, np.uint8)
        file.attrs.create("numbers", numbers, dtype=h5py.vlen_dtype(np.uint8))
        file.create_dataset("names", data=["a", "b"], dtype=h5py.string_dtype())
    content = path.read_bytes()
    # Data types of lists, of version 1: class 9, then the kind, 0 (numbers) or 1 (text).
    kinds = re.finditer(rb"\x19[\0\1][\0\1]\0\x10\0\0\0", content)
    places = [match.start() + 1 for match in kinds]
    assert len(places) >= 4
    for place in places:
        lie(path, place, b"\x0f")
        with pytest.raises(ValueError, match="a list of kind 15, which HDF5 does not have"):
            open_cube(path)
        lie(path, place, content[place : place + 1])
    with open_cube(path) as cube:
        np.testing.assert_array_equal(cube.read(slice(None), slice(None)), CUBE)
