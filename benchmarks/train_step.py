"""Times the training step of the coarse network on patches of random values.

    python benchmarks/train_step.py [--peer torch] [--update band]

With `--peer torch`, PyTorch takes turns with it, with the same weights (`torch_peer.py`), after a
check that the forward passes give the same. FLOP are those of the convolutions alone, three times
the forward pass.
"""

import functools

import common
import jax
import numpy as np

from dualsr_jax.ops.resize import imresize
from dualsr_jax.training.optimizer import adam, learning_rate_schedule
from dualsr_jax.training.step import UPDATES, Learning, create_state, make_train_step
from dualsr_jax.weights.torch_params import to_torch


def main() -> None:
    """Runs all cases."""
    parser = common.parser(__doc__.splitlines()[0])
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--lr_patch", type=int, default=32)
    parser.add_argument("--update", choices=UPDATES, help="the only kind to time; default: both")
    o = parser.parse_args()
    rng = np.random.default_rng(0)
    side = o.lr_patch * o.scale
    hr = rng.random((o.batch_size, side, side, o.bands), dtype=np.float32)
    batch = jax.device_put(
        {
            "hr": hr,
            "variant": np.zeros(o.batch_size, np.int32),
            "sample": np.arange(o.batch_size, dtype=np.int32),
        }
    )
    model = common.network(o)
    schedule = learning_rate_schedule(1e-4, 30, 100)
    optimizer = adam(schedule)
    state = create_state(model, optimizer, jax.random.key(0))
    cases, ours, peers = {}, {}, {}
    for update in [o.update] if o.update else UPDATES:
        step = make_train_step(Learning(model=model, optimizer=optimizer, update=update), schedule)
        compiled = ours[f"ours, {update}"] = common.compile_for(step, state, batch)
        cases[f"ours, {update}"] = lambda compiled=compiled: compiled.run(state, batch)
    if o.peer:
        theirs = torch_cases(o, model, state.variables, hr)
        cases |= theirs
        for name in ours:
            update = name.split()[-1]
            peers[name] = [peer for peer in theirs if peer.startswith(f"torch, {update}")]
    results = common.side_by_side(cases, o.repeats)
    common.report(
        o,
        results,
        passes=3,
        pixels=o.batch_size * o.lr_patch**2,
        samples=o.batch_size,
        ours=ours,
        peers=peers,
    )


def torch_cases(o, model, variables, hr):
    """Makes PyTorch's training steps, by name."""
    import torch
    import torch_peer
    from torch.nn.functional import l1_loss

    lr = imresize(hr, 1 / o.scale)
    bicubic = imresize(lr, o.scale)
    peer = torch_peer.Peer(to_torch(model, variables), o.scale).to(torch_peer.DEVICE)
    images = [torch_peer.bands_second(cube) for cube in (lr, bicubic, hr)]
    exact = np.asarray(jax.jit(model.clone(precision="float32").apply)(variables, lr, bicubic))
    for forward in (peer.published, peer.best):
        with torch.no_grad():
            theirs = np.moveaxis(forward(*images[:2]).cpu().numpy(), 1, -1)
        common.check_same(exact, theirs)
    optimizer = torch.optim.Adam(peer.parameters(), 1e-4)
    fused = torch.optim.Adam(peer.parameters(), 1e-4, fused=True)

    def whole(forward):
        def run():
            fused.zero_grad()
            l1_loss(forward(*images[:2]), images[2]).backward()
            fused.step()

        return run

    def band():
        torch_peer.banded_train_step(peer.published_bands(images[0]), optimizer, *images[1:])

    def best_band(lr, *others):
        torch_peer.banded_train_step(peer.best_bands(lr), fused, *others)

    def accumulating(*images):
        torch_peer.accumulating_train_step(peer, fused, *images)

    best = torch_peer.in_precision(peer.best, o.precision)
    chunked = functools.partial(peer.best, band_chunk=o.band_chunk or None)
    by_band = torch_peer.in_precision(accumulating, o.precision)
    band_2d = torch_peer.in_precision(best_band, o.precision)
    cases = {
        "torch, band, as published": band,
        "torch, band, channels last": lambda: band_2d(*images),
        "torch, image, all bands": whole(best),
        "torch, image, all bands, compiled": whole(torch.compile(best, dynamic=False)),
        "torch, image, in chunks of bands": whole(torch_peer.in_precision(chunked, o.precision)),
        "torch, image, adding up band by band": lambda: by_band(*images),
    }
    return {
        name: torch_peer.finished(case)
        for name, case in cases.items()
        if o.update is None or f" {o.update}," in name
    }


if __name__ == "__main__":
    main()
