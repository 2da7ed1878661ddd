"""The benchmarks run; what they measure is not asked here."""

import json
import subprocess
import sys

import pytest
from support.files import ROOT

TINY = ("--features=4", "--bands=5", "--repeats=1", "--band_chunk=2")


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
def test_benchmarks_run(tmp_path, name, options, cases):
    script = str(ROOT / "benchmarks" / f"{name}.py")
    done = subprocess.run(
        [sys.executable, script, *options, f"--json={tmp_path / 'report.json'}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert [row["case"] for row in report["rows"]] == cases
    assert all(row["median_s"] > 0 and row["gflop_per_s"] >= 0 for row in report["rows"])


def test_compared_methods_are_timed(tmp_path):
    script = str(ROOT / "benchmarks" / "compared_methods.py")
    tiny = ("--features=4", "--bands=5", "--lr_image=6", "--repeats=1", "--scale=2")
    options = [*tiny, "--methods=SFCSR", f"--json={tmp_path / 'report.json'}"]
    done = subprocess.run(
        [sys.executable, script, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert row["case"] == "SFCSR, ours"
    assert row["median_s"] > 0


def test_memory_is_reported():
    script = str(ROOT / "benchmarks" / "memory.py")
    tiny = ("--features=4", "--bands=5", "--band_chunk=2", "--lr_patch=4", "--lr_image=8")
    command = [sys.executable, script, *tiny, "--batch_size=1", "--update=image"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _, *cases = done.stdout.splitlines()
    assert [case.partition(":")[0] for case in cases] == [
        "training, image",
        "inference",
    ]


def test_both_stages_are_timed():
    script = str(ROOT / "benchmarks" / "both_stages.py")
    tiny = ("--features=4", "--bands=5", "--lr_image=8", "--repeats=1", "--inference_only")
    command = [sys.executable, script, *tiny]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ratios = json.loads(done.stdout.splitlines()[-1])["ratios"]
    assert ratios["inference, CoarSR"] == 1
    assert {"inference, DualSR, joint", "inference, DualSR, two networks"} < ratios.keys()
