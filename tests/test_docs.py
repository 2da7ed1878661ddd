"""The documentation as a site: it builds without a warning, and its notebooks run."""

import os
import re
import subprocess
import sys
from pathlib import Path

from support.files import ROOT


def test_the_site_builds_and_its_notebooks_run(tmp_path):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PATH": path, "CAVE": str(tmp_path / "nowhere")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]

    def text(page):
        return re.sub(r"<[^>]+>", "", (tmp_path / "gallery" / f"{page}.html").read_text())

    assert "(160, 160, 40) uint16" in text("enlarge")
    assert re.search(r"DualSR\s+\d+\.\d+ dB", text("enlarge"))
    assert "(32, 48, 20)" in text("train")
    bicubic, small = (
        float(re.search(rf"{name}\s+(\d+\.\d+) dB", text("method"))[1])
        for name in ("bicubic", "Small")
    )
    assert small > bicubic  # of which it learns to correct the errors
    assert "DIFFERS from the published row" in text("published")  # its stand-ins are not CAVE
    assert len(list((tmp_path / "_images").glob("*.png"))) >= 3


def test_the_tests_that_pages_name_exist():
    table = (ROOT / "docs" / "robustness.md").read_text()
    named = re.findall(r"`(test_\w+)`: (`test_\w+`(?:, `test_\w+`)*)", table)
    assert len(named) >= 19
    for module, tests in named:
        content = (ROOT / "tests" / f"{module}.py").read_text()
        assert all(f"\ndef {name}(" in content for name in re.findall(r"\w+", tests)), module
