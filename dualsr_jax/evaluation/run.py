"""Evaluation of a trained network on the test images of a config.

Contract: `evaluate` scores bicubic interpolation, the network and DualSR, and writes tables,
figures and cubes to one folder. The network comes from its weights; images, degradation, protocol
and settings of the fine stage come from the config. Everything that can be wrong is found before
the first image is computed.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from dualsr_jax.back_projection import correct
from dualsr_jax.composite import CHANNELS, make_composite
from dualsr_jax.data.parts import open_parts
from dualsr_jax.data.sources import NamedCube, Scenes
from dualsr_jax.data.test_images import reference_and_lr
from dualsr_jax.data.wavelengths import known_wavelengths
from dualsr_jax.disk import check_disk_space, make_writable
from dualsr_jax.dualsr import DualSR
from dualsr_jax.evaluation.cubes import Cube, bytes_of_cubes, file_name, write_cubes
from dualsr_jax.evaluation.results import BICUBIC, DUALSR, table, write_results
from dualsr_jax.evaluation.self_check import compare
from dualsr_jax.figures import band_figure, spectra_figure
from dualsr_jax.messages import bar, say
from dualsr_jax.models.network import Model, make_model, method_of, settings_of
from dualsr_jax.ops.degrade import Degradation
from dualsr_jax.ops.resize import imresize
from dualsr_jax.protocols import Protocol, get_protocol
from dualsr_jax.radiometry import Radiometry
from dualsr_jax.training.restore import restore_dualsr
from dualsr_jax.weights.safetensors_file import find_weights


def figure_bands(bands: Sequence[int], num_bands: int) -> Sequence[int]:
    """Chooses the bands that figures show, counted from 1: `bands`, if all of them exist."""
    if all(1 <= band <= num_bands for band in bands):
        return bands
    others = round((num_bands + 1) / 3), round(2 * (num_bands + 1) / 3)
    say(
        f"config.evaluate.bands is {tuple(bands)}, but the scenes have bands 1 to {num_bands}: "
        f"figures show {others}"
    )
    return others


def select_bands(cube: Cube, bands: Sequence[int]) -> Float[np.ndarray, "H W _"]:
    """Returns bands of a cube, counted from 1."""
    return cube[..., np.array(bands) - 1]


def _check_network(model: Model, config: ConfigDict, weights: str) -> None:
    """Raises ValueError if the scales differ; reports in one line what else differs."""
    if model.scale != config.model.scale:
        raise ValueError(
            f"{weights!r} holds a network of scale {model.scale}, but config.model.scale is "
            f"{config.model.scale}: give the config of that scale, such as --config "
            f"configs/cave.py:{model.scale}"
        )
    has, expected = settings_of(model), settings_of(make_model(dict(config.model)))
    differing = ", ".join(
        f"{name}={has.get(name)!r}, not {expected.get(name)!r}"
        for name in {**expected, **has}
        if has.get(name) != expected.get(name)
        and (name, expected.get(name)) != ("num_bands", None)  # None: that of the data
    )
    if differing:
        say(f"{weights!r} holds another network than the config describes: it has {differing}")


def _wavelengths(
    test: Scenes, scenes: Sequence[NamedCube], data_set: str
) -> list[np.ndarray | None]:
    """Wavelengths in nm of each scene's bands: those of its file, of its data set, or None."""
    found = []
    for selection, scene in zip(test.selections, scenes, strict=True):
        bands, of_file = scene.cube.shape[-1], test.source.wavelengths(selection.name)
        fits = of_file is not None and of_file.shape == (bands,) and (of_file > 0).all()
        found.append(of_file if fits else known_wavelengths(data_set, bands))
    return found


def methods_of(dualsr: DualSR) -> tuple[str, str, str]:
    """Names of the methods that are compared: bicubic, that of the network, DualSR."""
    return BICUBIC, method_of(dualsr.coarse.model), DUALSR


def evaluate_scene(
    dualsr: DualSR,
    hr: Cube,
    lr: Cube,
    protocol: Protocol,
    radiometry: Radiometry = Radiometry(),  # noqa: B008
) -> tuple[dict[str, Cube], dict[str, Any]]:
    """Super-resolves and scores; returns the cubes by method, and the record of `write_results`.

    The result of DualSR is corrected as `radiometry` says, which the other methods are not.
    """
    started = time.perf_counter()
    result = dualsr(lr)
    fine = result.fine if radiometry == Radiometry() else correct(radiometry, result.fine, lr)
    seconds = time.perf_counter() - started
    made = imresize(lr, dualsr.scale), protocol.clip(result.coarse), protocol.clip(fine)
    cubes = dict(zip(methods_of(dualsr), made, strict=True))
    scores = {m: protocol.score_image(cube, hr, scale=dualsr.scale) for m, cube in cubes.items()}
    return cubes, {"scores": scores, "gains": result.gains.tolist(), "seconds": round(seconds, 2)}


def _pictures(
    cubes: Mapping[str, Cube], wavelengths: np.ndarray | None
) -> tuple[dict[str, np.ndarray], str]:
    """The cubes in colours, stretched as the first, and what the colours are."""
    reference = next(iter(cubes.values()))
    if reference.shape[-1] < len(CHANNELS):
        return {}, "without colours, as there are fewer than three bands"
    composite = make_composite(reference, wavelengths)
    pictures = {name: composite(cube[..., composite.bands]) for name, cube in cubes.items()}
    return pictures, f"colours: {composite.name}"


def _evaluate_scenes(
    dualsr: DualSR,
    test: Scenes,
    config: ConfigDict,
    output: Path,
    *,
    save_cubes: bool,
    figures: str,
) -> dict[str, Any]:
    """Evaluates the test images; returns their records by name."""
    settings, scale, scenes = config.evaluate, dualsr.scale, list(test)
    protocol, how = get_protocol(config.protocol), Radiometry(consistent=settings.consistent)
    for scene in scenes:
        dualsr.coarse_stage.check_bands(scene.cube.shape[-1])
    wavelengths = _wavelengths(test, scenes, config.data.name)
    bands = figure_bands(settings.bands, scenes[0].cube.shape[-1])
    if save_cubes:
        needed = bytes_of_cubes([scene.cube.shape for scene in scenes], scale)
        what = f"an evaluation of {len(scenes)} images with their cubes (--save_cubes)"
        check_disk_space(output, needed, what)
    degradation = Degradation(**config.degradation)
    records: dict[str, Any] = {}
    images = bar(scenes, unit="image", desc=f"x{scale}")
    for scene, in_nm in zip(images, wavelengths, strict=True):
        name = scene.name
        hr, lr = reference_and_lr(
            scene.cube, scale, degradation=degradation, name=name, seed=config.seed
        )
        cubes, records[name] = evaluate_scene(dualsr, hr, lr, protocol, how)
        sides = np.array(hr.shape[:2]) - 1
        pixels = [(round(y * sides[0]), round(x * sides[1])) for y, x in settings.pixels]
        stem, title = file_name(name), f"{name}, x{scale}"
        records[name]["wavelengths_nm"] = None if in_nm is None else in_nm.tolist()
        shown = {method: select_bands(cube, bands) for method, cube in cubes.items()}
        file = output / f"{stem}_bands.{figures}"
        pictures, colours = _pictures({"Reference": hr, **cubes}, in_nm)
        heading = f"{title}\n{colours}"
        band_figure(file, select_bands(hr, bands), shown, bands, heading, pictures=pictures)
        spectra_figure(output / f"{stem}_spectra.{figures}", hr, cubes, pixels, title)
        if save_cubes:
            write_cubes(output, name, reference=hr, lr=lr, results=cubes)
    return records


def evaluate(
    config: ConfigDict,
    weights: str | os.PathLike[str],
    half_weights: str | os.PathLike[str] | None = None,
    *,
    output: str | Path | None = None,
    which: str = "latest",
    save_cubes: bool = False,
    figures: str = "png",
) -> dict[str, Any]:
    """Evaluates a trained network, prints the table of scores and writes the results.

    Args:
        config: one of `configs/`.
        weights: folder of training, `*.safetensors` file, or shipped name.
        half_weights: the network of half the scale, in the same forms.
        output: folder to write to. None: `evaluation` in the folder of training; for a file or
            shipped name `runs/<name>/evaluation`.
        which: "latest" or "best" checkpoint of a folder.
        save_cubes: writes the cubes, which the interactive report needs.
        figures: format of the figures, "png", "pdf" or "svg".

    Returns:
        The content of `results.json`.

    Raises:
        ValueError: for bad settings or data, a network of another scale than the config's, or too
            little disk space.
        FileNotFoundError: if there are no weights or no data.
    """
    settings = config.evaluate
    parts = open_parts(config)
    if not all(0 <= place <= 1 for pixel in settings.pixels for place in pixel):
        raise ValueError(f"config.evaluate.pixels must lie in [0, 1], got {settings.pixels}")
    if output is None:
        file = find_weights(weights)
        output = (Path("runs", file.stem) if file else Path(weights).expanduser()) / "evaluation"
    output = Path(output)
    dualsr = restore_dualsr(
        weights,
        half_weights,
        which=which,
        iterations=settings.iterations,
        ensemble=settings.ensemble,
        band_chunk=settings.band_chunk,
        precision=config.model.precision,
    )
    _check_network(dualsr.coarse.model, config, os.fspath(weights))
    make_writable(output, "output")
    records = _evaluate_scenes(
        dualsr, parts["test"], config, output, save_cubes=save_cubes, figures=figures
    )
    results = write_results(output, dualsr.scale, config.protocol, records)
    print(table(results))
    verdict = compare(config, {name: r["scores"][BICUBIC] for name, r in records.items()})
    if verdict.agrees is not None:
        print(verdict.text)
    more = " and cubes" if save_cubes else " (without cubes, which dualsr report needs)"
    say(f"results, tables, figures{more}: {output}")
    return results
