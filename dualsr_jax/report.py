"""Writes an interactive HTML page for each scene of an evaluation.

    dualsr report runs/cave_x4

reads `runs/cave_x4/evaluation`, which `evaluate` wrote, and writes `report/<scene>.html` there: one
file per scene that works without a server and without the network. The folder `evaluation` can also
be given. Needs the extra `report`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from dualsr_jax import flag_table
from dualsr_jax.choices import MAX_MB
from dualsr_jax.commands import Command, start
from dualsr_jax.flag_table import Groups, number, several

if TYPE_CHECKING:
    from dualsr_jax.pages.page import Crop

FLAGS: Groups = {
    "Pages": {
        "output": flag_table.text(
            "Folder of the pages, or one *.html. Default: `report` in `evaluation`."
        ),
        "scenes": several("Scenes to show, separated by commas. Default: all."),
        "part": flag_table.text("Rows and columns to show, such as 0:256,0:256. Default: all."),
        "title": flag_table.text("Title of the pages. Default: scene and scale."),
        "wavelengths": flag_table.text(
            "Wavelengths of the first and last band in nm, such as 400,700; the others at equal "
            "distances."
        ),
        "max_mb": number("Largest page, in 1e6 bytes.", MAX_MB, least=0),
    }
}


def _crop(text: str | None) -> "Crop":
    from dualsr_jax.data.split import Selection
    from dualsr_jax.pages.page import WHOLE

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


def main(given: flags.FlagValues, arguments: list[str]) -> None:
    """Writes the pages that the flags ask for."""
    from dualsr_jax.pages.page import PageOptions, write_pages

    if len(arguments) != 1:
        raise ValueError("one folder is needed: dualsr report runs/cave_x4")
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


COMMAND = Command(
    name="report",
    about="Writes an interactive HTML page for each scene of an evaluation.",
    arguments="FOLDER",
    example="runs/cave_x4",
    flags=FLAGS,
    main=main,
)

if __name__ == "__main__":
    start(COMMAND)
