"""Blur, decimation and noise against SciPy, and what the step makes of a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal

from dualsr_jax.data.test_images import low_resolution
from dualsr_jax.ops.degrade import (
    Degradation,
    add_noise,
    blur_and_decimate,
    degrade,
    draw_kernel,
    gaussian_kernel,
    image_keys,
)
from dualsr_jax.ops.resize import imresize
from dualsr_jax.training.step import make_images


def reference(hr, kernel, scale):
    """Correlates with scipy and takes the middle of each block."""
    size = len(kernel)
    margin = max(size, scale)
    padded = np.pad(
        hr.astype(np.float64), ((margin, margin), (margin, margin), (0, 0)), "symmetric"
    )
    blurred = [
        scipy.signal.correlate2d(padded[..., k], kernel, mode="valid") for k in range(hr.shape[-1])
    ]
    # Tap 0 of the first block's kernel lies (scale - size) / 2 pixels into the block.
    first = margin + (scale - size) // 2
    height, width = (n // scale for n in hr.shape[:2])
    rows = first + scale * np.arange(height)
    columns = first + scale * np.arange(width)
    return np.stack(blurred, -1)[np.ix_(rows, columns)]


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("sigma", [(0.4, 0.4, 0.0), (1.6, 1.6, 0.0), (2.5, 0.8, 0.6)])
def test_blur_and_decimation_equal_scipy(rng, scale, sigma):
    hr = rng.random((24, 48, 5)).astype(np.float32)
    size = Degradation("isotropic", (sigma[0], max(sigma[:2]))).kernel_size(scale)
    kernel = gaussian_kernel(size, *sigma)
    result = blur_and_decimate(jnp.asarray(hr), kernel, scale)
    np.testing.assert_allclose(result, reference(hr, np.asarray(kernel), scale), atol=1e-6)


def test_kernels_equal_scipy():
    impulse = np.zeros((13, 13))
    impulse[6, 6] = 1
    expected = scipy.ndimage.gaussian_filter(impulse, (1.7, 0.9), truncate=20)
    expected /= expected.sum()
    np.testing.assert_allclose(gaussian_kernel(13, 1.7, 0.9), expected, atol=1e-4)
    np.testing.assert_allclose(gaussian_kernel(13, 1.7, 0.9, np.pi / 2), expected.T, atol=1e-4)
    turned = np.asarray(gaussian_kernel(31, 4.0, 1.5, 0.5), np.float64)
    y, x = np.mgrid[-15:16, -15:16]
    covariance = [[(turned * a * b).sum() for b in (x, y)] for a in (x, y)]
    cos, sin = np.cos(0.5), np.sin(0.5)
    axes = np.array([[cos, sin], [-sin, cos]])  # rows: the directions of sigma_x and sigma_y
    np.testing.assert_allclose(axes @ covariance @ axes.T, np.diag([2.25, 16.0]), atol=0.05)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("kernel", ["bicubic", "isotropic"])
def test_lr_pixels_lie_at_the_centres_of_their_blocks(scale, kernel):
    ramp = np.broadcast_to(np.arange(48.0, dtype=np.float32)[None, :, None], (48, 48, 1)) / 48
    lr = low_resolution(ramp, scale, degradation=Degradation(kernel, (1.2, 1.2)))
    inner = slice(8 // scale + 1, -8 // scale - 1)
    expected = (np.arange(48 // scale) * scale + (scale - 1) / 2) / 48
    np.testing.assert_allclose(lr[5, inner, 0], expected[inner], atol=1e-6)


def test_what_is_drawn_lies_in_its_range_and_depends_on_the_image_alone():
    degradation = Degradation("anisotropic", (0.5, 3.0), (0.01, 0.05))
    keys = image_keys(0, np.arange(400, dtype=np.uint32))
    kernels = np.asarray(jax.vmap(lambda k: draw_kernel(degradation, k, 4))(keys), np.float64)
    np.testing.assert_allclose(kernels.sum((1, 2)), 1, atol=1e-5)
    offset = np.arange(kernels.shape[-1]) - (kernels.shape[-1] - 1) / 2
    y, x = np.meshgrid(offset, offset, indexing="ij")
    covariance = np.stack(
        [[(kernels * a * b).sum((1, 2)) for b in (x, y)] for a in (x, y)]
    ).transpose(2, 0, 1)
    sigmas = np.sqrt(np.linalg.eigvalsh(covariance))
    assert sigmas.min() > 0.4  # a kernel of sampled values is not quite as narrow
    assert sigmas.max() < 3.0
    assert sigmas[:, 1].max() > 2.7
    assert (sigmas[:, 1] / sigmas[:, 0]).max() > 3  # not isotropic
    angles = np.arctan2(covariance[:, 0, 1], covariance[:, 0, 0] - covariance[:, 1, 1])
    assert np.ptp(angles) > 3

    hr = np.broadcast_to(np.float32(0.5), (400, 16, 16, 5))
    lr = np.asarray(degrade(jnp.asarray(hr), keys, scale=4, degradation=degradation))
    deviations = (lr - 0.5).std((1, 2, 3))
    assert abs(deviations.mean() - 0.03) < 0.002
    assert 0.005 < deviations.min() < 0.018
    assert 0.04 < deviations.max() < 0.07
    alone = degrade(jnp.asarray(hr[7:8]), keys[7:8], scale=4, degradation=degradation)
    np.testing.assert_allclose(alone[0], lr[7], atol=1e-6)


def test_blur_and_noise_draw_from_keys_of_their_own(monkeypatch):
    drawn, uniform, normal = [], jax.random.uniform, jax.random.normal

    def record(draw):
        def recorded(key, *args, **how):
            jax.debug.callback(lambda data: drawn.append(bytes(data)), jax.random.key_data(key))
            return draw(key, *args, **how)

        return recorded

    monkeypatch.setattr(jax.random, "uniform", record(uniform))
    monkeypatch.setattr(jax.random, "normal", record(normal))
    parents, split = [], jax.random.split

    def splitting(key, *args):
        jax.debug.callback(lambda data: parents.append(bytes(data)), jax.random.key_data(key))
        return split(key, *args)

    monkeypatch.setattr(jax.random, "split", splitting)
    degradation = Degradation("anisotropic", (0.5, 2.0), (0.01, 0.05))
    keys = image_keys(3, np.array([4], np.uint32))
    degrade(jnp.zeros((1, 16, 16, 5)), keys, scale=4, degradation=degradation)
    jax.effects_barrier()
    assert (len(drawn), len(parents)) == (5, 2)
    assert len({*drawn, *parents}) == 7


def test_the_blur_of_a_seed_stays_what_it_was():
    degradation = Degradation("anisotropic", (0.5, 2.0))
    key = image_keys(3, np.array([4], np.uint32))[0]
    kernel = np.asarray(draw_kernel(degradation, key, 4))
    np.testing.assert_allclose(kernel[6, 5:8], [0.05296925, 0.10933767, 0.10241507], rtol=1e-5)


def test_noise_is_white_and_normal():
    noise = np.asarray(add_noise(jnp.zeros((100, 100, 20)), jax.random.key(0), 0.1))
    assert scipy.stats.kstest(noise.ravel() / 0.1, "norm").pvalue > 0.01
    for axis in range(3):
        neighbours = np.corrcoef(
            np.delete(noise, 0, axis).ravel(), np.delete(noise, -1, axis).ravel()
        )[0, 1]
        assert abs(neighbours) < 0.01


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_the_step_makes_matlab_bicubic_of_each_patch(rng, scale):
    stored = rng.integers(0, 65536, (5, 24, 24, 6)).astype(np.uint16)
    batch = {"hr": stored, "variant": np.arange(5, dtype=np.int32), "sample": np.arange(5)}
    lr, (bicubic,), (hr,) = make_images(batch, (scale,), degradation=Degradation())
    for k in range(5):
        patch = stored[k] / 65535
        patch = np.rot90(patch, k) if k < 4 else patch[:, ::-1]
        np.testing.assert_allclose(hr[k], patch, atol=1e-6)
        small = imresize(np.ascontiguousarray(patch), 1 / scale)  # in float64, held to MATLAB's
        np.testing.assert_allclose(lr[k], small, atol=2e-6)  # figures by tests/test_resize.py
        np.testing.assert_allclose(bicubic[k], imresize(small, scale), atol=5e-6)


def test_blur_and_noise_inside_the_step(rng):
    stored = rng.integers(0, 65536, (3, 24, 24, 6)).astype(np.uint16)
    batch = {"hr": stored, "variant": np.zeros(3, np.int32), "sample": np.array([4, 9, 2])}
    degradation = Degradation("anisotropic", (0.5, 2.0), (0.02, 0.02))
    make = jax.jit(lambda b: make_images(b, (4,), degradation=degradation, seed=3))
    lr, (bicubic,), _ = make(batch)
    keys = image_keys(3, np.array([4, 9, 2], np.uint32))
    for k in range(3):
        kernel = np.asarray(draw_kernel(degradation, keys[k], 4))
        noise = np.asarray(lr[k]) - reference(stored[k] / 65535, kernel, 4)
        assert abs(noise.std() - 0.02) < 0.003
        assert abs(noise.mean()) < 0.005
        np.testing.assert_allclose(bicubic[k], imresize(np.asarray(lr[k]), 4), atol=2e-6)
    shuffled = make({name: array[::-1] for name, array in batch.items()})[0]
    np.testing.assert_allclose(shuffled, lr[::-1], atol=1e-6)
    assert not np.allclose(make({**batch, "sample": np.array([5, 9, 2])})[0][0], lr[0])


def test_a_share_of_the_images_is_blurred(rng):
    hr = np.broadcast_to(rng.random((1, 16, 16, 5), np.float32), (200, 16, 16, 5))
    keys = image_keys(0, np.arange(200, dtype=np.uint32))
    how = {"kernel": "isotropic", "sigma": (1.5, 1.5)}
    mixed = degrade(hr, keys, scale=4, degradation=Degradation(**how, share=0.3))
    bicubic = degrade(hr[:1], keys[:1], scale=4, degradation=Degradation())
    blurred = degrade(hr[:1], keys[:1], scale=4, degradation=Degradation(**how))
    is_blurred = np.abs(mixed - blurred).max((1, 2, 3)) < 1e-6
    is_bicubic = np.abs(mixed - bicubic).max((1, 2, 3)) < 1e-6
    np.testing.assert_array_equal(is_blurred, ~is_bicubic)
    assert 40 < is_blurred.sum() < 80  # of 200, at three standard deviations


def test_test_images_are_degraded_by_their_name(rng):
    hr = rng.random((16, 16, 5)).astype(np.float32)
    degradation = Degradation("anisotropic", (0.5, 2.0), (0.0, 0.1))
    first = low_resolution(hr, 4, degradation=degradation, name="a")
    np.testing.assert_array_equal(low_resolution(hr, 4, degradation=degradation, name="a"), first)
    assert not np.allclose(low_resolution(hr, 4, degradation=degradation, name="b"), first)
    assert not np.allclose(low_resolution(hr, 4, degradation=degradation, name="a", seed=1), first)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel": "box"}, "unknown degradation.kernel 'box'"),
        ({"sigma": (2.0, 1.0)}, r"degradation.sigma=\(2.0, 1.0\) is not a range"),
        ({"sigma": (0.0, 1.0)}, "0.001 <= low"),
        ({"share": 0.0}, "degradation.share=0.0 is not the fraction"),
        ({"noise": (-0.1, 0.1)}, r"degradation.noise=\(-0.1, 0.1\) is not a range"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Degradation(**settings)


def test_a_kernel_needs_a_centre(rng):
    with pytest.raises(ValueError, match="kernel of 5 taps has no centre in blocks of 4"):
        blur_and_decimate(jnp.zeros((8, 8, 5)), jnp.ones((5, 5)), 4)


@pytest.mark.parametrize("kernel", ["bicubic", "isotropic"])
@pytest.mark.parametrize("noise", [(0.0, 0.0), (0.1, 0.1)])
@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_an_array_keeps_its_type(rng, kernel, noise, kind):
    hr = kind(rng.random((1, 8, 8, 5), np.float32))
    keys = image_keys(0, np.zeros(1, np.uint32))
    lr = degrade(hr, keys, scale=4, degradation=Degradation(kernel, noise=noise))
    assert isinstance(lr, type(hr))
    assert lr.dtype == np.float32
