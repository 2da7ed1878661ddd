"""The script that averages weights."""

import importlib

import numpy as np
import pytest
from flax import traverse_util
from support.files import ROOT
from support.scenes import small_networks, smooth

from dualsr_jax.dualsr import DualSR
from dualsr_jax.models.network import Network


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("average_weights")


def changed(network, factor, term):
    """The same network with other magnitudes of `v`, which change nothing, and other biases."""
    flat = traverse_util.flatten_dict(network.variables)
    for path, array in flat.items():
        flat[path] = array * factor if path[-1] == "v" else array
        flat[path] = array + term if path[-1] == "bias" else flat[path]
    return Network(network.model, traverse_util.unflatten_dict(flat))


def test_the_mean_is_that_of_the_kernels(script, rng):
    network, cube = small_networks(2).coarse, smooth(rng, 12, 12, 6)
    same = script.mean_of([network, changed(network, 3, 0)])  # by parameters: twice as large a v
    np.testing.assert_allclose(same(cube)[0], network(cube)[0], atol=1e-6)
    mean = script.mean_of([network, changed(network, 1, 0.1), changed(network, 5, 0.2)])
    expected = changed(network, 1, 0.1)
    np.testing.assert_allclose(mean(cube)[0], expected(cube)[0], atol=1e-6)
    assert np.abs(expected(cube)[0] - network(cube)[0]).max() > 1e-3


def test_kernels_are_averaged_not_their_factors(script):
    network = small_networks(2).coarse
    flat = traverse_util.flatten_dict(network.variables)
    path = next(path for path in flat if path[-1] == "v")
    gain = (*path[:-1], "g")
    opposite = Network(
        network.model, traverse_util.unflatten_dict({**flat, path: -np.asarray(flat[path])})
    )
    weighted = Network(
        network.model, traverse_util.unflatten_dict({**flat, gain: 3 * np.asarray(flat[gain])})
    )
    mean = traverse_util.flatten_dict(script.mean_of([opposite, weighted]).variables)
    np.testing.assert_allclose(mean[gain], flat[gain], rtol=1e-5)  # (3 - 1) / 2
    v, g = np.asarray(flat[path]), np.asarray(flat[gain])
    size = np.linalg.norm(v.reshape(-1, v.shape[-1]), axis=0)
    np.testing.assert_allclose(mean[path], v / size * g, rtol=1e-5, atol=1e-7)


def test_the_command(script, tmp_path, monkeypatch, capsys):
    places = [str(tmp_path / f"{name}.safetensors") for name in ("first", "second", "x4", "mean")]
    network = small_networks(2).coarse
    DualSR(network).save_pretrained(places[0])
    DualSR(changed(network, 1, 0.2)).save_pretrained(places[1])
    small_networks(4).save_pretrained(places[2])
    monkeypatch.setattr("sys.argv", ["average_weights.py", "--output", places[3], *places[:2]])
    script.main()
    mean = DualSR.from_pretrained(places[3])
    assert mean.sha256 in capsys.readouterr().out
    assert mean.sha256 == DualSR(script.mean_of([network, changed(network, 1, 0.2)])).sha256
    monkeypatch.setattr("sys.argv", ["average_weights.py", "--output", places[3], *places[1:3]])
    with pytest.raises(SystemExit):
        script.main()
    assert "these networks differ in their form" in capsys.readouterr().err
