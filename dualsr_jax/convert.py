r"""Writes trained weights as one safetensors file, or in the form of the published code.

    dualsr convert --weights runs/cave_x4 --half_weights runs/cave_x2 \
        --output cave_x4.safetensors
    dualsr convert --weights mcnet_x4.pth --band_mean released --output mcnet_x4.safetensors
    dualsr convert --weights runs/mcnet_x4 --output mcnet_x4.pth

The weights may be folders of training, files of this command, names of shipped weights, and files
of the published code of every method: `.pth` (reading and writing them needs PyTorch; nothing in
them is executed), for 3D-FCNN `.h5`. A `*.safetensors` file is read by `DualSR.from_pretrained`,
and by `--weights` of the other commands.
"""

from pathlib import Path

from absl import flags

from dualsr_jax.choices import NEIGHBOURS, STORAGES
from dualsr_jax.commands import Command, start, weights_and_output
from dualsr_jax.flag_table import Flag, Groups, choice, integer, number, text
from dualsr_jax.messages import say

# Flags that describe files of the published code, which do not hold all settings.
_UNTOLD = ("neighbours", "band_mean", "res_scale", "overlap", "scale")

_BAND_MEAN = "MCNet, ERCSR: released (CAVE), released_harvard, or a text file of numbers."
FLAGS: Groups = {
    "Networks and file": weights_and_output(
        "folder of training, *.safetensors, .pth or .h5 file, or shipped name", ".safetensors"
    ),
    "Content": {
        "storage": choice("Data type of the weights in the file.", STORAGES, "float32"),
        "about": Flag(
            help="NAME=TEXT to store with the weights, such as licence=...; repeatable.",
            kind="texts",
            default=[],
        ),
        "max_gain": number(
            "Limit of the fine stage's gain, above 0 and at most 1 (that of --weights, or 1)."
        ),
    },
    "What files of the published code do not say": {
        "neighbours": Flag(
            help="CoarSR: the bands that a band saw in training (released).", choices=NEIGHBOURS
        ),
        "band_mean": text(_BAND_MEAN),
        "res_scale": number("EDSR, SSPSR: factor on the corrections of the blocks."),
        "overlap": integer("SSPSR: bands that neighbouring groups share.", least=0),
        "scale": integer("3D-FCNN: scale factor (2).", least=2),
    },
}


def main(given: flags.FlagValues, _: list[str]) -> None:
    """Converts the weights that the flags name."""
    from dualsr_jax.exchange import convert

    path = Path(given.output).expanduser()
    dualsr = convert(
        given.weights,
        given.half_weights,
        path,
        which=given.checkpoint,
        storage=given.storage,
        about=given.about,
        max_gain=given.max_gain,
        overwrite=given.overwrite,
        settings={name: given[name].value for name in _UNTOLD if given[name].value is not None},
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
