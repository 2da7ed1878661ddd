import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualsr_jax.ops.resize import imresize, resize_matrix

SCALES = ["1_2", "1_3", "1_4", "1_8", "0.75", "0.5", "2", "3", "4", "8"]


def as_number(text):
    return 1 / int(text[2:]) if text.startswith("1_") else float(text)


@pytest.mark.parametrize("text", SCALES)
def test_golden(golden, text):
    arrays = golden("imresize")
    scale, expected = as_number(text), arrays[f"scale_{text}"]
    # NumPy float64 agrees to rounding, jitted float32 to a few units in the last place.
    np.testing.assert_allclose(imresize(arrays["input"], scale), expected, atol=1e-14)
    in_jax = jax.jit(lambda x: imresize(x, scale))(jnp.asarray(arrays["input"], jnp.float32))
    assert in_jax.dtype == jnp.float32
    np.testing.assert_allclose(in_jax, expected, atol=1e-6)


def test_numpy_stays_numpy(rng):
    cube = rng.random((2, 6, 7, 5))
    assert isinstance(imresize(cube, 2), np.ndarray)
    assert imresize(cube.astype(np.float32), 2).dtype == np.float32
    np.testing.assert_array_equal(imresize(cube, 2)[1], imresize(cube[1], 2))


@pytest.mark.parametrize("scale", [1 / 8, 0.3, 0.75, 1, 1.7, 4])
def test_constants_are_kept_and_sizes_are_rounded_up(scale):
    result = imresize(np.full((13, 9, 2), 0.7), scale)
    assert result.shape == (np.ceil(13 * scale), np.ceil(9 * scale), 2)
    np.testing.assert_allclose(result, 0.7, rtol=1e-13)


def test_scale_one_is_the_identity(rng):
    cube = rng.random((7, 5, 3))
    np.testing.assert_allclose(imresize(cube, 1), cube, atol=1e-15)


def test_edges_are_reflected():
    # A row far smaller than the kernel: each source weight is what reflection folds onto it.
    row = resize_matrix(2, 1 / 2)
    np.testing.assert_allclose(row, [[0.5, 0.5]], atol=1e-15)


def test_gradient_is_the_transposed_operator(rng):
    x = jnp.asarray(rng.random((6, 5, 2)), jnp.float32)
    y = jnp.asarray(rng.random((12, 10, 2)), jnp.float32)
    gradient = jax.grad(lambda x: (imresize(x, 2) * y).sum())(x)
    expected = np.einsum("ph,qw,pql->hwl", resize_matrix(6, 2), resize_matrix(5, 2), y)
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


@pytest.mark.parametrize("scale", [0, -2, float("nan"), float("inf")])
def test_bad_scale(scale):
    with pytest.raises(ValueError, match="positive and finite"):
        imresize(np.zeros((4, 4, 1)), scale)


def test_bad_shape():
    with pytest.raises(ValueError, match=r"\[\.\.\., H, W, L\], got shape \(4, 4\)"):
        imresize(np.zeros((4, 4)), 2)
