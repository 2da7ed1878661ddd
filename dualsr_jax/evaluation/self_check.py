"""The self-check: plain bicubic, which needs no training, against its published row.

Where bicubic agrees with the published figures, data, split, degradation and metrics are those of
the publication, and other figures can be compared with its tables. Source of the rows:
`data/published.toml`.
"""

import dataclasses
import functools
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from dualsr_jax.data.parts import open_parts
from dualsr_jax.data.test_images import reference_and_lr
from dualsr_jax.ops.degrade import Degradation
from dualsr_jax.ops.resize import imresize
from dualsr_jax.protocols import get_protocol, score

_ROWS = Path(__file__).parent / "data" / "published.toml"
# Published figures are rounded, and at x4 their MATLAB differs from ours by 0.003 dB.
TOLERANCES = {"psnr_db": 0.005, "ssim": 0.0005, "sam_deg": 0.005}
_DIGITS = {"psnr_db": 3, "ssim": 4, "sam_deg": 3}
Scores = Mapping[str, Mapping[str, float]]


@functools.cache
def _published() -> list[dict[str, Any]]:
    return tomllib.loads(_ROWS.read_text())["row"]


def image_scores(sr: np.ndarray, hr: np.ndarray, scale: int, protocol: str) -> dict[str, float]:
    """The metrics of one result as numbers, in the order of the protocol."""
    scores = score(sr, hr, scale=scale, protocol=protocol)
    return {metric: float(scores[metric]) for metric in get_protocol(protocol).metrics}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether bicubic agrees with the published row; None where there is none to compare with."""

    agrees: bool | None
    text: str


def _departures(config: ConfigDict) -> list[str]:
    """Settings of a config that are not those of the published protocol."""
    found = []
    if Degradation(**config.degradation) != Degradation():
        found.append(f"config.degradation is not plain bicubic ({config.degradation.kernel})")
    crop = config.evaluate.crop
    if crop not in (None, get_protocol(config.protocol).crop):
        found.append(f"config.evaluate.crop={crop}")
    if config.data.peak is not None:
        found.append(f"config.data.peak={config.data.peak!r}")
    return found


def _line(title: str, scores: Mapping[str, float]) -> str:
    """Scores with the digits that tables give."""
    values = (f"{v:10.{_DIGITS.get(m, 4)}f}" for m, v in scores.items())
    return f"{title:32}" + "".join(values)


def compare(config: ConfigDict, scores: Scores) -> Verdict:
    """Compares bicubic scores with the published row.

    Args:
        config: that made them.
        scores: of each test image, by metric.
    """
    data, scale = config.data, config.model.scale
    rows = [
        row
        for row in _published()
        if (row["data_set"], row["protocol"], row["scale"]) == (data.name, config.protocol, scale)
    ]
    mean = {
        metric: float(np.mean([s[metric] for s in scores.values()]))
        for metric in get_protocol(config.protocol).metrics
    }
    lines = [
        f"bicubic, {data.name} x{scale}, protocol {config.protocol}, split {data.split!r}, "
        f"{len(scores)} images",
        f"{'':32}" + "".join(f"{metric:>10}" for metric in mean),
        _line("here", mean),
    ]
    row = next((row for row in rows if row["split"] == data.split), None)
    if row is None:
        lines += [_line(f"published, split {r['split']!r}", r["mean"]) for r in rows]
        return Verdict(None, "\n".join([*lines, "there is no published row for this split"]))
    lines.append(_line("published", row["mean"]))
    off = [m for m in mean if not abs(mean[m] - row["mean"][m]) <= TOLERANCES[m]]
    if not off:
        within = ", ".join(f"{metric} {TOLERANCES[metric]}" for metric in mean)
        lines.append(f"agrees with the published row (within {within})")
        return Verdict(True, "\n".join(lines))
    lines.append(f"DIFFERS from the published row in {', '.join(off)}")
    lines += [f"- {departure}" for departure in _departures(config)]
    images = row.get("images", {})
    if images and set(images) != set(scores):
        lines.append(f"- the published images are {', '.join(images)}")
    for name in sorted(set(images) & set(scores)):
        differences = [
            f"{m} {scores[name][m]:.4f} instead of {images[name][m]}"
            for m in mean
            if not abs(scores[name][m] - images[name][m]) <= TOLERANCES[m]
        ]
        if differences:
            lines.append(f"- {name}: {', '.join(differences)}")
    return Verdict(False, "\n".join(lines))


def check(config: ConfigDict) -> Verdict:
    """Scores bicubic on the test scenes of a config and compares it with the published row.

    Raises:
        ValueError: for bad settings or data.
        FileNotFoundError: if there is no data.
    """
    scale, degradation = config.model.scale, Degradation(**config.degradation)
    scores = {}
    for scene in tqdm(open_parts(config)["test"], unit="image", desc=f"bicubic x{scale}"):
        hr, lr = reference_and_lr(
            scene.cube, scale, degradation=degradation, name=scene.name, seed=config.seed
        )
        scores[scene.name] = image_scores(imresize(lr, scale), hr, scale, config.protocol)
    return compare(config, scores)
