"""What the commands share: parsing of flags and one clear line for every expected error."""

import os
import sys
from collections.abc import Callable

from absl import app, flags, logging


def run(main: Callable[..., None], *, arguments: bool = False) -> None:
    """Runs a command; its ValueError, FileNotFoundError and the like end it with one line.

    So does Ctrl-C, with the exit status 130 that shells give it.

    Args:
        main: the command.
        arguments: whether it takes a list of what is on the command line beside the flags.
    """

    def parse(argv: list[str]) -> list[str]:
        _check_config(argv)
        try:
            rest = flags.FLAGS(argv)
        except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
            # A config's own error is the last line of a report; ml_collections quotes its own.
            reason = str(error).strip().splitlines()[-1].strip().replace("\\n", " ")
            sys.exit(f"error: {reason}")
        if len(rest) > 1 and not arguments:
            sys.exit(f"error: unknown arguments: {' '.join(rest[1:])}")
        return rest

    def guarded(rest: list[str]) -> None:
        # What libraries log as an error comes here as an exception too, and is told in one line.
        logging.set_verbosity(logging.FATAL)
        try:
            main(*([rest[1:]] if arguments else []))
        except (ValueError, OSError, FloatingPointError) as error:
            sys.exit(f"error: {error}")
        except KeyboardInterrupt:
            print("interrupted: run the same command again to resume", file=sys.stderr)
            sys.exit(130)

    app.run(guarded, flags_parser=parse)


def _check_config(argv: list[str]) -> None:
    """Ends the command if there is no such file as --config names; absl says it in many words."""
    for option, value in zip(argv, [*argv[1:], ""], strict=True):
        name, equals, given = option.partition("=")
        path = (given if equals else value).partition(":")[0]
        if name in ("--config", "-config") and not os.path.exists(path):
            sys.exit(f"error: there is no config {path!r}: one is configs/cave.py:4")
