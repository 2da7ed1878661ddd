"""The command `dualsr`: one sub-command per command of the package.

    dualsr predict scene.hdr scene_x4.tif
    dualsr --help

Contract: nothing heavy is imported before a sub-command is chosen.
"""

import importlib
import sys

from dualsr_jax.commands import Command, nearest, start
from dualsr_jax.completion import SHELLS, script
from dualsr_jax.interrupts import end_at_interrupt
from dualsr_jax.version import version

COMMANDS = {
    "Use": ["predict"],
    "Train and test": ["prepare", "train", "evaluate", "compare", "report"],
    "Share": ["convert", "export"],
}
_NAMES = [name for names in COMMANDS.values() for name in names]


def load(name: str) -> Command:
    """The command of a name of `COMMANDS`."""
    command = importlib.import_module(f"dualsr_jax.{name}").COMMAND
    assert isinstance(command, Command)
    return command


def overview() -> str:
    """The text of `dualsr --help`."""
    parts = [
        "Enlarges hyperspectral images with DualSR.",
        "Usage: dualsr COMMAND ...; dualsr COMMAND --help says more",
        "Example:\n  dualsr predict scene.hdr scene_x4.tif",
    ]
    for title, names in COMMANDS.items():
        parts.append("\n".join([title, *(f"  {name:<12}{load(name).about}" for name in names)]))
    parts.append(
        "Besides\n"
        f"  {'completion':<12}Prints a script for a shell, {', '.join(SHELLS)}, which completes "
        "commands and flags.\n"
        f"  {'--version':<12}Prints the version."
    )
    return "\n\n".join(parts)


def complete(arguments: list[str]) -> None:
    """Prints the script of the shell that the only argument names."""
    if len(arguments) != 1 or arguments[0] not in SHELLS:
        sys.exit(f"error: expected dualsr completion SHELL, one of {', '.join(SHELLS)}")
    print(script(arguments[0], [load(name) for name in _NAMES]))


def main() -> None:
    """Runs what the arguments of the process ask for."""
    end_at_interrupt()
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("--help", "-h", "help"):
        print(overview())
    elif name == "--version":
        print(f"dualsr {version()}")
    elif name == "completion":
        complete(arguments)
    elif name in _NAMES:
        start(load(name), arguments, f"dualsr {name}")
    else:
        kind = "flag" if name.startswith("-") else "command"
        sys.exit(f"error: unknown {kind} {name!r}{nearest(name, [*_NAMES, 'completion'])}")


if __name__ == "__main__":
    main()
