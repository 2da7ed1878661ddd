"""Weights of every method in the form of the published code, and back."""

import contextlib
import pickle
import sys
import types

import jax
import numpy as np
import pytest
from absl import flags
from support.methods import SMALL_METHODS, small
from support.scenes import random_variables

from dualsr_jax import convert as command
from dualsr_jax.dualsr import DualSR
from dualsr_jax.exchange import convert
from dualsr_jax.flag_table import define
from dualsr_jax.models.network import Network
from dualsr_jax.weights.band_means import band_mean_of

# What files do not say, where it is not the default.
UNTOLD = {"EDSR": {"res_scale": 0.5}, "SSPSR": {"res_scale": 0.2, "overlap": 2}}
TOLD = {"SSPSR": {"group": 4, "overlap": 2, "res_scale": 0.2}, "EDSR": {"res_scale": 0.5}}


class Tensor:
    """What stands for PyTorch's tensors."""

    def __init__(self, array):
        self.array = array

    def is_floating_point(self):
        return False

    def numpy(self, *, force):
        return self.array


@pytest.fixture
def torch(monkeypatch):
    """PyTorch, or what stands for its files where it is not installed."""
    with contextlib.suppress(ImportError):
        import torch

        return torch

    def save(state, path):
        with open(path, "wb") as file:
            np.savez(file, **state)

    def load(path, *, map_location, weights_only):
        assert weights_only
        with open(path, "rb") as file:
            if file.read(2) != b"PK":
                raise pickle.UnpicklingError("Unsupported global: models.sspsr.SSPSR")
        with np.load(path) as arrays:
            return {k: Tensor(arrays[k]) for k in arrays.files}

    stand_in = types.SimpleNamespace(save=save, load=load, from_numpy=np.asarray, Tensor=Tensor)
    monkeypatch.setitem(sys.modules, "torch", stand_in)
    return stand_in


def stored(method, path, **settings):
    model = small(method, **settings)
    example = np.zeros((1, 8, 8, model.num_bands or model.min_bands), np.float32)
    dualsr = DualSR(Network(model, random_variables(model, 0, example)))
    dualsr.save_pretrained(path)
    return dualsr


@pytest.mark.parametrize("method", SMALL_METHODS)
def test_every_method_survives_the_journey(torch, tmp_path, method):
    ours, again = tmp_path / "ours.safetensors", tmp_path / "again.safetensors"
    dualsr = stored(method, ours, **TOLD.get(method, {}))
    theirs = tmp_path / ("theirs.h5" if method == "3D-FCNN" else "theirs.pth")
    convert(str(ours), None, theirs)
    untold = UNTOLD.get(method, {})
    if method in ("MCNet", "ERCSR"):
        untold = {"band_mean": str(tmp_path / "theirs_band_mean.txt")}
    back = convert(str(theirs), None, again, settings=untold)
    jax.tree.map(np.testing.assert_array_equal, back.coarse.variables, dualsr.coarse.variables)
    had = dualsr.coarse.model
    if method in ("SFCSR", "3D-FCNN"):  # they suit any number of bands
        had = had.clone(num_bands=None)
    assert back.coarse.model.clone(band_chunk=None) == had
    with pytest.raises(ValueError, match=r"must end in \.(h5|pth)"):
        convert(str(ours), None, tmp_path / ("a.pth" if method == "3D-FCNN" else "a.h5"))
    with pytest.raises(ValueError, match=rf"neighbours is not a setting of {method}, whose wei"):
        convert(str(theirs), None, tmp_path / "a.safetensors", settings={"neighbours": "paper"})
    assert not list(tmp_path.glob("a.*"))


def test_the_command(torch, tmp_path, capsys):
    stored("EDSR", tmp_path / "ours.safetensors")
    for place, output, more in (
        ("ours.safetensors", "theirs.pth", ()),
        ("theirs.pth", "again.safetensors", ("--res_scale=0.1",)),
    ):
        values = flags.FlagValues()
        define(command.FLAGS, values)
        values(["", f"--weights={tmp_path / place}", f"--output={tmp_path / output}", *more])
        command.main(values, [])
    assert "again.safetensors" in capsys.readouterr().out
    assert DualSR.from_pretrained(tmp_path / "again.safetensors").coarse.model.res_scale == 0.1


def test_what_cannot_be_converted(torch, tmp_path):
    ours, whole = tmp_path / "ours.safetensors", tmp_path / "whole.pth"
    stored("EDSR", ours, skip="bicubic")
    whole.write_bytes(b"a pickled module")
    with pytest.raises(ValueError, match=r"holds more than arrays and is not executed.*SSPSR"):
        convert(str(whole), None, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="EDSR with skip='bicubic' cannot be written"):
        convert(str(ours), None, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="holds one network in float32 and nothing else"):
        convert(str(ours), str(ours), tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"scale: .* is not a file of the published code"):
        convert(str(ours), None, tmp_path / "a.safetensors", settings={"scale": 2})
    assert not list(tmp_path.glob("a.*"))


def test_band_means_of_a_file(tmp_path):
    file = tmp_path / "means.txt"
    file.write_text("0.25\n0.5\n")
    np.testing.assert_array_equal(band_mean_of(str(file)), [0.25, 0.5])
    for content, message in (("0.25 x", "numbers alone"), ("nan", "finite number per line")):
        file.write_text(content)
        with pytest.raises(ValueError, match=message):
            band_mean_of(str(file))
