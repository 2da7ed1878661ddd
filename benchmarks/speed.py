"""Times the training step and inference of the coarse network on random data.

    python benchmarks/speed.py

Prints a table, and with `--json FILE` writes it. Medians of `--repeats` runs after one that
compiles. FLOP are those of the network's convolutions alone: 2 a multiply-add, forward once for
inference, three times for a training step.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dualsr_jax import CoarSR
from dualsr_jax.training.optimizer import adam, learning_rate_schedule
from dualsr_jax.training.step import create_state, make_train_step

MULTIPLY_ADDS = {2: 2.57e6, 3: 2.76e6, 4: 3.17e6, 8: 5.55e6}  # an LR pixel and band, 64 features


def median_seconds(run: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Seconds of the first run, which compiles, and the median of those after it."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - started)
    return times[0], statistics.median(times[1:])


def main() -> None:
    """Runs all cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--bands", type=int, default=31)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--lr_patch", type=int, default=32)
    parser.add_argument("--lr_image", type=int, default=128)
    parser.add_argument("--band_chunk", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    o = parser.parse_args()

    rng = np.random.default_rng(0)
    model = CoarSR(o.scale, features=o.features, band_chunk=o.band_chunk)
    schedule = learning_rate_schedule(1e-4, 30, 100)
    optimizer = adam(schedule)
    hr_side = o.lr_patch * o.scale
    batch = {
        "hr": rng.random((o.batch_size, hr_side, hr_side, o.bands)).astype(np.float32),
        "variant": np.zeros(o.batch_size, np.int32),
        "sample": np.arange(o.batch_size),
    }
    macs = MULTIPLY_ADDS[o.scale] * (o.features / 64) ** 2 * o.bands
    cases: dict[str, tuple[Callable[[], Any], float]] = {}
    for update in ("band", "image"):
        state = create_state(model, optimizer, jax.random.key(0))
        step = jax.jit(make_train_step(model, optimizer, schedule, update=update))
        flop = 6 * macs * o.batch_size * o.lr_patch**2
        cases[f"train step, update={update}"] = (lambda s=state, f=step: f(s, batch), flop)
    image = rng.random((1, o.lr_image, o.lr_image, o.bands)).astype(np.float32)
    variables = state.variables
    forward = jax.jit(model.apply)
    cases["inference"] = (lambda: forward(variables, image), 2 * macs * o.lr_image**2)

    rows = []
    for name, (run, flop) in cases.items():
        first, seconds = median_seconds(run, o.repeats)
        rows.append(
            {
                "case": name,
                "first_s": round(first, 2),
                "median_s": round(seconds, 3),
                "s_per_band": round(seconds / o.bands, 4),
                "gflop_per_s": round(flop / seconds / 1e9, 1),
            }
        )
        print("  ".join(f"{k}={v}" for k, v in rows[-1].items()), flush=True)
    report = {
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "options": {k: v for k, v in vars(o).items() if k != "json"},
        "rows": rows,
    }
    if o.json:
        o.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
