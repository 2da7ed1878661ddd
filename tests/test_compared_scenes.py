"""Scenes, files and exports with the compared methods: all that takes a network takes each."""

import numpy as np
import pytest
from jax import export
from support.methods import SMALL_METHODS, small
from support.scenes import Memory, random_variables, smooth

from dualsr_jax.dualsr import DualSR
from dualsr_jax.large_scene.first_pass import FirstPass
from dualsr_jax.large_scene.normalisation import plan, scan
from dualsr_jax.large_scene.second_pass import SecondPass
from dualsr_jax.large_scene.tile_store import MemoryTileStore
from dualsr_jax.large_scene.tiling import choose_tiling, halo
from dualsr_jax.models.network import Network
from dualsr_jax.prediction.batch import check_before_run
from dualsr_jax.prediction.cluster import Weights
from dualsr_jax.prediction.options import PredictOptions
from dualsr_jax.prediction.run import predict
from dualsr_jax.stablehlo import export_dualsr

UNTILED = ("SSPSR", "ESSAformer")


def made(method, **settings):
    """Both stages, with a network of a method and random weights."""
    model = small(method, **settings)
    lr = np.zeros((1, 8, 8, model.num_bands or model.min_bands), np.float32)
    return DualSR(Network(model, random_variables(model, 0, lr)))


def super_resolved(cube, dualsr, window):
    """The fine result of the two passes, tile by tile, and the number of tiles."""
    source = Memory(cube)
    normalisation = plan(scan(source), source.dtype, source.metadata, peak=1.0)
    stage = dualsr.coarse_stage
    tiling = choose_tiling(cube.shape, 4, stage, window=window)
    scene = FirstPass(source=source, normalisation=normalisation, stage=stage, tiling=tiling)
    store = MemoryTileStore(scene.layout)
    scene.compute(range(len(scene.layout.tiles)), store)
    second = SecondPass(scene, store)
    found = np.full(second.shape, np.nan, np.float32)

    def write(block, row, column):
        found[row : row + block.shape[0], column : column + block.shape[1]] = block

    second.write_fine(write, np.dtype(np.float32))
    return found, len(scene.layout.tiles)


@pytest.mark.parametrize("method", SMALL_METHODS)
def test_tiles_exports_and_files_give_the_same(rng, tmp_path, method):
    dualsr = made(method)
    margin = halo(dualsr.coarse_stage)
    side = 7 if method in UNTILED else 2 * margin + 1
    cube = smooth(rng, 6, 7 if method in UNTILED else 2 * side - 2 * margin, 5)
    expected = dualsr(cube)
    found, tiles = super_resolved(cube, dualsr, None if method in UNTILED else (6, side))
    assert tiles == (1 if method in UNTILED else 2)
    np.testing.assert_allclose(found, expected.fine, atol=1e-5)

    content = export_dualsr(dualsr, ("cpu",)).serialize()
    np.testing.assert_allclose(export.deserialize(content).call(cube), expected.fine, atol=1e-5)

    dualsr.save_pretrained(tmp_path / "weights.safetensors")
    loaded = DualSR.from_pretrained(tmp_path / "weights.safetensors", band_chunk=None)
    assert loaded.coarse.model == dualsr.coarse.model
    assert loaded.sha256 == dualsr.sha256


def test_a_network_of_another_method_guides_the_fine_stage(rng):
    dualsr = DualSR(made("SFCSR", scale=4).coarse, made("EDSR").coarse)
    cube = smooth(rng, 5, 6, 5)
    found, _ = super_resolved(cube, dualsr, None)
    np.testing.assert_allclose(found, dualsr(cube).fine, atol=1e-5)


def test_bands_that_do_not_fit_are_refused_before_work(rng):
    dualsr = made("MCNet")
    cube = smooth(rng, 6, 6, 6)
    for run in (dualsr.upscale, lambda cube: dualsr(cube)):
        with pytest.raises(ValueError, match=r"made for 5"):
            run(cube)
    half = made("EDSR", num_bands=6).coarse
    with pytest.raises(ValueError, match="EDSR is made for 6 bands, but 5 are given"):
        export_dualsr(DualSR(made("MCNet", scale=4).coarse, half), ("cpu",))


def test_predict_says_that_a_scene_is_computed_untiled(rng, tmp_path, capsys):
    made("SSPSR").save_pretrained(tmp_path / "weights.safetensors")
    np.save(tmp_path / "scene.npy", smooth(rng, 6, 7, 5))
    weights = Weights(tmp_path / "weights.safetensors")
    predict(tmp_path / "scene.npy", tmp_path / "sr.npy", weights, PredictOptions(peak=1.0))
    out = capsys.readouterr().out
    assert "SSPSR sees the whole scene: it is computed untiled" in out
    assert np.load(tmp_path / "sr.npy").shape == (12, 14, 5)
    little = PredictOptions(peak=1.0, memory_gb=1e-5, overwrite=True)
    with pytest.raises(ValueError, match=r"nothing was computed, .*SSPSR cannot be computed in ti"):
        check_before_run(tmp_path / "scene.npy", tmp_path / "sr.npy", weights.dualsr, little)
    tiled = PredictOptions(peak=1.0, tile=(4, 4), overwrite=True)
    with pytest.raises(ValueError, match="tiles of 4x4 pixels are not possible"):
        predict(tmp_path / "scene.npy", tmp_path / "sr.npy", weights, tiled)
