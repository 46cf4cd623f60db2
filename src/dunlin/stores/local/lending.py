"""Lending a directory its owner's write bit, for as long as something is done in it.

A tree mirrored with its permissions has directories that not even their owner may write to. What has to be
done in one of those is done with the bit lent: it is set before and taken away after.

Theory. The bit is the directory's, so everybody sees it: whoever finds it set cannot tell whether it is there to
stay or lent by another thread or process, which is about to take it away. So all who depend on the bit hold a
`flock` on the directory itself meanwhile: shared while they find it set, exclusive while they lend it. Whoever
comes while it is lent waits, and then sees how the directory really is. A shared lock is given up before the
exclusive one is asked for, and the directory looked at again: two that both want more never wait for each other.
The lock is on a descriptor of its own, because a lock belongs to what `open` returned, which threads share.

A single call is tried without any of that (`permitted`), and under the lock only when it was refused.
Who needs no bits at all (root, usually) neither locks nor lends.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from dunlin.stores.local.meta import by_descriptor
from dunlin.stores.local.paths import CLOEXEC

T = TypeVar("T")

_BITS = 0o300
_DAC_OVERRIDE = 1 << 1
"""In the masks of /proc: capability number 1, see capabilities(7)."""

_mine = threading.local()
_alone = threading.RLock()


@contextlib.contextmanager
def lent_write_bit(directory: int) -> Iterator[None]:
    """Give a directory of ours its owner's write bit for as long as this lasts, if that is all that is missing.

    Whoever else lends it, in any process, waits until we are done, or we for them.
    """
    status = os.fstat(directory)
    if status.st_uid != os.geteuid() or _needs_no_bits():
        yield
        return
    held: set[tuple[int, int]] = _mine.__dict__.setdefault("directories", set())
    identity = (status.st_dev, status.st_ino)
    if identity in held:
        yield  # by this thread: it would wait for itself
        return
    held.add(identity)
    try:
        with _in_turn(directory) as lends:
            if not lends:
                yield
                return
            mode = stat.S_IMODE(os.fstat(directory).st_mode)
            os.chmod(by_descriptor(directory), mode | _BITS)
            try:
                yield
            finally:
                os.chmod(by_descriptor(directory), mode)
    finally:
        held.discard(identity)


def permitted(directory: int, act: Callable[[], T]) -> T:
    """What `act` returns; when it is refused, it is tried again with the directory's write bit lent."""
    try:
        return act()
    except PermissionError as error:
        if error.errno != errno.EACCES:
            raise
        with lent_write_bit(directory):
            return act()


@contextlib.contextmanager
def _in_turn(directory: int) -> Iterator[bool]:
    """Hold the lock that fits what the directory lacks; yields whether it lacks anything."""
    own = _opened(directory)
    try:
        if own is None or not _lock(own, exclusive=False):
            # A directory that may not be read, or a system without such locks: threads at least take turns.
            with _alone:
                yield _lacks(directory)
            return
        if _lacks(directory):
            _lock(own, exclusive=True)
        yield _lacks(directory)
    finally:
        if own is not None:
            os.close(own)


def _lacks(directory: int) -> bool:
    return os.fstat(directory).st_mode & _BITS != _BITS


def _opened(directory: int) -> int | None:
    try:
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | CLOEXEC, dir_fd=directory)
    except OSError:
        return None


def _lock(own: int, exclusive: bool) -> bool:
    """Wait for the lock; False where there is none to be had."""
    try:
        import fcntl

        if exclusive:
            fcntl.flock(own, fcntl.LOCK_UN)
        fcntl.flock(own, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
    except (ImportError, OSError):
        return False
    return True


@functools.cache
def _needs_no_bits() -> bool:
    """Whether this process may write wherever it likes: the right to it does not change while it lives."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
            rights = next(line.split()[1] for line in lines if line.startswith("CapEff:"))
    except (OSError, StopIteration):
        return os.geteuid() == 0
    return bool(int(rights, 16) & _DAC_OVERRIDE)
