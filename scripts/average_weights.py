"""Averages trained coarse networks of the same form, weight by weight, into one file.

    python scripts/average_weights.py runs/first runs/second --output mean.safetensors

The networks are folders of training, `*.safetensors` files or shipped names, and their trainings
must have begun from the same weights: then the mean is often better than each of them, and costs
no more ("Model soups", Wortsman et al., ICML 2022); networks of independent trainings have no
useful mean. Convolutions are averaged as they act, direction and gain together. The file says of
its training what is known of the first network's.
"""

import argparse
from pathlib import Path

import numpy as np
from flax import traverse_util

from dualsr_jax import DualSR, Network, restore_dualsr
from dualsr_jax.commands import check_output
from dualsr_jax.comparison.provenance import training_text
from dualsr_jax.models.coarsr.coarse import CoarSR

Flat = dict[tuple[str, ...], np.ndarray]


def length(v: np.ndarray) -> np.ndarray:
    """The norm of each output channel's kernel."""
    return np.sqrt(np.square(v).sum(tuple(range(v.ndim - 1))))


def flat(network: Network) -> Flat:
    """The variables by path, in float64, with the kernels themselves as `v` and without gains."""
    found = {
        path: np.asarray(value, np.float64)
        for path, value in traverse_util.flatten_dict(network.variables).items()
    }
    for path in [path for path in found if path[-1] == "g"]:
        v = (*path[:-1], "v")
        found[v] = found[v] * (found.pop(path) / length(found[v]))
    return found


def average(networks: list[Network]) -> Network:
    """The mean of networks; raises ValueError if they are not CoarSR of the same form."""
    model = networks[0].model
    if not all(isinstance(network.model, CoarSR) for network in networks):
        raise ValueError("only networks of CoarSR can be averaged")
    if any(network.model != model for network in networks):
        raise ValueError("the networks differ in their form: only networks of one form have a mean")
    members = [flat(network) for network in networks]
    mean: Flat = {path: np.mean([m[path] for m in members], axis=0) for path in members[0]}
    gains = {(*path[:-1], "g"): length(v) for path, v in mean.items() if path[-1] == "v"}
    variables = {path: value.astype(np.float32) for path, value in (mean | gains).items()}
    return Network(model, traverse_util.unflatten_dict(variables))


def main() -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", nargs="+", help="folder, file or name of shipped weights")
    parser.add_argument("--output", type=Path, required=True, help="*.safetensors")
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args()
    check_output(options.output, overwrite=options.overwrite)
    members = [restore_dualsr(weights) for weights in options.weights]
    if any(member.half is not None for member in members):
        parser.error("these weights hold a half-scale network too: average folders of training")
    mean = DualSR(average([member.coarse for member in members]))
    mean.save_pretrained(options.output, training_text(options.weights[0]))
    print(f"SHA-256 of the weights: {mean.sha256}")


if __name__ == "__main__":
    main()
