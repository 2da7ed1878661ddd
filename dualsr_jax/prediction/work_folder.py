"""The folder of a run over a scene: what is computed already, and whether it is the same run.

Contract: `.<name>.parts` beside the output holds the tiles and `plan.json`, which says what was to
be computed from what; the same command goes on with the tiles that are missing, another one is
refused. One run at a time. The folder goes when the run ends well.
"""

import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dualsr_jax.io.atomic import replacing
from dualsr_jax.io.lock import locked
from dualsr_jax.scene.large_scene import Tiling
from dualsr_jax.scene.preprocessing import Preparation, Source, Statistics

_PLAN = "plan.json"
_SPARE_BYTES = 2**20


def describe(
    source: Source, statistics: Statistics, preparation: Preparation, **settings: Any
) -> dict[str, Any]:
    """What decides on the tiles of a run, as JSON.

    The scene is told from others by its values, so that a copy, or a file with another date, is the
    same scene.
    """
    normalisation = hashlib.sha256(preparation.gain.tobytes() + preparation.bias.tobytes())
    return {
        "shape": list(source.shape),
        "type": str(source.dtype),
        "content": statistics.content[:16],
        "usable bands": preparation.bands.tolist(),
        "normalisation": f"{preparation.rule} {normalisation.hexdigest()[:8]}",
        **settings,
    }


def _stored_plan(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / _PLAN).read_text()))
    except (OSError, ValueError):
        return {}


@contextlib.contextmanager
def work_folder(output: Path) -> Iterator[Path]:
    """Gives the folder of the run that writes an output, for this process alone.

    Raises:
        FileNotFoundError: if the output's own folder does not exist.
        ValueError: if another process is at work in it.
    """
    if not output.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {output.parent}")
    folder = output.parent / f".{output.name}.parts"
    folder.mkdir(exist_ok=True)
    with locked(folder, "output"):
        for path in folder.glob("." + "?" * 32 + ".*"):  # of tiles that a kill cut off
            path.unlink()
        ended_well = False
        try:
            yield folder
            ended_well = True
        finally:
            if ended_well or not any(folder.glob("tile_*")):
                shutil.rmtree(folder)


def begin(folder: Path, run: dict[str, Any], tiling: Tiling, *, overwrite: bool = False) -> Tiling:
    """Begins a run in its folder, or goes on with the one that is there.

    Args:
        folder: of `work_folder`.
        run: of `describe`.
        tiling: for a run that begins.
        overwrite: whether the tiles of another run are thrown away.

    Returns:
        The tiling that it was begun with.

    Raises:
        ValueError: if the folder is of another run.
    """
    run, stored = json.loads(json.dumps(run)), _stored_plan(folder)
    if stored and stored["run"] != run:
        old = stored["run"]
        names = [name for name in {**old, **run} if old.get(name) != run.get(name)]
        if not overwrite:
            raise ValueError(
                f"{str(folder)!r} holds the tiles of an interrupted run of another kind (other "
                f"{', '.join(names)}): give the command it was begun with to go on, or "
                "--overwrite to throw them away"
            )
        stored = {}
    if stored:
        return Tiling(tuple(stored["window"]), stored["band_chunk"])
    for path in folder.glob("*tile_*"):
        path.unlink()
    with replacing(folder / _PLAN) as beside:
        beside.write_text(json.dumps({"run": run, **dataclasses.asdict(tiling)}) + "\n")
    return tiling


def check_disk_space(folder: Path, needed_bytes: int, what: str) -> None:
    """Raises ValueError if there is less room in a folder's file system than a run needs."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes + _SPARE_BYTES:
        raise ValueError(
            f"{what} needs {needed_bytes / 1e9:.3g} GB in {str(folder)!r}, and {free / 1e9:.3g} GB "
            "are free: make room, or write to another disk"
        )
