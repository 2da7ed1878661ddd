"""Times compared methods on one image of random values.

    python benchmarks/compared_methods.py [--methods MCNet,SFCSR] [--peer torch]

With `--peer torch`, PyTorch takes turns with it in the same process, with the same weights
(`compared_peer.py`), after a check that the results are the same.
"""

import json
import statistics
from collections.abc import Callable

import common
import jax
import numpy as np

from dualsr_jax.models.network import Network, fitted, make_model
from dualsr_jax.weights.published import to_published


def peer(network: Network, lr: np.ndarray) -> Callable:
    """The forward pass of PyTorch on the image."""
    import compared_peer
    import torch
    import torch_peer

    weights, scale = to_published(network), network.scale
    if "TwoHead.0.bias" in weights:
        made = compared_peer.SFCSR(weights, scale)
    else:
        mean = torch.from_numpy(np.array(network.variables["params"]["band_mean"]))
        made = compared_peer.MCNet(weights, scale, mean.to(torch_peer.DEVICE))
    image = torch_peer.bands_second(lr)
    return lambda: torch.no_grad()(made.to(torch_peer.DEVICE).forward)(image)


def main() -> None:
    """Runs all cases."""
    parser = common.parser(__doc__.splitlines()[0])
    parser.add_argument("--methods", default="MCNet,SFCSR")
    parser.add_argument("--lr_image", type=int, default=64)
    o = parser.parse_args()
    lr = np.random.default_rng(0).random((1, o.lr_image, o.lr_image, o.bands), dtype=np.float32)
    cases, ratios = {}, {}
    for method in o.methods.split(","):
        settings = {"method": method, "scale": o.scale, "features": o.features}
        model = fitted(make_model({**settings, "precision": o.precision}), o.bands)
        model = model.clone(band_chunk=o.band_chunk or None)
        network = Network(model, jax.jit(model.init)(jax.random.key(0), lr[:, :8, :8]))
        run = common.compile_for(model.apply, network.variables, lr).run
        placed = jax.device_put((network.variables, lr))
        cases[f"{method}, ours"] = lambda run=run, placed=placed: run(*placed)
        if o.peer:
            import torch_peer

            theirs = peer(network, lr)
            if o.precision == "float32":
                result = np.moveaxis(theirs().cpu().numpy(), 1, -1)
                common.check_same(np.asarray(run(*placed)), result)
            cases[f"{method}, torch"] = torch_peer.finished(theirs)
    results = common.side_by_side(cases, o.repeats)
    rows = []
    for case, (first, rounds) in results.items():
        median = statistics.median(rounds)
        rows.append({"case": case, "first_s": first, "median_s": median, "rounds_s": rounds})
        print(f"{case}: {median:.3f} s (first {first:.3f} s)")
        method, _, whose = case.partition(", ")
        if whose == "torch" and f"{method}, ours" in results:
            ratios[method] = statistics.median(results[f"{method}, ours"][1]) / median
    print(json.dumps({"ratios ours / torch": ratios}))
    if o.json:
        content = {"device": jax.devices()[0].device_kind, "rows": rows, "ratios": ratios}
        o.json.write_text(json.dumps({**content, "options": {**vars(o), "json": str(o.json)}}))


if __name__ == "__main__":
    main()
