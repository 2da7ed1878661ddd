import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.scenes import random_variables

from dualsr_jax.dualsr import DualSR
from dualsr_jax.large_scene.tiling import (
    check_window,
    choose_tiling,
    choose_window,
    halo,
    tiles,
)
from dualsr_jax.models.coarsr.coarse import CoarSR
from dualsr_jax.models.network import CoarseStage, Network, make_model
from dualsr_jax.ops import resize
from dualsr_jax.ops.resize import imresize


def stage_of(model, half=None):
    return CoarseStage(Network(model, {}), None if half is None else Network(half, {}))


def test_the_reach_is_as_far_as_a_nan_gets():
    model = CoarSR(4, features=2, num_asfm=1, num_blocks=2)
    reach = model.reach
    height, width = 2 * reach + 5, reach + 3
    variables = random_variables(model, 0)
    images = np.zeros((1, 1, height, width, 5), np.float32)
    images[0, 0, reach + 2, 0] = np.nan
    state = np.zeros((1, height, width, 2), np.float32)
    run = jax.jit(functools.partial(model.apply, method="bands"))
    _, (residual,) = run(variables, state, images, np.array([True]))
    seen = np.isnan(residual[0, 0]).reshape(height, 4, width, 4).any((1, 3))
    assert np.flatnonzero(seen.any(1)).tolist() == list(range(2, 2 * reach + 3))
    assert np.flatnonzero(seen.any(0)).tolist() == list(range(reach + 1))


@pytest.mark.parametrize(("scale", "ratio"), [(2, 2), (3, 3), (4, 2), (4, 4), (8, 2), (8, 8)])
def test_the_halo_holds_what_the_fine_stage_reduces(scale, ratio):
    half = CoarSR(scale // 2) if ratio == 2 and scale > 2 else None
    beyond = halo(stage_of(CoarSR(scale), half)) - CoarSR(scale).reach
    guide = scale // ratio  # pixels per LR pixel
    fine = np.zeros((9 * scale, 9 * scale))
    seen = set()
    for row in range(9 * scale):
        fine[:] = 0
        fine[row, 4 * scale] = 1
        reduced = np.flatnonzero(np.abs(resize.reduce(fine, ratio)).max(1) > 1e-12)
        seen |= {place // guide - row // scale for place in reduced}
    assert max(seen) == -min(seen) == beyond


def test_a_larger_half_network_decides():
    half = CoarSR(2, num_asfm=3)
    assert halo(stage_of(CoarSR(4, num_asfm=1), half)) == half.reach


@pytest.mark.parametrize(
    ("size", "window", "margin"), [((50, 31), (20, 31), 6), ((41, 37), (13, 15), 6)]
)
def test_cores_partition_the_scene_inside_their_halos(size, window, margin):
    count = np.zeros(size, int)
    for tile in tiles(*size, window, margin):
        count[tile.rows, tile.columns] += 1
        for start, core, side, length in zip(
            (tile.row, tile.column), (tile.rows, tile.columns), window, size, strict=True
        ):
            assert 0 <= start <= length - side
            assert core.start == start == 0 or core.start - start >= margin
            end = start + side
            assert core.stop == end == length or end - core.stop >= margin
        assert tile.core(3)[0].stop == 3 * (tile.rows.stop - tile.row)
    assert (count == 1).all()


def test_windows_are_chosen_for_the_least_work():
    assert choose_window(100, 80, 10, 8000) == (100, 80)
    for most in (60_000, 300_000, 500_000):
        height, width = choose_window(1000, 1500, 26, most)
        assert height * width <= most
        area = height * width * len(tiles(1000, 1500, (height, width), 26))
        side = int(most**0.5)
        assert area <= side**2 * len(tiles(1000, 1500, (side, side), 26))
    assert len(tiles(400, 400, choose_window(400, 400, 10, 160_000, devices=2), 10)) == 2
    with pytest.raises(ValueError, match="has at least 441: give more memory"):
        choose_window(1000, 1000, 10, 440)
    with pytest.raises(ValueError, match="tiles of 20x500 pixels are too small: 10 pixels on"):
        check_window((20, 500), 100, 100, 10)


@pytest.mark.parametrize("factor", [2, 3, 8])
@pytest.mark.parametrize("size", [(7, 5), (1, 2)])
def test_resizing_by_whole_factors_is_imresize(rng, factor, size):
    small = rng.random((2, *size))
    large = rng.random((2, factor * size[0], factor * size[1]))
    for found, expected in (
        (resize.enlarge(small, factor), imresize(np.moveaxis(small, 0, -1).copy(), factor)),
        (resize.reduce(large, factor), imresize(np.moveaxis(large, 0, -1).copy(), 1 / factor)),
        (
            np.asarray(resize.enlarge(jnp.asarray(small, jnp.float32), factor)),
            imresize(np.moveaxis(small, 0, -1).copy(), factor),
        ),
    ):
        tolerance = 1e-13 if found.dtype == np.float64 else 1e-6
        np.testing.assert_allclose(np.moveaxis(found, 0, -1), expected, atol=tolerance)
    with pytest.raises(ValueError, match="cannot be reduced 2 times: crop them first"):
        resize.reduce(np.zeros((3, 4)), 2)


def test_memory_of_networks_that_see_all_bands():
    def tiling(method, bands=31, **how):
        stage = stage_of(make_model({"method": method, "scale": 4, "num_bands": 31}))
        return choose_tiling((300, 200, bands), 2, stage, **how)

    assert tiling("EDSR").window == (300, 200)
    # Feature maps of all bands and, of a few bands, what enlarging them takes.
    held = tiling("MCNet")
    assert held.band_chunk < 16
    assert 100 < held.window[0] < 300
    whole = tiling("SSPSR", memory_gb=40)
    assert whole.window == (300, 200)
    with pytest.raises(ValueError, match=r"SSPSR cannot be computed in tiles.*about \d\d GB of"):
        tiling("SSPSR")
    with pytest.raises(ValueError, match="tiles of 50x50 pixels are not possible: each pixel that"):
        tiling("ESSAformer", window=(50, 50))
    with pytest.raises(ValueError, match="MCNet is made for 31 bands, but 30 are given, those fl"):
        tiling("MCNet", bands=30)


def test_an_ensemble_does_not_reverse_bands_that_weights_belong_to():
    networks = [
        Network(make_model({"method": method, "scale": 4, "num_bands": 31}), {})
        for method in ("SFCSR", "MCNet")
    ]
    DualSR(networks[0], ensemble=16)
    with pytest.raises(ValueError, match="reverses the bands, but the weights of MCNet belong to"):
        DualSR(networks[1], ensemble=16)
