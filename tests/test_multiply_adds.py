"""Multiply-adds of the networks against the table of the published sizes."""

import pytest

from dualsr_jax.models.multiply_adds import multiply_adds
from dualsr_jax.models.network import METHODS, make_model

# Counted on the published code: million multiply-adds per LR pixel and band, by scale.
PER_PIXEL = {
    "CoarSR": {2: 2.57, 3: 2.76, 4: 3.17, 8: 5.55},
    "MCNet": {2: 1.926, 3: 2.045, 4: 2.192, 8: 3.061},
    "ERCSR": {2: 1.455, 3: 1.751, 4: 2.146, 8: 4.711},
    "SFCSR": {2: 2.228, 3: 2.416, 4: 2.825, 8: 5.212},
    "SSPSR": {2: 3.824, 4: 5.899, 8: 14.200},
    "EDSR": {2: 0.047, 3: 0.056, 4: 0.073, 8: 0.177},
    "EDSR, single": {2: 1.367, 3: 1.554, 4: 1.964, 8: 4.351},
}
# 10^9 multiply-adds of a result of 512x512 pixels and 31 bands, by scale.
GIGA = [
    ({"method": "3D-FCNN"}, {2: 345, 8: 345}),
    ({"method": "3D-FCNN", "features": 16, "hidden": (8, 4)}, {4: 84}),
    ({"method": "EDSR", "features": 256, "num_blocks": 32}, {4: 841}),
    ({"method": "EDSR", "features": 96}, {4: 80}),
    ({"method": "SSPSR", "features": 56, "num_blocks": 3}, {4: 80}),
    ({"method": "MCNet", "features": 16}, {4: 72}),
    ({"method": "SFCSR", "features": 16, "num_modules": 4}, {4: 79}),
    ({"method": "ERCSR", "features": 16}, {4: 69}),
    ({"method": "ESSAformer"}, {2: 3331, 4: 3166, 8: 3125}),
    ({"method": "ESSAformer", "features": 40}, {4: 80}),
    ({"method": "CoarSR"}, {4: 1610}),
    # 77 in the table, which takes the share of the heads and last layers as that of 64 features.
    ({"method": "CoarSR", "features": 14}, {4: 78}),
]


def model_of(settings, scale):
    bands = {} if settings["method"] == "CoarSR" else {"num_bands": 31}
    return make_model({**settings, **bands, "scale": scale})


@pytest.mark.parametrize("name", PER_PIXEL)
def test_per_pixel(name):
    method, _, channels = name.partition(", ")
    for scale, expected in PER_PIXEL[name].items():
        model = model_of({"method": method} | ({"channels": channels} if channels else {}), scale)
        found = multiply_adds(model, 31, height=scale, width=scale) / 31 / 1e6
        # The table has three digits after the point, or two.
        assert found == pytest.approx(expected, rel=0.001, abs=0.0006 if expected < 2.5 else 0.006)


@pytest.mark.parametrize(("settings", "expected"), GIGA, ids=str)
def test_of_a_scene(settings, expected):
    for scale, giga in expected.items():
        found = multiply_adds(model_of(settings, scale), 31) / 1e9
        # Within 1 %; figures below 100 are rounded to one.
        assert found == pytest.approx(giga, rel=0.01, abs=0.5), scale


def test_every_method_is_counted():
    assert {settings["method"] for settings, _ in GIGA} == set(METHODS)


def test_what_the_settings_change():
    coarse = make_model({"scale": 4, "features": 4})
    joint = make_model({"scale": 4, "features": 4, "joint": True})
    # A second tail for half the scale: one step of 3x3 kernels 4 -> 16, one 3x3 kernel 4 -> 1.
    added = 9 * 4 * 16 + 4 * 9 * 4
    size = {"height": 4, "width": 4}
    assert multiply_adds(joint, 5, **size) - multiply_adds(coarse, 5, **size) == 5 * added
    assert multiply_adds(coarse, 10, **size) == 2 * multiply_adds(coarse, 5, **size)
    valid = make_model({"method": "3D-FCNN", "scale": 2, "num_bands": 9, "pad": "valid"})
    # One pixel and band remain of 13x13 pixels and 9 bands; the last kernel sees 5x5 and 3.
    assert multiply_adds(valid, 9, height=13, width=13) == (
        5 * 5 * 3 * (9 * 9 * 7 * 64 + 64 * 32 + 32 * 9) + 5 * 5 * 3 * 9
    )
    unshared = {"method": "SSPSR", "scale": 4, "num_bands": 5, "features": 16, "num_blocks": 1}
    ours = make_model(unshared)
    alone = make_model({**unshared, "share_branch": False})
    assert multiply_adds(ours, 5) == multiply_adds(alone, 5)
    with pytest.raises(ValueError, match="a cube of 7 bands does not fit SSPSR for 5 bands"):
        multiply_adds(ours, 7)
    with pytest.raises(ValueError, match="a cube of 4 bands does not fit CoarSR for 5 or more"):
        multiply_adds(coarse, 4)
