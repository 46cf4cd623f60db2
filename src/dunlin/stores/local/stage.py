"""A new directory appears whole: its files are written aside, and one rename shows all of them.

Theory. A file may stand under its final name only when it is whole; so each is written under a
temporary name and renamed, which takes 8 of the 29 µs that a small file costs in memory, and a whole
round trip on a mount far away. But where nobody can see the directory yet, a final name promises
nothing. So the files of a directory that was made a moment ago, and is still empty, are written under
their final names in a *stage*, a hidden directory; then ``rename(stage, directory)`` gives all of them
to the reader at once. POSIX lets a directory replace an *empty* one atomically, and nothing else: what
somebody has put there meanwhile makes the rename fail, and then nothing was changed.

The stage lies in the root of the store. What a killed process leaves is looked for there at the start
of every run, while the directory that was being filled may never be visited again.

The directory that stood there is replaced, with everything that is its own. So the stage must be what a
directory made in that place is: owner, group, file system, extended attributes (among them the label of
a security module) and flags of the inode are compared, and a set-group-id bit or a default ACL, which
change what is made *in* a directory, are a reason to do without. The mode is given at the end, because
until then nobody but us may look inside.

Two directories change by this that may have their final times already. The root gets them again at the
end of the run. The directory above gets those of the source's: every process that renames into it
sets them *after* its own rename, so whoever is last has set them last, and they are right. That needs
no word between the processes. After a kill in between, the unit is done again and does that too (`workers.scan`).

Lending the write bit (`lending.lent_write_bit`) is out of the question for the directory above: its units
are through, nobody would set the mode again if two processes lent it at once. A directory that we
may not write to is a reason to do without, like every error before the first file.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dunlin.errors import DunlinError
from dunlin.model import ATIME, MTIME, Facts, Row
from dunlin.stores.local import posix, quick
from dunlin.stores.local.batch import BatchOptions, BatchResult, Bucket, Worker
from dunlin.stores.local.meta import by_descriptor
from dunlin.stores.local.paths import CLOEXEC, NOFOLLOW, DirFds, split

LEAST = 16
"""Files from which on a stage is worth its dozen system calls."""

_OPEN = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | NOFOLLOW | CLOEXEC
_GET_FLAGS = 0x80086601  # FS_IOC_GETFLAGS, ioctl_iflags(2), where a long has 8 bytes
_LONG = struct.Struct("=q")


Fill = Callable[[int, bool], BatchResult]
"""Writes a batch into an open directory; True: nobody can see that yet."""

Follow = Callable[[int], None]
"""Gives an open directory times."""


class UnableError(Exception):
    """The file system does not let a directory replace an empty one. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a directory is to appear, by open descriptors.

    Attributes:
        root: the root of the store, which holds the stage.
        parent, name: the directory above, and the name in it.
        target: the directory that stands there now, opened for this one use: it is listed.
    """

    root: int
    parent: int
    name: str
    target: int


def worth(rows: Sequence[Row], options: BatchOptions, bucket: Bucket) -> bool:
    """Whether a batch is one for a stage, as far as the batch itself can tell.

    Under a bandwidth limit a directory takes its time, and what is done should be seen and kept.
    """
    return (
        len(rows) >= LEAST
        and not (options.in_place or options.fsync or bucket.rate or bucket.stopped)
        and all(row[2] is None for row in rows)
    )


def in_place_of(
    dirs: DirFds, directory: str, rows: Sequence[Row], options: BatchOptions, worker: Worker, fill: Fill,
    follow: Follow,
) -> BatchResult | None:  # fmt: skip
    """Have all files of a new directory appear at once; None when it has to be done file by file.

    Args:
        dirs: of the store.
        directory: just made by us, below the root.
        fill: writes the files into an open directory, hidden or not.
        follow: gives the directory above the times that it is to have.

    None also when a directory cannot be opened, which the usual way then tells. Raises `UnableError`.
    """
    parent, name = split(directory)
    try:
        with dirs.open("") as root_fd, dirs.open(parent) as parent_fd, dirs.fresh(directory) as target_fd:
            ground = Ground(root_fd, parent_fd, name, target_fd)
            result = staged(ground, rows, options, worker, lambda fd: fill(fd, True))
            if result is not None and parent:
                with contextlib.suppress(DunlinError):
                    follow(parent_fd)
            return result
    except DunlinError:
        return None
    finally:
        dirs.forget(directory)  # another directory has its name now, or nobody knows what has


def staged(
    ground: Ground, rows: Sequence[Row], options: BatchOptions, worker: Worker, fill: Callable[[int], BatchResult]
) -> BatchResult | None:
    """Do what `fill` does with an open directory, with all files appearing at once; None as above.

    A batch that is cut short publishes the files that are whole; when even that fails they count as not
    begun. A stage stays behind only where the process was killed.

    Raises `UnableError`: do it file by file, and do not try this again in that store.
    """
    if not _fit(ground):
        return None
    worker.number += 1
    name = f".dunlin-{options.token}-{worker.number}.tmp"
    try:
        os.mkdir(name, 0o700, dir_fd=ground.root)
    except OSError:
        return None
    fd = -1
    published = False
    try:
        try:
            fd = os.open(name, _OPEN, dir_fd=ground.root)
            if not _alike(ground.target, fd):
                return None
        except OSError:
            return None
        result = fill(fd)
        if not result.rows:
            return result
        try:
            if options.commit is not None:
                options.commit()
            _publish(ground, name, fd)
            published = True
        except OSError as error:
            if result.fatal is None:
                if _replaceable(ground):
                    raise UnableError from error
                return None
            _undone(result, rows)
        return result
    finally:
        if not published:
            _discard(ground.root, name, fd)
        if fd >= 0:
            os.close(fd)


def follow_times(source_fd: int, target_fd: int) -> None:
    """Give the directory above what it had before a stage was renamed into it: the times of the source's.

    Where they are refused, so they were when that directory was dressed, which is the one to say so.
    """
    with contextlib.suppress(OSError):
        status = os.fstat(source_fd)
        os.utime(by_descriptor(target_fd), ns=(status.st_atime_ns, status.st_mtime_ns))


def give_times(target_fd: int, above: Facts) -> None:
    """The same with the times in the facts of a directory above that is no directory of this machine."""
    if above[MTIME] is not None:
        with contextlib.suppress(OSError):
            os.utime(by_descriptor(target_fd), ns=(above[ATIME] or above[MTIME], above[MTIME]))


def _fit(ground: Ground) -> bool:
    """Whether the directory is empty and may be replaced by us."""
    try:
        # `access` knows about capabilities, read-only mounts and ACLs; the bits of the mode do not.
        ids = os.access in os.supports_effective_ids
        return os.access(".", os.W_OK | os.X_OK, dir_fd=ground.parent, effective_ids=ids) and _is_empty(ground.target)
    except OSError:
        return False


def _is_empty(directory: int) -> bool:
    with os.scandir(directory) as names:
        return next(names, None) is None


def _alike(target: int, stage: int) -> bool:
    """Whether the stage is to files what the directory is that it will replace. Raises `OSError`."""
    there, here = os.fstat(target), os.fstat(stage)
    return (
        (there.st_dev, there.st_uid, there.st_gid) == (here.st_dev, here.st_uid, here.st_gid)
        and not (there.st_mode | here.st_mode) & stat.S_ISGID
        and not (posix.has_default_acl(target) or posix.has_default_acl(stage))
        and _attributes(target) == _attributes(stage)
        and _flags(target) == _flags(stage)
    )


def _attributes(directory: int) -> dict[str, bytes]:
    if not hasattr(os, "listxattr"):
        return {}
    try:
        names = os.listxattr(directory)
    except OSError:
        return {}  # the file system has none
    return {name: os.getxattr(directory, name) for name in names}


def _flags(directory: int) -> int:
    """What `lsattr` shows (no copy on write, compression, ignored case, ...): inherited by what is made inside."""
    import fcntl

    try:
        answer = fcntl.ioctl(directory, _GET_FLAGS, bytes(_LONG.size))
    except OSError:
        return 0  # the file system has none
    return int(_LONG.unpack(answer)[0])


def _publish(ground: Ground, name: str, stage: int) -> None:
    os.fchmod(stage, stat.S_IMODE(os.fstat(ground.target).st_mode))
    os.rename(name, ground.name, src_dir_fd=ground.root, dst_dir_fd=ground.parent)


def _replaceable(ground: Ground) -> bool:
    """Whether an empty directory stands there still, so that nothing but the file system can be in the way."""
    try:
        fd = os.open(ground.name, _OPEN, dir_fd=ground.parent)
    except OSError:
        return False
    try:
        return _is_empty(fd)
    except OSError:
        return False
    finally:
        os.close(fd)


def _undone(result: BatchResult, rows: Sequence[Row]) -> None:
    """What was copied is lost: those rows count as not begun."""
    settled = {row[0] for row in result.large} | {name for name, _, _ in result.failed} | set(result.vanished)
    result.rest = [row for row in rows if row[0] not in settled]
    result.rows = []


def _discard(root: int, name: str, stage: int) -> None:
    """The one clean-up path: remove the stage and the files in it."""
    if stage >= 0:
        with contextlib.suppress(OSError):
            for file in os.listdir(stage):
                quick.unlink_quietly(file, stage)
    with contextlib.suppress(OSError):
        os.rmdir(name, dir_fd=root)
