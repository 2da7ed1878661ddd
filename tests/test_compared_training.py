"""Training of the compared methods, with the command and loop of CoarSR."""

import itertools
from pathlib import Path

import jax
import numpy as np
import pytest
from support.methods import SMALL_METHODS
from support.trainings import records

from dualsr_jax.evaluation.run import evaluate
from dualsr_jax.training import parallel
from dualsr_jax.training.checkpoint import Checkpoints
from dualsr_jax.training.loop import _first_state, train
from dualsr_jax.training.plan import plan
from dualsr_jax.training.step import make_train_step

LOSS = {"SSPSR": "sspsr", "3D-FCNN": "mse"}


@pytest.mark.parametrize("method", SMALL_METHODS)
def test_a_resumed_run_has_the_same_bits(make_config, tmp_path, method):
    made = plan(make_config(method=method, train__loss=LOSS.get(method, "l1")))
    # Of the loop, what does not compile the step for each run anew.
    step = parallel.data_parallel(make_train_step(made.learning, made.schedule))
    first, second = itertools.islice(made.sampler.batches(0), 2)
    with Checkpoints(tmp_path) as checkpoints:
        state, metrics = step(_first_state(made, checkpoints), [first])
        checkpoints.save(state, made.model, made.fixed_settings())
        whole, _ = step(state, [second])
        resumed, _ = step(_first_state(made, checkpoints), [next(made.sampler.batches(1))])
        stored, _ = checkpoints.restore_network()
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    assert int(resumed.step) == 2
    assert np.isfinite(metrics["loss"]).all()
    assert stored.model == made.model
    moved = [np.any(a != b) for a, b in zip(*map(leaves, (stored.variables, whole)), strict=True)]
    if method in ("MCNet", "ERCSR"):
        cubes = [np.load(path) for path in Path(make_config().data.path).glob("[abc].npy")]
        mean = np.mean(cubes, (0, 1, 2)) / 65535
        np.testing.assert_allclose(whole.params["band_mean"], mean, atol=1e-6)
        moved.append(True)  # in place of the means
    assert np.mean(moved) > 0.8  # a ReLU of one channel in SSPSR's attention may pass nothing


def leaves(variables):
    params = variables["params"] if isinstance(variables, dict) else variables.params
    return jax.tree.leaves(params)


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("SSPSR", {"model__scale": 3}, r"scale 3 is not supported by SSPSR.*\[2, 4, 8\]"),
        ("SSPSR", {"model__group": 7}, "SSPSR needs 7 bands or more, but 6 are given"),
        ("EDSR", {"model__num_bands": 31}, "EDSR is made for 31 bands, but 6 are given"),
        ("EDSR", {"train__update_every": "band"}, "after another, which EDSR does not: use"),
        ("EDSR", {"train__loss": "l2"}, r"unknown train.loss 'l2': expected one of \['l1', 'mse'"),
        ("SFCSR", {"train__loss": "sspsr"}, "train.loss='sspsr' needs update='image', because it"),
        ("MCNet", {"train__window_bands": 5}, "window_bands=5: the weights of MCNet belong to the"),
        ("MCNet", {"train__band_mean": "mine"}, "unknown band_mean 'mine'"),
        ("MCNet", {"train__band_mean": "released"}, "'released' has 31 bands, but the training sc"),
        ("3D-FCNN", {"model__pad": "valid", "model__scale": 4}, "pad='valid' gives smaller images"),
    ],
)
def test_what_a_method_does_not_admit_is_found_before_the_first_step(
    make_config, method, changes, message
):
    with pytest.raises(ValueError, match=message):
        plan(make_config(method=method, **changes))


def test_a_run_of_another_method_is_not_resumed_or_begun_from(make_config, tmp_path):
    train(make_config(method="EDSR", epochs=1 / 15), tmp_path / "edsr")
    with pytest.raises(ValueError, match=r"it has method='EDSR', not 'MCNet'\. Use the config"):
        train(make_config(method="MCNet", epochs=1 / 15), tmp_path / "edsr")
    results = evaluate(make_config(method="EDSR"), tmp_path / "edsr", save_cubes=False)
    assert list(results["images"]["test"]["scores"]) == ["Bicubic", "EDSR", "DualSR"]
    warm = {"train__warm_start": str(tmp_path / "edsr")}
    with pytest.raises(ValueError, match="edsr' holds EDSR, but MCNet is trained"):
        train(make_config(method="MCNet", **warm), tmp_path / "mcnet")


def test_the_loss_of_whole_cubes_needs_no_chunks(make_config, tmp_path):
    changes = {"train__update_every": "image", "train__loss": "sspsr"}
    train(make_config(method="SFCSR", epochs=1 / 15, **changes), tmp_path)
    assert 0 < records(tmp_path)[0]["loss"] < 1
    with pytest.raises(ValueError, match=r"on other data or settings: loss was 'sspsr', is"):
        train(make_config(method="SFCSR", epochs=2 / 15, train__update_every="image"), tmp_path)
