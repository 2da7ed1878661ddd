"""Weights as one file."""

import jax
import numpy as np
import pytest

from dualsr_jax.io.weights import read_weights, write_weights
from dualsr_jax.models.coarse import CoarSR
from dualsr_jax.upscale import DualSR


@pytest.fixture(scope="module")
def dualsr():
    """Two networks, the larger one with BatchNorm, of random variables."""
    models = [
        CoarSR(scale, features=4, num_asfm=1, num_blocks=1, norm=norm)
        for scale, norm in ((4, "batch"), (2, None))
    ]
    rng = np.random.default_rng(0)
    variables = [
        jax.tree.map(
            lambda leaf: rng.random(leaf.shape, np.float32),
            jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 8, 8, 5), np.float32)),
        )
        for model in models
    ]
    return DualSR(models[0], variables[0], models[1], variables[1])


def test_weights_come_back(dualsr, tmp_path):
    path = tmp_path / "x4.safetensors"
    dualsr.save_pretrained(path, {"data": "made up"})
    again = DualSR.from_pretrained(path, ensemble=8, band_chunk=3, precision="bfloat16")
    assert again.model == dualsr.model.clone(band_chunk=3, precision="bfloat16")
    assert again.half_model == dualsr.half_model.clone(band_chunk=3, precision="bfloat16")
    assert again.ensemble == 8
    jax.tree.map(np.testing.assert_array_equal, again.variables, dualsr.variables)
    jax.tree.map(np.testing.assert_array_equal, again.half_variables, dualsr.half_variables)
    assert read_weights(path)[1]["data"] == "made up"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x4.safetensors"]


def test_one_network_alone(dualsr, tmp_path):
    alone = DualSR(dualsr.half_model, dualsr.half_variables)
    alone.save_pretrained(tmp_path / "x2.safetensors")
    again = DualSR.from_pretrained(tmp_path / "x2.safetensors")
    assert again.half_model is None
    assert again.ratio == 2


def test_damaged_weights_are_refused(dualsr, tmp_path):
    path = tmp_path / "x4.safetensors"
    dualsr.save_pretrained(path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-5] ^= 1
    for content, message in (
        (bytes(flipped), "is damaged, or was not written by dualsr_jax"),
        (whole[:-100], "is not a safetensors file, or damaged"),
        (b"{}", "is not a safetensors file, or damaged"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            DualSR.from_pretrained(path)
    write_weights(path, {"a": np.zeros(2)}, {})
    with pytest.raises(ValueError, match="holds weights, but not those of DualSR"):
        DualSR.from_pretrained(path)
    with pytest.raises(FileNotFoundError, match="there is no file of weights"):
        DualSR.from_pretrained(tmp_path / "none.safetensors")
