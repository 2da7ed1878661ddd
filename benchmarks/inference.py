"""Times the coarse network on one image of random values.

    python benchmarks/inference.py [--peer torch]

With `--peer torch`, PyTorch takes turns with it, with the same weights (`torch_peer.py`), after a
check that the results are the same. FLOP are those of the convolutions alone.
"""

import functools

import common
import jax
import numpy as np

from dualsr_jax.ops.resize import imresize
from dualsr_jax.weights.torch_params import to_torch


def main() -> None:
    """Runs all cases."""
    parser = common.parser(__doc__.splitlines()[0])
    parser.add_argument("--lr_image", type=int, default=128)
    o = parser.parse_args()
    rng = np.random.default_rng(0)
    lr = rng.random((1, o.lr_image, o.lr_image, o.bands), dtype=np.float32)
    bicubic = imresize(lr, o.scale)
    model = common.network(o)
    variables = jax.jit(model.init)(jax.random.key(0), lr[:, :8, :8])
    compiled = common.compile_for(model.apply, variables, lr, bicubic)
    placed = jax.device_put((variables, lr, bicubic))
    cases = {"ours": lambda: compiled.run(*placed)}
    if o.peer:
        import torch
        import torch_peer

        peer = torch_peer.Peer(to_torch(model, variables), o.scale).to(torch_peer.DEVICE)
        images = [torch_peer.bands_second(cube) for cube in (lr, bicubic)]
        best = torch_peer.in_precision(peer.best, o.precision)
        one_by_one = functools.partial(peer.best, band_chunk=1)
        for name, run in {
            "torch, as published": peer.published,
            "torch, all bands": best,
            "torch, all bands, compiled": torch.compile(best, dynamic=False),
            "torch, one band at a time, channels last": torch_peer.in_precision(
                one_by_one, o.precision
            ),
        }.items():
            cases[name] = torch_peer.finished(lambda run=run: torch.no_grad()(run)(*images))
        exact = model.clone(precision="float32").apply
        ours = np.asarray(jax.jit(exact)(variables, lr, bicubic))
        for forward in (peer.published, peer.best):
            theirs = torch.no_grad()(forward)(*images).cpu().numpy()
            common.check_same(ours, np.moveaxis(theirs, 1, -1))
    results = common.side_by_side(cases, o.repeats)
    common.report(
        o,
        results,
        passes=1,
        pixels=o.lr_image**2,
        samples=1,
        ours={"ours": compiled},
        peers={"ours": [name for name in cases if name != "ours"]},
    )


if __name__ == "__main__":
    main()
