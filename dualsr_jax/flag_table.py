"""The flags of a command as a table: name, kind, default and meaning, grouped by purpose.

Contract: a command states its flags once, as `Groups`; `define` makes absl's flags of them. The
order of groups and flags is that of the help.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from absl import flags


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flag:
    """A flag: what it does with its unit, its default, and what it may be.

    A flag that is now another is hidden, and refused with the name of that other, `now`.
    """

    help: str
    default: Any = None
    kind: Literal["text", "texts", "list", "number", "integer", "switch", "config"] = "text"
    choices: Sequence[str] = ()
    least: int | None = None
    required: bool = False
    now: str = ""


Groups = Mapping[str, Mapping[str, Flag]]  # name of the group -> name of the flag -> flag


def text(meaning: str, default: str | None = None, *, required: bool = False) -> Flag:
    """A flag that takes any text."""
    return Flag(help=meaning, default=default, required=required)


def choice(meaning: str, choices: Sequence[str], default: str) -> Flag:
    """A flag that takes one of some texts."""
    return Flag(help=meaning, default=default, choices=choices)


def number(meaning: str, default: float | None = None, *, least: int | None = None) -> Flag:
    """A flag that takes a number, not below `least`."""
    return Flag(help=meaning, default=default, kind="number", least=least)


def integer(meaning: str, default: int | None = None, *, least: int | None = None) -> Flag:
    """A flag that takes an integer, not below `least`."""
    return Flag(help=meaning, default=default, kind="integer", least=least)


def switch(meaning: str, *, default: bool = False) -> Flag:
    """A flag without a value, which is off by default; `--noNAME` turns it off."""
    return Flag(help=meaning, default=default, kind="switch")


def several(meaning: str, default: list[str] | None = None) -> Flag:
    """A flag that takes a list of texts, separated by commas."""
    return Flag(help=meaning, default=default, kind="list")


def shown(groups: Groups) -> dict[str, dict[str, Flag]]:
    """The groups without hidden flags."""
    return {
        title: {name: flag for name, flag in members.items() if not flag.now}
        for title, members in groups.items()
    }


def define(groups: Groups, values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of a command, so that `values.name` is the value of `--name`."""
    for members in groups.values():
        for name, flag in members.items():
            _define(name, flag, values)
            if flag.required:
                flags.mark_flag_as_required(name, values)


def _define(name: str, flag: Flag, values: flags.FlagValues) -> None:
    common = flag.default, flag.help
    match flag.kind:
        case "config":
            from ml_collections import config_flags

            config_flags.DEFINE_config_file(name, help_string=flag.help, flag_values=values)
        case "switch":
            flags.DEFINE_bool(name, *common, flag_values=values)
        case "integer":
            flags.DEFINE_integer(name, *common, lower_bound=flag.least, flag_values=values)
        case "number":
            flags.DEFINE_float(name, *common, lower_bound=flag.least, flag_values=values)
        case "list":
            flags.DEFINE_list(name, *common, flag_values=values)
        case "texts":
            flags.DEFINE_multi_string(name, *common, flag_values=values)
        case _ if flag.choices:
            flags.DEFINE_enum(name, flag.default, flag.choices, flag.help, flag_values=values)
        case _:
            flags.DEFINE_string(name, *common, flag_values=values)
    if flag.now:
        refusal = f"write --{flag.now} instead"
        flags.register_validator(name, lambda value: value is None, refusal, flag_values=values)
