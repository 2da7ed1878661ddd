"""Times DualSR against CoarSR alone: with a joint network, and with a second one of half the scale.

    python benchmarks/both_stages.py [--features 64] [--lr_image 128]

Inference is that of `DualSR.__call__` on a cube of random values; a training step is one batch of
random patches with an update per band. All cases run in one process and take turns.
"""

import json
import statistics

import common
import jax
import numpy as np
import optax

from dualsr_jax.dualsr import DualSR
from dualsr_jax.models.network import Model, Network
from dualsr_jax.training.step import Learning, create_state, make_train_step


def network(model: Model) -> Network:
    """A new network of random weights."""
    example = np.zeros((1, 8, 8, model.min_bands), np.float32)
    return Network(model, jax.jit(model.init)(jax.random.key(0), example))


def multiply_adds(o, *models: Model) -> int:
    """Counts the multiplications of all convolutions per LR pixel, over all bands."""
    total = 0
    for model in models:
        features, *steps = o.features, *(s for s in model.scales[1:])
        o.scale = model.scale
        total += common.multiply_adds(o)
        for scale in steps:  # of a joint network: the tail of the half scale alone
            o.scale = scale
            trunk = (590 * features**2 + 63 * features) * o.bands
            total += common.multiply_adds(o) - trunk
    return total


def report(o, results, x4: Model, joint: Model, x2: Model) -> None:
    """Prints seconds, ratios and multiplications, and the seconds and ratios as JSON."""
    median = {name: statistics.median(rounds) for name, (_, rounds) in results.items()}
    if "step, CoarSR" in median:
        median["step, two networks"] = median["step, CoarSR"] + median["step, half scale"]
    macs = {
        name: multiply_adds(o, *m)
        for name, m in {"CoarSR": (x4,), "joint": (joint,), "two networks": (x4, x2)}.items()
    }
    ratios = {
        name: round(median[name] / median[f"{name.split(',')[0]}, CoarSR"], 3) for name in median
    }
    for name, seconds in median.items():
        print(f"{name}: {seconds:.3f} s, {ratios[name]:.2f} of CoarSR")
    for name, count in macs.items():
        share = count / macs["CoarSR"]
        print(
            f"multiply-adds, {name}: {count / o.bands / 1e6:.2f} M per LR pixel and band, "
            f"{share:.2f} of CoarSR"
        )
    print(json.dumps({"median_s": median, "ratios": ratios}))


def main() -> None:
    """Runs all cases and prints seconds and ratios."""
    parser = common.network_parser(__doc__.splitlines()[0])
    parser.add_argument("--lr_image", type=int, default=128)
    parser.add_argument("--lr_patch", type=int, default=16)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--inference_only", action="store_true", help="leave training out")
    o = parser.parse_args()
    rng = np.random.default_rng(0)
    lr = rng.random((o.lr_image, o.lr_image, o.bands), dtype=np.float32)
    x4 = common.network(o)
    x2, joint = x4.clone(scale=o.scale // 2), x4.clone(joint=True)
    coarse, half, both = map(network, (x4, x2, joint))
    cases = {
        "inference, CoarSR": lambda: coarse(lr),
        "inference, DualSR, joint": lambda: DualSR(both)(lr).fine,
        "inference, DualSR, two networks": lambda: DualSR(coarse, half)(lr).fine,
    }
    optimizer = optax.adam(1e-4)

    def training(model: Model):
        side = o.lr_patch * model.scale
        batch = {
            "hr": rng.random((o.batch_size, side, side, o.bands), dtype=np.float32),
            "variant": np.zeros(o.batch_size, np.int32),
            "sample": np.arange(o.batch_size, dtype=np.int32),
        }
        learning = Learning(model=model, optimizer=optimizer)
        step = jax.jit(make_train_step(learning, optax.constant_schedule(1e-4)))
        state = create_state(model, optimizer, jax.random.key(0))
        return lambda: step(state, batch)

    if o.inference_only:
        report(o, common.side_by_side(cases, o.repeats), x4, joint, x2)
        return
    steps = {name: training(m) for name, m in (("x4", x4), ("joint", joint), ("x2", x2))}
    cases |= {
        "step, CoarSR": steps["x4"],
        "step, joint": steps["joint"],
        "step, half scale": steps["x2"],
    }
    report(o, common.side_by_side(cases, o.repeats), x4, joint, x2)


if __name__ == "__main__":
    main()
