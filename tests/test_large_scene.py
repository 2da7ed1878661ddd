import numpy as np
import pytest
from scenes import Memory, small_networks, smooth

from dualsr_jax.assembly import Assembly
from dualsr_jax.large_scene import Scene, Tiling
from dualsr_jax.parts import FileParts, MemoryParts
from dualsr_jax.preprocessing import prepare, scan


def super_resolved(source, networks, window, band_chunk, folder=None, **settings):
    preparation = prepare(scan(source), source.dtype, source.metadata, **settings)
    scene = Scene(source, preparation, networks, Tiling(window, band_chunk))
    bands = len(preparation.bands)
    if folder is None:
        parts = MemoryParts(source.shape[:2], scene.tiles, scene.layers, bands)
    else:
        parts = FileParts(folder, scene.tiles, scene.layers, bands)
    scene.compute(range(len(scene.tiles)), parts)
    assembly = Assembly(scene, parts)
    fine = np.full(assembly.shape, 77, source.dtype)

    def write(block, row, column):
        fine[row : row + block.shape[0], column : column + block.shape[1]] = block

    assembly.write_fine(write, source.dtype)
    return scene, assembly, fine


@pytest.mark.parametrize(
    ("scale", "half", "windows"),
    [(2, False, [(29, 27), (41, 27)]), (4, True, [(27, 33)]), (3, False, [(30, 29)])],
)
def test_tiles_are_the_whole(rng, tmp_path, scale, half, windows):
    source, networks = Memory(smooth(rng, 41, 35, 6)), small_networks(scale, half)
    whole = networks(source.cube)
    for window in windows:
        scene, assembly, fine = super_resolved(source, networks, window, 4, tmp_path, peak=1.0)
        assert len(scene.tiles) > 1
        np.testing.assert_allclose(assembly.gain, whole.gains[0], atol=1e-5)
        np.testing.assert_allclose(fine, whole.fine, atol=1e-5)
        here = slice(3, 2 + 40 * scale // 2), slice(1, 5 + 30)
        coarse = assembly.read(*here, [4, 0])
        np.testing.assert_allclose(coarse, whole.coarse[here][..., [4, 0]], atol=1e-5)
