import dataclasses

import jax
import numpy as np
import pytest
from support.scenes import Memory, small_networks, smooth

from dualsr_jax.large_scene.first_pass import FirstPass, _AngleSums
from dualsr_jax.large_scene.normalisation import plan, read_normalised, scan
from dualsr_jax.large_scene.second_pass import SecondPass
from dualsr_jax.large_scene.tile_store import FileTileStore, MemoryTileStore
from dualsr_jax.large_scene.tiling import Tiling, choose_tiling
from dualsr_jax.ops.resize import imresize


def super_resolved(source, dualsr, window, band_chunk, folder=None, spread=False):
    normalisation = plan(scan(source), source.dtype, source.metadata, peak=1.0)
    scene = FirstPass(
        source=source,
        normalisation=normalisation,
        stage=dualsr.coarse_stage,
        tiling=Tiling(window, band_chunk),
        spread=spread,
    )
    layout = scene.layout
    store = MemoryTileStore(layout) if folder is None else FileTileStore(folder, layout)
    scene.compute(range(len(layout.tiles)), store)
    return scene, SecondPass(scene, store)


def collected(write, shape, *settings):
    found = np.full(shape, 77, np.float32)

    def keep(block, row, column):
        found[row : row + block.shape[0], column : column + block.shape[1]] = block

    write(keep, *settings)
    return found


@pytest.mark.parametrize(
    ("scale", "guide", "window"),
    [(2, None, (29, 27)), (4, "half", (41, 33)), (4, "joint", (41, 33)), (3, None, (30, 35))],
)
def test_tiles_are_the_whole(rng, tmp_path, scale, guide, window):
    source, networks = Memory(smooth(rng, 41, 35, 6)), small_networks(scale, guide)
    whole = networks(source.cube)
    scene, second = super_resolved(source, networks, window, 4, tmp_path)
    assert len(scene.layout.tiles) > 1
    assert whole.gains[0] < 1
    np.testing.assert_allclose(second.gain, whole.gains[0], atol=1e-5)
    fine = collected(second.write_fine, second.shape, source.dtype)
    np.testing.assert_allclose(fine, whole.fine, atol=1e-5)
    here = slice(3, 38 * scale), slice(1, 31 * scale)
    coarse = second.read(*here, [4, 0])
    np.testing.assert_allclose(coarse, whole.coarse[here][..., [4, 0]], atol=1e-5)


def test_the_limit_of_the_gain_holds_in_tiles(rng):
    source = Memory(smooth(rng, 41, 35, 6))
    free = small_networks(4, "half")
    limit = float(free(source.cube).gains[0]) / 2
    networks = dataclasses.replace(free, max_gain=limit)
    whole = networks(source.cube)
    _, second = super_resolved(source, networks, (41, 33), 4)
    assert second.gain == limit
    np.testing.assert_allclose(whole.gains, limit, rtol=1e-6)
    fine = collected(second.write_fine, second.shape, source.dtype)
    np.testing.assert_allclose(fine, whole.fine, atol=1e-5)
    assert np.abs(fine - free(source.cube).fine).max() > 1e-4


def test_pixels_without_data_do_not_count_in_the_gain(rng):
    cube, networks = smooth(rng, 41, 35, 6), small_networks(2)
    cube[10:30, :12] = np.nan
    source = Memory(cube)
    _, second = super_resolved(source, networks, (29, 27), 4)
    normalisation = plan(scan(source), source.dtype, source.metadata, peak=1.0)
    filled, valid = read_normalised(source, slice(0, 41), slice(0, 35), normalisation)
    filled = np.moveaxis(filled, 0, -1)
    low = imresize(networks(filled).coarse.astype(np.float64), 0.5)
    cosine = (low * filled).sum(-1) / np.linalg.norm(low, axis=-1) / np.linalg.norm(filled, axis=-1)
    angles = np.rad2deg(np.arccos(cosine))
    mean = angles[valid].mean()
    assert mean < 1
    assert abs(mean - angles.mean()) > 1e-4
    np.testing.assert_allclose(second.gain, mean, rtol=1e-4)


def test_an_ensemble_in_tiles_is_that_of_the_whole(rng):
    cube, networks = smooth(rng, 31, 31, 6), small_networks(2, ensemble=16)
    whole = networks(cube)
    source = Memory(np.insert(cube, 2, np.float32(0.25), axis=-1))  # a band that is not usable
    _, second = super_resolved(source, networks, (27, 27), 4, spread=True)
    fine = collected(second.write_fine, second.shape, source.dtype)
    np.testing.assert_allclose(np.delete(fine, 2, -1), whole.fine, atol=1e-5)
    again = collected(second.write_fine, second.shape, source.dtype)
    np.testing.assert_array_equal(again, fine)  # writing leaves the store as it was
    spread = collected(second.write_spread, second.shape)
    assert whole.spread.max() > 1e-4
    np.testing.assert_allclose(np.delete(spread, 2, -1), whole.spread, atol=1e-5)
    assert not spread[..., 2].any()  # what networks did not see has no spread


@pytest.mark.parametrize(("factor", "angle_deg"), [(3, 0), (-3, 180)])
def test_angles_of_zero_and_of_parallel_spectra(rng, factor, angle_deg):
    """Parallel ones have a cosine that may be beyond 1 or -1 by rounding, zero ones have none."""
    low = rng.integers(1, 2**22, (300, 1, 400)).astype(np.float32)
    guide = np.float32(factor) * low  # exactly
    low[:, :, 0] = guide[:, :, 1] = 0
    sums = _AngleSums((1, 400))
    for bands in (slice(0, 200), slice(200, 300)):
        sums.add(low[bands], guide[bands])
    found = sums.finish(np.ones((1, 400), bool))
    assert found.count == 400
    assert abs(found.sum_deg - 398 * angle_deg) < 0.001


def test_devices_share_the_tiles_and_change_nothing(rng, monkeypatch):
    assert jax.local_device_count() == 2
    source, networks = Memory(smooth(rng, 41, 27, 5)), small_networks(2)
    scene, two = super_resolved(source, networks, (31, 27), 5)
    assert len(scene.layout.tiles) == 3  # one device repeats a tile
    devices = jax.local_devices()[:1]
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    monkeypatch.setattr(jax, "pmap", lambda f, **how: _of_one(f, how))
    _, one = super_resolved(source, networks, (31, 27), 5)
    everywhere = slice(0, 82), slice(0, 54)
    np.testing.assert_array_equal(one.read(*everywhere), two.read(*everywhere))
    assert one.gain == two.gain


def _of_one(function, how, pmap=jax.pmap):
    return pmap(function, devices=jax.local_devices()[:1], **how)


def test_memory_decides_on_tiles(rng):
    networks = small_networks(2)
    stage = networks.coarse_stage
    large = choose_tiling((2000, 3000, 100), 2, stage, memory_gb=1.0)
    small = choose_tiling((2000, 3000, 100), 2, stage, memory_gb=0.1)
    assert np.prod(small.window) < np.prod(large.window) / 5
    assert choose_tiling((60, 50, 100), 2, stage, memory_gb=1.0).band_chunk == 16
    ensemble = dataclasses.replace(stage, ensemble=8)
    assert np.prod(choose_tiling((2000, 3000, 100), 2, ensemble, memory_gb=1.0).window) < np.prod(
        large.window
    )
