"""Records of a training run: JSON lines, TensorBoard and a progress bar.

Contract: `<workdir>/metrics.jsonl` has one object a record, each with its `step`; what lies after
the step at which a run resumes is dropped, so that a record never stands twice, and with a warning
what lies after a damaged line. TensorBoard events lie under `<workdir>/tensorboard`. Of several
processes only the first writes.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter
from tqdm import tqdm

from dualsr_jax.disk import replacing


def _lines_until(path: Path, last_step: int) -> list[bytes]:
    """The lines with records of steps up to the last; none from the first damaged line on."""
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
        """Opens the records.

        Args:
            workdir: an existing folder.
            first_step: steps made before, 0 for a new run.
            last_step: steps after which the run ends.
            silent: whether to write nothing.
        """
        path = Path(os.devnull) if silent else workdir / "metrics.jsonl"
        if path.is_file():
            kept = _lines_until(path, first_step)
            with replacing(path) as beside:
                beside.write_bytes(b"".join(line + b"\n" for line in kept))
        self._lines = path.open("a")
        self._board = SummaryWriter(
            str(workdir / "tensorboard"),
            purge_step=first_step + 1,
            max_queue=0,  # no limit: on a full disk its thread ends, and nobody may wait for it
            write_to_disk=not silent,
        )
        self._bar = tqdm(
            total=last_step,
            initial=first_step,
            unit="step",
            dynamic_ncols=True,
            smoothing=0.05,
            disable=silent,
        )

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        with contextlib.suppress(OSError):  # of a record that `write` or orbax has told about
            self._lines.close()
            self._board.close()

    def advance(self, steps: int) -> None:
        """Counts steps on the bar."""
        self._bar.update(steps)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a record of scalars.

        Args:
            step: steps made so far.
            values: by name; `loss`, `psnr_db` and `samples_per_s` also show on the bar.

        Raises:
            OSError: if there is no room for it.
        """
        try:
            self._lines.write(json.dumps({"step": step, **values}) + "\n")
            self._lines.flush()
        except OSError as error:
            raise OSError(
                f"the records in {self._lines.name!r} cannot be written ({error.strerror}): make "
                "room there; the same command goes on from the last checkpoint"
            ) from error
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        shown = {
            label: f"{values[name]:{form}}"
            for label, name, form in (
                ("loss", "loss", ".4f"),
                ("PSNR", "psnr_db", ".2f"),
                ("samples/s", "samples_per_s", ".1f"),
            )
            if name in values
        }
        if shown:
            self._bar.set_postfix(shown)
