"""Reading one version of a file: the one that was listed, or an error.

The version is pinned by inode, ctime, size and mtime, looked at on the open descriptor before the
first byte and after the last one. A change between two looks that leaves all four as they were would
have to fit into one tick of the kernel's clock *and* keep the size; nothing short of a snapshot sees that.

The last chunk is handed out only after the second look, so a receiver that has got all bytes has
got one version of them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from dunlin.errors import DunlinError, ErrorKind, translate
from dunlin.model import CTIME, IDENT, MTIME, SIZE, Facts
from dunlin.stores.base import Data
from dunlin.stores.buffers import Buffers
from dunlin.stores.local.paths import CLOEXEC, NOFOLLOW

CHUNK = 262_144
"""Bytes of a chunk that is not read into a caller's buffer."""

_ADVISE_FROM = 4 * CHUNK
_NOATIME: int = getattr(os, "O_NOATIME", 0)
# O_NONBLOCK: a FIFO that took the file's place must not make us wait for a writer.
_READ = os.O_RDONLY | NOFOLLOW | CLOEXEC | getattr(os, "O_NONBLOCK", 0)


def open_pinned(directory: int, name: str, facts: Facts, where: str) -> tuple[int, int]:
    """A descriptor of the regular file that `facts` describe, and its size in bytes.

    Raises VANISHED, CHANGED when something else stands there, DENIED, IO.
    """
    try:
        fd = open_at(directory, name)
    except FileNotFoundError as error:
        raise DunlinError("read", where, ErrorKind.VANISHED, "it is gone") from error
    except OSError as error:
        raise translate(error, "read", where) from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise DunlinError("read", where, ErrorKind.CHANGED, "it is no regular file any more")
        check_version(status, facts, where)
        if status.st_size >= _ADVISE_FROM and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    except OSError as error:
        os.close(fd)
        raise translate(error, "read", where) from error
    except BaseException:
        os.close(fd)
        raise
    return fd, status.st_size


def open_at(directory: int, name: str) -> int:
    """A descriptor for reading, of whatever stands there but a link; the access time is left alone if that may be."""
    try:
        return os.open(name, _READ | _NOATIME, dir_fd=directory)
    except PermissionError:
        if not _NOATIME:
            raise
        # Only the owner may ask for the access time to be left alone.
        return os.open(name, _READ, dir_fd=directory)


def check_version(status: os.stat_result, facts: Facts, where: str) -> None:
    """Raise CHANGED unless `status` is of the version of `facts`; unknown facts (None) match anything."""
    seen = {SIZE: status.st_size, MTIME: status.st_mtime_ns, CTIME: status.st_ctime_ns, IDENT: status.st_ino}
    for at, value in seen.items():
        wanted = facts[at]
        if wanted is not None and wanted != value:
            raise DunlinError("read", where, ErrorKind.CHANGED, _CHANGES[at], "it is in use")


_CHANGES = {
    SIZE: "its size has changed",
    MTIME: "it was written to",
    CTIME: "its metadata or content has changed",
    IDENT: "another file has taken its place",
}


def chunks(fd: int, facts: Facts, where: str, start: int, stop: int, into: Buffers | None) -> Iterator[Data]:
    """The bytes from `start` to `stop` of the open file, the last of them after a second look at its version."""
    position = start
    while position < stop:
        block = into.take() if into is not None else memoryview(bytearray(min(CHUNK, stop - position)))
        try:
            data = block[: min(len(block), stop - position)]
            n = _fill(fd, data, position, where)
            position += n
            if position == stop:
                _look_again(fd, facts, where)
        except BaseException:
            if into is not None:
                into.give(block)
            raise
        yield data[:n] if into is not None else bytes(data[:n])
    if start >= stop:
        _look_again(fd, facts, where)


def _fill(fd: int, data: memoryview, position: int, where: str) -> int:
    try:
        n = os.preadv(fd, [data], position)
    except OSError as error:
        raise translate(error, "read", where) from error
    if n == 0:
        raise DunlinError("read", where, ErrorKind.CHANGED, "it was cut off while it was read", "it is in use")
    return n


def _look_again(fd: int, facts: Facts, where: str) -> None:
    try:
        status = os.fstat(fd)
    except OSError as error:
        raise translate(error, "read", where) from error
    check_version(status, facts, where)
