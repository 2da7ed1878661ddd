"""Scripts with which shells complete the commands and flags of `dualsr`.

Contract: a script is fixed text that names all flags, so that completing starts no Python.
"""

from collections.abc import Callable, Sequence

from dualsr_jax.commands import Command
from dualsr_jax.flag_table import Flag


def script(shell: str, commands: Sequence[Command]) -> str:
    """The script of one of `SHELLS`; raises KeyError for others."""
    return SHELLS[shell](commands)


def _flags(command: Command) -> dict[str, Flag]:
    return {name: flag for group in command.groups.values() for name, flag in group.items()}


def _bash(commands: Sequence[Command]) -> str:
    names = " ".join([*(command.name for command in commands), "completion"])
    lines = [
        "_dualsr() {",
        "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} offered=",
        '  if [ "$word" = = ]; then word=; fi  # bash makes a word of the = in --flag=value',
        '  if [ "$before" = = ]; then before=${COMP_WORDS[COMP_CWORD-2]}; fi',
        f'  if [ "$COMP_CWORD" = 1 ]; then offered="{names} --help --version"; else',
        '  case "${COMP_WORDS[1]} $before" in',
        f'  "completion "*) offered="{" ".join(SHELLS)}" ;;',
    ]
    for command in commands:
        for name, flag in _flags(command).items():
            if flag.choices:
                lines.append(f'  "{command.name} --{name}") offered="{" ".join(flag.choices)}" ;;')
            elif flag.kind != "switch":
                lines.append(f'  "{command.name} --{name}") ;;')
    lines += ["  *) case ${COMP_WORDS[1]} in"]
    for command in commands:
        words = " ".join(f"--{name}" for name in [*_flags(command), "help"])
        lines.append(f'    {command.name}) case $word in -*) offered="{words}" ;; esac ;;')
    lines += [
        "    esac ;;",
        "  esac; fi",
        '  COMPREPLY=($(compgen -W "$offered" -- "$word"))',
        "}",
        "complete -o bashdefault -o default -F _dualsr dualsr",
    ]
    return "\n".join(lines)


def _zsh(commands: Sequence[Command]) -> str:
    return "autoload -U +X bashcompinit && bashcompinit\n" + _bash(commands)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fish(commands: Sequence[Command]) -> str:
    names = " ".join([*(command.name for command in commands), "completion"])
    first = f"complete -c dualsr -f -n 'not __fish_seen_subcommand_from {names}'"
    lines = [f"{first} -l help", f"{first} -l version", f"{first} -a completion"]
    for command in commands:
        lines.append(f"{first} -a {command.name} -d {_quoted(command.about)}")
        chosen = f"complete -c dualsr -n '__fish_seen_subcommand_from {command.name}'"
        for name, flag in _flags(command).items():
            value = "" if flag.kind == "switch" else " -r"
            value = f" -x -a {_quoted(' '.join(flag.choices))}" if flag.choices else value
            lines.append(f"{chosen} -l {name}{value} -d {_quoted(flag.help)}")
    lines.append(
        f"complete -c dualsr -f -n '__fish_seen_subcommand_from completion' -a '{' '.join(SHELLS)}'"
    )
    return "\n".join(lines)


SHELLS: dict[str, Callable[[Sequence[Command]], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
