"""Training, evaluation and the errors of both, end to end on a small folder of cubes."""

import csv
import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from support.files import ROOT
from support.scenes import SMALL, random_variables
from support.trainings import records, restored

from dualsr_jax import imresize, restore_dualsr
from dualsr_jax.data.test_images import low_resolution
from dualsr_jax.dualsr import DualSR
from dualsr_jax.evaluation import run
from dualsr_jax.evaluation.cubes import read_cubes
from dualsr_jax.evaluation.results import read_evaluation
from dualsr_jax.evaluation.run import evaluate, figure_bands
from dualsr_jax.metrics import psnr_db
from dualsr_jax.models.coarsr.coarse import CoarSR
from dualsr_jax.models.network import Network
from dualsr_jax.training.loop import train


def last_kernel(workdir):
    """The kernel of the last convolution of a trained network."""
    return restored(workdir)[0].variables["params"]["tail"]["out"]["wn"]["v"]


def test_a_finished_run_is_left_alone_and_the_seed_decides(make_config, tmp_path):
    for workdir, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(make_config(epochs=1 / 15, seed=seed), tmp_path / workdir)
    before = records(tmp_path / "a")
    train(make_config(epochs=1 / 15), tmp_path / "a")
    assert records(tmp_path / "a") == before
    a, b, c = (
        restored(tmp_path / w)[0].variables["params"]["tail"]["out"]["wn"]["v"] for w in "abc"
    )
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 1e-3


def test_the_latest_three_and_the_best_on_validation_scenes_are_kept(make_config, tmp_path):
    each = {"train__save_every_epochs": 1 / 10, "train__learning_rate": 0.03}  # up and down
    config = make_config(epochs=8 / 10, data__validation=("c",), evaluate__band_chunk=1, **each)
    train(config, str(tmp_path))  # paths may be text
    steps = {int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()}
    by_step = {r["step"]: r["validation_psnr_db"] for r in records(tmp_path)}
    best = max(by_step, key=by_step.get)
    assert steps == {6, 7, 8} | {best}
    network, step = restored(tmp_path, "best")
    assert step == best
    hr = np.load(f"{config.data.path}/c.npy").astype(np.float32)[:, :16] / 65535
    result = DualSR(network)(low_resolution(hr, 2)).coarse
    expected = float(psnr_db(result.clip(0, 1), hr))
    assert by_step[best] == pytest.approx(expected, abs=1e-4)


def test_nothing_is_best_without_validation_scenes(make_config, tmp_path):
    train(make_config(epochs=2 / 15, train__save_every_epochs=1 / 15), tmp_path)
    with pytest.raises(ValueError, match=r"was scored on scenes held out: take the latest"):
        restored(tmp_path, "best")


def test_the_moving_average_is_evaluated(make_config, tmp_path):
    train(make_config(epochs=2 / 15, train__ema_decay=0.9), tmp_path / "run")
    train(make_config(epochs=4 / 15, train__ema_decay=0.9), tmp_path / "run")  # goes on
    train(make_config(epochs=4 / 15), tmp_path / "plain")
    averaged, plain = (
        restored(tmp_path / w)[0].variables["params"]["tail"]["out"]["wn"]["v"]
        for w in ("run", "plain")
    )
    # Its 24 updates are averaged over about 10: close to the last, but not the last.
    assert 1e-5 < np.abs(averaged - plain).max() < 2e-3
    with pytest.raises(ValueError, match=r"other data or settings: .*ema_decay was 0\.9, is None"):
        train(make_config(epochs=5 / 15), tmp_path / "run")


def test_a_warm_start_takes_what_fits(make_config, tmp_path):
    train(make_config("2", epochs=1 / 15), tmp_path / "x2")
    warm = make_config("4", epochs=1 / 15, train__warm_start=str(tmp_path / "x2"))
    warm.train.learning_rate = 1e-9
    train(warm, tmp_path / "x4")
    ours, theirs = (restored(tmp_path / w)[0].variables["params"] for w in ("x4", "x2"))
    for name in ("heads_0", "asfms_0", "fcf"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours[name], theirs[name]
        )
    assert "up_1" in ours["tail"]
    other = make_config("4", model__features=8, train__warm_start=str(tmp_path / "x2"))
    with pytest.raises(ValueError, match=r"holds another network \(scale=2, .* do not fit"):
        train(other, tmp_path / "other")


def test_evaluation(make_config, tmp_path, capsys, caplog):
    train(make_config("4", epochs=1 / 15, train__lr_patch=4), tmp_path / "x4")
    train(make_config("2", epochs=1 / 15), tmp_path / "x2")
    config = make_config("4")
    results = evaluate(config, tmp_path / "x4", tmp_path / "x2", save_cubes=True)
    output = tmp_path / "x4" / "evaluation"
    assert sorted(path.name for path in output.iterdir()) == [
        "results.csv",
        "results.json",
        "test.npz",
        "test_bands.png",
        "test_spectra.png",
    ]
    assert json.loads((output / "results.json").read_text()) == results
    assert results["images"]["test"]["wavelengths_nm"] is None
    hr = np.load(f"{config.data.path}/test.npy").astype(np.float32)[:, :16] / 65535
    caplog.clear()
    dualsr = restore_dualsr(tmp_path / "x4", tmp_path / "x2")
    assert not caplog.records  # reading is nothing to warn of
    assert dualsr.coarse_stage.ratio == 2
    result = dualsr(low_resolution(hr, 4))
    scores = results["images"]["test"]["scores"]
    cubes = read_cubes(read_evaluation(tmp_path / "x4"), "test")
    np.testing.assert_array_equal(cubes.reference, hr)
    np.testing.assert_array_equal(cubes.results["Bicubic"], imresize(low_resolution(hr, 4), 4))
    for method, cube in (("CoarSR", result.coarse), ("DualSR", result.fine)):
        saved = cubes.results[method]
        np.testing.assert_allclose(saved, cube.clip(0, 1), atol=1e-5)
        assert scores[method]["psnr_db"] == pytest.approx(float(psnr_db(saved, hr)), abs=1e-4)
        assert results["mean"][method] == scores[method]
    printed = capsys.readouterr().out
    assert f"{scores['DualSR']['psnr_db']:.4f}" in printed
    with (output / "results.csv").open() as file:
        rows = {row.pop("method"): row for row in csv.DictReader(file)}
    for method, expected in scores.items():
        assert rows[method].pop("image") == "test"
        assert {metric: float(value) for metric, value in rows[method].items()} == expected


def test_the_network_of_the_weights_is_evaluated(make_config, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run, "known_wavelengths", lambda name, bands: np.arange(1.0, bands + 1))
    model = CoarSR(4, **SMALL, joint=True)
    file = tmp_path / "joint.safetensors"
    DualSR(Network(model, random_variables(model, 0))).save_pretrained(file)
    results = evaluate(make_config("4"), file, output=str(tmp_path / "out"))
    assert "holds another network than the config describes: it has joint=True, not False" in (
        capsys.readouterr().out
    )
    hr = np.load(f"{make_config().data.path}/test.npy").astype(np.float32)[:, :16] / 65535
    result = restore_dualsr(file)(low_resolution(hr, 4))
    scores = results["images"]["test"]["scores"]
    assert list(scores) == ["Bicubic", "CoarSR", "DualSR"]
    assert results["images"]["test"]["wavelengths_nm"] == list(range(1, hr.shape[-1] + 1))
    assert not list((tmp_path / "out").glob("*.npz"))  # cubes are written if they are asked for
    assert read_evaluation(tmp_path / "out").wavelengths_nm["test"][-1] == hr.shape[-1]
    for method, cube in (("CoarSR", result.coarse), ("DualSR", result.fine)):
        expected = float(psnr_db(cube.clip(0, 1), hr))
        assert scores[method]["psnr_db"] == pytest.approx(expected, abs=1e-4)
    evaluate(make_config("4", model__joint=True), file, output=tmp_path)
    assert "another network" not in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"of scale 4, but config\.model\.scale is 2: give the"):
        evaluate(make_config("2"), file)


def test_fine_stage_without_half_scale_network(make_config, rng):
    model = CoarSR(3, features=4, num_asfm=1, num_blocks=1)
    lr = rng.random((6, 5, 6)).astype(np.float32)
    dualsr = DualSR(Network(model, random_variables(model, 0)), iterations=2)
    result = dualsr(lr)
    assert result.fine.shape == result.coarse.shape == (18, 15, 6)
    assert result.gains.shape == (2,)
    with pytest.raises(ValueError, match="half-scale network has scale 2, but the network has"):
        DualSR(Network(model, {}), Network(CoarSR(2), {}))
    with pytest.raises(ValueError, match=r"values from .* are not in \[0, 1\]"):
        dualsr(255 * lr)
    lr[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="1 pixels are NaN or infinite"):
        dualsr(lr)


def test_degraded_training_and_evaluation(make_config, tmp_path):
    settings = {
        "degradation__kernel": "anisotropic",
        "degradation__sigma": (0.5, 2.0),
        "degradation__noise": (0.12, 0.12),
        "data__validation": ("c",),
        "train__clip_norm": 0.5,
        "train__schedule": "cosine",
    }
    train(make_config(epochs=1 / 10, **settings), tmp_path / "noisy")
    train(make_config(epochs=1 / 10), tmp_path / "clean")
    noisy, clean = (records(tmp_path / w)[-1] for w in ("noisy", "clean"))
    assert noisy["psnr_db"] < clean["psnr_db"] - 1
    results = [evaluate(make_config(**settings), tmp_path / "noisy") for _ in range(2)]
    scores = [r["images"]["test"]["scores"]["Bicubic"]["psnr_db"] for r in results]
    assert scores[0] == scores[1]
    plain = evaluate(make_config(), tmp_path / "noisy")["images"]["test"]["scores"]["Bicubic"]
    assert scores[0] < plain["psnr_db"] - 1


def test_protocols_clip_and_crop(make_config, tmp_path):
    train(make_config(epochs=1 / 15), tmp_path)
    hr = np.load(f"{make_config().data.path}/test.npy").astype(np.float32)[:, :16]
    network, _ = restored(tmp_path)

    def coarse(config):
        return evaluate(config, tmp_path)["images"]["test"]["scores"]["CoarSR"]

    def expected(hr, clip):
        sr = DualSR(network)(low_resolution(hr, 2)).coarse
        return sr.clip(0, 1) if clip else sr

    dualsr = coarse(make_config(evaluate__crop=12))
    cut = hr[:12, :12] / 65535
    assert dualsr["psnr_db"] == pytest.approx(float(psnr_db(expected(cut, True), cut)), abs=1e-4)
    sspsr = coarse(make_config(protocol="sspsr"))
    whole = hr / np.load(f"{make_config().data.path}/test.npy").max()
    error = float(np.sqrt(np.mean((expected(whole, False) - whole) ** 2)))
    assert sspsr["rmse"] == pytest.approx(error, rel=1e-4)
    assert list(sspsr) == ["mpsnr_db", "ssim", "sam_deg", "cc", "rmse", "ergas"]


def test_bad_workdirs_and_checkpoints(make_config, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"workdir '.*file/run' cannot be written .*--workdir"):
        train(make_config(), tmp_path / "file" / "run")
    with pytest.raises(FileNotFoundError, match="there are no checkpoints in"):
        evaluate(make_config(), tmp_path / "nothing")
    train(make_config(epochs=1 / 15), tmp_path / "run")
    other = make_config(epochs=2 / 15, model__features=8)
    with pytest.raises(ValueError, match="another network: it has features=4, not 8"):
        train(other, tmp_path / "run")
    with pytest.raises(ValueError, match="unknown protocol 'x'"):
        evaluate(make_config(protocol="x"), tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
        with pytest.raises(ValueError, match=r"1 images with their cubes \(--save_cubes\)"):
            evaluate(make_config(), tmp_path / "run", save_cubes=True)
        evaluate(make_config(), tmp_path / "run", figures="pdf")
    written = sorted(path.name for path in (tmp_path / "run" / "evaluation").iterdir())
    assert written == ["results.csv", "results.json", "test_bands.pdf", "test_spectra.pdf"]


def test_bad_data_is_found_before_training(make_config, folder, tmp_path):
    with pytest.raises(ValueError, match="16x16 pixels are larger than a"):
        train(make_config(train__resize_scales=(0.5,), train__lr_patch=8), tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    cube = np.load(broken / "b.npy") / 65535
    cube[0, 0, 0] = np.nan
    np.save(broken / "b.npy", cube)
    with pytest.raises(ValueError, match="b has 1 pixels that are NaN"):
        train(make_config(data__path=str(broken)), tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_pictures_of_figures(rng):
    cubes = {name: rng.random((5, 4, 3)).astype(np.float32) for name in ("Reference", "x")}
    pictures, colours = run._pictures(cubes, np.array([640.0, 550.0, 470.0]))
    low, high = np.percentile(cubes["Reference"], (2, 98), axis=(0, 1))
    for name, cube in cubes.items():
        expected = ((cube - low) / (high - low)).clip(0, 1)
        np.testing.assert_allclose(pictures[name], expected, atol=1e-6)
    assert colours.startswith("colours: red 640 nm (band 1), green 550 nm")
    two = {name: cube[..., :2] for name, cube in cubes.items()}
    assert run._pictures(two, None) == ({}, "without colours, as there are fewer than three bands")


def test_bands_of_figures(capsys):
    assert figure_bands((10, 20), 31) == (10, 20)
    assert figure_bands((10, 20), 8) == (3, 6)
    assert "but the scenes have bands 1 to 8: figures show (3, 6)" in capsys.readouterr().out


def test_dark_training_scenes_are_noticed(make_config, folder, tmp_path, capsys):
    dark = tmp_path / "dark"
    dark.mkdir()
    for path in folder.glob("*.npy"):
        np.save(dark / path.name, np.load(path) // 16)
    for peak, warned in ((None, True), (4095, False)):
        train(
            make_config(epochs=1 / 15, data__path=str(dark), data__peak=peak), tmp_path / f"{peak}"
        )
        assert ("of full intensity: set config.data.peak" in capsys.readouterr().out) == warned


def test_a_diverging_run_stops(make_config, tmp_path):
    message = r"at step \d, in a batch of [abc](, [abc])?: lower train\.learning_rate"
    with pytest.raises(FloatingPointError, match=message):
        train(make_config(epochs=5, train__learning_rate=1e30), tmp_path)


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_errors_on_the_command_line(tmp_path):
    train_cave = ("dualsr_jax.train", "--config", "configs/cave.py:4", "--workdir", str(tmp_path))
    missing = command(*train_cave, "--config.data.path=nowhere")
    assert missing.returncode == 1
    assert missing.stderr.strip().endswith(
        "error: there is no folder 'nowhere': set config.data.path to the folder of cubes"
    )
    typo = command(*train_cave, "--config.train.lerning_rate=1")
    assert typo.returncode == 1
    assert "lerning_rate" in typo.stderr
    assert "learning_rate" in typo.stderr
    check = command("dualsr_jax.evaluate", "--config", "configs/smoke.py")
    assert check.returncode == 1
    assert "error: --weights is needed" in check.stderr
    former = command("dualsr_jax.evaluate", "--config", "configs/smoke.py", "--workdir", "runs/x")
    assert former.returncode == 1
    assert former.stderr.strip() == "error: flag --workdir=runs/x: write --weights instead"
    none = command(*train_cave[:2], "configs/cve.py:4", *train_cave[3:])
    assert (
        none.stderr.strip()
        == "error: there is no config 'configs/cve.py': expected one such as configs/cave.py:4"
    )
    scale = command(*train_cave[:2], "configs/cave.py:5", *train_cave[3:])
    assert scale.returncode == 1
    assert "unknown scale '5': expected configs/cave.py:2" in scale.stderr
    assert "Traceback" not in missing.stderr + typo.stderr + scale.stderr


def test_too_little_memory_is_one_line_and_a_bug_is_not():
    for text, known in (("RESOURCE_EXHAUSTED: Out of memory\\nmore", True), ("a bug", False)):
        code = f"from dualsr_jax.commands import run\ndef main(): raise RuntimeError('{text}')\n"
        done = subprocess.run(
            [sys.executable, "-c", f"{code}run(main)"], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 1
        assert (len(done.stderr.splitlines()) == 1) is known
        message = "error: a device has too little memory (RESOURCE_EXHAUSTED: Out of memory): free"
        assert done.stderr.startswith(message) is known


def test_an_interrupt_is_one_line():
    code = "from dualsr_jax.commands import run\ndef main(): raise KeyboardInterrupt\nrun(main)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 130
    assert done.stderr == "interrupted: run the same command again to resume\n"
