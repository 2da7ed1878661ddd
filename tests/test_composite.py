"""Composites of cubes whose colours are known."""

import numpy as np
import pytest

from dualsr_jax.composite import busiest_window, choose_bands, make_composite

NM = np.arange(400, 710, 10.0)


def test_the_nearest_usable_bands_are_chosen():
    assert choose_bands(NM, range(31)) == (24, 15, 7)
    assert choose_bands(NM, [band for band in range(31) if band != 24]) == (23, 15, 7)
    assert choose_bands(NM[::-1], range(31)) == (6, 15, 23)  # the order of bands does not matter
    assert choose_bands(np.where(NM == 550, np.nan, NM), range(31)) == (24, 14, 7)


@pytest.mark.parametrize("wavelengths", [NM + 200, NM - 120, [550.0] * 31, [np.nan] * 31])
def test_wavelengths_that_do_not_reach_the_colours(wavelengths):
    assert choose_bands(np.array(wavelengths), range(31)) is None


def test_a_composite_of_bands(rng):
    cube = rng.random((20, 30, 31)).astype(np.float32)
    cube[..., 15] = 0.5  # dead: the same everywhere
    cube[3, 4] = np.nan
    composite = make_composite(cube, NM, np.arange(31) == 24)
    assert composite.bands == (23, 14, 7)
    assert composite.name == "red 630 nm (band 24), green 540 nm (band 15), blue 470 nm (band 8)"
    picture = composite(cube[..., composite.bands])
    seen = cube[np.isfinite(cube).all(-1)][:, [23, 14, 7]]
    low, high = np.percentile(seen, (2, 98), axis=0)
    expected = ((cube[..., [23, 14, 7]] - low) / (high - low)).clip(0, 1)
    np.testing.assert_allclose(picture, expected, atol=1e-6)
    assert np.isnan(picture[3, 4]).all()
    assert np.isfinite(picture).sum() == 3 * (20 * 30 - 1)


def test_principal_components(rng):
    """Three patterns of known strength come out as the three channels, the strongest as red."""
    patterns = rng.standard_normal((3, 400))
    patterns -= patterns.mean(1, keepdims=True)
    patterns = np.linalg.qr(patterns.T)[0].T * np.array([[9.0], [3.0], [1.0]])
    vectors = np.linalg.qr(rng.standard_normal((6, 3)))[0].T
    vectors[0] *= -1
    cube = np.zeros((20, 20, 7))
    cube[..., [0, 1, 2, 3, 5, 6]] = (5 + patterns.T @ vectors).reshape(20, 20, 6)
    cube[..., 4] = 1e6 * rng.random((20, 20))  # bad
    cube[7, 7] = np.nan
    composite = make_composite(cube, None, np.arange(7) == 4)
    assert composite.name.startswith("principal components 1, 2 and 3")
    assert composite.bands == (0, 1, 2, 3, 5, 6)
    picture = composite(cube[..., composite.bands].astype(np.float32))
    for channel, (pattern, vector) in enumerate(zip(patterns, vectors, strict=True)):
        sign = np.sign(vector[np.abs(vector).argmax()])
        assert np.abs(composite.weights[channel]).max() == composite.weights[channel].max()
        low, high = np.percentile(np.delete(sign * pattern, 7 * 20 + 7), (2, 98))
        expected = ((sign * pattern - low) / (high - low)).clip(0, 1)
        found = np.delete(picture[..., channel].ravel(), 7 * 20 + 7)
        # The masked pixel is missing in the components: they turn by about 1/400.
        assert np.corrcoef(found, np.delete(expected, 7 * 20 + 7))[0, 1] > 0.99


def test_scenes_without_three_colours_are_grey(rng):
    band = rng.random((9, 8))
    one = make_composite(np.stack([band, 0 * band, 0 * band], -1))
    assert one.name == "grey: band 1"
    picture = one(np.stack([band], -1))
    np.testing.assert_array_equal(picture[..., 0], picture[..., 2])
    same = make_composite(np.stack([band, 2 * band, band, band], -1))
    assert same.name == "grey: the first principal component"
    np.testing.assert_allclose(same.weights[0], np.array([1, 2, 1, 1]) / 7**0.5)
    flat = make_composite(np.full((4, 4, 5), 0.3))
    assert flat.name == "grey: band 1"
    assert np.isfinite(flat(np.full((4, 4, 1), 0.3))).all()
    masked = make_composite(np.full((4, 4, 5), np.nan), np.linspace(400, 700, 5))
    assert masked.name == "all pixels are masked"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"wavelengths": NM}, "31 wavelengths do not belong to 5 bands"),
        ({"bad_bands": np.arange(5) > 1}, "3 usable bands, .* but 2 of 5 are usable: give"),
        ({"bad_bands": np.zeros(4, bool)}, r"bad_bands must be \[5\], .* got \(4,\)"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_composite(np.zeros((4, 4, 5)), **arguments)


def test_the_window_with_the_most_detail(rng):
    picture = np.zeros((40, 60, 3))
    picture[24:32, 10:18] = rng.random((8, 8, 3))
    picture[0, 0] = np.nan
    rows, columns = busiest_window(picture, 16, 16)
    assert rows.start <= 24 < 32 <= rows.stop == rows.start + 16
    assert columns.start <= 10 < 18 <= columns.stop == columns.start + 16
    assert busiest_window(picture, 100, 30)[0] == slice(0, 40)
    assert busiest_window(np.full((5, 5, 3), np.nan), 3, 3) == (slice(0, 3), slice(0, 3))
