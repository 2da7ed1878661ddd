"""What the benchmarks share: timing of cases side by side, the machine's peak, the report."""

import argparse
import dataclasses
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dualsr_jax.models.layers import UPSAMPLING_STEPS
from dualsr_jax.models.network import PRECISIONS, Model, make_model

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch shares the GPU


def multiply_adds(options: argparse.Namespace, *, as_published: bool = False) -> int:
    """Counts the multiplications of all convolutions, per LR pixel, over all bands.

    Args:
        options: options of `parser`.
        as_published: whether the last two convolutions of the tail are separate; ours and the best
            of PyTorch's merge them into one of fewer products (`layers.Tail`).
    """
    c = options.features
    # Of c^2: ASFMs 576, reduction 3, convolution 9, FCF 2; of c: heads.
    total, pixels = 590 * c**2 + 63 * c, 1
    *steps, r = UPSAMPLING_STEPS[options.scale]
    for step in steps:
        total += pixels * 9 * c**2 * step**2
        pixels *= step**2
    total += pixels * r**2 * (9 * c**2 + 9 * c if as_published else 81 * c)
    return total * options.bands


def network_parser(description: str) -> argparse.ArgumentParser:
    """Makes a parser of the options that describe a network."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--scale", type=int, default=4)
    found.add_argument("--features", type=int, default=64)
    found.add_argument("--bands", type=int, default=31)
    found.add_argument("--band_chunk", type=int, default=4, help="0: all bands at once")
    found.add_argument("--precision", choices=PRECISIONS, default="float32")
    return found


def parser(description: str) -> argparse.ArgumentParser:
    """Makes a parser of the options of the benchmarks that time a network."""
    found = network_parser(description)
    found.add_argument("--repeats", type=int, default=3)
    found.add_argument("--peer", choices=["torch"], help="also measure PyTorch")
    found.add_argument("--json", type=Path)
    return found


def network(options: argparse.Namespace) -> Model:
    """Makes the network that the options describe."""
    settings = {name: getattr(options, name) for name in ("scale", "features", "precision")}
    return make_model({**settings, "band_chunk": options.band_chunk or None})


def peak_flop_per_s(precision: str) -> float:
    """Measures the rate of a large matrix product on this machine, in FLOP/s."""
    size = 1024 if jax.default_backend() == "cpu" else 8192
    a = jax.random.normal(jax.random.key(0), (size, size), precision)
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(a))
    seconds = []
    for _ in range(9):
        started = time.perf_counter()
        jax.block_until_ready(product(a))
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / statistics.median(seconds)


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A compiled function, the seconds of its compilation, and the GB of its temporaries."""

    run: Any
    seconds: float
    temporaries_gb: float


def compile_for(function: Callable, *arguments: Any) -> Compiled:
    """Compiles a function for arguments of these shapes."""
    started = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    seconds = time.perf_counter() - started
    return Compiled(compiled, seconds, compiled.memory_analysis().temp_size_in_bytes / 1e9)


def side_by_side(
    cases: Mapping[str, Callable[[], Any]], repeats: int
) -> dict[str, tuple[float, list[float]]]:
    """Times the first run of each case, then `repeats` rounds in which the cases take turns.

    A case that runs out of memory is reported and left out.

    Returns:
        The seconds of the first run and of each round, by case.
    """
    cases, first = dict(cases), {}
    for name, run in list(cases.items()):
        started = time.perf_counter()
        try:
            jax.block_until_ready(run())
        except RuntimeError as error:
            if not any(text in str(error) for text in ("out of memory", "RESOURCE_EXHAUSTED")):
                raise
            print(f"{name}: out of memory", file=sys.stderr, flush=True)
            del cases[name]
            continue
        first[name] = time.perf_counter() - started
        print(f"{name}: first run {first[name]:.1f} s", file=sys.stderr, flush=True)
    rounds: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(repeats):
        for name, run in cases.items():
            started = time.perf_counter()
            jax.block_until_ready(run())
            rounds[name].append(time.perf_counter() - started)
        shown = ", ".join(f"{name} {seconds[-1]:.1f}" for name, seconds in rounds.items())
        print(f"round {number + 1}: {shown}", file=sys.stderr, flush=True)
    return {name: (first[name], rounds[name]) for name in cases}


def report(
    options: argparse.Namespace,
    results: Mapping[str, tuple[float, list[float]]],
    *,
    passes: int,
    pixels: int,
    samples: int,
    ours: Mapping[str, Compiled],
    peers: Mapping[str, list[str]],
) -> None:
    """Prints the table, and writes it as JSON if `--json` names a file.

    Args:
        options: options of `parser`.
        results: result of `side_by_side`.
        passes: passes through the network in one run: 1, or 3 with gradients.
        pixels: LR pixels of all images of one run.
        samples: images of one run.
        ours: our compiled cases.
        peers: names of our cases, each with the cases to compare it with.
    """
    peak = peak_flop_per_s(options.precision)
    rows = []
    for name, (first, rounds) in results.items():
        seconds = statistics.median(rounds)
        macs = multiply_adds(options, as_published="as published" in name)
        flop = 2 * passes * pixels * macs
        rows.append(
            {
                "case": name,
                "first_s": round(first, 1),
                "median_s": round(seconds, 3),
                "s_per_band": round(seconds / options.bands, 4),
                "samples_per_s": round(samples / seconds, 3),
                "gflop_per_s": round(flop / seconds / 1e9),
                "of_peak": round(flop / seconds / peak, 2),
                "compile_s": round(ours[name].seconds, 1) if name in ours else None,
                "temporaries_gb": round(ours[name].temporaries_gb, 2) if name in ours else None,
            }
        )
        print("  ".join(f"{k}={v}" for k, v in rows[-1].items() if v is not None))
    ratios = {
        f"{case} / {peer}": round(
            statistics.median(results[case][1]) / statistics.median(results[peer][1]), 2
        )
        for case, others in peers.items()
        for peer in others
        if case in results and peer in results
    }
    for name, ratio in ratios.items():
        print(f"{name} = {ratio}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(f"peak memory of the whole process, on the host: {memory:.1f} GB")
    device = jax.devices()[0].device_kind
    print(f"matrix product, {options.precision}: {peak / 1e9:.0f} GFLOP/s on {device}")
    if options.json:
        write_json(options, device, peak, rows, ratios)


def write_json(
    options: argparse.Namespace, device: str, peak: float, rows: list, ratios: dict[str, float]
) -> None:
    """Writes the content of the report to the file that `--json` names."""
    content = {
        "device": device,
        "versions": {"jax": jax.__version__, "python": sys.version.split()[0]},
        "options": {k: v for k, v in vars(options).items() if k != "json"},
        "peak_gflop_per_s": round(peak / 1e9),
        "rows": rows,
        "ratios": ratios,
    }
    options.json.write_text(json.dumps(content, indent=2) + "\n")


def check_same(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Raises ValueError if two float32 results do not come from the same network."""
    largest = float(np.abs(ours - theirs).max())
    tolerance = 1e-4 if jax.default_backend() == "cpu" else 5e-3  # GPUs round products to TF32
    if not largest < tolerance:
        raise ValueError(
            f"PyTorch's result differs by {largest:g}, expected less than {tolerance:g}: the two "
            "networks are not the same"
        )
