"""One run at a time in a folder."""

import contextlib
import errno
import fcntl
from collections.abc import Iterator
from pathlib import Path

_UNSUPPORTED = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)  # by some network file systems


@contextlib.contextmanager
def locked(folder: Path, flag: str) -> Iterator[None]:
    """Holds `<folder>/.lock`; the system frees it when the process ends, however it ends.

    Args:
        folder: exists and can be written.
        flag: of the command line that names the folder, for the error.

    Raises:
        ValueError: if another process holds it.
    """
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"another run is using the {flag} {str(folder)!r}: wait for it, stop it, or choose "
                f"another with --{flag}"
            ) from error
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            print(f"warning: {str(folder)!r} has no locks: make sure that no other run uses it")
        yield
