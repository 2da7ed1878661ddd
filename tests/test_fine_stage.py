import jax.numpy as jnp
import numpy as np
import pytest
from support.files import with_prefix

from dualsr_jax.fine_stage import back_project
from dualsr_jax.metrics import sam_deg
from dualsr_jax.ops.resize import imresize


def float32(array):
    return jnp.asarray(array, jnp.float32)


@pytest.mark.parametrize("case", ["gain_clipped", "gain_free"])
@pytest.mark.parametrize("iterations", [1, 3])
def test_golden(golden, case, iterations):
    arrays = with_prefix(golden("fine_stage"), case)
    sr, gains = back_project(float32(arrays["u"]), float32(arrays["v"]), iterations=iterations)
    np.testing.assert_allclose(sr, arrays[f"sr_iter{iterations}"], atol=1e-5)
    np.testing.assert_allclose(gains, arrays[f"gain_iter{iterations}"], atol=1e-4)


def test_each_image_of_a_batch_has_its_own_gain(golden):
    arrays = golden("fine_stage")
    u, v = (
        jnp.stack([float32(arrays[f"{case}/{x}"]) for case in ("gain_clipped", "gain_free")])
        for x in "uv"
    )
    sr, gains = back_project(u, v, iterations=3)
    assert gains.shape == (2, 3)
    for n in range(2):
        alone = back_project(u[n], v[n], iterations=3)
        np.testing.assert_allclose(sr[n], alone[0], atol=1e-6)
        np.testing.assert_allclose(gains[n], alone[1], rtol=1e-5)


def test_a_consistent_result_is_left_alone(rng):
    u = float32(rng.random((12, 16, 5)))
    sr, gains = back_project(u, imresize(u, 1 / 4), ratio=4)
    assert float(gains[0]) < 1e-4
    np.testing.assert_allclose(sr, u, atol=1e-6)


def test_a_limit_of_the_gain(golden):
    arrays = with_prefix(golden("fine_stage"), "gain_clipped")
    u, v = float32(arrays["u"]), float32(arrays["v"])
    whole, _ = back_project(u, v)
    sr, gains = back_project(u, v, max_gain=0.25)
    assert gains.tolist() == [0.25]
    np.testing.assert_allclose(sr - u, (whole - u) / 4, atol=1e-6)
    free = with_prefix(golden("fine_stage"), "gain_free")
    _, gains = back_project(float32(free["u"]), float32(free["v"]), max_gain=0.99)
    np.testing.assert_allclose(gains, free["gain_iter1"], atol=1e-4)  # below the limit
    for wrong in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="max_gain must be above 0 and at most 1, got"):
            back_project(u, v, max_gain=wrong)


def test_iterations_bring_the_spectra_closer(rng):
    u, v = float32(rng.random((16, 16, 6))), float32(rng.random((8, 8, 6)))
    before = sam_deg(imresize(u, 1 / 2), v)
    sr, _ = back_project(u, v, iterations=5)
    assert sam_deg(imresize(sr, 1 / 2), v) < 0.5 * before


@pytest.mark.parametrize(("v_shape", "ratio"), [((6, 9, 5), 2), ((6, 8, 4), 2), ((4, 5, 5), 3)])
def test_sizes_must_match(v_shape, ratio):
    with pytest.raises(ValueError, match="do not match"):
        back_project(jnp.zeros((12, 16, 5)), jnp.zeros(v_shape), ratio=ratio)
