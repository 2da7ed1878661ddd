import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

from dualsr_jax.data.patches import PatchSampler
from dualsr_jax.data.scenes import Scene, Selection, load_scenes, normalise, open_source, split
from dualsr_jax.io.cubes import list_cubes, read_cube


def write_cave(folder, name, cube, nested=True):
    inner = folder / f"{name}_ms" / f"{name}_ms" if nested else folder / f"{name}_ms"
    inner.mkdir(parents=True)
    for k in range(cube.shape[-1]):
        Image.fromarray(cube[..., k]).save(inner / f"{name}_ms_{k + 1:02d}.png")
    (inner / f"{name}_RGB.bmp").write_bytes(b"preview, not a band")


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
    found = list_cubes(tmp_path)
    assert list(found) == ["a", "b", "c", "d", "e", "flat", "nested"]
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


def test_split_by_names_and_by_share():
    names = [f"s{k}" for k in range(10)]
    parts = split(names, train=(), test=("s3", "s1"), validation=("s9",))
    assert [s.name for s in parts["test"]] == ["s3", "s1"]
    assert [s.name for s in parts["train"]] == ["s0", "s2", "s4", "s5", "s6", "s7", "s8"]
    drawn = split(names, train=(), test=(), test_share=0.3, seed=1)
    assert (len(drawn["test"]), len(drawn["train"])) == (3, 7)
    assert drawn == split(names, train=(), test=(), test_share=0.3, seed=1)
    assert drawn != split(names, train=(), test=(), test_share=0.3, seed=2)


def test_parts_of_one_scene_share_no_pixel():
    parts = split(["a"], train=("a[:, :64]", "a[0:9, 70:80]"), test=("a[:, 64:70]",))
    assert parts["train"][0] == Selection("a", slice(None), slice(None, 64), "a[:, :64]")
    with pytest.raises(
        ValueError, match=r"train 'a\[:, :65\]' and test 'a\[:, 64:\]' share pixels"
    ):
        split(["a"], train=("a[:, :65]",), test=("a[:, 64:]",))
    with pytest.raises(ValueError, match="share pixels of 'b'"):
        split(["a", "b"], train=("*",), test=("b",))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"test": ("zebra",)}, "no scene 'zebra': the source has a, b"),
        ({"test": ("a[1]",)}, "selects no scene"),
        ({"test": ("a", "b")}, "no scene is left for training"),
        ({"test": (), "test_share": 1.5}, "test_share"),
    ],
)
def test_bad_splits(settings, message):
    with pytest.raises(ValueError, match=message):
        split(["a", "b"], **{"train": (), **settings})


def test_load_scenes(tmp_path, cube):
    np.save(tmp_path / "a.npy", cube)
    np.save(tmp_path / "b.npy", cube[..., :5])
    source = open_source("folder", str(tmp_path))
    (part,) = load_scenes(source, [Selection.parse("a[2:, :4]")], crop=5)
    assert part.name == "a[2:, :4]"
    np.testing.assert_allclose(part.cube, cube[2:5, :4] / 65535, rtol=1e-6)
    with pytest.raises(ValueError, match="b has 5 bands, a has 6"):
        load_scenes(source, [Selection.parse("a"), Selection.parse("b")])
    with pytest.raises(ValueError, match="holds no pixels"):
        load_scenes(source, [Selection.parse("a[9:, :]")])
    with pytest.raises(ValueError, match="unknown data source 'zip'"):
        open_source("zip", str(tmp_path))


def test_indian_pines_is_packaged():
    source = open_source("indian_pines")
    (scene,) = load_scenes(source, [Selection.parse("indian_pines")], peak=10000.0)
    assert scene.cube.shape == (145, 145, 200)
    assert 0.95 < scene.cube.max() <= 1


# --- patches


def sampler(rng, **settings):
    scenes = [Scene(n, rng.random((24, 20, 8)).astype(np.float32)) for n in "ab"]
    defaults = {
        "patch_size": 8,
        "batch_size": 4,
        "patches_per_image": 3,
        "resize_scales": (1.0, 0.5),
    }
    return PatchSampler(scenes, **{**defaults, **settings}), scenes


def test_an_epoch_is_patches_x_scales_x_variants_x_images(rng):
    patches, _ = sampler(rng)
    assert patches.samples_per_epoch == 3 * 2 * 5 * 2
    assert patches.steps_per_epoch == 15
    variants = np.concatenate([patches.batch(step)["variant"] for step in range(15)])
    np.testing.assert_array_equal(np.bincount(variants), [12] * 5)


def test_patches_are_pieces_of_the_scenes(rng):
    patches, scenes = sampler(rng, resize_scales=(1.0,), window_bands=5)
    windows = {
        window.tobytes()
        for scene in scenes
        for window in np.lib.stride_tricks.sliding_window_view(scene.cube, (8, 8, 5)).reshape(
            -1, 8, 8, 5
        )
    }
    for step in range(5):
        hr = patches.batch(step)["hr"]
        assert hr.shape == (4, 8, 8, 5)
        assert all(patch.tobytes() in windows for patch in hr)


def test_any_step_can_be_asked_for_at_any_time(rng):
    patches, scenes = sampler(rng)
    in_order = [patches.batch(step)["hr"] for step in range(32)]
    other, _ = sampler(np.random.default_rng(0))
    for step in (31, 3, 16):
        np.testing.assert_array_equal(other.batch(step)["hr"], in_order[step])
    alone = PatchSampler(scenes[:1], patch_size=8, batch_size=4, resize_scales=(1.0,))
    next_epoch = alone.batch(alone.steps_per_epoch)["hr"]
    assert not np.array_equal(alone.batch(0)["hr"], next_epoch)  # positions are drawn anew
    reseeded, _ = sampler(np.random.default_rng(0), seed=1)
    assert not np.array_equal(reseeded.batch(0)["hr"], in_order[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch_size": 12}, r"12x12 pixels are larger than a at resize scale 0.5 \(12x10\)"),
        ({"batch_size": 61}, "batch of 61 is larger than an epoch of 60"),
        ({"window_bands": 9}, "window_bands=9 is more than the 8 bands"),
    ],
)
def test_bad_sampling(rng, settings, message):
    with pytest.raises(ValueError, match=message):
        sampler(rng, **settings)
