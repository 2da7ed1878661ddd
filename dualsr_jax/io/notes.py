"""Remarks for the user: what was assumed about a file, and what was left out of one."""

from collections.abc import Hashable

from dualsr_jax.messages import say

_MOST_REMEMBERED = 4096
_noted: dict[Hashable, None] = {}  # in the order in which they were printed


def note(message: str, about: Hashable = None) -> None:
    """Prints a remark, once per process for each subject; `about` None: the message itself."""
    subject = message if about is None else about
    if subject in _noted:
        return
    if len(_noted) >= _MOST_REMEMBERED:
        del _noted[next(iter(_noted))]
    _noted[subject] = None
    say(f"note: {message}")


def forget_notes() -> None:
    """Lets every remark be printed again."""
    _noted.clear()
