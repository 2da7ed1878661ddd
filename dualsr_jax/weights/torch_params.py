"""Weights in the names and layout of the published PyTorch checkpoints.

Contract: `from_torch` reads a mapping of `state_dict` names to arrays and infers the network from
it; `to_torch` is its inverse. `load_pth` reads a `.pth` file if torch is installed, with
`weights_only=True`, so that nothing in the file is ever executed.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from dualsr_jax.disk import replacing
from dualsr_jax.models.coarsr.coarse import CoarSR
from dualsr_jax.models.layers import UPSAMPLING_STEPS
from dualsr_jax.models.network import Network

_ORDINALS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
_BIAS_GAIN_DIRECTION = {"bias": "bias", "g": "weight_g", "v": "weight_v"}
_BATCH_NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def _module_names(model: CoarSR) -> dict[tuple[str, ...], str]:
    """Paths of our weight-normalised convolutions and BatchNorms -> their published names."""
    names: dict[tuple[str, ...], str] = {}
    for k, ordinal in enumerate(_ORDINALS[:3]):
        names[(f"heads_{k}", "wn")] = f"head_group_{ordinal}"
    second = 2 if model.norm is None else 3  # place of the second convolution in a block
    for n in range(model.num_asfm):
        asfm = f"asfms_{n}"
        intra, inter = f"GFM_intra_{_ORDINALS[n]}", f"GFM_inter_{_ORDINALS[n]}.threeunit"
        for k, ordinal in enumerate(_ORDINALS[:3]):
            names[(asfm, "fusion", f"wn_{k}")] = f"{intra}.fusion_{ordinal}.0"
            for ours, theirs in (("intra", "left"), ("inter", "right")):
                for block in range(model.num_blocks):
                    path = (asfm, f"{ours}_{k}", f"block_{block}")
                    name = f"{intra}.{theirs}_{ordinal}_body.body.0.{block}.body"
                    names[(*path, "conv_0", "wn")] = f"{name}.0"
                    names[(*path, "conv_1", "wn")] = f"{name}.{second}"
                    if model.norm == "batch":
                        names[(*path, "bn_0")] = f"{name}.1"
                        names[(*path, "bn_1")] = f"{name}.4"
        names[(asfm, "mixed_unit", "spatial_in", "wn")] = f"{inter}.spatial"
        names[(asfm, "mixed_unit", "spectral")] = f"{inter}.spectral"
        names[(asfm, "mixed_unit", "spatial_out", "wn")] = f"{inter}.spatial_one"
    names[("reduce", "wn")] = "last_reduceD.0"
    names[("conv", "wn")] = "conv.0"
    names[("fcf", "wn")] = "rnn_reduceD.0"
    for step in range(len(UPSAMPLING_STEPS[model.scale])):
        names[("tail", f"up_{step}", "wn")] = f"tail.0.{2 * step}"
    names[("tail", "out", "wn")] = "tail.1"
    return names


def _leaf_names(model: CoarSR) -> dict[tuple[str, ...], str]:
    """Paths of all our variables, collection first -> their published names."""
    names: dict[tuple[str, ...], str] = {("params", "fcf", "gamma"): "gamma_rnn"}
    for n in range(model.num_asfm):
        names[("params", f"asfms_{n}", "fusion", "gamma")] = f"GFM_intra_{_ORDINALS[n]}.gamma"
        names[("params", f"asfms_{n}", "gamma")] = f"GFM_intra_{_ORDINALS[n]}.gamma_inter"
    for path, module in _module_names(model).items():
        is_norm = path[-1].startswith("bn_")
        for ours, theirs in (_BATCH_NORM if is_norm else _BIAS_GAIN_DIRECTION).items():
            collection = "batch_stats" if ours in ("mean", "var") else "params"
            names[(collection, *path, ours)] = f"{module}.{theirs}"
    return names


def _infer(mapping: Mapping[str, np.ndarray]) -> CoarSR:
    norm = "batch" if any(name.endswith("running_mean") for name in mapping) else None
    steps = sorted(name for name in mapping if re.fullmatch(r"tail\.0\.\d+\.bias", name))
    if "head_group_one.bias" not in mapping or not steps:
        raise ValueError(
            "these are not weights of a DualSR coarse network: 'head_group_one.bias' and "
            f"'tail.0.0.bias' are expected, the {len(mapping)} names begin {sorted(mapping)[:3]}"
        )
    features = len(mapping["head_group_one.bias"])
    scale = 3 if len(mapping[steps[0]]) == 9 * features else 2 ** len(steps)
    blocks = {re.match(r"GFM_intra_one\.left_one_body\.body\.0\.(\d+)\.", n) for n in mapping}
    asfms = {match[1] for n in mapping if (match := re.match(r"GFM_intra_([a-z]+)\.", n))}
    num_blocks = len({match[1] for match in blocks if match})
    return CoarSR(scale, features=features, num_asfm=len(asfms), num_blocks=num_blocks, norm=norm)


def _to_ours(path: tuple[str, ...], array: np.ndarray) -> np.ndarray:
    if path[-1] == "g":
        return array.reshape(-1)
    if path[-1] == "v":  # [out, in, kh, kw] -> [kh, kw, in, out]; (1,3,3) and (3,1,1) lose the ones
        if array.ndim == 5:
            array = array[:, :, :, 0, 0] if path[-2] == "spectral" else array[:, :, 0]
        return np.moveaxis(array, (0, 1), (-1, -2))
    return array


def _to_theirs(path: tuple[str, ...], array: np.ndarray) -> np.ndarray:
    dimensions = 5 if "mixed_unit" in path else 4
    if path[-1] == "g":
        return array.reshape(-1, *[1] * (dimensions - 1))
    if path[-1] == "v":
        array = np.moveaxis(array, (-1, -2), (0, 1))
        if dimensions == 5:
            return array[..., None, None] if path[-2] == "spectral" else array[:, :, None]
    return array


def from_torch(mapping: Mapping[str, Any], neighbours: str = "paper") -> Network:
    """Reads weights in the published names.

    Args:
        mapping: `state_dict` names to arrays (anything NumPy can read, CPU tensors included). A
            leading `module.` and BatchNorm's batch counters are ignored.
        neighbours: the band partition that the weights were trained with, which they do not show;
            the other settings are inferred. The published code trains with "released".

    Raises ValueError if entries are missing, unexpected or misshapen; the message names them.
    """
    arrays = {
        name.removeprefix("module."): np.asarray(array, np.float32)
        for name, array in mapping.items()
        if not name.endswith("num_batches_tracked")
    }
    model = _infer(arrays).clone(neighbours=neighbours)
    names = _leaf_names(model)
    missing = sorted(set(names.values()) - set(arrays))
    unexpected = sorted(set(arrays) - set(names.values()))
    if missing or unexpected:
        raise ValueError(
            f"the weights do not fit the coarse network at scale {model.scale}: "
            f"missing {missing[:5]}, unexpected {unexpected[:5]}"
        )
    flat = {path: _to_ours(path, arrays[name]) for path, name in names.items()}
    variables = traverse_util.unflatten_dict(flat)
    _check_shapes(model, variables)
    return Network(model, variables)


def _check_shapes(model: CoarSR, variables: dict[str, Any]) -> None:
    example = jax.ShapeDtypeStruct((1, 8, 8, 5), np.float32)
    expected = jax.eval_shape(model.init, jax.random.key(0), example)
    flat = traverse_util.flatten_dict(variables)
    for path, leaf in traverse_util.flatten_dict(expected).items():
        if flat[path].shape != leaf.shape:
            raise ValueError(
                f"{_leaf_names(model)[path]!r} has the wrong shape: "
                f"{flat[path].shape} where {leaf.shape} is expected (in our layout)"
            )


def to_torch(model: CoarSR, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Writes variables in the published names and layout, as float32 NumPy arrays.

    Raises ValueError if the network is joint, which the published code does not know.
    """
    if model.joint:
        raise ValueError(
            "a joint network cannot be written for the published code, which has no half_tail"
        )
    flat = traverse_util.flatten_dict(dict(variables))
    return {
        name: np.asarray(_to_theirs(path, np.asarray(flat[path], np.float32)))
        for path, name in _leaf_names(model).items()
    }


def read_pth(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the arrays of a `.pth` file; needs `pip install torch`.

    Args:
        path: a file that holds a `state_dict`, or a dict with one under `state_dict` or `model`.

    Returns:
        `state_dict` names to arrays.

    Raises:
        ValueError: if the file holds anything but arrays, or torch is not installed.
        FileNotFoundError: if there is no such file.
    """
    try:
        import torch
    except ImportError as error:
        raise ValueError("reading .pth files needs PyTorch: pip install torch") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # of almost any kind, IndexError and AssertionError among them
        raise ValueError(
            f"{os.fspath(path)!r} is damaged, or holds more than arrays and is not executed: "
            "expected a state_dict. A checkpoint that holds the module itself, such as those of "
            "SSPSR and ESSAformer, must first be rewritten as the module's state_dict, with the "
            "code that made it"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise ValueError(f"{os.fspath(path)!r} holds a {type(content).__name__}, not a state_dict")
    for name, value in content.items():
        if not (isinstance(name, str) and isinstance(value, torch.Tensor)):
            raise ValueError(
                f"{os.fspath(path)!r} holds {type(value).__name__} under {name!r}: expected a "
                "state_dict, which holds arrays under names"
            )
    tensors = {k: v.float() if v.is_floating_point() else v for k, v in content.items()}
    return {name: tensor.numpy(force=True) for name, tensor in tensors.items()}


def write_pth(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name as the `state_dict` of a `.pth` file, whole or not at all.

    Raises ValueError if torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise ValueError("writing .pth files needs PyTorch: pip install torch") from error
    state = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    with replacing(path) as partial:
        torch.save(state, partial)


def load_pth(path: str | os.PathLike[str], neighbours: str = "released") -> Network:
    """Reads a `.pth` file of the published code of DualSR, with PyTorch.

    Args:
        path: the file.
        neighbours: the band partition that the weights were trained with; the published code
            trains with "released".

    Raises:
        ValueError: if the file holds no weights of the network, or torch is not installed.
        FileNotFoundError: if there is no such file.
    """
    return from_torch(read_pth(path), neighbours)
