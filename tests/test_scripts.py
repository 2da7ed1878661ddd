"""Short forms of the scripts that look for faults for hours: each must find a planted one."""

import ast
import contextlib
import importlib
import random
import sys

import pytest
from support.cubes import TYPES
from support.files import ROOT

from dualsr_jax.io.formats import envi_header
from dualsr_jax.large_scene import normalisation


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    yield importlib.import_module
    for name in ("fuzz_readers", "fuzz_metadata", "mutants", "tests_by_function"):
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
