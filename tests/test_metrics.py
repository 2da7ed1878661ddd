import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from dualsr_jax import metrics
from dualsr_jax.ops.spectral_angle import spectral_angle_rad
from dualsr_jax.protocols import PROTOCOLS, get_protocol


@pytest.fixture
def pair(rng):
    hr = rng.random((24, 20, 6)).astype(np.float32)
    return (hr + 0.05 * rng.normal(size=hr.shape)).astype(np.float32), hr


def all_metrics(sr, hr):
    return {
        (protocol, name): value
        for protocol in PROTOCOLS
        for name, value in PROTOCOLS[protocol].score(sr, hr, scale=4).items()
    }


@pytest.mark.parametrize("name", ["psnr_db", "mpsnr_db", "ssim", "sam_deg"])
def test_golden(golden, name):
    arrays = golden("metrics")
    value = getattr(metrics, name)(*(arrays[k].astype(np.float32) for k in ("sr", "hr")))
    assert float(value) == pytest.approx(float(arrays[name]), abs=1e-4)


def test_identity_is_exact(rng):
    cube = rng.random((50, 40, 31)).astype(np.float32)
    scores = all_metrics(cube, cube)
    assert scores.pop(("sspsr", "cc")) == pytest.approx(1, abs=1e-6)
    perfect = {"psnr_db": np.inf, "mpsnr_db": np.inf, "ssim": 1.0}
    for (_, name), value in scores.items():
        assert float(value) == perfect.get(name, 0.0), name


def test_extremes():
    black, white = np.zeros((16, 16, 5), np.float32), np.ones((16, 16, 5), np.float32)
    assert float(metrics.psnr_db(black, white)) == 0
    assert float(metrics.ssim(black, white)) == pytest.approx(1e-4, rel=1e-2)  # C1 / (1 + C1)
    assert float(metrics.sam_deg(black, white)) == 0  # an all-zero spectrum counts as 0
    one, other = np.eye(5, dtype=np.float32)[:2]
    right_angle = metrics.sam_deg(
        np.broadcast_to(one, (16, 16, 5)), np.broadcast_to(other, (16, 16, 5))
    )
    assert float(right_angle) == pytest.approx(90, abs=1e-3)


@pytest.mark.parametrize("contrast", [1.0, 0.1])  # 0.1: variances of the size of SSIM's constants
def test_ssim_equals_scikit_image(pair, contrast):
    sr, hr = (contrast * x for x in pair)
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    for function, options in ((metrics.ssim, gaussian), (metrics.ssim_uniform, {"win_size": 7})):
        bands = [
            structural_similarity(
                *(x[..., k].astype(float) for x in (sr, hr)), data_range=1, **options
            )
            for k in range(6)
        ]
        assert float(function(sr, hr)) == pytest.approx(np.mean(bands), abs=1e-5)


def test_band_metrics_equal_numpy(pair):
    sr, hr = (x.astype(float) for x in pair)
    mse = ((sr - hr) ** 2).mean((0, 1))
    expected = {
        "mpsnr_db": np.mean(-10 * np.log10(mse)),
        "rmse": np.sqrt(mse.mean()),
        "ergas": 25 * np.sqrt((mse / hr.mean((0, 1)) ** 2).mean()),
        "cc": np.mean(
            [np.corrcoef(sr[..., k].ravel(), hr[..., k].ravel())[0, 1] for k in range(6)]
        ),
    }
    scores = PROTOCOLS["sspsr"].score(*pair, scale=4)
    for name, value in expected.items():
        assert float(scores[name]) == pytest.approx(value, rel=1e-5), name


def test_sam_of_zero_spectra(pair):
    sr, hr = (x.copy() for x in pair)
    whole = float(metrics.sam_deg(sr, hr))
    angles = np.rad2deg(np.asarray(spectral_angle_rad(jnp.asarray(sr), jnp.asarray(hr))))
    hr[:6] = 0
    assert float(metrics.sam_deg(sr, hr)) == pytest.approx(angles[6:].sum() / angles.size, rel=1e-5)
    assert float(metrics.sam_deg_nonzero(sr, hr)) == pytest.approx(angles[6:].mean(), rel=1e-5)
    assert whole == pytest.approx(angles.mean(), rel=1e-5)


def test_a_pixel_that_is_zero_in_one_cube_alone_is_not_counted():
    sr, hr = np.ones((2, 1, 2), np.float32), np.ones((2, 1, 2), np.float32)
    hr[0, 0, 0] = 0  # 45 degrees
    sr[1] = 0
    assert float(metrics.sam_deg_nonzero(sr, hr)) == pytest.approx(45, rel=1e-5)
    assert float(metrics.sam_deg_nonzero(hr, sr)) == pytest.approx(45, rel=1e-5)


@pytest.mark.parametrize("size", [1e-37, 1e-30, 1e-24, 1e-23, 1e-12, 1.0, 1e12, 1e20, 1e37])
def test_the_angle_does_not_depend_on_the_size_of_the_spectra(size):
    a, b = np.float32([[[2.0, 1, 0]]]), np.float32([[[1.0, 1, 0]]])
    expected = float(metrics.sam_deg(a, b))
    assert expected == pytest.approx(18.434949, rel=1e-5)
    for pair in ((a, b * np.float32(size)), (a * np.float32(size), b * np.float32(size))):
        assert float(metrics.sam_deg(*pair)) == pytest.approx(expected, rel=1e-5)
        assert float(metrics.sam_deg_nonzero(*pair)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("angle", [1e-4, 1e-2, 1.0, 3.0])
def test_spectral_angle_is_accurate_at_every_angle(angle):
    a, b = np.array([1.0, 0, 0]), np.array([np.cos(angle), np.sin(angle), 0])
    computed = spectral_angle_rad(
        jnp.asarray(3 * a, jnp.float32), jnp.asarray(0.2 * b, jnp.float32)
    )
    assert float(computed) == pytest.approx(angle, rel=1e-4)


def test_batches_give_one_number_an_image(pair):
    sr, hr = pair
    batch = all_metrics(np.stack([sr, hr, sr]), np.stack([hr, hr, hr]))
    single = all_metrics(sr, hr)
    for key, value in batch.items():
        assert value.shape == (3,)
        np.testing.assert_allclose(value[0], single[key], rtol=1e-5)
        np.testing.assert_array_equal(value[0], value[2])


def test_float32_mean_of_many_pixels_is_accurate():
    # 16 million equal errors: a naive float32 sum would lose digits.
    sr = jnp.full((512, 512, 64), 0.01, jnp.float32)
    assert float(jax.jit(metrics.psnr_db)(sr, jnp.zeros_like(sr))) == pytest.approx(40, abs=1e-4)


@pytest.mark.parametrize("name", ["psnr_db", "ssim", "sam_deg", "rmse"])
def test_shapes_must_agree(name, pair):
    sr, hr = pair
    with pytest.raises(ValueError, match="one shape"):
        getattr(metrics, name)(sr[:-1], hr)


def test_small_images_and_unknown_protocols(pair):
    with pytest.raises(ValueError, match="11x11"):
        metrics.ssim(pair[0][:10], pair[1][:10])
    with pytest.raises(ValueError, match="unknown protocol 'psnr'"):
        get_protocol("psnr")
