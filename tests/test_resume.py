"""Runs that are killed, stopped, started twice, changed, damaged or out of disk space."""

import contextlib
import dataclasses
import os
import resource
import shutil
import signal
import threading
import time

import jax
import numpy as np
import optax
import pytest
from support.processes import wait_until
from support.trainings import records, restored, running, steps_saved

from dualsr_jax.disk import locked
from dualsr_jax.models.coarsr.coarse import CoarSR
from dualsr_jax.training import loop, parallel, signals
from dualsr_jax.training.checkpoint import Checkpoints
from dualsr_jax.training.log import TrainingLog
from dualsr_jax.training.loop import train
from dualsr_jax.training.step import TrainState, state_shapes


@pytest.mark.parametrize("update", ["band", "image"])
def test_kill_and_resume_change_nothing(make_config, tmp_path, update):
    def config(steps):
        changes = {"train__update_every": update, "train__save_every_epochs": 3 / 15}
        changes["train__ema_decay"] = 0.9  # the average is what is compared, and holds all updates
        return make_config(epochs=steps / 15, **changes)

    killed = tmp_path / "killed"
    with running(config(100_000), killed) as process:
        wait_until(lambda: steps_saved(killed), process)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    saved, seen = steps_saved(killed)[-1], records(killed)[-1]["step"]
    assert saved % 3 == 0
    assert seen - saved <= 3
    last = saved + 3
    assert train(config(last), killed) == 0
    train(config(last), tmp_path / "whole")
    (a, step), (b, _) = (restored(w) for w in (killed, tmp_path / "whole"))
    assert step == last
    jax.tree.map(np.testing.assert_array_equal, a.variables, b.variables)
    assert [r["step"] for r in records(killed)] == list(range(1, last + 1))
    for a, b in zip(records(killed), records(tmp_path / "whole"), strict=True):
        assert a["loss"] == b["loss"]


def test_several_steps_a_dispatch_change_nothing(make_config, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    train(make_config(epochs=5 / 15), one)
    train(make_config(epochs=1 / 15), two)
    several = {"train__steps_per_dispatch": 2, "train__log_every_steps": 3}
    train(make_config(epochs=5 / 15, train__save_every_epochs=1 / 15, **several), two)
    assert steps_saved(two) == [2, 4, 5]
    assert [r["step"] for r in records(two)] == [1, 2, 4, 5]
    mean = np.mean([r["loss"] for r in records(one)[2:4]])
    assert records(two)[2]["loss"] == pytest.approx(mean, rel=1e-4)
    (a, _), (b, _) = (restored(w) for w in (one, two))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), a.variables, b.variables)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("train__steps_per_dispatch", 0, r"train\.steps_per_dispatch=0 must be 1 or more"),
        ("train__log_every_steps", 0, r"train\.log_every_steps=0 must be 1 or more"),
        ("train__batch_size", 0, r"train\.batch_size=0 must be 1 or more"),
        ("train__epochs", float("nan"), r"train\.epochs=nan must be more than 0"),
        ("model__features", 0, "features=0 must be 1 or more"),
        ("model__scale", 5, "scale 5 is not supported"),
    ],
)
def test_settings_that_mean_nothing(make_config, tmp_path, name, value, message):
    with pytest.raises(ValueError, match=message):
        train(make_config(**{name: value}), tmp_path)


def test_parameters_that_are_not_finite_are_not_saved(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state_at(1), CoarSR(2), RUN)
        state = state_at(2)
        state = dataclasses.replace(state, params=jax.tree.map(lambda x: x * np.nan, state.params))
        with pytest.raises(FloatingPointError, match="no longer finite after step 2: lower"):
            checkpoints.save(state, CoarSR(2), RUN)
        assert checkpoints.latest_step() == 1


def test_the_bar_begins_after_the_first_steps(tmp_path):
    with TrainingLog(tmp_path, first_step=2, last_step=10) as log:
        time.sleep(1)  # compiling
        for _ in range(3):
            log.advance(2)
        shown = log._bar.format_dict
    assert (shown["initial"], shown["n"], shown["total"]) == (4, 8, 10)
    assert shown["elapsed"] < 0.9


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_a_second_run_is_refused(make_config, tmp_path, number):
    config = make_config(epochs=10_000, train__save_every_epochs=5_000)
    with running(config, tmp_path) as process:
        wait_until(lambda: (tmp_path / "metrics.jsonl").exists() and records(tmp_path), process)
        refused = pytest.raises(ValueError, match=r"another run is using the workdir .*--workdir")
        with refused, locked(tmp_path, "workdir"):  # `train` would not end if there were no lock
            pass
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    step = records(tmp_path)[-1]["step"]
    assert steps_saved(tmp_path) == [step]
    assert f"stopped by {number.name} after step {step:,} of 150,000, which is saved" in out
    what = {
        signal.SIGTERM: "after the steps under way",
        signal.SIGINT: "the finished steps, within seconds,",
    }
    assert f"{number.name}: saves {what[number]} and stops; again: stops" in err
    assert "Traceback" not in err
    assert err.index("compiling the training step") < err.index("step/s") < err.index(number.name)
    train(make_config(epochs=(step + 1) / 15), tmp_path)  # the lock is free
    assert [r["step"] for r in records(tmp_path)] == list(range(1, step + 2))


@pytest.mark.parametrize("moment", ["steps", "unfinished", "validation", "last validation"])
def test_an_interrupt_abandons_what_takes_long(make_config, tmp_path, monkeypatch, moment):
    """The devices are at work for minutes in the fourth step, or in scoring after the third."""
    last = 3 if moment == "last validation" else 5
    config = make_config(epochs=last / 10, data__validation=("c",), train__save_every_epochs=3 / 10)
    calls, interrupted, data_parallel = [], [], parallel.data_parallel

    def hang(*_):
        interrupted.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(100)  # long past what is asserted

    def slow(step):
        make = data_parallel(step)

        def run(state, batches):
            calls.append(state)
            return hang() if len(calls) == 4 else make(state, batches)

        return run

    with monkeypatch.context() as patch:
        patch.setattr(signals, "GRACE_S", 0.5)
        patch.setattr(signals, "LIMIT_S", 600)  # it would end this process on a busy machine
        if moment in ("steps", "unfinished"):
            config.train.save_every_epochs, config.train.log_every_steps = 5 / 10, 2
            patch.setattr(parallel, "data_parallel", slow)
            if moment == "unfinished":  # as if the third step were still under way
                patch.setattr(loop, "_is_ready", lambda state: False)
        else:
            patch.setattr(loop, "_validation_scores", hang)
        assert train(config, tmp_path) == signal.SIGINT
    assert time.monotonic() - interrupted[0] < 60
    assert steps_saved(tmp_path) == [2 if moment == "unfinished" else 3]
    recorded = {"steps": [2, 3], "unfinished": [2]}.get(moment, [1, 2, 3])
    assert [r["step"] for r in records(tmp_path)] == recorded
    assert all("validation_psnr_db" not in r for r in records(tmp_path))
    assert train(config, tmp_path) == 0
    found = [r["step"] for r in records(tmp_path)]
    assert found == recorded + ([3] if last == 3 else [4, 5])
    assert records(tmp_path)[-1]["validation_psnr_db"] > 0
    assert restored(tmp_path, "best")[1] == last
    train(config, tmp_path)
    assert len(records(tmp_path)) == len(found)  # it is scored once


def test_a_full_disk_is_one_clear_error(make_config, tmp_path):
    config = make_config(
        epochs=10_000, train__save_every_epochs=20 / 15, train__log_every_steps=10_000
    )
    with running(config, tmp_path) as process:
        wait_until(lambda: steps_saved(tmp_path), process)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (6000, 6000))
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    (error,) = (line for line in err.splitlines() if "error: " in line)  # between tensorstore's
    assert "error: a checkpoint could not be saved in " in error
    assert "(File too large): make room there; the same command resumes" in error
    saved = steps_saved(tmp_path)[-1]
    train(make_config(epochs=(saved + 1) / 15), tmp_path)
    assert steps_saved(tmp_path)[-1] == saved + 1


def test_changed_data_are_refused_and_a_changed_schedule_is_not(make_config, folder, tmp_path):
    run = tmp_path / "run"
    train(make_config(epochs=1 / 15), run)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "c.npy").unlink()
    edited = tmp_path / "edited"
    shutil.copytree(folder, edited)
    np.save(edited / "c.npy", np.load(edited / "c.npy") // 2)
    for changes, message in (
        ({"train__batch_size": 4}, r"batch_size was 2, is 4\. Set them back"),
        ({"data__path": str(other)}, r"image 3 was 'c 20x17x6', is None; pixels was"),
        ({"data__path": str(edited)}, r"settings: pixels was 'CRC-32 \w+', is 'CRC-32 \w+'\. Set"),
        (
            {"seed": 1, "data__peak": 65536.0},
            r"seed was 0, is 1; pixels .*; peak was None, is 65536\.0\. Set",
        ),
        (
            {"train__update_every": "image", "degradation__noise": (0.0, 0.1)},
            r"update_every was 'band', is 'image'; degradation\.noise was \[0\.0, 0\.0\], is",
        ),
        ({"train__resize_scales": (1.0, 0.9)}, r"image 2 was .*, is .*; and 2 more\. Set"),
    ):
        with pytest.raises(ValueError, match=message):
            train(make_config(epochs=2 / 15, **changes), run)
    assert steps_saved(run) == [1]
    train(make_config(epochs=2 / 15, train__learning_rate=1e-3, train__log_every_steps=7), run)
    assert steps_saved(run) == [1, 2]


@pytest.mark.parametrize(
    "damage", [b"\0\0\0", b"", b"\xff", b"[1]", b'{"loss": 1.0}', b'{"step": 2']
)
def test_damaged_records_are_dropped(tmp_path, capsys, damage):  # as a power failure leaves them
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + damage + b'\n{"step": 2}\n')
    with TrainingLog(tmp_path, first_step=2, last_step=3) as log:
        log.write(3, {"loss": 0.5})
    assert records(tmp_path) == [{"step": 1}, {"step": 3, "loss": 0.5}]
    assert f"warning: {path} is damaged, from its line 2 on" in capsys.readouterr().out


RUN = {"batch_size": 2, "scenes": ["a"]}


def state_at(step):
    params = {"w": np.full((50, 40), step, np.float32)}
    return TrainState(np.int32(step), params, {}, {"m": np.full(7, -step, np.float32)})


@pytest.fixture(scope="module")
def three_saved(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("saved")
    with Checkpoints(workdir) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(state_at(step), CoarSR(2), RUN)
    return workdir


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def cut_arrays(folder):
    for path in files(folder / "optimizer"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty_all(folder):  # as a power failure leaves it
    for path in files(folder):
        path.write_bytes(b"")


def remove_settings(folder):
    shutil.rmtree(folder / "model")


def remove_all(folder):
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize("damage", [cut_arrays, empty_all, remove_settings, remove_all])
def test_a_damaged_checkpoint_is_set_aside(three_saved, tmp_path, capsys, damage):
    workdir = tmp_path / "run"
    shutil.copytree(three_saved, workdir)
    shutil.copytree(workdir / "checkpoints/3", workdir / "checkpoints/4.orbax-checkpoint-tmp")
    damage(workdir / "checkpoints/3")
    with Checkpoints(workdir) as checkpoints:
        state = checkpoints.restore(state_at(0), CoarSR(2), RUN)
        assert int(state.step) == 2
        np.testing.assert_array_equal(state.params["w"], 2)
        np.testing.assert_array_equal(state.opt_state["m"], -2)
        checkpoints.save(state_at(3), CoarSR(2), RUN)
    assert "warning: checkpoint 3 cannot be read and was set aside" in capsys.readouterr().out
    assert len(list((workdir / "checkpoints").glob("unreadable-3-*"))) == 1
    with Checkpoints(workdir) as checkpoints:
        assert int(checkpoints.restore(state_at(0), CoarSR(2), RUN).step) == 3


@pytest.mark.parametrize("damage", [cut_arrays, empty_all])
def test_a_run_never_starts_anew_over_damaged_checkpoints(three_saved, tmp_path, damage):
    workdir = tmp_path / "run"
    shutil.copytree(three_saved, workdir)
    for step in (1, 2, 3):
        damage(workdir / "checkpoints" / str(step))
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.raises(ValueError, match=r"none of the checkpoints .*be read"))
        checkpoints = stack.enter_context(Checkpoints(workdir))
        checkpoints.restore(state_at(0), CoarSR(2), RUN)
    assert steps_saved(workdir) == [1, 2, 3]


def test_an_old_checkpoint_without_metrics_is_no_hindrance(tmp_path, capsys):
    model = CoarSR(2, features=4, num_asfm=1, num_blocks=1)
    shapes = state_shapes(model, optax.identity())
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    with Checkpoints(tmp_path) as checkpoints:
        for step in (1, 2):
            state = dataclasses.replace(state, step=np.int32(step))
            checkpoints.save(state, model, RUN, psnr_db=30.0)
    metrics = tmp_path / "checkpoints" / "1" / "metrics" / "metrics"
    metrics.unlink()  # as a running training leaves it while it deletes the checkpoint
    assert restored(tmp_path)[1] == 2
    assert "warning" not in capsys.readouterr().out
    assert restored(tmp_path, "best")[1] == 2
    assert "checkpoint 1 has no PSNR: the best is one of the others" in capsys.readouterr().out
    metrics.touch()  # as a power failure leaves it; orbax does not open the folder
    with pytest.raises(ValueError, match=r"checkpoint 1 in .* cannot be read: resume the train"):
        restored(tmp_path)
