"""EnMAP and DESIS: GeoTIFFs `*-SPECTRAL_IMAGE.TIF` with `*-METADATA.XML` next to them, as of DLR.

Contract: the XML has an element for each band, in their order, with `wavelengthCenterOfBand` in nm,
`FWHMOfBand` (EnMAP) or `wavelengthWidthOfBand` (DESIS), and gain and offset: physical value =
stored value * gain + offset. `backgroundValue` is the stored value of pixels without data. Channels
that `expectedChannelsList` of EnMAP does not have are bad bands. Level 1B of EnMAP has an image for
each detector, `*-SPECTRAL_IMAGE_VNIR.TIF` and `_SWIR`, which do not lie on each other and so remain
two cubes; the XML has the `numberOfVNIRBands` of VNIR first. Layout: EnMAP's product specification
EN-PCV-ICD-2009-2; DESIS has the same under other names. A document type is refused, so that the XML
cannot have entities.
"""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np

from dualsr_jax.io.base import CubeReader
from dualsr_jax.io.damage import BadFileError, DamageError, reported_as_damage
from dualsr_jax.io.formats.geotiff import open_geotiff as open_other
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.io.notes import note

_IMAGE = re.compile(r"-SPECTRAL_IMAGE(?:_(VNIR|SWIR))?(?:_COG)?\.TIFF?$", re.IGNORECASE)
_METADATA = "-METADATA.XML"
_MOST_XML_BYTES = 2**26
_MOST_DEEP = 64  # elements in elements
_WIDTH = ("FWHMOfBand", "wavelengthWidthOfBand")
_GAIN, _OFFSET = ("GainOfBand", "gainOfBand"), ("OffsetOfBand", "offsetOfBand")


def open_geotiff(path: Path, key: str | None = None) -> CubeReader:
    """Opens a product of EnMAP or DESIS, or any other GeoTIFF."""
    reader = open_other(path, key)
    named = _IMAGE.search(path.name)
    if named is None:
        return reader
    try:
        described = _next_to(path)
        if described is None:
            note(
                f"{path} is named like a product of EnMAP or DESIS, but there is no "
                f"{_IMAGE.sub(_METADATA, path.name)} next to it: wavelengths, gains and offsets "
                "are not known"
            )
            return reader
        reader.metadata = _described(described, reader.metadata, reader.shape[2], named[1])
        reader.files = (*reader.files, described)
    except BaseException:
        reader.close()
        raise
    return reader


def _next_to(image: Path) -> Path | None:
    """The XML of an image, in upper or lower case."""
    wanted = _IMAGE.sub(_METADATA, image.name).lower()
    stem = _IMAGE.sub("", image.name)
    for suffix in (_METADATA, "-METADATA.xml", _METADATA.lower()):
        candidate = image.with_name(stem + suffix)
        if candidate.name.lower() == wanted and candidate.is_file():
            return candidate
    return None


def _parse(path: Path) -> Element:
    """The root of an XML file, without a document type and not nested deeply."""
    if path.stat().st_size > _MOST_XML_BYTES:
        raise BadFileError(f"{path} is too long: expected at most {_MOST_XML_BYTES} bytes")
    builder, depth = TreeBuilder(), 0
    parser = expat.ParserCreate(namespace_separator="}")

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MOST_DEEP:
            raise DamageError(f"its elements are more than {_MOST_DEEP} deep")
        builder.start(name.rpartition("}")[2], attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name.rpartition("}")[2])

    def refuse(*_: object) -> None:
        raise DamageError("it has a document type, which could define entities")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    with reported_as_damage(path, (expat.ExpatError, DamageError, OSError, LookupError)):
        parser.Parse(path.read_bytes(), True)
        return builder.close()


def _text(element: Element, names: Sequence[str]) -> str:
    found = (element.findtext(name) for name in names)
    return next((text for text in found if text is not None), "")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def _channels(root: Element) -> Iterator[int]:
    """The channels that EnMAP expects, counted from 1."""
    for channels in root.iter("expectedChannelsList"):
        for item in (channels.text or "").split(","):
            if item.strip().isdecimal() and len(item) < 10:
                yield int(item)


def _of_detector(path: Path, root: Element, bands: list[Element], detector: str) -> list[Element]:
    """The bands of a detector, VNIR or SWIR, of which VNIR comes first."""
    text = next((element.text or "" for element in root.iter("numberOfVNIRBands")), "nothing")
    count = _number(text)
    if not count.is_integer() or not 0 < count < len(bands):
        raise BadFileError(
            f"{path}: numberOfVNIRBands is {text[:40]!r}, expected a number from 1 to "
            f"{len(bands) - 1}, as the bands of VNIR and SWIR are {len(bands)}"
        )
    return bands[: int(count)] if detector.upper() == "VNIR" else bands[int(count) :]


def _described(path: Path, stored: Metadata, num_bands: int, detector: str | None) -> Metadata:
    """The metadata of an image, of one detector or of both, with what the XML says of it."""
    root = _parse(path)
    bands = [e for e in root.iter() if e.find("wavelengthCenterOfBand") is not None]
    bands = bands if detector is None else _of_detector(path, root, bands, detector)
    if len(bands) != num_bands:
        of = "" if detector is None else f" of {detector}"
        raise BadFileError(
            f"{path} describes {len(bands)} bands{of}, the image next to it has {num_bands}: "
            "expected both of the same product"
        )

    def per_band(*names: str) -> np.ndarray | None:
        values = np.array([_number(_text(band, names)) for band in bands])
        return None if np.isnan(values).all() else values

    wavelengths = per_band("wavelengthCenterOfBand")
    if wavelengths is None or not np.isfinite(wavelengths).all():
        raise BadFileError(f"{path}: a wavelengthCenterOfBand is not a number")
    background = [_number(element.text or "") for element in root.iter("backgroundValue")]
    expected = set() if detector else set(_channels(root))  # counted over both detectors
    bad = np.array([k + 1 not in expected for k in range(num_bands)]) if expected else None
    return dataclasses.replace(
        stored,
        wavelengths=wavelengths,
        wavelength_unit="nm",
        fwhm=per_band(*_WIDTH),
        scale=per_band(*_GAIN),
        offset=per_band(*_OFFSET),
        bad_bands=stored.bad_bands if bad is None else bad,
        nodata=next((n for n in background if np.isfinite(n)), stored.nodata),
    )
