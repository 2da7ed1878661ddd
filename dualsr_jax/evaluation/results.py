"""The scores of an evaluation: `results.json`, `results.csv` and the table that is printed.

Contract: scores are kept by image, method and metric, with their means over the images. The methods
are bicubic interpolation, the network (named after its class), and DualSR, which is the network
followed by the fine stage. `read_evaluation` checks what it reads.
"""

import csv
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dualsr_jax.disk import replacing
from dualsr_jax.protocols import get_protocol

BICUBIC, DUALSR = "Bicubic", "DualSR"
RESULTS = "results.json"

Scores = Mapping[str, Mapping[str, float]]  # by metric, first by method or by image


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The scores of test images, as read from a folder."""

    folder: Path  # of the evaluation, with its cubes
    scale: int
    protocol: str  # a key of `PROTOCOLS`
    images: Mapping[str, Scores]  # by image, then by method and metric
    mean: Scores  # over the images
    gains: Mapping[str, Sequence[float]]  # by image, of each iteration of the fine stage
    # By image, of its bands in nm; None where they are unknown.
    wavelengths_nm: Mapping[str, Sequence[float] | None]

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods: Bicubic, the network and DualSR."""
        return tuple(self.mean)


def mean_scores(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over several images, by metric."""
    return {metric: float(np.mean([s[metric] for s in scores])) for metric in scores[0]}


def write_results(
    folder: Path, scale: int, protocol: str, records: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Writes `results.json`, whose content it returns, and `results.csv`.

    A record holds an image's "scores" by method and metric, its "gains" and "seconds", and the
    wavelengths of its bands as "wavelengths_nm", or None if they are unknown.
    """
    methods = next(iter(records.values()))["scores"]
    mean = {m: mean_scores([record["scores"][m] for record in records.values()]) for m in methods}
    results = {"scale": scale, "protocol": protocol, "mean": mean, "images": records}
    with replacing(folder / RESULTS) as new:
        new.write_text(json.dumps(results, indent=2) + "\n")
    with replacing(folder / "results.csv") as new, new.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "method", *get_protocol(protocol).metrics])
        for image, record in records.items():
            for method in methods:
                writer.writerow([image, method, *record["scores"][method].values()])
    return results


def table(results: Mapping[str, Any]) -> str:
    """The scores of `write_results` as text, the means last."""
    metrics = list(get_protocol(results["protocol"]).metrics)
    blocks = {image: record["scores"] for image, record in results["images"].items()}
    width = max(len(image) for image in [*blocks, "mean"])
    column = max(len(method) for method in ["method  ", *results["mean"]])
    lines = [f"{'image':{width}}  {'method':{column}}" + "".join(f"{m:>10}" for m in metrics)]
    for image, block in [*blocks.items(), ("mean", results["mean"])]:
        lines.append("-" * len(lines[0]))
        for method, scores in block.items():
            title = image if method == BICUBIC else ""
            values = "".join(f"{scores[m]:10.4f}" for m in metrics)
            lines.append(f"{title:{width}}  {method:{column}}{values}")
    return "\n".join(lines)


def _scores(found: Any, methods: Sequence[str], protocol: str, what: str) -> Scores:
    """Raises ValueError unless there is a number for each method and metric."""
    metrics = get_protocol(protocol).metrics
    for method in methods:
        values = found.get(method) if isinstance(found, dict) else None
        for metric in metrics:
            value = values.get(metric) if isinstance(values, dict) else None
            if type(value) not in (int, float):
                raise ValueError(f"{what} has no number for {metric} of {method}")
    return {method: {metric: found[method][metric] for metric in metrics} for method in methods}


def _are_wavelengths(found: Any) -> bool:
    return isinstance(found, list) and all(
        type(value) in (int, float) and 0 < value < np.inf for value in found
    )


def _parse(folder: Path, results: Any) -> Evaluation:
    if not isinstance(results, dict):
        raise ValueError(f"expected an object, got {type(results).__name__}")
    if missing := sorted({"scale", "protocol", "mean", "images"} - set(results)):
        raise ValueError(f"{', '.join(missing)} is missing")
    scale, protocol, images = results["scale"], str(results["protocol"]), results["images"]
    if type(scale) is not int or scale < 2:
        raise ValueError(f"the scale is {scale!r}, expected an integer of 2 or more")
    get_protocol(protocol)
    if not isinstance(images, dict) or not images:
        raise ValueError("there are no images")
    found = results["mean"] if isinstance(results["mean"], dict) else {}
    methods = (BICUBIC, *(name for name in found if name not in (BICUBIC, DUALSR)), DUALSR)
    if not all(name.isidentifier() for name in methods):
        raise ValueError(f"expected names of methods, got {', '.join(methods)}")
    scores: dict[str, Scores] = {}
    gains: dict[str, Any] = {}
    wavelengths: dict[str, Any] = {}
    for image, record in images.items():
        record = record if isinstance(record, dict) else {}
        scores[image] = _scores(record.get("scores"), methods, protocol, repr(image))
        gains[image] = record.get("gains")
        if not isinstance(gains[image], list) or not all(
            isinstance(gain, int | float) for gain in gains[image]
        ):
            raise ValueError(f"{image!r} has no gains of the fine stage")
        found_nm = record.get("wavelengths_nm")
        if found_nm is not None and not _are_wavelengths(found_nm):
            raise ValueError(f"{image!r} has wavelengths that are not positive numbers")
        wavelengths[image] = found_nm
    mean = _scores(results["mean"], methods, protocol, "the mean")
    return Evaluation(
        folder=folder,
        scale=scale,
        protocol=protocol,
        images=scores,
        mean=mean,
        gains=gains,
        wavelengths_nm=wavelengths,
    )


def read_evaluation(path: Path) -> Evaluation:
    """Reads the scores of an evaluation.

    Args:
        path: folder of the evaluation, or the folder of weights that holds it as `evaluation`.

    Raises:
        FileNotFoundError: if there is no evaluation.
        ValueError: if `results.json` is damaged or has another form.
    """
    folder = path if (path / RESULTS).is_file() else path / "evaluation"
    file = folder / RESULTS
    if not file.is_file():
        raise FileNotFoundError(
            f"there is no evaluation in {str(path)!r} (no {RESULTS}): run python -m "
            "dualsr_jax.evaluate --config ... --weights ... first"
        )
    try:
        return _parse(folder, json.loads(file.read_text()))
    except (ValueError, RecursionError) as error:  # also of json, and of bytes that are not text
        reason = str(error).replace("\n", " ")
        raise ValueError(f"{file} is not the result of an evaluation: {reason}") from error
