"""The training step as it is handed to the compilers of devices that are not here."""

import re

import jax
import jax.numpy as jnp
import optax
import pytest

from dualsr_jax import CoarSR
from dualsr_jax.training.step import Learning, make_train_step, state_shapes

FORWARD = 3 + 12 + 2 + 1 + 1  # heads, residual blocks, mixed unit, the one after fusion, tail
TO_INPUTS = FORWARD - 3  # the LR images need no gradient


@pytest.mark.parametrize(("precision", "update"), [("float32", "image"), ("bfloat16", "band")])
def test_convolutions_of_the_training_step(precision, update):
    shape, kind = jax.ShapeDtypeStruct, {"float32": "f32", "bfloat16": "bf16"}[precision]
    model = CoarSR(2, features=4, num_asfm=1, num_blocks=1, precision=precision, band_chunk=2)
    optimizer = optax.adam(1e-4)
    batch = {
        "hr": shape((2, 16, 16, 6), jnp.uint16),
        "variant": shape((2,), jnp.int32),
        "sample": shape((2,), jnp.uint32),
    }
    step = make_train_step(
        Learning(model=model, optimizer=optimizer, update=update), optax.constant_schedule(1e-4)
    )
    traced = jax.jit(step).trace(state_shapes(model, optimizer), batch)
    # On CPUs the gradients of kernels are matrix products instead.
    for platform, to_kernels in {
        "cpu": 0,
        "cuda": FORWARD,
        "rocm": FORWARD,
        "tpu": FORWARD,
    }.items():
        program = traced.lower(lowering_platforms=(platform,)).as_text()
        kinds = re.findall(r"stablehlo\.convolution.*-> tensor<[\dx]*x(\w+)>", program)
        assert kinds == [kind] * (FORWARD + TO_INPUTS + to_kernels), platform
