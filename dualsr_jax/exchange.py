"""Trained weights from one form to another: our files, and those of the published code.

Contract: what is written is whole or not at all. Nothing in a file of the published code is
executed.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dualsr_jax.commands import check_output
from dualsr_jax.comparison.provenance import training_text
from dualsr_jax.dualsr import DualSR
from dualsr_jax.training.restore import restore_dualsr
from dualsr_jax.weights.published import PUBLISHED_SUFFIXES, load_published, write_published


def load(weights: str | os.PathLike[str], *, which: str = "latest", **settings: Any) -> DualSR:
    """Reads a trained network.

    Args:
        weights: folder of training, `*.safetensors` file, shipped name, or a file of the published
            code of any method, `.pth` or `.h5`.
        which: "latest" or "best" checkpoint of a folder.
        **settings: what files of the published code do not say, as `load_published` takes it.

    Raises:
        FileNotFoundError: if there are no such weights.
        ValueError: if they are damaged, or a setting does not belong to them.
    """
    if Path(weights).suffix in PUBLISHED_SUFFIXES:
        return DualSR(load_published(Path(weights).expanduser(), **settings))
    if settings:
        raise ValueError(
            f"{', '.join(settings)}: {os.fspath(weights)!r} is not a file of the published code "
            f"({', '.join(PUBLISHED_SUFFIXES)}), and holds its settings itself"
        )
    return restore_dualsr(weights, which=which)


def convert(
    weights: str | os.PathLike[str],
    half_weights: str | os.PathLike[str] | None,
    output: str | Path,
    *,
    which: str = "latest",
    storage: str = "float32",
    about: Sequence[str] = (),
    max_gain: float | None = None,
    overwrite: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> DualSR:
    """Writes one file of both networks, or one network in its published form.

    Args:
        weights: the network, as `load` takes it.
        half_weights: the network of half the scale, in the same forms, or None.
        output: `*.safetensors`, which all commands read; `.pth`, or `.h5` for 3D-FCNN, for the
            published code.
        which: "latest" or "best" checkpoint of a folder.
        storage: data type of the weights in a `*.safetensors` file.
        about: texts "name=text" to store in a `*.safetensors` file.
        max_gain: limit of the fine stage's gain, in (0, 1], to store in it; None keeps that of
            `weights`.
        overwrite: whether the output may exist.
        settings: what files of the published code do not say, by name.

    Returns:
        The networks, as they are read from the file if it is `*.safetensors`.

    Raises:
        FileNotFoundError: if there are no such weights, or the output has no folder.
        ValueError: if the weights cannot be read, or not be written in this form.
    """
    output = Path(output)
    check_output(output, overwrite=overwrite)
    wrong = [text for text in about if "=" not in text]
    if wrong:
        raise ValueError(f"--about={wrong[0]}: expected name=text")
    published = output.suffix in PUBLISHED_SUFFIXES
    more = half_weights is not None or about or max_gain is not None or storage != "float32"
    if published and more:
        raise ValueError(
            f"{str(output)!r}: the published form holds one network in float32 and nothing else; "
            "leave out --half_weights, --about, --max_gain and --storage, or write *.safetensors"
        )
    settings = dict(settings or {})
    dualsr = load(weights, which=which, **settings)
    if half_weights is not None:
        dualsr = dualsr.guided_by(load(half_weights, which=which))
    if max_gain is not None:
        dualsr = dataclasses.replace(dualsr, max_gain=max_gain)
    if published:
        write_published(output, dualsr.coarse)
        return dualsr
    described = training_text(weights) | dict(text.split("=", 1) for text in about)
    dualsr.save_pretrained(output, described, storage=storage)
    return DualSR.from_pretrained(output)
