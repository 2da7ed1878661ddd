import numpy as np
import pytest
from support.scenes import Memory, smooth

from dualsr_jax.large_scene import normalisation
from dualsr_jax.large_scene.nodata import RADIUS, describe_missing, fill, nodata_of, to_stored
from dualsr_jax.large_scene.normalisation import plan, read_normalised, scan


def planned(cube, peak=None, **metadata):
    source = Memory(cube, **metadata)
    return plan(scan(source), source.dtype, source.metadata, peak=peak)


def test_statistics_are_those_of_the_valid_pixels(rng, monkeypatch):
    cube = smooth(rng, 9, 7, 6, np.int16, 900.0)
    cube[0, :3, 1] = -1
    monkeypatch.setattr(normalisation, "_BLOCK_BYTES", 200)
    source = Memory(cube, nodata=-1.0)
    found = normalisation.scan(source)
    assert source.largest < cube[..., 0].size
    valid = np.ma.masked_equal(cube, -1)
    np.testing.assert_array_equal(found.minimum, valid.min((0, 1)))
    np.testing.assert_array_equal(found.maximum, valid.max((0, 1)))
    np.testing.assert_allclose(found.mean, valid.mean((0, 1)))
    assert found.valid.tolist() == [63, 60, 63, 63, 63, 63]
    said = describe_missing(found.valid, found.pixels)
    assert said == "0 to 3 of 63 pixels have no data, depending on the band"
    assert describe_missing(found.valid[1:2], 63) == "3 of 63 pixels (4.76 %) have no data"
    assert describe_missing(found.valid[2:], 63) == "all pixels have data"


@pytest.mark.parametrize(
    ("dtype", "largest", "settings", "gain", "bias", "rule"),
    [
        (
            np.int16,
            8000,
            {"peak": 500.0, "reflectance_scale": 1e4},
            1 / 500,
            0,
            "500 counts as full intensity, the peak that was given",
        ),
        (
            np.int16,
            8000,
            {"reflectance_scale": 1e4},
            1e-4,
            0,
            "stored value 10000 is reflectance 1",
        ),
        (
            np.int16,
            8000,
            {"scale": 1e-4, "offset": 0.1},
            1e-4,
            0.1,
            "values after scale and offset are reflectances (largest 0.9)",
        ),
        (
            np.uint16,
            8000,
            {"scale": 0.5, "offset": 0.0},
            1 / 8000,
            0,
            "the largest of the values after scale and offset, 4000",
        ),
        (
            np.float32,
            1.25,
            {},
            1,
            0,
            "values are reflectances (largest 1.25), 1 counts as full intensity",
        ),
        (
            np.float32,
            12.5,
            {},
            1 / 12.5,
            0,
            "the largest of the values, 12.5, counts as full intensity",
        ),
        (
            np.uint8,
            200,
            {"scale": 1.0, "offset": 0.0},
            1 / 200,
            0,
            "the largest of the values, 200",
        ),
    ],
)
def test_normalisation_by_rule(rng, dtype, largest, settings, gain, bias, rule):
    cube = smooth(rng, 6, 6, 6, dtype, largest / 2)
    cube[2, 3, 4] = largest
    for name in {"scale", "offset"} & set(settings):
        settings = {**settings, name: np.full(6, settings[name])}
    found = planned(cube, **settings)
    np.testing.assert_allclose(found.gain, gain)
    np.testing.assert_allclose(found.bias, bias)
    assert rule in found.describe()


def test_bad_bands_are_left_out_and_reported(rng):
    cube = smooth(rng, 6, 6, 9)
    cube[..., 1], cube[..., 4] = np.nan, 0.25
    cube[0, 0, 5] = 7.0  # not of the usable bands: no peak
    found = planned(cube, bad_bands=np.arange(9) == 5)
    assert found.bands.tolist() == [0, 2, 3, 6, 7, 8]
    assert found.bad == {1: "empty", 4: "constant", 5: "flagged"}
    assert "6 of 9 bands are usable, the others are enlarged by bicubic" in found.describe()
    assert "band 5 (constant); band 2 (empty); band 6 (flagged)" in found.describe()
    assert found.gain.tolist() == [1.0] * 6


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 0.0, 1e-320, 1e300])
def test_numbers_that_metadata_should_not_have(rng, number):
    cube = smooth(rng, 6, 6, 8, np.int16, 8000.0)
    good = np.r_[number, np.full(7, 1e-4)], np.zeros(8)
    assert planned(cube, scale=good[0], offset=good[1]).bands.tolist() == list(range(1, 8))
    offset = np.r_[np.zeros(7), number]
    found = planned(cube, scale=np.full(8, 1e-4), offset=offset)
    usable = bool(abs(number) < 1)
    assert found.bands.tolist() == list(range(8 if usable else 7))
    assert usable or f"band 8 (unusable scale 0.0001 or offset {number:g})" in found.describe()
    with pytest.raises(ValueError, match=r"0 of 8 bands are usable, .* band 1 unusable scale"):
        planned(cube, scale=np.full(8, number))
    assert len(planned(cube, peak=9e3, scale=np.full(8, number)).bands) == 8  # not asked
    found = planned(cube, reflectance_scale=number)
    np.testing.assert_array_equal(found.gain, 1 / cube.max())
    assert f"(the metadata's reflectance scale {number:g} is ignored)" in found.describe()
    with pytest.raises(ValueError, match="the peak must be a positive number"):
        planned(cube, peak=number)
    nodata_of(number, np.dtype(np.float32))


def test_filling_looks_no_further_than_its_radius(rng):
    values = smooth(rng, 60, 50, 5)[..., 0]
    invalid = np.zeros(values.shape, bool)
    invalid[:45, 3:47] = rng.random((45, 44)) < 0.999
    whole = fill(values, invalid, 9.0)
    assert (whole[invalid] == 9.0).any()  # further than the radius from all valid pixels
    np.testing.assert_array_equal(whole[~invalid], values[~invalid])
    near = whole[invalid & (whole != 9.0)]
    assert values.min() <= near.min() <= near.max() <= values.max()
    part = slice(20, 20 + 2 * RADIUS + 5), slice(10, 10 + 2 * RADIUS + 5)
    inner = slice(RADIUS, -RADIUS), slice(RADIUS, -RADIUS)
    np.testing.assert_array_equal(fill(values[part], invalid[part], 9.0)[inner], whole[part][inner])


def test_windows_with_gaps_agree_with_the_whole(rng):
    cube = smooth(rng, 60, 50, 6, np.int16, 4000.0)
    cube[5:50, 20:45] = -7
    cube[30:, :10, 3] = -7  # in one band only
    source = Memory(cube, nodata=-7.0)
    found = plan(scan(source), source.dtype, source.metadata)
    whole, valid = read_normalised(source, slice(0, 60), slice(0, 50), found)
    np.testing.assert_array_equal(valid, (cube != -7).all(-1))
    known = (cube != -7).transpose(2, 0, 1)
    np.testing.assert_allclose(whole[known], cube.transpose(2, 0, 1)[known] / cube.max(), rtol=1e-6)
    window = slice(25, 40), slice(8, 33)
    part, part_valid = read_normalised(source, *window, found)
    np.testing.assert_array_equal(part, whole[:, *window])
    np.testing.assert_array_equal(part_valid, valid[window])


def test_stored_values_are_rounded_saturated_and_masked():
    values = np.array([-4e4, -1.6, 2.5001, 7.0, 4e9, np.nan])
    masked = np.array([False] * 5 + [True])
    found = to_stored(values, masked, np.dtype(np.int16), 7.0)
    assert found.tolist() == [-32768, -2, 3, 8, 32767, 7]  # a valid 7 is not nodata
    assert to_stored(values, None, np.dtype(np.uint8), 255.0).tolist() == [0, 0, 3, 7, 254, 0]
    assert to_stored(values[4:5], None, np.dtype(np.uint32), None).tolist() == [4_000_000_000]
    floats = to_stored(values, masked, np.dtype(np.float32), None)
    np.testing.assert_array_equal(floats, values.astype(np.float32))
    floats = to_stored(values, masked, np.dtype(np.float64), 7.0)
    assert floats[5] == 7.0
    assert floats[3] == pytest.approx(7.0)
    assert floats[3] != 7.0


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_floats_saturate(dtype):
    values, largest = np.array([-1e39, 1.5, 1e39, np.nan]), np.finfo(dtype).max
    found = to_stored(values, None, np.dtype(dtype), None)
    np.testing.assert_array_equal(found, np.array([-largest, 1.5, largest, np.nan], dtype))
    found = to_stored(values, None, np.dtype(dtype), float(-largest))
    assert -largest < found[0] < -0.99 * largest  # not nodata


def test_nodata_that_the_type_cannot_hold_is_ignored():
    for nodata, dtype in (
        (-9999, np.uint8),
        (0.5, np.int16),
        (np.nan, np.int16),
        (None, np.uint8),
        (1e300, np.float32),
        (-1e5, np.float16),
    ):
        assert nodata_of(nodata, np.dtype(dtype)) is None
    cube = np.full((6, 6, 6), 3, np.uint8)
    with pytest.raises(ValueError, match="0 of 6 bands are usable"):
        planned(cube + 0, nodata=-9999.0)
