"""Files and folders on disk: written whole or not at all, locked, with enough space.

Contract: a path that `replacing` guards always holds the old content or the whole new one, however
the process ends. Locks are those of `fcntl`, so that this module needs a Unix system.
"""

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
    """Gives a temporary path to write to, which takes the place of `path` when the block succeeds.

    The block may write a file or a folder. A folder cannot replace another in one step: the old one
    is moved aside first, and moved back if the replacement fails. A file never replaces a folder:
    IsADirectoryError is raised. Only one process at a time may write to `path`: a temporary path
    that exists already is a leftover of a killed run and is removed.
    """
    partial = path.with_name(f".partial.{path.name}")
    remove(partial)
    try:
        yield partial
        if path.is_dir() and not path.is_symlink():
            if not partial.is_dir():
                raise IsADirectoryError(f"{path} is a folder: a file cannot take its place")
            old = path.with_name(f".replaced.{path.name}")
            remove(old)
            os.rename(path, old)
            try:
                os.rename(partial, path)
            except OSError:
                os.rename(old, path)
                raise
            remove(old)
        else:
            os.replace(partial, path)
    finally:
        remove(partial)


def remove(path: Path) -> None:
    """Removes a file, or a folder with its content, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def visible(folder: Path) -> list[Path]:
    """What a folder holds, by name, without hidden files such as the leftovers of `replacing`."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def make_writable(folder: Path, flag: str) -> None:
    """Creates a folder if needed; raises ValueError, which names its `flag`, if it is read-only."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"the {flag} {str(folder)!r} cannot be written ({error.strerror}): choose another "
            f"with --{flag}"
        ) from error


def check_folder(path: Path) -> None:
    """Checks that a file can be made in its folder, before a hidden name is tried there.

    Raises FileNotFoundError if the folder does not exist, PermissionError if it is read-only.
    """
    folder = path.parent
    if not folder.is_dir():
        raise FileNotFoundError(
            f"there is no folder {str(folder)!r} for {path.name}: make it first"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(
            f"the folder {str(folder)!r} is read-only, so that {path.name} cannot be written: "
            "choose another"
        )


@contextlib.contextmanager
def locked(folder: Path, flag: str) -> Iterator[None]:
    """Holds a lock on a folder; the system frees it when the process ends, however it ends.

    Raises ValueError, which names the command-line `flag` of the folder, if another run holds it.
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
            print(f"warning: {str(folder)!r} cannot be locked: make sure that no other run uses it")
        yield


def check_disk_space(folder: Path, needed_bytes: int, what: str) -> None:
    """Raises ValueError if the file system of a folder has less free space than a run needs."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes + _SPARE_BYTES:
        raise ValueError(
            f"{what} needs {needed_bytes / 1e9:.3g} GB in {str(folder)!r}, but {free / 1e9:.3g} GB "
            "are free: make room, or write to another disk"
        )
