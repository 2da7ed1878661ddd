"""Checks the codecs that a Zarr store names before Zarr decodes anything with them.

Zarr itself decodes with whatever codec the metadata names. One codec of numcodecs unpickles, so
that opening a store could run a program. Links in a store are refused too: they may lead to other
files, or to metadata that this module does not see. The check of codecs can go once numcodecs has
dropped its pickle codec (issue 706 of zarr-developers/numcodecs).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dualsr_jax.io.damage import BadFileError, reported_as_damage

_METADATA = (".zarray", ".zgroup", ".zmetadata", "zarr.json")
_MOST_BYTES = 2**26
# All that numcodecs and Zarr have, but for `pickle`; in format 3 also as `numcodecs.<name>`.
_KNOWN = frozenset({
    "adler32", "astype", "base64", "bitround", "blosc", "bytes", "bz2", "categorize", "crc32",
    "crc32c", "delta", "endian", "fixedscaleoffset", "fletcher32", "gzip", "jenkins_lookup3",
    "json2", "lz4", "lzma", "msgpack2", "packbits", "pcodec", "quantize", "sharding_indexed",
    "shuffle", "transpose", "vlen-array", "vlen-bytes", "vlen-utf8", "zfpy", "zlib", "zstd",
})  # fmt: skip
_PLACES = ("compressor", "filters", "codecs", "index_codecs")


def check_zarr(path: Path) -> int:
    """Returns how many bytes the files of a store have together.

    Raises ValueError if its metadata names a codec that is not known, or there is a link in it.
    """
    size = 0
    for file in path.rglob("*"):
        if file.is_symlink():
            raise BadFileError(
                f"{path}: {file.relative_to(path)} is a link to another place: copy the store with "
                "what it links to (cp -rL)"
            )
        if file.is_file():
            size += file.stat().st_size
            if file.name.lower() in _METADATA:
                _check_metadata(file)
    return size


def _check_metadata(file: Path) -> None:
    if file.stat().st_size > _MOST_BYTES:
        raise BadFileError(f"{file} is too long: expected at most {_MOST_BYTES} bytes of metadata")
    with reported_as_damage(file):
        content = json.loads(file.read_bytes())
    unknown = [name for name in _codecs(content) if name not in _KNOWN]
    if unknown:
        raise BadFileError(
            f"{file} names the codec {unknown[0][:80]!r}, which is not decoded as it could run a "
            f"program: expected one of {', '.join(sorted(_KNOWN))}"
        )


def _codecs(content: Any) -> Iterator[str]:
    """The names of all codecs, wherever the metadata name one, except in attributes."""
    left = [content]
    while left:
        item = left.pop()
        if isinstance(item, list):
            left += item
        if not isinstance(item, dict):
            continue
        is_node = isinstance(item.get("zarr_format"), int)
        left += [
            value
            for key, value in item.items()
            if not (key == "attributes" and is_node) and not key.endswith(".zattrs")
        ]
        for found in (item.get(place) for place in _PLACES):
            for codec in found if isinstance(found, list) else [found]:
                for name in _names(codec):
                    yield str(name).lower().removeprefix("numcodecs.")


def _names(codec: Any) -> list[Any]:
    if not isinstance(codec, dict):
        return [] if codec is None else [codec]
    options = codec.get("configuration")
    given = [codec.get("id"), codec.get("name"), isinstance(options, dict) and options.get("id")]
    return [name for name in given if name not in (None, False)]
