"""Checks the references to texts in an HDF5 file before the HDF5 library follows them.

Texts and lists of any length lie in heaps; datasets and attributes refer to them by length, address
of a heap, and number in it. Here every reference in a dataset other than the cube, and in an
attribute, must be to a text that is there and as long. Layout: "HDF5 File Format Specification",
version 3.0, III.E (global heap), IV.A.2.m (attribute message).

The checks that HDF5 2.0 lacks: it makes room for the length that a reference declares, up to 4 GB
for a text, before it compares that with the object in the global heap; reading a global heap, it
never ends if the size of its free space is zero; and it ends the process at a list that is neither
of numbers nor a text. This module can go once the library makes all three.
"""

import itertools
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from dualsr_jax.io.damage import OWN_ERRORS, BadFileError, DamageError, reported_as_damage

MOST_SMALL = 2**20  # numbers of a dataset other than the cube
MOST_SMALL_BYTES = 8 * MOST_SMALL  # of its values, and of its chunks
_LARGE = 2**16  # bytes of a dataset in which no attributes are looked for
_READ_BYTES = 2**24
_MOST_MESSAGE = 2**17  # bytes of an attribute with its header
_VARIABLE_LENGTH = 9  # class of a data type
_ATTRIBUTE_SIZES = 6  # bytes: of the name, of the data type, of the shape
_HEAP_HEADER = 16

_Places = list[tuple[int, int]]  # begins and sizes, bytes


def check_texts(path: Path, file: h5py.File) -> None:
    """Raises ValueError if a reference in an open file does not lead to a text of its length."""
    with path.open("rb", buffering=0) as raw:
        with reported_as_damage(path):
            references = _References(raw.fileno(), file)
            names, texts, large = _survey(file)
        with reported_as_damage(path, OWN_ERRORS):
            for place, size in texts:
                references.check(references.read(place, size))
            for start, stop in _between(large, references.end):
                for begin in range(start, stop, _READ_BYTES):
                    length = min(_READ_BYTES + _MOST_MESSAGE, stop - begin)
                    references.check_attributes(references.read(begin, length), names)


def as_text(name: str | bytes) -> str:
    """A name as text: h5py gives those that are not UTF-8 as bytes."""
    return name if isinstance(name, str) else name.decode(errors="backslashreplace")


def check_whole(path: Path, file: h5py.File) -> None:
    """Raises ValueError if anything in an open file lies in other files or is reached by a link.

    For libraries that follow all links; they would follow one to an outer group without an end.
    """
    elsewhere: list[str | bytes] = []

    def look(name: str | bytes, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            if item.shape is not None and (item.external or item.is_virtual):
                elsewhere.append(name)
        elif isinstance(item, h5py.Group) and h5py.h5o.get_info(item.id).rc > 1:
            elsewhere.append(name)

    def look_at_link(name: str | bytes, link: Any) -> None:
        if not isinstance(link, h5py.HardLink):
            elsewhere.append(name)

    with reported_as_damage(path):
        look("/", file)
        file.visititems(look)
        file.visititems_links(look_at_link)
    if elsewhere:
        raise BadFileError(
            f"{path}: {as_text(elsewhere[0])} only points to other files or places: read those"
        )


def _survey(file: h5py.File) -> tuple[set[bytes], _Places, _Places]:
    """The names of all attributes, the places of references to texts, those of large datasets."""
    names: set[bytes] = set()
    texts: _Places = []
    large: _Places = []

    def look(_: str | bytes, item: Any) -> None:
        for name in item.attrs:
            _check_kind(item.attrs.get_id(name).get_type())
            names.add(name.encode() if isinstance(name, str) else name)
        if not isinstance(item, h5py.Dataset) or item.size is None:
            return
        kind = item.id.get_type()
        _check_kind(kind)
        is_text = isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()
        if not is_text and not isinstance(kind, h5py.h5t.TypeVlenID):
            if item.id.get_storage_size() > _LARGE:
                large.extend(_places(item))
        elif item.size <= MOST_SMALL and not item.id.get_create_plist().get_nfilters():
            texts.extend(_places(item))

    look("/", file)
    file.visititems(look)
    return names, texts, large


def _check_kind(kind: h5py.h5t.TypeID) -> None:
    """Raises DamageError if a data type holds a list that is neither of numbers nor a text."""
    if isinstance(kind, h5py.h5t.TypeCompoundID):
        for member in range(kind.get_nmembers()):
            _check_kind(kind.get_member_type(member))
    elif isinstance(kind, h5py.h5t.TypeArrayID):
        _check_kind(kind.get_super())
    elif isinstance(kind, h5py.h5t.TypeVlenID):  # of numbers: kind 0, h5py has texts elsewhere
        of_list = kind.encode()[3] & 0x0F  # after two bytes, encoded as in a file (IV.A.2.d)
        if of_list != 0:
            raise DamageError(f"it has a list of kind {of_list}, which HDF5 does not have")
        _check_kind(kind.get_super())


def _places(dataset: h5py.Dataset) -> _Places:
    """Where the values lie in the file."""
    if dataset.chunks is not None:
        found: _Places = []
        dataset.id.chunk_iter(lambda chunk: found.append((chunk.byte_offset, chunk.size)))
        return found
    offset = dataset.id.get_offset()
    return [] if offset is None else [(offset, dataset.id.get_storage_size())]


def _between(places: _Places, end: int) -> Iterator[tuple[int, int]]:
    """Begins and ends of the gaps between places."""
    position = 0
    for start, size in sorted(places):
        if position < start < end:
            yield position, start
        position = max(position, start + size)
    if position < end:
        yield position, end


class _References:
    """References in a file, and the heaps that they are to."""

    def __init__(self, descriptor: int, file: h5py.File) -> None:
        self.end = os.fstat(descriptor).st_size
        self._descriptor, self._base = descriptor, file.userblock_size
        self._address, self._length = file.id.get_create_plist().get_sizes()
        self._width = 4 + self._address + 4
        self._heaps: dict[int, dict[int, int]] = {}

    def read(self, place: int, size: int) -> bytes:
        """Reads bytes of the file, fewer where it ends."""
        place = min(place, self.end)
        return os.pread(self._descriptor, min(size, self.end - place), place)

    def check(self, content: bytes) -> None:
        """Checks references that follow each other without a gap."""
        for place in range(0, len(content) - self._width + 1, self._width):
            length = _number(content, place, 4)
            address = _number(content, place + 4, self._address)
            index = _number(content, place + 4 + self._address, 4)
            if address == 0:  # no text
                continue
            if address not in self._heaps:
                self._heaps[address] = self._read_heap(self._base + address)
            held = self._heaps[address].get(index)
            if held is None or length > held:
                raise DamageError(f"a text of length {length} is not in the heap at {address}")

    def _read_heap(self, address: int) -> dict[int, int]:
        """Bytes of the objects in a heap."""
        header = self._read_header(address)
        size = _number(header, 8, self._length)
        if header[:5] != b"GCOL\x01" or size > self.end - address:
            raise DamageError(f"there is no heap of texts at {address}")
        objects, place, end = {}, address + _HEAP_HEADER, address + size
        while place + _HEAP_HEADER <= end:
            header = self._read_header(place)
            index, length = _number(header, 0, 2), _number(header, 8, self._length)
            # Number 0 is what is free, and its length counts its header.
            taken = length if index == 0 else _HEAP_HEADER + length + -length % 8
            if not _HEAP_HEADER <= taken <= end - place:
                raise DamageError(f"the heap of texts at {address} is damaged")
            objects[index] = length
            place += taken
        return objects

    def _read_header(self, place: int) -> bytes:
        content = self.read(place, _HEAP_HEADER)
        if len(content) < _HEAP_HEADER:
            raise DamageError(f"there is no heap of texts at {place}: the file ends before")
        return content

    def check_attributes(self, content: bytes, names: set[bytes]) -> None:
        """Checks the references in attributes of these names, wherever they stand in the bytes."""
        for name in names:
            place = content.find(name + b"\0")
            while place >= 0:
                # Version 3 has a byte more, for the name's character set.
                for version, before in ((1, 0), (2, 0), (3, 1)):
                    start = place - before - _ATTRIBUTE_SIZES
                    if start >= 2 and content[start - 2] == version:
                        self._check_attribute(content, start, place, version)
                place = content.find(name + b"\0", place + 1)

    def _check_attribute(self, content: bytes, start: int, place: int, version: int) -> None:
        """Checks what may be an attribute, whose sizes begin at `start` and name at `place`."""
        sizes = [_number(content, start + 2 * k, 2) for k in range(3)]
        if version == 1:
            sizes = [size + -size % 8 for size in sizes]
        _, kind, shape, values = itertools.accumulate(sizes, initial=place)
        if values > len(content) or _number(content, kind, 1) & 0x0F != _VARIABLE_LENGTH:
            return
        if _number(content, kind + 4, 4) == self._width:  # else a name in other bytes
            dimensions = shape + (8 if _number(content, shape, 1) == 1 else 4)
            lengths = [
                _number(content, dimensions + k * self._length, self._length)
                for k in range(_number(content, shape + 1, 1))
            ]
            self.check(content[values : values + math.prod(lengths) * self._width])


def _number(content: bytes, place: int, size: int) -> int:
    """The little-endian number of `size` bytes at a place; 0 beyond the end of the content."""
    return int.from_bytes(content[place : place + size], "little")
