"""The folder of a run over a scene: what is computed already, and by which run.

Contract: `.<output>.parts` next to the output holds the finished tiles and `plan.json`, which says
what is computed from what; ENVI's two names of one cube share the header's. The same command
resumes with the missing tiles; another command is refused. One run at a time uses the folder; it is
removed when the run succeeds.
"""

import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dualsr_jax.disk import check_folder, locked, replacing
from dualsr_jax.io.cubes import written_files
from dualsr_jax.large_scene.normalisation import Normalisation, SceneReader, Statistics
from dualsr_jax.large_scene.tiling import Tiling

_PLAN = "plan.json"


def describe(
    source: SceneReader, statistics: Statistics, normalisation: Normalisation, **settings: Any
) -> dict[str, Any]:
    """What decides on the content of the tiles, as JSON; a copy of a scene is the same scene."""
    given = (normalisation.gain, normalisation.bias, normalisation.mean, normalisation.masked)
    numbers = hashlib.sha256(b"".join(array.tobytes() for array in given))
    return {
        "shape": list(source.shape),
        "type": str(source.dtype),
        "content": statistics.content[:16],
        "usable bands": normalisation.bands.tolist(),
        "normalisation": f"{normalisation.rule} {numbers.hexdigest()[:16]}",
        "nodata": str(normalisation.nodata),
        **settings,
    }


@contextlib.contextmanager
def work_folder(output: Path) -> Iterator[Path]:
    """Gives the folder of the run that writes an output, for this process alone.

    Raises what `check_folder` raises for the output, and ValueError if another run uses the folder.
    """
    check_folder(output)
    first = written_files(output)[0]
    folder = output.parent / f".{first.stem}{first.suffix.lower()}.parts"
    folder.mkdir(exist_ok=True)
    with locked(folder, "output"):
        for path in folder.glob("." + "?" * 32 + ".*"):  # unfinished tiles of a killed run
            path.unlink()
        succeeded = False
        try:
            yield folder
            succeeded = True
        finally:
            if succeeded or not any(folder.glob("tile_*")):
                shutil.rmtree(folder)


def begin(folder: Path, run: dict[str, Any], tiling: Tiling, *, overwrite: bool = False) -> Tiling:
    """Begins a run with a tiling, or resumes it: returns the tiling that it was begun with.

    `run` comes from `describe`. If the folder holds tiles of another run, they are deleted with
    `overwrite`; else ValueError is raised.
    """
    run, old = json.loads(json.dumps(run)), {}
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):  # damaged
        stored = json.loads((folder / _PLAN).read_text())
        rows, columns = map(int, stored["window"])
        begun, old = Tiling((rows, columns), int(stored["band_chunk"])), dict(stored["run"])
    if old == run:
        return begun
    if old and not overwrite and any(folder.glob("tile_*")):
        names = [name for name in {**old, **run} if old.get(name) != run.get(name)]
        raise ValueError(
            f"{str(folder)!r} holds the tiles of an interrupted run of another kind (other "
            f"{', '.join(names)}): run the command it was begun with to resume it, or add "
            "--overwrite to delete them"
        )
    for path in folder.glob("*tile_*"):
        path.unlink()
    with replacing(folder / _PLAN) as partial:
        partial.write_text(json.dumps({"run": run, **dataclasses.asdict(tiling)}) + "\n")
    return tiling
