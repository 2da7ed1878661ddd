"""The command on files: what is kept, what is refused, and what survives a kill."""

import contextlib
import dataclasses
import functools
import html
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from support.files import ROOT
from support.scenes import SMALL, small_networks, smooth
from support.sensor_files import write_prisma
from tqdm import tqdm

from dualsr_jax.dualsr import DualSR, tags
from dualsr_jax.io.base import CubeReader
from dualsr_jax.io.cubes import create_cube, open_cube
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.io.notes import forget_notes
from dualsr_jax.io.swath import finer_angles
from dualsr_jax.large_scene import normalisation
from dualsr_jax.large_scene.normalisation import read_normalised
from dualsr_jax.large_scene.tile_store import AngleSum, FileTileStore, Layout
from dualsr_jax.large_scene.tiling import Tile, Tiling
from dualsr_jax.large_scene.windows import convolution_speed
from dualsr_jax.models.coarsr.coarse import CoarSR
from dualsr_jax.models.network import Network
from dualsr_jax.prediction import run as command
from dualsr_jax.prediction import work_folder
from dualsr_jax.prediction.batch import check_before_run, checked, finished, outputs
from dualsr_jax.prediction.cluster import Weights
from dualsr_jax.prediction.options import PredictOptions
from dualsr_jax.prediction.run import predict
from dualsr_jax.radiometry import Radiometry
from dualsr_jax.training.checkpoint import Checkpoints
from dualsr_jax.training.step import create_state

WKT = 'LOCAL_CS["somewhere",UNIT["metre",1]]'
TILE = (27, 27)  # more than a halo of 12 on either side, just


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    model = CoarSR(2, **SMALL)
    state = create_state(model, optax.sgd(0.1), jax.random.key(0))
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(state, model, {})
    return Weights(folder)


@pytest.fixture(scope="module")
def joint(tmp_path_factory):
    """A joint x4 network in a file."""
    path = tmp_path_factory.mktemp("joint") / "x4.safetensors"
    small_networks(4, "joint").save_pretrained(path)
    return Weights(path)


@pytest.fixture
def scene(tmp_path, rng):
    """int16, 40x36x7: nodata in a corner, one constant band and one flagged."""
    cube = smooth(rng, 40, 36, 7, np.int16, 8000.0)
    cube[..., 2] = 55
    cube[:9, :5] = -99
    metadata = Metadata(
        crs=WKT,
        transform=(30.0, 0.0, 4e5, 0.0, -30.0, 5e6),
        wavelengths=np.arange(400.0, 1100.0, 100.0),
        bad_bands=np.arange(7) == 5,
        nodata=-99.0,
        reflectance_scale=10000.0,
    )
    path = tmp_path / "scene.hdr"
    with create_cube(path, cube.shape, cube.dtype, metadata) as writer:
        writer.write(cube, 0, 0)
    return path


def read(path):
    with open_cube(path) as reader:
        height, width, _ = reader.shape
        return reader.read(slice(0, height), slice(0, width)), reader.metadata


def test_int16_in_and_out(scene, weights, tmp_path, capsys):
    output, report = tmp_path / "made.tif", tmp_path / "report"
    gain = predict(scene, output, weights, PredictOptions(tile=TILE, report=report))
    cube, metadata = read(output)
    stored, said = read(scene)
    assert cube.dtype == np.int16
    assert cube.shape == (80, 72, 7)
    masked = np.zeros(cube.shape, bool)
    masked[:18, :10] = True
    np.testing.assert_array_equal(cube == -99, masked)
    np.testing.assert_array_equal(cube[..., 2][~masked[..., 2]], 55)
    assert 0 < gain <= 1
    assert metadata.transform == (15.0, 0.0, 4e5, 0.0, -15.0, 5e6)
    np.testing.assert_allclose(metadata.wavelengths, said.wavelengths)
    np.testing.assert_array_equal(metadata.bad_bands, said.bad_bands)
    assert metadata.tags["dualsr_scale"] == "2"
    assert len(metadata.tags["dualsr_weights"]) == 16
    printed = capsys.readouterr().out
    assert "stored value 10000 is reflectance 1" in printed
    assert (
        "5 of 7 bands are usable, the others are enlarged by bicubic interpolation: "
        "band 3 (constant); band 6 (flagged)" in printed
    )
    assert "24 tiles of 27x27 pixels, 5 bands at a time, on 2 devices; memory budget" in printed
    assert f"the fine stage corrected by {gain:.4f} of the difference" in printed
    assert re.search(r"CoarSR: reduced .* agrees with the scene to \d+\.\d\d dB PSNR and", printed)
    assert {p.name for p in report.iterdir()} == {"report.json", "report.png", "report.html"}
    assert not list(tmp_path.glob(".*"))
    # The same in memory, all at once, with another value for nodata: it came into no neighbour.
    stored[:9, :5] = 32000
    whole = weights.dualsr.upscale(np.delete(stored, 5, 2), nodata=32000, peak=10000)
    masked, cube = (np.delete(x, 5, 2) for x in (masked, cube))
    np.testing.assert_array_equal(whole == 32000, masked)
    rounding = np.abs(whole.astype(int) - cube)[~masked]
    assert rounding.max() <= 1
    assert rounding.mean() < 1e-3


def test_progress_within_a_tile(scene, weights, tmp_path, capsys, caplog, monkeypatch):
    counted = []

    @contextlib.contextmanager
    def late_bar(**settings):
        assert (settings["total"], settings["initial"]) == (5, 0)
        assert not counted
        said = capsys.readouterr().err
        assert "estimate: the networks will take less than 10 s for 1 tile\n" in said
        assert said.index("estimate") < said.index("compiling the networks")
        yield counted.append

    monkeypatch.setattr(command, "choose_tiling", lambda *_, **__: Tiling((40, 36), 2))
    convolution_speed()  # is not compiled below
    with monkeypatch.context() as patch:
        patch.setattr(command, "late_bar", late_bar)
        with jax.log_compiles():
            predict(scene, tmp_path / "made.npy", weights, PredictOptions())
    assert counted == [0, 2, 2, 1]
    # The zeros and the step, once: not again for the second chunk, whose states are results.
    assert caplog.text.count("Finished XLA compilation of jit(_fun) in") == 2
    capsys.readouterr()
    monkeypatch.setattr(command, "_SILENT_S", 0)
    predict(scene, tmp_path / "again.npy", weights, PredictOptions())
    shown = capsys.readouterr().err
    assert "scan: 100%" in shown
    assert "compiling" not in shown  # it is compiled
    assert "1 tile: 100%" in shown
    assert "5/5" in shown


def test_progress_of_the_scan(scene, weights, tmp_path, capsys, monkeypatch):
    """By blocks of 16 rows, also when several scenes are checked; quick ones show nothing."""
    monkeypatch.setattr(normalisation, "_BLOCK_BYTES", 16 * 36 * 7 * 2)
    check_before_run(scene, tmp_path / "a.tif", weights.dualsr, PredictOptions())
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(command, "_SILENT_S", 0)
    monkeypatch.setattr(command, "bar", functools.partial(command.bar, mininterval=0))
    check_before_run(scene, tmp_path / "a.tif", weights.dualsr, PredictOptions())
    shown = capsys.readouterr().err
    for rows in (16, 32, 40):
        assert f"| {rows}/40 " in shown


def test_a_joint_network_is_its_own_guide(scene, joint, tmp_path, capsys):
    output = tmp_path / "made.npy"
    gain = predict(scene, output, joint, PredictOptions(tile=(34, 32), scheduler="threads"))
    assert 0 < gain < 1
    assert " tiles of 34x32 pixels" in capsys.readouterr().out
    cube, (stored, _) = read(output)[0], read(scene)
    whole = joint.dualsr.upscale(np.delete(stored, 5, 2), nodata=-99, peak=10000)
    rounding = np.abs(whole.astype(int) - np.delete(cube, 5, 2))
    assert rounding.max() <= 1
    assert rounding.mean() < 1e-3
    sent = pickle.loads(pickle.dumps(joint))  # to a worker, which restores the networks itself
    assert sent == joint
    assert "dualsr" not in vars(sent)


def test_one_file_of_weights(weights, tmp_path):
    path = tmp_path / "x2.safetensors"
    weights.dualsr.save_pretrained(path)
    jax.tree.map(
        np.testing.assert_array_equal,
        Weights(path, ensemble=8).dualsr.coarse.variables,
        weights.dualsr.coarse.variables,
    )


def finished_tiles(folder):
    return 0 if not folder.is_dir() else len(list(folder.glob("tile_*.json")))


def test_killed_and_started_again(scene, weights, tmp_path):
    whole, killed = tmp_path / "whole.hdr", tmp_path / "killed.hdr"
    options = PredictOptions(tile=TILE, dtype=np.dtype(np.float32))
    predict(scene, whole, weights, options)
    arguments = ["--weights", str(weights.weights), "--tile=27x27", "--dtype=float32"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dualsr_jax.predict", *arguments, str(scene), "--output", killed],
        cwd=ROOT,
        stderr=subprocess.PIPE,
    )
    folder = tmp_path / ".killed.hdr.parts"
    with process:
        while finished_tiles(folder) < 2:
            assert process.poll() is None, process.communicate()
            time.sleep(0.001)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not killed.exists()
    there = {p.name: p.stat().st_mtime_ns for p in folder.glob("tile_*.json")}
    with pytest.raises(ValueError, match=r"interrupted run of another kind \(other normalisation"):
        predict(scene, killed, weights, PredictOptions(tile=TILE, peak=5.0))
    seen = []

    def note(scene, indices, *rest):
        seen.extend(indices)
        return compute(scene, indices, *rest)

    compute = command.FirstPass.compute
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command.FirstPass, "compute", note)
        predict(scene, killed, weights, options)
    assert 2 <= len(there) < len(there) + len(seen) == 24
    assert killed.with_suffix(".img").read_bytes() == whole.with_suffix(".img").read_bytes()
    assert killed.read_bytes() == whole.read_bytes()


def test_radiometry_of_a_file(scene, weights, tmp_path, capsys):
    """Interrupted without radiometry, resumed with it; said, reported and seen in the tags."""
    fresh, made, report = tmp_path / "fresh.npy", tmp_path / "made.npy", tmp_path / "report"
    how = Radiometry(clip="unit", consistent=2)
    options = PredictOptions(tile=TILE, radiometry=how)
    predict(scene, fresh, weights, options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "SecondPass", None)
        with pytest.raises(TypeError):
            predict(scene, made, weights, PredictOptions(tile=TILE))
    assert finished_tiles(tmp_path / ".made.npy.parts") == 24
    predict(scene, made, weights, dataclasses.replace(options, report=str(report)))
    np.testing.assert_array_equal(read(made)[0], read(fresh)[0])
    printed = capsys.readouterr().out
    assert "45 of 1,440 pixels (3.12 %) have no data" in printed
    said = re.search(r"2 back-projections: .* agrees with the scene to (\d+\.\d\d) dB", printed)
    clipped = re.search(r"([\d,]+) of 27,900 values \(.* %\) were clipped to \[0, 1\]", printed)
    about = json.loads((report / "report.json").read_text())
    done = about["radiometry"]
    assert done["how"] == {"clip": "unit", "consistent": 2}
    assert (done["clipped"], done["values"]) == (int(clipped[1].replace(",", "")), 27_900)
    assert f"{done['after_db']:.2f}" == said[1]
    page = html.unescape((report / "report.html").read_text())
    assert said[0] in page
    assert clipped[0] in page
    assert about["lr_consistency"]["DualSR"]["psnr_db"] > 80 > done["before_db"]
    stored, _ = read(scene)
    whole = weights.dualsr.upscale(
        np.delete(stored, 5, 2), nodata=-99, peak=10000, clip="unit", consistent=2
    )
    assert np.abs(whole.astype(int) - np.delete(read(made)[0], 5, 2)).max() <= 1
    assert finished(scene, made, weights.dualsr, options)
    for other in (Radiometry(), Radiometry(clip="unit"), Radiometry(consistent=2)):
        with pytest.raises(ValueError, match="another shape, data type, network, radiometry"):
            finished(scene, made, weights.dualsr, PredictOptions(radiometry=other))
    wrong = PredictOptions(dtype=np.dtype(np.int8), radiometry=Radiometry(clip="unit"))
    with pytest.raises(ValueError, match=r"clip='unit': int8 cannot hold the range 0 to 10000"):
        predict(scene, tmp_path / "other.npy", weights, wrong)


def test_refused_before_any_work(scene, weights, tmp_path, monkeypatch):
    output = tmp_path / "made.tif"
    monkeypatch.setattr(command.FirstPass, "compute", None)
    with pytest.raises(ValueError, match=r"tiles of 24x24 pixels are too small: 12 pixels on"):
        predict(scene, output, weights, PredictOptions(tile=(24, 24)))
    with pytest.raises(ValueError, match="give more memory"):
        predict(scene, output, weights, PredictOptions(memory_gb=1e-5))
    with pytest.raises(ValueError, match=r"has no value for them \(it cannot hold nodata -99"):
        predict(scene, output, weights, PredictOptions(dtype=np.dtype(np.uint8)))
    free = type("Usage", (), {"free": 100_000})
    with monkeypatch.context() as patch:
        patch.setattr(work_folder.shutil, "disk_usage", lambda _: free)
        with pytest.raises(ValueError, match=r"x2 of .* needs .* GB in .* are free: make room"):
            predict(scene, output, weights, PredictOptions())
    link = tmp_path / "link.hdr"
    link.symlink_to(scene)
    link.with_suffix(".img").symlink_to(scene.with_suffix(".img"))
    for source in (scene, link, tmp_path / "x" / ".." / "scene.img"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match=r" would be written over itself"):
            predict(source, scene.with_suffix(".img"), weights, PredictOptions(overwrite=True))
    with pytest.raises(ValueError, match="the result and its uncertainty are both"):
        predict(scene, str(output), weights, PredictOptions(uncertainty=str(output)))
    report = tmp_path / "file"
    report.touch()
    with pytest.raises(ValueError, match=r"the report '.*file' cannot be written \(File exists"):
        predict(scene, output, weights, PredictOptions(report=report))
    assert not list(tmp_path.glob(".*"))  # nothing to resume
    output.touch()
    with pytest.raises(ValueError, match=r"made\.tif exists"):
        predict(scene, output, weights, PredictOptions())


def test_bad_input_is_one_error_before_any_work(weights, tmp_path, rng, monkeypatch):
    monkeypatch.setattr(command.FirstPass, "compute", None)
    cube = smooth(rng, 12, 11, 6, np.uint16, 5000.0)
    np.save(tmp_path / "a.npy", cube)
    np.savez(tmp_path / "flat.npz", Y=cube.reshape(-1, 6).T)
    waves = {"Vnir": np.arange(900.0, 300.0, -100.0), "Swir": []}
    write_prisma(tmp_path / "half.he5", cube.transpose(0, 2, 1), None, wavelengths=waves)
    clip = {"radiometry": Radiometry(clip="unit"), "peak": 5000.0, "dtype": np.dtype(np.int8)}
    for name, options, message in (
        ("a.npy", {"axes": "y,x=5,band"}, "axes 'y,x=5,band' do not fit what it holds"),
        ("a.npy", {"axes": "y,x"}, "axes 'y,x' are not those of a cube: expected three names"),
        ("half.he5", {}, "has no .*/SWIR_Cube: it is not a whole PRISMA product.* --key=VNIR"),
        ("flat.npz", {}, "if Y is a flattened cube, say the sides of its image: --axes=band,y=ROW"),
        ("a.npy", clip, "clip='unit': int8 cannot hold the range 0 to 5000 .*: choose another"),
    ):
        there, output = sorted(tmp_path.iterdir()), tmp_path / "made.tif"
        with pytest.raises(ValueError, match=message) as caught:
            predict(tmp_path / name, output, weights, PredictOptions(**options))
        assert len(str(caught.value).splitlines()) == 1
        with pytest.raises(ValueError, match=message):  # also of the first of several scenes
            check_before_run(tmp_path / name, output, weights.dualsr, PredictOptions(**options))
        assert sorted(tmp_path.iterdir()) == there


def test_a_second_run_leaves_the_first_alone(scene, weights, tmp_path, monkeypatch):
    output, compute = tmp_path / "made.npy", command.FirstPass.compute

    def twice(*arguments):
        monkeypatch.setattr(command.FirstPass, "compute", compute)  # once, if there were no lock
        with pytest.raises(ValueError, match="another run is using the output"):
            predict(scene, output, weights, PredictOptions(tile=TILE))
        return compute(*arguments)

    monkeypatch.setattr(command.FirstPass, "compute", twice)
    predict(scene, output, weights, PredictOptions(tile=TILE, dtype=np.dtype(">i2")))
    assert read(output)[0].shape == (80, 72, 7)


def test_tiles_of_a_changed_scene_are_not_used(scene, weights, tmp_path, monkeypatch):
    """Upside down, it has the same statistics."""
    output, finish = tmp_path / "made.npy", command._second_pass
    monkeypatch.setattr(command, "_second_pass", None)
    with pytest.raises(TypeError):  # stopped after all tiles
        predict(scene, output, weights, PredictOptions(tile=TILE))
    cube, metadata = read(scene)
    with create_cube(scene, cube.shape, cube.dtype, metadata, overwrite=True) as writer:
        writer.write(cube[::-1], 0, 0)
    monkeypatch.setattr(command, "_second_pass", finish)
    with pytest.raises(ValueError, match=r"interrupted run of another kind \(other content"):
        predict(scene, output, weights, PredictOptions(tile=TILE))


# Every field of Metadata and every option, with values that tiles may depend on.
METADATA = {
    "crs": [WKT],
    "transform": [(30.0, 0.0, 4e5, 0.0, -30.0, 5e6)],
    "wavelengths": [np.arange(7.0)],
    "wavelength_unit": ["nm"],
    "fwhm": [np.ones(7)],
    "band_names": [tuple("abcdefg")],
    "bad_bands": [np.arange(7) == 6, np.arange(7) == 0, np.zeros(7, bool)],
    "nodata": [None, -51.0, -99.0, 20000.0, np.nan, 1e300],
    "scale": [None, np.full(7, 1e-4), np.r_[2.0, np.ones(6)], np.r_[np.nan, np.ones(6)]],
    "offset": [None, np.full(7, 10.0), np.r_[np.nan, np.zeros(6)]],
    "reflectance_scale": [1e4, 5e3, np.nan, np.inf, 0.0],
    "latitude": [np.ones((40, 36))],
    "longitude": [np.ones((40, 36))],
    "variable": ["reflectance"],
    "tags": [{"a": "b"}],
}
OPTIONS = {
    "key": ["x"],  # decides which cube is read
    "axes": ["y,x,band"],
    "peak": [9000.0, 5000.0],
    "mtf": [0.3],
    "dtype": [np.dtype(np.int32)],
    "overwrite": [False],
    "scheduler": ["threads"],
    "memory_gb": [1.0],
    "tile": [(34, 36), (36, 34), None],
    "radiometry": [Radiometry(clip="unit", consistent=2)],
    "uncertainty": [Path("x.tif")],
    "report": [Path("x")],
}


@pytest.fixture(scope="module")
def stages():
    """A network guided by another, and the same but for one thing."""
    first = small_networks(4, "half", ensemble=8)

    def but(which, variables=None, **settings):
        network = getattr(first, which)
        made = Network(network.model.clone(**settings), variables or network.variables)
        return dataclasses.replace(first, **{which: made})

    doubled = jax.tree.map(lambda x: 2 * x, first.half.variables)
    return [
        first,
        dataclasses.replace(first, half=None),
        dataclasses.replace(first, ensemble=16),
        *(but(which, precision="bfloat16") for which in ("coarse", "half")),
        *(but(which, neighbours="released") for which in ("coarse", "half")),
        but("half", doubled),
    ]


def test_tiles_are_resumed_only_with_what_they_depend_on(stages, tmp_path, rng):
    cube = smooth(rng, 40, 36, 7, np.int16, 8000.0)
    cube[8:14, 9:17], cube[20:30, 20:30, 3], cube[0, 0, 1] = -50, -51, 20000
    base = {"nodata": -50.0, "scale": np.ones(7), "offset": np.zeros(7)}
    assert set(METADATA) == {field.name for field in dataclasses.fields(Metadata)}
    assert set(OPTIONS) == {field.name for field in dataclasses.fields(PredictOptions)}

    def seen(dualsr=stages[0], cube=cube, options=None, **changes):
        """What the networks would see, or None if the run is refused."""
        metadata = Metadata(**{**base, **changes})
        source = CubeReader(Path("scene"), cube, axes=(0, 1, 2), metadata=metadata)
        options = dataclasses.replace(PredictOptions(tile=(34, 34)), **(options or {}))
        try:
            scene, _ = command._planned(source, dualsr, [source.dtype], options, tmp_path)
        except ValueError as error:
            assert "interrupted run of another kind" in str(error)  # noqa: PT017
            return None
        windows = read_normalised(source, slice(0, 40), slice(0, 36), scene.normalisation)
        return *windows, scene.normalisation.bands, scene.layout.layers, len(scene.layout.tiles)

    def resumed(**changes):
        found = seen(**changes)
        for one, other in zip(found or (), first, strict=bool(found)):
            np.testing.assert_array_equal(one, other, err_msg=str(changes))
        return found is not None

    first = seen()
    (tmp_path / "tile_000000.json").touch()  # without any tile, nothing is refused
    same = {field for field, values in METADATA.items() if resumed(**{field: values[0]})}
    assert same == {"crs", "transform", "wavelengths", "wavelength_unit", "fwhm", "band_names"} | {
        "scale",  # was 1
        "offset",  # was 0
        "latitude",
        "longitude",
        "variable",
        "tags",
    }
    for field, values in METADATA.items():
        for value in values:
            resumed(**{field: value})
    same = {o for o, values in OPTIONS.items() if resumed(options={o: values[-1]})}
    assert same == {"key", "dtype", "overwrite", "scheduler", "memory_gb", "radiometry", "report"}
    for option, values in OPTIONS.items():
        for value in values:
            resumed(options={option: value})
    assert not any(resumed(dualsr=other) for other in stages[1:])
    other_cubes = (cube[::-1], cube + np.int16(1), cube.astype(np.int32), cube[:, ::-1])
    assert not any(resumed(cube=other) for other in other_cubes)


def test_every_field_of_the_weights_is_in_the_plan(stages, tmp_path, rng):
    first, other = stages[0], stages[-1]
    assert other.half is not None
    paths = {name: tmp_path / f"{name}.safetensors" for name in ("x4", "x2", "more", "other")}
    DualSR(first.coarse).save_pretrained(paths["x4"])
    DualSR(first.half).save_pretrained(paths["x2"])
    DualSR(other.half).save_pretrained(paths["other"])
    doubled = jax.tree.map(lambda x: 2 * x, first.coarse.variables)
    DualSR(Network(first.coarse.model, doubled)).save_pretrained(paths["more"])
    begun = Weights(paths["x4"], paths["x2"])
    changes = {
        "weights": [paths["more"]],
        "half_weights": [None, paths["other"]],
        "ensemble": [8, 16],
        "precision": ["bfloat16"],
    }
    fields = {field.name for field in dataclasses.fields(Weights)} - {"_"}
    assert set(changes) == fields
    cube = smooth(rng, 40, 36, 7, np.int16, 8000.0)
    source = CubeReader(Path("scene"), cube, axes=(0, 1, 2), metadata=Metadata())

    def begin(weights):
        folder.mkdir(exist_ok=True)
        options = PredictOptions(tile=(34, 34))
        return command._planned(source, weights.dualsr, [source.dtype], options, folder)

    folder = tmp_path / "parts"
    begin(begun)
    (folder / "tile_000000.json").touch()
    begin(dataclasses.replace(begun, weights=str(paths["x4"])))  # the same, named as text
    for field, values in changes.items():
        for value in values:
            with pytest.raises(ValueError, match="interrupted run of another kind"):
                begin(dataclasses.replace(begun, **{field: value}))


def test_a_swath_and_a_cube_of_named_axes(weights, tmp_path, rng, capsys, monkeypatch):
    """The angles of a swath come back enlarged, with the cube; axes reach the reader."""
    cube = smooth(rng, 20, 18, 8, np.uint16, 50000.0) + np.uint16(1)
    cube[:4, :3] = 0  # without data
    waves = {"Vnir": [700.0, 600.0, 500.0, 400.0], "Swir": [1100.0, 1000.0, 900.0, 800.0]}
    vnir, swir = (cube[..., k : k + 4][..., ::-1].transpose(0, 2, 1) for k in (0, 4))
    path = write_prisma(tmp_path / "a.he5", vnir, swir, "L2C", wavelengths=waves)
    predict(path, tmp_path / "made.nc", weights, PredictOptions())
    made, metadata = read(tmp_path / "made.nc")
    with open_cube(path) as source:
        said = source.metadata
    assert not made[:8, :6].any()
    assert made[8:].all()
    np.testing.assert_array_equal(metadata.wavelengths, np.arange(400.0, 1200.0, 100.0))
    np.testing.assert_array_equal(metadata.scale, said.scale)
    assert metadata.band_names == ("VNIR 4", "VNIR 3", *said.band_names[2:])
    np.testing.assert_array_equal(metadata.latitude, finer_angles(said.latitude, 2))
    np.testing.assert_array_equal(metadata.longitude, finer_angles(said.longitude, 2))
    assert metadata.latitude.shape == (40, 36)
    np.save(tmp_path / "b.npy", cube.transpose(2, 1, 0))
    predict(tmp_path / "b.npy", tmp_path / "b.tif", weights, PredictOptions(axes="band,x,y"))
    rounding = np.abs(read(tmp_path / "b.tif")[0].astype(int) - weights.dualsr.upscale(cube))
    assert rounding.max() <= 1

    def work(job, indices, scheduler, done):
        for index in indices:
            done(command.cluster.compute_tile(pickle.loads(pickle.dumps(job)), index))

    monkeypatch.setattr(command.cluster, "compute_on_cluster", work)
    options = PredictOptions(axes="band,x,y", scheduler="tcp://there:1")
    predict(tmp_path / "b.npy", tmp_path / "there.tif", weights, options)
    np.testing.assert_array_equal(read(tmp_path / "there.tif")[0], read(tmp_path / "b.tif")[0])
    np.save(tmp_path / "flat.npy", cube.reshape(-1, 8))  # which cannot be read without the axes
    pairs = [(tmp_path / "flat.npy", tmp_path / f"{name}.tif") for name in "bcd"]
    flat = PredictOptions(axes="y=20,x=18,band")
    assert checked(pairs, weights.dualsr, flat, skip_existing=True) == pairs[1:]
    forget_notes()
    again = PredictOptions(overwrite=True)
    assert checked([(path, tmp_path / "c.tif")] * 2, weights.dualsr, again, skip_existing=False)
    assert "left out" not in capsys.readouterr().out  # by the check, which writes one pixel


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("json", lambda old: b""),
        ("json", lambda old: b"[]"),
        ("json", lambda old: b"[" * 100_000),
        ("json", lambda old: b"\xff"),
        ("json", lambda old: old.replace(b'"count": 4', b'"count": 5')),
        ("json", lambda old: b'{"sum_deg": 1.5, "count": 4}'),
        ("coarse", lambda old: bytes(len(old))),
        ("coarse", lambda old: old[:-1]),
        ("residual", lambda old: old[:-1] + b"x"),
    ],
)
def test_a_damaged_tile_is_a_missing_tile(tmp_path, name, damage):
    tile = Tile(row=0, column=0, rows=slice(0, 2), columns=slice(0, 2))
    layout = Layout(tiles=[tile] * 3, layers={"coarse": 2, "residual": 1}, num_bands=5)
    store = FileTileStore(tmp_path, layout)
    for index in (0, 2):
        with store.tile(index) as writer:
            for bands in (slice(0, 3), slice(3, 5)):
                for layer, grid in layout.layers.items():
                    values = np.arange(20 * grid**2, dtype=np.float32).reshape(5, 2 * grid, -1)
                    writer.append(layer, values[bands])
            writer.angles = AngleSum(1.5, 4)
    again = FileTileStore(tmp_path, layout)
    assert again.finished() == store.finished() == {index: AngleSum(1.5, 4) for index in (0, 2)}
    path = tmp_path / f"tile_000002.{name}"
    path.write_bytes(damage(path.read_bytes()))
    assert set(FileTileStore(tmp_path, layout).finished()) == {0}
    assert FileTileStore(tmp_path, layout).bytes_missing() == 2 * 4 * 5 * (16 + 4)


@pytest.mark.parametrize(
    "plan", ["", "[]", "[1]", "[" * 100_000, '{"a": 1}', '{"run": 1, "window": 2}']
)
def test_a_damaged_plan_is_a_new_run(tmp_path, plan):
    (tmp_path / "plan.json").write_text(plan)
    tiling = Tiling((27, 27), 3)
    assert work_folder.begin(tmp_path, {"a": 1}, tiling) == tiling
    assert work_folder.begin(tmp_path, {"a": 1}, Tiling((9, 9), 2)) == tiling
    (tmp_path / "tile_000000.json").touch()
    with pytest.raises(ValueError, match=r"another kind \(other a\)"):
        work_folder.begin(tmp_path, {"a": 2}, tiling)


@pytest.mark.parametrize("second", ["h.img", "h.hdr", "h.HDR", "h.dat"])
def test_the_two_names_of_a_pair_are_one_output(tmp_path, second):
    with (
        work_folder.work_folder(tmp_path / "h.hdr"),
        pytest.raises(ValueError, match="another run is using the output"),
        work_folder.work_folder(tmp_path / second),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_errors_on_the_command_line(scene, weights, joint, tmp_path):
    for flags, message in (
        ([f"--weights={weights.weights}", "--scale=4"], "error: --scale=4, but '"),
        (
            [f"--weights={joint.weights}", f"--half_weights={weights.weights}"],
            "error: this network is joint and restores the half scale itself",
        ),
    ):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "dualsr_jax.predict", *flags),
                *(str(scene), "--output", str(tmp_path / "made.tif")),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.strip().splitlines()[-1].startswith(message)
        assert "Traceback" not in done.stderr
        assert not list(tmp_path.glob("*made*"))


def test_where_results_go(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    Path("file").touch()
    one, two = ["in/a.hdr"], ["in/a.hdr", "b.v1.npy"]
    for inputs, output, suffix, made in (
        (one, "a.nc", None, ["a.nc"]),
        (one, "there", None, ["there"]),  # band images, which may be replaced
        (one, "new/", None, ["new/a.tif"]),
        (one, "new.tif/", None, ["new.tif/a.tif"]),
        (one, "there", "npy", ["there/a.npy"]),
        (two, "both", ".nc", ["both/a.nc", "both/b.v1.nc"]),
    ):
        pairs = outputs(inputs, output, suffix)
        assert pairs == [(Path(i), Path(o)) for i, o in zip(inputs, made, strict=True)]
        assert pairs[0][1].parent.is_dir()
    for inputs, output, suffix, message in (
        (one, "a.nc", "tif", "--output=a.nc is the name of a file"),
        (two, "a.nc", None, "--output=a.nc is the name of a file"),
        (one, "file/", None, "--output=file/ is a file, not a folder"),
        (two, "both", "jpg", "--format=jpg is not a known format: expected one of hdr"),
        ([*one, "out/a.img"], "both", None, r"several scenes would be written to a\.tif"),
    ):
        with pytest.raises(ValueError, match=message):
            outputs(inputs, output, suffix)


def test_what_would_stop_a_later_scene(scene, weights, tmp_path):
    def refused(message, path=scene, name="made.npy", **options):
        with pytest.raises(ValueError, match=rf"nothing was computed, because of .*: .*{message}"):
            check_before_run(path, tmp_path / name, weights.dualsr, PredictOptions(**options))

    before = sorted(tmp_path.iterdir())
    check_before_run(scene, tmp_path / "made.npy", weights.dualsr, PredictOptions())
    refused("ENVI has no data type for float16", name="made.hdr", dtype=np.dtype(np.float16))
    refused("uint8 has no value for them", dtype=np.dtype(np.uint8))
    refused("there is no folder", name="nowhere/made.npy")
    refused("no file or folder", path=tmp_path / "nothing.hdr")
    assert sorted(tmp_path.iterdir()) == before
    (tmp_path / "made.npy").touch()
    refused(r"made\.npy exists: --skip_existing leaves this scene out")
    scene.with_suffix(".img").write_bytes(b"short")
    refused("bytes of pixels next to it, there are 5", overwrite=True)


@pytest.mark.parametrize("suffix", ["", ".hdr", ".tif", ".nc", ".zarr", ".h5", ".mat", ".npz"])
def test_a_finished_result_is_known(scene, weights, tmp_path, suffix):
    dualsr, dtype = weights.dualsr, np.dtype(np.uint16)
    made = tmp_path / f"made{suffix}"
    assert not finished(scene, made, dualsr, PredictOptions(dtype=dtype))
    metadata = Metadata(tags=tags(dualsr))
    with create_cube(made, (80, 72, 7), dtype, metadata):
        pass
    assert finished(scene, made, dualsr, PredictOptions(dtype=dtype))
    for other, options in (
        (dualsr, PredictOptions()),  # int16
        (dataclasses.replace(weights, ensemble=8).dualsr, PredictOptions(dtype=dtype)),
    ):
        with pytest.raises(ValueError, match="is of another shape, data type, network, radiometry"):
            finished(scene, made, other, options)


def test_the_same_command_resumes_after_a_finished_scene(scene, weights, tmp_path):
    bad = tmp_path / "bad.npy"
    bad.write_bytes(b"damaged")
    arguments = ["--weights", str(weights.weights), "--output", f"{tmp_path}/out/", "--format=npy"]
    arguments.append("--dtype=>i2")  # written in this machine's order

    def run(*more):
        return subprocess.run(
            [sys.executable, "-m", "dualsr_jax.predict", *arguments, str(scene), str(bad), *more],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    first = run()
    assert "error: nothing was computed, because of " in first.stderr
    assert not list((tmp_path / "out").iterdir())
    cube, _ = read(scene)
    np.save(bad, cube[::-1])
    predict(scene, tmp_path / "out" / "scene.npy", weights, PredictOptions())
    there = (tmp_path / "out" / "scene.npy").stat().st_mtime_ns
    again = run("--skip_existing")
    assert again.returncode == 0, again.stderr
    assert f"{scene} is skipped: its result {tmp_path}/out/scene.npy exists" in again.stdout
    assert (tmp_path / "out" / "scene.npy").stat().st_mtime_ns == there
    assert (tmp_path / "out" / "bad.npy").exists()


def test_one_two_and_dying_workers(scene, weights, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    predict(scene, tmp_path / "local.img", weights, PredictOptions(tile=TILE))
    update, pids = tqdm.update, []

    def kill_one_and_update(bar, n=1):
        while bar.unit == "band" and len(pids) > 1:
            os.kill(pids.pop(), signal.SIGKILL)
        return update(bar, n)

    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    ) as cluster:
        remote = PredictOptions(tile=TILE, scheduler=cluster.scheduler_address)
        predict(scene, tmp_path / "two.img", weights, remote)
        with distributed.Client(cluster) as client:
            pids += client.run(os.getpid).values()
        monkeypatch.setattr(tqdm, "update", kill_one_and_update)
        predict(scene, tmp_path / "killed.img", weights, remote)
        assert len(pids) == 1
        cluster.scale(1)
        predict(scene, tmp_path / "one.img", weights, remote)
    local = (tmp_path / "local.img").read_bytes()
    for name in ("two", "killed", "one"):
        assert (tmp_path / f"{name}.img").read_bytes() == local, name


def test_threads_and_an_unreachable_scheduler(scene, weights, tmp_path, monkeypatch):
    predict(scene, tmp_path / "local.img", weights, PredictOptions(tile=TILE))
    threads = PredictOptions(tile=TILE, scheduler="threads")
    predict(str(scene), str(tmp_path / "threads.img"), weights, threads)  # paths may be text
    assert (tmp_path / "threads.img").read_bytes() == (tmp_path / "local.img").read_bytes()
    monkeypatch.setattr(command.cluster, "_TIMEOUT_S", 0.3)
    with pytest.raises(ValueError, match=r"no scheduler answers at 'tcp://127.0.0.1:1'"):
        predict(scene, tmp_path / "far.img", weights, PredictOptions(scheduler="tcp://127.0.0.1:1"))
