"""The benchmarks run, with the smallest network; what they measure is not asked here."""

import json
import runpy
import sys

import jax
import pytest
from support.files import ROOT
from support.methods import SMALL_METHODS

from dualsr_jax.models import network

SMALL = ("--features=4", "--bands=5", "--band_chunk=2", "--scale=2")
TINY = (*SMALL, "--repeats=1")


@pytest.fixture
def run(monkeypatch):
    """Runs a benchmark as a script, networks with one module."""
    make_model = network.make_model

    def smallest(settings):
        blocks = SMALL_METHODS.get(settings.get("method"), {"num_asfm": 1, "num_blocks": 1})
        return make_model({**settings, **blocks})

    def run(name, *options):
        script = ROOT / "benchmarks" / f"{name}.py"
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, options)])
        monkeypatch.setattr(sys, "path", [str(script.parent), *sys.path])
        monkeypatch.delitem(sys.modules, "common", raising=False)  # it took make_model as it was
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            runpy.run_path(str(script), run_name="__main__")

    monkeypatch.setattr(network, "make_model", smallest)
    return run


@pytest.mark.parametrize(
    ("name", "options", "cases"),
    [
        ("inference", (*TINY, "--lr_image=8"), ["ours"]),
        (
            "train_step",
            (*TINY, "--lr_patch=4", "--batch_size=1", "--update=image"),
            ["ours, image"],
        ),
    ],
)
def test_benchmarks_run(run, tmp_path, name, options, cases):
    run(name, *options, f"--json={tmp_path / 'report.json'}")
    report = json.loads((tmp_path / "report.json").read_text())
    assert [row["case"] for row in report["rows"]] == cases
    assert all(row["median_s"] > 0 and row["gflop_per_s"] >= 0 for row in report["rows"])


def test_compared_methods_are_timed(run, tmp_path):
    tiny = ("--features=4", "--bands=5", "--lr_image=6", "--repeats=1", "--scale=2")
    run("compared_methods", *tiny, "--methods=SFCSR", f"--json={tmp_path / 'report.json'}")
    (row,) = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert row["case"] == "SFCSR, ours"
    assert row["median_s"] > 0


def test_memory_is_reported(run, capsys):
    run("memory", *SMALL, "--lr_patch=4", "--lr_image=8", "--batch_size=1", "--update=image")
    _, *cases = capsys.readouterr().out.splitlines()
    assert [case.partition(":")[0] for case in cases] == [
        "training, image",
        "inference",
    ]


def test_both_stages_are_timed(run, capsys):
    tiny = ("--features=4", "--bands=5", "--band_chunk=2", "--lr_image=8", "--repeats=1")
    run("both_stages", *tiny, "--inference_only")
    ratios = json.loads(capsys.readouterr().out.splitlines()[-1])["ratios"]
    assert ratios["inference, CoarSR"] == 1
    assert {"inference, DualSR, joint", "inference, DualSR, two networks"} < ratios.keys()
