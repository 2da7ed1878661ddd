"""Weights of SSPSR in the names of the published PyTorch code (`published_names`).

The published code also writes checkpoints that hold the module itself instead of its weights. Such
files are programs and are not read; only a plain `state_dict` is.
"""

import re
from collections.abc import Mapping
from typing import Any

from dualsr_jax.models.compared.sspsr import SSPSR
from dualsr_jax.models.network import Network
from dualsr_jax.weights.published_names import (
    Arrays,
    cleaned,
    count,
    name_with_steps,
    read,
    require,
    scale_of_steps,
    write,
)

SIGNATURE = ("trunk.head.bias", "skip_conv.weight", "final.bias")


def from_torch(
    mapping: Mapping[str, Any], *, overlap: int | None = None, res_scale: float = 0.1
) -> Network:
    """Reads weights in the published names.

    Args:
        mapping: `state_dict` names to arrays.
        overlap: bands that neighbouring groups share, which the weights do not tell; None: a
            quarter of a group, as published.
        res_scale: factor on the corrections of the blocks, which the weights do not tell.

    Raises:
        ValueError: naming missing, unexpected or misshapen entries.
    """
    arrays = cleaned(mapping)
    require(arrays, "SSPSR", *SIGNATURE)
    share = "branch.head.weight" in arrays
    branch = "branch" if share else "branch.0"
    require(arrays, "SSPSR", f"{branch}.head.weight")
    features, group = arrays[f"{branch}.head.weight"].shape[:2]
    steps = rf"{re.escape(branch)}\.upsample\.\d\.bias"
    model = SSPSR(
        2 * scale_of_steps(arrays, steps, features),
        num_bands=len(arrays["final.bias"]),
        features=features,
        num_blocks=count(arrays, r"trunk\.body\.net\.(\d+)\."),
        group=group,
        overlap=group // 4 if overlap is None else overlap,
        res_scale=res_scale,
        share_branch=share,
    )
    return read(arrays, model, name_with_steps)


def to_torch(network: Network) -> Arrays:
    """Writes weights in the published names and layout."""
    return write(network, name_with_steps)
