"""Trains variants of a recipe on CAVE for a small budget, and scores each on held-out scenes.

    python scripts/ablation.py --data FOLDER --output runs/ablation [--only base,released ...]

Training and held-out scenes are those of `cave_held_out.txt`, which are all training scenes of the
publication: no test scene is used. The scores are printed as a table. Finished runs are not
repeated, so that two processes can share the work, each with its own `--only`.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

SCALE = 4
BASE = {
    "data.split": "scripts/cave_held_out.txt",
    "model.features": "16",
    "train.batch_size": "4",
    "train.lr_patch": "16",
    "train.learning_rate": "5e-4",
    "train.schedule": "cosine",
    "train.ema_decay": "0.999",
    "train.epochs": str(200 / 1800),  # 200 batches of 4
    "train.save_every_epochs": "1",
    "evaluate.crop": "256",
}
IMAGE = {"train.update_every": "image", "model.band_chunk": "1", "train.ema_decay": "0.99"}
# What each variant changes; all see the same number of samples, except "wide".
VARIANTS: dict[str, dict[str, str]] = {
    "base": {},
    "rate_1e-3": {"train.learning_rate": "1e-3"},
    "released": {"model.neighbours": "released"},
    "norm_batch": {"model.norm": "batch"},
    "no_average": {"train.ema_decay": "none"},
    "halving": {
        "train.ema_decay": "none",
        "train.schedule": "halve",
        "train.halve_every_epochs": str(50 / 1800),
    },
    "image_4": IMAGE | {"train.learning_rate": "1e-3"},
    "image_1": IMAGE | {"train.learning_rate": "1e-3", "train.batch_size": "1"},
    "through_time_1": IMAGE
    | {
        "train.learning_rate": "1e-3",
        "train.batch_size": "1",
        "model.band_chunk": "none",
        "train.through_time": "True",
    },
    "wide": {"model.features": "32", "train.epochs": str(85 / 1800)},  # takes the same time
    "patch_32": {"train.lr_patch": "32", "train.batch_size": "1"},
    "patch_8": {"train.lr_patch": "8", "train.batch_size": "16"},
}


def score(name: str, data: str, output: Path) -> dict[str, dict[str, float]]:
    """Returns the mean scores of a variant by method, after training it if needed."""
    workdir = output / name
    results = workdir / "evaluation" / "results.json"
    if not results.exists():
        settings = {"data.path": data} | BASE | VARIANTS[name]
        flags = ["--config", f"configs/cave.py:{SCALE}"]
        flags += [f"--config.{k}={v}" for k, v in settings.items() if v != "none"]
        for command in (
            ["dualsr_jax.train", "--workdir", str(workdir)],
            ["dualsr_jax.evaluate", "--weights", str(workdir), "--nosave_cubes"],
        ):
            subprocess.run([sys.executable, "-m", *command, *flags], check=True)
    means: dict[str, dict[str, float]] = json.loads(results.read_text())["mean"]
    return means


def main() -> None:
    """Runs the chosen variants and prints their table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="data/CAVE", help="folder of CAVE")
    parser.add_argument("--output", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--only", default=",".join(VARIANTS), help="names, separated by commas")
    options = parser.parse_args()
    lines = []
    for name in options.only.split(","):
        coarse = score(name, options.data, options.output)["CoarSR"]
        lines.append(f"| {name} | " + " / ".join(f"{v:.4f}" for v in coarse.values()) + " |")
        print(lines[-1], flush=True)
    print("\n".join(["| variant | CoarSR |", "| --- | --- |", *lines]))


if __name__ == "__main__":
    main()
