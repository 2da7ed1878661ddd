"""Training on scenes from the air: the blur of imaging spectrometers, the cubes and the split."""

import sys

import numpy as np
import pytest
from support.cubes import write
from support.files import ROOT, load

from dualsr_jax.data.split import published_splits, read_split
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.ops.degrade import gaussian_kernel, sigma_of_mtf


def transfer(sigma, scale):
    """Modulation transfer of a blur kernel at the Nyquist frequency of the LR pixels."""
    kernel = np.asarray(gaussian_kernel(16 * scale, sigma, sigma))
    places = np.arange(len(kernel)) - (len(kernel) - 1) / 2
    return float((kernel.sum(0) * np.cos(np.pi * places / scale)).sum())


@pytest.mark.parametrize("scale", [2, 4])
def test_the_blur_has_the_modulation_transfer_that_was_asked_for(scale):
    config = load(ROOT / "configs" / "airborne.py").get_config(str(scale))
    sharpest, softest = config.degradation.sigma
    assert transfer(sharpest, scale) == pytest.approx(0.35, abs=1e-3)
    assert transfer(softest, scale) == pytest.approx(0.2, abs=1e-3)
    assert transfer(sigma_of_mtf(0.3, scale), scale) == pytest.approx(0.3, abs=1e-3)


def test_no_scene_that_is_tested_trains():
    split = read_split(ROOT / "scripts" / "airborne_split.txt")
    cave = read_split(published_splits("cave")["dualsr"])
    assert set(split["train"]) >= set(cave["train"])
    assert not set(split["train"]) & (set(cave["test"]) | set(split["test"]))


def test_cubes_hold_the_usable_bands_as_predict_normalises_them(tmp_path, monkeypatch, capsys):
    cube = np.random.default_rng(0).integers(1, 10000, (12, 10, 6)).astype(np.int16)
    cube[3, 4] = -1
    bad = np.arange(6) == 2
    metadata = Metadata(bad_bands=bad, nodata=-1.0, reflectance_scale=10000.0)
    write(tmp_path / "scene.hdr", cube, metadata)
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    script = load(ROOT / "scripts" / "usable_cubes.py")
    folder = tmp_path / "cubes"
    arguments = [str(tmp_path / "scene.hdr"), "--output", str(folder)]
    monkeypatch.setattr(sys, "argv", ["usable_cubes.py", *arguments])
    script.main()
    assert capsys.readouterr().out == "scene: 12x10x5\n"
    stored = np.load(folder / "scene.npy", allow_pickle=False)
    assert stored.dtype == np.uint16
    has_data = np.ones((12, 10), bool)
    has_data[3, 4] = False
    usable = cube[..., ~bad][has_data] / 10000
    np.testing.assert_allclose(stored[has_data] / 65535, usable, atol=1 / 65535)
    assert stored[3, 4].min() > 0
    assert stored[3, 4].max() < 65535
