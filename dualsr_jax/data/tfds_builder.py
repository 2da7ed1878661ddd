"""Normalisation of published data sets as TFDS data sets, without TensorFlow.

Contract: a builder of `datasets/` describes its data set as a `CubeSet`; `CubeSetBuilder` finds,
reads and verifies its scenes and writes them as `{"name", "cube"}` records of one split, "scenes",
in the order of their names. What trains and what tests is said by name when the set is used
(`split.py`). Everything that is missing or damaged is named in one error. Written beside and
renamed: a data set is whole or not there.

Cubes are stored as 16-bit integers: as they are where they hold such integers, 8-bit ones times
257, others scaled so that the cube's maximum is 65535 (an error of at most 8e-6 of it).
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

from dualsr_jax.io.cubes import Cube, list_cubes, read_cube

SPLIT = "scenes"


@dataclasses.dataclass(frozen=True)
class CubeSet:
    """What is known of a published data set.

    Attributes:
        title: its name in prose.
        scenes: names of its scenes.
        shape: (height, width, bands) of every scene.
        dtypes: data types that a scene may be stored in, such as ("uint16",); "float" is any
            floating-point type.
        description: one sentence.
        homepage: its address.
        citation: whom to cite.
        layout: how the folder that the user has looks.
        key: name of the variable that holds a cube, in `.mat` files.
        files: names of files by scene, where they differ from the scene's name.
        dtype_exceptions: data types of single scenes.
        checksums: SHA-256 of stored cubes, `[H, W, L]` in row-major order and little-endian, of
            those scenes of which it is known.
        crop: part of a scene that is kept.
        url: ZIP archive to download where no folder is given.
        packaged: folder of an installed package that holds the data.
    """

    title: str
    scenes: tuple[str, ...]
    shape: tuple[int, int, int]
    dtypes: tuple[str, ...]
    description: str
    homepage: str
    citation: str
    layout: str
    key: str | None = None
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    dtype_exceptions: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    checksums: Mapping[str, str] = dataclasses.field(default_factory=dict)
    crop: tuple[slice, slice] = (slice(None), slice(None))
    url: str | None = None
    packaged: Path | None = None


def find_scenes(cube_set: CubeSet, folder: Path) -> dict[str, Path]:
    """Paths of the scenes that are in a folder, by name; other files are ignored.

    Raises:
        ValueError: if there is none of them.
        FileNotFoundError: if there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {str(folder)!r}")
    found: dict[str, Path] = {}
    with contextlib.suppress(ValueError):  # no cubes at all
        found = list_cubes(folder)
    names = {cube_set.files.get(scene, scene): scene for scene in cube_set.scenes}
    scenes = {names[name]: path for name, path in found.items() if name in names}
    if not scenes:
        raise ValueError(
            f"{str(folder)!r} is not {cube_set.title}: it holds none of its {len(cube_set.scenes)} "
            f"scene(s). Expected: {cube_set.layout}"
        )
    return {scene: scenes[scene] for scene in cube_set.scenes if scene in scenes}


def _missing_bands(path: Path, num_bands: int) -> str:
    """The bands of a folder of numbered images that are not there, in words."""
    numbers = (re.search(r"(\d+)$", file.stem) for file in path.iterdir())
    have = {int(match[1]) for match in numbers if match}
    missing = sorted(set(range(1, num_bands + 1)) - have)
    return f" (missing: {', '.join(map(str, missing))})" if missing else ""


def read_scene(cube_set: CubeSet, scene: str, path: Path) -> Cube:
    """Reads and verifies one scene.

    Raises:
        ValueError: if it cannot be read, or its shape, data type or checksum is not the published.
    """
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
    """A cube as 16-bit integers, as the module's contract says; negative values become 0."""
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

    def __init__(self, *, source: Path | None = None, **settings: Any) -> None:
        """Sets the builder up.

        Args:
            source: folder of the data as distributed; None: packaged, or else to be downloaded.
            **settings: of TFDS, such as `data_dir`.
        """
        self._source = source
        super().__init__(**settings)

    def _info(self) -> tfds.core.DatasetInfo:
        """Names and types of the features."""
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
        """The examples of a downloaded archive, unpacked beside what is written."""
        with tempfile.TemporaryDirectory(dir=self._data_dir) as folder:
            try:
                with zipfile.ZipFile(archive) as packed:
                    packed.extractall(folder)
            except (zipfile.BadZipFile, zlib.error) as error:
                archive.unlink()  # TFDS would take it again
                archive.with_name(f"{archive.name}.INFO").unlink()  # and its size
                raise self._not_downloaded(error) from error
            yield from self._generate_examples(Path(folder))

    def scenes(self, folder: Path) -> Iterator[tuple[str, Cube]]:
        """Reads and verifies the scenes.

        Raises:
            ValueError: at the end, naming everything that is missing or damaged.
        """
        cube_set = self.CUBE_SET
        paths = find_scenes(cube_set, folder)
        problems = [f"{name}: missing" for name in cube_set.scenes if name not in paths]
        for name, path in paths.items():
            try:
                cube = read_scene(cube_set, name, path)
            except ValueError as error:
                problems.append(f"{name}: {error}")
                continue
            yield name, cube[cube_set.crop]
        if problems:
            raise ValueError(
                f"{cube_set.title} in {str(folder)!r} is not complete; nothing was written:\n  "
                + "\n  ".join(problems)
            )

    def _generate_examples(self, folder: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields one example a scene."""
        for number, (name, cube) in enumerate(self.scenes(folder)):
            yield number, {"name": name, "cube": as_stored(cube)}
