import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from dualsr_jax.ops.conv import conv2d


def reference(x, kernel):
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)


# 21 images of 32x32 are more than the CPU's gradient takes at once, and leave a rest; images of 130
# columns are not laid side by side; both kinds of layers, wider and narrower ones, take other ways.
@pytest.mark.parametrize(
    ("images", "kernel"),
    [
        ((2, 7, 5, 3), (3, 3, 3, 4)),
        ((21, 32, 32, 2), (3, 3, 2, 3)),
        ((21, 32, 32, 3), (3, 3, 3, 2)),
        ((2, 3, 130, 2), (3, 3, 2, 2)),
        ((3, 9, 8, 2), (5, 3, 2, 3)),
        ((3, 9, 8, 3), (3, 5, 3, 1)),
        ((1, 6, 6, 2), (1, 1, 2, 2)),
    ],
)
def test_value_and_gradients_equal_xla(rng, images, kernel):
    x = jnp.asarray(rng.normal(size=images), jnp.float32)
    k = jnp.asarray(rng.normal(size=kernel), jnp.float32)
    w = jnp.asarray(rng.normal(size=(*images[:3], kernel[-1])), jnp.float32)

    def grads(conv):
        return jax.jit(jax.grad(lambda x, k: (conv(x, k) * w).sum(), argnums=(0, 1)))(x, k)

    np.testing.assert_allclose(conv2d(x, k), reference(x, k), atol=3e-6)
    for ours, xla in zip(grads(conv2d), grads(reference), strict=True):
        np.testing.assert_allclose(ours, xla, atol=1e-4 * float(jnp.abs(xla).max()))


def test_gradient_inside_a_loop(rng):
    x = jnp.asarray(rng.normal(size=(2, 6, 6, 3)), jnp.float32)
    k = jnp.asarray(0.1 * rng.normal(size=(3, 3, 3, 3)), jnp.float32)

    def repeated(conv, k):
        return lax.scan(lambda y, _: (jnp.tanh(conv(y, k)), None), x, None, length=3)[0].sum()

    ours, xla = (jax.grad(lambda k, c=c: repeated(c, k))(k) for c in (conv2d, reference))
    np.testing.assert_allclose(ours, xla, atol=1e-5)
