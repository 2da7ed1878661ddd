"""Networks restored from wherever they lie: folders of training, files, shipped names."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from flax import traverse_util

from dualsr_jax.dualsr import DualSR
from dualsr_jax.training.checkpoint import Checkpoints
from dualsr_jax.weights.safetensors_file import find_weights


def restore_dualsr(
    weights: str | os.PathLike[str],
    half_weights: str | os.PathLike[str] | None = None,
    *,
    which: str = "latest",
    iterations: int = 1,
    ensemble: int = 1,
    band_chunk: int | None = 8,
    precision: str = "float32",
) -> DualSR:
    """Both stages, from wherever they lie.

    Args:
        weights: folder of the network's training; or its file, `*.safetensors`, which may hold
            both networks; or the name of one that ships with the package.
        half_weights: the same of the network of half the scale; None: none, or in the file.
        which: "latest" or "best" checkpoint, of folders.
        iterations: of the fine stage.
        ensemble: members of the self-ensemble: 1 (none), 8 or 16.
        band_chunk: bands at once, bounds the memory; None: all.
        precision: "float32" or "bfloat16", whatever the networks were trained in.

    Raises:
        FileNotFoundError: if there is no such folder, file or name, or no checkpoint.
        ValueError: if the second network is not of half the scale, or the file holds both
            already; if a file is damaged, or the ensemble unknown.
    """
    how: dict[str, Any] = {"band_chunk": band_chunk, "precision": precision}

    def restore(place: str | os.PathLike[str]) -> DualSR:
        if find_weights(place):
            return DualSR.from_pretrained(place, **how)
        with Checkpoints(Path(place).expanduser(), read_only=True) as checkpoints:
            network, _ = checkpoints.restore_network(which)
        return DualSR(network.with_settings(**how))

    dualsr = restore(weights)
    if half_weights is not None:
        dualsr = dualsr.guided_by(restore(half_weights))
    return dataclasses.replace(dualsr, iterations=iterations, ensemble=ensemble)


def warm_start(params: Any, weights: str) -> Any:
    """New parameters, with those of another network in place of all of the same name and shape.

    The published networks of different scales differ in their upsampling alone.

    Args:
        params: of a new network.
        weights: the other network, as for `restore_dualsr`.

    Raises:
        FileNotFoundError: if there is no such network.
        ValueError: if the two have no body in common, or a file is damaged.
    """
    network = restore_dualsr(weights).coarse
    other, stored = network.model, traverse_util.flatten_dict(network.variables["params"])
    ours = traverse_util.flatten_dict(params)
    common = {k for k, v in ours.items() if k in stored and stored[k].shape == v.shape}
    missing = sorted({path[0] for path in ours.keys() - common} - {"tail", "half_tail"})
    if missing:
        raise ValueError(
            f"train.warm_start={weights!r} holds another network (features={other.features}, "
            f"num_asfm={other.num_asfm}, num_blocks={other.num_blocks}, norm={other.norm!r}): "
            f"{', '.join(missing)} do not fit"
        )
    return traverse_util.unflatten_dict({k: stored[k] if k in common else ours[k] for k in ours})
