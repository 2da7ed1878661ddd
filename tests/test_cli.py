"""The command `dualsr`: help, completion, what may be left out, and Ctrl-C."""

import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from support.files import ROOT
from support.processes import CATCHING, wait_until
from support.scenes import smooth
from support.trainings import running, steps_saved

from dualsr_jax import cli, messages
from dualsr_jax.completion import SHELLS, script
from dualsr_jax.disk import locked
from dualsr_jax.flag_table import define
from dualsr_jax.large_scene.tiling import Tiling
from dualsr_jax.predict import FLAGS
from dualsr_jax.prediction.options import (
    PredictOptions,
    check_flags,
    options_of,
    scenes_of,
    weights_of,
)
from dualsr_jax.prediction.work_folder import begin
from dualsr_jax.radiometry import Radiometry

NAMES = [name for names in cli.COMMANDS.values() for name in names]


def dualsr(*arguments, **how):
    return subprocess.run(
        [sys.executable, "-m", "dualsr_jax.cli", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        **how,
    )


def test_every_command_is_a_sub_command():
    files = (ROOT / "dualsr_jax").glob("*.py")
    runnable = [p.stem for p in files if '__name__ == "__main__"' in p.read_text()]
    assert sorted([*NAMES, "cli"]) == sorted(runnable)
    assert [cli.load(name).name for name in NAMES] == NAMES


def test_the_version_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['dualsr', '--version']; from dualsr_jax.cli import main; main()\n"
        "print(sorted({'jax', 'numpy', 'flax', 'tqdm', 'ml_collections'} & set(sys.modules)))"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1
    version, heavy = done.stdout.splitlines()
    assert version == f"dualsr {cli.version()}"
    assert heavy == "[]"


@pytest.mark.parametrize("name", NAMES)
def test_help_shows_every_flag_once_and_an_example_that_parses(name):
    command = cli.load(name)
    text = command.help(f"dualsr {name}")
    assert max(map(len, text.splitlines())) <= 100
    values = flags.FlagValues()
    define(command.flags, values)
    for flag in {*values} - {"workdir" if name == "evaluate" else "", "half_scale_workdir"}:
        assert len(re.findall(rf"\n  --{flag}\b", text)) == 1, flag
    for flag, value in values.flag_values_dict().items():
        assert value is None or flag in text
    for title, members in command.groups.items():
        group = text.partition(f"\n\n{title}\n")[2].partition("\n\n")[0]
        entries = [" ".join(entry.split()) for entry in f"\n{group}".split("\n  --")[1:]]
        assert [entry.partition(" ")[0] for entry in entries] == [*members]
        for entry, flag in zip(entries, members.values(), strict=True):
            if flag.kind in ("text", "integer", "number") and flag.default is not None:
                assert entry.endswith(f"Default: {flag.default}.")
    example = next(line for line in text.splitlines() if line.startswith(f"  dualsr {name} "))
    given = {word.lstrip("-") for word in shlex.split(example) if word.startswith("--")}
    assert given <= {*values}


def test_the_overview_names_all_commands():
    for arguments in ((), ("--help",)):
        done = dualsr(*arguments)
        assert done.returncode == 0
        for name in NAMES:
            assert f"\n  {name} " in done.stdout
    assert "jax" not in dualsr("predict", "--help").stdout  # flags of other modules


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predct"], "unknown command 'predct': did you mean predict?"),
        (["--quiet"], "unknown flag '--quiet': --help lists what there is"),
        (["predict", "--half-weights=a", "b"], "unknown flag --half-weights: did you mean --half_"),
        (["export", "--plattforms", "cpu"], "unknown flag --plattforms: did you mean --platforms?"),
        (["train", "--zzz"], "unknown flag --zzz: --help lists what there is"),
        (["predict"], "no scene is given: dualsr predict SCENE OUTPUT"),
        (["completion", "tcsh"], "expected dualsr completion SHELL, one of bash, zsh, fish"),
        (["convert", "--weights=a", "--output=b", "c"], "unknown arguments: c: dualsr convert"),
    ],
)
def test_errors_are_one_line(arguments, message):
    done = dualsr(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {message}")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


@pytest.fixture
def parsed():
    """Parses flags of predict."""

    def parse(*arguments):
        values = flags.FlagValues()
        define(FLAGS, values)
        return values, values(["predict", *arguments])[1:]

    return parse


def decided(values, paths):
    """The scenes, the output and the weights."""
    check_flags(values)
    scenes, output = scenes_of(values, paths)
    return scenes, output, weights_of(values, output)


def test_what_may_be_left_out(parsed, tmp_path, capsys):
    there = tmp_path / "there_x2.tif"
    there.touch()
    for arguments, scenes, output, weights in (
        (["a.hdr", "a_x4.tif"], ["a.hdr"], "a_x4.tif", "cave_x4_medium"),
        (["a", "b_x2", "--output=o_x8/"], ["a", "b_x2"], "o_x8/", "cave_x8_medium"),
        (["a", "a_x4.tif", "--scale=2"], ["a"], "a_x4.tif", "cave_x2_medium"),
        (["a", "a_x4.tif", "--weights=runs/x2"], ["a"], "a_x4.tif", "runs/x2"),
        (["a", str(there)], ["a"], str(there), "cave_x2_medium"),  # refused later, as it exists
    ):
        values, paths = parsed(*arguments)
        assert decided(values, paths) == (scenes, output, weights)
        said = f"weights: {weights}, the shipped network of scale"
        assert (said in capsys.readouterr().out) == ("runs" not in weights)
    for arguments, message in (
        ([], "no scene is given"),
        (["a"], "the output is missing: dualsr predict a OUTPUT, or --output FILE"),
        (["a", "b", "c"], "the output is missing"),
        (["a", str(there), "--overwrite"], r"exists: is it a scene, or is it to be replaced\?"),
        (["a", "b.tif"], r"which scale\? Give --scale, of 2 \(cave_x2_medium\), 4 "),
        (["a", "b_x3.tif"], "no network of scale 3 ships, only of 2 "),
        (["a", "b_x4.tif", "--half_weights=c"], "--half_weights goes with --weights"),
        (["a", "b", "--uncertainty=c"], "add --ensemble 8, or 16"),
        (["a", "b", "--skip_existing", "--overwrite"], "give only one"),
    ):
        values, paths = parsed(*arguments)
        with pytest.raises(ValueError, match=message):
            decided(values, paths)


def test_flags_of_predict_become_options(parsed):
    values, _ = parsed("a", "b")
    assert options_of(values) == PredictOptions()
    values, _ = parsed("a", "b", "--clip=off", "--consistent=0")
    assert options_of(values) == PredictOptions()
    given = [
        "--axes=band,y,x", "--clip=unit", "--consistent=3", "--key=k", "--peak=3", "--dtype=int16",
        "--overwrite", "--tile=40x50", "--memory_gb=1.5", "--scheduler=threads", "--report=r",
        "--uncertainty=u.tif",
    ]  # fmt: skip
    assert options_of(parsed("a", "b", *given)[0]) == PredictOptions(
        axes="band,y,x",
        radiometry=Radiometry(clip="unit", consistent=3),
        key="k",
        peak=3.0,
        dtype=np.dtype(np.int16),
        overwrite=True,
        tile=(40, 50),
        memory_gb=1.5,
        scheduler="threads",
        report=Path("r"),
        uncertainty=Path("u.tif"),
    )
    for wrong in ("--clip=range", "--consistent=-1"):
        with pytest.raises(flags.IllegalFlagValueError, match=wrong[2:].partition("=")[0]):
            parsed("a", "b", wrong)


def test_predict_in_short_and_quietly(tmp_path, rng):
    np.save(tmp_path / "scene.npy", smooth(rng, 12, 10, 6, np.int16, 8000.0))
    paths = [str(tmp_path / name) for name in ("scene.npy", "scene_x2.npy")]
    done = dualsr("predict", *paths, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert np.load(paths[1]).shape == (24, 20, 6)
    done = dualsr("predict", *paths, "--quiet")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")


def test_messages_are_silenced(capsys, monkeypatch):
    monkeypatch.setattr(messages, "_quiet", False)
    messages.say("one", "two")
    messages.show("three")
    assert list(messages.bar("ab", desc="letters")) == ["a", "b"]
    said = capsys.readouterr()
    assert said.out == "one\ntwo\n"
    assert said.err.startswith("three\n")
    assert "letters: 100%" in said.err
    messages.be_quiet()
    messages.say("one")
    messages.show("one")
    assert list(messages.bar("ab")) == ["a", "b"]
    assert capsys.readouterr() == ("", "")


def test_the_rate_of_a_late_bar_is_that_of_its_own_time(monkeypatch):
    monkeypatch.setattr(messages, "_quiet", False)
    made, bar = [], messages.bar
    monkeypatch.setattr(messages, "bar", lambda **how: made.append(bar(**how)) or made[0])
    with messages.late_bar(total=100, initial=20, mininterval=0) as count:
        time.sleep(1)  # compiling
        assert not made
        count(0)
        assert (made[0].initial, made[0].n) == (20, 20)
        for _ in range(3):
            time.sleep(0.02)
            count(20)
        assert made[0].format_dict["elapsed"] < 0.9
        assert made[0].format_dict["rate"] is None  # tqdm then takes the mean
        assert made[0].n == 80


def completed(*words):
    """What bash offers for the last of some words."""
    words = " ".join(map(shlex.quote, words))
    text = script("bash", [cli.load(name) for name in NAMES])
    text += f"\nCOMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _dualsr"
    text += '\necho "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_completion():
    assert completed("dualsr", "e") == ["evaluate", "export"]
    assert completed("dualsr", "--v") == ["--version"]
    assert completed("dualsr", "predict", "--sc") == ["--scale", "--scheduler"]
    assert completed("dualsr", "predict", "--precision", "b") == ["bfloat16"]
    assert completed("dualsr", "predict", "--precision", "=", "b") == ["bfloat16"]
    assert completed("dualsr", "predict", "--precision", "=") == ["float32", "bfloat16"]
    assert completed("dualsr", "predict", "--output", "") == []  # then the shell offers files
    assert completed("dualsr", "predict", "sc") == []
    assert completed("dualsr", "evaluate", "--weights", "x", "--work") == []  # a former name
    assert completed("dualsr", "completion", "") == list(SHELLS)
    fish = script("fish", [cli.load(name) for name in NAMES])
    assert "__fish_seen_subcommand_from predict' -l precision -x -a 'float32 bfloat16' -d" in fish
    assert "-l dtype -r -d 'Data type of the result. Default: the scene\\'s.'" in fish
    assert script("zsh", [cli.load("train")]).startswith("autoload -U +X bashcompinit")


def interrupted(code, *signals, tmp_path, pause=0.3):
    """Runs Python code in a process that gets signals once a file is there."""
    ready = tmp_path / "ready"
    code = textwrap.dedent(code).replace("READY", f"open({str(ready)!r}, 'w').close()")
    process = subprocess.Popen(
        [*CATCHING, "-c", code],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not ready.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    for number in signals:
        time.sleep(pause)
        process.send_signal(number)
    try:
        return process, *process.communicate(timeout=60)
    finally:
        process.kill()


WORK = "hashlib.pbkdf2_hmac('sha256', b'', b'', 2 * 10**8)"  # minutes in C, deaf to signals


def test_an_interrupt_ends_work_in_compiled_code(tmp_path):
    code = f"""
        import hashlib, sys
        from dualsr_jax.commands import run

        def main():
            print("kept", end="")
            READY
            {WORK}

        run(main)
    """
    process, out, err = interrupted(code, signal.SIGINT, tmp_path=tmp_path)
    assert process.returncode == 130
    assert out == "kept"
    assert err == "interrupted: run the same command again to resume\n"


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_a_run_that_would_save(tmp_path, second):
    code = f"""
        import hashlib
        from dualsr_jax.commands import run
        from dualsr_jax.training.signals import StopSignals

        def main():
            with StopSignals() as signals:
                READY
                {WORK}

        run(main)
    """
    process, _, err = interrupted(code, signal.SIGINT, second, tmp_path=tmp_path)
    assert process.returncode == 128 + second
    first, last = err.strip().splitlines()[::2]
    assert first == (
        "SIGINT: saves the finished steps, within seconds, and stops; again: stops without saving"
    )
    assert last == f"{second.name}: stops without saving; the same command resumes"


@pytest.mark.parametrize(
    ("work", "last"),
    [
        (f"print(signals.finished(lambda: {WORK}))", "saving"),  # abandoned
        (f"print(signals.finished(lambda: {WORK}, patient=False))", "saving"),
        (f"print('saving'); {WORK}", "interrupted: run the same command again to resume"),
    ],
    ids=["after the grace", "at once", "at the limit"],
)
def test_one_interrupt_ends_a_run_that_saves_soon(tmp_path, work, last):
    code = f"""
        import hashlib
        from dualsr_jax.commands import run
        from dualsr_jax.training import signals as module

        def main():
            module.GRACE_S, module.LIMIT_S = {1.0 if "patient" not in work else 1e9}, 3.0
            with module.StopSignals() as signals:
                READY
                {work}
            assert signals.abandons
            module.leave(signals.received, "saving")

        run(main)
    """
    started = time.monotonic()
    process, out, err = interrupted(code, signal.SIGINT, tmp_path=tmp_path)
    assert time.monotonic() - started < 60  # the work takes minutes
    assert process.returncode == 130
    assert err.splitlines()[-1] == last
    assert out == ("None\n" if "signals.finished" in work else "saving\n")


def test_the_watch_before_is_in_force_again(tmp_path):
    code = """
        import hashlib, os, signal, time
        from dualsr_jax.commands import run
        from dualsr_jax.training.signals import StopSignals

        def main():
            with StopSignals() as signals:
                os.kill(os.getpid(), signal.SIGINT)
                while not signals.received:
                    time.sleep(0.01)
            assert signals.received == signal.SIGINT
            READY
            while True:
                time.sleep(1)

        run(main)
    """
    process, _, err = interrupted(code, signal.SIGINT, tmp_path=tmp_path)
    assert process.returncode == 130
    assert err.endswith("\ninterrupted: run the same command again to resume\n")


def test_an_ignored_interrupt_stays_ignored():
    code = (
        "import os, signal\nfrom dualsr_jax.commands import run\n"
        "def main():\n    os.kill(os.getpid(), signal.SIGINT); print('still here')\nrun(main)"
    )
    command = ["env", "--ignore-signal=INT", sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "still here\n")


def end_of(process, number):
    """Sends a signal; the status, and the seconds until the process has ended."""
    started = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert err.endswith("interrupted: run the same command again to resume\n")
    assert "Traceback" not in err
    return process.returncode, time.monotonic() - started


def test_an_interrupt_before_the_first_step(make_config, tmp_path):
    # Another network than in other tests, so that it is not compiled yet.
    with running(make_config(epochs=10_000, model__features=6), tmp_path) as process:
        wait_until(lambda: (tmp_path / "config.json").exists(), process)
        time.sleep(0.5)  # now it compiles
        status, seconds = end_of(process, signal.SIGINT)
    assert status == 130
    assert seconds < 10
    assert steps_saved(tmp_path) == []
    with locked(tmp_path, "workdir"):  # is free
        pass


def test_an_interrupt_in_the_first_tile(tmp_path, rng):
    np.save(tmp_path / "scene.npy", smooth(rng, 40, 36, 7, np.int16, 8000.0))
    command = [*CATCHING, "-m", "dualsr_jax.cli", "predict", tmp_path / "scene.npy"]
    command.append(tmp_path / "made_x2.npy")
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        plan = tmp_path / ".made_x2.npy.parts" / "plan.json"
        wait_until(plan.exists, process)
        time.sleep(0.5)
        status, seconds = end_of(process, signal.SIGINT)
    assert status == 130
    assert seconds < 10
    assert not (tmp_path / "made_x2.npy").exists()
    # Nothing was computed, so that other settings are not refused.
    assert begin(plan.parent, {"other": 1}, Tiling((27, 27), 3)) == Tiling((27, 27), 3)
