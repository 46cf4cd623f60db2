"""Whole small files of one directory, one after the other, with as few system calls as their versions allow.

For each: open below the directory's descriptor, read, look, close; extended attributes from the open
descriptor where they are wanted. What was listed and what was read are one version, or the file is an error. A chunk
of a pipeline with generators and entries for each file costs twice as much as the calls themselves.

Nearly every file is as it was listed: it goes the short way, which says nothing but whether that is so. What is not,
for whatever reason, goes the way of `reading`, which finds out why.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from dunlin.errors import DunlinError, ErrorKind, translate
from dunlin.model import CTIME, IDENT, MTIME, SIZE, Facts, join
from dunlin.stores.base import Gathered
from dunlin.stores.local.meta import xattrs
from dunlin.stores.local.reading import check_version, open_at, open_pinned


def read_batch(
    directory: int, path: str, rows: Sequence[tuple[str, Facts]], space: tuple[str, ...], root: str
) -> Iterator[Gathered]:
    """The content of each of `rows` in the open `directory`; see `ReadsBatch`. `path`, `root`: for messages."""
    for name, facts in rows:
        found = _at_once(directory, name, facts, space)
        if found is None:
            found = _with_care(directory, name, facts, os.path.join(root, join(path, name)), space)
        yield found


def _at_once(directory: int, name: str, facts: Facts, space: tuple[str, ...]) -> Gathered | None:
    """A file that is the listed version after it was read, and so was when it was; None for any other, or a failure."""
    listed = facts[SIZE], facts[MTIME], facts[CTIME], facts[IDENT]
    try:
        fd = open_at(directory, name)
    except OSError:
        return None
    try:
        data = os.pread(fd, facts[SIZE] + 1, 0)  # refused by a pipe that took its place: nothing is taken out of it
        found = xattrs(fd, space) if space else None
        status = os.fstat(fd)
    except OSError:
        return None
    finally:
        os.close(fd)
    seen = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
    return Gathered(data, found, None) if seen == listed and len(data) == facts[SIZE] else None


def _with_care(directory: int, name: str, facts: Facts, where: str, space: tuple[str, ...]) -> Gathered:
    """The same, told what is wrong with it."""
    try:
        fd, size = open_pinned(directory, name, facts, where)
    except DunlinError as error:
        return Gathered(b"", None, error)
    try:
        data = os.pread(fd, size + 1, 0)
        found = xattrs(fd, space) if space else None
        check_version(os.fstat(fd), facts, where)
    except OSError as error:
        return Gathered(b"", None, translate(error, "read", where))
    except DunlinError as error:
        return Gathered(b"", None, error)
    finally:
        os.close(fd)
    if len(data) != size:
        reason = "it was cut off while it was read"
        return Gathered(b"", None, DunlinError("read", where, ErrorKind.CHANGED, reason, "it is in use"))
    return Gathered(data, found, None)
