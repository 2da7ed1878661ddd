"""Trains the best network that one device can train in a given time, and scores it.

    python scripts/headline.py --minutes 25 --data data/CAVE --output runs/headline

The network is joint (it makes the coarse result and the guide of the fine stage), of full width,
and its convolutions are made in bfloat16; the recipe is that of `configs/cave_plus.py`. A trial of
a few steps measures how long a step takes; the number of epochs follows from it. When the training
ends, the test scenes are evaluated once. `--output` then holds `workdir` (checkpoints, which a
second call resumes), `evaluation`, `x4.safetensors` with the weights, and `row.md`, a row for the
tables of docs/results.md.
"""

import argparse
import importlib.util
import json
import shutil
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from dualsr_jax.data.parts import open_parts
from dualsr_jax.disk import replacing
from dualsr_jax.evaluation.run import evaluate
from dualsr_jax.ops.augment import NUM_VARIANTS
from dualsr_jax.training.loop import train
from dualsr_jax.training.restore import restore_dualsr

CONFIG = Path(__file__).parents[1] / "configs" / "cave_plus.py"
TRIAL_STEPS = 12  # the first ones compile and fill the input pipeline
COUNTED_STEPS = 6  # the last ones of the trial
SPARE = 0.95  # of the time is planned for; the rest is for checkpoints


def make_config(options: argparse.Namespace) -> ConfigDict:
    """The recipe, at the size that the options ask for."""
    spec = importlib.util.spec_from_file_location(CONFIG.stem, CONFIG)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config: ConfigDict = module.get_config(str(options.scale))
    config.data.path, config.data.split = str(options.data), options.split
    config.model.update(features=options.features, precision=options.precision)
    config.model.joint = options.scale in (4, 8)
    config.train.update(batch_size=options.batch_size, lr_patch=options.lr_patch)
    config.seed = options.seed
    return config


def steps_per_epoch(config: ConfigDict) -> int:
    """Batches per epoch, from the number of training scenes."""
    scenes, settings = len(open_parts(config)["train"]), config.train
    patches = scenes * len(settings.resize_scales) * settings.patches_per_image * NUM_VARIANTS
    return patches // settings.batch_size


def seconds_per_step(config: ConfigDict, folder: Path) -> float:
    """Trains a few steps in a folder of their own, and measures the last of them."""
    trial = config.copy_and_resolve_references()
    trial.train.epochs = TRIAL_STEPS / steps_per_epoch(config)
    trial.train.warmup_epochs = 0.0
    trial.train.log_every_steps = 1
    shutil.rmtree(folder, ignore_errors=True)
    train(trial, folder)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    rates = [json.loads(line)["samples_per_s"] for line in lines[-COUNTED_STEPS:]]
    shutil.rmtree(folder)
    return float(config.train.batch_size / np.median(rates))


def plan_epochs(config: ConfigDict, options: argparse.Namespace) -> float:
    """The number of epochs that fills the time, kept in a file so that a second call resumes."""
    planned = options.output / "plan.json"
    if planned.exists():
        return float(json.loads(planned.read_text())["epochs"])
    step_s = seconds_per_step(config, options.output / "trial")
    steps = max(1, int(SPARE * 60 * options.minutes / step_s))
    epochs = steps / steps_per_epoch(config)
    print(f"a step takes {step_s:.3f} s: {steps:,} steps, {epochs:.3g} epochs", flush=True)
    with replacing(planned) as path:
        path.write_text(json.dumps({"epochs": epochs, "steps": steps, "step_s": step_s}) + "\n")
    return epochs


def row(results: dict[str, Any], options: argparse.Namespace, minutes: float) -> str:
    """A row of the tables in docs/results.md."""
    device = jax.devices()[0].device_kind
    steps = json.loads((options.output / "plan.json").read_text())["steps"]
    cells = [
        f"x{options.scale}, joint, {options.features} features, {steps:,} batches of "
        f"{options.batch_size}, {minutes:.1f} minutes on {device}"
    ]
    cells += [
        " / ".join(f"{v:.4f}" for v in scores.values()) for scores in results["mean"].values()
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Trains, evaluates, and writes weights and figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=25.0, help="training time (default 25)")
    parser.add_argument("--data", type=Path, default=Path("data/CAVE"), help="folder of CAVE")
    parser.add_argument("--split", default="dualsr", help="split of the data (default dualsr)")
    parser.add_argument("--output", type=Path, default=Path("runs/headline"))
    parser.add_argument("--scale", type=int, default=4, choices=(2, 4, 8))
    parser.add_argument("--features", type=int, default=64, help="channels (default 64)")
    parser.add_argument("--batch_size", type=int, default=64, help="samples (default 64)")
    parser.add_argument("--lr_patch", type=int, default=32, help="LR pixels per side (default 32)")
    parser.add_argument("--precision", default="bfloat16", choices=("float32", "bfloat16"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    config, workdir = make_config(options), options.output / "workdir"
    config.train.epochs = plan_epochs(config, options)
    config.train.warmup_epochs = min(config.train.warmup_epochs, config.train.epochs / 20)
    config.train.save_every_epochs = max(config.train.epochs / 10, 1e-6)
    started = time.perf_counter()
    if train(config, workdir):
        raise SystemExit("stopped by a signal and saved: run the same command again to resume")
    minutes = (time.perf_counter() - started) / 60
    results = evaluate(config, workdir, output=options.output / "evaluation")
    weights = options.output / f"x{options.scale}.safetensors"
    restore_dualsr(workdir).save_pretrained(weights, {"data": "CAVE", "seed": str(options.seed)})
    text = row(results, options, minutes)
    with replacing(options.output / "row.md") as path:
        path.write_text(text + "\n")
    print(f"{text}\n{weights}: {weights.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
