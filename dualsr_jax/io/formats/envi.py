"""ENVI: a text header beside the raw pixels, in any interleave, type and byte order.

Contract: either of the two files names the cube. Packed pixels (`file compression = 1`) are
unpacked once to a file without a name, at most as many bytes as the header implies. The pixels are
a plain array, read and written without a library.
"""

import contextlib
import gzip
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from dualsr_jax.disk import replacing
from dualsr_jax.io.base import BadFileError, CubeReader, CubeWriter, damage_told
from dualsr_jax.io.formats.envi_header import from_metadata, parse, to_metadata
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.io.raw import RawArray

RAW_SUFFIXES = (".img", ".bsq", ".bil", ".bip", ".dat", ".raw")
_TYPES = {1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 6: "c8", 9: "c16",
          12: "u2", 13: "u4", 14: "i8", 15: "u8"}  # fmt: skip
_CODES = {np.dtype(name): code for code, name in _TYPES.items() if name[0] != "c"}
# Where rows, columns and bands lie, and how the axes follow in the file.
_AXES = {"bsq": (1, 2, 0), "bil": (0, 2, 1), "bip": (0, 1, 2)}
_MOST_HEADER_BYTES = 2**26
_GZIP = b"\x1f\x8b"


def open_envi(path: Path, key: str | None = None) -> CubeReader:
    """Opens a cube by its header or its raw file; `key` is of no meaning here.

    Raises:
        FileNotFoundError: if the one or the other is not there.
        ValueError: if the header is none, or does not fit the raw file.
    """
    header = path if path.suffix.lower() == ".hdr" else _header(path)
    entries = _read_header(header)
    raw = _raw(path) if path == header else path
    interleave, shape, dtype, offset = _layout(header, raw, entries)
    file: IO[bytes] = raw.open("rb", buffering=0)
    try:
        with damage_told(raw):
            file = _unpacked(file, header, entries, offset + RawArray(file, shape, dtype).nbytes)
        with damage_told(header):
            metadata = to_metadata(entries, shape[_AXES[interleave][2]])
        array = RawArray(file, shape, dtype, offset)
        return CubeReader(path, array, _AXES[interleave], metadata, file.close, files=(header, raw))
    except BaseException:
        file.close()
        raise


def _header(raw: Path) -> Path:
    candidates = [
        raw.with_suffix(".hdr"),
        raw.with_suffix(".HDR"),
        raw.with_name(raw.name + ".hdr"),
    ]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(
        f"there is no ENVI header beside {raw}: expected {candidates[0].name} or "
        f"{candidates[-1].name}"
    )


def _raw_files(header: Path) -> list[Path]:
    """What may be the pixels of a header, each file once where names differ in case alone."""
    stem = header.with_suffix("")
    suffixes = ["", *RAW_SUFFIXES, *(suffix.upper() for suffix in RAW_SUFFIXES)]
    names = [stem.with_name(stem.name + suffix) for suffix in suffixes]
    return list({name.stat().st_ino: name for name in names if name.is_file()}.values())


def _raw(header: Path) -> Path:
    there = _raw_files(header)
    if not there:
        raise FileNotFoundError(
            f"there are no pixels beside the ENVI header {header}: expected "
            f"{header.with_suffix('').name} with no suffix or one of {', '.join(RAW_SUFFIXES)}"
        )
    if len(there) > 1:
        raise BadFileError(
            f"beside the ENVI header {header} are {', '.join(path.name for path in there)}: name "
            "the one that holds the pixels instead of the header"
        )
    return there[0]


def _read_header(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with path.open("rb") as file:
        content = file.read(_MOST_HEADER_BYTES)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    if not text.lstrip().upper().startswith("ENVI"):
        raise BadFileError(f"{path} is no ENVI header: its first line is not ENVI")
    return parse(text)


def _layout(
    header: Path, raw: Path, entries: dict[str, str]
) -> tuple[str, tuple[int, ...], np.dtype, int]:
    """Interleave, shape and type in the file's order, and the byte at which the pixels begin."""
    samples, lines, bands = (_integer(header, entries, k, 1) for k in ("samples", "lines", "bands"))
    offset = _integer(header, entries, "header offset", 0, default="0")
    code = _integer(header, entries, "data type", 1)
    if code not in _TYPES:
        raise BadFileError(f"{header}: unknown data type {code}, expected one of {tuple(_TYPES)}")
    # A header without an interleave is sloppy, the raw file's name says it often enough.
    interleave = entries.get("interleave", raw.suffix[1:]).lower()
    if interleave not in _AXES:
        raise BadFileError(f"{header}: interleave is {interleave!r}, expected bsq, bil or bip")
    order = entries.get("byte order", "0")
    if order not in ("0", "1"):
        raise BadFileError(
            f"{header}: byte order is {order!r}, expected 0 (little-endian) or 1 (big)"
        )
    shape = _in_file((lines, samples, bands), interleave)
    return interleave, shape, np.dtype((">" if order == "1" else "<") + _TYPES[code]), offset


def _in_file(shape: Sequence[int], interleave: str) -> tuple[int, ...]:
    order = sorted(range(3), key=lambda k: _AXES[interleave][k])
    return tuple(int(shape[k]) for k in order)


def _integer(
    header: Path, entries: dict[str, str], key: str, least: int, default: str | None = None
) -> int:
    text = entries.get(key, default)
    if text is None:
        raise BadFileError(f"{header} says nothing of {key!r}")
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) < least:
        raise BadFileError(
            f"{header}: {key} is {text[:40]!r}, expected an integer of at least {least}"
        )
    return int(text)


def _unpacked(file: IO[bytes], header: Path, entries: dict[str, str], expected: int) -> IO[bytes]:
    """The raw file, or a file without a name with its unpacked content; of the size expected."""
    size = os.fstat(file.fileno()).st_size
    begin = os.pread(file.fileno(), 2, 0)
    if entries.get("file compression", "0") == "0" or begin != _GZIP:
        if size != expected:
            raise BadFileError(
                f"{header} says that there are {expected} bytes of pixels beside it, there are "
                f"{size}: mend samples, lines, bands, data type or header offset, or the raw file"
            )
        return file
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115, as long as the reader lives
    try:
        with file, gzip.open(file) as packed:
            length = 0
            while length <= expected and (part := packed.read(min(1 << 20, expected + 1 - length))):
                unpacked.write(part)
                length += len(part)
        if length != expected:
            more = "more" if length > expected else f"{length}"
            raise BadFileError(
                f"{header} says that {expected} bytes of pixels are packed beside it, there are "
                f"{more}: mend samples, lines, bands, data type or header offset, or the raw file"
            )
        unpacked.flush()
    except BaseException:
        unpacked.close()
        raise
    return unpacked


@contextlib.contextmanager
def create_envi(
    path: Path, shape: Sequence[int], dtype: np.dtype, metadata: Metadata
) -> Iterator[CubeWriter]:
    """Writes a cube, its pixels straight to their place; the header appears last.

    Raises:
        ValueError: if a header cannot hold the type or the transform, or another raw file stands
            beside it.
    """
    if dtype not in _CODES:
        known = ", ".join(str(known) for known in _CODES)
        raise ValueError(f"ENVI has no data type for {dtype}, only for {known}")
    header, raw = envi_pair(path)
    others = [file for file in _raw_files(header) if not (raw.exists() and file.samefile(raw))]
    if others:
        raise ValueError(
            f"{others[0]} has the ENVI header {header.name} already: choose another name than "
            f"{raw.name}, or remove it"
        )
    interleave = raw.suffix[1:].lower() if raw.suffix.lower() in (".bil", ".bip") else "bsq"
    entries = {
        "samples": str(shape[1]),
        "lines": str(shape[0]),
        "bands": str(shape[2]),
        "header offset": "0",
        "file type": "ENVI Standard",
        "data type": str(_CODES[dtype]),
        "interleave": interleave,
        "byte order": "0",
        **from_metadata(metadata),
    }
    text = "ENVI\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
    with replacing(header) as new_header, replacing(raw) as new_raw:
        with new_raw.open("w+b", buffering=0) as file:
            array = RawArray(file, _in_file(shape, interleave), dtype.newbyteorder("<"))
            array.allocate()
            yield CubeWriter(array, _AXES[interleave], shape, dtype)
        new_header.write_text(text, encoding="utf-8")


def envi_pair(path: Path) -> tuple[Path, Path]:
    """Header and raw file of a cube that is written under the name of either."""
    if path.suffix.lower() == ".hdr":
        return path, path.with_suffix(".img")
    return path.with_suffix(".hdr"), path
