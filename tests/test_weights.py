"""Weights as one file."""

import json
import re

import jax
import numpy as np
import pytest
from support.files import ROOT
from support.scenes import SMALL, small_networks

from dualsr_jax import restore_dualsr
from dualsr_jax.dualsr import STORAGES, DualSR, tags
from dualsr_jax.exchange import convert
from dualsr_jax.models.coarsr.coarse import CoarSR
from dualsr_jax.models.network import Network
from dualsr_jax.training.restore import warm_start
from dualsr_jax.weights.safetensors_file import read_weights, shipped, weights_hash, write_weights

OLD = ROOT / "tests" / "golden" / "weights_v0_1.safetensors"


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
    return DualSR(Network(models[0], variables[0]), Network(models[1], variables[1]))


def test_weights_come_back(dualsr, tmp_path):
    path = tmp_path / "x4.safetensors"
    dualsr.save_pretrained(path, {"data": "made up"})
    again = DualSR.from_pretrained(path, ensemble=8, band_chunk=3, precision="bfloat16")
    assert again.coarse.model == dualsr.coarse.model.clone(band_chunk=3, precision="bfloat16")
    assert again.half.model == dualsr.half.model.clone(band_chunk=3, precision="bfloat16")
    assert again.ensemble == 8
    jax.tree.map(np.testing.assert_array_equal, again.coarse.variables, dualsr.coarse.variables)
    jax.tree.map(np.testing.assert_array_equal, again.half.variables, dualsr.half.variables)
    assert read_weights(path)[1]["data"] == "made up"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x4.safetensors"]


def test_bfloat16_takes_half_the_space(dualsr, tmp_path):
    paths = [tmp_path / f"{storage}.safetensors" for storage in STORAGES]
    for path, storage in zip(paths, STORAGES, strict=True):
        dualsr.save_pretrained(path, storage=storage)
    whole, half = ({n: a.nbytes for n, a in read_weights(path)[0].items()} for path in paths)
    assert {name: size // 2 for name, size in whole.items()} == half
    again = DualSR.from_pretrained(paths[1])
    for ours, exact in zip(
        jax.tree.leaves(again.coarse.variables),
        jax.tree.leaves(dualsr.coarse.variables),
        strict=True,
    ):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, exact, rtol=2**-8)
    # The hash that results name is that of the weights as they are used, however stored.
    assert read_weights(paths[1])[1]["sha256"] == weights_hash(again.arrays())
    with pytest.raises(ValueError, match=r"unknown storage 'int8': expected one of \('float32'"):
        dualsr.save_pretrained(tmp_path / "x.safetensors", storage="int8")
    with pytest.raises(ValueError, match=r"x4\.npz': the name of a weights file must end in"):
        dualsr.save_pretrained(tmp_path / "x4.npz")
    with pytest.raises(FileNotFoundError, match=r"no folder '.*absent' for x4\.safetensors"):
        dualsr.save_pretrained(tmp_path / "absent" / "x4.safetensors")


def test_weights_are_hashed_once(dualsr, monkeypatch):
    hashed = []
    monkeypatch.setattr(
        "dualsr_jax.dualsr.weights_hash", lambda arrays: hashed.append(1) or weights_hash(arrays)
    )
    fresh = DualSR(dualsr.coarse, dualsr.half)
    assert tags(fresh) == tags(fresh)
    assert tags(fresh)["dualsr_weights"] == fresh.sha256[:16]
    assert len(hashed) == 1


def test_a_warm_start_from_weights_in_a_file(dualsr, tmp_path):
    dualsr.save_pretrained(tmp_path / "x4.safetensors")
    model = dualsr.coarse.model.clone(scale=8)
    new = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 8, 8, 5), np.float32))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), new["params"])
    params, theirs = (
        warm_start(zeros, model, str(tmp_path / "x4.safetensors")),
        dualsr.coarse.variables["params"],
    )
    for name in theirs.keys() - {"tail"}:
        jax.tree.map(np.testing.assert_array_equal, params[name], theirs[name])
    jax.tree.map(np.testing.assert_array_equal, params["tail"]["up_1"], theirs["tail"]["up_1"])
    assert not np.any(params["tail"]["up_2"]["wn"]["v"])


def test_shipped_weights_are_found_by_name(dualsr, tmp_path, monkeypatch):
    monkeypatch.setattr("dualsr_jax.weights.safetensors_file._SHIPPED", tmp_path)
    dualsr.save_pretrained(tmp_path / "made_up_x4.safetensors")
    again = restore_dualsr("made_up_x4", iterations=3, ensemble=8)
    assert (again.iterations, again.ensemble) == (3, 8)
    jax.tree.map(np.testing.assert_array_equal, again.coarse.variables, dualsr.coarse.variables)
    with pytest.raises(FileNotFoundError, match=r"\(shipped: made_up_x4\); .* 'made_up_x4'\?"):
        DualSR.from_pretrained("made_upx4")
    with pytest.raises(ValueError, match="hold the half-scale network too"):
        restore_dualsr("made_up_x4", "made_up_x4")
    with pytest.raises(ValueError, match="is a folder: read it with restore_dualsr"):
        DualSR.from_pretrained(tmp_path)


def test_two_files_become_one(dualsr, tmp_path):
    """The networks of two files in one, as the command writes it; and what it refuses."""
    alone = DualSR(dualsr.coarse)
    half = DualSR(dualsr.half)
    places = [str(tmp_path / f"{name}.safetensors") for name in ("x4", "x2")]
    for network, place in zip((alone, half), places, strict=True):
        network.save_pretrained(place)
    output = tmp_path / "both.safetensors"
    convert(*places, output, about=["licence=research use"])
    again = restore_dualsr(output)
    jax.tree.map(np.testing.assert_array_equal, again.coarse.variables, dualsr.coarse.variables)
    jax.tree.map(np.testing.assert_array_equal, again.half.variables, dualsr.half.variables)
    assert read_weights(output)[1]["licence"] == "research use"
    with pytest.raises(ValueError, match=r"both\.safetensors' exists: .* add --overwrite"):
        convert(*places, output)
    with pytest.raises(ValueError, match="half-scale network has scale 4"):
        convert(places[0], places[0], tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match="--about=licence: expected name=text"):
        convert(places[0], None, tmp_path / "c.safetensors", about=["licence"])
    with pytest.raises(FileNotFoundError, match=r"there is no folder .* for --output"):
        convert(places[0], None, tmp_path / "none" / "c.safetensors")
    with pytest.raises(FileNotFoundError, match=r"no file of weights .*none\.safetensors"):
        convert(str(tmp_path / "none.safetensors"), None, tmp_path / "c.safetensors")


def test_the_limit_of_the_gain_is_stored(dualsr, tmp_path):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    dualsr.save_pretrained(first)
    assert DualSR.from_pretrained(first).max_gain == 1
    limited = convert(first, None, second, max_gain=0.5)
    assert limited.max_gain == restore_dualsr(second).max_gain == 0.5
    assert tags(limited)["dualsr_max_gain"] == "0.5"
    assert "dualsr_max_gain" not in tags(dualsr)
    assert convert(second, None, first, overwrite=True).max_gain == 0.5  # kept
    arrays, about = read_weights(first)
    for wrong in ("2", "nan", "half", "[1]"):
        write_weights(first, arrays, {**about, "max_gain": wrong})
        with pytest.raises(ValueError, match=r"first\.safetensors': .*" + re.escape(wrong)):
            DualSR.from_pretrained(first)
    with pytest.raises(ValueError, match="max_gain must be above 0 and at most 1, got 0"):
        convert(second, None, tmp_path / "third.safetensors", max_gain=0)
    with pytest.raises(ValueError, match="leave out --half_weights, --about, --max_gain"):
        convert(second, None, tmp_path / "x4.pth", max_gain=0.5)


@pytest.mark.parametrize("name", shipped())
def test_shipped_weights(name):
    """Each has a card that names its hash, and restores a constant cube to about itself."""
    path = shipped()[name]
    about = read_weights(path)[1]
    card = path.with_suffix(".md").read_text()
    assert about["sha256"] in card
    assert '"/' not in str(about)  # no path of the machine that made it
    dualsr = DualSR.from_pretrained(name)
    assert f"_x{dualsr.scale}" in name
    lr = np.full((8, 8, 31), 0.4, np.float32)
    np.testing.assert_allclose(dualsr(lr).fine, 0.4, atol=0.02)


def old_weights():
    """Of version 0.1: its settings have `bidirectional`, and have no `joint`."""
    return read_weights(OLD)


def test_weights_of_an_older_version_are_read():
    settings = json.loads(old_weights()[1]["model"])
    assert settings["bidirectional"] is False
    assert "joint" not in settings
    old = DualSR.from_pretrained(OLD)
    assert old.coarse.model == CoarSR(2, **SMALL, band_chunk=8)
    lr = np.linspace(0, 1, 4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    coarse = old(lr).coarse
    expected = [0.486938, 0.446037]
    np.testing.assert_allclose([coarse.mean(), coarse[3, 4, 5]], expected, atol=1e-5)


def test_weights_of_a_network_that_went_are_refused(tmp_path):
    arrays, about = old_weights()
    model = about["model"].replace('"bidirectional": false', '"bidirectional": true')
    write_weights(tmp_path / "x2.safetensors", arrays, {"model": model})
    message = r"x2\.safetensors': .* network with bidirectional=True, which this version of"
    with pytest.raises(ValueError, match=message):
        DualSR.from_pretrained(tmp_path / "x2.safetensors")


@pytest.mark.parametrize(
    ("settings", "change", "message"),
    [
        ({}, lambda a: a.pop("model/params/conv/wn/v"), "of params/conv/wn/v is missing, expected"),
        ({}, lambda a: a.update({"model/x": np.zeros(2)}), r"x is \(2,\), expected no array"),
        ({}, lambda a: a.update({"model/params": np.zeros(2)}), r"params is \(2,\), expected"),
        (
            {},
            lambda a: a.update({"model/params/conv/wn/v": np.zeros((3, 3, 4, 5), np.float32)}),
            r"params/conv/wn/v is \(3, 3, 4, 5\), expected \(3, 3, 4, 4\)",
        ),
        ({}, lambda a: a.clear(), "0 arrays are too few for a network with"),
        ({"features": 10**30}, lambda a: None, "x2"),
        ({"features": -1}, lambda a: None, "features=-1 must be 1 or more"),
        ({"features": "4"}, lambda a: None, "x2.*"),
        ({"scale": [2]}, lambda a: None, "x2.*"),
        ({"joint": {}}, lambda a: None, "x2.*"),
        ({"scale": 2.0}, lambda a: None, "x2.*"),
        ({"method": 3}, lambda a: None, "unknown method 3"),
        ({"num_blocks": 10**9}, lambda a: None, "arrays are too few"),
        ({"parent": 1}, lambda a: None, "parent=1"),
        ([], lambda a: None, "scale"),
        (3, lambda a: None, "int"),
        ({"x": 1}, lambda a: None, "a network with x=1"),
        ("[" * 100_000, lambda a: None, "recursion"),
    ],
)
def test_made_up_weights_are_refused_in_one_line(tmp_path, settings, change, message):
    path = tmp_path / "x2.safetensors"
    arrays, about = old_weights()
    change(arrays)
    if isinstance(settings, dict):
        settings = json.loads(about["model"]) | settings
    text = settings if isinstance(settings, str) else json.dumps(settings)
    write_weights(path, arrays, {"model": text})
    with pytest.raises(ValueError, match=message) as caught:
        DualSR.from_pretrained(path)
    assert str(caught.value).startswith(f"{str(path)!r}: ")
    assert "\n" not in str(caught.value)


def test_a_type_of_safetensors_that_numpy_does_not_have(tmp_path):
    header = b'{"a": {"dtype": "F8_E5M2", "shape": [1], "data_offsets": [0, 1]}}'
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"x")
    with pytest.raises(ValueError, match="not a safetensors file, or damaged"):
        read_weights(path)


def test_a_joint_network_comes_back(dualsr, tmp_path):
    joint = small_networks(4, "joint")
    place = tmp_path / "joint.safetensors"
    joint.save_pretrained(place)
    again = convert(place, None, str(tmp_path / "again.safetensors"))
    assert again.coarse.model == joint.coarse.model.clone(band_chunk=8)
    assert again.coarse_stage.ratio == 2
    jax.tree.map(np.testing.assert_array_equal, again.coarse.variables, joint.coarse.variables)
    assert again.sha256 == joint.sha256 == read_weights(place)[1]["sha256"]
    half = tmp_path / "x2.safetensors"
    DualSR(dualsr.half).save_pretrained(half)
    with pytest.raises(ValueError, match="network is joint and restores the half scale itself"):
        convert(str(place), str(half), tmp_path / "c.safetensors")


def test_one_network_alone(dualsr, tmp_path):
    alone = DualSR(dualsr.half)
    alone.save_pretrained(tmp_path / "x2.safetensors")
    again = DualSR.from_pretrained(tmp_path / "x2.safetensors")
    assert again.half is None
    assert again.coarse_stage.ratio == 2


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


def test_paths_may_be_text(tmp_path):
    path = str(tmp_path / "a.safetensors")
    write_weights(path, {"a": np.ones(3)}, {"b": "c"})
    arrays, about = read_weights(path)
    assert (arrays["a"].tolist(), about["b"]) == ([1, 1, 1], "c")
