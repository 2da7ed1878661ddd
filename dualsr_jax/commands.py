"""What the commands share: parsing of flags and one clear line for every expected error."""

import sys
from collections.abc import Callable

from absl import app, flags, logging


def run(main: Callable[[], None]) -> None:
    """Runs a command; its ValueError, FileNotFoundError and the like end it with one line."""

    def parse(argv: list[str]) -> list[str]:
        try:
            rest = flags.FLAGS(argv)
        except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
            # A config's own error is the last line of a report; ml_collections quotes its own.
            reason = str(error).strip().splitlines()[-1].strip().replace("\\n", " ")
            sys.exit(f"error: {reason}")
        if len(rest) > 1:
            sys.exit(f"error: unknown arguments: {' '.join(rest[1:])}")
        return rest

    def guarded(_: list[str]) -> None:
        # What libraries log as an error comes here as an exception too, and is told in one line.
        logging.set_verbosity(logging.FATAL)
        try:
            main()
        except (ValueError, OSError, FloatingPointError) as error:
            sys.exit(f"error: {error}")

    app.run(guarded, flags_parser=parse)
