"""Content that arrives over hours: kept when the transfer is interrupted, continued by the next run.

A body that names its version (`Body.version`) is written into ``.dunlin-<version>-0.part`` beside its final name, and
renamed when it is whole. After INTERRUPTED, NETWORK, TIMEOUT or BUSY, or when the process is killed, the file
stays; its length is how much there is. The next write of the same version reads it once, to show it to the body (which
makes checksums of the whole, and may find it damaged), and asks for the rest. Another version of the content
has another name, so that two are never mixed; any other error removes the file.

What is in such a file is what was written to it, for it only ever grows at its end, unless the machine lost power: then
its length may be on the disk and its content not. Where the body cannot be compared with a checksum of its source
(`Body.proven`), a file that was last written to before this boot is therefore begun anew.

Nobody else may have a hand in it: it must be a plain file of ours with one name, not a link, and it is locked
while it is written. Where that cannot be had the content goes into a temporary file, as any other.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.base import Body
from dunlin.stores.local.paths import CLOEXEC, NOFOLLOW

KEPT = frozenset({ErrorKind.INTERRUPTED, ErrorKind.NETWORK, ErrorKind.TIMEOUT, ErrorKind.BUSY})
"""Errors after which it makes sense to go on later."""

PART = re.compile(r"\.dunlin-([0-9a-f]{16})-0\.part")
"""Names of such files; the group is the version."""

_OPEN = os.O_RDWR | NOFOLLOW | CLOEXEC | getattr(os, "O_NONBLOCK", 0)
_STEP = 1 << 20


def part_name(version: str) -> str:
    """The name of the file for a version. Raises ValueError for what is none."""
    name = f".dunlin-{version}-0.part"
    if not PART.fullmatch(name):
        raise ValueError(f"a version is 16 hexadecimal digits, not {version!r}")
    return name


def is_kept(error: BaseException) -> bool:
    """Whether the content is wanted again after `error`."""
    return error.kind in KEPT if isinstance(error, DunlinError) else not isinstance(error, Exception)


def open_part(directory: int, name: str, mode: int) -> int | None:
    """The file, open and locked, made with `mode` (before the umask) where it is not there.

    None when somebody else is writing it. What is there and not ours alone is removed. Raises `OSError`.
    """
    while True:
        try:
            fd = os.open(name, _OPEN | os.O_CREAT | os.O_EXCL, mode, dir_fd=directory)
        except FileExistsError:
            try:
                fd = os.open(name, _OPEN, dir_fd=directory)
            except FileNotFoundError:
                continue
            except OSError:  # a link, a directory, a file that we may not write to
                os.unlink(name, dir_fd=directory)
                continue
        try:
            if not _locked(fd):
                os.close(fd)
                return None
            if _is_ours(fd) and _stands_at(fd, directory, name):
                return fd
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _locked(fd: int) -> bool:
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True


def _is_ours(fd: int) -> bool:
    status = os.fstat(fd)
    ours = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
    return stat.S_ISREG(status.st_mode) and status.st_nlink <= 1 and ours


def _stands_at(fd: int, directory: int, name: str) -> bool:
    """Whether the name still leads to what is open: whoever had the lock before may have renamed or removed it."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(name, dir_fd=directory, follow_symlinks=False))
    except FileNotFoundError:
        return False


def taken_up(fd: int, body: Body) -> int:
    """How many bytes of `body` the open file holds already; they have been shown to it. What is no good is cut off."""
    status = os.fstat(fd)
    size = status.st_size
    if size and ((body.size is not None and size > body.size) or not (body.proven or _since_boot(status))):
        os.ftruncate(fd, 0)
        return 0
    view = memoryview(bytearray(min(_STEP, size)))
    at = 0
    while at < size:
        n = os.preadv(fd, [view[: size - at]], at)
        if n == 0:
            os.ftruncate(fd, at)
            return at
        body.seen(view[:n])
        at += n
    return size


def _since_boot(status: os.stat_result) -> bool:
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    if clock is None:
        return False
    return status.st_mtime_ns > time.time_ns() - time.clock_gettime_ns(clock)
