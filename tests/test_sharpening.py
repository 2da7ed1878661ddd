"""Scenes of optics that blur, sharpened to what MATLAB bicubic would have made of them."""

import contextlib
import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from support.cubes import write
from support.scenes import Memory, small_networks, smooth

from dualsr_jax.io.cubes import open_cube
from dualsr_jax.io.metadata import Metadata
from dualsr_jax.large_scene.normalisation import plan, scan
from dualsr_jax.large_scene.sharpened import Sharpened
from dualsr_jax.ops.degrade import blur_and_decimate, gaussian_kernel, sigma_of_mtf
from dualsr_jax.ops.resize import imresize
from dualsr_jax.ops.sharpening import REACH, sharpen, sharpening_filter
from dualsr_jax.prediction import cluster
from dualsr_jax.prediction.batch import finished
from dualsr_jax.prediction.cluster import Weights, compute_tile
from dualsr_jax.prediction.options import PredictOptions
from dualsr_jax.prediction.run import predict


@pytest.fixture(scope="module")
def networks():
    return small_networks(2)


def natural(rng, side):
    """An image whose power falls with the square of the frequency, as that of natural images."""
    down, across = np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)
    frequency = np.hypot(np.hypot(down, across), 1 / side)
    waves = np.fft.fft2(rng.normal(size=(side, side))) / frequency
    image = np.fft.ifft2(waves).real
    return (image - image.min()) / np.ptp(image)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize(("mtf", "times"), [(0.45, 2), (0.3, 20), (0.15, 8)])
def test_it_restores_the_bicubic_image(rng, scale, mtf, times):
    hr = natural(rng, 48 * scale)[..., None].astype(np.float32)
    bicubic = imresize(hr, 1 / scale)[..., 0]
    sigma = sigma_of_mtf(mtf, scale)
    size = 2 * int(np.ceil(4 * sigma)) + scale % 2
    kernel = gaussian_kernel(size, sigma, sigma)
    blurred = np.asarray(blur_and_decimate(jnp.asarray(hr), kernel, scale))[..., 0]
    inner = (slice(REACH, -REACH),) * 2  # the blur sees other reflections at the edges
    before = np.abs(blurred - bicubic)[inner].mean()
    after = np.abs(sharpen(blurred, mtf, scale) - bicubic)[inner].mean()
    assert after < before / times


def test_the_filter_is_symmetric_and_keeps_the_mean():
    for mtf in (0.1, 0.3, 0.9):
        taps = sharpening_filter(mtf, 4)
        assert taps.shape == (2 * REACH + 1,)
        np.testing.assert_allclose(taps, taps[::-1], atol=1e-12)
        assert taps.sum() == pytest.approx(1)
    np.testing.assert_allclose(sharpen(np.full((5, 3), 7.0), 0.2, 4), 7)
    assert (sharpening_filter(0.1, 4) ** 2).sum() == pytest.approx(5.8, abs=0.1)


@pytest.mark.parametrize("mtf", [-0.3, 0.0, 0.05, 1.0, 30.0, float("nan")])
def test_other_numbers_are_refused(networks, rng, mtf):
    with pytest.raises(ValueError, match=r"is not an MTF at the Nyquist frequency"):
        networks.upscale(smooth(rng, 12, 12, 6), mtf=mtf)
    with pytest.raises(ValueError, match=r"is not an MTF at the Nyquist frequency"):
        PredictOptions(mtf=mtf)


def test_windows_are_those_of_the_whole_scene(rng):
    """With pixels that have no data in some bands, and near the edges."""
    cube = smooth(rng, 60, 50, 6, np.int16, 5000.0)
    cube[20:45, 22:48], cube[3, 4, 2] = -1, -1
    source = Memory(cube, nodata=-1.0)
    normalisation = plan(scan(source), source.dtype, source.metadata)
    scene = Sharpened(source, normalisation, 0.3, 4)
    whole = scene.read(slice(0, 60), slice(0, 50))
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(whole), cube == -1)
    far = sharpen(cube[..., 1].astype(np.float32), 0.3, 4)[:12, :12]
    np.testing.assert_allclose(whole[:12, :12, 1], far, rtol=1e-5)
    assert np.abs(np.diff(whole[:, 10, 0])).sum() > np.abs(np.diff(cube[:, 10, 0])).sum()
    for rows, columns in ((slice(0, 9), slice(40, 50)), (slice(17, 30), slice(15, 31))):
        np.testing.assert_array_equal(scene.read(rows, columns), whole[rows, columns])
        some = scene.read(rows, columns, [4, 2])
        np.testing.assert_array_equal(some, whole[rows, columns][..., [4, 2]])


def test_a_valid_pixel_does_not_become_nodata(rng):
    cube = smooth(rng, 20, 20, 6)
    mark = float(sharpen(cube[..., 3], 0.3, 2)[10, 10])
    source = Memory(cube, nodata=mark)
    scene = Sharpened(source, plan(scan(source), source.dtype, source.metadata), 0.3, 2)
    found = scene.read(slice(10, 11), slice(10, 11))
    assert found[0, 0, 3] != np.float32(mark)
    assert found[0, 0, 3] == pytest.approx(mark, rel=1e-6)


def test_the_networks_see_the_sharpened_cube(rng, networks):
    cube = smooth(rng, 21, 18, 6)
    sharp = np.stack([sharpen(cube[..., band], 0.3, 2) for band in range(6)], -1)
    found = networks.upscale(cube, mtf=0.3, peak=1.0)
    np.testing.assert_allclose(found, networks.upscale(sharp, peak=1.0), atol=1e-6)
    assert np.abs(found - networks.upscale(cube, peak=1.0)).max() > 1e-3


def test_a_file(tmp_path, rng, networks, capsys, monkeypatch):
    """Nodata, a bad band, tiles, threads, workers, tags, and a report on the sharpened scene."""
    networks.save_pretrained(tmp_path / "weights.safetensors")
    weights, cube = Weights(tmp_path / "weights.safetensors"), smooth(rng, 40, 36, 7, np.int16, 8e3)
    cube[:9, :5] = -99
    bad = np.arange(7) == 5
    write(tmp_path / "scene.hdr", cube, Metadata(nodata=-99.0, bad_bands=bad))
    options = PredictOptions(mtf=0.3, tile=(30, 30), report=tmp_path / "report")
    predict(tmp_path / "scene.hdr", tmp_path / "made.npy", weights, options)
    printed = capsys.readouterr().out
    assert "the scene is sharpened, for optics of an MTF of 0.3" in printed
    made = np.load(tmp_path / "made.npy", allow_pickle=False)
    assert made.dtype == np.int16
    masked = (cube == -99).repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(made == -99, masked)
    whole = networks.upscale(np.delete(cube, 5, 2), nodata=-99, mtf=0.3)
    assert np.abs(whole.astype(int) - np.delete(made, 5, 2)).max() <= 1

    threads = dataclasses.replace(options, scheduler="threads", report=None)
    predict(tmp_path / "scene.hdr", tmp_path / "threads.tif", weights, threads)
    with open_cube(tmp_path / "threads.tif") as reader:
        assert reader.metadata.tags["dualsr_mtf"] == "0.3"
        np.testing.assert_array_equal(reader.read(slice(0, 80), slice(0, 72)), made)

    def compute_here(job, indices, scheduler, done):
        """What workers do, in this process."""
        for index in indices:
            done(compute_tile(job, index))

    monkeypatch.setattr(cluster, "compute_on_cluster", compute_here)
    monkeypatch.setattr(cluster, "_opened", {})
    workers = dataclasses.replace(threads, scheduler="tcp://somewhere:1")
    with contextlib.ExitStack() as stack:  # a worker keeps its scene open until it ends

        def open_here(*place, **how):
            return stack.enter_context(open_cube(*place, **how))

        monkeypatch.setattr(cluster, "open_cube", open_here)
        predict(tmp_path / "scene.hdr", tmp_path / "workers.npy", weights, workers)
    np.testing.assert_array_equal(np.load(tmp_path / "workers.npy", allow_pickle=False), made)
    scene, output = tmp_path / "scene.hdr", tmp_path / "threads.tif"
    assert finished(scene, output, networks, threads)
    with pytest.raises(ValueError, match="exists, but is of another"):
        finished(scene, output, networks, dataclasses.replace(threads, mtf=None))
