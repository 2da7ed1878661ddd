import contextlib
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.files import with_prefix
from support.scenes import SMALL, random_variables

from dualsr_jax import losses
from dualsr_jax.losses import LOSSES, OF_BANDS
from dualsr_jax.metrics import psnr_db
from dualsr_jax.models.coarsr.coarse import CoarSR
from dualsr_jax.ops.augment import augment
from dualsr_jax.ops.degrade import Degradation
from dualsr_jax.ops.resize import imresize
from dualsr_jax.training import parallel
from dualsr_jax.training.optimizer import adam, averaged_params, learning_rate_schedule
from dualsr_jax.training.step import (
    Images,
    Learning,
    TrainState,
    make_images,
    make_train_step,
)
from dualsr_jax.weights.torch_params import from_torch, to_torch

FOLLOWED_BY_BATCH_NORM = re.compile(r"_body\.body\.0\.\d\.body\.[03]\.(bias|weight_g)$")


def images(arrays):
    return Images(*(jnp.asarray(arrays["lr"]), (arrays["bicubic"],), (arrays["hr"],)))


def train_step(model, optimizer, schedule, axis_name=None, **how):
    learning = Learning(model=model, optimizer=optimizer, axis_name=axis_name, **how)
    return make_train_step(learning, schedule)


@pytest.mark.parametrize("norm", ["plain", "bn"])
def test_golden_batch_with_an_update_every_band(golden, norm):
    arrays = golden(f"train_per_band_x2_{norm}")
    network = from_torch(with_prefix(arrays, "param"))
    model, variables = network.model, network.variables
    optimizer = adam(lambda _: float(arrays["learning_rate"]))
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(variables["params"]),
    )
    update = jax.jit(Learning(model=model, optimizer=optimizer, update="band"))
    state, loss, (sr,) = update(state, images(arrays))
    np.testing.assert_allclose(loss, arrays["loss_per_band"], atol=2e-5)
    np.testing.assert_allclose(sr, arrays["sr"], atol=2e-5)
    after = to_torch(model, state.variables)
    assert state.opt_state[0].count == sr.shape[-1]
    for name, expected in with_prefix(arrays, "param_after").items():
        # Where BatchNorm follows, biases and gains have no gradient but rounding noise, which
        # Adam turns into steps; running statistics see those.
        noisy = FOLLOWED_BY_BATCH_NORM.search(name) or "running" in name
        tolerance = 5e-6 if norm == "plain" else 3e-3 if noisy else 1e-5
        np.testing.assert_allclose(after[name], expected, atol=tolerance, err_msg=name)


def test_golden_gradient_of_the_first_band(golden):
    arrays = golden("train_per_band_x2_bn")  # without BatchNorm: the gradients of all bands, below
    network = from_torch(with_prefix(arrays, "param"))
    model, variables = network.model, network.variables
    lr, (bicubic,), (hr,) = images(arrays)

    def loss(params):
        sr, _ = model.clone(band_chunk=1).apply(
            {**variables, "params": params}, lr, bicubic, train=True, mutable=["batch_stats"]
        )
        return jnp.abs(sr[..., 0] - hr[..., 0]).mean()

    gradient = jax.jit(jax.grad(loss))(variables["params"])
    ours = to_torch(model, {**variables, "params": gradient})
    for name, expected in with_prefix(arrays, "grad_band0").items():
        np.testing.assert_allclose(ours[name], expected, atol=2e-5, err_msg=name)
    assert not np.any(ours["rnn_reduceD.0.weight_v"])


@pytest.mark.parametrize(
    ("through_time", "how"),
    [
        (False, {}),
        (False, {"band_chunk": 4}),
        (True, {}),
    ],
)
def test_golden_gradient_of_all_bands(golden, through_time, how):
    arrays = golden("train_per_image_x2_plain")
    network = from_torch(with_prefix(arrays, "param"))
    model, variables = network.model, network.variables
    hr = arrays["hr"]
    assert hr.shape[-1] % 4, "the last chunk should be filled up"
    descent = optax.sgd(1.0)  # its one update is the gradient
    update = Learning(
        model=model.clone(**how), optimizer=descent, update="image", through_time=through_time
    )
    state = TrainState(np.int32(0), variables["params"], {}, descent.init(variables["params"]))
    after, loss, (sr,) = jax.jit(update)(state, images(arrays))
    name = "through_time" if through_time else "detached"
    assert float(loss.mean()) == pytest.approx(float(arrays[f"loss_{name}"]), abs=2e-5)
    of_bands = np.abs(sr - hr).mean((0, 1, 2))
    np.testing.assert_allclose(loss, [of_bands.mean()] if through_time else of_bands, rtol=1e-5)
    gradient = jax.tree.map(jnp.subtract, variables["params"], after.params)
    ours = to_torch(model, {"params": gradient})
    for key, expected in with_prefix(arrays, f"grad_{name}").items():
        np.testing.assert_allclose(ours[key], expected, atol=2e-5, err_msg=key)


def test_a_joint_network_learns_from_both_scales():
    model, _, _, state, batch = tiny(scale=4, joint=True)
    images = made_images(batch, model.scales)
    np.testing.assert_allclose(images.targets[1], imresize(images.targets[0], 0.5), atol=1e-6)

    def loss(params):
        results = model.apply({"params": params}, images.lr, images.bicubics, method="at_scales")
        full, half = (jnp.abs(a - b).mean() for a, b in zip(results, images.targets, strict=True))
        return full + 0.7 * half

    descent = optax.sgd(1.0)  # its one update is the gradient
    state = TrainState(np.int32(0), state.params, {}, descent.init(state.params))
    learning = Learning(model=model, optimizer=descent, update="image", half_weight=0.7)
    after, found, results = jax.jit(learning)(state, images)
    expected_loss, expected = jax.jit(jax.value_and_grad(loss))(state.params)
    assert float(found.mean()) == pytest.approx(float(expected_loss), rel=1e-5)
    for result, scale in zip(results, model.scales, strict=True):
        assert result.shape == (4, 2 * scale, 2 * scale, 6)
    gradient = jax.tree.map(jnp.subtract, state.params, after.params)
    for tail in ("tail", "half_tail"):
        ours, theirs = (tree[tail]["out"]["wn"]["v"] for tree in (gradient, expected))
        np.testing.assert_allclose(ours, theirs, atol=2e-6)
        assert np.abs(theirs).max() > 1e-4


def test_the_psnr_loss(rng):
    hr = jnp.asarray(rng.random((3, 8, 8, 1), np.float32))
    noise = jnp.asarray(rng.normal(0, 1, hr.shape).astype(np.float32))
    sr = hr + noise * jnp.asarray([0.1, 0.2, 0.4]).reshape(3, 1, 1, 1)
    expected = np.mean([float(psnr_db(a, b)) for a, b in zip(sr, hr, strict=True)])
    assert float(losses.psnr(sr, hr)) == pytest.approx(-expected, abs=0.03)
    assert float(losses.psnr(hr, hr)) == pytest.approx(-60)
    # The weight of an image's errors is one over its mean squared error.
    of_errors = (jax.grad(losses.psnr)(sr, hr) / (sr - hr)).mean((1, 2, 3))
    squared = jnp.square(sr - hr).mean((1, 2, 3))
    assert float(of_errors[0] / of_errors[2]) == pytest.approx(
        float(squared[2] / squared[0]), rel=0.02
    )


@pytest.mark.parametrize("loss", OF_BANDS)
def test_the_loss_of_a_cube_is_the_mean_of_those_of_its_bands(rng, loss):
    model, optimizer, *_ = tiny(scale=4, joint=True)
    learning = Learning(model=model, optimizer=optimizer, loss=loss, half_weight=0.7)
    cubes = [jnp.asarray(rng.random((2, 2, n, n, 6), np.float32)) for n in (8, 4)]
    results, targets = zip(*cubes, strict=True)
    full, half = (LOSSES[loss](a, b) for a, b in cubes)
    found = learning._loss(results, targets)
    np.testing.assert_allclose(found, full + 0.7 * half, rtol=1e-5)
    bands_first = jax.tree.map(lambda cube: jnp.moveaxis(cube, -1, 0), (results, targets))
    of_bands = learning._loss_of_bands(*bands_first)
    assert of_bands.shape == (6,)
    np.testing.assert_allclose(of_bands.mean(), found, rtol=1e-5)
    assert len({round(float(of_band), 4) for of_band in of_bands}) > 1


def test_the_two_gradients_of_the_golden_file_differ(golden):
    arrays = golden("train_per_image_x2_plain")
    key = "rnn_reduceD.0.weight_v"
    difference = arrays[f"grad_detached/{key}"] - arrays[f"grad_through_time/{key}"]
    assert np.abs(difference).max() > 1e-3


def made_images(batch, scales):
    make = functools.partial(make_images, scales=scales, degradation=Degradation())
    return jax.jit(make)(batch)


def tiny(scale=2, updates_per_epoch=100, **settings):
    model = CoarSR(scale, **SMALL, **settings)
    schedule = learning_rate_schedule(1e-3, 1, updates_per_epoch)
    optimizer = adam(schedule)
    variables = random_variables(model, 0)
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    state = TrainState(np.int32(0), params, batch_stats, jax.jit(optimizer.init)(params))
    batch = {
        "hr": np.random.default_rng(0).random((4, 8, 8, 6)).astype(np.float32),
        "variant": np.arange(4, dtype=np.int32),
        "sample": np.arange(4),
    }
    return model, optimizer, schedule, state, batch


def test_two_devices_equal_one():  # with an update a band: test_processes
    model, optimizer, schedule, state, batch = tiny()
    assert jax.local_device_count() == 2
    alone = jax.jit(train_step(model, optimizer, schedule, update="image"))
    shared = parallel.data_parallel(
        train_step(model, optimizer, schedule, update="image", axis_name=parallel.AXIS)
    )
    one, two = state, parallel.replicate(state)
    for _ in range(2):
        one, metrics_one = alone(one, batch)
        two, metrics_two = shared(two, [batch])
    # Adam divides by the gradient's size, so rounding in near-zero gradients is amplified.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), one.params, two.params)
    for name, value in metrics_one.items():
        np.testing.assert_allclose(metrics_two[name], [value], rtol=1e-4, err_msg=name)


@pytest.mark.parametrize(
    ("update", "settings", "updates"),
    [("band", {"norm": "batch"}, 6), ("image", {}, 1)],
)
def test_training_lowers_the_loss_at_the_logged_rate(update, settings, updates):
    # Halved before the last of the band's 8 batches, and never for the image's 30.
    model, optimizer, schedule, state, batch = tiny(
        **settings, updates_per_epoch=7 * 6 if update == "band" else 100
    )
    step = jax.jit(train_step(model, optimizer, schedule, update=update))
    losses, rates = [], []
    for _ in range(8 if update == "band" else 30):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
        rates.append(float(metrics["learning_rate"]))
    assert losses[-1] < 0.985 * losses[0] < 1  # a mean over bands of [0, 1], not their sum
    assert int(state.step) == len(losses)
    assert bool(state.batch_stats) == ("norm" in settings)
    np.testing.assert_allclose(rates[:-1], 1e-3, rtol=1e-6)
    assert rates[-1] == pytest.approx(5e-4 if update == "band" else 1e-3)
    assert int(state.opt_state[0].count) == updates * len(losses)


def test_the_learning_rate_halves_after_epochs_of_updates():
    schedule = learning_rate_schedule(1e-4, halve_every_epochs=30, updates_per_epoch=140 * 31)
    per_epoch = 140 * 31
    assert schedule(0) == pytest.approx(1e-4)
    assert schedule(30 * per_epoch - 1) == pytest.approx(1e-4)
    assert schedule(30 * per_epoch) == pytest.approx(5e-5)
    assert schedule(90 * per_epoch) == pytest.approx(1.25e-5)


def test_cosine_and_warm_up():
    settings = {"kind": "cosine", "epochs": 10, "warmup_epochs": 2}
    schedule = learning_rate_schedule(1e-3, 30, 100, **settings)
    assert schedule(0) == 0
    assert schedule(100) == pytest.approx(5e-4)
    assert schedule(200) == pytest.approx(1e-3)
    assert schedule(600) == pytest.approx(5e-4)
    assert schedule(1000) == pytest.approx(0, abs=1e-9)
    ends = learning_rate_schedule(1e-3, 30, 100, **settings, last_rate=0.1)
    assert ends(1000) == pytest.approx(1e-4)
    halving = learning_rate_schedule(1e-3, 3, 100, epochs=10, warmup_epochs=2)
    assert [float(halving(n)) for n in (200, 499, 500)] == pytest.approx([1e-3, 1e-3, 5e-4])


def test_the_learning_rates_of_other_methods():
    tenth = learning_rate_schedule(1e-4, 30, 10, kind="tenth")
    for epoch, expected in ((1, 1e-4), (29, 1e-4), (30, 1e-5), (40, 1e-5)):  # counted from 1
        assert tenth(10 * (epoch - 1)) == pytest.approx(expected)
    assert learning_rate_schedule(5e-5, 30, 10, kind="constant")(9999) == pytest.approx(5e-5)
    with pytest.raises(ValueError, match=r"train\.last_rate=2 must be at least 0 and at most 1"):
        learning_rate_schedule(1e-4, 30, 10, last_rate=2)


def test_the_moving_average_equals_a_loop():
    schedule = learning_rate_schedule(1e-2, 30, 100)
    optimizer = adam(schedule, ema_decay=0.8)
    params = {"a": jnp.array([1.0, -2.0])}
    state, expected = optimizer.init(params), np.array([1.0, -2.0])
    for k in range(5):
        updates, state = optimizer.update({"a": jnp.array([0.3, k - 2.0])}, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        expected = 0.8 * expected + 0.2 * np.asarray(params["a"])
    np.testing.assert_allclose(averaged_params(state)["a"], expected, rtol=1e-6)
    assert averaged_params(adam(schedule).init(params)) is None


def test_long_gradients_are_shortened():
    optimizer = adam(lambda _: 1.0, clip_norm=1.0)
    params = {"a": jnp.zeros(2), "b": jnp.zeros(1)}
    gradient = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([4.0])}
    _, state = optimizer.update(gradient, optimizer.init(params), params)
    first_moment = state[1][0].mu
    np.testing.assert_allclose(first_moment["a"], [0.06, 0.0], rtol=1e-5)
    np.testing.assert_allclose(first_moment["b"], [0.08], rtol=1e-5)


def test_bfloat16_is_close_and_keeps_float32():
    model, optimizer, schedule, state, batch = tiny()
    half = model.clone(precision="bfloat16")
    lr, (bicubic,), _ = made_images(batch, (2,))
    # In units of what the network adds to bicubic: 8 bits of mantissa.
    full_sr, half_sr = (jax.jit(m.apply)(state.variables, lr, bicubic) for m in (model, half))
    added = jnp.abs(full_sr - bicubic).max()
    assert 0 < jnp.abs(full_sr - half_sr).max() < 0.03 * added
    assert half_sr.dtype == jnp.float32
    step = jax.jit(train_step(half, optimizer, schedule, update="image"))
    after, metrics = step(state, batch)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(after.params))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(after.opt_state[0].mu))
    assert np.isfinite(metrics["loss"])
    text = step.lower(state, batch).as_text()
    products = [line for line in text.splitlines() if "stablehlo.convolution" in line]
    assert products
    assert all("bf16" in line for line in products)


def test_augment_equals_numpy(rng):
    patches = rng.random((5, 6, 6, 3)).astype(np.float32)
    result = augment(jnp.asarray(patches), jnp.arange(5))
    for k in range(4):
        np.testing.assert_array_equal(result[k], np.rot90(patches[k], k))
    np.testing.assert_array_equal(result[4], patches[4][:, ::-1])


def test_bad_settings():
    model, optimizer, schedule, _, _ = tiny()
    with pytest.raises(ValueError, match="unknown update 'bands'"):
        train_step(model, optimizer, schedule, update="bands")
    with pytest.raises(ValueError, match="through_time=True needs"):
        train_step(model, optimizer, schedule, update="band", through_time=True)
    with pytest.raises(ValueError, match=r"half_weight=0 must be more than 0"):
        Learning(model=model, optimizer=optimizer, half_weight=0)
    with pytest.raises(ValueError, match="unknown precision 'half'"):
        tiny(precision="half")
    with pytest.raises(ValueError, match=r"unknown train\.schedule 'step'"):
        learning_rate_schedule(1e-3, 30, 100, kind="step")
    with pytest.raises(ValueError, match=r"warmup_epochs=9 must be .* less than the 8 epochs"):
        learning_rate_schedule(1e-3, 30, 100, epochs=8, warmup_epochs=9)
    with pytest.raises(ValueError, match="clip_norm=0 must be positive"):
        adam(schedule, clip_norm=0)
    with pytest.raises(ValueError, match=r"ema_decay=1\.0 must be between 0 and 1"):
        adam(schedule, ema_decay=1.0)
    with pytest.raises(ValueError, match="must be positive"):
        learning_rate_schedule(0, 30, 100)
    with pytest.raises(ValueError, match=r"not divisible by the 2 devices.*such as 6"):
        parallel.check_batch_size(5)


@pytest.mark.parametrize(
    ("norm", "update", "chunk", "refused"),
    [
        ("batch", "image", 4, True),
        ("batch", "image", 3, False),
        ("batch", "image", 7, False),
        ("batch", "image", None, False),
        ("batch", "band", 4, False),
        (None, "image", 4, False),
    ],
)
def test_batch_norm_never_counts_a_band_twice(norm, update, chunk, refused):
    model = CoarSR(2, norm=norm, band_chunk=chunk)
    learning = Learning(model=model, optimizer=optax.sgd(1.0), update=update)
    message = r"band_chunk=4 does not divide 6 bands: .* choose one of 1, 2, 3, 6, or None"
    with pytest.raises(ValueError, match=message) if refused else contextlib.nullcontext():
        learning.check_bands(6)
    if refused:  # by a step too, before it computes anything
        images = Images(jnp.zeros((1, 4, 4, 6)), (), ())
        with pytest.raises(ValueError, match=message):
            learning(TrainState(np.int32(0), {}, {}, ()), images)
