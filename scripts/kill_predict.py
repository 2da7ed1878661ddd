"""Kills prediction with SIGKILL at random moments, resumes it, and compares the results.

    python scripts/kill_predict.py
    python scripts/kill_predict.py --cluster    # on a Dask cluster of two worker processes

It makes up a scene and a tiny network in a temporary folder, needs nothing else, and takes about
two minutes on two cores. Each round kills the same command until it has killed it often enough,
lets it finish, and compares the SHA-256 of the result with that of a run that nobody disturbed.
A kill counts only if it hit after a tile of that run was on disk. Of a cluster the client is
killed. Prints a table and PASS or FAIL; the status is 0 or 1.
"""

import argparse
import contextlib
import hashlib
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import optax

from dualsr_jax.dualsr import DualSR
from dualsr_jax.models.coarsr.coarse import CoarSR
from dualsr_jax.models.network import Network
from dualsr_jax.training.step import create_state

ROOT = Path(__file__).parents[1]
TILE = 42  # pixels along a side, with the halo


def make_up(folder: Path, size: int) -> None:
    """A scene of `size` x `size` pixels and 8 bands, and the weights of a network that is new."""
    scene = np.random.default_rng(0).integers(0, 10_000, (size, size, 8), np.int16)
    np.save(folder / "scene.npy", scene)
    model = CoarSR(2, features=4, num_asfm=1, num_blocks=1)
    state = create_state(model, optax.identity(), jax.random.key(0))
    DualSR(Network(model, state.variables)).save_pretrained(folder / "x2.safetensors")


def start(folder: Path, output: Path, scheduler: str | None) -> subprocess.Popen[bytes]:
    """Starts prediction, or resumes it; what it prints is added to `output.txt`."""
    command = [sys.executable, "-m", "dualsr_jax.predict", str(folder / "scene.npy")]
    command += ["--weights", str(folder / "x2.safetensors"), "--output", str(output)]
    command += ["--tile", f"{TILE}x{TILE}", *(["--scheduler", scheduler] if scheduler else [])]
    environment = {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }
    with (folder / "output.txt").open("ab") as text:
        return subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environment}, stdout=text, stderr=text
        )


def tiles(output: Path) -> set[Path]:
    """The finished tiles on disk."""
    return set((output.parent / f".{output.name}.parts").glob("tile_*.json"))


def kill(folder: Path, output: Path, scheduler: str | None, wanted: int, after_s: float) -> bool:
    """Kills a run some time after `wanted` tiles are there; False if it ended or made no tile."""
    before = tiles(output)
    with start(folder, output, scheduler) as process:
        try:
            while process.poll() is None and len(tiles(output)) < wanted:
                time.sleep(0.002)
            time.sleep(after_s)
        finally:
            process.kill()
    if process.returncode > 0:
        sys.exit((folder / "output.txt").read_text()[-2000:])
    return process.returncode < 0 and bool(tiles(output) - before)


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of a folder, by name; whatever is left behind counts."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@contextlib.contextmanager
def cluster(*, wanted: bool) -> Iterator[str | None]:
    """The address of a new cluster of two workers, or None."""
    if not wanted:
        yield None
        return
    from dask import distributed

    workers = {"n_workers": 2, "threads_per_worker": 1, "processes": True}
    with distributed.LocalCluster(**workers, dashboard_address=None) as found:
        yield found.scheduler_address


def main() -> None:
    """Runs the test."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120, help="no new round after these")
    parser.add_argument("--kills", type=int, default=3, help="of each round")
    parser.add_argument("--size", type=int, default=150, help="pixels along a side of the scene")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--cluster", action="store_true", help="compute on two Dask workers")
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    counted = in_tiles = void = rounds = different = 0  # kills, rounds and results
    with tempfile.TemporaryDirectory() as temporary, cluster(wanted=arguments.cluster) as scheduler:
        folder = Path(temporary)
        make_up(folder, arguments.size)

        def finish(output: Path) -> None:
            if start(folder, output, scheduler).wait():
                sys.exit((folder / "output.txt").read_text()[-2000:])

        (folder / "0").mkdir()
        finish(folder / "0" / "made.npy")
        expected, until = hashes(folder / "0"), time.monotonic() + arguments.seconds
        total = int(re.findall(r"(\d+) tiles of", (folder / "output.txt").read_text())[0])
        print(f"{'round':>5}{'tiles':>7} of {total}", flush=True)
        while time.monotonic() < until:
            rounds += 1
            output = folder / str(rounds) / "made.npy"
            output.parent.mkdir()
            for _ in range(arguments.kills):
                have = len(tiles(output))
                wanted = min(moments.randint(have + 1, have + total // 2), total)
                hit = kill(folder, output, scheduler, wanted, moments.uniform(0, 0.1))
                made = len(tiles(output))
                counted, void = counted + hit, void + (not hit)
                in_tiles += hit and made < total
                what = ("tiles" if made < total else "result") if hit else "not counted"
                print(f"{rounds:5}{made:7}  {what}", flush=True)
                if output.exists():
                    break
            if not output.exists():
                finish(output)
            if (found := hashes(output.parent)) != expected:
                different += 1
                print(f"round {rounds}: {found}, not {expected}")
    print(
        f"{rounds} rounds, {counted} kills: {in_tiles} among the tiles, {counted - in_tiles} while "
        f"the result was made of them; {void} that hit no new tile, or came too late, do not count"
    )
    failed = different or not counted
    print("FAIL" if failed else "PASS: the same SHA-256 as without kills, nothing left behind")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
