"""The folder of an evaluation: what `evaluate` leaves and the report reads.

Contract: `results.json` holds the scores by image, method and metric; `<scene>.npz` the float32
cubes as they were scored: `reference`, `lr`, `CoarSR`, `DualSR`. Bicubic is made again from `lr`.
Nothing of it is believed: a file that is damaged or of another form is told, and so are cubes of
another evaluation than the scores.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dualsr_jax.disk import replacing
from dualsr_jax.io.cubes import read_cube
from dualsr_jax.ops.resize import imresize
from dualsr_jax.protocols import get_protocol

METHODS = ("Bicubic", "CoarSR", "DualSR")
RESULTS = "results.json"
_STORED = ("reference", "lr", *METHODS[1:])
_SAME = 1e-3  # of the score's value: what a mean over a whole cube can lose in float32

Cube = Float[np.ndarray, "_ _ L"]
Scores = Mapping[str, Mapping[str, float]]  # by method and metric


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Scores of test images.

    Attributes:
        folder: that they lie in, with the cubes.
        scale: factor of super-resolution.
        protocol: a key of `PROTOCOLS`.
        images: scores by scene, method and metric.
        mean: over the images.
        gains: of the fine stage, one an iteration, by scene.
    """

    folder: Path
    scale: int
    protocol: str
    images: Mapping[str, Scores]
    mean: Scores
    gains: Mapping[str, Sequence[float]]


def file_name(scene: str) -> str:
    """A scene's name as a file name: `a` stays, the part `a[:, 64:]` becomes `a_-_64-`."""
    return scene.translate(str.maketrans("[:,", "_-_", "] "))


def bytes_of_cubes(shapes: Sequence[tuple[int, ...]], scale: int) -> int:
    """Room that the cubes of scenes take on disk, at most, from the shapes of their references."""
    values = sum(3 * math.prod(shape) + math.prod(shape) // scale**2 for shape in shapes)
    return 4 * values + 4096 * len(shapes)


def write_cubes(
    folder: Path, scene: str, *, reference: Cube, lr: Cube, results: Mapping[str, Cube]
) -> None:
    """Writes the cubes of a scene.

    Args:
        folder: of the evaluation.
        scene: its name.
        reference: `[H, W, L]`.
        lr: `[H / s, W / s, L]`.
        results: by method, as scored; bicubic is left out.
    """
    cubes = {"reference": reference, "lr": lr, **{name: results[name] for name in METHODS[1:]}}
    with replacing(folder / f"{file_name(scene)}.npz") as beside:
        np.savez(beside, allow_pickle=False, **cubes)


def read_cubes(evaluation: Evaluation, scene: str) -> dict[str, Cube]:
    """The reference and the results of a scene, by name: Reference, Bicubic, CoarSR, DualSR.

    Raises:
        FileNotFoundError: if the evaluation left no cubes.
        ValueError: if they are damaged, or not those that the scores are of.
    """
    path = evaluation.folder / f"{file_name(scene)}.npz"
    again = "run python -m dualsr_jax.evaluate again, without --nosave_cubes"
    if not path.is_file():
        raise FileNotFoundError(f"there are no cubes of {scene!r} ({str(path)!r}): {again}")
    stored = {key: read_cube(path, key) for key in _STORED}
    height, width, bands = stored["reference"].shape
    low = (height // evaluation.scale, width // evaluation.scale, bands)
    for key, cube in stored.items():
        expected = low if key == "lr" else (height, width, bands)
        if cube.shape != expected or cube.dtype != np.float32 or not np.isfinite(cube).all():
            raise ValueError(
                f"{path}: expected {key} to be finite float32 of shape {expected}, got "
                f"{cube.dtype} {cube.shape}: {again}"
            )
    cubes = {
        "Reference": stored["reference"],
        "Bicubic": imresize(stored["lr"], evaluation.scale),
        "CoarSR": stored["CoarSR"],
        "DualSR": stored["DualSR"],
    }
    # The first metric of every protocol is cheap, and enough to tell one result from another.
    name, metric = next(iter(get_protocol(evaluation.protocol).metrics.items()))
    for method in METHODS:
        made = float(metric(cubes[method], cubes["Reference"]))
        said = evaluation.images[scene][method][name]
        if not (made == said or abs(made - said) <= _SAME * abs(said)):
            raise ValueError(
                f"{path} is not of the evaluation in {RESULTS}: {name} of {method} is "
                f"{made:.4f}, the table says {said:.4f}: {again}"
            )
    return cubes


def _scores(found: Any, protocol: str, where: str) -> dict[str, dict[str, float]]:
    """Scores by method and metric, checked."""
    metrics = get_protocol(protocol).metrics
    for method in METHODS:
        values = found.get(method) if isinstance(found, dict) else None
        for metric in metrics:
            value = values.get(metric) if isinstance(values, dict) else None
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise ValueError(f"{where} has no number for {metric} of {method}")
    return {method: {metric: found[method][metric] for metric in metrics} for method in METHODS}


def _parse(folder: Path, results: Any) -> Evaluation:
    """The content of `results.json`, checked; ValueError says what is wrong with it."""
    if not isinstance(results, dict):
        raise ValueError(f"expected an object, got {type(results).__name__}")
    missing = sorted({"scale", "protocol", "mean", "images"} - set(results))
    if missing:
        raise ValueError(f"{', '.join(missing)} is missing")
    scale, protocol, images = results["scale"], str(results["protocol"]), results["images"]
    if type(scale) is not int or scale < 2:
        raise ValueError(f"the scale is {scale!r}")
    get_protocol(protocol)
    if not isinstance(images, dict) or not images:
        raise ValueError("there are no images")
    scores: dict[str, Scores] = {}
    gains: dict[str, list[float]] = {}
    for scene, record in images.items():
        record = record if isinstance(record, dict) else {}
        scores[scene] = _scores(record.get("scores"), protocol, repr(scene))
        found = record.get("gains")
        if not isinstance(found, list) or not all(isinstance(g, int | float) for g in found):
            raise ValueError(f"{scene!r} has no gains of the fine stage")
        gains[scene] = found
    mean = _scores(results["mean"], protocol, "the mean")
    return Evaluation(folder, scale, protocol, scores, mean, gains)


def read_evaluation(path: Path) -> Evaluation:
    """Reads the scores of an evaluation.

    Args:
        path: of the folder of an evaluation, or of the workdir that holds one as `evaluation`.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if `results.json` is damaged or of another form.
    """
    folder = path if (path / RESULTS).is_file() else path / "evaluation"
    if not (folder / RESULTS).is_file():
        raise FileNotFoundError(
            f"there is no evaluation in {str(path)!r} (no {RESULTS}): run python -m "
            "dualsr_jax.evaluate --config ... --workdir ... first"
        )
    try:
        return _parse(folder, json.loads((folder / RESULTS).read_text()))
    except ValueError as error:  # json's and of text that is none are ValueErrors too
        reason = str(error).replace("\n", " ")
        raise ValueError(
            f"{folder / RESULTS} is not the result of an evaluation: {reason}"
        ) from error
