"""Writing of files and folders that are whole or not there."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a path beside `path` to write to, which takes its place when the block ends well.

    What is written there may be a file or a folder. A folder cannot take another's place in one
    step: the old one is moved aside first, and is back if the move fails.
    """
    beside = path.with_name("." + path.name)
    remove(beside)  # of a run that was killed
    try:
        yield beside
        if path.is_dir() and not path.is_symlink():
            old = path.with_name("." + path.name + ".old")
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
