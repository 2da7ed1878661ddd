"""The folder of a run over a scene: what is computed already, and whether it is the same run.

Contract: `.<name>.store` beside the output holds the tiles and `plan.json`, which says what was to
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

from dualsr_jax.disk import locked, replacing
from dualsr_jax.large_scene.normalisation import Normalisation, SceneReader, Statistics
from dualsr_jax.large_scene.tiling import Tiling

_PLAN = "plan.json"


def describe(
    source: SceneReader, statistics: Statistics, normalisation: Normalisation, **settings: Any
) -> dict[str, Any]:
    """What decides on the tiles of a run, as JSON.

    The scene is told from others by its values, so that a copy, or a file with another date, is the
    same scene.
    """
    affine = hashlib.sha256(normalisation.gain.tobytes() + normalisation.bias.tobytes())
    return {
        "shape": list(source.shape),
        "type": str(source.dtype),
        "content": statistics.content[:16],
        "usable bands": normalisation.bands.tolist(),
        "normalisation": f"{normalisation.rule} {affine.hexdigest()[:8]}",
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
