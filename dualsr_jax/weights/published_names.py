"""What the importers of published weights have in common: names, layouts and checks.

Contract: our parameters have the published names, except that an underscore stands for the dot
before a number, and `v`, `g` and `kernel` for `weight_v`, `weight_g` and `weight`. Kernels are
`[..., in, out]` where PyTorch has `[out, in, ...]`. Each importer handles what else differs.
Nothing here reads files.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import numpy as np
from flax import traverse_util

from dualsr_jax.models.network import Model, Network, method_of

Path: TypeAlias = tuple[str, ...]
Arrays: TypeAlias = dict[str, np.ndarray]
NameOf: TypeAlias = Callable[[Path], str]
BAND_MEAN: Path = ("params", "band_mean")
_LEAVES = {"v": "weight_v", "g": "weight_g", "kernel": "weight"}


def cleaned(mapping: Mapping[str, Any]) -> Arrays:
    """Float32 arrays by name, without the `module.` of data-parallel training."""
    return {
        name.removeprefix("module."): np.asarray(array, np.float32)
        for name, array in mapping.items()
    }


def require(arrays: Mapping[str, Any], method: str, *names: str) -> None:
    """Raises ValueError if names by which a method's weights are known are missing."""
    if not set(names) <= set(arrays):
        raise ValueError(
            f"these are not weights of {method}: {', '.join(map(repr, names))} expected, the "
            f"{len(arrays)} names begin {sorted(arrays)[:3]}"
        )


def count(arrays: Mapping[str, Any], pattern: str) -> int:
    """How many different values the group of a pattern has among the names."""
    return len({match[1] for name in arrays if (match := re.match(pattern, name))})


def scale_of_steps(arrays: Mapping[str, np.ndarray], pattern: str, features: int) -> int:
    """The scale factor of the sub-pixel steps whose biases have names that match a pattern."""
    steps = [array for name, array in arrays.items() if re.fullmatch(pattern, name)]
    return 3 if any(len(array) == 9 * features for array in steps) else 2 ** len(steps)


def torch_name(path: Path, module_name: Callable[[str], str] = str) -> str:
    """The published name of a parameter.

    Args:
        path: of the parameter, collection first.
        module_name: what is left to do for the name of the module it belongs to.
    """
    *modules, leaf = (part for part in path[1:] if part != "wn")
    module = module_name(re.sub(r"_(\d+)(?=_|\.|$)", r".\1", ".".join(modules)))
    return ".".join(part for part in (module, _LEAVES.get(leaf, leaf)) if part)


def name_with_steps(path: Path) -> str:
    """The published name, where the steps of the upsampling stand in its `Sequential`."""
    return torch_name(path, lambda name: re.sub(r"\.up\.(\d)", r".\1", name))


def _to_torch(path: Path, array: np.ndarray, shapes: Mapping[Path, Any]) -> np.ndarray:
    if path[-1] in ("v", "kernel"):
        return np.moveaxis(array, (-1, -2), (0, 1))
    if path[-1] == "g":
        return array.reshape(-1, *[1] * (len(shapes[(*path[:-1], "v")].shape) - 1))
    return array


def _to_ours(path: Path, array: np.ndarray) -> np.ndarray:
    if path[-1] in ("v", "kernel") and array.ndim > 1:
        return np.moveaxis(array, (0, 1), (-1, -2))
    return array.reshape(-1) if path[-1] == "g" else array


def _shapes(model: Model) -> dict[Path, Any]:
    bands = model.num_bands or model.min_bands
    example = jax.ShapeDtypeStruct((1, 8, 8, bands), np.float32)
    shapes = traverse_util.flatten_dict(jax.eval_shape(model.init, jax.random.key(0), example))
    return {path: shape for path, shape in shapes.items() if path != BAND_MEAN}


def read(
    arrays: Arrays,
    model: Model,
    name_of: NameOf = torch_name,
    *,
    band_mean: np.ndarray | None = None,
    transpose: bool = True,
) -> Network:
    """Makes a network of arrays in the published names.

    Args:
        arrays: of `cleaned`.
        model: the network that they are weights of.
        name_of: the published name of a path.
        band_mean: means of the bands, where the network has them.
        transpose: whether kernels have PyTorch's layout; otherwise they have ours.

    Raises:
        ValueError: naming missing, unexpected or misshapen arrays.
    """
    shapes = _shapes(model)
    names = {path: name_of(path) for path in shapes}
    missing = sorted(set(names.values()) - set(arrays))
    unexpected = sorted(set(arrays) - set(names.values()))
    if missing or unexpected:
        raise ValueError(
            f"the weights do not fit {method_of(model)} at scale {model.scale}: "
            f"missing {missing[:5]}, unexpected {unexpected[:5]}"
        )
    flat = {}
    for path, name in names.items():
        array = _to_ours(path, arrays[name]) if transpose else arrays[name]
        if array.shape != shapes[path].shape:
            raise ValueError(
                f"{name!r} has the wrong shape: {array.shape} where {shapes[path].shape} is "
                "expected (in our layout)"
            )
        flat[path] = array
    if band_mean is not None:
        flat[BAND_MEAN] = band_mean
    return Network(model, traverse_util.unflatten_dict(flat))


def write(network: Network, name_of: NameOf = torch_name, *, transpose: bool = True) -> Arrays:
    """Writes the weights of a network in the published names and layout, as float32 arrays.

    Band means have no place there; the published code has them as constants.
    """
    flat = {
        path: np.asarray(array, np.float32)
        for path, array in traverse_util.flatten_dict(dict(network.variables)).items()
        if path != BAND_MEAN
    }
    if not transpose:
        return {name_of(path): array for path, array in flat.items()}
    return {name_of(path): _to_torch(path, array, flat) for path, array in flat.items()}
