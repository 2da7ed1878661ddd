"""The self-check: bicubic against its published row."""

import json

import numpy as np
import pytest
from support.cave import DATA, SCENES, read
from support.files import ROOT, load

from dualsr_jax.evaluation import self_check
from dualsr_jax.evaluation.self_check import check_protocol, compare


def config(scale="8", **changes):
    c = load(ROOT / "configs" / "cave.py").get_config(scale)
    for name, value in changes.items():
        c.update_from_flattened_dict({name.replace("__", "."): value})
    return c


def row(scale=8):
    (found,) = (
        r for r in self_check._published() if (r["data_set"], r["scale"]) == ("cave", scale)
    )
    return found


@pytest.mark.parametrize("scale", [4, 8])
def test_the_published_images_agree_with_the_published_mean(scale):
    published = row(scale)
    assert list(published["images"]) == SCENES
    verdict = compare(config(str(scale)), published["images"])
    assert verdict.agrees is True
    assert "agrees with the published row" in verdict.text


def test_what_differs_is_named():
    images = {name: dict(scores) for name, scores in row()["images"].items()}
    images["cloth"]["psnr_db"] += 0.5
    changed = config(degradation__kernel="isotropic", data__peak="max", evaluate__crop=256)
    verdict = compare(changed, images)
    assert verdict.agrees is False
    assert "DIFFERS from the published row in psnr_db\n" in verdict.text
    for line in (
        "- config.degradation is not plain bicubic (isotropic)",
        "- config.evaluate.crop=256",
        "- config.data.peak='max'",
        "- cloth: psnr_db 26.7690 instead of 26.269",
    ):
        assert line in verdict.text.splitlines()
    del images["face"]
    assert "- the published images are balloons, cloth, face" in compare(config(), images).text


def test_nan_never_agrees():
    images = {name: dict(scores) for name, scores in row()["images"].items()}
    images["face"]["ssim"] = float("nan")
    assert compare(config(), images).agrees is False


def test_settings_without_a_published_row():
    verdict = compare(config(data__split="20_12"), row()["images"])
    assert verdict.agrees is None
    assert "published, split 'dualsr'" in verdict.text
    assert compare(config(data__split="dualsr_25"), row()["images"]).agrees is True
    assert "there is no published row for this split" in verdict.text


def test_made_up_scenes_do_not_pass(tmp_path, rng):
    for name in [*SCENES, "beads"]:
        np.save(tmp_path / f"{name}.npy", rng.integers(0, 65536, (32, 32, 5)).astype(np.uint16))
    verdict = check_protocol(config(data__path=str(tmp_path), data__split="dualsr_25"))
    assert verdict.agrees is False


@pytest.mark.skipif(
    not (DATA / "cave" / "test").is_dir(), reason="CAVE is not beside this checkout"
)
def test_one_real_scene(tmp_path):
    np.save(tmp_path / "balloons.npy", np.rint(read("balloons") * 65535).astype(np.uint16))
    np.save(tmp_path / "beads.npy", np.zeros((16, 16, 31), np.uint16))
    (tmp_path / "split.txt").write_text("[test]\nballoons\n")
    changed = config(data__path=str(tmp_path), data__split=str(tmp_path / "split.txt"))
    lines = check_protocol(changed).text.splitlines()
    here = next(line for line in lines if line.startswith("here"))
    expected = json.loads((DATA / "bicubic_cave.json").read_text())["balloons"]["x8"]
    figures = [float(figure) for figure in here.split()[1:]]
    np.testing.assert_allclose(figures, list(expected.values()), atol=1e-3)
