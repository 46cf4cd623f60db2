"""Temporary files of long runs: as large as what they are about, so not in a directory that may lie in memory.

They lie beside the cache, which is meant for files of this size; a finished tree is moved from the one to the other.
Whoever was killed leaves a directory behind. Each is locked by its owner as long as that lives, so the next run sees
which are nobody's, and removes them.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dunlin.errors import Place, translate

_PREFIX = "dunlin-temporary-"
_YOUNG = 60.0
"""Seconds for which a directory without a lock may be one whose owner is about to lock it."""


@contextmanager
def scratch(beside: Path | None) -> Iterator[Path]:
    """A directory for temporary files, removed at the end: in `beside`, or where the system has them.

    `beside`: made where it does not exist. None, or one that may not be written to: the system's (``TMPDIR``) is taken.
    """
    folder, lock = _made(beside), -1
    try:
        with suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock >= 0:
            os.close(lock)


@contextmanager
def on_disk(what: str, folder: str | os.PathLike[str]) -> Iterator[None]:
    """Around what writes and reads temporary files in `folder`: an OSError becomes an error of our own files.

    `what`: is done with them, for the error ("keep units").
    """
    try:
        yield
    except OSError as error:
        found = translate(error, what, os.fspath(folder))
        found.place = Place.STATE
        raise found from error


def _made(beside: Path | None) -> Path:
    if beside is not None:
        with suppress(OSError):
            beside.mkdir(parents=True, exist_ok=True, mode=0o700)
            _clear(beside)
            return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=beside))
    return Path(tempfile.mkdtemp(prefix=_PREFIX))


def _clear(beside: Path) -> None:
    """Remove what runs left that were killed."""
    for folder in beside.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime < _YOUNG:
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
