"""Short forms of the scripts that look for faults for hours: each must find a planted one."""

import ast
import contextlib
import importlib
import random
import sys

import jax
import numpy as np
import pytest
from support.cubes import TYPES
from support.files import ROOT

from dualsr_jax import DualSR, Network
from dualsr_jax.io.formats import envi_header
from dualsr_jax.large_scene import normalisation
from dualsr_jax.models.coarsr.coarse import CoarSR


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    yield importlib.import_module
    for name in (
        "average_weights",
        "fuzz_readers",
        "fuzz_metadata",
        "mutants",
        "tests_by_function",
    ):
        sys.modules.pop(name, None)


def run_cases(script, folder, suffix, count, **more):
    """Outcomes of cases of the fuzzing of metadata, and what was wrong."""
    readers, metadata = script("fuzz_readers"), script("fuzz_metadata")
    readers.write_seeds(suffix, folder / "seeds")
    found = []
    for number in range(count):
        current = folder / str(number)
        readers.shutil.copytree(folder / "seeds" / "0", current)
        found.append(metadata.case(current / f"cube{suffix}", random.Random(number), **more))
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [s for s in TYPES if s not in (".bil", ".bip")])
def test_changed_metadata_change_nothing_else(script, tmp_path, suffix):
    found = run_cases(script, tmp_path, suffix, 12)
    assert not [wrong for _, wrong in found if wrong]
    assert "read" in {outcome for outcome, _ in found}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("module", "name", "fault", "message"),
    [
        (envi_header, "_one_line", lambda text, braces="{}": text, "written as .hdr"),
        (normalisation, "_keeps_values", lambda *_: True, "normalised with"),
    ],
)
def test_the_fuzzing_of_metadata_finds_planted_faults(
    script, tmp_path, monkeypatch, module, name, fault, message
):
    monkeypatch.setattr(module, name, fault)
    assert any(message in wrong for _, wrong in run_cases(script, tmp_path, ".npz", 40))


def test_a_change_of_other_metadata_is_found(script, tmp_path, monkeypatch):
    metadata = script("fuzz_metadata")
    monkeypatch.setattr(metadata, "VARIABLES", {key: set() for key in metadata.VARIABLES})
    assert any(" differs: " in wrong for _, wrong in run_cases(script, tmp_path, ".npz", 5))


def test_mutants_are_other_programs(script):
    """Every fault changes the syntax tree, and is found again by its name after other changes."""
    mutants = script("mutants")
    chosen = mutants.chosen(seed=0)
    assert len({fault.name for fault in chosen}) == len(chosen) > 100
    for fault in chosen[::7]:
        content = (ROOT / "dualsr_jax" / fault.file).read_bytes()
        tree = ast.dump(ast.parse(fault.plant(content)))
        assert tree != ast.dump(ast.parse(content))
        moved = mutants.faults(fault.file, "# first\n" + content.decode())
        assert (fault.name, fault.code) in [(other.name, other.code) for other in moved]
    for _, tests in mutants.TARGETS.values():
        assert all((ROOT / test.partition("::")[0]).is_file() for test in tests)


def test_tests_are_chosen_by_what_they_call(script, tmp_path):
    chosen_by = script("tests_by_function")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "m.py").write_text(
        "class A:\n    def f(self):\n        return [x for x in self.g()()]\n"
        "    def g(self):\n        def inner():\n            return 'ab'\n        return inner\n"
    )
    (tmp_path / "test_m.py").write_text(
        "import sys\nsys.path.insert(0, 'package')\nimport m\n"
        "def test_slow():\n    assert sum(range(10**6)) and m.A().f()\n"
        "def test_quick():\n    assert m.A().g()\n"
        "def test_other():\n    pass\n"
    )

    def run(*plugins):
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        with contextlib.chdir(tmp_path):
            quiet = ["-q", "-p", "no:cacheprovider"]
            assert not pytest.main([*quiet, "-c", "pytest.ini", "test_m.py"], plugins=list(plugins))

    run(recorder := chosen_by.Recorder(tmp_path / "package"))
    assert {name: called for name, (_, called) in recorder.calls.items()} == {
        "test_m.py::test_slow": ["m.py:A", "m.py:A.f", "m.py:A.g", "m.py:A.g.inner"],
        "test_m.py::test_quick": ["m.py:A", "m.py:A.g"],
        "test_m.py::test_other": [],
    }
    chosen = chosen_by.callers(recorder.calls, ["m.py:A.g"])
    assert chosen == ["test_m.py::test_quick", "test_m.py::test_slow"]
    again = chosen_by.Recorder(tmp_path / "package")
    run(chosen_by.Chosen(chosen), again)
    assert list(again.calls) == chosen


def test_rules_of_mutants(script):
    source = (
        "def f(x, y: int = 1):\n"
        '    """A text, 1."""\n'
        "    if x < 2 and not y:\n"
        '        raise ValueError(f"{x + 1}")\n'
        "    return min(x, y) + 3\n"
    )
    names = [fault.name.partition(": ")[2] for fault in script("mutants").faults("a.py", source)]
    assert names == [
        "1 -> 2",
        "x < 2 and not y -> False",
        "x < 2 and not y -> x < 2 or not y",
        "x < 2 -> x <= 2",
        "2 -> 3",
        "not y -> y",
        "min(x, y) + 3 -> min(x, y) - 3",
        "min -> max",
        "3 -> 4",
    ]


def random_network(seed, **settings):
    """A small network of CoarSR."""
    model = CoarSR(4, features=4, num_asfm=1, num_blocks=1, joint=True, **settings)
    cube, rng = np.zeros((1, 8, 8, 5), np.float32), np.random.default_rng(seed)
    shapes = jax.eval_shape(
        lambda key: model.init(key, cube, method="at_scales"), jax.random.key(0)
    )
    return Network(
        model, jax.tree.map(lambda leaf: rng.random(leaf.shape, np.float32) - 0.3, shapes)
    )


def test_the_mean_of_networks(script, tmp_path, monkeypatch, capsys):
    script = script("average_weights")
    first, second = random_network(0), random_network(1)
    paths = [str(tmp_path / f"{name}.safetensors") for name in ("first", "second", "mean")]
    for network, path in zip((first, second), paths, strict=False):
        DualSR(network).save_pretrained(path)
    monkeypatch.setattr(sys, "argv", ["average_weights.py", *paths[:2], "--output", paths[2]])
    script.main()
    mean = DualSR.from_pretrained(paths[2])
    assert mean.sha256 in capsys.readouterr().out

    def of_constants(network):
        """What a layer makes of each channel alone: its kernel, summed over the pixels."""
        weights = network.variables["params"]["conv"]["wn"]
        v, g = np.asarray(weights["v"]), np.asarray(weights["g"])
        return (v / np.linalg.norm(v.reshape(-1, v.shape[-1]), axis=0) * g).sum((0, 1))

    kernels = [of_constants(network) for network in (first, second, mean.coarse)]
    np.testing.assert_allclose(kernels[2], (kernels[0] + kernels[1]) / 2, atol=1e-6)
    biases = [n.variables["params"]["conv"]["wn"]["bias"] for n in (first, second, mean.coarse)]
    np.testing.assert_allclose(biases[2], (biases[0] + biases[1]) / 2, atol=1e-7)
    # The mean of a network and itself is the network.
    lr = np.random.default_rng(0).random((8, 8, 6), np.float32)
    same = DualSR(script.average([first, first]))(lr).coarse
    np.testing.assert_allclose(same, DualSR(first)(lr).coarse, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="differ in their form"):
        script.average([first, random_network(0, neighbours="released")])
    with pytest.raises(ValueError, match=r"exists: .* add --overwrite"):
        script.main()
