"""Networks restored from wherever they lie: folders of training, files, shipped names.

Contract: weights are named by the folder of a training, by a file `*.safetensors`, or by the name
of a network that ships with the package. Nothing is written.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

from flax import traverse_util

from dualsr_jax.dualsr import DualSR
from dualsr_jax.models.network import Model, method_of, settings_of
from dualsr_jax.training.checkpoint import Checkpoints
from dualsr_jax.weights.safetensors_file import find_weights

# Modules of the methods whose parameters depend on the scale.
_UPSAMPLING = {"tail", "half_tail", "tail_0", "TwoTail", "upsample"}
_UPSAMPLING |= {"convupsample", "convdownsample"}


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
    """Restores both stages of DualSR.

    Args:
        weights: folder, file or name of the network; a file may hold the half-scale network too.
        half_weights: folder, file or name of a network of half the scale, or None.
        which: "latest" or "best" checkpoint of a folder.
        iterations: number of fine-stage iterations.
        ensemble: members of the self-ensemble: 1 (no ensemble), 8 or 16.
        band_chunk: bands computed at once, which bounds the memory; None means all bands.
        precision: data type of convolutions and products, "float32" or "bfloat16".

    Raises:
        FileNotFoundError: if the folder, file or name does not exist, or has no checkpoint.
        ValueError: if a file is damaged, the ensemble is unknown, or `half_weights` has another
            scale or is given although `weights` holds the half-scale network already.
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


def warm_start(params: Any, model: Model, weights: str) -> Any:
    """Replaces parameters of a new network by those of the same name and shape in `weights`.

    Networks of different scales differ in their upsampling only, which stays new. Raises what
    `restore_dualsr` raises, and ValueError if `weights` are of another method, or more than the
    upsampling differs.
    """
    network = restore_dualsr(weights).coarse
    has, wanted = method_of(network.model), method_of(model)
    if has != wanted:
        raise ValueError(f"train.warm_start={weights!r} holds {has}, but {wanted} is trained")
    stored = traverse_util.flatten_dict(network.variables["params"])
    ours = traverse_util.flatten_dict(params)
    common = {k for k, v in ours.items() if k in stored and stored[k].shape == v.shape}
    differing = [path for path in ours.keys() - common if not _UPSAMPLING & set(path)]
    if differing:
        described = ", ".join(f"{k}={v!r}" for k, v in settings_of(network.model).items())
        raise ValueError(
            f"train.warm_start={weights!r} holds another network ({described}): "
            f"{', '.join(sorted({path[0] for path in differing}))} do not fit"
        )
    return traverse_util.unflatten_dict({k: stored[k] if k in common else ours[k] for k in ours})
