import dataclasses

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image
from support.cave import write_cave

from dualsr_jax.data.sources import Scenes, normalise, open_source
from dualsr_jax.data.split import Selection
from dualsr_jax.data.wavelengths import known_wavelengths
from dualsr_jax.io.cubes import create_cube, list_cubes, read_cube
from dualsr_jax.io.metadata import Metadata


@pytest.fixture
def cube(rng):
    return rng.integers(0, 65536, (9, 7, 6)).astype(np.uint16)


# --- io


def test_every_format_gives_the_same_cube(tmp_path, cube):
    write_cave(tmp_path, "nested", cube)
    write_cave(tmp_path, "flat", cube, nested=False)
    np.save(tmp_path / "a.npy", cube)
    np.savez(tmp_path / "b.npz", cube=cube, mask=cube[..., 0])
    scipy.io.savemat(tmp_path / "c.mat", {"ref": cube, "lbl": cube[..., 0]})
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["cube"] = cube
    with h5py.File(tmp_path / "e.mat", "w") as file:  # v7.3: MATLAB stores columns first
        file["ref"] = cube.T
    for name in ("f.hdr", "g.tif", "h.zarr", "i.nc"):
        with create_cube(tmp_path / name, cube.shape, cube.dtype, Metadata()) as writer:
            writer.write(cube, 0, 0)
    found = list_cubes(tmp_path)
    assert list(found) == ["a", "b", "c", "d", "e", "f", "flat", "g", "h", "i", "nested"]
    for path in found.values():
        read = read_cube(path)
        assert read.dtype == np.uint16, path
        np.testing.assert_array_equal(read, cube)
    np.testing.assert_array_equal(read_cube(tmp_path / "c.mat", "ref"), cube)


def test_rgba_with_equal_channels_counts_as_grey(tmp_path):
    grey = np.arange(63, dtype=np.uint8).reshape(9, 7)
    folder = tmp_path / "watercolors_ms"
    folder.mkdir()
    rgba = np.stack([grey] * 3 + [np.full_like(grey, 255)], -1)
    for k in range(5):
        Image.fromarray(rgba).save(folder / f"{k}.png")
    np.testing.assert_array_equal(read_cube(folder), np.stack([grey] * 5, -1))
    rgba[0, 0, 1] += 1
    Image.fromarray(rgba).save(folder / "5.png")
    with pytest.raises(ValueError, match="colour image"):
        read_cube(folder)


def test_bad_files(tmp_path, cube):
    with pytest.raises(FileNotFoundError, match=r"no folder.*config\.data\.path"):
        list_cubes(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no cubes in"):
        list_cubes(tmp_path)
    np.savez(tmp_path / "two.npz", a=cube, b=cube)
    with pytest.raises(
        ValueError, match=r"one three-dimensional array, it holds a .*config\.data\.key"
    ):
        read_cube(tmp_path / "two.npz")
    with pytest.raises(ValueError, match="no cube 'ref'"):
        read_cube(tmp_path / "two.npz", "ref")
    np.save(tmp_path / "objects.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="cannot be read"):
        read_cube(tmp_path / "objects.npy")
    scipy.io.savemat(tmp_path / "cut.mat", {"ref": cube}, do_compression=True)
    whole = (tmp_path / "cut.mat").read_bytes()
    (tmp_path / "cut.mat").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.mat cannot be read, it may be damaged"):
        read_cube(tmp_path / "cut.mat")
    write_cave(tmp_path, "scene", cube)
    band = tmp_path / "scene_ms" / "scene_ms" / "scene_ms_03.png"
    band.write_bytes(band.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"scene_ms_03\.png cannot be read"):
        read_cube(tmp_path / "scene_ms" / "scene_ms")


# --- scenes


def test_normalise(cube):
    np.testing.assert_allclose(normalise(cube, None, "x"), cube / 65535, rtol=1e-6)
    assert normalise(cube, "max", "x").max() == 1
    np.testing.assert_allclose(normalise(cube, 100_000, "x"), cube / 1e5, rtol=1e-6)
    assert normalise(cube / 65535, None, "x").dtype == np.float32


def test_bad_pixels(cube):
    values = cube.astype(np.float64)
    with pytest.raises(ValueError, match=r"scene holds values from .*config\.data\.peak"):
        normalise(values, None, "scene")
    with pytest.raises(ValueError, match="scene holds values from -1 "):
        normalise(np.where(values == values.max(), -1, 0), 1.0, "scene")
    values[2, 3, :2] = [np.nan, np.inf]
    with pytest.raises(ValueError, match="scene has 2 pixels that are NaN or infinite"):
        normalise(values, "max", "scene")
    with pytest.raises(ValueError, match="scene has 4 bands"):
        normalise(cube[..., :4], None, "scene")


def test_scenes(tmp_path, cube):
    np.save(tmp_path / "a.npy", cube)
    np.save(tmp_path / "b.npy", cube[..., :5])
    source = open_source("folder", str(tmp_path))
    (part,) = Scenes(source, [Selection.parse("a[2:, :4]")], crop=5)
    assert part.name == "a[2:, :4]"
    np.testing.assert_allclose(part.cube, cube[2:7, :4] / 65535, rtol=1e-6)
    both = Scenes(source, [Selection.parse("a"), Selection.parse("b")])
    assert len(both) == 2
    with pytest.raises(ValueError, match="b has 5 bands, a has 6"):
        list(both)
    assert [scene.cube.shape[-1] for scene in dataclasses.replace(both, same_bands=False)] == [6, 5]
    with pytest.raises(ValueError, match="holds no pixels"):
        list(Scenes(source, [Selection.parse("a[9:, :]")]))
    with pytest.raises(ValueError, match="unknown data source 'zip'"):
        open_source("zip", str(tmp_path))


def test_the_peak_of_a_part_is_that_of_its_scene(tmp_path, cube):
    cube[8, 6, 5] = 65535
    cube[0, 0, 0] = 0
    np.save(tmp_path / "a.npy", cube // 7)
    source = open_source("folder", str(tmp_path))
    parts = [Selection.parse("a[:4, :]"), Selection.parse("a[4:, :]")]
    upper, lower = Scenes(source, parts, peak="max")
    assert lower.cube.max() == 1
    whole = np.concatenate([upper.cube, lower.cube])
    np.testing.assert_allclose(whole, (cube // 7) / (65535 // 7), rtol=1e-6)


def test_indian_pines_is_packaged():
    source = open_source("indian_pines")
    (scene,) = Scenes(source, [Selection.parse("indian_pines")], peak=10000.0)
    assert scene.cube.shape == (145, 145, 200)
    assert 0.95 < scene.cube.max() <= 1


def test_no_data_in_a_scene_is_reported(tmp_path, capsys):
    cube = np.ones((4, 3, 6), np.uint16)
    cube[0] = 7
    with create_cube(tmp_path / "a.hdr", cube.shape, cube.dtype, Metadata(nodata=7.0)) as writer:
        writer.write(cube, 0, 0)
    np.testing.assert_array_equal(open_source("folder", str(tmp_path)).read("a"), cube)
    said = capsys.readouterr().out
    assert "note: 18 of 72 values of" in said
    assert "a.hdr are its no-data value 7, and count as intensities here" in said


def test_wavelengths_come_from_the_file_or_the_data_set(tmp_path):
    wavelengths = np.array([410.0, 500, 550, 640, 900])
    metadata = Metadata(wavelengths=wavelengths)
    with create_cube(tmp_path / "a.hdr", (4, 4, 5), np.dtype(np.uint16), metadata) as file:
        file.write(np.ones((4, 4, 5), np.uint16), 0, 0)
    np.save(tmp_path / "b.npy", np.ones((4, 4, 5)))
    source = open_source("folder", str(tmp_path))
    np.testing.assert_allclose(source.wavelengths("a"), wavelengths)
    assert source.wavelengths("b") is None
    np.testing.assert_allclose(known_wavelengths("cave", 31), np.arange(400, 710, 10))
    assert known_wavelengths("cave", 30) is None  # which of them, the name does not say
    assert known_wavelengths("", 31) is None
