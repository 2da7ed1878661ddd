"""Preparation of published data sets as TFDS data sets, without TensorFlow.

Contract: a builder of `datasets/` describes its data set as a `CubeSet`; `CubeSetBuilder` finds,
reads and verifies its scenes and writes them as `{"name", "cube"}` records of one split, "scenes",
in the order of their names; `split.py` divides them when the set is used. One error names all that
is missing or damaged. A prepared data set is complete or does not exist.

Cubes are stored as 16-bit integers: unchanged if they hold such integers, 8-bit values times 257,
others scaled so that the maximum of the cube is 65535 (an error of at most 8e-6 of it).
"""

import contextlib
import dataclasses
import hashlib
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt16

from dualsr_jax.disk import visible
from dualsr_jax.io.cubes import Cube, list_cubes, read_cube

SPLIT = "scenes"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CubeSet:
    """What is known of a published data set; mappings are by scene."""

    title: str
    scenes: tuple[str, ...]
    shape: tuple[int, int, int]  # height, width and bands of every scene
    dtypes: tuple[str, ...]  # as stored, such as "uint16"; "float": any floating-point type
    description: str
    homepage: str
    citation: str
    layout: str  # the files as distributed, in words
    key: str | None = None  # variable that holds a cube, in .mat files
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)  # if named otherwise
    dtype_exceptions: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    # SHA-256 of the stored cube [H, W, L] in row-major order and little-endian, if it is known.
    checksums: Mapping[str, str] = dataclasses.field(default_factory=dict)
    crop: tuple[slice, slice] = (slice(None), slice(None))  # rows and columns that are kept
    url: str | None = None  # ZIP archive, downloaded if the user gives no folder
    packaged: Path | None = None  # folder of an installed package that holds the data


def find_scenes(cube_set: CubeSet, folder: Path) -> dict[str, Path]:
    """Paths of the scenes that are in a folder, by name; other files are ignored.

    Raises ValueError if the folder holds no scene of the set, and FileNotFoundError if the folder
    does not exist.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {str(folder)!r}")
    found: dict[str, Path] = {}
    with contextlib.suppress(ValueError):  # it holds no cubes
        found = list_cubes(folder)
    files = {scene: cube_set.files.get(scene, scene) for scene in cube_set.scenes}
    scenes = {scene: found[file] for scene, file in files.items() if file in found}
    if not scenes:
        raise ValueError(
            f"{str(folder)!r} is not {cube_set.title}: it holds none of its {len(cube_set.scenes)} "
            f"scene(s). Expected: {cube_set.layout}"
        )
    return scenes


def _missing_bands(path: Path, num_bands: int) -> str:
    """Names the bands that a folder of numbered images lacks."""
    numbers = (re.search(r"(\d+)$", file.stem) for file in visible(path))
    have = {int(match[1]) for match in numbers if match}
    missing = sorted(set(range(1, num_bands + 1)) - have)
    return f" (missing: {', '.join(map(str, missing))})" if missing else ""


def read_scene(cube_set: CubeSet, scene: str, path: Path) -> Cube:
    """Reads one scene; raises ValueError if it is damaged or differs from the published one."""
    cube = read_cube(path, cube_set.key)
    if cube.shape != cube_set.shape:
        hint = _missing_bands(path, cube_set.shape[-1]) if path.is_dir() else ""
        raise ValueError(f"its shape is {cube.shape}, not {cube_set.shape}{hint}")
    allowed = cube_set.dtype_exceptions.get(scene, cube_set.dtypes)
    if cube.dtype.name not in allowed and not (cube.dtype.kind == "f" and "float" in allowed):
        raise ValueError(f"its data type is {cube.dtype}, not {' or '.join(allowed)}")
    if cube.dtype.kind == "f" and not np.isfinite(cube).all():
        raise ValueError("it holds pixels that are NaN or infinite")
    if scene in cube_set.checksums:
        stored = cube.astype(cube.dtype.newbyteorder("<")).tobytes()
        if hashlib.sha256(stored).hexdigest() != cube_set.checksums[scene]:
            raise ValueError("its pixels are not the published ones (SHA-256 differs)")
    return cube


def as_stored(cube: Cube) -> UInt16[np.ndarray, "H W L"]:
    """A cube as 16-bit integers, as in the module's contract; negative values become 0."""
    if cube.dtype == np.uint8:
        return cube.astype(np.uint16) * 257
    high = float(cube.max())
    integral = cube.dtype.kind in "ui" or bool((cube == np.rint(cube)).all())
    if integral and 1 < high <= 65535:
        return np.ascontiguousarray(cube.clip(0, None)).astype(np.uint16)
    return np.rint(cube.clip(0, None) * (65535 / (high or 1.0))).astype(np.uint16)


class CubeSetBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Builds the data set that `CUBE_SET` describes."""

    CUBE_SET: ClassVar[CubeSet]
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "Initial release."}

    def __init__(self, *, source: str | Path | None = None, **settings: Any) -> None:
        """Makes a builder; without a `source` folder the data are packaged or downloaded."""
        self._source = None if source is None else Path(source)
        super().__init__(**settings)

    def _info(self) -> tfds.core.DatasetInfo:
        """What TFDS stores about the data set: its features, description and citation."""
        cube = tfds.features.Tensor(
            shape=(None, None, self.CUBE_SET.shape[-1]),
            dtype=np.uint16,
            encoding=tfds.features.Encoding.ZLIB,
        )
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict({"name": tfds.features.Text(), "cube": cube}),
            description=f"{self.CUBE_SET.title}: {self.CUBE_SET.description}",
            homepage=self.CUBE_SET.homepage,
            citation=self.CUBE_SET.citation,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        """One split of all scenes."""
        folder = self._source or self.CUBE_SET.packaged
        if folder is not None:
            return {SPLIT: self._generate_examples(folder)}
        try:
            archive = Path(dl_manager.download(self.CUBE_SET.url))
        except tfds.download.DownloadError as error:
            raise self._not_downloaded(error) from error
        return {SPLIT: self._unpacked(archive)}

    def _not_downloaded(self, error: Exception) -> ValueError:
        cube_set = self.CUBE_SET
        return ValueError(
            f"{cube_set.title} could not be downloaded ({error}): get it from {cube_set.homepage}, "
            f"unpack it and give its folder with --source, laid out as: {cube_set.layout}"
        )

    def _unpacked(self, archive: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields the examples of a downloaded archive, unpacked in the folder of the data set."""
        with tempfile.TemporaryDirectory(dir=self._data_dir) as folder:
            try:
                with zipfile.ZipFile(archive) as packed:
                    packed.extractall(folder)
            except (zipfile.BadZipFile, zlib.error) as error:
                archive.unlink()  # or TFDS would use it again
                archive.with_name(f"{archive.name}.INFO").unlink()
                raise self._not_downloaded(error) from error
            yield from self._generate_examples(Path(folder))

    def _generate_examples(self, folder: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields one example per scene; at the end, one ValueError names all that are unusable."""
        cube_set = self.CUBE_SET
        paths = find_scenes(cube_set, folder)
        problems = [f"{name}: missing" for name in cube_set.scenes if name not in paths]
        for number, (name, path) in enumerate(paths.items()):
            try:
                cube = read_scene(cube_set, name, path)
            except ValueError as error:
                problems.append(f"{name}: {error}")
                continue
            yield number, {"name": name, "cube": as_stored(cube[cube_set.crop])}
        if problems:
            raise ValueError(
                f"{cube_set.title} in {str(folder)!r} is not complete; nothing was written:\n  "
                + "\n  ".join(problems)
            )
