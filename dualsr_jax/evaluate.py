r"""Scores bicubic, a trained network and DualSR on the test scenes of a config.

    python -m dualsr_jax.evaluate --config configs/cave.py:4 --weights runs/cave_x4 \
        --half_weights runs/cave_x2
    python -m dualsr_jax.evaluate --config configs/cave_plus.py:4-small --weights cave_x4_small

Prints a table and writes `results.json`, `results.csv`, figures and cubes to `evaluation` in the
folder of the weights, or to `runs/<name>/evaluation` for a file or shipped name.
`python -m dualsr_jax.report` makes interactive pages of them. The network comes from the weights;
the config decides images, degradation and protocol (`protocols.py`).

    python -m dualsr_jax.evaluate --config configs/cave.py:8 --check

needs no trained network: it scores bicubic alone and compares it with the published scores.
"""

import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from dualsr_jax.commands import run
from dualsr_jax.evaluation.run import evaluate
from dualsr_jax.evaluation.self_check import check_protocol

_CONFIG = config_flags.DEFINE_config_file("config", help_string="Config file, file.py:argument.")
_WEIGHTS = flags.DEFINE_string(
    "weights", None, "Trained network: folder of training, *.safetensors file, or shipped name."
)
_HALF = flags.DEFINE_string(
    "half_weights", None, "Trained network of half the scale, for the fine stage at x4 and x8."
)
_CHECK = flags.DEFINE_bool("check", False, "Only compare bicubic with its published scores.")
_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder of the results; default: `evaluation` in the folder of the weights."
)
_CHECKPOINT = flags.DEFINE_enum(
    "checkpoint",
    "latest",
    ["latest", "best"],
    "Which checkpoint of a folder; the best needs scenes held out in training, data.validation.",
)
_SAVE_CUBES = flags.DEFINE_bool(
    "save_cubes", True, "Write the cubes as <scene>.npz, which the report needs."
)
_FIGURES = flags.DEFINE_enum("figures", "png", ["png", "pdf", "svg"], "Format of the figures.")

for _former, _flag in (("workdir", "weights"), ("half_scale_workdir", "half_weights")):
    flags.DEFINE_string(_former, None, f"Former name of --{_flag}.")
    flags.register_validator(_former, lambda value: value is None, f"write --{_flag} instead")


def main() -> None:
    """Evaluates a trained network, or checks the protocol."""
    if _CHECK.value:
        verdict = check_protocol(_CONFIG.value)
        print(verdict.text)
        sys.exit(not verdict.agrees)
    if not _WEIGHTS.value:
        raise ValueError(
            "--weights is needed: folder of training, *.safetensors file, or shipped name; or "
            "--check, which needs no network"
        )
    evaluate(
        _CONFIG.value,
        _WEIGHTS.value,
        _HALF.value,
        output=Path(_OUTPUT.value).expanduser() if _OUTPUT.value else None,
        which=_CHECKPOINT.value,
        save_cubes=_SAVE_CUBES.value,
        figures=_FIGURES.value,
    )


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    run(main)
