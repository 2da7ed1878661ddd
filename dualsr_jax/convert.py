r"""Writes trained weights as one safetensors file.

    dualsr convert --weights runs/cave_x4 --half_weights runs/cave_x2 \
        --output cave_x4.safetensors

The weights may be folders of training, files of this command, names of shipped weights, and `.pth`
files of the published code (nothing in them is executed; reading them needs PyTorch). The file is
read by `DualSR.from_pretrained`, and by `--weights` of the other commands.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from dualsr_jax.choices import NEIGHBOURS, STORAGES
from dualsr_jax.commands import Command, check_output, start, weights_and_output
from dualsr_jax.flag_table import Flag, Groups, choice
from dualsr_jax.messages import say

if TYPE_CHECKING:
    from dualsr_jax.dualsr import DualSR

PTH_SUFFIXES = (".pth", ".pt")


def load(weights: str, *, which: str = "latest", neighbours: str = "released") -> "DualSR":
    """Reads a trained network as `restore_dualsr` does, or a `.pth` file as `load_pth` does.

    Raises what these two raise.
    """
    from dualsr_jax.dualsr import DualSR
    from dualsr_jax.training.restore import restore_dualsr
    from dualsr_jax.weights.torch_params import load_pth

    if Path(weights).suffix not in PTH_SUFFIXES:
        return restore_dualsr(weights, which=which)
    return DualSR(load_pth(Path(weights).expanduser(), neighbours))


def convert(
    weights: str,
    half_weights: str | None,
    output: Path,
    *,
    which: str = "latest",
    neighbours: str = "released",
    storage: str = "float32",
    about: Sequence[str] = (),
    overwrite: bool = False,
) -> "DualSR":
    """Writes one file of both networks, and returns them as they are read from it.

    `which` and `neighbours` are those of `load`; `about` holds texts "name=text" to store. Raises
    what `load`, `check_output` and `save_pretrained` raise, and ValueError for other texts.
    """
    from dualsr_jax.comparison.provenance import training_text
    from dualsr_jax.dualsr import DualSR

    check_output(output, overwrite=overwrite)
    wrong = [text for text in about if "=" not in text]
    if wrong:
        raise ValueError(f"--about={wrong[0]}: expected name=text")
    dualsr = load(weights, which=which, neighbours=neighbours)
    if half_weights is not None:
        dualsr = dualsr.guided_by(load(half_weights, which=which, neighbours=neighbours))
    described = training_text(weights) | dict(text.split("=", 1) for text in about)
    dualsr.save_pretrained(output, described, storage=storage)
    return DualSR.from_pretrained(output)


FLAGS: Groups = {
    "Networks and file": weights_and_output(
        "folder of training, *.safetensors or .pth file, or shipped name", ".safetensors"
    ),
    "Content": {
        "storage": choice("Data type of the weights in the file.", STORAGES, "float32"),
        "neighbours": choice(
            "Band partition that .pth files were trained with.", NEIGHBOURS, "released"
        ),
        "about": Flag(
            help="NAME=TEXT to store with the weights, such as licence=...; repeatable.",
            kind="texts",
            default=[],
        ),
    },
}


def main(given: flags.FlagValues, _: list[str]) -> None:
    """Converts the weights that the flags name."""
    path = Path(given.output).expanduser()
    dualsr = convert(
        given.weights,
        given.half_weights,
        path,
        which=given.checkpoint,
        neighbours=given.neighbours,
        storage=given.storage,
        about=given.about,
        overwrite=given.overwrite,
    )
    half = "" if dualsr.half is None else f" with x{dualsr.half.scale}"
    say(
        f"x{dualsr.scale}{half}, {path.stat().st_size / 1e6:.1f} MB: {path}",
        f"SHA-256 of the weights: {dualsr.sha256}",
    )


COMMAND = Command(
    name="convert",
    about="Writes trained weights as one file, which all commands and DualSR.from_pretrained read.",
    example="--weights runs/cave_x4 --half_weights runs/cave_x2 --output cave_x4.safetensors",
    flags=FLAGS,
    main=main,
)

if __name__ == "__main__":
    start(COMMAND)
