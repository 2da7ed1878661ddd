"""Checks the length that a Blosc frame declares before numcodecs decodes it.

numcodecs decodes as many bytes as the frame's header says, also where fewer are stored: a damaged
chunk of a Zarr store then ends the process. Zarr calls the decoder wherever a store names it, in
shards too, so that the check has to be in the decoder itself. This module can go once numcodecs
makes it (issue 228 of zarr-developers/numcodecs). Layout: "Blosc Header Format" of C-Blosc.
"""

import functools
from typing import Any

from dualsr_jax.extras import geo

_HEADER = 16
_STORED = slice(12, 16)  # of the header: the frame's bytes, header included


@functools.cache
def check_blosc_frames() -> None:
    """From now on, numcodecs raises ValueError at a frame that declares more than is stored."""
    blosc, compat = geo("numcodecs.blosc"), geo("numcodecs.compat")
    decode = blosc.Blosc.decode

    @functools.wraps(decode)
    def checked(self: Any, buf: Any, out: Any = None) -> Any:
        stored = compat.ensure_contiguous_ndarray(buf).view("u1")
        declared = int.from_bytes(stored[_STORED].tobytes(), "little")
        if not _HEADER <= declared <= stored.size:
            raise ValueError(f"a Blosc frame of {declared} bytes is stored in {stored.size}")
        return decode(self, buf, out)

    blosc.Blosc.decode = checked
