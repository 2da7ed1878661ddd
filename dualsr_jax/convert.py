r"""Writes trained weights as one safetensors file.

    python -m dualsr_jax.convert --weights runs/cave_x4 --half_weights runs/cave_x2 \
        --output cave_x4.safetensors

takes folders of training, files of this command, and `.pth` files of the published code (which are
never unpickled; PyTorch must be installed to read them). What it writes is read by
`DualSR.from_pretrained`, and by `--weights` of the other commands.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from dualsr_jax.commands import run
from dualsr_jax.dualsr import STORAGES, DualSR
from dualsr_jax.models.coarsr.nbp import MODES
from dualsr_jax.training.restore import restore_dualsr
from dualsr_jax.weights.safetensors_file import SUFFIX, read_weights
from dualsr_jax.weights.torch_params import load_pth

PTH_SUFFIXES = (".pth", ".pt")


def load(weights: str, *, which: str = "latest", neighbours: str = "released") -> DualSR:
    """A trained network from a folder, file or name, or from a `.pth` file.

    Args:
        weights: see `restore_dualsr`.
        which: "latest" or "best" checkpoint, of folders.
        neighbours: the band partition that a `.pth` file was trained with.

    Raises:
        FileNotFoundError: if there is no such thing.
        ValueError: if it is damaged or of something else, or a `.pth` file without PyTorch.
    """
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
) -> DualSR:
    """Writes one file of both networks.

    Args:
        weights: of the network, see `load`.
        half_weights: of the network of half the scale, or None.
        output: the file to write, `*.safetensors`.
        which: see `load`.
        neighbours: likewise.
        storage: "float32" or "bfloat16".
        about: what to say of them, each "name=text".
        overwrite: whether a file that is there is replaced.

    Returns:
        The networks as they are read from the file.

    Raises:
        ValueError: as `load`; if the file exists and is not to be replaced, or `about` is not of
            this form.
        FileNotFoundError: as `load`, or if there is no folder to write to.
    """
    if output.exists() and not overwrite:
        raise ValueError(f"{str(output)!r} exists: choose another --output, or add --overwrite")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(output.parent)!r} for --output: make it")
    wrong = [text for text in about if "=" not in text]
    if wrong:
        raise ValueError(f"--about={wrong[0]}: expected name=text")
    dualsr = load(weights, which=which, neighbours=neighbours)
    if half_weights is not None:
        dualsr = dualsr.guided_by(load(half_weights, which=which, neighbours=neighbours))
    told = dict(text.split("=", 1) for text in about)
    dualsr.save_pretrained(output, told, storage=storage)
    return DualSR.from_pretrained(output)


def define_flags() -> None:
    """Defines the command's flags; not at import, for other commands have some of the same name."""
    flags.DEFINE_string(
        "weights", None, "Folder of training, *.safetensors or .pth file, or name.", required=True
    )
    flags.DEFINE_string("half_weights", None, "The same of the network of half the scale.")
    flags.DEFINE_string("output", None, f"File to write, *{SUFFIX}.", required=True)
    flags.DEFINE_enum("storage", "float32", STORAGES, "Type of the weights in the file.")
    flags.DEFINE_enum("checkpoint", "latest", ["latest", "best"], "Which checkpoint, of folders.")
    flags.DEFINE_enum(
        "neighbours", "released", MODES, "Band partition that .pth files were trained with."
    )
    flags.DEFINE_multi_string("about", [], "name=text to keep with them, such as licence=...")
    flags.DEFINE_bool("overwrite", False, "Replace the output if it exists.")


def main() -> None:
    """Converts the weights that the flags name."""
    given = flags.FLAGS
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
    print(f"x{dualsr.scale}{half}, {path.stat().st_size / 1e6:.1f} MB: {path}")
    print(f"SHA-256 of the weights: {read_weights(path)[1]['sha256']}")


if __name__ == "__main__":
    define_flags()
    run(main)
