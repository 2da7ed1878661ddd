"""The input pipeline: images, patches, batches."""

import itertools
import subprocess
import sys

import numpy as np
import pytest

from dualsr_jax.data.images import Images, quantise
from dualsr_jax.data.patches import PatchSampler
from dualsr_jax.data.sources import NamedCube
from dualsr_jax.ops.resize import imresize


@pytest.fixture
def scenes(rng):
    return [NamedCube(n, rng.random((24, 20, 8)).astype(np.float32)) for n in "ab"]


def sampler(scenes, resize_scales=(1.0, 0.5), memory_gb=1.0, **settings):
    defaults = {"patch_size": 8, "batch_size": 4, "patches_per_image": 3}
    images = Images(scenes, resize_scales=resize_scales, least_size=8, memory_gb=memory_gb)
    return PatchSampler(images, **{**defaults, **settings})


def take(patches, count, first_step=0, **share):
    return list(itertools.islice(patches.batches(first_step, **share), count))


@pytest.mark.parametrize("first_step", [0, 130])
def test_batches_of_one(scenes, first_step):
    patches = sampler(scenes, batch_size=1)
    batches = take(patches, 2, first_step)
    assert_same(batches, take(patches, first_step + 2)[first_step:])
    assert [len(batch["sample"]) for batch in batches] == [1, 1]


def assert_same(batches, others):
    for a, b in zip(batches, others, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


# --- images


def test_sixteen_bits_are_exact_for_what_was_stored_so(rng):
    stored = rng.integers(0, 65536, (9, 8, 5)).astype(np.uint16)
    np.testing.assert_array_equal(quantise(stored.astype(np.float32) / np.float32(65535)), stored)
    cube = rng.random((9, 8, 5)).astype(np.float32)
    np.testing.assert_allclose(quantise(cube) / 65535, cube, atol=8e-6)
    np.testing.assert_array_equal(quantise(np.float32([[[-0.1, 1.1]]])), [[[0, 65535]]])


@pytest.mark.parametrize("memory_gb", [1.0, 24 * 20 * 8 * 2e-9, 0.0])  # all, the first, none
def test_images_are_the_same_in_memory_and_on_disk(scenes, memory_gb):
    images = Images(scenes, resize_scales=(1.0, 0.75), least_size=8, memory_gb=memory_gb)
    assert images.bytes_in_memory <= memory_gb * 1e9
    assert images.names == ["a", "a", "b", "b"]
    assert images.shapes == [(24, 20, 8), (18, 15, 8)] * 2
    for k, (scene, scale) in enumerate(itertools.product(scenes, (1, 0.75))):
        whole = quantise(scene.cube if scale == 1 else imresize(scene.cube, scale))
        for row, column in ((0, 0), (3, 5), (whole.shape[0] - 8, whole.shape[1] - 8)):
            expected = whole[row : row + 8, column : column + 8]
            np.testing.assert_array_equal(images.patch(k, row, column, 8), expected)


def test_the_checksum_is_of_the_pixels_before_resizing(scenes):
    expected = Images(scenes).checksum
    turned = [NamedCube(s.name, np.asfortranarray(s.cube)) for s in scenes]
    assert Images(turned, resize_scales=(0.5, 0.75)).checksum == expected
    turned[1].cube[3, 4, 5] += 1e-3
    assert Images(turned).checksum != expected


def test_a_full_disk_is_named():
    code = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "import numpy as np\n"
        "from dualsr_jax.data.images import Images\n"
        "from dualsr_jax.data.sources import NamedCube\n"
        "Images([NamedCube('a', np.zeros((64, 64, 8), np.float32))], memory_gb=0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "the training images do not fit in" in done.stderr.splitlines()[-1]
    assert "set TMPDIR" in done.stderr.splitlines()[-1]


# --- patches


def test_an_epoch_is_patches_x_scales_x_variants_x_images(scenes):
    patches = sampler(scenes)
    assert patches.samples_per_epoch == 3 * 2 * 5 * 2
    assert patches.steps_per_epoch == 15
    epochs = take(patches, 30)
    for epoch, batches in enumerate((epochs[:15], epochs[15:])):
        samples = np.concatenate([b["sample"] for b in batches])
        np.testing.assert_array_equal(np.sort(samples), np.arange(60) + 60 * epoch)
        variants = np.concatenate([b["variant"] for b in batches])
        np.testing.assert_array_equal(np.bincount(variants), [12] * 5)
        names = [patches.scene_name(int(sample)) for sample in samples]
        assert (names.count("a"), names.count("b")) == (30, 30)
    orders = [np.concatenate([b["sample"] for b in e]) % 60 for e in (epochs[:15], epochs[15:])]
    assert not np.array_equal(*orders)


def test_patches_are_pieces_of_their_scenes(scenes):
    patches = sampler(scenes, resize_scales=(1.0,), window_bands=5)
    windows = {
        scene.name: {
            window.tobytes()
            for window in np.lib.stride_tricks.sliding_window_view(
                quantise(scene.cube), (8, 8, 5)
            ).reshape(-1, 8, 8, 5)
        }
        for scene in scenes
    }
    for batch in take(patches, 5):
        assert batch["hr"].shape == (4, 8, 8, 5)
        assert batch["hr"].dtype == np.uint16
        for patch, sample in zip(batch["hr"], batch["sample"], strict=True):
            assert patch.tobytes() in windows[patches.scene_name(int(sample))]


def test_a_run_resumes_in_the_middle_of_an_epoch(scenes):
    whole = take(sampler(scenes), 32)
    for step in (31, 3, 16):
        resumed = take(sampler(scenes), 32 - step, first_step=step)
        assert_same(resumed, whole[step:])
    reseeded = take(sampler(scenes, seed=1), 1)
    assert not np.array_equal(reseeded[0]["hr"], whole[0]["hr"])


def test_processes_share_every_batch(scenes):
    whole = take(sampler(scenes, batch_size=12), 7)
    for count in (2, 3):
        shares = [
            take(sampler(scenes, batch_size=12), 7, process_index=k, process_count=count)
            for k in range(count)
        ]
        for step, batch in enumerate(whole):
            drawn = [share[step] for share in shares]
            assert all(len(d["sample"]) == 12 // count for d in drawn)
            samples = np.concatenate([d["sample"] for d in drawn])
            order, expected = np.argsort(samples), np.argsort(batch["sample"])
            assert_same(
                [{name: np.concatenate([d[name] for d in drawn])[order] for name in batch}],
                [{name: batch[name][expected] for name in batch}],
            )
            assert len(set(samples)) == 12


def test_positions_are_drawn_anew_or_fixed(scenes):
    def by_patch(**settings):
        """HR patches by sample within the epoch, of two epochs."""
        found = [{}, {}]
        for k, batch in enumerate(take(sampler(scenes, batch_size=5, **settings), 24)):
            for sample, hr in zip(batch["sample"], batch["hr"], strict=True):
                found[k // 12][int(sample) % 60] = hr
        return found

    first, second = by_patch()
    assert np.mean([np.array_equal(first[s], second[s]) for s in range(60)]) < 0.2
    assert np.mean([np.array_equal(first[s], first[s - s % 5]) for s in range(60)]) < 0.4
    first, second = by_patch(fixed_patches=True)
    for sample in range(60):
        np.testing.assert_array_equal(first[sample], second[sample])
        np.testing.assert_array_equal(first[sample], first[sample - sample % 5])  # all variants
    assert not np.array_equal(first[0], first[5])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 61}, "batch of 61 is larger than an epoch of 60"),
        ({"window_bands": 9}, "window_bands=9 is more than the 8 bands"),
        (
            {"resize_scales": (0.3,)},
            r"8x8 pixels are larger than a at resize scale 0.3 \(8x6\): lower .*lr_patch",
        ),
    ],
)
def test_bad_sampling(scenes, settings, message):
    with pytest.raises(ValueError, match=message):
        sampler(scenes, **settings)


def test_no_scenes():
    with pytest.raises(ValueError, match="no scene to train on"):
        Images([])


def test_windows_of_scenes_with_different_bands(rng):
    cubes = [rng.integers(1, 65536, (16, 16, bands)).astype(np.uint16) for bands in (6, 9)]
    scenes = [NamedCube(str(c.shape[-1]), c / np.float32(65535)) for c in cubes]
    patches = sampler(scenes, resize_scales=(1.0,), window_bands=5, patches_per_image=20)
    firsts = {"6": set(), "9": set()}
    for batch in take(patches, patches.steps_per_epoch):
        assert batch["hr"].shape == (4, 8, 8, 5)
        for hr, sample in zip(batch["hr"], batch["sample"], strict=True):
            name = patches.scene_name(int(sample))
            whole = cubes[name == "9"]
            first = [
                k for k in range(len(whole[0, 0]) - 4) if np.isin(hr, whole[..., k : k + 5]).all()
            ]
            firsts[name].update(first)
    assert firsts == {"6": {0, 1}, "9": {0, 1, 2, 3, 4}}
    with pytest.raises(ValueError, match="window_bands=7 is more than the 6 bands of a scene"):
        sampler(scenes, resize_scales=(1.0,), window_bands=7)
