"""A large file that several processes write at the same time: one temporary file, which each fills a part of.

It is made and sized once, written into at any place by whoever is told its name, and gets its final name by the one
`rename` that every file gets. Its token names the run and no process of it, so that the death of one of those who
write takes nothing from the others: whoever cleans up after a process leaves it alone, and what the whole run left
behind is found by its name as any other temporary file.

Nobody but `begin` makes the file, and everybody looks at its inode, so a process that comes too late writes nowhere,
and one that had it open before it was removed writes into what nobody sees. What such a process may write into a file
that has its final name already is for `transfer.ranges` to argue.

The permission bits are final at the end only: the owner may always write to it until then, also where the file will be
one that nobody may write to.
"""

from __future__ import annotations

import errno
import os
import re
import stat

from dunlin.errors import DunlinError, ErrorKind, translate
from dunlin.stores.base import Begun, Body, Meta
from dunlin.stores.local.lending import permitted
from dunlin.stores.local.meta import Refusals, apply
from dunlin.stores.local.paths import CLOEXEC, NOFOLLOW
from dunlin.stores.local.writing import Sink, Spot, WriteOptions, discard, first_mode, pour, publish

_TOKEN = re.compile(r"[0-9a-f]{8}-[0-9a-z]{1,40}")
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOFOLLOW | CLOEXEC
_INTO = os.O_WRONLY | NOFOLLOW | CLOEXEC | getattr(os, "O_NONBLOCK", 0)
_OWNERS = 0o600


def temp_of(token: str) -> str:
    """The name of the temporary file."""
    return f".dunlin-{token}.tmp"


def begin(spot: Spot, token: str, body: Body, meta: Meta, options: WriteOptions) -> Begun:
    """Make the temporary file, as large as `body` says, and empty. Raises `DunlinError`."""
    size = body.size
    if size is None or options.in_place:
        reason = "in place there is no temporary file" if options.in_place else "its size is not known"
        raise DunlinError("write in parts", spot.where, ErrorKind.UNSUPPORTED, reason)
    if not _TOKEN.fullmatch(token):
        raise ValueError(f"a token is 8 hexadecimal digits, a dash, letters and digits, not {token!r}")
    temp = temp_of(token)
    first = first_mode(meta)
    try:
        there = _status(spot, spot.name)
        if there is not None and stat.S_ISDIR(there.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        fd = permitted(spot.directory, lambda: os.open(temp, _MAKE, first | _OWNERS, dir_fd=spot.directory))
        try:
            os.ftruncate(fd, size)
            status = os.fstat(fd)
        except BaseException:
            discard(spot, temp)
            raise
        finally:
            os.close(fd)
    except OSError as error:
        raise translate(error, "write", spot.where) from error
    # What the umask left of the wanted bits, without those that only we need meanwhile.
    return Begun(temp, size, mark=str(status.st_ino), mode=stat.S_IMODE(status.st_mode) & first)


def put(spot: Spot, begun: Begun, start: int, body: Body, options: WriteOptions) -> None:
    """Write what belongs at `start`. Raises NOT_FOUND when the temporary file is gone, CHANGED for too few bytes."""
    try:
        fd = _open(spot, begun)
        try:
            sink = Sink(fd, options)
            sink.position = start
            pour(body, 0, sink)
            if sink.position != start + (body.size or 0):
                reason = f"{sink.position - start:,} bytes came instead of {body.size:,}"
                raise DunlinError("write", spot.where, ErrorKind.CHANGED, reason)
            if options.fsync_file:
                os.fsync(fd)  # another machine may do the last step, which cannot do this for us
        finally:
            os.close(fd)
    except OSError as error:
        raise translate(error, "write", spot.where) from error


def completed(spot: Spot, begun: Begun) -> os.stat_result | None:
    """The status of the file under its final name, if it has that already. Raises `DunlinError`."""
    try:
        status = _status(spot, spot.name)
    except OSError as error:
        raise translate(error, "look at", spot.where) from error
    return status if status is not None and _is(status, begun) else None


def complete(spot: Spot, begun: Begun, meta: Meta, options: WriteOptions, refusals: Refusals) -> os.stat_result:
    """Give the file its metadata and its final name; its status. Raises `DunlinError`."""
    try:
        there = _status(spot, spot.name)
        if there is not None and stat.S_ISDIR(there.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        mode = begun.mode
        if there is not None and stat.S_ISREG(there.st_mode):
            mode = stat.S_IMODE(there.st_mode) & 0o777  # one that replaces another keeps that one's
        fd = _open(spot, begun)
        try:
            if meta.mode is None:
                apply(fd, Meta(mode=mode), refusals, spot.where)
            apply(fd, meta, refusals, spot.where)
            if options.fsync_file:
                os.fsync(fd)
        finally:
            os.close(fd)
        if options.commit is not None:
            options.commit()
        publish(spot, begun.id)
        return os.stat(spot.name, dir_fd=spot.directory, follow_symlinks=False)
    except OSError as error:
        raise translate(error, "write", spot.where) from error


def drop(spot: Spot, begun: Begun) -> None:
    """Remove the temporary file. Absence is no error. Raises `DunlinError`."""
    try:
        permitted(spot.directory, lambda: os.unlink(begun.id, dir_fd=spot.directory))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise translate(error, "delete", spot.where) from error


def _open(spot: Spot, begun: Begun) -> int:
    fd = os.open(begun.id, _INTO, dir_fd=spot.directory)
    status = os.fstat(fd)
    if _is(status, begun):
        return fd
    os.close(fd)
    reason = "what its parts were written to is not what it was"
    raise DunlinError("write", spot.where, ErrorKind.CHANGED, reason)


def _is(status: os.stat_result, begun: Begun) -> bool:
    same = stat.S_ISREG(status.st_mode) and str(status.st_ino) == begun.mark
    return same and status.st_size == begun.size and status.st_nlink == 1


def _status(spot: Spot, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=spot.directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
