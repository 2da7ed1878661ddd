"""GeoTIFF and COG, by GDAL (rasterio).

Contract: what GeoTIFF has no field for stands in tags of the bands, in the names of ENVI and in
GDAL's domain IMAGERY. Other tags keep their names, with `_` for characters that mean something to
GDAL. The bytes of a file do not depend on the order in which the blocks came.
"""

import contextlib
import dataclasses
import re
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dualsr_jax.disk import replacing
from dualsr_jax.extras import geo
from dualsr_jax.io.axes import BANDS_FIRST
from dualsr_jax.io.base import CubeReader, CubeWriter, NewCube
from dualsr_jax.io.damage import BadFileError, check_size, reported_as_gdal_damage
from dualsr_jax.io.metadata import Metadata, from_band_names, in_unit, parse_crs, spectral, storable
from dualsr_jax.io.raw import staged

_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
          "float32", "float64")  # fmt: skip
_TILE = 256
_MOST_CHANNELS = 4  # of pictures, whose alpha is not a band
_CACHE_BYTES = 2**28  # of unpacked tiles; GDAL's own choice is a share of the machine's memory
_REFLECTANCE_SCALE = "reflectance_scale_factor"
_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_RESERVED = ("bidx", "ns")  # names of rasterio's own arguments where it takes tags
# GDAL stores tags as XML, which these characters cannot stand in.
_NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")


class _Bands:
    """A dataset as a source `[L, H, W]`; GDAL's handles are for one thread at a time."""

    def __init__(self, path: Path, dataset: Any) -> None:
        with reported_as_gdal_damage(path):
            self.shape = (dataset.count, dataset.height, dataset.width)
            self.dtype = np.dtype(dataset.dtypes[0])
        self._path, self._dataset, self._lock = path, dataset, threading.Lock()
        self._environment = geo("rasterio").Env

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        bands, rows, columns = (range(n)[s] for s, n in zip(index, self.shape, strict=True))
        window = ((rows.start, rows.stop), (columns.start, columns.stop))
        numbers = [band + 1 for band in bands]
        limited = self._environment(GDAL_CACHEMAX=_CACHE_BYTES)
        with reported_as_gdal_damage(self._path), self._lock, limited:
            return self._dataset.read(numbers, window=window)


def open_geotiff(path: Path, key: str | None = None) -> CubeReader:
    """Opens a GeoTIFF; palettes, several pages, and masks that hide pixels are refused."""
    rasterio = geo("rasterio")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with contextlib.ExitStack() as opened, warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with reported_as_gdal_damage(path):
            dataset = rasterio.open(path, driver="GTiff", sharing=False)
            opened.callback(dataset.close)
            pages, type_name, meaning = dataset.subdatasets, dataset.dtypes[0], dataset.colorinterp
            together = dataset.count if dataset.profile.get("interleave") == "pixel" else 1
            tile = (together, *dataset.block_shapes[0])
        if pages:
            raise BadFileError(f"{path} has several pages: expected one image with a band for each")
        if type_name.startswith("complex"):
            raise BadFileError(f"{path} holds complex numbers: expected real ones")
        if meaning[0] == rasterio.enums.ColorInterp.palette:
            raise BadFileError(f"{path} holds indices into a palette: expected intensities")
        source = _Bands(path, dataset)
        # Not the whole, which is read by window: a sparse file, or ZSTD, may be small for it.
        check_size(path, tile, source.dtype, path.stat().st_size)
        _check_masks(path)
        metadata = _metadata(path, dataset)
        close = opened.pop_all().close
    return CubeReader(path, source, axes=BANDS_FIRST, metadata=metadata, close=close)


def _check_masks(path: Path) -> None:
    """Raises ValueError if a mask or an alpha band, and not nodata, says where there are no data.

    The file is opened once more, without the files next to it: GDAL would open a mask among them
    with any of its drivers, also with those that follow addresses.
    """
    rasterio = geo("rasterio")
    alone = rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_CACHEMAX=_CACHE_BYTES)
    beside = path.with_name(f"{path.name}.msk")
    found = f"the mask {beside.name} next to it" if beside.exists() else ""
    with (
        reported_as_gdal_damage(path),
        alone,
        rasterio.open(path, driver="GTiff", sharing=False) as dataset,
    ):
        (height, width), flags = dataset.shape, dataset.mask_flag_enums[0]
        is_alpha = [c == rasterio.enums.ColorInterp.alpha for c in dataset.colorinterp]
        masks = (
            dataset.read_masks(1, window=((row, min(row + _TILE, height)), (0, width)))
            for row in range(0, height, _TILE)
        )
        if len(is_alpha) > _MOST_CHANNELS and any(is_alpha):
            found = f"band {is_alpha.index(True) + 1}, which is declared as alpha"
        elif rasterio.enums.MaskFlags.per_dataset in flags and not any(is_alpha):
            found = found if all(mask.all() for mask in masks) else "a mask inside the file"
    if found:
        raise BadFileError(
            f"{path}: {found}, says which pixels hold no data: store a no-data value in those "
            "pixels instead (such as gdalwarp -dstnodata) and leave out the mask"
        )


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return np.nan


def _metadata(path: Path, dataset: Any) -> Metadata:
    with reported_as_gdal_damage(path):
        bands = [dataset.tags(k) for k in dataset.indexes]
        imagery = [dataset.tags(k, ns="IMAGERY") for k in dataset.indexes]
        tags, descriptions, nodata = dataset.tags(), dataset.descriptions, dataset.nodata
        scales, offsets = np.array(dataset.scales, float), np.array(dataset.offsets, float)
        transform = tuple(float(value) for value in dataset.transform[:6])
        crs = dataset.crs.to_wkt() if dataset.crs else None
    bands = [{name.lower(): text for name, text in band.items()} for band in bands]

    def per_band(tags: Sequence[dict[str, str]], name: str) -> np.ndarray | None:
        numbers = np.array([_number(tag.get(name)) for tag in tags])
        return None if np.isnan(numbers).all() else numbers

    unit = bands[0].get("wavelength_units")
    wavelengths, fwhm = per_band(bands, "wavelength"), per_band(bands, "fwhm")
    if wavelengths is None:
        wavelengths, unit = per_band(imagery, "CENTRAL_WAVELENGTH_UM"), "Micrometers"
        fwhm = per_band(imagery, "FWHM_UM")
    if wavelengths is None and (named := from_band_names([d or "" for d in descriptions])):
        (wavelengths, unit), fwhm = named, None  # as GDAL writes them from ENVI headers
    bbl = per_band(bands, "bbl")
    tags.pop("AREA_OR_POINT", None)  # the transform is that of areas either way
    if wavelengths is not None:
        tags.pop("wavelength_units", None)  # as GDAL copies it from ENVI headers
    reflectance = _number(tags.get(_REFLECTANCE_SCALE))
    if not np.isnan(reflectance):
        del tags[_REFLECTANCE_SCALE]
    names = tuple(name or "" for name in descriptions)
    return Metadata(
        crs=crs,
        transform=None if transform == _IDENTITY else transform,
        **spectral(wavelengths, fwhm, unit, len(bands)),
        band_names=names if any(names) else None,
        bad_bands=None if bbl is None else bbl == 0,
        nodata=nodata,
        scale=scales if (scales != 1).any() else None,
        offset=offsets if (offsets != 0).any() else None,
        reflectance_scale=None if np.isnan(reflectance) else reflectance,
        tags=tags,
    )


@contextlib.contextmanager
def create_geotiff(new: NewCube) -> Iterator[CubeWriter]:
    """Writes a tiled, packed GeoTIFF; raises ValueError if it cannot hold the type or the CRS."""
    rasterio = geo("rasterio")
    if new.dtype.name not in _TYPES:
        raise ValueError(f"GeoTIFF has no data type for {new.dtype}, only for {', '.join(_TYPES)}")
    metadata = dataclasses.replace(new.metadata, tags=_valid_tags(new.metadata.tags))
    height, width, num_bands = new.shape
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": num_bands,
        "dtype": new.dtype.name,
        "crs": parse_crs(metadata.crs) if metadata.crs else None,
        "transform": rasterio.Affine(*(metadata.transform or _IDENTITY)),
        "nodata": storable(metadata.nodata, new.dtype),
        "tiled": True,
        "blockxsize": _TILE,
        "blockysize": _TILE,
        "interleave": "band",
        "compress": "deflate",
        "predictor": 3 if new.dtype.kind == "f" else 2,
        "bigtiff": "if_safer",
        "num_threads": "all_cpus",
    }
    with staged(new.path.parent, (num_bands, height, width), new.dtype) as array:
        yield CubeWriter(array, BANDS_FIRST)
        with replacing(new.path) as partial, warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            limited = rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES)
            with limited, rasterio.open(partial, "w", **profile) as dataset:
                _describe(dataset, metadata)
                for k in range(num_bands):
                    for row in range(0, height, _TILE):
                        end = min(row + _TILE, height)
                        lines = array[k : k + 1, row:end, :]
                        dataset.write(lines[0], k + 1, window=((row, end), (0, width)))


def _valid_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags under names that GDAL gives back unchanged, with text that is valid in XML."""
    found = {}
    for name, text in tags.items():
        name = re.sub("[=:]", "_", _NOT_XML.sub("_", name))  # GDAL ends names there
        found[f"{name}_" if name in _RESERVED else name] = _NOT_XML.sub("_", text)
    return found


def _describe(dataset: Any, m: Metadata) -> None:
    dataset.update_tags(**m.tags)
    if m.reflectance_scale is not None:
        dataset.update_tags(**{_REFLECTANCE_SCALE: repr(m.reflectance_scale)})
    if m.scale is not None:
        dataset.scales = m.scale.tolist()
    if m.offset is not None:
        dataset.offsets = m.offset.tolist()
    for k in dataset.indexes:
        tags: dict[str, str] = {}
        imagery: dict[str, str] = {}
        for name, micrometres, values in (
            ("wavelength", "CENTRAL_WAVELENGTH_UM", m.wavelengths),
            ("fwhm", "FWHM_UM", m.fwhm),
        ):
            if values is not None:
                tags[name] = repr(in_unit(values[k - 1 : k], m.wavelength_unit).item())
                tags["wavelength_units"] = m.wavelength_unit or "Nanometers"
                imagery[micrometres] = repr(float(values[k - 1]) / 1e3)
        if m.bad_bands is not None:
            tags["bbl"] = str(int(not m.bad_bands[k - 1]))
        dataset.update_tags(k, **tags)
        dataset.update_tags(k, ns="IMAGERY", **imagery)
        if m.band_names is not None:
            dataset.set_band_description(k, m.band_names[k - 1])
