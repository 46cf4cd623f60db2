"""Tasks of other queues in a worker's loop: what the service publishes, beside the units of runs.

Theory. A task of a run that cannot be done is news for the run's coordinator, which decides. One of another queue is
the queue's to deliver again, so that is what becomes of everything that is wrong with it as a whole: it waits for some
seconds, longer each time, and another worker may have more luck; when its deliveries are used up it is dead. Only a
task that may not go on (its lease is lost, or the worker stops) is given back, and that delivery does not count.

A task may take as long as its handler says. After that its heart is not beaten any more, so that somebody else gets it
even where the thread that does it hangs in a system call for good; such a thread is no free slot.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from dunlin.errors import DunlinError, ErrorKind, printable
from dunlin.pace.retry import Retry
from dunlin.queue.base import Lease, Queue
from dunlin.report import Event, Level, Report
from dunlin.workers.fence import Held, bound

LATER = Retry(base=5.0, cap=300.0)
"""How long a task waits that failed."""


class Handler(Protocol):
    """Does the tasks of another queue."""

    def do(self, lease: Lease, tell: Callable[[bytes], bool], may: Callable[[], bool]) -> bytes:
        """The result of a task.

        Args:
            tell: sends a part of it; False: the lease is lost. may: whether the lease has its margin left.

        Raises INTERRUPTED when it may not go on, anything else to be delivered again, or to be dead.
        """
        ...

    def limit(self, lease: Lease) -> float:
        """Seconds that it may take."""
        ...


def handle(
    queue: Queue,
    held: Held,
    handler: Handler,
    margin: float,
    report: Report,
    clock: Callable[[], float] = time.monotonic,
) -> bytes | None:
    """Do the task of a lease; its result, or None, and then the queue knows what became of it. Raises nothing.

    `margin`: seconds before its end from which the lease counts as lost.
    """

    def tell(part: bytes) -> bool:
        return held.left(clock()) > 0 and queue.tell(held.lease, part)

    def may() -> bool:
        return held.left(clock()) >= margin

    try:
        held.limit = clock() + handler.limit(held.lease)
        with bound(held):
            return handler.do(held.lease, tell, may)
    except Exception as error:
        _failed(queue, held.lease, error, clock() >= held.limit, report)
        return None


def _failed(queue: Queue, lease: Lease, error: Exception, late: bool, report: Report) -> None:
    """Give it back, or have it delivered again, as far as it is still ours."""
    shown = lease.label or lease.key
    if isinstance(error, DunlinError):
        kind, why, after = error.kind, printable(str(error))[:500], error.retry_after or 0.0
    else:
        kind, why, after = ErrorKind.INTERNAL, f"a fault of dunlin itself: {type(error).__name__}", 0.0
        message = f"{shown}: {type(error).__name__}: {error}"
        report.event(Event(Level.ERROR, "worker.fault", message, {"task": lease.key}))
    try:
        if kind is ErrorKind.INTERRUPTED and not late:
            queue.release([lease])
        else:
            wait = max(LATER.wait(lease.attempt, 0.5), after)
            queue.nack(lease, "it took longer than it may take" if late else why, wait)
    except DunlinError as missed:
        # The lease runs out, and somebody does it again.
        message = f"what became of {shown} could not be told: {missed}"
        report.event(Event(Level.WARN, "worker.untold", message, {"task": lease.key}))
