"""What the commands share: parsing of flags and one clear line for every expected error."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

from absl import app, flags, logging


def run(main: Callable[..., None], *, arguments: bool = False) -> None:
    """Runs a command, and ends it with one line at a ValueError, OSError or the like.

    Ctrl-C also ends it with one line, and with the exit status 130 that shells use for it. If
    `arguments`, the command takes a list of the arguments that are not flags.
    """

    def parse(argv: list[str]) -> list[str]:
        _check_config(argv)
        try:
            rest = flags.FLAGS(argv)
        except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
            # The last line of absl's report is a config's own error; ml_collections quotes it.
            reason = str(error).strip().splitlines()[-1].strip().replace("\\n", " ")
            sys.exit(f"error: {reason}")
        if len(rest) > 1 and not arguments:
            sys.exit(f"error: unknown arguments: {' '.join(rest[1:])}")
        return rest

    def guarded(rest: list[str]) -> None:
        # What libraries log as an error also arrives here as an exception, reported in one line.
        logging.set_verbosity(logging.FATAL)
        try:
            main(*([rest[1:]] if arguments else []))
        except (ValueError, OSError, FloatingPointError) as error:
            sys.exit(f"error: {error}")
        except RuntimeError as error:  # JAX's, which not every command imports
            if not str(error).startswith("RESOURCE_EXHAUSTED"):
                raise
            reason = str(error).splitlines()[0]
            sys.exit(
                f"error: a device has too little memory ({reason}): free it from other programs, "
                "or choose smaller batches, patches, tiles or chunks of bands"
            )
        except KeyboardInterrupt:
            print("interrupted: run the same command again to resume", file=sys.stderr)
            sys.exit(130)

    app.run(guarded, flags_parser=parse)


def define_flags(kinds: str, suffix: str, values: flags.FlagValues) -> None:
    """Defines the flags that choose `kinds` of trained networks, and the file to write."""
    string = functools.partial(flags.DEFINE_string, flag_values=values)
    string("weights", None, f"Trained network: {kinds}.", required=True)
    string("half_weights", None, f"Network of half the scale, for x4 and x8: {kinds}.")
    string("output", None, f"File to write, *{suffix}.", required=True)
    which, of = ["latest", "best"], "Which checkpoint of a folder of training."
    flags.DEFINE_enum("checkpoint", which[0], which, of, flag_values=values)
    flags.DEFINE_bool("overwrite", False, "Replace the output if it exists.", flag_values=values)


def check_output(path: Path, *, overwrite: bool) -> None:
    """Checks the file that --output names.

    Raises ValueError if it is a folder, or exists and `overwrite` is False, and FileNotFoundError
    if its folder does not exist.
    """
    if path.is_dir():
        raise ValueError(f"{str(path)!r} is a folder: --output names a file")
    if path.exists() and not overwrite:
        raise ValueError(f"{str(path)!r} exists: choose another --output, or add --overwrite")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(path.parent)!r} for --output: make it")


def _check_config(argv: list[str]) -> None:
    """Ends the command with one line if the file of --config is missing; absl prints many."""
    for option, value in zip(argv, [*argv[1:], ""], strict=True):
        name, equals, given = option.partition("=")
        path = (given if equals else value).partition(":")[0]
        if name in ("--config", "-config") and not os.path.exists(path):
            sys.exit(f"error: there is no config {path!r}: expected one such as configs/cave.py:4")
