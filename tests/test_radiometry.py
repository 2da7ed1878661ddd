"""Clipping and consistency: what they promise, of any scene, undivided or in tiles."""

import dataclasses
import logging

import numpy as np
import pytest
import xarray
from support.scenes import Memory, small_networks, smooth

from dualsr_jax.back_projection import correct, find_limits
from dualsr_jax.dualsr import DualSR, Result
from dualsr_jax.evaluation.run import evaluate_scene
from dualsr_jax.large_scene import correction, second_pass
from dualsr_jax.large_scene.correction import check_clip
from dualsr_jax.large_scene.first_pass import COARSE, RESIDUAL, FirstPass
from dualsr_jax.large_scene.normalisation import plan, scan
from dualsr_jax.large_scene.second_pass import SecondPass
from dualsr_jax.large_scene.tile_store import AngleSum, MemoryTileStore
from dualsr_jax.large_scene.tiling import Tiling
from dualsr_jax.ops import resize
from dualsr_jax.ops.pseudo_inverse import solve
from dualsr_jax.protocols import get_protocol
from dualsr_jax.radiometry import Radiometry, psnr_db


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
@pytest.mark.parametrize("shape", [(1, 2), (3, 7), (15, 17), (40, 16)])
def test_the_pseudo_inverse_is_that_of_the_matrices(rng, factor, shape):
    rows, columns = (resize.resize_matrix(n * factor, 1 / factor) for n in shape)
    image = rng.standard_normal((2, *shape))
    spread = resize.reduce_adjoint(image, factor)
    np.testing.assert_allclose(spread, rows.T @ image @ columns, atol=1e-12)
    found = resize.reduce_adjoint(solve(image, factor), factor)
    expected = np.linalg.pinv(rows) @ image @ np.linalg.pinv(columns).T
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert resize.reduce_adjoint(solve(image.astype(np.float32), factor), factor).dtype == "float32"


def consistency_db(sr, lr):
    error = resize.imresize(sr, lr.shape[0] / sr.shape[0]) - lr
    return psnr_db(float(np.square(error, dtype=np.float64).sum()), error.size)


@pytest.fixture(params=[2, 3, 4])
def images(request, rng):
    """A true cube in [0, 1] with dark and bright places, its reduction, and a rough result."""
    factor = request.param
    hr = np.clip(1.6 * smooth(rng, 12 * factor, 14 * factor, 5) - 0.3, 0, 1)
    hr[: 3 * factor], hr[-2 * factor :] = 0, 1
    lr = resize.imresize(hr, 1 / factor)
    sr = resize.imresize(lr, factor) + 0.05 * rng.standard_normal(hr.shape).astype(np.float32)
    return hr, lr, sr


def error_of(made, hr):
    return float(np.square(made - hr, dtype=np.float64).mean())


def test_one_back_projection_is_consistent_and_never_worse(images, rng):
    hr, lr, sr = images
    made = correct(Radiometry(consistent=1), sr, lr)
    assert made.dtype == np.float32
    assert consistency_db(sr, lr) < 50
    assert consistency_db(made, lr) > 120
    assert error_of(made, hr) < error_of(sr, hr)
    again = correct(Radiometry(consistent=1), made, lr)
    np.testing.assert_allclose(again, made, atol=1e-6)  # nothing is left to correct
    other = made + 0.1 * rng.standard_normal(made.shape).astype(np.float32)
    other = correct(Radiometry(consistent=1), other, lr)
    assert error_of(other, sr) > error_of(made, sr)  # the nearest of the consistent ones


def test_clipping_keeps_the_range_and_more_back_projections_the_consistency(images):
    hr, lr, sr = images
    made = [correct(Radiometry(clip="unit", consistent=n), sr, lr) for n in (0, 1, 4, 40)]
    for cube in made:
        assert cube.min() >= 0
        assert cube.max() <= 1
    np.testing.assert_array_equal(made[0], sr.clip(0, 1))
    found_db = [consistency_db(cube, lr) for cube in made]
    assert found_db == sorted(found_db)
    assert found_db[-1] > 60
    # The truth is in [0, 1], and it is consistent: neither makes the result worse.
    assert error_of(made[1], hr) < error_of(made[0], hr) < error_of(sr, hr)
    assert error_of(made[3], hr) < error_of(made[0], hr)


def test_the_range_of_the_neighbourhood(images):
    _, lr, sr = images
    factor = sr.shape[0] // lr.shape[0]
    made = correct(Radiometry(clip="input", consistent=2), sr, lr)
    padded = np.pad(lr, ((2, 2), (2, 2), (0, 0)), mode="edge")
    around = np.stack(
        [padded[i : i + lr.shape[0], k : k + lr.shape[1]] for i in range(5) for k in range(5)]
    )
    low, high = (f(around, 0).repeat(factor, 0).repeat(factor, 1) for f in (np.min, np.max))
    assert (made >= low).all()
    assert (made <= high).all()
    assert (made == low).any()
    made = correct(Radiometry(clip="input"), sr, lr)
    np.testing.assert_array_equal(made, sr.clip(low, high))


def test_pixels_without_data_give_no_limits():
    measured, invalid = np.arange(36, dtype=np.float32).reshape(1, 6, 6), np.zeros((1, 6, 6), bool)
    invalid[0, :4, :3] = True
    low, high = find_limits(measured, invalid, "input")
    assert (low[0, 0, 0], high[0, 0, 0]) == (-np.inf, np.inf)
    assert (low[0, 1, 1], high[0, 1, 1]) == (3, 21)
    assert (low[0, 5, 0], high[0, 5, 0]) == (24, 32)


@pytest.mark.parametrize("scale", [2, 4])
def test_blocks_and_tiles_are_the_whole(rng, monkeypatch, scale):
    """Tiles are filled with numbers instead of results of a network, which takes no compiling."""
    cube = smooth(rng, 67, 63, 11)
    cube[:5], cube[20:23, 10:14] = 0, 1
    source, stage = Memory(cube), small_networks(scale).coarse_stage
    scene = FirstPass(
        source=source,
        normalisation=plan(scan(source), source.dtype, source.metadata, peak=1.0),
        stage=stage,
        tiling=Tiling((45, 49), 4),
    )
    coarse = resize.imresize(cube, scale)
    coarse += 0.05 * rng.standard_normal(coarse.shape).astype(np.float32)
    residual = 0.1 * rng.standard_normal(cube.shape).astype(np.float32)
    store = MemoryTileStore(scene.layout)
    for index, tile in enumerate(scene.layout.tiles):
        with store.tile(index) as writer:
            for layer, whole in ((COARSE, coarse), (RESIDUAL, residual)):
                core = whole[tile.place(scene.layout.layers[layer])]
                writer.append(layer, np.moveaxis(core, -1, 0))
            writer.angles = AngleSum(0.5, 1)
    for module in (second_pass, correction):  # so that blocks have three rows, or a few
        monkeypatch.setattr(module, "_BLOCK_BYTES", 63 * 11 * scale**2 * 4 * 3)
    fine = coarse + 0.5 * resize.imresize(residual, scale)
    assert len(scene.layout.tiles) == 6
    for how in ({"consistent": 1}, {"clip": "unit", "consistent": 3}, {"clip": "input"}):
        found, second = np.empty_like(fine), SecondPass(scene, store, Radiometry(**how))

        def write(block, row, column, found=found):
            found[row : row + len(block), column:] = block

        rows = []
        second.write_fine(write, np.dtype(np.float32), rows.append)
        assert sum(rows) == 67 * second.passes
        expected = correct(Radiometry(**how), fine, cube)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert np.abs(found - fine).max() > 1e-2
        if how == {"clip": "input"}:
            changed = np.count_nonzero(expected != fine)
            assert abs(second.effect.clipped - changed) <= 10  # within rounding of a limit
            assert second.effect.values == fine.size


@pytest.fixture(scope="module")
def networks():
    return small_networks(2)


def test_bad_bands_and_pixels_without_data(rng, networks, caplog):
    cube = smooth(rng, 24, 26, 7, np.int16, 9000.0)
    cube[15:18, 20:22] = 9999
    cube[..., 3] = 55
    cube[4:9, 6:8] = -1
    caplog.set_level(logging.INFO, "dualsr_jax")
    plain = networks.upscale(cube, nodata=-1, peak=9999.0)
    made = networks.upscale(cube, nodata=-1, peak=9999.0, clip="input", consistent=3)
    assert caplog.messages.count("10 of 624 pixels (1.6 %) have no data") == 2
    masked = (cube == -1).repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(made == -1, masked)
    np.testing.assert_array_equal(made[..., 3], plain[..., 3])
    assert caplog.messages[-2].startswith(
        "3 back-projections: reduced to the scene's size, the res"
    )
    assert caplog.messages[-1].endswith("were clipped to the range of the 5x5 pixels around")
    # 6 usable bands, of whose 24x26 pixels 10 have no data.
    assert f" of {6 * 4 * (24 * 26 - 10):,} values (" in caplog.messages[-1]
    made = networks.upscale(cube, nodata=-1, peak=9999.0, consistent=1)
    reduced = resize.imresize(made.astype(np.float64), 0.5)
    far = np.ones((24, 26), bool)
    far[2:11, 4:10] = False  # whose reductions need no pixel without data
    error = np.delete(reduced - cube, 3, 2)[far]
    assert np.abs(error).max() < 1  # of rounding: 0.5 at most in each pixel of the result
    assert np.abs(np.delete(resize.imresize(plain.astype(float), 0.5) - cube, 3, 2)[far]).max() > 50


@pytest.mark.parametrize(
    ("dtype", "least"),
    # Rounding to steps of 1/255 or 1/10000 leaves an error of 0.29 steps (59, 91 dB), of which the
    # reduction at x2 averages 8 dB away.
    [(np.uint8, 66), (np.uint16, 98), (np.float32, 120)],
)
def test_what_was_done_is_reported_as_stored(rng, networks, caplog, dtype, least):
    peak = {np.uint8: 255, np.uint16: 10000, np.float32: 1}[dtype]
    cube = smooth(rng, 24, 26, 6, dtype, peak)
    caplog.set_level(logging.INFO, "dualsr_jax")
    made = networks.upscale(cube, peak=float(peak), consistent=1)
    measured_db = consistency_db(made / np.float64(peak), cube / np.float64(peak))
    assert measured_db > least
    said_db = float(caplog.messages[-1].split(" dB PSNR")[0].rpartition(" ")[2])
    # In float32 the residual is itself rounded.
    assert abs(said_db - measured_db) < (0.01 if dtype is not np.float32 else 6)


def test_what_was_done_is_the_same_with_an_offset(rng, networks, caplog):
    cube = smooth(rng, 24, 26, 6, np.int16, 9000.0)
    caplog.set_level(logging.INFO, "dualsr_jax")
    said_db = []
    for offset in (0, 500):
        attributes = {"add_offset": float(offset)}
        stored = xarray.DataArray(
            cube - np.int16(offset), dims=("y", "x", "band"), attrs=attributes
        )
        networks.upscale(stored, consistent=1)
        said_db.append(float(caplog.messages[-1].split(" dB PSNR")[0].rpartition(" ")[2]))
    assert said_db[0] > 90
    assert abs(said_db[1] - said_db[0]) < 0.02  # rounded in float32


@dataclasses.dataclass(frozen=True)
class Stub(DualSR):
    """Gives a result that is known, without its networks."""

    _: dataclasses.KW_ONLY
    made: Result = None

    def __call__(self, lr):
        return self.made


def test_an_evaluation_scores_the_consistent_result(images):
    hr, lr, sr = images
    networks = small_networks(len(sr) // len(lr))
    dualsr = Stub(networks.coarse, made=Result(sr, sr, np.ones(1, np.float32)))
    protocol, how = get_protocol("dualsr"), Radiometry(consistent=1)
    plain, _ = evaluate_scene(dualsr, hr, lr, protocol)
    cubes, record = evaluate_scene(dualsr, hr, lr, protocol, how)
    np.testing.assert_array_equal(cubes["CoarSR"], plain["CoarSR"])
    np.testing.assert_array_equal(cubes["DualSR"], correct(how, sr, lr).clip(0, 1))
    assert record["scores"]["DualSR"]["psnr_db"] > record["scores"]["CoarSR"]["psnr_db"]


def test_bad_settings(rng, networks):
    cube = smooth(rng, 12, 11, 6)
    for wrong, message in (
        ({"clip": "range"}, r"clip must be one of \('input', 'unit'\) or None, got 'range'"),
        ({"consistent": -1}, "a whole number of at least 0, got -1"),
        ({"consistent": True}, "a whole number of at least 0, got True"),
        (
            {"clip": "unit", "dtype": np.uint8, "peak": 1000.0},
            "clip='unit': uint8 cannot hold the range 0 to 1000 that results are clipped to",
        ),
        ({"clip": "unit", "dtype": np.uint8}, "uint8 has too few values in the range 0 to 1 "),
        ({"clip": "input", "dtype": np.int16}, "int16 has too few values in the range"),
    ):
        with pytest.raises(ValueError, match=message):
            networks.upscale(cube, **wrong)
    with pytest.raises(ValueError, match=r"clip='input': int8 cannot hold the range"):
        networks.upscale(smooth(rng, 12, 11, 6, np.uint8, 255), clip="input", dtype=np.int8)
    with pytest.raises(ValueError, match=r"is not the shape of a result of an input of"):
        correct(Radiometry(), cube, cube[:5])


def test_what_a_type_can_hold(rng):
    source = Memory(smooth(rng, 12, 11, 6, np.uint16, 9000.0), reflectance_scale=10000.0)
    statistics = scan(source)
    found = plan(statistics, source.dtype, source.metadata)
    for dtype in (np.int16, np.float32, np.float16):
        check_clip(Radiometry(clip="unit"), statistics, found, np.dtype(dtype))
    check_clip(Radiometry(consistent=1), statistics, found, np.dtype(np.uint8))
