"""The few system calls that Python does not offer, each behind a function that works everywhere.

`ctypes` is imported when the first of them is called, and only on Linux; elsewhere each function
takes its fallback at once. Numbers and layouts are those of the Linux manual pages statx(2),
syncfs(2), sync_file_range(2) and renameat2(2).
"""

from __future__ import annotations

import errno
import functools
import os
import struct
import sys
from typing import Any

_AT_SYMLINK_NOFOLLOW = 0x100
_STATX_BTIME = 0x800
_STATX_SIZE = 256
_BIRTH_OFFSET = 80  # struct statx: stx_btime.tv_sec (s64), then tv_nsec (u32)
_RENAME_NOREPLACE = 1
_PUSH_START = 2  # SYNC_FILE_RANGE_WRITE
_PUSH_WAIT = 7  # SYNC_FILE_RANGE_WAIT_BEFORE | _WRITE | _WAIT_AFTER

_LACKING = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ESPIPE})


@functools.cache
def _libc() -> Any:
    """The C library, with `errno` kept per call; None where these calls do not exist."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    number, wide, text, flags = ctypes.c_int, ctypes.c_int64, ctypes.c_char_p, ctypes.c_uint
    signatures = {
        "statx": (number, text, number, flags, ctypes.c_void_p),
        "syncfs": (number,),
        "sync_file_range": (number, wide, wide, flags),
        "renameat2": (number, text, number, text, flags),
    }
    for name, types in signatures.items():
        if hasattr(libc, name):
            getattr(libc, name).argtypes = types
    return libc


def _call(name: str, *args: Any) -> bool:
    """Make the call; False when this system or file system does not have it, `OSError` when it fails."""
    libc = _libc()
    if not hasattr(libc, name):
        return False
    if getattr(libc, name)(*args) == 0:
        return True
    import ctypes

    number = ctypes.get_errno()
    if number in _LACKING:
        return False
    raise OSError(number, os.strerror(number))


def birth_time(directory: int, name: str) -> int | None:
    """When the file `name` in the open `directory` was made, ns since 1970; None where nobody knows.

    Links are not followed. Raises `OSError`.
    """
    libc = _libc()
    if libc is None:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        seconds = getattr(status, "st_birthtime", None)
        return None if seconds is None else int(seconds * 1_000_000_000)
    import ctypes

    answer = ctypes.create_string_buffer(_STATX_SIZE)
    if not _call("statx", directory, os.fsencode(name), _AT_SYMLINK_NOFOLLOW, _STATX_BTIME, answer):
        return None
    (known,) = struct.unpack_from("=I", answer)
    if not known & _STATX_BTIME:
        return None
    seconds, fraction = struct.unpack_from("=qI", answer, _BIRTH_OFFSET)
    return int(seconds * 1_000_000_000 + fraction)


def has_default_acl(directory: int) -> bool:
    """Whether the open directory gives the files made in it an access control list."""
    if not hasattr(os, "getxattr"):
        return False
    try:
        os.getxattr(directory, "system.posix_acl_default")
    except OSError:
        return False
    return True


def sync_file_system(fd: int) -> None:
    """Return when everything written to the file system of `fd` is on stable storage. Raises `OSError`.

    `syncfs` reports write-back errors since Linux 5.8; the fallback, `sync`, reports none.
    """
    if not _call("syncfs", fd):
        os.sync()


def sync_data(fd: int) -> None:
    """Return when the content of the file is on stable storage. Raises `OSError`."""
    getattr(os, "fdatasync", os.fsync)(fd)


def push_start(fd: int, offset: int, length: int) -> bool:
    """Begin to write `length` dirty bytes from `offset` to the device; False where that cannot be asked for."""
    return _call("sync_file_range", fd, offset, length, _PUSH_START)


def push_wait(fd: int, offset: int, length: int) -> bool:
    """Return when those bytes have left the page cache for the device; False where that cannot be asked for."""
    return _call("sync_file_range", fd, offset, length, _PUSH_WAIT)


def rename_no_replace(old: str, new: str, directory: int) -> bool:
    """Rename within an open directory unless `new` exists; False where that cannot be asked for.

    Raises `FileExistsError` when something stands at `new`.
    """
    return _call("renameat2", directory, os.fsencode(old), directory, os.fsencode(new), _RENAME_NOREPLACE)


def file_system(path: str) -> str:
    """The type of the file system that holds `path` (``ext4``, ``vfat``, ``cifs``); "" where nobody knows."""
    try:
        device = os.stat(path).st_dev
        wanted = f"{os.major(device)}:{os.minor(device)}"
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            for line in mounts:
                before, _, after = line.partition(" - ")
                if before.split(" ", 3)[2] == wanted:
                    return after.split(" ", 1)[0]
    except (OSError, AttributeError):
        pass  # no such path yet, or no /proc: the defaults hold
    return ""
