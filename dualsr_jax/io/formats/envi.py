"""ENVI: a text header next to the raw pixels, in any interleave, type and byte order.

Contract: either of the two files names the cube. Packed pixels (`file compression = 1`) are
unpacked once to a temporary file, at most as many bytes as the header implies. The pixels are
a plain array, read and written without a library.
"""

import contextlib
import gzip
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from dualsr_jax.disk import replacing
from dualsr_jax.io.base import CubeReader, CubeWriter, NewCube, in_order
from dualsr_jax.io.damage import BadFileError, reported_as_damage
from dualsr_jax.io.formats.envi_header import from_metadata, parse, to_metadata
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
    """Opens a cube by its header or its raw file.

    Raises FileNotFoundError if either of the two files is missing, ValueError if this is not an
    ENVI header, or it disagrees with the size of the raw file.
    """
    header = path if path.suffix.lower() == ".hdr" else _header(path)
    entries = _read_header(header)
    raw = _raw(path) if path == header else path
    interleave, shape, dtype, offset = _layout(header, raw, entries)
    axes = _AXES[interleave]
    metadata = to_metadata(header, entries, shape[axes[2]])
    with contextlib.ExitStack() as opened:
        file: IO[bytes] = opened.enter_context(raw.open("rb", buffering=0))
        expected = offset + RawArray(file, shape, dtype).nbytes
        file = opened.enter_context(_unpacked(file, header, raw, entries, expected))
        close = opened.pop_all().close
    array = RawArray(file, shape, dtype, offset=offset)
    return CubeReader(path, array, axes=axes, metadata=metadata, close=close, files=(header, raw))


def has_header(raw: Path) -> bool:
    """Whether a header is next to a raw file that has no suffix of its own."""
    return raw.with_name(raw.name + ".hdr").is_file()


def _header(raw: Path) -> Path:
    usual, other = raw.with_suffix(".hdr"), raw.with_name(raw.name + ".hdr")
    for candidate in (usual, raw.with_suffix(".HDR"), other):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(
        f"there is no ENVI header next to {raw}: expected {usual.name} or {other.name}"
    )


def _raw_files(header: Path) -> list[Path]:
    """The files that may hold the pixels of a header; each once if names differ in case only."""
    stem = header.with_suffix("")
    suffixes = ["", *RAW_SUFFIXES, *(suffix.upper() for suffix in RAW_SUFFIXES)]
    names = [stem.with_name(stem.name + suffix) for suffix in suffixes]
    return list({name.stat().st_ino: name for name in names if name.is_file()}.values())


def _raw(header: Path) -> Path:
    there = _raw_files(header)
    if not there:
        raise FileNotFoundError(
            f"there are no pixels next to the ENVI header {header}: expected "
            f"{header.with_suffix('').name} with no suffix or one of {', '.join(RAW_SUFFIXES)}"
        )
    if len(there) > 1:
        raise BadFileError(
            f"next to the ENVI header {header} are {', '.join(path.name for path in there)}: name "
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
        raise BadFileError(f"{path} is not an ENVI header: its first line is not ENVI")
    return parse(text)


def _layout(
    header: Path, raw: Path, entries: dict[str, str]
) -> tuple[str, tuple[int, ...], np.dtype, int]:
    """Interleave, shape and type in the file's order, and the byte where the pixels begin."""
    samples, lines, bands = (_integer(header, entries, k, 1) for k in ("samples", "lines", "bands"))
    offset = _integer(header, entries, "header offset", 0, default="0")
    code = _integer(header, entries, "data type", 1)
    if code not in _TYPES:
        raise BadFileError(f"{header}: unknown data type {code}, expected one of {tuple(_TYPES)}")
    # Some headers leave the interleave to the suffix of the raw file.
    interleave = entries.get("interleave", raw.suffix[1:]).lower()
    if interleave not in _AXES:
        raise BadFileError(f"{header}: interleave is {interleave!r}, expected bsq, bil or bip")
    order = entries.get("byte order", "0")
    if order not in ("0", "1"):
        raise BadFileError(
            f"{header}: byte order is {order!r}, expected 0 (little-endian) or 1 (big)"
        )
    shape = in_order((lines, samples, bands), _AXES[interleave])
    return interleave, shape, np.dtype((">" if order == "1" else "<") + _TYPES[code]), offset


def _integer(
    header: Path, entries: dict[str, str], key: str, least: int, default: str | None = None
) -> int:
    text = entries.get(key, default)
    if text is None:
        raise BadFileError(f"{header} has no entry {key!r}: add it, an integer from {least}")
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) < least:
        raise BadFileError(
            f"{header}: {key} is {text[:40]!r}, expected an integer of at least {least}"
        )
    return int(text)


def _unpacked(
    file: IO[bytes], header: Path, raw: Path, entries: dict[str, str], expected: int
) -> IO[bytes]:
    """Gives the raw file, or unpacks it to a temporary file; refuses content of another size."""
    remedy = "mend samples, lines, bands, data type or header offset, or the raw file"
    size = os.fstat(file.fileno()).st_size
    begin = os.pread(file.fileno(), 2, 0)
    if entries.get("file compression", "0") == "0" or begin != _GZIP:
        if size != expected:
            raise BadFileError(
                f"{header} says that there are {expected} bytes of pixels next to it, there are "
                f"{size}: {remedy}"
            )
        return file
    with contextlib.ExitStack() as opened, file, gzip.open(file) as packed:
        unpacked = opened.enter_context(tempfile.TemporaryFile())
        content, length = b"-", 0
        while content and length <= expected:
            with reported_as_damage(raw):
                content = packed.read(min(1 << 20, expected + 1 - length))
            unpacked.write(content)
            length += len(content)
        if length != expected:
            more = "more" if length > expected else f"{length}"
            raise BadFileError(
                f"{header} says that {expected} bytes of pixels are packed next to it, there are "
                f"{more}: {remedy}"
            )
        unpacked.flush()
        opened.pop_all()
    return unpacked


@contextlib.contextmanager
def create_envi(new: NewCube) -> Iterator[CubeWriter]:
    """Writes a cube, its pixels straight to their place; the header appears last."""
    if new.dtype not in _CODES:
        known = ", ".join(str(known) for known in _CODES)
        raise ValueError(f"ENVI has no data type for {new.dtype}, only for {known}")
    header, raw = envi_pair(new.path)
    others = [file for file in _raw_files(header) if not (raw.exists() and file.samefile(raw))]
    if others:
        raise ValueError(
            f"{others[0]} has the ENVI header {header.name} already: choose another name than "
            f"{raw.name}, or remove it"
        )
    interleave = raw.suffix[1:].lower() if raw.suffix.lower() in (".bil", ".bip") else "bsq"
    axes, (lines, samples, bands) = _AXES[interleave], new.shape
    entries = {
        "samples": samples,
        "lines": lines,
        "bands": bands,
        "header offset": 0,
        "file type": "ENVI Standard",
        "data type": _CODES[new.dtype],
        "interleave": interleave,
        "byte order": 0,
        **from_metadata(header, new.metadata, bands),
    }
    text = "ENVI\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
    with replacing(header) as new_header, replacing(raw) as new_raw:
        with new_raw.open("w+b", buffering=0) as file:
            array = RawArray(file, in_order(new.shape, axes), new.dtype.newbyteorder("<"))
            array.allocate()
            yield CubeWriter(array, axes)
        new_header.write_text(text, encoding="utf-8")


def envi_pair(path: Path) -> tuple[Path, Path]:
    """The header and the raw file of a cube that is written under the name of either."""
    if path.suffix.lower() == ".hdr":
        return path, path.with_suffix(".img")
    return path.with_suffix(".hdr"), path
