"""Several scenes at once: where their results go, which exist, and what is wrong with any.

Contract: nothing is computed here, and nothing is created but the folder of the results.
"""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dualsr_jax.dualsr import DualSR
from dualsr_jax.io.cubes import FORMATS, check_output, create_cube, open_cube
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.large_scene.correction import check_clip
from dualsr_jax.large_scene.normalisation import plan
from dualsr_jax.large_scene.second_pass import check_dtype
from dualsr_jax.messages import say
from dualsr_jax.prediction.options import PredictOptions
from dualsr_jax.prediction.run import result_of, scan_shown, tiling_of


def outputs(
    inputs: Sequence[str], output: str, suffix: str | None = None
) -> list[tuple[Path, Path]]:
    """Pairs each scene with the path of its result, and creates the folder of the results.

    `output` is the path of the result of one scene; it is a folder if there are several scenes, if
    a suffix is given, or if it ends with `/`. The suffix of results in a folder is tif by default.
    Raises ValueError if the folder or the suffix is not possible, or two results have one name.
    """
    paths, target = [Path(name).expanduser() for name in inputs], Path(output).expanduser()
    named_folder = output.endswith("/")
    if len(paths) == 1 and suffix is None and not named_folder:
        return [(paths[0], target)]
    if target.suffix and target.suffix.lower() in FORMATS and not named_folder:
        raise ValueError(
            f"--output={output} is the name of a file, but several scenes, or --format, need a "
            f"folder: put / at its end if it is one, or leave out --format"
        )
    if target.exists() and not target.is_dir():
        raise ValueError(f"--output={output} is a file, not a folder: choose another name")
    suffix = "." + ("tif" if suffix is None else suffix.lstrip("."))
    if suffix.lower() not in FORMATS:
        known = ", ".join(name[1:] for name in FORMATS if name)
        raise ValueError(f"--format={suffix[1:]} is not a known format: expected one of {known}")
    pairs = [(path, target / f"{path.stem}{suffix}") for path in paths]
    names = [made.name for _, made in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"several scenes would be written to {', '.join(twice)}: rename one")
    target.mkdir(parents=True, exist_ok=True)
    return pairs


def _own_tags(metadata: Metadata) -> dict[str, str]:
    """The tags by which a result is recognised."""
    return {name: text for name, text in metadata.tags.items() if name.startswith("dualsr_")}


def finished(path: Path, output: Path, dualsr: DualSR, options: PredictOptions) -> bool:
    """Whether the result of a scene exists.

    A result is recognised by its shape, its data type and the tags that name the networks, the
    radiometry and the MTF. It keeps no trace of other settings, nor of changes of the scene since.
    Raises ValueError if the output is something else, or it or the scene cannot be read,
    FileNotFoundError if there is no scene.
    """
    if not output.exists():
        return False
    scene = open_cube(path, options.key, axes=options.axes)
    with scene as source, open_cube(output) as made:
        shape, dtype, metadata = result_of(source, dualsr, options)
        same = (made.shape, made.dtype) == (shape, dtype)
        if not same or _own_tags(made.metadata) != _own_tags(metadata):
            raise ValueError(
                f"{output} exists, but is of another shape, data type, network, radiometry, "
                f"MTF or version than the result of {path} would be: move it away, or replace it "
                "(--overwrite without --skip_existing)"
            )
    return True


def check_before_run(path: Path, output: Path, dualsr: DualSR, options: PredictOptions) -> None:
    """Reads a scene once; raises ValueError if it is bad, or its result could not be written."""
    try:
        if output.exists() and not options.overwrite:
            raise ValueError(
                f"{output} exists: --skip_existing leaves this scene out, --overwrite replaces it"
            )
        check_output(output, overwrite=options.overwrite)
        with open_cube(path, options.key, axes=options.axes) as source:
            statistics = scan_shown(source)
            normalisation = plan(statistics, source.dtype, source.metadata, peak=options.peak)
            (_, _, bands), dtype, metadata = result_of(source, dualsr, options)
            check_dtype(normalisation, source.metadata.nodata, dtype)
            tiling_of(source, normalisation, dualsr, options)
            check_clip(options.radiometry, statistics, normalisation, dtype)
        metadata = dataclasses.replace(metadata, latitude=None, longitude=None)
        # One pixel in a temporary folder shows what the format cannot hold.
        with (
            tempfile.TemporaryDirectory() as folder,
            create_cube(Path(folder) / output.name, (1, 1, bands), dtype, metadata),
        ):
            pass
    except (ValueError, OSError) as error:
        raise ValueError(f"nothing was computed, because of {path}: {error}") from error


def checked(
    pairs: Sequence[tuple[Path, Path]],
    dualsr: DualSR,
    options: PredictOptions,
    *,
    skip_existing: bool,
) -> list[tuple[Path, Path]]:
    """The pairs of scene and output that remain to be computed; several are all checked first."""
    missing = []
    for path, output in pairs:
        if skip_existing and finished(path, output, dualsr, options):
            say(f"{path} is skipped: its result {output} exists")
        else:
            missing.append((path, output))
    if len(missing) > 1:
        say(f"checking {len(missing)} scenes before the first is computed")
        for path, output in missing:
            check_before_run(path, output, dualsr, options)
    return missing
