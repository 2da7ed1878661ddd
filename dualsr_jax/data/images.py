"""Training images: scenes at every resize scale, as 16-bit integers, from which patches are cut.

Contract: 65535 is 1; resized images are clipped to [0, 1] and rounded, an error of at most 8e-6.
Images are held in memory up to a limit, the rest in a temporary file without a name, which the
system removes when the process ends, however it ends.
"""

import os
import tempfile
import weakref
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import UInt16

from dualsr_jax.data.sources import NamedCube
from dualsr_jax.ops.resize import imresize

FULL = 65535


def quantise(cube: np.ndarray) -> UInt16[np.ndarray, "H W L"]:
    """Values in [0, 1] as 16-bit integers; exact for cubes that were stored as such."""
    return np.rint(cube.clip(0, 1) * np.float32(FULL)).astype(np.uint16)


class Images:
    """Scenes at every resize scale."""

    def __init__(
        self,
        scenes: Iterable[NamedCube],
        *,
        resize_scales: Sequence[float] = (1.0,),
        least_size: int = 1,
        memory_gb: float = 8.0,
    ) -> None:
        """Reads and resizes the scenes, one at a time.

        Patches will have `least_size` pixels along a side; `memory_gb` counts in 1e9 bytes. Raises
        ValueError if an image is smaller than a patch, or `scenes` is empty, and OSError if the
        temporary file cannot be written.
        """
        self.names: list[str] = []  # the scene of each image
        self.shapes: list[tuple[int, int, int]] = []  # (H, W, L) of each image
        # CRC-32 of all pixels, before resizing: that rounds differently on other machines.
        self.checksum = 0
        self._arrays: list[np.ndarray | int] = []  # an image, or where in the file it begins
        self._file = tempfile.TemporaryFile()  # noqa: SIM115, open as long as the object lives
        weakref.finalize(self, self._file.close)
        left = memory_gb * 1e9
        for scene in scenes:
            self.checksum = zlib.crc32(np.ascontiguousarray(scene.cube).data, self.checksum)
            for scale in resize_scales:
                image = quantise(scene.cube if scale == 1 else imresize(scene.cube, scale))
                height, width, bands = image.shape
                if min(height, width) < least_size:
                    raise ValueError(
                        f"patches of {least_size}x{least_size} pixels are larger than "
                        f"{scene.name} at resize scale {scale} ({height}x{width}): lower "
                        "config.train.lr_patch or drop the scale from train.resize_scales"
                    )
                self.names.append(scene.name)
                self.shapes.append((height, width, bands))
                left -= image.nbytes
                self._arrays.append(image if left >= 0 else self._spill(image))
        if not self._arrays:
            raise ValueError("there is no scene to train on")

    def _spill(self, image: np.ndarray) -> int:
        """Appends an image to the file; returns the place where it begins."""
        place = self._file.tell()
        try:
            self._file.write(image.data)
            self._file.flush()
        except OSError as error:
            raise OSError(
                f"the training images do not fit in {tempfile.gettempdir()!r} ({error.strerror}): "
                "set TMPDIR to a folder with more space, or raise config.data.memory_gb"
            ) from error
        return place

    def __len__(self) -> int:
        return len(self._arrays)

    @property
    def bytes_in_memory(self) -> int:
        """Bytes of the images that are not in the temporary file."""
        return sum(a.nbytes for a in self._arrays if isinstance(a, np.ndarray))

    def patch(self, image: int, row: int, column: int, size: int) -> UInt16[np.ndarray, "S S L"]:
        """A square of an image with all bands; it may be a view."""
        array = self._arrays[image]
        if isinstance(array, np.ndarray):
            return array[row : row + size, column : column + size]
        _, width, bands = self.shapes[image]
        patch = np.empty((size, size, bands), np.uint16)
        for k, line in enumerate(patch):
            place = array + 2 * bands * ((row + k) * width + column)
            os.preadv(self._file.fileno(), [line.data.cast("B")], place)
        return patch
