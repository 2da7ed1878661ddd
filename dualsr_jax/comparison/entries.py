"""The networks of a comparison: parsed from the command line, restored and checked.

Contract: whatever makes the scores of two networks incomparable and is known raises before the
first image is computed. What is not known does not.
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from dualsr_jax.comparison.provenance import Training, training_of
from dualsr_jax.dualsr import DualSR
from dualsr_jax.evaluation.results import BICUBIC
from dualsr_jax.models.network import Model, method_of, settings_of
from dualsr_jax.training.checkpoint import Checkpoints
from dualsr_jax.training.restore import restore_dualsr
from dualsr_jax.weights.safetensors_file import find_weights


@dataclasses.dataclass(frozen=True)
class Named:
    """Weights as the user names them: `label=weights`, or weights alone."""

    label: str | None
    weights: str

    @classmethod
    def parse(cls, named: str | os.PathLike[str]) -> "Named":
        """Reads `label=weights`; a path, and a text that is a file or folder, are not divided."""
        text = os.fspath(named)
        label, equals, weights = text.partition("=")
        if not (equals and isinstance(named, str)) or Path(text).expanduser().exists():
            return cls(None, text)
        if not (label.strip() and weights.strip()) or not label.isprintable():
            raise ValueError(f"{text!r} names no weights: expected weights, or label=weights")
        return cls(label.strip(), weights.strip())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A trained network, and the training that made it."""

    label: str  # of its row; runs of one method have the same
    weights: str
    half_weights: str | None
    dualsr: DualSR
    training: Training
    step: int | None  # of the checkpoint; None for files

    @property
    def model(self) -> Model:
        """The network."""
        return self.dualsr.coarse.model

    @property
    def guide(self) -> str:
        """What guides the fine stage, in words."""
        if self.model.joint:
            return "second tail of the network"
        if self.dualsr.half is None:
            return "LR image"
        return f"{method_of(self.dualsr.half.model)} x{self.dualsr.half.scale}"


def _labels(entries: Sequence[Named], methods: Sequence[str]) -> list[str]:
    """The given labels; else the method, with the weights if another entry has that name."""
    names = [entry.label or method for entry, method in zip(entries, methods, strict=True)]
    used = Counter(names)
    return [
        name if entry.label or used[name] == 1 else f"{name} ({entry.weights})"
        for entry, name in zip(entries, names, strict=True)
    ]


def _half_of(halves: Sequence[Named], entry: Named, dualsr: DualSR) -> str | None:
    """The half-scale weights for an entry: those of its label, or those without label."""
    by_label = {half.label: half.weights for half in halves}
    if entry.label is not None and entry.label in by_label:
        return by_label[entry.label]
    needs_one = dualsr.half is None and not dualsr.coarse.model.joint and dualsr.scale in (4, 8)
    return by_label.get(None) if needs_one else None


def _check_names(entries: Sequence[Named], halves: Sequence[Named]) -> None:
    """Raises ValueError if texts name the same thing twice, or name a row that does not exist."""
    same = [entry.weights for entry, count in Counter(entries).items() if count > 1]
    if same:
        raise ValueError(f"{same[0]!r} is given twice: give each network once")
    if any(entry.label == BICUBIC for entry in entries):
        raise ValueError(f"{BICUBIC!r} is the name of a row of its own: choose another label")
    labels = [half.label for half in halves]
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        raise ValueError(f"--half_weights names {twice[0] or 'weights without label'} twice")
    unknown = set(labels) - {entry.label for entry in entries} - {None}
    if unknown:
        raise ValueError(
            f"--half_weights is for {sorted(map(str, unknown))[0]!r}, which is not a label: name "
            "the network so too, label=weights"
        )


def open_runs(
    config: ConfigDict,
    weights: Sequence[str | os.PathLike[str]],
    half_weights: Sequence[str | os.PathLike[str]],
    *,
    which: str,
    bands: int,
) -> list[Run]:
    """Restores the networks of a comparison and checks that they can be compared.

    Args:
        config: decides images, degradation and protocol.
        weights: `label=weights` or weights: folder of training, `*.safetensors` file, or shipped
            name.
        half_weights: networks of half the scale, `label=weights` for the network of that label, or
            weights for all that have no other.
        which: "latest" or "best" checkpoint of folders.
        bands: bands of the test images.

    Raises:
        ValueError: if scale, data set, split or protocol of a network differ from the config's, a
            network does not take cubes of these bands, a label is used for different networks, or
            a text names no weights.
        FileNotFoundError: if there are no such weights.
    """
    entries, halves = [Named.parse(w) for w in weights], [Named.parse(w) for w in half_weights]
    _check_names(entries, halves)
    how = {
        "which": which,
        "iterations": config.evaluate.iterations,
        "ensemble": config.evaluate.ensemble,
        "band_chunk": config.evaluate.band_chunk,
        "precision": config.model.precision,
    }
    alone = [restore_dualsr(entry.weights, **how) for entry in entries]
    labels = _labels(entries, [method_of(dualsr.coarse.model) for dualsr in alone])
    runs = []
    for entry, label, dualsr in zip(entries, labels, alone, strict=True):
        half = _half_of(halves, entry, dualsr)
        _check_network(dualsr.coarse.model, config, entry.weights, bands)
        if half is not None:
            guide = restore_dualsr(half, **how)
            _check_bands(guide.coarse.model, half, bands)
            dualsr = dualsr.guided_by(guide)
        runs.append(
            Run(
                label=label,
                weights=entry.weights,
                half_weights=half,
                dualsr=dualsr,
                training=training_of(entry.weights),
                step=_step(entry.weights) if which == "latest" else None,
            )
        )
    _check_alike(runs)
    _check_training(runs, config)
    return runs


def _step(weights: str) -> int | None:
    """The step of the newest checkpoint of a folder; None for a file."""
    if find_weights(weights) is not None:
        return None
    with Checkpoints(Path(weights).expanduser(), read_only=True) as checkpoints:
        return checkpoints.latest_step()


def _check_network(model: Model, config: ConfigDict, weights: str, bands: int) -> None:
    """Raises ValueError if the scale of a network is not the config's, or its bands do not fit."""
    if model.scale != config.model.scale:
        raise ValueError(
            f"{weights!r} holds a network of scale {model.scale}, but config.model.scale is "
            f"{config.model.scale}: a table has one scale"
        )
    _check_bands(model, weights, bands)


def _check_bands(model: Model, weights: str, bands: int) -> None:
    if model.num_bands not in (None, bands) or bands < model.min_bands:
        raise ValueError(
            f"{weights!r} holds {method_of(model)} for {model.num_bands or model.min_bands} "
            f"bands{'' if model.num_bands else ' or more'}, but the test images have {bands}"
        )


def _check_alike(runs: Sequence[Run]) -> None:
    """Raises ValueError if a label is used for networks that differ in more than their training."""
    first: dict[str, Run] = {}
    for run in runs:
        other = first.setdefault(run.label, run)
        if (run.dualsr.half is None) != (other.dualsr.half is None) or (
            settings_of(run.model) != settings_of(other.model)
            or method_of(run.model) != method_of(other.model)
        ):
            raise ValueError(
                f"{other.weights!r} and {run.weights!r} have the label {run.label!r}, which is for "
                "several trainings of one network, but are not one network: give them two labels"
            )


def _check_training(runs: Sequence[Run], config: ConfigDict) -> None:
    """Raises ValueError if it is known that scores of the networks cannot stand in one table."""
    of_halves = [training_of(run.half_weights) for run in runs if run.half_weights is not None]
    known = [*(run.training for run in runs), *of_halves]
    differing = [line for training in known for line in training.differences(config)]
    if differing:
        raise ValueError(
            f"these networks cannot be compared in one table: {'; '.join(dict.fromkeys(differing))}"
        )
