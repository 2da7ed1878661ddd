"""Folders of grey images, one a band, in the order of their names: the layout of CAVE.

Contract: RGB or RGBA images whose channels are equal count as grey. The images are read whole. The
metadata stands beside the folder as JSON; that of a folder of GeoTIFFs in the first of them.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dualsr_jax.io.arrays import read_json, replacing_with_json
from dualsr_jax.io.base import BadFileError, CubeReader, CubeWriter, damage_told
from dualsr_jax.io.geotiff import open_geotiff
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.io.raw import RawArray, staged

IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
_GEOTIFF_TAGS = (33550, 34264, 34735)  # pixel scale, transformation, coordinate system


def band_images(folder: Path) -> list[Path]:
    """The images of a folder, in order of their names; previews left out."""
    images = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    # CAVE has an RGB preview beside the bands, as .bmp
    bands = [path for path in images if path.suffix.lower() != ".bmp"]
    return bands or images


def open_band_images(folder: Path, key: str | None = None) -> CubeReader:
    """Opens a folder of band images; `key` is of no meaning here.

    Raises:
        ValueError: if there are none, one is damaged or in colour, or they do not agree.
    """
    paths = band_images(folder)
    if not paths:
        raise BadFileError(
            f"{folder} is no cube: there are no images ({', '.join(IMAGE_SUFFIXES)}) in it"
        )
    bands: list[np.ndarray] = []
    for path in paths:
        band = _band(path)
        if bands and (band.shape, band.dtype) != (bands[0].shape, bands[0].dtype):
            raise BadFileError(
                f"{path} is {band.shape} {band.dtype}, the band before it {bands[0].shape} "
                f"{bands[0].dtype}: all bands of a cube must agree"
            )
        bands.append(band)
    metadata = read_json(folder, len(bands))
    if metadata.transform is None and _georeferenced(paths[0]):
        with open_geotiff(paths[0]) as first:
            m = first.metadata
        metadata = dataclasses.replace(metadata, crs=m.crs, transform=m.transform, nodata=m.nodata)
    return CubeReader(folder, np.stack(bands), (1, 2, 0), metadata)


def _band(path: Path) -> np.ndarray:
    with damage_told(path):
        try:
            with Image.open(path) as image:
                band = np.asarray(image)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ValueError(str(error)) from error
    if band.ndim == 3:  # watercolors_ms of CAVE: RGBA with equal channels
        colours = band[..., : min(3, band.shape[-1])]
        if not (colours == colours[..., :1]).all():
            raise BadFileError(f"{path} is a colour image: one grey image a band is expected")
        band = colours[..., 0]
    if band.dtype == np.int32 and path.suffix.lower() == ".png":  # as Pillow shows some of 16 bits
        band = band.astype(np.uint16)
    return band


def _georeferenced(path: Path) -> bool:
    with Image.open(path) as image:
        return any(tag in getattr(image, "tag_v2", {}) for tag in _GEOTIFF_TAGS)


@contextlib.contextmanager
def create_band_images(
    folder: Path, shape: Sequence[int], dtype: np.dtype, metadata: Metadata
) -> Iterator[CubeWriter]:
    """Writes a folder of PNG images, `<folder>_01.png` and so on.

    Raises:
        ValueError: if the type is not one of PNG's.
    """
    if dtype not in (np.uint8, np.uint16):
        raise ValueError(f"band images hold uint8 or uint16, not {dtype}: write another format")
    height, width, num_bands = shape
    with staged(folder.parent) as file:
        array = RawArray(file, (num_bands, height, width), dtype)
        array.allocate()
        yield CubeWriter(array, (1, 2, 0), shape, dtype)
        with replacing_with_json(folder, metadata) as beside:
            beside.mkdir()
            digits = len(str(num_bands))
            for k in range(num_bands):
                image = Image.fromarray(array[k : k + 1, :, :][0])
                image.save(beside / f"{folder.name}_{k + 1:0{digits}d}.png")
