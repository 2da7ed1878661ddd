"""Folders of grey images, one per band, in the order of the numbers in their names: as in CAVE.

Contract: RGB or RGBA images whose channels are equal count as grey. The images are read whole, TIFF
by GDAL as it is stored. The metadata stands in a JSON sidecar of the folder; what that does not say
comes from the GeoTIFFs: what is per band from each of them, the rest from the first.
"""

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dualsr_jax.disk import visible
from dualsr_jax.io.axes import BANDS_FIRST
from dualsr_jax.io.base import CubeReader, CubeWriter, NewCube, in_order
from dualsr_jax.io.damage import LIBRARY_ERRORS, BadFileError, check_size, reported_as_damage
from dualsr_jax.io.formats.geotiff import open_geotiff
from dualsr_jax.io.formats.numpy_files import read_json, replacing_with_json
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.io.raw import staged

IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
_MOST_CHANNELS = 4  # red, green, blue and alpha
# Values of a band that does not say them, where others do.
_UNSAID = {"wavelengths": np.nan, "fwhm": np.nan, "bad_bands": False, "scale": 1.0, "offset": 0.0}


def band_images(folder: Path) -> list[Path]:
    """Lists the images of a folder, `b2.png` before `b10.png`, without previews."""
    images = [path for path in visible(folder) if path.suffix.lower() in IMAGE_SUFFIXES]
    # CAVE has an RGB preview next to the bands, as .bmp
    bands = [path for path in images if path.suffix.lower() != ".bmp"]
    return sorted(bands or images, key=_text_and_numbers)


def _text_and_numbers(path: Path) -> tuple[list[Any], str]:
    parts = re.split(r"(\d+)", path.name)  # every second one is a number
    return [int(part) if k % 2 else part for k, part in enumerate(parts)], path.name


def is_band_images(folder: Path) -> bool:
    """Whether a folder holds nothing but band images of its own name."""
    name = re.compile(re.escape(folder.name) + r"_\d+\.png")
    return all(name.fullmatch(path.name) for path in folder.iterdir())


def open_band_images(folder: Path, key: str | None = None) -> CubeReader:
    """Opens a folder of band images, which must be grey and agree in shape and type."""
    if not folder.is_dir():
        raise BadFileError(
            f"{folder} is not of a known format: expected a folder of band images, or a file whose "
            "suffix names its format"
        )
    paths = band_images(folder)
    if not paths:
        raise BadFileError(
            f"{folder} is not a cube: there are no images ({', '.join(IMAGE_SUFFIXES)}) in it"
        )
    stored = sum(path.stat().st_size for path in paths)
    bands: list[np.ndarray] = []
    said: list[Metadata] = []
    for path in paths:
        band, metadata = _band(path)
        if bands and (band.shape, band.dtype) != (bands[0].shape, bands[0].dtype):
            raise BadFileError(
                f"{path} is {band.shape} {band.dtype}, the band before it {bands[0].shape} "
                f"{bands[0].dtype}: all bands of a cube must agree"
            )
        if said and repr(metadata.nodata) != repr(said[0].nodata):
            raise BadFileError(
                f"{path} has the nodata value {metadata.nodata}, the band before it "
                f"{said[0].nodata}: all bands of a cube must agree"
            )
        if not bands:
            check_size(folder, (*band.shape[:2], len(paths)), band.dtype, stored)
        bands.append(band)
        said.append(metadata)
    described = {k: v for k, v in vars(read_json(folder, len(bands))).items() if v is not None}
    metadata = dataclasses.replace(_together(said), **described)
    return CubeReader(folder, np.stack(bands), axes=BANDS_FIRST, metadata=metadata)


def _band(path: Path) -> tuple[np.ndarray, Metadata]:
    metadata = Metadata()
    if path.suffix.lower() in (".tif", ".tiff"):
        with open_geotiff(path) as reader:
            if reader.shape[2] > _MOST_CHANNELS:
                raise BadFileError(
                    f"{path} holds {reader.shape[2]} bands: one per file is expected in a folder"
                )
            check_size(path, reader.shape, reader.dtype, path.stat().st_size)
            band = reader.read(slice(None), slice(None))
            metadata = reader.metadata.select([0])
    else:
        band = _picture(path)
    if band.ndim == 3:  # watercolors_ms of CAVE: RGBA with equal channels
        colours = band[..., : min(3, band.shape[-1])]
        if not (colours[..., 1:] == colours[..., :1]).all():
            raise BadFileError(f"{path} is a colour image: one grey image per band is expected")
        if band.shape[-1] == _MOST_CHANNELS and not band[..., 3].all():
            raise BadFileError(
                f"{path} has transparent pixels: save them with a value of their own, without alpha"
            )
        band = colours[..., 0]
    return band, metadata


def _picture(path: Path) -> np.ndarray:
    bombs = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    with reported_as_damage(path, (*LIBRARY_ERRORS, *bombs)), Image.open(path) as image:
        if image.mode in ("P", "PA"):
            raise BadFileError(f"{path} holds indices into a palette: save it as a grey image")
        channels = (image.height, image.width, len(image.getbands()))
        check_size(path, channels, np.dtype(np.uint16), path.stat().st_size)
        picture = np.asarray(image)
    # Pillow shows some PNG images of 16 bits as int32.
    return picture.astype(np.uint16) if picture.dtype == np.int32 else picture


def _together(bands: Sequence[Metadata]) -> Metadata:
    """The metadata of a cube from that of each of its bands."""
    fields: dict[str, Any] = {}
    for name, unsaid in _UNSAID.items():
        values = [getattr(band, name) for band in bands]
        if any(value is not None for value in values):
            fields[name] = np.concatenate([[unsaid] if v is None else v for v in values])
    names = tuple(band.band_names[0] if band.band_names else "" for band in bands)
    fields["band_names"] = names if any(names) else None
    return dataclasses.replace(bands[0], **fields, tags={})


@contextlib.contextmanager
def create_band_images(new: NewCube) -> Iterator[CubeWriter]:
    """Writes a folder of PNG images, `<folder>_01.png` and so on."""
    if new.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"band images hold uint8 or uint16, not {new.dtype}: write another format")
    num_bands = new.shape[2]
    with staged(new.path.parent, in_order(new.shape, BANDS_FIRST), new.dtype) as array:
        yield CubeWriter(array, BANDS_FIRST)
        with replacing_with_json(new.path, new.metadata) as partial:
            partial.mkdir()
            digits = len(str(num_bands))
            for k in range(num_bands):
                image = Image.fromarray(array[k : k + 1, :, :][0])
                image.save(partial / f"{new.path.name}_{k + 1:0{digits}d}.png")
