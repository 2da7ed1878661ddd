"""The CAVE builder and the `tfds` source, without TensorFlow."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from test_data import write_cave

from dualsr_jax.data.scenes import load_scenes, open_source, split


def test_build_and_read_without_tensorflow(tmp_path, rng):
    scenes = {n: rng.integers(0, 65536, (6, 5, 31)).astype(np.uint16) for n in ("beads", "cloth")}
    scenes["watercolors"] = rng.integers(0, 256, (4, 7, 31)).astype(np.uint8)
    for name, cube in scenes.items():
        write_cave(tmp_path / "CAVE", name, cube)
    builder = ROOT / "datasets" / "cave" / "cave_dataset_builder.py"
    done = subprocess.run(
        [sys.executable, str(builder), str(tmp_path / "CAVE"), str(tmp_path / "tfds")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    prepared = tmp_path / "tfds" / "cave" / "1.0.0"
    assert str(prepared) in done.stdout
    source = open_source("tfds", str(prepared))
    assert source.names == ("beads", "cloth", "watercolors")
    parts = split(source.names, train=(), test=("cloth",))
    loaded = {s.name: s.cube for part in parts.values() for s in load_scenes(source, part)}
    for name, cube in scenes.items():
        expected = cube / np.float64(np.iinfo(cube.dtype).max)
        np.testing.assert_allclose(loaded[name], expected, rtol=1e-6)
    assert "tensorflow" not in sys.modules


def test_a_folder_that_is_not_prepared(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"not a prepared TFDS data set .*config\.data\.path"
    ):
        open_source("tfds", str(tmp_path))
