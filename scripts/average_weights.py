"""Averages networks whose trainings began from the same weights, kernel by kernel.

    python scripts/average_weights.py --output mean.safetensors runs/first runs/second

The mean of a few such networks can be better than each of them, at the cost of one (Wortsman et
al.: "Model soups", ICML 2022). Trainings that led too far apart do not suit: score the mean.
Guides of half the scale are left out.
"""

import argparse
from collections.abc import Sequence

import numpy as np
from flax import traverse_util

from dualsr_jax.comparison.provenance import training_text
from dualsr_jax.dualsr import DualSR
from dualsr_jax.models.network import Network, settings_of
from dualsr_jax.training.restore import restore_dualsr


def mean_of(networks: Sequence[Network]) -> Network:
    """Returns the mean of networks, of the kernels themselves where they are weight-normalised.

    Raises:
        ValueError: if they are not networks of the same form.
    """
    first = networks[0]
    forms = [settings_of(network.model) for network in networks]
    for form in forms[1:]:
        if form != forms[0]:
            raise ValueError(f"these networks differ in their form: {forms[0]} and {form}")
    flat = [traverse_util.flatten_dict(network.variables) for network in networks]
    mean: dict[tuple[str, ...], np.ndarray] = {}
    for path in flat[0]:
        if path[-1] == "v":
            gain = (*path[:-1], "g")
            kernel = np.mean([_kernel(f[path], f[gain]) for f in flat], axis=0)
            mean[path], mean[gain] = kernel, _norms(kernel)
        elif path[-1] != "g":
            mean[path] = np.mean([np.asarray(f[path], np.float64) for f in flat], axis=0)
    rounded = {path: array.astype(np.float32) for path, array in mean.items()}
    return Network(first.model, traverse_util.unflatten_dict(rounded))


def _norms(kernel: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(kernel).sum(tuple(range(kernel.ndim - 1))))


def _kernel(v: np.ndarray, g: np.ndarray) -> np.ndarray:
    """The kernel of a weight-normalised layer, float64, `[..., C_in, C_out]`."""
    v = np.asarray(v, np.float64)
    return v * (np.asarray(g, np.float64) / _norms(v))


def main() -> None:
    """Writes the mean of the networks that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", nargs="+", help="folders of training, files or shipped names")
    parser.add_argument("--output", required=True, help="*.safetensors, replaced if it exists")
    options = parser.parse_args()
    networks = [restore_dualsr(weights).coarse for weights in options.weights]
    try:
        mean = DualSR(mean_of(networks))
        mean.save_pretrained(options.output, training_text(options.weights[-1]))
    except ValueError as error:
        parser.error(str(error))
    print(f"mean of {len(networks)} networks: {options.output}, SHA-256 {mean.sha256}")


if __name__ == "__main__":
    main()
