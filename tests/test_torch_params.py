import jax
import numpy as np
import pytest
from support.files import with_prefix

from dualsr_jax.exchange import convert
from dualsr_jax.models.coarsr.coarse import CoarSR
from dualsr_jax.weights.torch_params import from_torch, load_pth, read_pth, to_torch


@pytest.fixture
def published(golden):
    return with_prefix(golden("coarse_x4_bn"), "param")


@pytest.mark.parametrize(
    ("name", "scale", "norm"),
    [("coarse_x2_plain", 2, None), ("coarse_x4_plain", 4, None), ("coarse_x4_bn", 4, "batch")],
)
def test_reads_infers_and_writes_back(golden, name, scale, norm):
    mapping = with_prefix(golden(name), "param")
    network = from_torch(mapping)
    model, variables = network.model, network.variables
    assert (model.scale, model.features, model.norm) == (scale, 8, norm)
    assert (model.num_asfm, model.num_blocks) == (2, 2)
    written = to_torch(model, variables)
    assert written.keys() == mapping.keys()
    for key, array in mapping.items():
        assert written[key].shape == array.shape
        np.testing.assert_array_equal(written[key], array)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize(("num_asfm", "num_blocks"), [(2, 2), (1, 3)])
def test_every_network_survives_the_journey(scale, num_asfm, num_blocks):
    model = CoarSR(scale, features=4, num_asfm=num_asfm, num_blocks=num_blocks)
    shapes = jax.eval_shape(
        model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 8, 8, 5), np.float32)
    )
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda s: rng.random(s.shape).astype(np.float32), shapes)
    network = from_torch(to_torch(model, variables))
    again, restored = network.model, network.variables
    assert again == model
    jax.tree.map(np.testing.assert_array_equal, restored, variables)


def test_data_parallel_names_and_counters_are_ignored(published):
    wrapped = {f"module.{name}": array for name, array in published.items()}
    wrapped["module.x.num_batches_tracked"] = np.int64(3)
    expected = from_torch(published).variables
    jax.tree.map(np.testing.assert_array_equal, from_torch(wrapped).variables, expected)


def test_missing_unexpected_and_misshapen(published):
    with pytest.raises(ValueError, match=r"missing \['gamma_rnn'\], unexpected \['extra'\]"):
        from_torch(
            {**{k: v for k, v in published.items() if k != "gamma_rnn"}, "extra": np.ones(2)}
        )
    with pytest.raises(ValueError, match=r"'tail.1.bias' has the wrong shape: \(2,\)"):
        from_torch({**published, "tail.1.bias": np.ones(2)})
    with pytest.raises(ValueError, match="not weights of a DualSR coarse network"):
        from_torch({"layer.weight": np.ones(3)})


def test_a_joint_network_has_no_published_form():
    with pytest.raises(ValueError, match="a joint network cannot be written for the published"):
        to_torch(CoarSR(4, joint=True), {})


def test_pth_file(published, tmp_path):
    torch = pytest.importorskip("torch", reason="reading .pth files needs PyTorch")
    state = {
        name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in published.items()
    }
    torch.save({"epoch": 3, "model": state}, tmp_path / "weights.pth")
    network = load_pth(tmp_path / "weights.pth")
    model, variables = network.model, network.variables
    assert model.neighbours == "released"
    jax.tree.map(np.testing.assert_array_equal, variables, from_torch(published).variables)
    converted = convert(str(tmp_path / "weights.pth"), None, tmp_path / "weights.safetensors")
    assert converted.coarse.model.neighbours == "released"
    jax.tree.map(np.testing.assert_array_equal, converted.coarse.variables, variables)


class Payload:
    def __reduce__(self):
        return (open, ("executed", "w"))


def test_pth_file_is_never_executed(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="reading .pth files needs PyTorch")
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="holds more than arrays and is not executed"):
        load_pth(tmp_path / "evil.pth")
    assert not (tmp_path / "executed").exists()


def test_damaged_and_other_pth_files(tmp_path):
    torch = pytest.importorskip("torch", reason="reading .pth files needs PyTorch")
    path, state = tmp_path / "a.pth", {"a": torch.ones(3), "b": torch.zeros(2)}

    def refused(message):
        with pytest.raises(ValueError, match=message):
            read_pth(path)

    torch.save(torch.nn.Linear(2, 3), path)
    refused("holds more than arrays and is not executed")
    for content in (b"", b"a pickled module", bytes(100)):
        path.write_bytes(content)
        refused("is damaged, or holds more than arrays")
    for zipped in (True, False):
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
        whole = path.read_bytes()
        for size in range(1, len(whole), len(whole) // 20):
            path.write_bytes(whole[:size])
            refused("is damaged, or holds more than arrays")
    torch.save({"a": torch.ones(3), "epoch": 3}, path)
    refused("a.pth' holds int under 'epoch': expected a state_dict")
    torch.save([1, 2], path)
    refused("holds a list, not a state_dict")
    with pytest.raises(FileNotFoundError):
        read_pth(tmp_path / "none.pth")


def test_a_pth_file_may_hold_parameters_and_halves(tmp_path):
    torch = pytest.importorskip("torch", reason="reading .pth files needs PyTorch")
    values = torch.tensor([0.5, 2.0])
    torch.save({"a": torch.nn.Parameter(values), "b": values.bfloat16()}, tmp_path / "a.pth")
    for array in read_pth(tmp_path / "a.pth").values():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, [0.5, 2.0])
