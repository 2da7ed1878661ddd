"""What the commands share: parsing of flags, help, and one clear line for every expected error.

Contract: a module of a command imports little, so that its help and errors in its flags are shown
at once and Ctrl-C works from the start; `main` imports what it needs.
"""

import dataclasses
import difflib
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import app, flags, logging

from dualsr_jax import messages
from dualsr_jax.flag_table import Flag, Groups, define, shown, switch, text
from dualsr_jax.interrupts import LINE, end_at_interrupt

_HELP = {"--help", "-help", "-h", "--helpshort", "--helpfull"}
_WIDTH = 96
_INDENT = 22
_COMMON: Groups = {
    "Every command": {"quiet": switch("Show neither decisions nor progress; errors are shown.")}
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """A command of the package.

    `about` and `example` are for its help; `arguments` describes those that are not flags, such as
    "SCENE ..."; without it, there must not be any. `main` gets the values of the flags, and them.
    """

    name: str
    about: str
    example: str
    flags: Groups
    main: Callable[[flags.FlagValues, list[str]], None]
    arguments: str = ""

    @property
    def groups(self) -> dict[str, dict[str, Flag]]:
        """All flags that the help shows."""
        return shown({**self.flags, **_COMMON})

    def help(self, program: str) -> str:
        """The text of --help; `program` is what the user types before the arguments."""
        usage = " ".join(filter(None, (program, self.arguments, "[--flag value ...]")))
        parts = [self.about, f"Usage: {usage}", f"Example:\n  {program} {self.example}"]
        for title, members in self.groups.items():
            parts.append("\n".join([title, *(_line(*member) for member in members.items())]))
        return "\n\n".join(parts)


def _line(name: str, flag: Flag) -> str:
    """A flag in a help text."""
    value = "" if flag.kind == "switch" else " " + "|".join(flag.choices or [flag.kind.upper()])
    head, said = f"  --{name}{value}", flag.help
    if flag.required:
        said += " Required."
    elif flag.kind == "switch" and flag.default:
        said += f" On by default: --no{name} turns it off."
    elif flag.kind != "switch" and flag.default not in (None, []):
        default = ",".join(flag.default) if isinstance(flag.default, list) else flag.default
        said += f" Default: {default}."
    space = " " * _INDENT
    lines = textwrap.wrap(said, _WIDTH, initial_indent=space, subsequent_indent=space)
    if len(head) < _INDENT - 1:
        return "\n".join([head.ljust(_INDENT) + lines[0].lstrip(), *lines[1:]])
    return "\n".join([head, *lines])


def start(command: Command, argv: Sequence[str] | None = None, program: str = "") -> None:
    """Runs a command with arguments, by default those of the process, or prints its help."""
    given = list(sys.argv[1:] if argv is None else argv)
    program = program or f"python -m dualsr_jax.{command.name}"
    if _HELP & set(given[: given.index("--")] if "--" in given else given):
        print(command.help(program))
        return
    define(command.flags)

    def main(rest: list[str]) -> None:
        if rest and not command.arguments:
            raise ValueError(f"unknown arguments: {' '.join(rest)}: {program} takes flags only")
        command.main(flags.FLAGS, rest)

    run(main, arguments=True, argv=[program, *given])


def run(
    main: Callable[..., None], *, arguments: bool = False, argv: list[str] | None = None
) -> None:
    """Runs a command, and ends it with one line at a ValueError, OSError or the like.

    Ctrl-C also ends it with one line, and with the exit status 130 that shells use for it. If
    `arguments`, the command takes a list of the arguments that are not flags. `argv` are the name
    and the arguments of the process.
    """
    end_at_interrupt()
    define(_COMMON)

    def parse(argv: list[str]) -> list[str]:
        _check_config(argv)
        try:
            rest = flags.FLAGS(argv)
        except flags.UnrecognizedFlagError as error:
            sys.exit(
                f"error: unknown flag --{error.flagname}{nearest(error.flagname, flags.FLAGS)}"
            )
        except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
            # The last line of absl's report is a config's own error; ml_collections quotes it.
            reason = str(error).strip().splitlines()[-1].strip().replace("\\n", " ")
            sys.exit(f"error: {reason}")
        if len(rest) > 1 and not arguments:
            sys.exit(f"error: unknown arguments: {' '.join(rest[1:])}")
        if flags.FLAGS.quiet:
            messages.be_quiet()
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
            print(LINE, file=sys.stderr)
            sys.exit(130)

    app.run(guarded, argv, flags_parser=parse)


def nearest(name: str, names: Sequence[str] | flags.FlagValues) -> str:
    """The end of an error about an unknown name: the nearest known one, if one is near."""
    near = difflib.get_close_matches(name, list(names), n=1)
    mark = "--" if isinstance(names, flags.FlagValues) else ""
    return f": did you mean {mark}{near[0]}?" if near else ": --help lists what there is"


def weights_and_output(kinds: str, suffix: str) -> dict[str, Flag]:
    """The flags that choose `kinds` of trained networks, and the file to write."""
    return {
        "weights": text(f"Trained network: {kinds}.", required=True),
        "half_weights": text(f"Network of half the scale, for x4 and x8: {kinds}."),
        "checkpoint": CHECKPOINT,
        "output": text(f"File to write, *{suffix}.", required=True),
        "overwrite": switch("Replace the output if it exists."),
    }


CHECKPOINT = Flag(
    help="Which checkpoint of a folder of training; best: by the scenes of config.data.validation.",
    default="latest",
    choices=("latest", "best"),
)


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
