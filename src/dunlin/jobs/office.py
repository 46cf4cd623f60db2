"""One run per destination over all machines: an office in a queue, which a run holds for as long as it goes on.

On one machine a lock says who may write to a destination (`workers.lock`). Runs of several machines have in common only
the queue: there an office is named by the destination, and is held for `LASTS` seconds by the clock of the place where
the queue lies. Where one machine alone has the destination, as it has its own disks, its label is part of that name:
the ``/backup`` of another machine is another place. A spread run keeps its office by itself (`workers.remote`); a run
that a service does alone is given an `Office`, which the service keeps for it.

Whoever did not manage to keep an office for `SURE` seconds by its own monotonic clock, because it was asleep or the
queue is away, must take it that another run has begun, and stop. What that cannot prevent: files that were begun are
ended in the moment between waking up and looking at the clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from dunlin.errors import DunlinError, ErrorKind
from dunlin.hashing import blake2b
from dunlin.pace.stop import Stop
from dunlin.queue.base import Queue
from dunlin.report import Event, Level, Report
from dunlin.workers.remote import ORDERS_LAST as LASTS

SURE = LASTS - 5.0
"""Seconds for which whoever kept an office may take it that it is still its own; the rest is for coming to a stop."""

AGAIN = 0.2
"""Seconds between two attempts."""


def name_of(target: str, home: str = "") -> str:
    """The office of a destination. `target`: its canonical URL; `home`: the label of the machine that alone has it."""
    place = f"{target}\0{home}" if home else target
    return "destination/" + blake2b(place.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def take(
    queue: Queue, target: str, shown: str, token: str, dead: frozenset[str], patience: float,
    sleep: Callable[[float], object] = time.sleep, clock: Callable[[], float] = time.monotonic, home: str = "",
) -> str:  # fmt: skip
    """Take the office of a destination for a run, waiting up to `patience` seconds; its name.

    Args:
        target: canonical URL. shown: the same for people. token: of the run.
        dead: tokens of runs that are known to be over. home: see `name_of`.

    Raises LOCKED, and what the queue raises.
    """
    office = name_of(target, home)
    if queue.hold(office, token, LASTS):
        return office
    for each in dead - {token}:
        queue.leave(office, each)  # its run was killed, and cannot
    until = clock() + patience
    while not queue.hold(office, token, LASTS):
        if clock() >= until:
            reason = "another run writes there, from another machine, or one was killed there just now"
            raise DunlinError("sync to", shown, ErrorKind.LOCKED, reason, "wait, or stop that run")
        sleep(AGAIN)
    return office


class Office:
    """The office of the destination of one run; safe from several threads.

    Args:
        queue: where it stands; stays open. clock: monotonic seconds.
    """

    def __init__(
        self, queue: Queue, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self._queue, self._clock, self._sleep = queue, clock, sleep
        self._lock = threading.Lock()
        self._name = self._token = ""
        self._until = 0.0

    def take(
        self, target: str, shown: str, token: str, dead: frozenset[str], patience: float, stop: Stop, report: Report,
        home: str = "",
    ) -> None:  # fmt: skip
        """See the function `take`; a queue that is away is waited for. Raises LOCKED, INTERRUPTED."""

        def nap(seconds: float) -> None:
            if stop.requested:
                raise DunlinError("start", "", ErrorKind.INTERRUPTED, stop.reason)
            self._sleep(seconds)

        away = False
        while True:
            begun = self._clock()
            try:
                name = take(self._queue, target, shown, token, dead, patience, nap, self._clock, home)
                break
            except DunlinError as error:
                if not error.retryable:
                    raise
                if not away:
                    message = f"the queue is away, the run waits: {error.reason or error}"
                    report.event(Event(Level.WARN, "queue.away", message))
                away = True
            nap(AGAIN)
        with self._lock:
            self._name, self._token, self._until = name, token, begun + SURE

    @property
    def sure(self) -> bool:
        """Whether nobody else can have it yet, as far as this process's clock tells. Asks nobody."""
        return not self._name or self._clock() < self._until

    def keep(self) -> bool:
        """Go on holding it; False when somebody else has it. A queue that is away says nothing: see `sure`."""
        with self._lock:
            if not self._name:
                return True
            begun = self._clock()
            try:
                held = self._queue.hold(self._name, self._token, LASTS)
            except DunlinError:
                return True
            if held:
                self._until = begun + SURE
            return held

    def leave(self) -> None:
        """Give it up; safe when it was never taken."""
        with self._lock, suppress(DunlinError):
            if self._name:
                self._queue.leave(self._name, self._token)
            self._name = ""
