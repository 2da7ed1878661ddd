"""The rows of a comparison, as they are written to `results.json`.

Contract: the rows are bicubic, the networks in the order of the paper's table, then the networks
with the fine stage; methods that were published but not compared have rows with their published
scores only. A row holds its trainings as "runs". A value that was not measured is None.
"""

import os
import platform
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from dualsr_jax.comparison.entries import Run
from dualsr_jax.comparison.measure import Measured
from dualsr_jax.comparison.published import published
from dualsr_jax.evaluation.results import BICUBIC, DUALSR, mean_scores
from dualsr_jax.figures import Dot
from dualsr_jax.models.multiply_adds import multiply_adds
from dualsr_jax.models.network import METHODS, Network, method_of, num_parameters
from dualsr_jax.training.parallel import describe_devices
from dualsr_jax.version import version

SIDE = 512  # pixels of the result for which multiply-adds are counted
_COARSR = next(iter(METHODS))
_PAPER = ("3D-FCNN", "EDSR", "SSPSR", "MCNet", "SFCSR", "ERCSR", _COARSR)  # order of its table
_FINE = " + fine stage"
Scores = Mapping[str, Mapping[str, float]]  # by image and metric


def fine_label(label: str) -> str:
    """The label of a network's row with the fine stage."""
    return DUALSR if label == _COARSR else label + _FINE


def _row(label: str, method: str, **values: Any) -> dict[str, Any]:
    names = (
        *("guide", "parameters", "gmac", "mean", "spread", "published", "seconds_per_scene"),
        *("peak_memory_gb", "seconds_per_step", "steps", "patches", "training_pmac"),
    )
    row = {"label": label, "method": method, "fine_stage": False, **dict.fromkeys(names)}
    return {**row, "runs": [], **values}


def _over_runs(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation of the runs' means; the latter None of a single run."""
    means = [run["mean"] for run in runs]
    spread = (
        {m: statistics.stdev(mean[m] for mean in means) for m in means[0]} if runs[1:] else None
    )
    return {"mean": mean_scores(means), "spread": spread, "runs": list(runs)}


def _run(measured: Measured, scores: Scores) -> dict[str, Any]:
    run = measured.run
    return {
        "weights": run.weights,
        "half_weights": run.half_weights,
        "sha256": run.dualsr.sha256,
        "step": run.step,
        "mean": mean_scores(list(scores.values())),
        "images": scores,
    }


def _size(networks: Sequence[Network], bands: int) -> dict[str, Any]:
    """Parameters and multiply-adds of networks; those of smaller scale make smaller results."""
    largest = networks[0].scale
    macs = [
        multiply_adds(n.model, bands, height=side, width=side)
        for n in networks
        for side in [SIDE * n.scale / largest]
    ]
    count = sum(num_parameters(network.variables["params"]) for network in networks)
    return {"parameters": count, "gmac": sum(macs) / 1e9}


def _effort(runs: Sequence[Run], bands: int) -> dict[str, Any]:
    """Steps, patches and 10^15 multiply-adds of a training, if all runs have the same."""
    settings, step = runs[0].training.settings, runs[0].step
    names = ("batch_size", "lr_patch", "window_bands")
    batch_size, lr_patch, window = (settings.get(name) for name in names)
    for run in runs:
        if run.step != step or any(run.training.settings.get(n) != settings.get(n) for n in names):
            return {}
    if type(step) is not int or type(batch_size) is not int or type(lr_patch) is not int:
        return {}
    model, window = runs[0].model, window if type(window) is int else bands
    side = lr_patch * model.scale
    macs = multiply_adds(model, window, height=side, width=side)
    patches = step * batch_size
    # The backward pass costs two forward passes.
    return {"steps": step, "patches": patches, "training_pmac": 3 * macs * patches / 1e15}


def _shown_as_published(measured: Measured) -> bool:
    return getattr(measured.run.model, "skip", "published") == "published"


def _network_rows(
    group: Sequence[Measured], bands: int, known: Scores
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The rows of a network without and with the fine stage."""
    first = group[0]
    method, label, stage = (
        method_of(first.run.model),
        first.run.label,
        first.run.dualsr.coarse_stage,
    )
    steps = [measured.step_seconds for measured in group if measured.step_seconds is not None]
    as_published = known if _shown_as_published(first) else {}
    common = {
        "peak_memory_gb": max(measured.memory_gb for measured in group),
        "seconds_per_step": statistics.mean(steps) if steps else None,
    }
    coarse = _row(
        label,
        method,
        **common,
        **_size((stage.coarse,), bands),
        **_effort([measured.run for measured in group], bands),
        **_over_runs([_run(measured, measured.coarse) for measured in group]),
        seconds_per_scene=statistics.mean(measured.seconds for measured in group),
        published=as_published.get(method),
    )
    fine = _row(
        fine_label(label),
        DUALSR if method == _COARSR else method + _FINE,
        peak_memory_gb=common["peak_memory_gb"],
        fine_stage=True,
        guide=first.run.guide,
        **_size(stage.networks, bands),
        **_over_runs([_run(measured, measured.fine) for measured in group]),
        seconds_per_scene=statistics.mean(measured.fine_seconds for measured in group),
        published=as_published.get(DUALSR) if method == _COARSR else None,
    )
    return coarse, fine


def _with_published(rows: list[dict[str, Any]], known: Scores) -> list[dict[str, Any]]:
    """Adds the methods that were published only, and sorts the rows."""
    there = {row["method"] for row in rows if row["published"] is not None}
    rows = rows + [
        _row(method, method, published=known[method], fine_stage=method == DUALSR)
        for method in known
        if method not in {BICUBIC, *there}
    ]

    def place(row: Mapping[str, Any]) -> tuple[int, int]:
        method = row["method"].removesuffix(_FINE)
        method = _COARSR if method == DUALSR else method
        return row["fine_stage"], _PAPER.index(method) if method in _PAPER else len(_PAPER)

    return sorted(rows, key=place)


def _notes(config: ConfigDict, everything: Sequence[Measured], source: str) -> Iterator[str]:
    for measured in everything:
        training = measured.run.training
        if unknown := training.unknown():
            said = f"; its file says: {training.prose}" if training.prose else ""
            yield f"not known of {training.weights}: {', '.join(unknown)} of its training{said}"
        if training.trained_on_same_degradation(config) is False:
            yield f"{training.weights} was trained with another degradation than is tested"
    if source:
        yield f"published: {source}"
    since_start = any(measured.memory_since_start for measured in everything)
    since = "since this process began" if since_start else "while the row was measured"
    yield (
        f"GMAC: 10^9 multiply-adds of all layers for a result of {SIDE}x{SIDE} pixels; seconds per "
        "scene: median over the test images, without compiling; peak memory: largest resident "
        f"memory of the whole process on the host, with Python, JAX and the images, {since}"
    )


def build_results(
    config: ConfigDict, bicubic: Scores, everything: Sequence[Measured], bands: int
) -> dict[str, Any]:
    """Puts together what `results.json` holds.

    Args:
        config: that of the comparison.
        bicubic: scores of bicubic interpolation.
        everything: what was measured, in the order of the command.
        bands: bands of the images.

    Returns:
        Values of JSON.
    """
    known, source = published(config)
    groups: dict[str, list[Measured]] = {}
    for measured in everything:
        groups.setdefault(measured.run.label, []).append(measured)
    rows = [row for group in groups.values() for row in _network_rows(group, bands, known)]
    first = {"weights": None, "images": bicubic, "mean": mean_scores(list(bicubic.values()))}
    top = _row(BICUBIC, BICUBIC, published=known.get(BICUBIC), **_over_runs([first]))
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "data_set": config.data.name,
        "split": config.data.split,
        "protocol": config.protocol,
        "scale": config.model.scale,
        "bands": bands,
        "hardware": {"devices": describe_devices(), "cpus": threads, "machine": platform.machine()},
        "versions": {"dualsr_jax": version(), "jax": jax.__version__},
        "rows": [top, *_with_published(rows, known)],
        "notes": list(dict.fromkeys(_notes(config, everything, source))),
    }


def dots(results: Mapping[str, Any]) -> list[Dot]:
    """The dots of the figure of quality against cost."""
    return [
        Dot(row["label"], row["gmac"], next(iter(row["mean"].values())), row["parameters"])
        for row in results["rows"]
        if row["gmac"] is not None
    ]
