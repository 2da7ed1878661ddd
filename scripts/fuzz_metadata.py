"""Changes what files say besides their pixels, and checks what a reader makes of it.

`fuzz_readers.py --metadata` runs it. A case gives one entry of a valid file another value: not a
number, too long, of another kind, with line ends and braces. Then one of three things must hold:
the file is refused in one error; or it is read and nothing differs from the clean file; or only
those fields of the metadata differ that the entry stands for. Whatever is read must be planned with
finite numbers or refused, and must come back from a file of another format with the same pixels and
without metadata that it did not have.
"""

import dataclasses
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

from dualsr_jax.io.cubes import create_cube, open_cube
from dualsr_jax.io.formats.envi_header import parse
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.large_scene.normalisation import plan, read_normalised, scan

NUMBERS = (np.nan, np.inf, -np.inf, 0.0, -1.0, 1e-320, 1e308, 2.0**63, 1e20, 0.5, 7.0, 60000.0)
TEXTS = (
    *("", " ", "nan", "NaN", "-inf", "1e999", "9" * 400, "1 2 3 4 5 6", "nan 1 2 3 4 5", "true"),
    *("{", "}", "{}", "=", "{{1}, {2}}", "[1, 2", '{"a": 1}', "<b>&amp;", "; comment", "\x00"),
    *("a\r\ninterleave = bip\rx", "data type = 4", "\ud800", "é\u2028\x85"),
    *("../../escaped", "/etc/passwd", "a$b_{$c", "nanometers", "GHz", "micrometers", "x" * 70_000),
    *("EPSG:99999999", "EPSG:4326", "PROJCS[", "{UTM, 1, 1, nan, inf, 0, 0}", "{Arbitrary, 1, 5}"),
)
LINES = ("a\r\ninterleave = bip\rx", "a\nbands = 2", "x\rdata type = 2\r", "a\x85data type = 4\nb")
NAMES = (*TEXTS, " interleave ", "Data  Type", "data ignore value", "Wavelength", "fwhm", "bbl",
         "a\rinterleave", "_FillValue", "reflectance scale factor", "scale_factor", "ns", "bidx",
         "reflectance_scale_factor", "map info", "units", "sensor type")  # fmt: skip
SPECTRAL = {"wavelengths", "wavelength_unit", "fwhm"}
PLACE = {"crs", "transform"}
# What the entries of each kind of file stand for; tags hold whatever is not understood.
VARIABLES = {
    "wavelength": SPECTRAL,
    "wavelength_units": SPECTRAL,
    "fwhm": SPECTRAL,
    "bbl": {"bad_bands"},
    "band_names": {"band_names"},
    "crs": {"crs"},
    "transform": {"transform"},
    "nodata": {"nodata"},
    "scale": {"scale"},
    "offset": {"offset"},
    "reflectance_scale": {"reflectance_scale"},
    "tags": {"tags"},
}
ATTRIBUTES = {
    "_FillValue": {"nodata", "pixels"},
    "missing_value": {"nodata", "pixels"},
    "nodata": {"nodata"},
    "Data_Ignore_Value": {"nodata", "reflectance_scale"},
    "Scale_Factor": {"reflectance_scale"},
    "scale_factor": {"scale", "pixels", "nodata"},  # as limits of valid values depend on it
    "add_offset": {"offset", "pixels", "nodata"},
    "reflectance_scale_factor": {"reflectance_scale"},
    "valid_range": {"pixels", "nodata"},
    "valid_min": {"pixels", "nodata"},
    "_Unsigned": set(),
    "units": {"tags"},
    "grid_mapping": PLACE,
    "coordinates": SPECTRAL | PLACE | {"band_names", "bad_bands", "scale", "offset"},
}
HEADER = {
    "map info": PLACE,
    "projection info": {"crs"},
    "coordinate system string": {"crs"},
    "wavelength": SPECTRAL,
    "wavelength units": SPECTRAL,
    "fwhm": SPECTRAL,
    "band names": {"band_names"},
    "bbl": {"bad_bands"},
    "data gain values": {"scale"},
    "data offset values": {"offset"},
    "data ignore value": {"nodata"},
    "reflectance scale factor": {"reflectance_scale"},
    "sensor type": set(),
}
LAYOUT = {"samples", "lines", "bands", "header offset", "file compression", "data type",
          "interleave", "byte order"}  # fmt: skip


def some_number(rng: random.Random) -> float:
    """A number that metadata should not have, or one that it may have."""
    return rng.choice(NUMBERS) if rng.random() < 0.8 else rng.uniform(-1e4, 1e4)


def some_array(rng: random.Random, bands: int) -> np.ndarray:
    """Numbers, as many as the cube has bands or not."""
    shape = rng.choice([(), (0,), (1,), (bands,), (bands,), (bands,), (bands + 1,), (2, bands)])
    found = np.array([some_number(rng) for _ in range(int(np.prod(shape)))], float).reshape(shape)
    if found.size and rng.random() < 0.3:
        with np.errstate(all="ignore"):
            kind = rng.choice(["f4", "c16", "?", "i2", "u8", "i1"])
            found = np.nan_to_num(found).clip(-100, 100).astype(kind)
    return found


def some_value(rng: random.Random, bands: int) -> Any:
    """A text or an array."""
    return rng.choice(TEXTS) if rng.random() < 0.4 else some_array(rng, bands)


def of_variable(key: str, rng: random.Random, bands: int) -> Any:
    """A value for one of `VARIABLES`."""
    if key == "tags" and rng.random() < 0.8:
        return json.dumps({rng.choice(NAMES): rng.choice(rng.choice((TEXTS, LINES))) for _ in "ab"})
    return some_value(rng, bands)


def plain(value: Any, rng: random.Random) -> Any:
    """The value as JSON can hold it, or something that JSON holds besides."""
    if rng.random() < 0.1:
        return rng.choice([None, True, {"a": [1]}, [[1, 2], [3]], [None] * 6, 10**400])
    if isinstance(value, str):
        return value
    return (value.real if value.dtype.kind == "c" else value).tolist()


def in_header(path: Path, rng: random.Random, bands: int) -> set[str]:
    """Changes an ENVI header."""
    entries = parse(path.read_text())
    key, value = rng.choice(list(HEADER)), some_value(rng, bands)
    if not isinstance(value, str):
        items = ", ".join(map(repr, np.ravel(value).tolist()))
        value = f"{{{items}}}" if np.ndim(value) or rng.random() < 0.2 else items
    lines = [f"{k} = {v}" for k, v in {**entries, key: value}.items()]
    text = "\n".join(["ENVI", *lines, ""])
    path.write_bytes(text.encode(errors="replace"))
    after = parse(path.read_bytes().decode(errors="replace"))  # a brace may take further lines
    keys = {k for k in {**entries, **after} if entries.get(k) != after.get(k)}
    if keys & LAYOUT:
        return {field.name for field in dataclasses.fields(Metadata)} | {"pixels"}
    return set().union(*(HEADER.get(k, set()) for k in keys))


def in_json(path: Path, rng: random.Random, bands: int) -> set[str]:
    """Changes a JSON sidecar."""
    path = path.with_name(path.name + ".json")
    content = json.loads(path.read_text()) if path.exists() else {}
    key = rng.choice([*VARIABLES, "tags", "tags"])
    content[key] = plain(of_variable(key, rng, bands), rng)
    path.write_text(json.dumps(content), encoding="utf-8")
    return VARIABLES[key]


def in_archive(path: Path, rng: random.Random, bands: int) -> set[str]:
    """Changes an array of an archive."""
    with np.load(path) as archive:
        arrays = dict(archive)
    key = rng.choice([*VARIABLES, "tags", "tags"])
    arrays[key] = np.asarray(of_variable(key, rng, bands))
    np.savez(path, **arrays)
    return VARIABLES[key]


def _attribute(attributes: Any, rng: random.Random, bands: int) -> set[str]:
    key, value = rng.choice(list(ATTRIBUTES)), some_value(rng, bands)
    attributes[key] = (
        np.bytes_(value.encode()) if isinstance(value, str) and rng.random() < 0.2 else value
    )
    return ATTRIBUTES[key]


def in_hdf5(path: Path, rng: random.Random, bands: int) -> set[str]:
    """Changes a dataset, or an attribute of the cube, of HDF5, MATLAB 7.3 or NetCDF."""
    with h5py.File(path, "r+") as file:
        if rng.random() < 0.5:
            return _attribute(file["cube"].attrs, rng, bands)
        if path.suffix == ".nc" and rng.random() < 0.3:
            file.attrs[rng.choice(NAMES)] = rng.choice(TEXTS)
            return set()
        if path.suffix == ".nc":
            if "spatial_ref" in file and rng.random() < 0.5:
                key = rng.choice(["GeoTransform", "crs_wkt", "grid_mapping_name", "spatial_ref"])
                file["spatial_ref"].attrs[key] = rng.choice(TEXTS)
                return PLACE
            names = {"wavelength": SPECTRAL, "fwhm": SPECTRAL, "good_wavelengths": {"bad_bands"},
                     "x": PLACE, "y": PLACE, "offset": {"offset"}}  # fmt: skip
            key = rng.choice([name for name in names if name in file] or ["cube"])
            if key == "cube" or rng.random() < 0.3:
                file[key].attrs["units"] = some_value(rng, bands)
                return SPECTRAL | {"tags"}
            place = rng.randrange(file[key].size)
            file[key][place] = np.nan_to_num(np.float64(some_number(rng))).clip(-127, 127)
            return names[key]
        key = rng.choice([*VARIABLES, "tags", "tags"])
        if key in file:
            del file[key]
        file[key] = of_variable(key, rng, bands)
        return VARIABLES[key]


def in_matlab(path: Path, rng: random.Random, bands: int) -> set[str]:
    """Changes a variable of MATLAB."""
    if h5py.is_hdf5(path):
        return in_hdf5(path, rng, bands)
    content = scipy.io.loadmat(path)
    variables = {name: value for name, value in content.items() if not name.startswith("__")}
    key = rng.choice([*VARIABLES, "tags", "tags"])
    variables[key] = of_variable(key, rng, bands)
    scipy.io.savemat(path, variables)
    return VARIABLES[key]


def in_zarr(path: Path, rng: random.Random, bands: int) -> set[str]:
    """Changes the attributes of a store."""
    (path / ".zmetadata").unlink(missing_ok=True)
    variables = [p.parent for p in path.glob("*/.zarray")]
    of = rng.choice([path / "cube", path / "cube", path, *variables])
    file = of / ".zattrs"
    content = json.loads(file.read_text()) if file.exists() else {}
    if of.name == "cube":
        changed = _attribute(content, rng, bands)
        content = {k: v.decode() if isinstance(v, bytes) else v for k, v in content.items()}
        content = {k: plain(v, rng) if isinstance(v, np.ndarray) else v for k, v in content.items()}
    else:
        key = rng.choice(["GeoTransform", "crs_wkt", "units", "spatial_ref", rng.choice(NAMES)])
        content[key] = plain(some_value(rng, bands), rng)
        changed = SPECTRAL | PLACE
    file.write_text(json.dumps(content))
    return changed | {"tags"}


def in_geotiff(path: Path, rng: random.Random, bands: int) -> set[str]:
    """Changes tags, scales, offsets or the no-data value of a GeoTIFF."""
    import rasterio

    tags = {
        "wavelength": SPECTRAL,
        "wavelength_units": SPECTRAL,
        "fwhm": SPECTRAL,
        "bbl": {"bad_bands"},
    }
    with rasterio.open(path, "r+") as dataset:
        what, text = rng.randrange(7), rng.choice(TEXTS)
        if what == 0:
            key = rng.choice(list(tags))
            dataset.update_tags(
                rng.randint(1, bands), **{key: rng.choice((text, repr(some_number(rng))))}
            )
            return tags[key]
        if what == 1:
            number = some_number(rng)
            if np.isfinite(number) and 0 <= number < 2**16 and float(number).is_integer():
                dataset.nodata = number
            return {"nodata"}
        if what in (2, 3):
            values = [some_number(rng) if rng.random() < 0.3 else 1.0 for _ in range(bands)]
            setattr(dataset, ("scales", "offsets")[what - 2], values)
            return {("scale", "offset")[what - 2]}
        if what == 4:
            dataset.update_tags(reflectance_scale_factor=rng.choice((text, repr(some_number(rng)))))
            return {"reflectance_scale"}
        if what == 5:
            dataset.update_tags(**{rng.choice(NAMES).replace("\x00", "") or "a": text})
            return {"reflectance_scale"}
        dataset.set_band_description(rng.randint(1, bands), text)
        return {"band_names"}


WAYS: dict[str, Callable[[Path, random.Random, int], set[str]]] = {
    ".hdr": in_header,
    ".tif": in_geotiff,
    ".nc": in_hdf5,
    ".zarr": in_zarr,
    ".h5": in_hdf5,
    ".mat": in_matlab,
    ".npy": in_json,
    ".npz": in_archive,
    "": in_json,
}


def same(a: Any, b: Any) -> bool:
    """Whether two fields of metadata are equal, NaN included."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=True))
    return repr(a) == repr(b)


def read(path: Path) -> tuple[np.ndarray, Metadata]:
    """Pixels and metadata."""
    with open_cube(path) as reader:
        return reader.read(slice(None), slice(None)), reader.metadata


def check_plan(path: Path) -> str:
    """What is wrong with how a file would be predicted."""
    with open_cube(path) as reader:
        try:
            found = plan(scan(reader), reader.dtype, reader.metadata)
        except ValueError:
            return ""
        height, width, _ = reader.shape
        cube, _ = read_normalised(reader, slice(0, height), slice(0, width), found)
        numbers = (found.gain, found.bias, cube)
        if all(np.isfinite(n).all() for n in numbers) and found.gain.all():
            return ""
        return f"normalised with {found.describe()}"


def check_written(folder: Path, suffix: str, cube: np.ndarray, metadata: Metadata) -> str:
    """What is wrong with a file of another format with this metadata."""
    path = folder / f"again{suffix}"
    before = {field: getattr(metadata, field) for field in vars(metadata)}
    try:
        with create_cube(path, cube.shape, cube.dtype, metadata) as writer:
            writer.write(cube, 0, 0)
    except ValueError:
        return ""
    found, after = read(path)
    if found.dtype != cube.dtype or not np.array_equal(found, cube):
        return f"written as {suffix or 'images'}, the pixels differ"
    for field in (
        "nodata",
        "bad_bands",
        "scale",
        "offset",
        "reflectance_scale",
        "wavelengths",
        "fwhm",
    ):
        if before[field] is None and getattr(after, field) is not None:
            return f"written as {suffix or 'images'}, there is a {field}: {getattr(after, field)}"
    return ""


def case(path: Path, rng: random.Random) -> tuple[str, str]:
    """Changes the file at a path; returns what came of it, and what is wrong, if anything."""
    suffix = path.suffix
    pixels, clean = read(path)
    try:
        allowed = WAYS[suffix](path, rng, pixels.shape[2]) | {"tags"}
    except (ValueError, TypeError, KeyError, OSError):  # the library does not write such a value
        return "not written", ""
    try:
        found, metadata = read(path)
    except (ValueError, FileNotFoundError) as error:
        return "refused", "" if str(path) in str(error) else f"the error does not name it: {error}"
    if "pixels" not in allowed and not np.array_equal(found, pixels):
        return "read", "the pixels differ"
    for field in vars(clean):
        if field not in allowed and not same(getattr(clean, field), getattr(metadata, field)):
            return "read", f"{field} differs: {getattr(metadata, field)!r:.300}, only {allowed} may"
    folder = path.parent / "written"
    folder.mkdir()
    try:
        wrong = check_plan(path) or check_written(
            folder, rng.choice([*WAYS, *[".hdr"] * 6]), found, metadata
        )
    finally:
        shutil.rmtree(folder)
    return "read", wrong
