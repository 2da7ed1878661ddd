"""Writes an interactive HTML page for each scene of an evaluation.

    python -m dualsr_jax.report runs/cave_x4

reads `runs/cave_x4/evaluation`, as `evaluate` left it, and writes `report/<scene>.html` there: one
file a scene that works without a server and without the network. A folder of an evaluation can be
named itself, too. Needs the extra `report`.
"""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from absl import flags

from dualsr_jax.commands import run
from dualsr_jax.data.split import Selection
from dualsr_jax.disk import make_writable
from dualsr_jax.evaluation.results import file_name, read_evaluation
from dualsr_jax.pages.page import MAX_MB, WHOLE, Crop, PageOptions, write_page


def _chosen(names: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    """The scenes to show, of those that there are."""
    if not wanted:
        return list(names)
    by_name = {file_name(name): name for name in names} | {name: name for name in names}
    unknown = [name for name in wanted if name not in by_name]
    if unknown:
        raise ValueError(
            f"--scenes: the evaluation has no {', '.join(map(repr, unknown))}, but "
            f"{', '.join(names)}"
        )
    return list(dict.fromkeys(by_name[name] for name in wanted))


def _targets(scenes: Sequence[str], folder: Path, output: Path | None) -> dict[str, Path]:
    """The page of each scene; folders are made, and proved to be writable."""
    if output is not None and output.suffix == ".html" and not output.is_dir():
        if len(scenes) > 1:
            raise ValueError(
                f"--output={output} is one page, the evaluation has {len(scenes)} scenes: name a "
                "folder, or one scene with --scenes"
            )
        make_writable(output.parent, "output")
        return {scenes[0]: output}
    folder = folder / "report" if output is None else output
    make_writable(folder, "output")
    return {scene: folder / f"{file_name(scene)}.html" for scene in scenes}


def write_report(
    path: Path,
    *,
    scenes: Sequence[str] | None = None,
    output: Path | None = None,
    options: PageOptions = PageOptions(),  # noqa: B008, immutable
) -> list[Path]:
    """Writes the pages of an evaluation; their paths.

    Args:
        path: of the folder of the evaluation, or of the workdir that holds it.
        scenes: shown; None: all.
        output: `*.html` for one scene, else a folder; None: `report` in that of the evaluation.
        options: how pages are made.

    Raises:
        ValueError: for a damaged evaluation, a scene that is not in it, an output that cannot be
            written, a page that would be too large, or if Bokeh is not installed.
        FileNotFoundError: if there is no evaluation, or it left no cubes.
    """
    evaluation = read_evaluation(path)
    chosen = _chosen(list(evaluation.images), scenes)
    targets = _targets(chosen, evaluation.folder, output)
    for scene, target in targets.items():
        links = {other: quote(page.name) for other, page in targets.items() if other != scene}
        size = write_page(target, evaluation, scene, options, links)
        print(f"{target}: {size / 1e6:.1f} MB", flush=True)
    return list(targets.values())


def _part(text: str | None) -> Crop:
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
    """Defines the command's flags; not at import, for other commands have some of the same name."""
    flags.DEFINE_list("scenes", None, "Scenes to show; default: all.", flag_values=values)
    flags.DEFINE_string(
        "output",
        None,
        "Folder of the pages, or one *.html; default: `report` in the evaluation's folder.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "title", None, "Title of the pages; default: the scene.", flag_values=values
    )
    flags.DEFINE_string(
        "part", None, "Rows and columns to show, such as 0:256,0:256.", flag_values=values
    )
    flags.DEFINE_string(
        "wavelengths",
        None,
        "Of the first and last band in nm, such as 400,700; others at equal distances.",
        flag_values=values,
    )
    flags.DEFINE_float("max_mb", MAX_MB, "Largest page, in 1e6 bytes.", 0.0, flag_values=values)


def main(arguments: Sequence[str], given: flags.FlagValues = flags.FLAGS) -> None:
    """Writes the pages that the flags ask for."""
    if len(arguments) != 1:
        raise ValueError("one folder is needed: python -m dualsr_jax.report runs/cave_x4")
    write_report(
        Path(arguments[0]).expanduser(),
        scenes=given.scenes,
        output=Path(given.output).expanduser() if given.output else None,
        options=PageOptions(
            given.title, _part(given.part), _wavelengths(given.wavelengths), given.max_mb
        ),
    )


if __name__ == "__main__":
    define_flags()
    run(main, arguments=True)
