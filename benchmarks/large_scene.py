"""Measures large scenes: peak memory of an area and of twice the area, and the cost of tiles.

    python benchmarks/large_scene.py [--features 4] [--height 1024] [--json FILE]

Each case is a process of its own that super-resolves a synthetic int16 scene in a temporary folder
by x2, as `dualsr_jax.predict` does. Peak memory is that of the whole process, from its start. A
small network is enough to measure memory: tiles are as large as the memory allows, whatever the
network. The cost of tiles is the time of the first pass in several tiles compared with one tile, on
a scene that fits into memory; compare CPU times if other processes run at the same time.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np


def make_up(path: Path, height: int, width: int, bands: int) -> None:
    """Writes a synthetic int16 ENVI scene by blocks of rows."""
    from dualsr_jax.io.cubes import create_cube
    from dualsr_jax.io.metadata import Metadata

    rng = np.random.default_rng(0)
    spectrum = 2000 + 1500 * np.sin(np.arange(bands) / 20)
    with create_cube(path, (height, width, bands), np.int16, Metadata()) as writer:
        for row in range(0, height, 64):
            rows = min(64, height - row)
            ground = rng.uniform(0.5, 1.5, (rows, width, 1))
            noise = rng.normal(0, 20, (rows, width, bands))
            writer.write((ground * spectrum + noise).astype(np.int16), row, 0)


def save_network(folder: Path, features: int, depth: int) -> None:
    """Saves an untrained network: its cost does not depend on the weights."""
    import jax
    import optax

    from dualsr_jax.models.coarsr.coarse import CoarSR
    from dualsr_jax.training.checkpoint import Checkpoints
    from dualsr_jax.training.step import create_state

    model = CoarSR(2, features=features, num_asfm=depth, num_blocks=depth)
    state = create_state(model, optax.sgd(0.1), jax.random.key(0))
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(state, model, {}, psnr_db=0.0)


def measure(
    folder: Path, shape: tuple[int, int, int], memory_gb: float, *, warm: bool
) -> dict[str, Any]:
    """Super-resolves a scene and measures seconds and the peak memory of this process.

    With `warm`, a tile is computed first, so that the first pass is timed without compilation.
    """
    from dualsr_jax.prediction import run as command
    from dualsr_jax.prediction.cluster import Weights

    passes = []
    compute = command.FirstPass.compute

    def timed(scene: Any, *arguments: Any) -> None:
        if warm:
            compute(scene, arguments[0][:1], arguments[1])
        started, cpu_started = time.perf_counter(), time.process_time()
        compute(scene, *arguments)
        spent = time.perf_counter() - started, time.process_time() - cpu_started
        passes.append((len(scene.layout.tiles), scene.tiling, *spent))

    command.FirstPass.compute = timed
    started = time.perf_counter()
    output = folder / "made.img"
    options = command.PredictOptions(memory_gb=memory_gb, overwrite=True)
    command.predict(folder / "scene.hdr", output, Weights(folder / "network"), options)
    seconds = time.perf_counter() - started
    output.unlink()
    output.with_suffix(".hdr").unlink()
    tiles, tiling, first_pass, first_pass_cpu = passes[0]
    pixels = shape[0] * shape[1]
    return {
        "scene": "x".join(map(str, shape)),
        "tiles": tiles,
        "window": "x".join(map(str, tiling.window)),
        "bands_at_once": tiling.band_chunk,
        "seconds": round(seconds, 1),
        "first_pass_us_per_pixel": round(1e6 * first_pass / pixels, 2),
        "first_pass_cpu_us_per_pixel": round(1e6 * first_pass_cpu / pixels, 2),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
    }


def case(
    features: int, depth: int, shape: tuple[int, int, int], memory_gb: float, *, warm: bool = False
) -> dict[str, Any]:
    """Runs `measure` in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        context = multiprocessing.get_context("spawn")
        folder = Path(name)
        for function, arguments in (
            (make_up, (folder / "scene.hdr", *shape)),
            (save_network, (folder / "network", features, depth)),
        ):
            process = context.Process(target=function, args=arguments)
            process.start()
            process.join()
            if process.exitcode:
                sys.exit("error: the scene or the network of a case could not be written")
        with context.Pool(1) as pool:
            return pool.apply(measure, (folder, shape, memory_gb), {"warm": warm})


def main() -> None:
    """Runs all cases and prints them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=int, default=4)
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--bands", type=int, default=200)
    parser.add_argument("--memory_gb", type=float, default=2.5)
    parser.add_argument(
        "--cost_side",
        type=int,
        default=512,
        help="height and width of the scene that fits into memory",
    )
    parser.add_argument("--cost_features", type=int, default=64)
    parser.add_argument("--cost_bands", type=int, default=5)
    parser.add_argument(
        "--cost_memory_gb", type=float, default=1.2, help="memory budget in GB for several tiles"
    )
    parser.add_argument(
        "--whole_memory_gb", type=float, default=2.6, help="memory budget in GB for one tile"
    )
    parser.add_argument("--json", type=Path)
    o = parser.parse_args()
    fitting = (o.cost_side, o.cost_side, o.cost_bands)
    rows = {}
    for name, arguments in {
        "area": (o.features, 1, (o.height, o.width, o.bands), o.memory_gb),
        "twice the area": (o.features, 1, (2 * o.height, o.width, o.bands), o.memory_gb),
        "one tile": (o.cost_features, 2, fitting, o.whole_memory_gb),
        "several tiles": (o.cost_features, 2, fitting, o.cost_memory_gb),
    }.items():
        rows[name] = case(*arguments, warm="tile" in name)
        print(name, *(f"{k}={v}" for k, v in rows[name].items()), sep="  ", flush=True)
    memory = [rows[name]["peak_gb"] for name in ("area", "twice the area")]
    ratios = {"memory": round(memory[1] / memory[0], 3)}
    for name in ("first_pass_us_per_pixel", "first_pass_cpu_us_per_pixel"):
        ratios[name] = round(rows["several tiles"][name] / rows["one tile"][name], 3)
    print(f"twice the area / area, memory: {ratios['memory']}")
    for name in list(ratios)[1:]:
        print(f"several tiles / one tile, {name}: {ratios[name]}")
    if o.json:
        o.json.write_text(json.dumps({"rows": rows, "ratios": ratios}, indent=2) + "\n")


if __name__ == "__main__":
    main()
