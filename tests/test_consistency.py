import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from dualsr_jax.evaluation import consistency_report
from dualsr_jax.evaluation.consistency import lr_consistency
from dualsr_jax.evaluation.consistency_report import describe_consistency, write_consistency
from dualsr_jax.ops.resize import imresize
from dualsr_jax.radiometry import Effect, Radiometry


class OnDisk:
    """A reader that remembers the largest window it was asked for."""

    def __init__(self, cube):
        self._cube, self.shape, self.largest = cube, cube.shape, 0

    def read(self, rows, columns, bands=None):
        window = self._cube[rows, columns][..., slice(None) if bands is None else bands]
        assert window.shape[:2] == (rows.stop - rows.start, columns.stop - columns.start)
        self.largest = max(self.largest, window.size)
        return window


@pytest.fixture
def lr(rng):
    return imresize(rng.random((7, 6, 6)), 2.4)[:16, :14].clip(0, 1)


@pytest.fixture
def sr(lr, rng):
    return imresize(lr, 2) + 0.02 * rng.standard_normal((32, 28, 6))


def oracle(sr, lr, keep=...):
    """PSNR and SAM in float64, the angle by arccos."""
    a, b = imresize(sr, 1 / 2)[keep].reshape(-1, 6), lr[keep].reshape(-1, 6)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return {
        "psnr_db": pytest.approx(-10 * np.log10(np.mean((a - b) ** 2)), abs=1e-3),
        "sam_deg": pytest.approx(np.degrees(np.arccos(cosine.clip(-1, 1))).mean(), rel=1e-3),
    }


def test_numbers_by_hand(lr, sr):
    report = lr_consistency(lr, {"DualSR": sr}, 2)
    assert report["pixels"] == 16 * 14
    assert report["methods"]["DualSR"] == oracle(sr, lr)
    assert report["methods"]["Bicubic"] == oracle(imresize(lr, 2), lr)
    assert list(report["methods"]) == ["Bicubic", "DualSR"]


def test_windows_give_what_the_whole_gives(rng):
    lr, sr = rng.random((16, 14, 6)), rng.random((32, 28, 6))  # rough: what lies far away counts
    sr[4, 5, 2] = np.nan
    lr[11, 2, 0] = np.nan
    whole = lr_consistency(lr, {"DualSR": sr}, 2)
    for side in (4, 1):
        readers = OnDisk(lr), OnDisk(sr)
        windows = lr_consistency(readers[0], {"DualSR": readers[1]}, 2, window=side)
        assert windows["pixels"] == whole["pixels"]
        for name, scores in whole["methods"].items():
            assert windows["methods"][name] == pytest.approx(scores, rel=1e-5)
    assert readers[1].largest < sr.size


def test_stored_values_nodata_and_bad_bands(lr, sr):
    stored = (10000 * lr).round().astype(np.int16), (10000 * sr).round().astype(np.int16)
    stored[0][0, 0] = -9999
    stored[1][..., 3] = -9999
    bad = np.arange(6) == 3
    report = lr_consistency(
        stored[0], {"DualSR": stored[1]}, 2, peak=10000, nodata=-9999, bad_bands=bad
    )
    spot = np.zeros((16, 14, 1))
    spot[0, 0] = 1
    keep = np.abs(imresize(imresize(spot, 2), 1 / 2)[..., 0]) < 1e-12  # sees it nowhere
    assert report["pixels"] == keep.sum() == 16 * 14 - 4 * 4
    good = lr.copy(), sr.copy()
    good[0][..., 3] = good[1][..., 3] = 0
    expected = oracle(good[1], good[0], keep)
    assert report["methods"]["DualSR"]["sam_deg"] == expected["sam_deg"]
    mse = np.mean((imresize(good[1], 1 / 2) - good[0])[keep][:, ~bad] ** 2)
    assert report["methods"]["DualSR"]["psnr_db"] == pytest.approx(-10 * np.log10(mse), abs=0.05)


def test_nothing_left_to_compare(lr, sr):
    lr[:] = np.nan
    report = lr_consistency(lr, {"DualSR": sr}, 2)
    assert report["pixels"] == 0
    assert np.isnan(report["methods"]["DualSR"]["psnr_db"])


def test_report(lr, sr, tmp_path):
    lr[3, 2] = np.nan
    wavelengths = np.array([900.0, 640, 700, 550, 470, 400])
    readers = {"CoarSR": OnDisk(sr), "DualSR": OnDisk(0.9 * sr)}
    report = write_consistency(
        OnDisk(lr), readers, 2, tmp_path / "report", wavelengths=wavelengths, title="a scene"
    )
    assert json.loads((tmp_path / "report" / "report.json").read_text()) == report
    scores = lr_consistency(lr, {"CoarSR": sr, "DualSR": 0.9 * sr}, 2)
    assert report["lr_consistency"] == scores["methods"]
    colours = "red 640 nm (band 2), green 550 nm (band 4), blue 470 nm (band 5)"
    assert report["composite"] == colours
    assert report["wavelengths_nm"] == wavelengths.tolist()
    assert len(report["spectra"]) == 4
    for spectrum in report["spectra"]:
        row, column = spectrum["row"], spectrum["column"]
        assert (row, column) != (3, 2)
        np.testing.assert_allclose(spectrum["Input"], lr[row, column], rtol=1e-6)
        enlarged = imresize(np.nan_to_num(lr), 2)
        block = enlarged[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        if max(abs(row - 3), abs(column - 2)) <= 2:  # it depends on the masked pixel
            assert spectrum["Bicubic"] == [None] * 6
        else:
            np.testing.assert_allclose(spectrum["Bicubic"], block.mean((0, 1)), rtol=1e-5)
        block = sr[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        np.testing.assert_allclose(spectrum["CoarSR"], block.mean((0, 1)), rtol=1e-5)
    with Image.open(tmp_path / "report" / "report.png") as image:
        assert min(image.size) > 500
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 500


def test_the_pictures_of_a_report_have_one_stretch(lr, sr, tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(consistency_report, "report_figure", lambda *drawn: found.extend(drawn))
    wavelengths = np.array([900.0, 640, 700, 550, 470, 400])
    write_consistency(lr, {"DualSR": sr}, 2, tmp_path, wavelengths=wavelengths, title="a scene")
    _, looks, _, places, label, title = found
    assert list(looks) == ["Input", "Bicubic", "DualSR"]
    low, high = np.percentile(lr[..., [1, 3, 4]], (2, 98), axis=(0, 1))
    middle = slice(8, 24), slice(6, 20)  # of the results
    for name, cube in {"Bicubic": imresize(lr, 2), "DualSR": sr}.items():
        expected = ((cube[..., [1, 3, 4]] - low) / (high - low)).clip(0, 1)
        np.testing.assert_allclose(looks[name].whole, expected, atol=1e-5)
        np.testing.assert_allclose(looks[name].detail, expected[middle], atol=1e-5)
    assert (places.tolist(), label) == (wavelengths.tolist(), "wavelength (nm)")
    assert title.startswith(
        "a scene\nBicubic: reduced to the scene's size it agrees with the scene"
    )
    assert title.endswith(
        "colours: red 640 nm (band 2), green 550 nm (band 4), blue 470 nm (band 5)"
    )


def test_the_report_says_what_the_radiometry_did(lr, sr, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(consistency_report, "report_figure", lambda *given: drawn.append(given[-1]))
    how = Radiometry(clip="unit", consistent=2)
    effect = Effect(how, clipped=3, values=7, before_db=50.0, after_db=80.25)
    report = write_consistency(lr, {"DualSR": sr}, 2, tmp_path, effect=effect)
    assert report["radiometry"] == dataclasses.asdict(effect)
    assert "3 of 7 values (42.9 %) were clipped to [0, 1]" in drawn[0].splitlines()
    assert "the scene to 80.25 dB PSNR (50.00 dB before)" in drawn[0]


def test_report_of_an_all_masked_scene(lr, sr, tmp_path):
    lr[:] = np.nan
    report = write_consistency(lr, {"DualSR": sr}, 2, tmp_path)
    assert report["spectra"] == []
    assert report["lr_consistency"]["DualSR"] == {"psnr_db": None, "sam_deg": None}
    assert (tmp_path / "report.png").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 3}, r"'DualSR' is \(32, 28, 6\), but x3 of an input of \(16, 14, 6\) is"),
        ({"peak": 0.0}, "peak must be the positive stored value"),
        ({"bad_bands": np.ones(6, bool)}, "leave at least one, got 6 of 6"),
        ({"bad_bands": np.ones(5, bool)}, "got 5 of 5"),
        ({"wavelengths": np.arange(5.0)}, "5 wavelengths do not belong to 6 bands"),
        ({"pixels": [(0, 0), (16, 0)]}, r"pixels \[\(16, 0\)\] are not in an input of 16x14"),
        ({"results": {"Bicubic": np.zeros((32, 28, 6))}}, "may not be named 'Bicubic'"),
    ],
)
def test_bad_input(lr, sr, tmp_path, change, message):
    arguments = {"results": {"DualSR": sr}, "scale": 2, "folder": tmp_path / "none", **change}
    with pytest.raises(ValueError, match=message):
        write_consistency(lr, **arguments)
    assert not (tmp_path / "none").exists()


def test_what_is_good_can_be_read():
    scores = {
        "Bicubic": {"psnr_db": 40.0, "sam_deg": 1.0},
        "CoarSR": {"psnr_db": 41.0, "sam_deg": 1.5},
        "DualSR": {"psnr_db": np.inf, "sam_deg": 0.0},
        "other": {"psnr_db": 39.0, "sam_deg": 1.5},
    }
    lines = describe_consistency(scores)
    assert lines[0].endswith(
        "agrees with the scene to 40.00 dB PSNR and 1.000 degrees of spectral angle"
    )
    assert lines[1].endswith("1.500 degrees of spectral angle (better than Bicubic in PSNR only)")
    assert lines[2].endswith(
        "inf dB PSNR and 0.000 degrees of spectral angle (better than Bicubic)"
    )
    assert lines[3].endswith("(worse than Bicubic)")
    assert describe_consistency(scores | {"DualSR": {"psnr_db": None, "sam_deg": 0.0}}) == lines
    for value in (np.nan, None):
        masked = {"Bicubic": {"psnr_db": value, "sam_deg": value}}
        assert describe_consistency(masked) == ["Bicubic: not compared, all pixels are masked"]
