"""Compares all methods after short trainings of equal cost, on one core: a fair table.

    python scripts/fair_table.py --minutes 30 --data data/CAVE --output runs/fair --plan
    python scripts/fair_table.py --minutes 30 --data data/CAVE --output runs/fair

The networks are those of `configs/compared.py`, in small widths of about equal cost, as published
and, where this is another network, with the bicubic image added to the output. All are trained with
the same loss on the same patches in the same order: one sampler, one list of seeds. The budget of a
training is wall time on one core (`--minutes`; a trial measures the seconds per step) or compute
(`--tera_macs`). The learning rate of each network is the best of `--rates` on two scenes held out
of training; each try has a third of the budget, and a single rate is taken untried. Then each
network is trained once per seed on all training scenes, and `dualsr_jax.compare` makes the table.
This is short training: the order of the methods may be another one than after the published one.

`--output` then holds a folder per network, `fair.json` (budget, rates and steps), and `comparison`.
A second call resumes what was interrupted, and repeats nothing that is finished. Two processes can
share the work, each with its own `--methods`, `--core` and `--train_only`; a last call compares,
with `--table_only` just what is finished at these rates and seeds.
"""

import argparse
import dataclasses
import importlib.util
import json
import os
import platform
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONFIG = Path(__file__).parents[1] / "configs" / "compared.py"
METHODS = ("coarsr", "3dfcnn", "edsr", "sspsr", "mcnet", "sfcsr", "ercsr", "essaformer")
WITHOUT_SKIP = ("coarsr",)  # adds the bicubic image as published
HELD_OUT = ("beads", "paints")  # training scenes by which rates are chosen
TRY = 1 / 3  # of the budget, for each rate
WARMUP = 0.05  # of a training
TRIAL_STEPS, COUNTED_STEPS = 8, 5  # the first steps compile
TINY: dict[str, dict[str, int]] = {  # networks of a rehearsal; the others have 4 features
    "EDSR": {"features": 4, "num_blocks": 1},
    "SSPSR": {"features": 16, "num_blocks": 1},
    "ESSAformer": {"features": 8},
}


@dataclasses.dataclass(frozen=True)
class Variant:
    """A network of the table: a method, and whether it corrects the bicubic image."""

    method: str  # an argument of `configs/compared.py`
    skip: str  # "published" or "bicubic"

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.method if self.skip == "published" else f"{self.method}-bicubic"

    def label(self, config: Any) -> str:
        """The label of its row."""
        added = "" if self.skip == "published" else ", bicubic added"
        return f"{config.model.method}{added}"


def is_finished(variant: Variant, options: argparse.Namespace) -> bool:
    """Whether nothing of a network is left to train."""
    tried = [f"rate_{rate:g}" for rate in options.rates if len(options.rates) > 1]
    names = [*tried, *(f"seed_{seed}" for seed in options.seeds)]
    return all((options.output / variant.name / n / "finished.json").exists() for n in names)


def variants(options: argparse.Namespace) -> list[Variant]:
    """The networks that the options choose; for the table alone, those that are finished."""
    chosen = [
        Variant(method, skip)
        for method in options.methods
        for skip in options.skips
        if skip == "published" or method not in WITHOUT_SKIP
    ]
    return [v for v in chosen if not options.table_only or is_finished(v, options)]


def make_config(variant: Variant, options: argparse.Namespace) -> Any:
    """The config of a network, without length, rate and seed."""
    spec = importlib.util.spec_from_file_location(CONFIG.stem, CONFIG)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    skip = "" if variant.skip == "published" else "-bicubic"
    config = module.get_config(f"{variant.method}-{options.scale}-small{skip}")
    config.data.path, config.data.split = str(options.data), options.split
    if options.tiny:
        config.model.update(TINY.get(config.model.method, {"features": 4}))
        config.train.update(batch_size=2, lr_patch=4)
    return config


def steps_per_epoch(config: Any) -> int:
    """Batches per epoch, from the number of training scenes."""
    from dualsr_jax.data.parts import open_parts
    from dualsr_jax.ops.augment import NUM_VARIANTS

    scenes, settings = len(open_parts(config)["train"]), config.train
    patches = scenes * len(settings.resize_scales) * settings.patches_per_image * NUM_VARIANTS
    return patches // settings.batch_size


def tera_macs_per_step(config: Any) -> float:
    """10^12 multiply-adds of a step: three passes, of which two are the backward pass."""
    from dualsr_jax.data.parts import open_parts
    from dualsr_jax.models.multiply_adds import multiply_adds
    from dualsr_jax.models.network import fitted, make_model

    bands = next(iter(open_parts(config)["train"])).cube.shape[-1]
    model, side = fitted(make_model(dict(config.model)), bands), config.train.lr_patch
    side *= config.model.scale
    macs = multiply_adds(model, bands, height=side, width=side)
    return 3 * macs * config.train.batch_size / 1e12


def run_training(config: Any, workdir: Path, *, steps: int) -> list[dict[str, Any]]:
    """Trains for some steps, or resumes that; returns the records of the training."""
    from dualsr_jax.training.loop import train

    finished = workdir / "finished.json"
    if not finished.exists():
        epochs = steps / steps_per_epoch(config)
        config.train.update(epochs=epochs, warmup_epochs=WARMUP * epochs)
        # Held-out scenes are scored at every save: once is enough to choose a rate.
        config.train.save_every_epochs = epochs if config.data.validation else epochs / 4
        if train(config, workdir):
            raise SystemExit("stopped by a signal and saved: run the same command again to resume")
        write(finished, {"steps": steps})
    made = json.loads(finished.read_text())["steps"]
    if made != steps:
        raise SystemExit(f"error: {workdir} has {made} steps, not {steps}: choose another --output")
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def write(path: Path, content: Any) -> None:
    """Writes JSON, whole or not at all."""
    from dualsr_jax.disk import replacing

    with replacing(path) as new:
        new.write_text(json.dumps(content, indent=2) + "\n")


def seconds_per_step(config: Any, folder: Path) -> float:
    """Trains a few steps in a folder of their own, and measures the last of them."""
    config.train.log_every_steps = 1
    shutil.rmtree(folder, ignore_errors=True)
    records = run_training(config, folder, steps=TRIAL_STEPS)
    rates = [record["samples_per_s"] for record in records[-COUNTED_STEPS:]]
    shutil.rmtree(folder)
    return float(config.train.batch_size / statistics.median(rates))


def plan_steps(variant: Variant, options: argparse.Namespace) -> dict[str, Any]:
    """The steps of a training, from its budget."""
    config = make_config(variant, options)
    tera, seconds = tera_macs_per_step(config), None
    if options.tera_macs is not None:
        steps = options.tera_macs / tera
    else:
        seconds = seconds_per_step(config, options.output / variant.name / "trial")
        steps = 60 * options.minutes / seconds
    return {
        "budget": options.budget,
        "steps": max(1, round(steps)),
        "tera_macs_per_step": tera,
        "trial_seconds_per_step": seconds,
    }


def choose_rate(variant: Variant, options: argparse.Namespace, steps: int) -> dict[str, float]:
    """The PSNR of the held-out scenes by learning rate; nothing is tried if there is one rate."""
    found: dict[str, float] = {}
    for rate in options.rates if len(options.rates) > 1 else ():
        config = make_config(variant, options)
        config.seed, config.train.learning_rate = options.seeds[0], rate
        config.data.validation = options.held_out
        workdir = options.output / variant.name / f"rate_{rate:g}"
        records = run_training(config, workdir, steps=max(1, round(TRY * steps)))
        found[f"{rate:g}"] = records[-1]["validation_psnr_db"]
    return found


def train_variant(variant: Variant, options: argparse.Namespace) -> dict[str, Any]:
    """Plans, chooses the rate, and trains once per seed; returns what `fair.json` says of it."""
    folder = options.output / variant.name
    plan = folder / "plan.json"
    if not plan.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write(plan, plan_steps(variant, options))
    planned = json.loads(plan.read_text())
    if planned["budget"] != options.budget:
        raise SystemExit(
            f"error: {folder} was begun with {planned['budget']}: choose another --output"
        )
    steps = planned["steps"]
    psnr = choose_rate(variant, options, steps)
    rate = max(psnr, key=lambda name: psnr[name], default=options.rates[0])
    seconds = []
    for seed in options.seeds:
        config = make_config(variant, options)
        config.seed, config.train.learning_rate = seed, float(rate)
        records = run_training(config, folder / f"seed_{seed}", steps=steps)
        before = [0, *(record["step"] for record in records)]
        spent = [(r["step"] - b) / r["samples_per_s"] for b, r in zip(before, records)]  # noqa: B905
        seconds.append(config.train.batch_size * sum(spent))
    return {
        **planned,
        "validation_psnr_db": psnr,
        "learning_rate": float(rate),
        "patches": steps * config.train.batch_size,
        "tera_macs": steps * planned["tera_macs_per_step"],
        "training_seconds": seconds,
        "label": variant.label(config),
    }


def describe(options: argparse.Namespace) -> str:
    """What the script would do, in words."""
    tries = len(options.rates) if len(options.rates) > 1 else 0
    chosen, per = variants(options), tries * TRY + len(options.seeds)
    lines = []
    for variant in chosen:
        config = make_config(variant, options)
        tera = tera_macs_per_step(config)
        size = f"{tera:.4f} x 10^12 multiply-adds per step"
        if options.tera_macs is not None:
            size += f", {max(1, round(options.tera_macs / tera)):,} steps per training"
        lines.append(f"{variant.label(config)}: {size}")
    rates = ", ".join(f"{rate:g}" for rate in options.rates)
    how = f" on {' and '.join(options.held_out)}, a third of the budget each" if tries else ""
    seeds = ", ".join(map(str, options.seeds))
    lines.append(f"each: rates {rates}{how}; then seeds {seeds} on all training scenes")
    if options.minutes is not None:
        hours = options.minutes * per * len(chosen) / 60
        lines.append(
            f"{len(chosen)} networks x {per:.2f} budgets of {options.minutes:g} minutes: "
            f"{hours:.1f} hours of one core, and reading and scoring"
        )
    return "\n".join(lines)


def compare_all(options: argparse.Namespace) -> None:
    """Makes the table of all trainings."""
    from dualsr_jax.comparison.run import compare

    entries = []
    for variant in variants(options):
        config = make_config(variant, options)
        folders = [options.output / variant.name / f"seed_{seed}" for seed in options.seeds]
        entries += [f"{variant.label(config)}={folder}" for folder in folders]
    compare(config, entries, options.half_weights, output=options.output / "comparison")


def parse() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--minutes", type=float, help="wall time of a training")
    budget.add_argument("--tera_macs", type=float, help="10^12 multiply-adds of a training")

    def listed(kind: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
        return lambda text: tuple(kind(part) for part in text.split(","))

    parser.add_argument("--data", type=Path, default=Path("data/CAVE"), help="folder of CAVE")
    parser.add_argument("--split", default="dualsr", help="split of the data (default dualsr)")
    parser.add_argument("--output", type=Path, default=Path("runs/fair"))
    parser.add_argument("--scale", type=int, default=4, choices=(2, 4, 8))
    parser.add_argument("--methods", type=listed(str), default=METHODS, help="a,b,...")
    parser.add_argument("--skips", type=listed(str), default=("published", "bicubic"))
    parser.add_argument("--seeds", type=listed(int), default=(0, 1, 2))
    parser.add_argument("--rates", type=listed(float), default=(2e-4, 5e-4, 1e-3, 2e-3))
    parser.add_argument("--held_out", type=listed(str), default=HELD_OUT)
    parser.add_argument("--half_weights", action="append", default=[], help="guide, as in compare")
    parser.add_argument("--core", type=int, help="processor core (default: the first one)")
    parser.add_argument("--all_cores", action="store_true", help="use all cores, or a GPU")
    parser.add_argument("--plan", action="store_true", help="only say what would be done")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--train_only", action="store_true", help="leave the table to a last call")
    only.add_argument("--table_only", action="store_true", help="compare what is finished")
    parser.add_argument("--tiny", action="store_true", help="rehearse with tiny networks")
    options = parser.parse_args()
    for given, known in ((options.methods, METHODS), (options.skips, ("published", "bicubic"))):
        if unknown := set(given) - set(known):
            parser.error(f"unknown {sorted(unknown)[0]!r}: expected some of {', '.join(known)}")
    options.budget = {"minutes": options.minutes, "tera_macs": options.tera_macs}
    if not any((size or 0) > 0 for size in options.budget.values()):
        parser.error("the budget must be more than 0")
    return options


def main() -> None:
    """Trains what is missing, and compares."""
    options = parse()
    if not options.all_cores and hasattr(os, "sched_setaffinity"):  # before JAX counts the cores
        core = min(os.sched_getaffinity(0)) if options.core is None else options.core
        os.sched_setaffinity(0, {core})
    if options.plan:
        print(describe(options))
        return
    options.output.mkdir(parents=True, exist_ok=True)
    found = {variant.name: train_variant(variant, options) for variant in variants(options)}
    if not found:
        raise SystemExit(f"error: in {options.output} no network is finished at these rates, seeds")
    if options.train_only:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    hardware = {"machine": platform.machine(), "processor": platform.processor(), "cores": cores}
    content = {"budget": options.budget, "hardware": hardware, "networks": found}
    write(options.output / "fair.json", content)
    compare_all(options)


if __name__ == "__main__":
    main()
