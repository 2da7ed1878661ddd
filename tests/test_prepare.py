"""Normalisation of data sets, and reading them back, without TensorFlow."""

import functools
import hashlib
import http.server
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import zipfile

import numpy as np
import pytest
import scipy.io
import tensorflow_datasets as tfds
from support.cave import write_cave
from support.cube_sets import SCENES, cube_set
from support.files import ROOT

from dualsr_jax.data import tfds_builder
from dualsr_jax.data.sources import Scenes, open_source
from dualsr_jax.data.split import divide
from dualsr_jax.data.tfds_builder import CubeSetBuilder, as_stored
from dualsr_jax.prepare import load_builder, prepare


@pytest.fixture
def cubes(rng):
    found = {n: rng.integers(0, 65536, (6, 5, 7)).astype(np.uint16) for n in SCENES[:2]}
    found["watercolors"] = rng.integers(0, 256, (6, 5, 7)).astype(np.uint8)
    return found


@pytest.fixture
def folder(tmp_path, cubes):
    for name, cube in cubes.items():
        write_cave(tmp_path / "CAVE", name, cube)
    (tmp_path / "CAVE" / "readme.txt").touch()
    return tmp_path / "CAVE"


@pytest.fixture
def little(monkeypatch):
    """Puts a data set in the place of those of `datasets/`."""

    def use(**changes):
        described = cube_set(**changes)

        class Builder(CubeSetBuilder, skip_registration=True):
            name = "little_cave"
            CUBE_SET = described

        monkeypatch.setattr("dualsr_jax.prepare.load_builder", lambda _: Builder)

    use()
    return use


def files(folder):
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.name != ".lock")


def test_prepare_and_read(folder, cubes, little, tmp_path, capsys):
    prepared = prepare("little_cave", folder, tmp_path / "tfds")
    assert prepared == tmp_path / "tfds" / "little_cave" / "1.0.0"
    assert (
        "Little CAVE: 3 scene(s) of 6x5x7 verified, 0 of them by checksum"
        in capsys.readouterr().out
    )
    for place in (prepared, prepared.parent):
        source = open_source("tfds", str(place))
        assert source.names == SCENES
    parts = divide(source.names, "fold 1/3")
    loaded = {s.name: s.cube for part in parts.values() for s in Scenes(source, part)}
    for name, cube in cubes.items():
        expected = cube / np.float64(np.iinfo(cube.dtype).max)
        np.testing.assert_allclose(loaded[name], expected, rtol=1e-6)
    assert "tensorflow" not in sys.modules
    before = {p: p.stat().st_mtime_ns for p in prepared.iterdir()}
    shutil.rmtree(folder)
    folder.mkdir()
    assert prepare("little_cave", str(folder), str(tmp_path / "tfds")) == prepared
    assert "prepared already" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in prepared.iterdir()} == before


def test_a_damaged_data_set(folder, little, tmp_path):
    prepared = prepare("little_cave", folder, tmp_path / "tfds")
    (shard,) = prepared.glob("*.array_record*")
    shard.write_bytes(shard.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"is damaged \(.*delete this folder and prepare it again"):
        open_source("tfds", str(prepared))


def test_everything_wrong_is_named_at_once(folder, little, tmp_path):
    shutil.rmtree(folder / "beads_ms")
    bands = folder / "cloth_ms" / "cloth_ms"
    (bands / "cloth_ms_03.png").unlink()
    (bands / "cloth_ms_06.png").unlink()
    (bands / "._cloth_ms_06.png").touch()  # as macOS leaves them
    broken = folder / "watercolors_ms" / "watercolors_ms" / "watercolors_ms_02.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"Little CAVE in .* is not complete") as error:
        prepare("little_cave", folder, tmp_path / "tfds")
    text = str(error.value)
    assert "\n  beads: missing\n" in text
    assert "\n  cloth: its shape is (6, 5, 5), not (6, 5, 7) (missing: 3, 6)\n" in text
    assert "watercolors_ms_02.png cannot be read, it may be damaged" in text
    assert files(tmp_path / "tfds") == []
    with pytest.raises(FileNotFoundError, match="not a prepared TFDS data set"):
        open_source("tfds", str(tmp_path / "tfds" / "little_cave"))


def test_bit_depth_and_checksum(folder, cubes, little, tmp_path):
    checksum = hashlib.sha256(cubes["beads"].tobytes()).hexdigest()
    little(checksums={"beads": checksum, "cloth": checksum}, dtype_exceptions={})
    with pytest.raises(ValueError, match="not complete") as error:
        prepare("little_cave", folder, tmp_path / "tfds")
    assert str(error.value).splitlines()[1:] == [
        "  cloth: its pixels are not the published ones (SHA-256 differs)",
        "  watercolors: its data type is uint8, not uint16",
    ]


def test_other_folders(folder, little, tmp_path):
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", ROOT / "configs"):
        with pytest.raises(ValueError, match=r"is not Little CAVE: .* none of its 3 .*Expected: <"):
            prepare("little_cave", source, tmp_path / "tfds")
    with pytest.raises(FileNotFoundError, match=r"no folder '.*nowhere'"):
        prepare("little_cave", tmp_path / "nowhere", tmp_path / "tfds")
    with pytest.raises(
        ValueError, match="Little CAVE is not downloaded here: get it from https://ex"
    ):
        prepare("little_cave", None, tmp_path / "tfds")


def test_mat_files(little, tmp_path, rng):
    ref = rng.random((6, 5, 7)) * 0.3
    folder = tmp_path / "Harvard"
    folder.mkdir()
    for name in SCENES:
        scipy.io.savemat(folder / f"{name}.mat", {"ref": ref, "lbl": ref[..., 0] > 0.1})
    settings = {"key": "ref", "dtypes": ("float",), "dtype_exceptions": {}}
    little(**settings)
    source = open_source("tfds", str(prepare("little_cave", folder, tmp_path / "tfds")))
    (scene,) = Scenes(source, divide(source.names, "fold 1/3")["test"])
    np.testing.assert_allclose(scene.cube, ref / ref.max(), atol=8e-6)

    scipy.io.savemat(folder / "beads.mat", {"lbl": ref[..., 0]})
    scipy.io.savemat(folder / "cloth.mat", {"ref": ref[..., :6]})
    whole = (folder / "watercolors.mat").read_bytes()
    (folder / "watercolors.mat").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not complete") as error:
        prepare("little_cave", folder, tmp_path / "again")
    _, beads, cloth, watercolors = str(error.value).splitlines()
    assert "beads.mat has no cube 'ref', only lbl (6, 5)" in beads
    assert cloth == "  cloth: its shape is (6, 5, 6), not (6, 5, 7)"
    assert "watercolors.mat cannot be read, it may be damaged" in watercolors


def test_sixteen_bits(rng):
    integers = rng.integers(0, 10_000, (3, 4, 5))
    for dtype in (np.uint16, np.int32, np.float64):
        np.testing.assert_array_equal(as_stored(integers.astype(dtype)), integers)
    np.testing.assert_array_equal(as_stored(integers.astype(np.int16) - 1), (integers - 1).clip(0))
    eight = integers.astype(np.uint8)
    np.testing.assert_array_equal(as_stored(eight) / 65535, eight / 255)
    wide = integers * 1000.5
    np.testing.assert_allclose(as_stored(wide) / 65535, wide / wide.max(), atol=8e-6)


def test_download(folder, cubes, little, tmp_path):
    (tmp_path / "www").mkdir()
    zipped = tmp_path / "www" / "cave.zip"

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=tmp_path / "www")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        little(url=f"http://127.0.0.1:{server.server_port}/cave.zip")
        by_hand = "get it from https://example.org, unpack it and give its folder with --so"
        with pytest.raises(ValueError, match=rf"could not be downloaded \(.*404\.\): {by_hand}"):
            prepare("little_cave", None, tmp_path / "tfds")
        zipped.write_text("<html>It has moved.</html>")
        with pytest.raises(ValueError, match=rf"downloaded \(File is not a zip file\): {by_hand}"):
            prepare("little_cave", None, tmp_path / "tfds")
        assert files(tmp_path / "tfds") == []  # or it would be taken again
        with zipfile.ZipFile(zipped, "w") as archive:
            for path in folder.rglob("*.png"):
                archive.write(path, path.relative_to(folder))
        prepared = prepare("little_cave", None, tmp_path / "tfds")
        server.shutdown()
    assert open_source("tfds", str(prepared)).names == SCENES


SCRIPT = """
import resource, sys, time
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
from pathlib import Path
import numpy as np
from dualsr_jax import prepare as module
from dualsr_jax.data import tfds_builder
from support.cube_sets import cube_set

class Builder(tfds_builder.CubeSetBuilder, skip_registration=True):
    name = "little_cave"
    CUBE_SET = cube_set(**{changes})

def slowly(*arguments, read=tfds_builder.read_scene):
    print("reading", flush=True)
    time.sleep({pause})
    return read(*arguments)

tfds_builder.read_scene = slowly
module.load_builder = lambda _: Builder
module.prepare("little_cave", Path(sys.argv[1]), Path(sys.argv[2]))
"""


def script(source, target, *, pause=0.0, limit=10**12, changes=None):
    code = textwrap.dedent(SCRIPT).format(pause=pause, limit=limit, changes=changes or {})
    return subprocess.Popen(
        [sys.executable, "-c", code, str(source), str(target)],
        cwd=ROOT / "tests",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_killed_preparation_leaves_no_data_set(folder, little, tmp_path):
    target = tmp_path / "tfds"
    process = script(folder, target, pause=60)
    assert any(line == "reading\n" for line in process.stdout)  # in the middle of it
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list(target.glob("little_cave/*incomplete*"))
    with pytest.raises(FileNotFoundError, match="not a prepared TFDS data set"):
        open_source("tfds", str(target / "little_cave"))
    prepared = prepare("little_cave", folder, target)
    assert open_source("tfds", str(prepared)).names == SCENES
    assert sorted(path.name for path in prepared.parent.iterdir()) == [".lock", "1.0.0"]


def test_a_second_preparation_leaves_the_first_alone(folder, little, tmp_path, monkeypatch):
    read, target = tfds_builder.read_scene, tmp_path / "tfds"

    def meanwhile(*arguments):
        monkeypatch.setattr(tfds_builder, "read_scene", read)
        with pytest.raises(ValueError, match=r"another run is using the data_dir .*little_cave'"):
            prepare("little_cave", folder, target)
        return read(*arguments)

    monkeypatch.setattr(tfds_builder, "read_scene", meanwhile)
    assert open_source("tfds", str(prepare("little_cave", folder, target))).names == SCENES
    assert tfds_builder.read_scene is read


def test_a_full_disk(tmp_path, rng):
    cube = rng.integers(0, 65536, (64, 64, 7)).astype(np.uint16)
    write_cave(tmp_path / "CAVE", "beads", cube)
    process = script(
        tmp_path / "CAVE",
        tmp_path / "tfds",
        limit=20_000,
        changes={"scenes": ("beads",), "shape": (64, 64, 7)},
    )
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "OSError: Little CAVE could not be prepared in" in errors
    assert "nothing is left of it" in errors
    assert files(tmp_path / "tfds") == []


# --- the builders in datasets/


NAMES = sorted(path.parent.name for path in (ROOT / "datasets").glob("*/*_dataset_builder.py"))


@pytest.mark.parametrize("name", NAMES)
def test_builders_agree_with_the_splits(name):
    described = load_builder(name).CUBE_SET
    assert len(set(described.scenes)) == len(described.scenes)
    assert {*described.checksums, *described.files, *described.dtype_exceptions} <= {
        *described.scenes
    }
    for path in (ROOT / "dualsr_jax" / "data" / "splits").glob(f"{name}_*.txt"):
        parts = divide(described.scenes, path.stem.removeprefix(f"{name}_"), data_set=name)
        used = {s.name for part in parts.values() for s in part}
        left_out = {"watercolors"} if path.stem == "cave_dualsr" else set()  # docs/data.md
        assert used == set(described.scenes) - left_out


def test_counts_of_the_published_data_sets():
    assert {name: len(load_builder(name).CUBE_SET.scenes) for name in NAMES} == {
        "cave": 32,
        "chikusei": 1,
        "harvard": 50,
        "indian_pines": 1,
        "pavia_centre": 1,
    }
    chikusei = load_builder("chikusei").CUBE_SET
    rows, columns = (
        len(range(*part.indices(n))) for part, n in zip(chikusei.crop, chikusei.shape, strict=False)
    )
    assert (rows, columns) == (2304, 2048)


def test_the_packaged_scene_on_the_command_line(tmp_path):
    def command(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "dualsr_jax.prepare", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    done = command("--dataset", "indian_pines", "--data_dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    path = tmp_path / "indian_pines"
    assert f"--config.data.source=tfds --config.data.path={path}" in done.stdout
    (selection,) = divide(["indian_pines"], "thirds", data_set="indian_pines")["test"]
    (prepared,) = Scenes(open_source("tfds", str(path)), [selection], peak=10000)
    (expected,) = Scenes(open_source("indian_pines"), [selection], peak=10000)
    np.testing.assert_array_equal(prepared.cube, expected.cube)
    unknown = command("--dataset", "mars")
    assert unknown.returncode == 1
    assert unknown.stderr.strip().endswith(
        "error: unknown data set 'mars': expected one of cave, chikusei, harvard, indian_pines, "
        "pavia_centre"
    )


def test_builders_are_where_tfds_looks_for_them():
    for name in NAMES:
        assert issubclass(load_builder(name), tfds.core.GeneratorBasedBuilder)
        assert load_builder(name).name == name
