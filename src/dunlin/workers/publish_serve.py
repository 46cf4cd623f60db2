"""A worker for the queue `publish`: takes units, does them, tells what became of them, until it is stopped.

Theory. Three things go on side by side. The caller's thread leases as many units as there are free slots. A pool of
threads does them. And one thread beats the heart: it extends all leases at once, says that the worker is alive, and
sweeps up the leases of those that are not. A lease that is no longer ours, or whose time is over on our own monotonic
clock less a margin, makes the unit's `may` say no: it stops before its next step that cannot be taken back, and
nothing of it is acknowledged.

A unit may take as long as its files may take together, `LONGEST` at most; after that its heart is not beaten for any
more, and another worker gets it.

Stopping: no more is leased, what is under way has `grace` seconds, the rest is given back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from dunlin import __version__
from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.bucket import Bucket
from dunlin.pace.retry import Retry
from dunlin.pace.stop import Stop
from dunlin.queue.base import Lease, Queue, WorkerInfo
from dunlin.report import Event, Level, Report
from dunlin.stores.base import Store
from dunlin.workers.publishing import Notes, Tools, error_line, publish_unit, unpack_unit

LONGEST = 86_400.0
"""Seconds that a unit may take, however many files it has."""
LATER = Retry(base=5.0, cap=300.0)
"""How long a unit waits that failed as a whole."""
COMPLAIN = 60.0
"""Seconds between complaints about a queue that is away."""


class ServeOptions(NamedTuple):
    """How a worker works. Times in seconds.

    Attributes:
        worker: its name; unique among those alive.
        host: the machine's name. pid: the process.
        queues: patterns of names of queues.
        slots: units at a time. parallel: files of each in flight, where the destination is far away.
        lease: how long a lease lasts. heartbeat: how often it is extended.
        sweep: how often leases that ran out are looked for.
        margin: before its end a lease counts as lost.
        grace: what is under way has, once the worker is to stop.
        labels: hosts whose paths it can reach.
    """

    worker: str
    host: str = ""
    pid: int = 0
    queues: tuple[str, ...] = ("publish",)
    slots: int = 2
    parallel: int = 8
    lease: float = 6.0
    heartbeat: float = 2.0
    sweep: float = 1.0
    margin: float = 1.0
    grace: float = 30.0
    labels: tuple[str, ...] = ()


@dataclass(slots=True, eq=False, repr=False)
class _Held:
    """A lease and the unit under it. `limit`: when the unit has taken too long."""

    lease: Lease
    limit: float
    lost: bool = False


@dataclass(slots=True, eq=False, repr=False)
class _Hands:
    """What the three sides share."""

    held: dict[str, _Held] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    changed: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    complained: float = float("-inf")

    def leases(self) -> list[_Held]:
        with self.lock:
            return list(self.held.values())


def serve_publish(
    queue: Queue,
    open_place: Callable[[str], Store],
    options: ServeOptions,
    stop: Stop,
    report: Report,
    notes: Notes | None = None,
    bucket: Bucket | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Do units until `stop` is requested; see the module docstring.

    Args:
        open_place: opens the destination of a unit; each place is opened once.
        notes: the existence cache, where this process reaches it.
        bucket: the bandwidth limit of this process.

    Raises nothing for a queue that is away: it is told once a minute and tried again.
    """
    hands = _Hands()
    stores = _Stores(open_place)
    limit = bucket or Bucket.create()
    stopped_at: list[float] = []
    stop.tell(lambda: stopped_at.append(clock()))

    def do(held: _Held) -> None:
        try:
            _do(queue, held, stores, options, report, notes, limit, clock, stopped_at)
        finally:
            with hands.lock:
                hands.held.pop(held.lease.id, None)
            hands.changed.set()

    beat = (queue, hands, options, report, clock)
    heart = threading.Thread(target=_beat, args=beat, name="publish-heart", daemon=True)
    heart.start()
    pool = ThreadPoolExecutor(options.slots, "publish")
    try:
        while not stop.requested:
            free = options.slots - len(hands.leases())
            if not free:
                hands.changed.wait(0.2)
                hands.changed.clear()
                continue
            try:
                leases = queue.lease(options.worker, free, options.lease, 1.0, options.queues, options.labels)
            except DunlinError as error:
                _complain(hands, report, error, clock)
                hands.changed.wait(1.0)
                continue
            if stop.reason:
                _give_back(queue, leases)
                break
            for lease in leases:
                held = _Held(lease, clock() + _limit(lease))
                with hands.lock:
                    hands.held[lease.id] = held
                pool.submit(do, held)
    finally:
        pool.shutdown(wait=True)
        hands.ended.set()
        heart.join()
        stores.close()
        if bucket is None:
            limit.close()


def _give_back(queue: Queue, leases: Sequence[Lease]) -> None:
    try:
        queue.release(leases)
    except DunlinError:
        return  # they run out


def _limit(lease: Lease) -> float:
    try:
        unit = unpack_unit(lease.payload)
    except DunlinError:
        return LONGEST
    return min(LONGEST, unit.seconds * max(1, len(unit.files)))


def _do(
    queue: Queue,
    held: _Held,
    stores: _Stores,
    options: ServeOptions,
    report: Report,
    notes: Notes | None,
    bucket: Bucket,
    clock: Callable[[], float],
    stopped_at: list[float],
) -> None:
    lease = held.lease

    def expired() -> bool:
        return bool(stopped_at) and clock() > stopped_at[0] + options.grace

    def may() -> bool:
        return not held.lost and clock() < held.lease.until - options.margin and not expired()

    tools = Tools(
        stores.open,
        tell=lambda body: queue.tell(lease, body),
        may=may,
        attempt=lease.attempt,
        notes=notes,
        bucket=bucket,
        report=report,
        parallel=options.parallel,
    )
    try:
        try:
            body = publish_unit(lease.payload, tools)
        except DunlinError as error:
            if error.kind is ErrorKind.INTERRUPTED:
                if not held.lost:
                    queue.release([lease])
                return
            queue.nack(lease, error_line(error), LATER.wait(lease.attempt, 0.5))
        else:
            queue.ack([(lease, body)])
    except DunlinError as error:
        # The lease runs out, and somebody does the unit again.
        message = f"the result of {lease.label or lease.key} could not be told: {error}"
        report.event(Event(Level.WARN, "publish.untold", message, {"task": lease.key, "error": str(error)}))
    except Exception as error:
        message = f"{lease.label or lease.key}: {type(error).__name__}: {error}"
        report.event(Event(Level.ERROR, "publish.fault", message, {"task": lease.key}))
        _nack(queue, lease, f"a fault of dunlin itself: {type(error).__name__}")


def _nack(queue: Queue, lease: Lease, error: str) -> None:
    try:
        queue.nack(lease, error, LATER.wait(lease.attempt, 0.5))
    except DunlinError:
        return  # the lease runs out


def _beat(queue: Queue, hands: _Hands, options: ServeOptions, report: Report, clock: Callable[[], float]) -> None:
    """Extend the leases, say hello, sweep; until the end."""
    pause = min(options.heartbeat, options.sweep)
    beaten = swept = float("-inf")
    while not hands.ended.wait(pause):
        try:
            if clock() - beaten >= options.heartbeat:
                beaten = clock()
                _extend(queue, hands.leases(), options, clock)
                _hello(queue, options, len(hands.leases()))
            if clock() - swept >= options.sweep:
                swept = clock()
                queue.sweep()
        except DunlinError as error:
            _complain(hands, report, error, clock)
    try:
        _hello(queue, options, 0, leaving=True)
    except DunlinError:
        return  # it is forgotten in a moment by itself


def _extend(queue: Queue, all_held: Iterable[_Held], options: ServeOptions, clock: Callable[[], float]) -> None:
    held = [one for one in all_held if not one.lost and clock() < one.limit]
    if not held:
        return
    for one, lease in zip(held, queue.heartbeat([one.lease for one in held], options.lease), strict=True):
        if lease is None:
            one.lost = True
        else:
            one.lease = lease


def _hello(queue: Queue, options: ServeOptions, busy: int, leaving: bool = False) -> None:
    info = WorkerInfo(
        options.worker,
        options.host,
        options.pid,
        options.slots,
        busy,
        options.queues,
        options.labels,
        __version__,
        0.0,
        0.0,
    )
    queue.hello(info, 0.0 if leaving else 3 * options.heartbeat + 1)


def _complain(hands: _Hands, report: Report, error: DunlinError, clock: Callable[[], float]) -> None:
    if clock() - hands.complained >= COMPLAIN:
        hands.complained = clock()
        report.event(Event(Level.WARN, "queue.away", f"{error}; trying again", {"error": str(error)}))


class _Stores:
    """Destinations, each opened when it is first wanted."""

    def __init__(self, open_place: Callable[[str], Store]) -> None:
        self._open = open_place
        self._stores: dict[str, Store] = {}
        self._lock = threading.Lock()

    def open(self, place: str) -> Store:
        with self._lock:
            if place not in self._stores:
                self._stores[place] = self._open(place)
            return self._stores[place]

    def close(self) -> None:
        with self._lock:
            for store in self._stores.values():
                store.close()
            self._stores.clear()
