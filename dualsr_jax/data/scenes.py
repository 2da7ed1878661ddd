"""Scenes: named cubes in [0, 1], from a folder, a TFDS data set or the packaged example.

Contract: a source knows names and reads one stored cube by name. `load_scenes` reads, crops, scales
and checks them. A scene is selected as `name`, or `name[rows, columns]` for a part of it, as in
`indian_pines[:97, :]`, so that one large scene can serve both training and testing.
"""

import dataclasses
import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from dualsr_jax.io.cubes import Stored, list_cubes, read_cube
from dualsr_jax.models.nbp import MIN_BANDS


@dataclasses.dataclass(frozen=True)
class Scene:
    """A cube `[H, W, L]`, float32 in [0, 1], and its name."""

    name: str
    cube: Float[np.ndarray, "H W L"]


@dataclasses.dataclass(frozen=True)
class Source:
    """Where cubes come from: their names and a reader of one."""

    names: tuple[str, ...]
    read: Callable[[str], Stored]


def _folder(path: str, key: str | None) -> Source:
    paths = list_cubes(Path(path).expanduser())
    return Source(tuple(paths), lambda name: read_cube(paths[name], key))


def _tfds(path: str, key: str | None) -> Source:
    """A prepared TFDS data set, by the folder of its version, in a format of random access."""
    import tensorflow_datasets as tfds

    folder = Path(path).expanduser()
    if not (folder / "dataset_info.json").is_file():
        raise FileNotFoundError(
            f"{str(folder)!r} is not a prepared TFDS data set (no dataset_info.json): "
            "set config.data.path to the folder of its version, such as .../cave/1.0.0"
        )
    builder = tfds.builder_from_directory(folder)
    sources = builder.as_data_source()
    places = {}
    for split in sources.values():
        for index in range(len(split)):
            name = split[index]["name"]
            places[name.decode() if isinstance(name, bytes) else str(name)] = (split, index)
    return Source(
        tuple(sorted(places)), lambda name: places[name][0][places[name][1]][key or "cube"]
    )


def _indian_pines(path: str, key: str | None) -> Source:
    """AVIRIS Indian Pines, 145x145x200, CC BY 3.0, as packaged by tensorly."""
    del path, key
    import tensorly.datasets

    def read(name: str) -> Stored:
        del name
        return np.asarray(tensorly.datasets.load_indian_pines().tensor)

    return Source(("indian_pines",), read)


SOURCES: dict[str, Callable[[str, str | None], Source]] = {
    "folder": _folder,
    "tfds": _tfds,
    "indian_pines": _indian_pines,
}


def open_source(kind: str, path: str = "", key: str | None = None) -> Source:
    """Opens a source without reading any cube.

    Args:
        kind: a key of `SOURCES`.
        path: the folder, for those that have one.
        key: name of the variable or feature that holds the cube.

    Raises:
        ValueError: if the kind is unknown or the folder holds no cubes.
        FileNotFoundError: if the folder does not exist.
    """
    if kind not in SOURCES:
        raise ValueError(f"unknown data source {kind!r}: expected one of {sorted(SOURCES)}")
    return SOURCES[kind](path, key)


@dataclasses.dataclass(frozen=True)
class Selection:
    """A scene or a rectangular part of it."""

    name: str
    rows: slice
    columns: slice
    text: str

    @classmethod
    def parse(cls, text: str) -> "Selection":
        """Reads `name` or `name[rows, columns]` with Python's slices of non-negative bounds."""
        match = re.fullmatch(r"([^\[\]]+?)(?:\[(\d*):(\d*),\s*(\d*):(\d*)\])?", text.strip())
        if match is None:
            raise ValueError(
                f"{text!r} selects no scene: expected a name, or 'name[rows, columns]' "
                "with slices, such as 'scene[0:100, :64]'"
            )
        top, bottom, left, right = (int(n) if n else None for n in match.groups()[1:])
        return cls(match[1], slice(top, bottom), slice(left, right), text)

    def overlaps(self, other: "Selection") -> bool:
        """Whether the two share a pixel."""

        def meet(a: slice, b: slice) -> bool:
            far = float("inf")
            ends = (far if s.stop is None else s.stop for s in (a, b))
            return max(a.start or 0, b.start or 0) < min(ends)

        rows, columns = meet(self.rows, other.rows), meet(self.columns, other.columns)
        return self.name == other.name and rows and columns


def split(
    names: Sequence[str],
    *,
    train: Iterable[str],
    test: Iterable[str],
    validation: Iterable[str] = (),
    test_share: float = 0.2,
    seed: int = 0,
) -> dict[str, list[Selection]]:
    """Divides a source into parts that share no pixel.

    Args:
        names: scenes of the source.
        train: selections (with `*` and `?` as wildcards); empty: all scenes in no other part.
        test: selections; empty: a random share of the scenes.
        validation: selections, may be empty.
        test_share: share of the scenes for testing when `test` is empty, in (0, 1).
        seed: of that draw.

    Returns:
        Selections under "train", "validation" and "test".

    Raises:
        ValueError: if a selection names no scene, two parts share pixels, or no scene is left.
    """
    if not test:
        if not 0 < test_share < 1:
            raise ValueError(f"data.test_share must be between 0 and 1, got {test_share}")
        shuffled = np.random.default_rng(seed).permutation(sorted(names))
        test = sorted(str(n) for n in shuffled[: max(1, round(test_share * len(names)))])

    def select(texts: Iterable[str]) -> list[Selection]:
        chosen = []
        for selection in map(Selection.parse, texts):
            matches = fnmatch.filter(names, selection.name)
            if not matches:
                raise ValueError(
                    f"there is no scene {selection.name!r}: the source has {', '.join(names)}"
                )
            chosen += [dataclasses.replace(selection, name=match) for match in matches]
        return chosen

    parts = {"validation": select(validation), "test": select(test)}
    held_out = {selection.name for part in parts.values() for selection in part}
    parts["train"] = select(train or sorted(set(names) - held_out))
    if not parts["train"]:
        raise ValueError("no scene is left for training: all are in data.test or data.validation")
    for first, second in (("train", "test"), ("train", "validation"), ("validation", "test")):
        for a in parts[first]:
            for b in parts[second]:
                if a.overlaps(b):
                    raise ValueError(
                        f"{first} {a.text!r} and {second} {b.text!r} share pixels of {a.name!r}"
                    )
    return parts


def normalise(cube: Stored, peak: float | str | None, name: str) -> Float[np.ndarray, "H W L"]:
    """Scales stored values to [0, 1].

    Args:
        cube: as stored.
        peak: the stored value that becomes 1; "max": the cube's own maximum; None: the largest
            value of an unsigned integer type, 1 for floating point.
        name: of the scene, for errors.

    Returns:
        float32.

    Raises:
        ValueError: if a pixel is NaN, infinite or outside [0, 1], or there are too few bands.
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
    if peak is None:
        peak = float(np.iinfo(cube.dtype).max) if cube.dtype.kind == "u" else 1.0
    elif peak == "max":
        peak = float(cube.max())
    low, high = float(cube.min()), float(cube.max())
    if not (isinstance(peak, int | float) and peak > 0) or low < 0 or high > peak:
        raise ValueError(
            f"{name} holds values from {low:g} to {high:g}, with the peak {peak} they are not in "
            "[0, 1]: set config.data.peak to the value of full reflectance, or 'max'"
        )
    return cube.astype(np.float32) / np.float32(peak)


def load_scenes(
    source: Source,
    selections: Iterable[Selection],
    *,
    peak: float | str | None = None,
    crop: int | None = None,
) -> list[Scene]:
    """Reads scenes into memory.

    Args:
        source: where from.
        selections: which, of `split`.
        peak: see `normalise`; applied to the whole scene before a part is taken.
        crop: only the top-left `crop` x `crop` pixels, the convention of Harvard's tables.

    Returns:
        Scenes in the order of the selections, all of one band count.

    Raises:
        ValueError: as `normalise`, or if the scenes differ in their number of bands or a part is
            empty.
    """
    scenes: list[Scene] = []
    for selection in selections:
        cube = normalise(source.read(selection.name), peak, selection.name)
        cube = cube[:crop, :crop][selection.rows, selection.columns]
        if cube.size == 0:
            raise ValueError(f"{selection.text!r} holds no pixels")
        whole = selection.rows == selection.columns == slice(None)
        scenes.append(
            Scene(selection.name if whole else selection.text, np.ascontiguousarray(cube))
        )
        if cube.shape[-1] != scenes[0].cube.shape[-1]:
            raise ValueError(
                f"{scenes[-1].name} has {cube.shape[-1]} bands, {scenes[0].name} has "
                f"{scenes[0].cube.shape[-1]}: all scenes of a data set need the same bands"
            )
    return scenes
