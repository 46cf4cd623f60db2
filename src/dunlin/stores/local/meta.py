"""Giving metadata to files, directories, links and special files, and what to do when a share says no.

Order matters. `chown` comes first because it clears the set-id bits and capabilities; then `chmod`;
then the extended attributes, since an access ACL carries the mode's group bits with it; the times
last, because all of the above counts as a change.

A share that cannot hold an attribute must not make every file fail: the refusal is kept once per
kind (owner, group, mode, times, xattrs) and the work goes on. One refusal has a consequence: where
the owner could not be set, set-id bits are left out, for they would lend somebody else's rights.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator

from dunlin.errors import DunlinError, translate
from dunlin.stores.base import Meta
from dunlin.stores.local.paths import CLOEXEC, NOFOLLOW, O_PATH

Target = int | str
"""What the calls below act on: a descriptor, or the /proc name of one (which also reaches links)."""

_SET_ID = stat.S_ISUID | stat.S_ISGID
_REFUSALS = frozenset({errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
# A value that does not fit beside the inode is ENOSPC on ext4 although the disk has room.
_XATTR_REFUSALS = _REFUSALS | {errno.E2BIG, errno.ERANGE, errno.ENOSPC}


class Refusals:
    """What a file system would not hold: the first error of each kind. Safe to use from many threads.

    `tell` is called once per kind with the kind and its first error.
    """

    def __init__(self, tell: Callable[[str, DunlinError], None] | None = None) -> None:
        self.first: dict[str, DunlinError] = {}
        self._tell = tell
        self._lock = threading.Lock()

    def add(self, kind: str, error: OSError, where: str) -> None:
        """`where` was refused its `kind`."""
        if kind in self.first:
            return
        refusal = translate(error, f"set the {kind} of", where)
        with self._lock:
            if kind in self.first:
                return
            self.first[kind] = refusal
        if self._tell is not None:
            self._tell(kind, refusal)


@contextlib.contextmanager
def handle(directory: int, name: str) -> Iterator[Target]:
    """What stands at `name`, pinned, links included and not followed. Raises `OSError`.

    `O_PATH` needs no permission on the thing itself and opens links, sockets and FIFOs without
    side effects; its /proc name then leads every call to exactly that inode.
    """
    flags = O_PATH | NOFOLLOW | CLOEXEC if O_PATH else os.O_RDONLY | NOFOLLOW | CLOEXEC | os.O_NONBLOCK
    fd = os.open(name, flags, dir_fd=directory)
    try:
        yield by_descriptor(fd)
    finally:
        os.close(fd)


def by_descriptor(fd: int) -> Target:
    """`fd` in the form that `chmod` and the rest accept also when it was opened with `O_PATH`."""
    return f"/proc/self/fd/{fd}" if O_PATH else fd


def apply(target: Target, meta: Meta, refusals: Refusals, where: str) -> None:
    """Give `meta` to `target`; refusals are collected, other errors raised as `OSError`."""
    owned = True
    if meta.uid is not None or meta.gid is not None:
        uid = -1 if meta.uid is None else meta.uid
        owned = _own(target, uid, -1 if meta.gid is None else meta.gid, refusals, where)
    if meta.mode is not None:
        _chmod(target, meta.mode if owned else meta.mode & ~_SET_ID, refusals, where)
    if meta.xattrs is not None:
        _set_xattrs(target, meta.xattrs, meta.xattr_space, refusals, where)
    if meta.mtime is not None or meta.atime is not None:
        _utime(target, meta.atime, meta.mtime, refusals, where)


def _own(target: Target, uid: int, gid: int, refusals: Refusals, where: str) -> bool:
    """Whether owner and group are now the wanted ones; the group is tried alone when the owner is refused."""
    try:
        os.chown(target, uid, gid)
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        refusals.add("owner" if uid != -1 else "group", error, where)
        if uid != -1 and gid != -1:
            _own(target, -1, gid, refusals, where)
        return False
    return True


def _chmod(target: Target, mode: int, refusals: Refusals, where: str) -> None:
    try:
        os.chmod(target, mode)
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        if not stat.S_ISLNK(os.stat(target).st_mode):  # links have no mode on Linux; nobody misses it
            refusals.add("mode", error, where)


def _utime(target: Target, atime: int | None, mtime: int | None, refusals: Refusals, where: str) -> None:
    try:
        if atime is None or mtime is None:
            now = os.stat(target)
            atime = now.st_atime_ns if atime is None else atime
            mtime = now.st_mtime_ns if mtime is None else mtime
        os.utime(target, ns=(atime, mtime))
    except OverflowError:
        refusals.add("times", OSError(errno.EINVAL, os.strerror(errno.EINVAL)), where)
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        refusals.add("times", error, where)


def xattrs(target: Target, space: tuple[str, ...]) -> dict[str, bytes]:
    """The extended attributes in `space`; none where the file system has none. Raises `OSError`."""
    found: dict[str, bytes] = {}
    for name in _xattr_names(target, space):
        try:
            found[name] = os.getxattr(target, name)
        except OSError as error:
            if error.errno != errno.ENODATA:  # removed since it was listed
                raise
    return found


def _xattr_names(target: Target, space: tuple[str, ...]) -> list[str]:
    if not hasattr(os, "listxattr"):
        return []
    try:
        return [name for name in os.listxattr(target) if name.startswith(space)]
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            return []
        raise


def _set_xattrs(
    target: Target, wanted: dict[str, bytes], space: tuple[str, ...], refusals: Refusals, where: str
) -> None:
    if not hasattr(os, "setxattr"):
        if wanted:
            refusals.add("xattrs", OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP)), where)
        return
    try:
        present = xattrs(target, space) if space else {}
    except OSError as error:
        if error.errno not in _XATTR_REFUSALS:
            raise
        refusals.add("xattrs", error, where)
        present = {}
    for name in present.keys() - wanted.keys():
        _try_xattr(lambda name=name: os.removexattr(target, name), refusals, where)  # type: ignore[misc]
    for name, value in wanted.items():
        if present.get(name) != value:
            _try_xattr(lambda name=name, value=value: os.setxattr(target, name, value), refusals, where)  # type: ignore[misc]


def _try_xattr(change: Callable[[], None], refusals: Refusals, where: str) -> None:
    try:
        change()
    except OSError as error:
        if error.errno == errno.ENODATA:
            return
        if error.errno not in _XATTR_REFUSALS:
            raise
        refusals.add("xattrs", error, where)
