"""Presses Ctrl-C in training, before its first step and later, and in the first tile of prediction.

    python scripts/interrupt_test.py
    python scripts/interrupt_test.py --rounds 2 --moments steps

It sends SIGINT to processes as the terminal does, at random moments while XLA compiles or computes
for the first time, and checks of each that it ends with status 130, within 10 seconds, with one
line, without a child process, and that the lock is free. After the first step, when steps, scoring
and saving take seconds each, the run must also have saved every step that it had recorded. At the
end, the same commands run to their end; the result of the prediction, and the losses of the
training, are compared with those of a run that nobody disturbed. It makes up scenes in a temporary
folder and takes 20 to 30 minutes on two cores. Prints a table and PASS or FAIL; the status is 0 or
1.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dualsr_jax.disk import locked, remove

ROOT = Path(__file__).parents[1]
LIMIT_S = 10.0
LATEST_S = 4.0  # of an interrupt, after the work has begun
LINE = "interrupted: run the same command again to resume"
STEPS = 12  # of a training that is interrupted after its first step
# SIGINT is ignored in what a script runs in the background, such as this script itself.
PYTHON = ["env", "--default-signal=INT", sys.executable, "-m", "dualsr_jax.cli"]


def start(arguments: Sequence[str], **environment: str) -> subprocess.Popen[str]:
    """Starts `dualsr` as the leader of a group of processes of its own."""
    return subprocess.Popen(
        [*PYTHON, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finishes(arguments: Sequence[str]) -> bool:
    """Whether a command ends well if nobody interrupts it."""
    with start(arguments) as process:
        process.communicate()
    return process.returncode == 0


def group_is_empty(group: int) -> bool:
    """Whether no process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def interrupt(
    arguments: Sequence[str], begun: Callable[[], bool], ended: Callable[[], bool], lock: Path
) -> tuple[float, str]:
    """Interrupts a command after it has begun; the seconds until it ended, and what was wrong.

    If the work that is interrupted had `ended` by then, this says so: the round does not count.
    """
    with start(arguments) as process:
        while not begun():
            if process.poll() is not None:
                raise ChildProcessError(process.communicate()[1])
            time.sleep(0.005)
        time.sleep(random.uniform(0, LATEST_S))
        started = time.monotonic()
        late = ended()
        os.killpg(process.pid, signal.SIGINT)
        _, text = process.communicate()
        seconds = time.monotonic() - started
    if late:
        return seconds, "late"
    faults = []
    if process.returncode != 128 + signal.SIGINT:
        faults.append(f"status {process.returncode}")
    if seconds > LIMIT_S:
        faults.append("slow")
    if text.strip().splitlines()[-1:] != [LINE] or "Traceback" in text:
        faults.append(f"other output: {text[-300:]!r}")
    if not group_is_empty(process.pid):
        faults.append("a process is left")
    with locked(lock, "workdir"):
        return seconds, ", ".join(faults)


def repeat(name: str, rounds: int, once: Callable[[], tuple[float, str]]) -> bool:
    """Interrupts often enough, and prints a row of the table; whether all went well."""
    seconds: list[float] = []
    faults, late = [], 0
    while len(seconds) < rounds and late < 5 * rounds:
        took, fault = once()
        if fault == "late":
            late += 1
            continue
        seconds.append(took)
        if fault:
            faults.append(fault)
            print(f"  {name}: {fault}", flush=True)
    print(
        f"{name:<36} {len(seconds):>3} interrupts, {len(seconds) - len(faults):>3} as wanted, "
        f"seconds: median {np.median(seconds):.2f}, longest {max(seconds):.2f}; {late} too late",
        flush=True,
    )
    return not faults and len(seconds) == rounds


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def in_training(folder: Path, rounds: int) -> bool:
    """Interrupts training before its first step, and then trains."""
    workdir = folder / "run"
    arguments = ["train", "--config", "configs/smoke.py", "--workdir", str(workdir)]
    arguments += ["--config.model.features=16", "--config.model.num_asfm=2"]
    begun, records = workdir / "config.json", workdir / "metrics.jsonl"

    def stepped() -> bool:
        return records.exists() and records.stat().st_size > 0

    def once() -> tuple[float, str]:
        if stepped():  # in the round before, which came too late
            remove(workdir)
        begun.unlink(missing_ok=True)
        return interrupt(arguments, begun.exists, stepped, workdir)

    well = repeat("train, before its first step", rounds, once)
    finished = finishes([*arguments, "--config.train.epochs=0.01"])
    print(f"the same command trains afterwards: {finished}")
    return well and finished


def short_training(folder: Path) -> dict[str, object]:
    """Makes scenes for a training that takes its time to score; returns the settings of it."""
    rng, scenes = np.random.default_rng(0), folder / "scenes"
    scenes.mkdir()
    for name, side in {"a": 96, "b": 96, "held_out": 384, "test": 64}.items():
        np.save(scenes / f"{name}.npy", rng.integers(0, 65536, (side, side, 6), np.uint16))
    (scenes / "split.txt").write_text("[validation]\nheld_out\n[test]\ntest\n")
    epoch = 10  # steps: 2 scenes x 8 patches x 5 variants, in batches of 8
    return {
        "model.features": 16,
        "model.num_asfm": 1,
        "model.num_blocks": 1,
        "data.path": scenes,
        "data.split": scenes / "split.txt",
        "train.batch_size": 8,
        "train.lr_patch": 32,
        "train.patches_per_image": 8,
        "train.resize_scales": "(1.0,)",
        "train.log_every_steps": 1,
        "train.save_every_epochs": 2 / epoch,
        "train.epochs": STEPS / epoch,
    }


def in_steps(folder: Path, rounds: int) -> bool:
    """Interrupts training after its first step: in steps, in scoring and in saving."""
    settings, cache = short_training(folder), folder / "compiled"

    def arguments(name: str) -> list[str]:
        where = ["--config", "configs/cave.py:2", "--workdir", str(folder / name)]
        return ["train", *where, *(f"--config.{key}={value}" for key, value in settings.items())]

    def losses(name: str) -> dict[int, float]:
        path = folder / name / "metrics.jsonl"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return {int(record["step"]): record["loss"] for record in map(json.loads, lines)}

    def saved() -> int:
        found = (folder / "steps" / "checkpoints").glob("*")
        return max((int(path.name) for path in found if path.name.isdecimal()), default=0)

    def once() -> tuple[float, str]:
        before = saved()
        if before >= STEPS - 2:
            remove(folder / "steps")
            before = 0
        # Compiled once for all rounds, as it is the time after the first step that counts.
        how = {"JAX_COMPILATION_CACHE_DIR": str(cache)}
        with start(arguments("steps"), **how) as process:
            while max(losses("steps"), default=0) <= before:
                if process.poll() is not None:
                    raise ChildProcessError(process.communicate()[1])
                time.sleep(0.01)
            time.sleep(random.uniform(0, 2 * LATEST_S))
            made, started = max(losses("steps")), time.monotonic()
            os.killpg(process.pid, signal.SIGINT)
            out, text = process.communicate()
            seconds = time.monotonic() - started
        if process.returncode == 0 and saved() == STEPS:
            return seconds, "late"
        faults = [] if process.returncode == 130 else [f"status {process.returncode}"]
        faults += ["slow"] * (seconds > LIMIT_S)
        if f"stopped by SIGINT after step {saved()} of {STEPS}, which is saved" not in out:
            faults.append(f"other output: {out[-200:]!r} {text[-200:]!r}")
        faults += [f"step {made} was made, {saved()} is saved"] * (saved() < made)
        faults += ["Traceback"] * ("Traceback" in text)
        faults += ["a process is left"] * (not group_is_empty(process.pid))
        with locked(folder / "steps", "workdir"):
            return seconds, ", ".join(faults)

    well = repeat("train, after its first step", rounds, once)
    well &= all(finishes(arguments(name)) for name in ("steps", "undisturbed"))
    same = well and losses("steps") == losses("undisturbed") and len(losses("steps")) == STEPS
    print(f"the same command makes the steps of an undisturbed run afterwards: {same}")
    return well and same


def in_prediction(folder: Path, rounds: int) -> bool:
    """Interrupts prediction in its first tile, and then predicts."""
    scene = np.random.default_rng(0).integers(0, 10_000, (96, 96, 60), np.int16)
    np.save(folder / "scene.npy", scene)
    paths = [folder / "whole_x2.npy", folder / "made_x2.npy"]
    commands = [["predict", str(folder / "scene.npy"), str(path)] for path in paths]
    parts = folder / ".made_x2.npy.parts"
    plan = parts / "plan.json"

    def finished() -> bool:
        return any(parts.glob("tile_*.json")) or paths[1].exists()

    def once() -> tuple[float, str]:
        if finished():
            remove(paths[1])
            remove(parts)
        plan.unlink(missing_ok=True)
        return interrupt(commands[1], plan.exists, finished, parts)

    well = repeat("predict, in its first tile", rounds, once)
    well &= all(finishes(command) for command in commands)
    same = well and digest(paths[0]) == digest(paths[1])
    print(f"the same command gives the same result afterwards: {same}")
    return well and same


MOMENTS = {"compiling": in_training, "steps": in_steps, "tile": in_prediction}


def main() -> None:
    """Runs the tests, and ends with status 0 or 1."""
    found = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    found.add_argument("--rounds", type=int, default=20, help="interrupts of each kind")
    found.add_argument("--seed", type=int, default=0, help="of the moments")
    found.add_argument("--moments", nargs="+", choices=MOMENTS, default=[*MOMENTS])
    given = found.parse_args()
    random.seed(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        passed = [MOMENTS[name](Path(folder), given.rounds) for name in given.moments]
    print("PASS" if all(passed) else "FAIL")
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
