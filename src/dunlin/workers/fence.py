"""The fence before everything final: who may have lost its lease changes nothing.

Theory. A worker that was stopped for a minute (SIGSTOP, a paused machine, a network that was cut) and goes on is a
*zombie*: its units were given to others meanwhile. The queue refuses what it says, but its bytes are its own doing: a
rename that it had come to would put the content of a minute ago over what its successor wrote. So right before
each step that cannot be taken back it looks at its own clock: the lease must be good for `MARGIN` seconds more, and
nobody may have told that it is lost.

*Which clock.* `CLOCK_MONOTONIC` goes on while a process is stopped, so a look tells. It stands still while the whole
machine sleeps, and there `CLOCK_BOOTTIME` goes on: when the two have moved apart since the lease was had or extended,
the machine slept, and every lease of that time counts as lost until the next heartbeat.

*The window that remains.* Between the look and the end of the rename, or of the request that completes an upload,
the process may be stopped. That is microseconds on a local disk and a request's time to an object store (a request that
is made again is looked at again: `pace.gate`); only when it is stopped right there, for longer than `MARGIN`, and the
file was changed at the source and copied by somebody else meanwhile, an old version stands there until the next run. No
lease can close it. An object store can, for objects that were not there when they were listed: it refuses to create
what exists (`stores.wrap.UnlessThere`; If-None-Match). For objects that are replaced the window stays, and so it does
for files that are copied in ranges, and at servers that ignore that header.

And where the queue itself goes back in time a lease may be had twice, until the next heartbeat of whoever had it first.

Which lease counts is a matter of the thread: each unit is done in one, and `transfer.hands` carries the binding along.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.clock import asleep
from dunlin.queue.base import Lease

MARGIN = 1.0
"""Seconds that a lease must be good for before something becomes final."""

ASLEEP = 0.5
"""Seconds by which the two clocks may move apart."""

_held: ContextVar[Held | None] = ContextVar("dunlin_held", default=None)


class Held:
    """A lease that is held, as it stands now.

    Attributes:
        lease: the last that is known of it. lost: it is somebody else's, or nobody's.
        begun: its unit is being done. limit: when that has taken too long, on the monotonic clock; its heart is not
            beaten any more then.
        doing: tells it from other leases of the same unit, whoever had them (`packing.new_doing`).
        told: how much was told of it.
    """

    __slots__ = ("_slept", "begun", "doing", "lease", "limit", "lost", "told")

    def __init__(self, lease: Lease, doing: bytes = b"") -> None:
        self.doing = doing
        self.lost = False
        self.begun = False
        self.told = 0
        self.limit = float("inf")
        self.extend(lease)

    def extend(self, lease: Lease) -> None:
        """It was had, or extended, just now."""
        self.lease = lease
        self._slept = asleep()

    def left(self, now: float) -> float:
        """Seconds that it is good for; not above 0 when it is lost."""
        if self.lost or asleep() - self._slept > ASLEEP:
            return 0.0
        return self.lease.until - now


@contextmanager
def bound(held: Held) -> Iterator[None]:
    """What is done in this thread is done under that lease."""
    before = _held.set(held)
    try:
        yield
    finally:
        _held.reset(before)


def current() -> Held | None:
    """The lease under which this thread does what it does."""
    return _held.get()


def still_held() -> None:
    """Raises INTERRUPTED where the thread's lease is known to be lost: what it does is for nothing."""
    held = _held.get()
    if held is not None and held.lost:
        raise DunlinError("go on", held.lease.label, ErrorKind.INTERRUPTED, "its lease ran out")


def guard(margin: float = MARGIN, clock: Callable[[], float] = time.monotonic) -> Callable[[], None]:
    """What is called before anything becomes final: raises INTERRUPTED unless the thread's lease is good."""

    def check() -> None:
        held = _held.get()
        if held is not None and held.left(clock()) < margin:
            held.lost = True
            raise DunlinError("finish", held.lease.label, ErrorKind.INTERRUPTED, "its lease ran out")

    return check
