"""Prepares a published data set: verifies it and writes it as a TFDS data set.

    dualsr prepare --dataset cave --source FOLDER

FOLDER holds the data as distributed (docs/data.md). The command verifies the number of scenes,
their shapes, data types and, if known, checksums; one error names everything that is missing or
damaged. A data set that is prepared already is left as it is.
"""

import functools
import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from dualsr_jax.commands import Command, start
from dualsr_jax.disk import locked, make_writable
from dualsr_jax.flag_table import Groups, text
from dualsr_jax.messages import say

if TYPE_CHECKING:
    from dualsr_jax.data.tfds_builder import CubeSetBuilder

_BUILDERS = Path(__file__).parents[1] / "datasets"
FLAGS: Groups = {
    "Data": {
        "dataset": text("Name of a folder in datasets/.", required=True),
        "source": text("Folder of the data as distributed. Default: packaged or downloaded."),
        "data_dir": text("Folder of prepared data sets.", "data/tfds"),
    }
}


@functools.cache  # TFDS registers a builder once
def load_builder(name: str) -> type["CubeSetBuilder"]:
    """The builder of a data set in `datasets/`; raises ValueError if there is no such builder."""
    path = _BUILDERS / name / f"{name}_dataset_builder.py"
    if not path.is_file():
        known = sorted(p.parent.name for p in _BUILDERS.glob("*/*_dataset_builder.py"))
        raise ValueError(
            f"unknown data set {name!r}: expected one of {', '.join(known)}"
            if known
            else f"the folder datasets/ is not next to the package ({_BUILDERS}): run in a checkout"
        )
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    builder: type[CubeSetBuilder] = module.Builder
    return builder


def prepare(name: str, source: str | Path | None, data_dir: str | Path) -> Path:
    """Prepares a data set of `datasets/`; returns the folder of the prepared one.

    `source` holds the data as distributed; None means packaged or downloaded data.

    Raises:
        ValueError: if the data set is unknown, or the source or download is another, incomplete or
            damaged, or if another run prepares it or the folder cannot be written.
        FileNotFoundError: if the source does not exist.
        OSError: if the server cannot be reached, or the disk is full.
    """
    source = None if source is None else Path(source)
    builder_class = load_builder(name)
    cube_set = builder_class.CUBE_SET
    if source is not None and not source.is_dir():
        raise FileNotFoundError(f"there is no folder {str(source)!r}: set --source")
    if source is None and cube_set.packaged is None and cube_set.url is None:
        raise ValueError(
            f"{cube_set.title} is not downloaded here: get it from {cube_set.homepage} and give "
            f"its folder with --source, laid out as: {cube_set.layout}"
        )
    builder = builder_class(source=source, data_dir=data_dir, file_format="array_record")
    prepared = Path(builder.data_dir)
    if builder.is_prepared():
        say(f"{cube_set.title} is prepared already")
        return prepared
    make_writable(prepared.parent, "data_dir")
    with locked(prepared.parent, "data_dir"):
        for left in prepared.parent.glob(f"*incomplete*{prepared.name}"):  # by a killed run
            shutil.rmtree(left)
        try:
            builder.download_and_prepare()
        except (OSError, RuntimeError) as error:  # RuntimeError is array_record's
            raise OSError(
                f"{cube_set.title} could not be prepared in {str(data_dir)!r}, nothing is left of "
                "it (--source reads another folder, --data_dir writes to another): "
                f"{str(error).splitlines()[0]}"
            ) from error
    height, width, bands = cube_set.shape
    say(
        f"{cube_set.title}: {len(cube_set.scenes)} scene(s) of {height}x{width}x{bands} verified, "
        f"{len(cube_set.checksums)} of them by checksum"
    )
    return prepared


def main(given: flags.FlagValues, _: list[str]) -> None:
    """Prepares the data set and prints the flags that use it."""
    source = Path(given.source).expanduser() if given.source else None
    prepared = prepare(given.dataset, source, Path(given.data_dir).expanduser())
    say(f"use it with --config.data.source=tfds --config.data.path={prepared.parent}")


COMMAND = Command(
    name="prepare",
    about="Verifies a published data set and writes it as a TFDS data set.",
    example="--dataset cave --source FOLDER",
    flags=FLAGS,
    main=main,
)

if __name__ == "__main__":
    start(COMMAND)
