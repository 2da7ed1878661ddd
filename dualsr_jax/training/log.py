"""Records of a training run: JSON lines, TensorBoard and a progress bar.

Contract: `<workdir>/metrics.jsonl` has one object per record, each with its `step`. Records of
steps after the one at which a run resumes are dropped, so that no step is recorded twice; so are,
with a warning, records after a damaged line. Only the scores of held-out scenes after the last step
may follow in a record of their own, if the run was stopped before it had them. TensorBoard events
lie under `<workdir>/tensorboard`. Of several processes only the first writes.
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tensorboardX import SummaryWriter

from dualsr_jax.disk import replacing
from dualsr_jax.messages import bar

# On the bar.
_SHOWN = {"loss": "loss={:.4f}", "psnr_db": "PSNR={:.2f}", "samples_per_s": "samples/s={:.1f}"}


class _Dispatch(NamedTuple):
    before: int  # steps made before
    metrics: Mapping[str, jax.Array]  # still on the device
    samples: Sequence[np.ndarray]


class StepMetrics:
    """The metrics of the steps since the last record."""

    def __init__(self, batch_size: int, scene_name: Callable[[int], str]) -> None:
        """Starts the clock; errors name the scenes of samples with `scene_name`."""
        self._batch_size, self._scene_name = batch_size, scene_name
        self.clear()

    def clear(self) -> None:
        """Forgets all steps; the time of the next ones is measured from now on."""
        self._dispatches: list[_Dispatch] = []
        self._started = time.perf_counter()

    def add(
        self, before: int, metrics: Mapping[str, jax.Array], samples: Sequence[np.ndarray]
    ) -> None:
        """Adds the steps of a dispatch: metrics stacked over steps, sample numbers of each.

        It first waits for the dispatch before: one runs and one waits, so that the device never
        idles and the bar is not ahead of it.
        """
        jax.block_until_ready([dispatch.metrics for dispatch in self._dispatches[-1:]])
        self._dispatches.append(_Dispatch(before, metrics, samples))

    def mean(self, until: int | None = None) -> dict[str, float]:
        """The mean of each metric over the steps, at most `until` one, and `samples_per_s`.

        Without steps, it is empty. Raises FloatingPointError if a loss is not finite, naming the
        step and its scenes.
        """
        dispatches = [d for d in self._dispatches if until is None or d.before < until]
        if not dispatches:
            return {}
        fetched = jax.device_get([dispatch.metrics for dispatch in dispatches])
        for dispatch, metrics in zip(dispatches, fetched, strict=True):
            for number, loss in enumerate(metrics["loss"]):
                if not math.isfinite(loss):
                    samples = dispatch.samples[number]
                    scenes = sorted({self._scene_name(int(sample)) for sample in samples})
                    raise FloatingPointError(
                        f"the loss is {loss} at step {dispatch.before + number + 1}, in a batch of "
                        f"{', '.join(scenes)}: lower train.learning_rate. The last checkpoint is "
                        "kept; if it leads here again, move it away: the one before it is kept too"
                    )
        values = {
            name: float(np.concatenate([metrics[name] for metrics in fetched]).mean())
            for name in fetched[0]
        }
        steps = sum(len(dispatch.samples) for dispatch in dispatches)
        elapsed_s = time.perf_counter() - self._started
        return {**values, "samples_per_s": steps * self._batch_size / elapsed_s}


def _lines_until(path: Path, last_step: int) -> list[bytes]:
    """The records of steps up to `last_step`, as lines, up to the first damaged line."""
    kept = []
    # A killed run may have cut the last line off.
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            step = int(json.loads(line)["step"])
        except (ValueError, LookupError, TypeError):
            print(f"warning: {path} is damaged, from its line {number} on the records are dropped")
            break
        if step <= last_step:
            kept.append(line)
    return kept


class TrainingLog:
    """Writes the records of one run; a context manager."""

    def __init__(
        self, workdir: Path, *, first_step: int, last_step: int, silent: bool = False
    ) -> None:
        """Opens the records of a run from one step to another; if `silent`, nothing is written."""
        path = Path(os.devnull) if silent else workdir / "metrics.jsonl"
        if path.is_file():
            kept = _lines_until(path, first_step)
            with replacing(path) as partial:
                partial.write_bytes(b"".join(line + b"\n" for line in kept))
        self._lines = path.open("a")
        self._board = SummaryWriter(
            str(workdir / "tensorboard"),
            purge_step=first_step + 1,
            max_queue=0,  # unlimited: on a full disk its thread ends, and nobody may wait for it
            write_to_disk=not silent,
        )
        self._bar: Any = None
        self._bar_settings = {"total": last_step, "initial": first_step, "disable": silent}

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        with contextlib.suppress(OSError):  # of a record whose loss `write` or orbax has reported
            self._lines.close()
            self._board.close()

    def advance(self, steps: int) -> None:
        """Counts steps on the bar, which begins with the first: they include compiling."""
        if self._bar is None:
            self._bar_settings["initial"] += steps
            self._bar = bar(unit="step", smoothing=0.05, **self._bar_settings)
        else:
            self._bar.update(steps)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a record of scalars; `loss`, `psnr_db` and `samples_per_s` also show on the bar.

        Raises OSError if the disk is full.
        """
        try:
            self._lines.write(json.dumps({"step": step, **values}) + "\n")
            self._lines.flush()
        except OSError as error:
            raise OSError(
                f"the records in {self._lines.name!r} cannot be written ({error.strerror}): make "
                "room there; the same command resumes from the last checkpoint"
            ) from error
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        shown = [form.format(values[name]) for name, form in _SHOWN.items() if name in values]
        if shown and self._bar is not None:
            self._bar.set_postfix_str(", ".join(shown))
