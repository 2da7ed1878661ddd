"""Writes an interactive HTML page for each scene of an evaluation.

    python -m dualsr_jax.report runs/cave_x4

reads `runs/cave_x4/evaluation`, which `evaluate` wrote, and writes `report/<scene>.html` there: one
file per scene that works without a server and without the network. The folder `evaluation` can also
be given. Needs the extra `report`.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from dualsr_jax.commands import run
from dualsr_jax.data.split import Selection
from dualsr_jax.pages.page import MAX_MB, WHOLE, Crop, PageOptions, write_pages


def _crop(text: str | None) -> Crop:
    if text is None:
        return WHOLE
    try:
        selection = Selection.parse(f"scene[{text}]")
    except ValueError:
        raise ValueError(
            f"--part={text}: expected slices of rows and columns, such as 0:256,128:384"
        ) from None
    return selection.rows, selection.columns


def _wavelengths(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        first, last = (float(number) for number in text.split(","))
    except ValueError:
        first = last = 0.0
    if not 0 < min(first, last) < max(first, last) < 1e6:
        raise ValueError(
            f"--wavelengths={text}: expected those of the first and last band in nm, such as "
            "400,700"
        )
    return first, last


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the command's flags. Other commands define the same names, so import does not."""
    texts = {
        "output": "Folder of the pages, or one *.html; default: `report` in `evaluation`.",
        "title": "Title of the pages; default: the name of the scene and the scale.",
        "part": "Rows and columns to show, such as 0:256,0:256; default: all.",
        "wavelengths": "Wavelengths of the first and last band in nm, such as 400,700; the others "
        "at equal distances.",
    }
    for name, text in texts.items():
        flags.DEFINE_string(name, None, text, flag_values=values)
    flags.DEFINE_list("scenes", None, "Scenes to show; default: all.", flag_values=values)
    flags.DEFINE_float("max_mb", MAX_MB, "Largest page, in 1e6 bytes.", 0.0, flag_values=values)


def main(arguments: Sequence[str], given: flags.FlagValues = flags.FLAGS) -> None:
    """Writes the pages that the flags ask for."""
    if len(arguments) != 1:
        raise ValueError("one folder is needed: python -m dualsr_jax.report runs/cave_x4")
    options = PageOptions(
        title=given.title,
        crop=_crop(given.part),
        wavelengths_nm=_wavelengths(given.wavelengths),
        max_mb=given.max_mb,
    )
    write_pages(
        Path(arguments[0]).expanduser(),
        scenes=given.scenes,
        output=Path(given.output).expanduser() if given.output else None,
        options=options,
    )


if __name__ == "__main__":
    define_flags()
    run(main, arguments=True)
