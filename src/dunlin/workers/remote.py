"""The workers of a run, wherever they are: units go out through a queue, and news of them comes back through it.

Theory. To the coordinator this is a pool like the local one (`doers.Doers`): it takes units and tells what became of
them. What is different is that nobody here starts those who work, that they may be gone for any reason, and that the
queue may be, too.

* *One delivery per unit.* A unit is put with no further deliveries, so a lease that runs out comes back as LOST, and
  the coordinator has the directory done again as a unit of its own, with another number: it looks at the destination
  and for what the dead worker left there. So whatever a zombie still says is of a unit that nobody waits for.
* *Nothing is confirmed before it is on record.* `settled` confirms news once the coordinator's transaction is through.
* *A queue may forget*, or go back in time: Redis may have lost its last second, an older copy may have been restored,
  somebody may have emptied it. So every few seconds the units in flight are asked for; those that the queue does not
  know are lost, like those of a dead worker. Then all news that is not confirmed is read once more, should its numbers
  have gone back, too, and the run is made known again where the board has lost it. What a worker tells of a unit is
  counted by it: what comes a second time is dropped, and a unit of which something is missing, or of which two doings
  tell, is taken back and done again. So an outcome is taken in whole or the directory is looked at anew. A *doing* is
  known by bytes of chance and not by attempt and worker: after the queue went back the same worker may be given the
  same unit as the same attempt, and finds there what its first doing has copied meanwhile.
* *How many go ahead.* Enough for all slots of the workers that are alive, and as many more as they do in
  `AHEAD_SECONDS`, for a batch takes a round trip to fetch; not all there are, for a unit that was handed out can be
  neither split nor taken back.
* *Orders* (limit, pause, stop) stand on the queue's board, where every worker of the run looks once a second. They run
  out: without a coordinator nobody goes on for long.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.bucket import Bucket
from dunlin.pace.window import WindowLimits
from dunlin.queue.base import PAYLOAD, Kind, News, NewTask, Queue, Status, WorkerInfo
from dunlin.report import Event, Level, Report
from dunlin.state.files import KnownFile
from dunlin.workers import packing
from dunlin.workers.doers import Arrival
from dunlin.workers.packing import Joiner, Orders

PREFIX = "run-"
"""The queue of a run is this and the run's token."""

AHEAD_SECONDS = 1.0
MOST_AHEAD = 32
"""Work that waits in the queue beyond what the slots hold: so much, and so many units per slot at most."""

IDLE_UNITS = 64
"""Units that wait while no worker is known."""

PAGE = 250
"""Most files of a unit that only transfers."""

SCANNED = 100
"""Most files that the unit copies that lists their directory: the others are shared out."""

PARTS = 16
"""Into so many units a directory's files are split while no others wait."""

BATCH = 1_000
LOOK = 1.0
"""Seconds between two looks at workers and orders."""

ORDERS_LAST = 30.0
"""Seconds after which workers hold on that have not heard of their coordinator."""

RECONCILE = 5.0
"""Seconds between two looks at what the queue has lost; younger units are not asked for."""

CONFIRM = 0.2
PATIENCE = 3.0
"""Seconds without a worker until it is said."""

GRACE = 10.0
"""Seconds for units under way to end, once the run is to stop."""

NOBODY = "0"
"""Stands for the token of a worker that is not known: no temporary file has it."""


def queue_of(token: str) -> str:
    """The name of a run's queue."""
    return PREFIX + token


def setup_name(token: str) -> str:
    """Where a run's setup stands on the board."""
    return f"run/{token}/setup"


def orders_name(token: str) -> str:
    """Where its orders stand."""
    return f"run/{token}/orders"


def refusal_name(token: str, worker: str) -> str:
    """Where a worker says why it takes no part."""
    return f"run/{token}/refused/{worker}"


def mark_of(worker: str) -> int:
    """The number of a worker, which is the end of its name: four hexadecimal digits, from 0x1000."""
    try:
        return int(worker[-4:], 16)
    except ValueError:
        return 0


class Crew(Protocol):
    """Workers that the coordinator brings along."""

    @property
    def pids(self) -> list[int]: ...
    def start(self) -> None: ...
    def look(self) -> None: ...
    def close(self) -> None: ...


class Speech(NamedTuple):
    """How what a run and its workers tell each other is packed; those of a sync, where nobody says otherwise.

    Attributes:
        setup: of the run. unit: as `Doers.submit` takes it, announced or not, with rows to go along.
        outcome: from the body of what became of a unit to that of an `Arrival`. Raises INTERNAL.
    """

    setup: Callable[[Any], bytes] = packing.pack_setup
    unit: Callable[[tuple[Any, ...], bool, list[KnownFile]], bytes] = packing.pack_unit
    outcome: Callable[[bytes], Any] = lambda body: packing.unpack_outcome(body).pack()


class Sending(NamedTuple):
    """How units of a run go out.

    Attributes:
        host: the label that a worker needs; "": any will do.
        how_to: a line that tells how a worker is started.
        rows: what the state remembers of a directory, to go with its unit; None: nothing goes.
        owner: holds the run's office. office: its name.
        priority, groups: of its units (`NewTask`).
        renew: looks at the roots anew, for workers to know them by. leave: takes back what was left there for that.
        speech: see there.
    """

    host: str = ""
    how_to: str = ""
    rows: Callable[[str], list[KnownFile]] | None = None
    office: str = ""
    priority: int = 0
    groups: tuple[str, ...] = ()
    renew: Callable[[], Any] | None = None
    leave: Callable[[], None] | None = None
    speech: Speech = Speech()


class _Sent:
    """A unit that went out. `teller`: the doing of it that is listened to; `heard`: how much of that has come."""

    __slots__ = ("at", "begun", "heard", "teller")

    def __init__(self, at: float) -> None:
        self.at = at
        self.begun = False
        self.heard = 0
        self.teller: bytes | None = None


class RemotePool:
    """See `doers.Doers`.

    Args:
        queue: where the units go; closed with this.
        token: of the run.
        setup: put on the board for the workers, as `sending.speech` packs it: a `RunSetup` where that is of a sync.
        bucket: limit, pause and stop as the coordinator wants them; the workers have their own.
        sending: see there. crew: workers that are started with the run; None: none are.
        report: gets warnings.
    """

    def __init__(
        self,
        queue: Queue,
        token: str,
        setup: Any,
        bucket: Bucket,
        sending: Sending,
        crew: Crew | None,
        report: Report,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.threads = 1
        self.batch = SCANNED
        self.page = PAGE
        self.parts = PARTS
        self._queue = queue
        self._token = token
        self._name = queue_of(token)
        self._setup = sending.speech.setup(setup)
        self._bucket = bucket
        self._sending = sending
        self._crew = crew
        self._report = report
        self._clock = clock
        self._sleep = sleep
        self._outbox: list[tuple[int, NewTask]] = []
        self._sent: dict[int, _Sent] = {}
        self._joiner = Joiner()
        self._read = self._confirmed = 0
        self._confirm_at = self._look_at = self._reconcile_at = self._orders_at = self._renew_at = 0.0
        self._orders = Orders()
        self._cancelled: float | None = None
        self._slots = 0
        self._unit_seconds = AHEAD_SECONDS
        self._alone_since = clock()
        self._told: set[str] = set()
        self._began = self._failed = self._again = False

    # ---- what the coordinator asks ----

    @property
    def started(self) -> bool:
        """Always: the coordinator itself does nothing but the orders of `jobs`."""
        return True

    @property
    def size(self) -> int:
        """One: limits of listings are each worker's own."""
        return 1

    @property
    def room(self) -> int:
        """How many more units go out now."""
        if not self._slots:
            return IDLE_UNITS - len(self._sent)
        ahead = min(float(MOST_AHEAD), max(1.0, AHEAD_SECONDS / max(self._unit_seconds, 1e-3)))
        return int(self._slots * (1 + ahead)) - len(self._sent)

    @property
    def busy(self) -> bool:
        """Whether units are out."""
        return bool(self._sent)

    @property
    def wanted(self) -> int:
        """Slots of all workers."""
        return max(1, self._slots)

    @property
    def in_flight(self) -> int:
        """Slots of all workers."""
        return self._slots

    @property
    def pids(self) -> list[int]:
        """The workers that came along."""
        return self._crew.pids if self._crew is not None else []

    @property
    def numbers(self) -> list[int]:
        """None: workers are not asked how their windows stand."""
        return []

    def start(self) -> None:
        """Make the run known, and start the workers that come along. Raises what the queue raises."""
        if self._began:
            return
        self._began = True
        self._queue.write(setup_name(self._token), self._setup)
        self._write_orders()
        if self._crew is not None:
            self._crew.start()

    def submit(self, unit: int, packed: tuple[Any, ...], announce: bool = False) -> None:
        """Take a unit; it goes out with the next `poll`."""
        rows = self._sending.rows
        # The state's rows tell times and versions of what is listed or looked at in the directory.
        known = rows(str(packed[1])) if rows is not None and packed[0] == "Scan" else []
        payload = self._sending.speech.unit(packed, announce, known)
        label = f"{packed[0].lower()} {packed[1] or '.'}".encode("utf-8", "replace").decode()[:200]
        how = self._sending
        task = NewTask(
            self._name, str(unit), payload, how.priority, retries=0, groups=how.groups, host=how.host, label=label
        )  # fmt: skip
        self._outbox.append((unit, task))
        self._sent[unit] = _Sent(self._clock())

    def learn(self, seconds: float) -> None:
        """Take note of how long a unit took: small units go further ahead."""
        self._unit_seconds += (seconds - self._unit_seconds) / 16

    def grow(self, threads: int) -> None:
        """Nothing: how many slots it has each worker was told."""

    def limit(self, workers: int, share: float = 1.0, hold: bool = False) -> None:
        """Nothing: what this machine bears is no matter of others."""

    def window(self, limits: WindowLimits) -> None:
        """Nothing: a worker lists as many directories as it has slots."""

    def tell(self, *message: object) -> None:
        """("cancel",): units end at the next file, and those that were not begun come back."""
        if message[0] == "cancel" and self._cancelled is None:
            self._cancelled = self._clock()
            with suppress(DunlinError):
                self._write_orders()

    def poll(self, timeout: float) -> list[Arrival]:
        """What has come. Raises what the queue raises, except that it is away for now."""
        try:
            self.start()
            self._flush()
            arrivals = self._look()
            after = 0 if self._again else self._read
            news = self._queue.collect(self._name, BATCH, 0.0 if arrivals or self._again else timeout, after)
            self._again = False
        except DunlinError as error:
            if self._failed:
                return self._lost(list(self._sent))  # the run is over, and asks only for what is left of it
            if error.kind not in (ErrorKind.NETWORK, ErrorKind.TIMEOUT, ErrorKind.BUSY):
                self._failed = True
                raise
            self._say("queue.away", f"the queue is away, its units wait: {error.reason or error}")
            if self._cancelled is not None and self._clock() > self._cancelled + GRACE:
                return self._lost(list(self._sent))
            self._sleep(timeout)
            return []
        self._told.discard("queue.away")
        read = self._read
        for each in news:
            self._read = max(self._read, each.number)
            if each.number > read or each.body[:1] != packing.PROGRESS:
                arrivals += self._arrived(each)
        return arrivals

    def settled(self) -> None:
        """All that was collected is on record: the queue may forget it."""
        now = self._clock()
        if self._read <= self._confirmed or (now < self._confirm_at and self._read - self._confirmed < BATCH):
            return
        with suppress(DunlinError):  # confirmed with what comes next
            self._queue.confirm(self._name, self._read)
            self._confirmed, self._confirm_at = self._read, now + CONFIRM

    def close(self) -> None:
        """End the workers that came along, and forget the run."""
        if self._began and self._crew is not None:
            self._crew.close()
        if self._sending.leave is not None:
            with suppress(OSError):
                self._sending.leave()
        with suppress(DunlinError):
            if self._began:
                forget(self._queue, self._token)
            if self._sending.office:
                self._queue.leave(self._sending.office, self._token)
        self._queue.close()

    # ---- news ----

    def _arrived(self, news: News) -> list[Arrival]:
        unit = int(news.key)
        sent = self._sent.get(unit)
        if sent is None:
            return []  # of a unit that was lost meanwhile, or done
        if news.kind is Kind.LOST:
            return self._lost([unit], news.worker or news.error)
        if news.kind is Kind.DEAD:
            del self._sent[unit]
            self._joiner.forget(unit)
            return [Arrival("fault", unit, (news.error, ""))]
        if news.body[:1] == packing.PROGRESS:
            return _progress(mark_of(news.worker), news.body)
        teller, place, told = packing.unplaced(news.body)
        if place > sent.heard or (sent.teller or teller) != teller:
            return self._missed(unit)
        if place < sent.heard:
            return []  # read before, or told twice because its answer got lost
        sent.teller, sent.heard = teller, place + 1
        body = self._joiner.put(unit, told)
        if body is None:
            return []
        if body[:1] == packing.BEGUN:
            sent.begun = True
            return []
        over = news.kind is Kind.DONE
        try:
            if body[:1] == packing.FAULT:
                arrival = Arrival("fault", unit, tuple(packing.unpack_texts(body)))
            else:
                arrival = Arrival("done" if over else "part", unit, (self._sending.speech.outcome(body),))
        except DunlinError as error:  # the failure of one unit; what is still said of it is dropped
            arrival, over = Arrival("fault", unit, (f"{news.worker} told: {error.reason}", "")), True
        if over:
            del self._sent[unit]
            self._joiner.forget(unit)
        return [arrival]

    def _missed(self, unit: int) -> list[Arrival]:
        """Something that was told of a unit is gone: whoever has it is to stop, and it is done again."""
        with suppress(DunlinError):  # else what it says is of a unit that nobody waits for
            self._queue.cancel(self._name, [str(unit)])
        message = "the queue has lost what a worker told: its unit is done again"
        self._report.event(Event(Level.WARN, "queue.lost", message, {"units": 1}))
        return self._lost([unit])

    def _lost(self, units: list[int], worker: str = "") -> list[Arrival]:
        """Units that no worker will end, with the token of the one that had them."""
        mark = mark_of(worker)
        token = f"{self._token}{mark:x}" if mark else NOBODY
        arrivals = [Arrival("gone", mark, ())] if mark else []
        for unit in units:
            sent = self._sent.pop(unit)
            self._joiner.forget(unit)
            arrivals.append(Arrival("lost", unit, (token, sent.begun)))
        gone = set(units)
        self._outbox = [each for each in self._outbox if each[0] not in gone]
        return arrivals

    # ---- the queue ----

    def _flush(self) -> None:
        while self._outbox:
            batch = self._outbox[:BATCH]
            size = 0
            for count, (_, task) in enumerate(batch, 1):
                size += len(task.payload)
                if size > PAYLOAD:
                    batch = batch[:count]
                    break
            self._queue.put([task for _, task in batch])
            now = self._clock()
            for unit, _ in batch:
                self._sent[unit].at = now
            del self._outbox[: len(batch)]

    def _look(self) -> list[Arrival]:
        """Now and then: orders out, who is alive, what the queue has lost."""
        now = self._clock()
        bucket = self._bucket
        wanted = Orders(bucket.rate, bucket.paused, bucket.stopped or self._cancelled is not None)
        if wanted != self._orders or now >= self._orders_at:
            self._write_orders()
        if now < self._look_at:
            return []
        self._look_at = now + LOOK
        if self._crew is not None:
            self._crew.look()
        self._queue.sweep()
        self._hold()
        self._count_workers(now)
        if self._cancelled is not None:
            return self._take_back(now)
        if now < self._reconcile_at or not self._sent:
            return []
        self._reconcile_at = now + RECONCILE
        self._again = True
        return self._reconcile(now)

    def _write_orders(self) -> None:
        bucket = self._bucket
        orders = Orders(bucket.rate, bucket.paused, bucket.stopped or self._cancelled is not None)
        self._queue.write(orders_name(self._token), packing.pack_orders(orders), ORDERS_LAST)
        self._orders, self._orders_at = orders, self._clock() + ORDERS_LAST / 4

    def _hold(self) -> None:
        office = self._sending.office
        if office and not self._queue.hold(office, self._token, ORDERS_LAST):
            reason = "another run writes to the same destination, from another machine"
            raise DunlinError("go on", "", ErrorKind.LOCKED, reason)

    def _reconcile(self, now: float) -> list[Arrival]:
        """What the queue should know and does not is lost."""
        waiting = {unit for unit, _ in self._outbox}
        old = {str(n): n for n, sent in self._sent.items() if n not in waiting and now - sent.at > RECONCILE}
        missing = [old[key] for key in old.keys() - self._queue.known(self._name, old)] if old else []
        if self._queue.read(setup_name(self._token)) is None:  # units that are put then are known, and done by nobody
            self._read = self._confirmed = 0
            self._queue.write(setup_name(self._token), self._setup)
            self._write_orders()
        if not missing:
            return []
        message = f"the queue has lost {len(missing)} units: they are done again"
        self._report.event(Event(Level.WARN, "queue.lost", message, {"units": len(missing)}))
        return self._lost(sorted(missing))

    def _take_back(self, now: float) -> list[Arrival]:
        """The run is to stop: what waits comes back at once, what is under way after a while."""
        assert self._cancelled is not None
        if now > self._cancelled + GRACE:
            self._queue.cancel(self._name)
            return self._lost(list(self._sent))
        waiting = {info.key for info in self._queue.tasks(self._name, Status.WAITING, count=10_000)}
        units = [unit for unit in self._sent if str(unit) in waiting]
        if units:
            self._queue.cancel(self._name, [str(unit) for unit in units])
        unsent = [unit for unit, _ in self._outbox]
        return self._lost([*units, *(unit for unit in unsent if unit not in units)])

    def _count_workers(self, now: float) -> None:
        host = self._sending.host
        alive = [each for each in self._queue.workers() if not host or host in each.labels]
        able = [each for each in alive if not self._refuses(each)]
        self._slots = self.threads = sum(each.slots for each in able)
        self._report.gauge("workers", len(able))
        if len(able) < len(alive):
            self._renew(now)
        if able:
            self._alone_since = now
            self._told.discard("workers.none")
        elif now - self._alone_since > PATIENCE and self._cancelled is None:
            self._say("workers.none", f"no worker takes part; {self._sending.how_to}")

    def _renew(self, now: float) -> None:
        """Some take no part, and ask again later: what they know the roots by may have changed meanwhile."""
        if self._sending.renew is None or now < self._renew_at:
            return
        self._renew_at = now + RECONCILE
        with suppress(OSError):  # a root that is away; units tell
            setup = self._sending.speech.setup(self._sending.renew())
            if setup != self._setup:
                self._setup = setup
                self._queue.write(setup_name(self._token), setup)

    def _refuses(self, worker: WorkerInfo) -> bool:
        said = self._queue.read(refusal_name(self._token, worker.worker))
        if said is None:
            return False
        reason = said.decode("utf-8", "replace")
        self._say(f"worker.refused/{reason}", f"worker {worker.worker} takes no part: {reason}", "worker.refused")
        return True

    def _say(self, key: str, message: str, name: str = "") -> None:
        """A warning, once until it is over."""
        if key not in self._told:
            self._told.add(key)
            self._report.event(Event(Level.WARN, name or key, message))


def forget(queue: Queue, token: str) -> None:
    """Remove everything of a run from the queue. Raises what the queue raises."""
    queue.drop(queue_of(token))
    queue.write(setup_name(token), None)
    queue.write(orders_name(token), None)


def _progress(worker: int, body: bytes) -> list[Arrival]:
    return [
        Arrival("end", worker, (thread,)) if done < 0 else Arrival("task", worker, (thread, path, total, done))
        for thread, path, total, done in packing.unpack_progress(body)
    ]
