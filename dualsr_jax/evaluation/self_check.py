"""The self-check: plain bicubic, which needs no training, against its published scores.

If they agree, then data, split, degradation and metrics are those of the publication, and scores of
networks can be compared with its tables. `data/published.toml` has the rows of these tables.
"""

import dataclasses
import functools
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from dualsr_jax.data.parts import open_parts
from dualsr_jax.data.test_images import reference_and_lr
from dualsr_jax.evaluation.results import Scores, mean_scores
from dualsr_jax.messages import bar
from dualsr_jax.ops.degrade import Degradation
from dualsr_jax.ops.resize import imresize
from dualsr_jax.protocols import get_protocol

_ROWS = Path(__file__).parents[1] / "data" / "published.toml"
# Published figures are rounded; at x4 the published MATLAB result differs from ours by 0.003 dB.
TOLERANCES = {"psnr_db": 0.005, "ssim": 0.0005, "sam_deg": 0.005}
DIGITS = {"psnr_db": 3, "ssim": 4, "sam_deg": 3}


@functools.cache
def _published() -> list[dict[str, Any]]:
    return tomllib.loads(_ROWS.read_text())["row"]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The outcome of the self-check."""

    agrees: bool | None  # None if there is no published row
    text: str  # both rows, and what differs


def _departures(config: ConfigDict) -> list[str]:
    """Settings of a config that differ from the published protocol."""
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
    return f"{title:32}" + "".join(f"{v:10.{DIGITS.get(m, 4)}f}" for m, v in scores.items())


def _differences(scores: Scores, row: Mapping[str, Any]) -> list[str]:
    """Says how images differ from those of a published row, one line each."""
    images, lines = row.get("images", {}), []
    if images and set(images) != set(scores):
        lines.append(f"- the published images are {', '.join(images)}")
    for name in sorted(set(images) & set(scores)):
        here, published = scores[name], images[name]
        if off := _off(here, published):
            differences = (f"{m} {here[m]:.4f} instead of {published[m]}" for m in off)
            lines.append(f"- {name}: {', '.join(differences)}")
    return lines


def _off(here: Mapping[str, float], published: Mapping[str, float]) -> list[str]:
    """Metrics that do not agree with the published ones; NaN never does."""
    return [m for m in here if not abs(here[m] - published[m]) <= TOLERANCES[m]]


def compare(config: ConfigDict, scores: Scores) -> Verdict:
    """Compares bicubic's scores, by test image and metric, with those published for the config."""
    data, scale = config.data, config.model.scale
    wanted = {"data_set": data.name, "protocol": config.protocol, "scale": scale}
    rows = [row for row in _published() if wanted.items() <= row.items()]
    mean = mean_scores(list(scores.values()))
    lines = [
        f"bicubic, {data.name} x{scale}, protocol {config.protocol}, split {data.split!r}, "
        f"{len(scores)} images",
        f"{'':32}" + "".join(f"{metric:>10}" for metric in mean),
        _line("here", mean),
    ]
    row = next((row for row in rows if data.split in row["splits"]), None)
    if row is None:
        lines += [_line(f"published, split {r['splits'][0]!r}", r["mean"]) for r in rows]
        return Verdict(None, "\n".join([*lines, "there is no published row for this split"]))
    lines.append(_line("published", row["mean"]))
    if off := _off(mean, row["mean"]):
        lines.append(f"DIFFERS from the published row in {', '.join(off)}")
        lines += [f"- {departure}" for departure in _departures(config)]
        lines += _differences(scores, row)
    else:
        within = ", ".join(f"{metric} {TOLERANCES[metric]}" for metric in mean)
        lines.append(f"agrees with the published row (within {within})")
    return Verdict(not off, "\n".join(lines))


def check_protocol(config: ConfigDict) -> Verdict:
    """Scores bicubic on the test images of a config, and compares with the published scores.

    Raises:
        ValueError: for bad settings or data.
        FileNotFoundError: if there is no data.
    """
    scale, degradation = config.model.scale, Degradation(**config.degradation)
    protocol = get_protocol(config.protocol)
    scores = {}
    for scene in bar(open_parts(config)["test"], unit="image", desc=f"bicubic x{scale}"):
        hr, lr = reference_and_lr(
            scene.cube, scale, degradation=degradation, name=scene.name, seed=config.seed
        )
        scores[scene.name] = protocol.score_image(imresize(lr, scale), hr, scale=scale)
    return compare(config, scores)
