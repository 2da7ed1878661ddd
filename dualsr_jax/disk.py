"""Files and folders on disk: written whole or not at all, locked, with room enough."""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_UNSUPPORTED = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)  # by some network file systems
_SPARE_BYTES = 2**20


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a path beside `path` to write to, which takes its place when the block ends well.

    What is written there may be a file or a folder. A folder cannot take another's place in one
    step: the old one is moved aside first, and is back if the move fails. A file never takes a
    folder's place. One process at a time: what lies there already is of a run that was killed.

    Raises:
        IsADirectoryError: if a folder is in the place of the file that was written.
    """
    beside = path.with_name(f".partial.{path.name}")
    remove(beside)
    try:
        yield beside
        if path.is_dir() and not path.is_symlink():
            if not beside.is_dir():
                raise IsADirectoryError(f"{path} is a folder: a file cannot take its place")
            old = path.with_name(f".replaced.{path.name}")
            remove(old)
            os.rename(path, old)
            try:
                os.rename(beside, path)
            except OSError:
                os.rename(old, path)
                raise
            remove(old)
        else:
            os.replace(beside, path)
    finally:
        remove(beside)


def remove(path: Path) -> None:
    """Removes a file or a folder with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def make_writable(folder: Path, flag: str) -> None:
    """Creates a folder and proves that it can be written.

    Args:
        folder: to create, if it does not exist.
        flag: of the command line that names it, for the error.

    Raises:
        ValueError: if it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"the {flag} {str(folder)!r} cannot be written ({error.strerror}): choose another "
            f"with --{flag}"
        ) from error


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


def check_disk_space(folder: Path, needed_bytes: int, what: str) -> None:
    """Raises ValueError if there is less room in a folder's file system than a run needs."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes + _SPARE_BYTES:
        raise ValueError(
            f"{what} needs {needed_bytes / 1e9:.3g} GB in {str(folder)!r}, and {free / 1e9:.3g} GB "
            "are free: make room, or write to another disk"
        )
