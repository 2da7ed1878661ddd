"""The flags of a command as a table: name, kind, default and meaning, grouped by purpose.

Contract: a command states its flags once, as `Groups`; `define` makes absl's flags of them. The
order of groups and flags is that of the help.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flag:
    """A flag: what it does with its unit, its default, and what it may be."""

    help: str
    default: Any = None
    kind: type = str
    choices: Sequence[str] = ()
    least: int | None = None
    required: bool = False


Groups = Mapping[str, Mapping[str, Flag]]  # name of the group -> name of the flag -> flag


def text(meaning: str, default: str | None = None, *, required: bool = False) -> Flag:
    """A flag that takes any text."""
    return Flag(help=meaning, default=default, required=required)


def choice(meaning: str, choices: Sequence[str], default: str) -> Flag:
    """A flag that takes one of some texts."""
    return Flag(help=meaning, default=default, choices=choices)


def number(
    meaning: str, default: float | None = None, kind: type = float, *, least: int | None = None
) -> Flag:
    """A flag that takes a number of a kind, `float` or `int`, not below `least`."""
    return Flag(help=meaning, default=default, kind=kind, least=least)


def switch(meaning: str, *, default: bool = False) -> Flag:
    """A flag without a value, which is off by default; `--noNAME` turns it off."""
    return Flag(help=meaning, default=default, kind=bool)


def define(groups: Groups, values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of a command, so that `values.name` is the value of `--name`."""
    for members in groups.values():
        for name, flag in members.items():
            about: dict[str, Any] = {"flag_values": values, "required": flag.required}
            if flag.choices:
                flags.DEFINE_enum(name, flag.default, flag.choices, flag.help, **about)
            elif flag.kind is bool:
                flags.DEFINE_bool(name, flag.default, flag.help, **about)
            elif flag.kind is int:
                flags.DEFINE_integer(name, flag.default, flag.help, lower_bound=flag.least, **about)
            elif flag.kind is float:
                flags.DEFINE_float(name, flag.default, flag.help, lower_bound=flag.least, **about)
            else:
                flags.DEFINE_string(name, flag.default, flag.help, **about)
