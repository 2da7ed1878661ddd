"""Kills training with SIGKILL at random moments, resumes it each time, and checks what is lost.

    python scripts/kill_test.py
    python scripts/kill_test.py --methods 3dfcnn,edsr,sspsr,mcnet,sfcsr,ercsr,essaformer \
        --kills 2 --save_every 5

It makes up a tiny data set in a temporary folder, needs nothing else, and takes some minutes on two
cores. A kill hits after a step that the killed process has made and recorded, however busy the
machine is; every second one waits for a save to begin. After every kill the newest and the best
checkpoint must be readable, and no more than one save interval of steps may be lost; at the end the
parameters and the records must be those of a run that nobody disturbed, bit for bit. Prints a table
per method and PASS or FAIL; the status is 0 or 1.
"""

import argparse
import dataclasses
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from absl import logging

from dualsr_jax.training.checkpoint import Checkpoints

ROOT = Path(__file__).parents[1]
COARSR = "coarsr"
NETWORKS: dict[str, dict[str, object]] = {  # with few features, by names of configs/compared.py
    COARSR: {"features": 4, "num_asfm": 1, "num_blocks": 1},
    "3dfcnn": {"features": 4, "hidden": (3, 2)},
    "edsr": {"features": 4, "num_blocks": 1},
    "sspsr": {"features": 16, "num_blocks": 1},
    "mcnet": {"features": 4},
    "sfcsr": {"features": 4, "num_modules": 1},
    "ercsr": {"features": 4, "num_modules": 1, "num_units": 1},
    "essaformer": {"features": 8},
}
SAMPLES, BATCH = 60, 2  # an epoch: 3 scenes x 4 patches x 5 variants


def make_up_scenes(folder: Path) -> None:
    """Five scenes of 20x17 pixels and 6 bands, one for validation and one for testing."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c", "held_out", "test"):
        np.save(folder / f"{name}.npy", rng.integers(0, 65536, (20, 17, 6), np.uint16))
    (folder / "split.txt").write_text("[validation]\nheld_out\n[test]\ntest\n")


@dataclasses.dataclass(frozen=True)
class Attack:
    """Trainings of one method in one folder, with a save every so many steps."""

    folder: Path
    method: str
    save_every: int

    def start(self, name: str, last_step: int) -> subprocess.Popen[bytes]:
        """Starts training, or resumes it; its output is added to `<name>.txt`."""
        epoch = SAMPLES // BATCH
        scenes = self.folder.parent / "scenes"
        settings = {
            **{f"model.{key}": value for key, value in NETWORKS[self.method].items()},
            "data.path": scenes,
            "data.split": scenes / "split.txt",
            "train.epochs": last_step / epoch,
            "train.batch_size": BATCH,
            "train.lr_patch": 4,
            "train.patches_per_image": 4,
            "train.resize_scales": "(1.0,)",
            "train.save_every_epochs": self.save_every / epoch,
            "train.log_every_steps": 1,
        }
        config = "cave.py:2" if self.method == COARSR else f"compared.py:{self.method}-2"
        command = [sys.executable, "-m", "dualsr_jax.train", "--config", f"configs/{config}"]
        command += ["--workdir", str(self.folder / name)]
        environment = {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(self.folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
        }
        with (self.folder / f"{name}.txt").open("ab") as output:
            return subprocess.Popen(
                command + [f"--config.{key}={value}" for key, value in settings.items()],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def finish(self, name: str, last_step: int) -> None:
        """Trains to the last step."""
        if self.start(name, last_step).wait():
            sys.exit((self.folder / f"{name}.txt").read_text()[-2000:])

    def kill(self, steps: int, *, in_save: bool) -> tuple[int, int, int, bool]:
        """Trains and kills after so many steps, or then as soon as a save begins.

        Returns the last step before this run, the last made, the last saved, and if a save was hit.
        """
        workdir = self.folder / "killed"
        log, start_step = workdir / "metrics.jsonl", read(workdir)[0]
        left = log.stat().st_mtime_ns if log.exists() else None
        process = self.start("killed", last_step=10**6)

        def wait_for(condition: Callable[[], bool], seconds: float) -> None:
            deadline = time.monotonic() + seconds
            while not condition():
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    sys.exit((self.folder / "killed.txt").read_text()[-2000:])
                time.sleep(0.003)

        def stepped() -> bool:
            """The log is cut back to the checkpoint before the first step, and then grows."""
            renewed = log.exists() and log.stat().st_mtime_ns != left
            return renewed and last(workdir) >= start_step + steps

        wait_for(stepped, 300)
        if in_save:
            wait_for(lambda: saving(workdir), 300)
        process.kill()
        process.wait()
        in_save = saving(workdir)
        return start_step, last(workdir), read(workdir)[0], in_save


def records(workdir: Path) -> list[dict[str, float]]:
    """The records of a run, without a last line that was cut off."""
    path = workdir / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def read(workdir: Path) -> tuple[int, dict]:
    """Step and variables of the newest checkpoint; the best one is read, too."""
    if not any(path.name.isdecimal() for path in (workdir / "checkpoints").glob("*")):
        return 0, {}
    with Checkpoints(workdir, read_only=True) as checkpoints:
        checkpoints.restore_network("best")
        network, step = checkpoints.restore_network("latest")
    return step, network.variables


def last(workdir: Path) -> int:
    """The last step that is recorded."""
    return int(found[-1]["step"]) if (found := records(workdir)) else 0


def saving(workdir: Path) -> bool:
    """Whether a checkpoint is unfinished."""
    return any("tmp" in path.name for path in (workdir / "checkpoints").glob("*"))


def differences(folder: Path, end: int) -> list[str]:
    """In what the killed run differs from the undisturbed one; both should have `end` steps."""
    found = []
    (step, a), (other, b) = read(folder / "killed"), read(folder / "undisturbed")
    equal = jax.tree.map(lambda x, y: np.array_equal(x, y), a, b)
    if not (step == other == end and jax.tree.all(equal)):
        found.append(f"after step {step} the parameters are not those of step {other}")
    logs = [
        [(r["step"], r["loss"]) for r in records(folder / name)]
        for name in ("killed", "undisturbed")
    ]
    if logs[0] != logs[1] or [s for s, _ in logs[0]] != list(range(1, end + 1)):
        found.append("the records differ from those of the undisturbed run")
    return found


def kill_and_resume(attack: Attack, kills: int, seed: int) -> list[str]:
    """Kills and resumes the training of one method; prints a table, returns what went wrong."""
    moments, failures, saves_hit = random.Random(seed), [], 0
    attack.folder.mkdir()
    attack.finish("compiled_once", 1)
    print(f"{'kill':>4}{'from step':>11}{'step made':>11}{'saved':>7}{'lost':>6}  {attack.method}")
    for number in range(1, kills + 1):
        steps, in_save = moments.randint(1, 3 * attack.save_every), number % 2 == 0
        before, made, saved, hit = attack.kill(steps, in_save=in_save)
        lost, saves_hit = max(0, made - saved), saves_hit + hit
        doing = "while saving" if hit else ""
        print(f"{number:4}{before:11}{made:11}{saved:7}{lost:6}  {doing}", flush=True)
        if made <= before:
            failures.append(f"kill {number} hit before a step")
        if lost > attack.save_every:
            failures.append(f"kill {number} lost {lost} steps")
    end = saved + attack.save_every
    for name in ("killed", "undisturbed"):
        attack.finish(name, end)
    failures += differences(attack.folder, end)
    if not saves_hit:
        failures.append("no kill hit a save: give more --kills")
    print(
        f"{end} steps, {kills} kills after a step, {saves_hit} of them during a save; at most "
        f"{attack.save_every} steps may be lost by one; parameters and records "
        f"{'differ, or more is wrong' if failures else 'are those without kills'}",
        flush=True,
    )
    return [f"{attack.method}: {failure}" for failure in failures]


def main() -> None:
    """Runs the test."""
    logging.set_verbosity(logging.ERROR)  # orbax warns that a folder is read only
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", default=COARSR, help=f"a,b,... of {', '.join(NETWORKS)}")
    parser.add_argument("--kills", type=int, default=20, help="of each method, 2 or more")
    parser.add_argument("--save_every", type=int, default=25, help="steps between saves")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    methods = arguments.methods.split(",")
    if unknown := set(methods) - set(NETWORKS):
        parser.error(f"unknown {sorted(unknown)[0]!r}: expected some of {', '.join(NETWORKS)}")
    if arguments.kills < 2 or arguments.save_every < 1:
        parser.error("--kills must be 2 or more, and --save_every 1 or more")
    failures = []
    with tempfile.TemporaryDirectory() as temporary:
        make_up_scenes(Path(temporary) / "scenes")
        for method in methods:
            one = Attack(Path(temporary) / method, method, arguments.save_every)
            failures += kill_and_resume(one, arguments.kills, arguments.seed)
    for failure in failures:
        print(failure)
    print("FAIL" if failures else "PASS: the same parameters and records as without kills")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
