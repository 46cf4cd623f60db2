"""Opening a file that must lie within directories, while somebody may be changing the paths that lead there.

Whoever asks a service for jobs may be allowed some directories only, and may be able to make links in them: by a job
that copies links, or because the directory is theirs. A path that was looked at a moment ago may lead elsewhere when it
is opened, and a run that waits for a lock gives them as long as they like.

So a file is opened from a descriptor of the root that it must lie in, one component after the other, and none of them
may be a link: what is opened lies within, whatever is done meanwhile. Links that are there before, and stay within, are
followed once. What is no regular file is refused, since a pipe would keep the run waiting.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import is_below

OUTSIDE = "it is outside the allowed roots"
At = Callable[[], AbstractContextManager[int | None]]
"""Gives a descriptor of the directory that a file's bare name is meant in; None: its whole path is meant."""

_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_ROOT = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _CLOEXEC


def root_of(path: str, roots: Sequence[str]) -> str | None:
    """Which of the roots (real paths) a real path lies in; None: in none of them."""
    return next((root for root in roots if is_below(path, root)), None)


def directory_of(path: str, roots: Sequence[str]) -> At:
    """How to get at the directory of a file; see the module docstring. It raises DENIED, and OSError."""
    return partial(_directory, path, tuple(roots))


@contextmanager
def _directory(path: str, roots: Sequence[str]) -> Iterator[int]:
    real = os.path.realpath(os.path.dirname(path))
    root = root_of(real, roots)
    if root is None:
        raise DunlinError("open", path, ErrorKind.DENIED, OUTSIDE)
    directory = os.open(root, _ROOT)
    try:
        for name in os.path.relpath(real, root).split(os.sep):
            inner = os.open(name, _ROOT | _NOFOLLOW, dir_fd=directory)
            os.close(directory)
            directory = inner
        yield directory
    finally:
        os.close(directory)


def open_file(path: str, flags: int, at: At | None = None) -> int:
    """Open a file for writing; with `at` no link, and nothing but a regular file. Raises OSError, and DENIED."""
    if at is None:
        return os.open(path, flags | _CLOEXEC, 0o666)
    # It is cut when it is known to be one that may be written.
    careful = (flags & ~os.O_TRUNC) | _CLOEXEC | _NOFOLLOW | getattr(os, "O_NONBLOCK", 0)
    with at() as directory:
        file = os.open(os.path.basename(path), careful, 0o666, dir_fd=directory)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise DunlinError("open", path, ErrorKind.DENIED, "it is no regular file")
        if flags & os.O_TRUNC:
            os.ftruncate(file, 0)
    except BaseException:
        os.close(file)
        raise
    return file
