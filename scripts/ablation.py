"""Trains variants of a recipe on CAVE for a small budget, and scores each on held-out scenes.

    python scripts/ablation.py --data FOLDER --output runs/ablation [--only base,released]

Training and held-out scenes are those of `cave_held_out.txt`, which are all training scenes of the
publication: no test scene is used. The scores are printed as a table: CoarSR, DualSR, and the PSNR
of the guide V against the reference at half the scale, where a network made the guide. Finished
runs are not repeated, so that two processes can share the work, each with its own `--only`.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from dualsr_jax import DualSR, imresize, recipe, restore_dualsr
from dualsr_jax.data.parts import open_parts
from dualsr_jax.data.test_images import reference_and_lr
from dualsr_jax.metrics import psnr_db
from dualsr_jax.ops.degrade import Degradation

SCALE = 4
EPOCH = 19 * 3 * 24 * 5 / 4  # batches of 4: scenes, sizes, patches, variants
BASE = {
    "data.split": "scripts/cave_held_out.txt",
    "model.features": "16",
    "train.batch_size": "4",
    "train.lr_patch": "16",
    "train.learning_rate": "5e-4",
    "train.schedule": "cosine",
    "train.ema_decay": "0.999",
    "train.epochs": str(200 / EPOCH),  # 200 batches of 4
    "train.save_every_epochs": "1",
    "evaluate.crop": "256",
}
IMAGE = {"train.update_every": "image", "model.band_chunk": "1", "train.ema_decay": "0.99"}
JOINT = {"model.joint": "True", "train.learning_rate": "1e-3"}
METHODS = ("CoarSR", "DualSR")
# What each variant changes; all see the same number of samples, except where a comment or a
# number of batches says otherwise.
VARIANTS: dict[str, dict[str, str]] = {
    "base": {},
    "rate_1e-3": {"train.learning_rate": "1e-3"},
    "released": {"model.neighbours": "released"},
    "norm_batch": {"model.norm": "batch"},
    "no_average": {"train.ema_decay": "none"},
    "halving": {
        "train.ema_decay": "none",
        "train.schedule": "halve",
        "train.halve_every_epochs": str(50 / EPOCH),
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
    "wide": {"model.features": "32", "train.epochs": str(85 / EPOCH)},  # takes the same time
    "patch_32": {"train.lr_patch": "32", "train.batch_size": "1"},
    "patch_8": {"train.lr_patch": "8", "train.batch_size": "16"},
    # The guide of the fine stage: a second network of half the scale, or a second tail.
    "two_networks": {"train.learning_rate": "1e-3"},
    "joint": JOINT,
    "joint_half_0.5": JOINT | {"train.half_weight": "0.5"},
    "joint_half_2": JOINT | {"train.half_weight": "2.0"},
    "joint_windows_8": JOINT | {"train.window_bands": "8", "train.epochs": str(775 / EPOCH)},
    "joint_psnr": JOINT | {"train.loss": "psnr"},
    "joint_400": JOINT | {"train.epochs": str(400 / EPOCH)},
    # These take about the time of "joint".
    "joint_batch_2": JOINT | {"train.batch_size": "2"},
    "joint_patch_32": JOINT
    | {"train.lr_patch": "32", "train.batch_size": "1", "train.epochs": str(50 / EPOCH)},
    "joint_features_24": JOINT | {"model.features": "24", "train.epochs": str(131 / EPOCH)},
    "joint_features_32": JOINT | {"model.features": "32", "train.epochs": str(95 / EPOCH)},
}
WITH_HALF = ("two_networks",)  # a network of half the scale is trained too


def flags_of(name: str, scale: int, options: argparse.Namespace) -> list[str]:
    """The flags of the commands for a variant."""
    settings = {"data.path": options.data, "seed": str(options.seed)} | BASE | VARIANTS[name]
    flags = [f"--config.{k}={v}" for k, v in settings.items() if v != "none"]
    return ["--config", f"configs/cave.py:{scale}", *flags]


def run(command: str, *flags: str) -> None:
    """Runs one of the package's commands."""
    subprocess.run([sys.executable, "-m", f"dualsr_jax.{command}", *flags], check=True)


def score(name: str, options: argparse.Namespace) -> list[str]:
    """Returns the cells of a variant's row, after training it if needed."""
    workdir = options.output / f"{name}_{options.seed}"
    half = [str(workdir / "half")] if name in WITH_HALF else []
    results = workdir / "evaluation" / "results.json"
    if not results.exists():
        flags = flags_of(name, SCALE, options)
        run("train", "--workdir", str(workdir), *flags)
        for folder in half:
            run("train", "--workdir", folder, *flags_of(name, SCALE // 2, options))
        weights = ["--weights", str(workdir), *(f"--half_weights={folder}" for folder in half)]
        run("evaluate", *weights, *flags)
    means: dict[str, dict[str, float]] = json.loads(results.read_text())["mean"]
    cells = [" / ".join(f"{v:.4f}" for v in means[method].values()) for method in METHODS]
    guide = workdir / "guide.json"
    if not guide.exists():
        psnr = guide_psnr_db(restore_dualsr(workdir, *half), options.data)
        guide.write_text(json.dumps(psnr) + "\n")
    psnr = json.loads(guide.read_text())
    return [*cells, "" if psnr is None else f"{psnr:.3f}"]


def guide_psnr_db(dualsr: DualSR, data: str) -> float | None:
    """Mean PSNR of the guide on the held-out scenes, or None if the LR cube is the guide."""
    if dualsr.coarse_stage.ratio != 2:
        return None
    config = recipe.defaults()
    config.data.path, config.data.split = data, BASE["data.split"]
    config.evaluate.crop = int(BASE["evaluate.crop"])
    scores = []
    for scene in open_parts(config)["test"]:
        hr, lr = reference_and_lr(
            scene.cube, SCALE, degradation=Degradation(), name=scene.name, seed=0
        )
        _, guide = dualsr.coarse_stage.coarse_and_guide(lr)
        scores.append(float(psnr_db(np.clip(guide, 0, 1), np.asarray(imresize(hr, 0.5)))))
    return float(np.mean(scores))


def main() -> None:
    """Runs the chosen variants and prints their table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="data/CAVE", help="folder of CAVE")
    parser.add_argument("--output", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--only", default=",".join(VARIANTS), help="names, separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    lines = []
    for name in options.only.split(","):
        lines.append(f"| {name} | {' | '.join(score(name, options))} |")
        print(lines[-1], flush=True)
    print("\n".join(["| variant | CoarSR | DualSR | V |", "| --- | --- | --- | --- |", *lines]))


if __name__ == "__main__":
    main()
