"""Scenes: named cubes in [0, 1], from a folder, a TFDS data set or the packaged example.

Contract: a source knows the names of its cubes and reads one at a time, as stored. `Scenes` reads,
scales, cuts and checks them one at a time, so that a data set need not fit in memory.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dualsr_jax.data.split import Selection
from dualsr_jax.io.cubes import Cube, list_cubes, open_cube, read_whole
from dualsr_jax.io.notes import note
from dualsr_jax.large_scene.nodata import nodata_of
from dualsr_jax.models.coarsr.nbp import MIN_BANDS


@dataclasses.dataclass(frozen=True)
class NamedCube:
    """A cube `[H, W, L]`, float32 in [0, 1], and its name."""

    name: str
    cube: Float[np.ndarray, "H W L"]


@dataclasses.dataclass(frozen=True)
class CubeSource:
    """Where cubes come from: their names, and functions that read one as stored, or about it."""

    names: tuple[str, ...]
    read: Callable[[str], Cube]
    wavelengths: Callable[[str], np.ndarray | None] = lambda _: None  # of a cube's bands, in nm


def _folder(path: str, key: str | None) -> CubeSource:
    paths = list_cubes(Path(path).expanduser())

    def read(name: str) -> Cube:
        with open_cube(paths[name], key) as reader:
            cube, nodata = read_whole(reader), nodata_of(reader.metadata.nodata, reader.dtype)
        if nodata is not None and (count := int((cube == nodata).sum())):
            note(
                f"{count} of {cube.size} values of {paths[name]} are its no-data value "
                f"{nodata:g}, and count as intensities here: leave them out by the split"
            )
        return cube

    def wavelengths(name: str) -> np.ndarray | None:
        with open_cube(paths[name], key) as reader:
            return reader.metadata.wavelengths

    return CubeSource(tuple(paths), read, wavelengths)


def _tfds(path: str, key: str | None) -> CubeSource:
    """A prepared TFDS data set; `path` is its folder or that of one of its versions."""
    del key  # the name of the feature is our own
    folder = Path(path).expanduser()
    versions = sorted(folder.glob("[0-9]*/dataset_info.json"))
    folder = versions[-1].parent if versions else folder
    if not (folder / "dataset_info.json").is_file():
        raise FileNotFoundError(
            f"{str(folder)!r} is not a prepared TFDS data set (no dataset_info.json): set "
            "config.data.path to its folder, such as data/tfds/cave; to prepare it, run "
            "python -m dualsr_jax.prepare --dataset cave --source FOLDER"
        )
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    undecoded = builder.as_data_source("scenes", decoders={"cube": tfds.decode.SkipDecoding()})
    decoded = builder.as_data_source("scenes")

    def record(records: Any, place: int) -> dict[str, Any]:
        try:
            return records[place]
        except RuntimeError as error:  # array_record's
            raise ValueError(
                f"the prepared data set {str(folder)!r} is damaged ({error}): delete this folder "
                "and prepare it again"
            ) from error

    names = [record(undecoded, place)["name"].decode() for place in range(len(undecoded))]
    return CubeSource(tuple(sorted(names)), lambda name: record(decoded, names.index(name))["cube"])


def _indian_pines(path: str, key: str | None) -> CubeSource:
    """AVIRIS Indian Pines, 145x145x200, CC BY 3.0, as packaged by tensorly."""
    del path, key
    from tensorly.datasets import load_indian_pines

    return CubeSource(("indian_pines",), lambda _: np.asarray(load_indian_pines().tensor))


SOURCES: dict[str, Callable[[str, str | None], CubeSource]] = {
    "folder": _folder,
    "tfds": _tfds,
    "indian_pines": _indian_pines,
}


def open_source(kind: str, path: str = "", key: str | None = None) -> CubeSource:
    """Opens a source of a kind in `SOURCES` without reading any cube.

    `key` names the variable that holds the cube, in files that may have several. Raises ValueError
    if the kind is unknown or the folder holds no cubes, and FileNotFoundError if the folder does
    not exist.
    """
    if kind not in SOURCES:
        raise ValueError(f"unknown data source {kind!r}: expected one of {sorted(SOURCES)}")
    return SOURCES[kind](path, key)


def peak_value(cube: Cube, peak: float | str | None) -> float:
    """The stored value that becomes 1: `peak`, or the maximum of the cube if it is "max".

    If it is None, that is the largest value of an unsigned integer type, and 1 for other types.
    Raises ValueError if `peak` is something else.
    """
    if peak is None:
        return float(np.iinfo(cube.dtype).max) if cube.dtype.kind == "u" else 1.0
    if peak == "max":
        return float(np.max(cube, where=np.isfinite(cube), initial=0))
    if isinstance(peak, int | float) and 0 < peak < np.inf:
        return float(peak)
    raise ValueError(f"config.data.peak={peak!r}: expected a positive number, 'max' or None")


def normalise(cube: Cube, peak: float | str | None, name: str) -> Float[np.ndarray, "H W L"]:
    """Divides stored values by the `peak` of `peak_value`; errors give the `name` of the cube.

    Raises ValueError if a pixel is NaN, infinite or outside [0, 1], or there are too few bands.
    """
    if cube.shape[-1] < MIN_BANDS:
        raise ValueError(
            f"{name} has {cube.shape[-1]} bands (shape {cube.shape}), at least {MIN_BANDS} are "
            "needed, bands last"
        )
    if cube.dtype.kind == "f":
        broken = int(cube.size - np.isfinite(cube).sum())
        if broken:
            raise ValueError(
                f"{name} has {broken} pixels that are NaN or infinite: fill them or drop the bands"
            )
    full = peak_value(cube, peak)
    low, high = float(cube.min()), float(cube.max())
    if low < 0 or high > full:
        raise ValueError(
            f"{name} holds values from {low:g} to {high:g}, with the peak {full:g} they are not in "
            "[0, 1]: set config.data.peak to the value of full reflectance, or 'max'"
        )
    return cube.astype(np.float32) / np.float32(full or 1)


@dataclasses.dataclass(frozen=True)
class Scenes:
    """Scenes of one part of a split, read one at a time, anew in every iteration.

    The peak is that of `peak_value`; "max" is the maximum of the whole scene, not the rectangle.
    With `same_bands`, all scenes must have the same number of bands.
    """

    source: CubeSource
    selections: Sequence[Selection]
    _: dataclasses.KW_ONLY
    peak: float | str | None = None
    crop: int | None = None  # only the top-left `crop` x `crop` pixels of each are used
    same_bands: bool = True

    def __len__(self) -> int:
        return len(self.selections)

    def __iter__(self) -> Iterator[NamedCube]:
        """Reads the scenes in order.

        Raises ValueError if a scene cannot be read or does not fit into [0, 1], a selection is
        empty, or the scenes differ in their number of bands although they must not.
        """
        first: NamedCube | None = None
        name, stored = "", np.empty((0, 0, 0))
        for selection in self.selections:
            if name != selection.name:  # rectangles of one scene follow each other
                name, stored = selection.name, self.source.read(selection.name)
            cube = stored[selection.rows, selection.columns][: self.crop, : self.crop]
            if cube.size == 0:
                raise ValueError(f"{selection.text!r} holds no pixels")
            whole = selection.rows == selection.columns == slice(None)
            label = name if whole else selection.text
            scene = NamedCube(label, normalise(cube, peak_value(stored, self.peak), label))
            first = first or scene
            if self.same_bands and scene.cube.shape[-1] != first.cube.shape[-1]:
                raise ValueError(
                    f"{scene.name} has {scene.cube.shape[-1]} bands, {first.name} has "
                    f"{first.cube.shape[-1]}: all scenes of a data set need the same bands, or "
                    "config.train.window_bands, for training on windows of that many bands"
                )
            yield scene
