"""Measures the input pipeline: HR patches per second, and peak memory.

    python benchmarks/input_pipeline.py

Cases: `cave`, 32 scenes of 512x512x31 at three resize scales, in memory; `cave, on disk`, the same
from a temporary file; `harvard`, 50 scenes of 1040x1392x31 at three scales, of which 1 GB is held
in memory. Scenes are made up, or, with `--cave FOLDER`, those of CAVE. Each case runs in a process
of its own, whose peak resident memory is that of the whole case: interpreter, JAX, reading,
resizing, drawing. Prints a table, and with `--json FILE` writes it. Batches of 64 patches of
128x128x31, median of `--repeats` spells of `--seconds`.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dualsr_jax.data.images import Images
from dualsr_jax.data.patches import PatchSampler
from dualsr_jax.data.sources import NamedCube, Scenes, open_source
from dualsr_jax.data.split import Selection

PATCH, BATCH, SCALES = 128, 64, (1.0, 0.75, 0.5)
CASES = {  # scenes, height, width, GB in memory
    "cave": (32, 512, 512, 8.0),
    "cave, on disk": (32, 512, 512, 0.0),
    "harvard": (50, 1040, 1392, 1.0),
}


def made_up(count: int, height: int, width: int) -> Iterator[NamedCube]:
    """Scenes of random pixels."""
    rng = np.random.default_rng(0)
    for number in range(count):
        yield NamedCube(f"scene_{number}", rng.random((height, width, 31), dtype=np.float32))


def measure(case: str, options: argparse.Namespace) -> dict[str, Any]:
    """One row of the table; the peak memory is that of the calling process."""
    count, height, width, memory_gb = CASES[case]
    scenes: Any = made_up(count, height, width)
    if options.cave and case.startswith("cave"):
        source = open_source("folder", str(options.cave))
        scenes = Scenes(source, [Selection.parse(name) for name in source.names])
    started = time.perf_counter()
    images = Images(scenes, resize_scales=SCALES, least_size=PATCH, memory_gb=memory_gb)
    sampler = PatchSampler(images, patch_size=PATCH, batch_size=BATCH)
    ready = time.perf_counter()
    batches = sampler.batches()
    next(batches)
    rates = []
    for _ in range(options.repeats):
        begin, drawn = time.perf_counter(), 0
        while time.perf_counter() - begin < options.seconds:
            drawn += len(next(batches)["hr"])
        rates.append(drawn / (time.perf_counter() - begin))
    return {
        "case": case,
        "images": len(images),
        "in_memory_gb": round(images.bytes_in_memory / 1e9, 2),
        "ready_s": round(ready - started, 1),
        "patches_per_s": round(statistics.median(rates)),
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
    }


def main() -> None:
    """Runs all cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cave", type=Path, help="folder of CAVE, as distributed")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for case in CASES:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append(pool.apply(measure, (case, options)))
        print("  ".join(f"{k}={v}" for k, v in rows[-1].items()), flush=True)
    report = {
        "python": sys.version.split()[0],
        "cores": multiprocessing.cpu_count(),
        "batch": BATCH,
        "patch": PATCH,
        "rows": rows,
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
