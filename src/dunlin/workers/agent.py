"""The loop of a worker process: it takes units from a queue, does them, and tells what became of them.

Theory. A worker holds nothing that is not elsewhere too: units are leased, results are news in the queue, and how a
run is set up stands on its board. So it may die at any instant, and any number of them may come and go.

    main thread   leases units, a few more than there are slots when units are small
    slots         do them, one at a time each
    acks          what is done is acknowledged together with whatever else was done meanwhile
    beat          extends all leases at once, sweeps up those of dead workers, looks at the orders of runs

A lease lasts `Pace.lease` seconds and is extended every `Pace.beat`; what a killed worker had comes back when its
leases have run out and somebody sweeps, every `Pace.sweep`: after seven seconds or so. Shorter ones find the dead
sooner, and take units from workers whose network is only slow.

A process is one worker, with threads for its slots: threads for waiting, and several processes where the processor is
what it waits for (`agents`).

A worker that cannot take part in a run (an unknown location, a share that is not mounted) says so once on the run's
board, gives the unit back, and leaves that run to others; it must not fail what others can do.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from dunlin import __version__
from dunlin.errors import DunlinError, ErrorKind, usage
from dunlin.pace.stop import Stop
from dunlin.queue.base import PAYLOAD, Queue, WorkerInfo
from dunlin.report import Event, Level, Report
from dunlin.workers import packing
from dunlin.workers.fence import MARGIN, Held, guard
from dunlin.workers.handling import Handler, handle
from dunlin.workers.part import Part, Resolve, Vaults, take_part
from dunlin.workers.remote import PREFIX, orders_name, refusal_name, setup_name
from dunlin.workers.sent import SentProgress

TRANSIENT = frozenset({ErrorKind.NETWORK, ErrorKind.TIMEOUT, ErrorKind.BUSY})
"""Kinds of errors of a queue that is away for now."""

IDLE = 0.5
"""Seconds that a request for units waits for some."""

PREFETCH_SECONDS = 0.25
MOST_AHEAD = 16
"""Work that waits in a worker beyond what its slots hold: so much, and so many units per slot at most."""

KEPT = 30.0
"""Seconds after which the stores of a run that has nothing to do are closed."""

REFUSED = 30.0
"""Seconds after which a worker tries again to take part in a run."""

TICK = 0.1
ALIVE = 10.0
"""Seconds for which word of a worker holds."""


class Pace(NamedTuple):
    """How often what happens. Seconds."""

    lease: float = 6.0
    beat: float = 2.0
    sweep: float = 1.0
    orders: float = 1.0
    margin: float = MARGIN


def check_pace(pace: Pace) -> None:
    """Raises USAGE where leases would run out between two heartbeats, or when a single one comes late."""
    least = 2 * pace.beat + pace.margin
    if pace.lease < least:
        raise usage(
            f"--lease {pace.lease:g}s is too short for --heartbeat {pace.beat:g}s: units would be lost for no reason",
            f"a lease is two heartbeats and {pace.margin:g} s at least: --lease {least:g}s, or a shorter --heartbeat",
        )


class AgentOptions(NamedTuple):
    """How a worker works.

    Attributes:
        name: of this worker; ends in its number (`remote.mark_of`). host: of the machine.
        slots: units under way at a time.
        labels: those of units with one of these are taken, beside units without any.
        resolve: from named places to URLs and logins.
        runs: patterns of the queues of runs. others: tasks of other queues, by the queue's name.
        grace: seconds for units under way to end, once the worker is to stop.
        vaults: opens repositories; None: this worker has none.
    """

    name: str
    host: str
    pid: int
    slots: int
    labels: tuple[str, ...]
    resolve: Resolve
    runs: tuple[str, ...] = (PREFIX + "*",)
    others: Mapping[str, Handler] = {}
    grace: float = 30.0
    pace: Pace = Pace()
    vaults: Vaults | None = None


class LeaseLostError(Exception):
    """The lease of the unit is gone while it is done: nothing more may be said about it."""


class NumberTakenError(Exception):
    """Another worker has this one's number by now, because it was stopped for long: it must begin anew."""


def run_agent(queue: Queue, options: AgentOptions, stop: Stop, report: Report) -> None:
    """Take units until `stop` is requested; what is under way then ends, for `options.grace` seconds.

    Raises what the queue raises except that it is away for now; `NumberTakenError`.
    """
    _Agent(queue, options, stop, report).run()


class _Agent:
    def __init__(self, queue: Queue, options: AgentOptions, stop: Stop, report: Report) -> None:
        self.queue = queue
        self.options = options
        self.stop = stop
        self.report = report
        self.clock = time.monotonic
        self.guard = guard(options.pace.margin)
        self.news = threading.Condition()
        self.waiting: deque[Held] = deque()
        self.held: dict[str, Held] = {}
        self.done: deque[tuple[Held, bytes]] = deque()
        self.parts: dict[str, Part[Any]] = {}
        self.opening = threading.Lock()
        self.refused: dict[str, float] = {}
        self.begun: dict[str, int] = {}  # units under way, by run or queue
        self.handled: set[Held] = set()  # tasks of other queues under way
        self.ended = False
        self.finished = 0
        self.unit_seconds = 1.0
        self.away = False
        self.fault: BaseException | None = None
        self.mark = int(options.name[-4:], 16)

    # ---- the main thread ----

    def run(self) -> None:
        slots = range(self.options.slots)
        threads = [threading.Thread(target=self._slot, name=f"slot-{n}", daemon=True) for n in slots]
        bodies = (self._acks, self._beats)
        others = [threading.Thread(target=self._watched, args=(each,), daemon=True) for each in bodies]
        try:
            self._hello()
            for thread in (*threads, *others):
                thread.start()
            while not self.stop.requested and self.fault is None:
                self._fetch()
        finally:
            self._leave(threads, others)
        if self.fault is not None:
            raise self.fault

    def _watched(self, body: Callable[[], None]) -> None:
        """A thread without which the worker is none: when it fails, so does the worker."""
        try:
            body()
        except BaseException as error:
            self.fault = self.fault or error

    def _fetch(self) -> None:
        with self.news:
            ahead = min(MOST_AHEAD, int(PREFETCH_SECONDS / max(self.unit_seconds, 1e-3)))
            stuck = {held for held in self.handled if self.clock() >= held.limit}
            others = sum(held not in stuck for held in self.held.values())
            wanted = (self.options.slots - len(stuck)) * (1 + ahead) - others
            if wanted <= 0:
                self.news.wait(TICK)
                return
        try:
            queues = self._queues()
            if not queues:
                time.sleep(IDLE)
                return
            pace, name = self.options.pace, self.options.name
            leases = self.queue.lease(name, wanted, pace.lease, IDLE, queues, self.options.labels)
        except DunlinError as error:
            self._missed(error)
            time.sleep(IDLE)
            return
        self._there()
        with self.news:
            for lease in leases:
                known = self.held.get(lease.id)
                if known is not None and not known.lost and known.lease[:5] == lease[:5]:
                    known.extend(lease)  # the queue went back to before it was handed out: the very same, once more
                    continue
                if known is not None:
                    known.lost = True
                held = self.held[lease.id] = Held(lease, packing.new_doing())
                self.waiting.append(held)
            self.news.notify_all()

    def _queues(self) -> tuple[str, ...]:
        """The queues to take from: all of the patterns, unless this worker can take no part in some run."""
        now = self.clock()
        for token in [token for token, until in self.refused.items() if until < now]:
            del self.refused[token]
        if not self.refused:
            return (*self.options.runs, *self.options.others)
        names = [stats.queue for stats in self.queue.stats()]
        able = [name for name in names if self._fits(name) and name.removeprefix(PREFIX) not in self.refused]
        return (*able, *self.options.others)

    def _fits(self, name: str) -> bool:
        return any(name == each or (each[-1:] == "*" and name.startswith(each[:-1])) for each in self.options.runs)

    def _leave(self, threads: list[threading.Thread], others: list[threading.Thread]) -> None:
        """Give back what was not begun, wait for the rest, and say goodbye."""
        with self.news:
            given = [held.lease for held in self.waiting]
            for lease in given:
                self.held.pop(lease.id, None)
            self.waiting.clear()
            self.ended = True
            self.news.notify_all()
        with suppress(DunlinError):
            if given:
                self.queue.release(given)
        until = self.clock() + self.options.grace
        for thread in threads:
            if thread.is_alive():
                thread.join(max(0.0, until - self.clock()))
        if any(thread.is_alive() for thread in threads):
            self._give_up(threads)
        self.finished = 1  # those that slots no longer feed
        with self.news:
            self.news.notify_all()
        for thread in others:
            if thread.is_alive():
                thread.join(2 * self.options.pace.lease)
        with suppress(DunlinError):
            self._hello(leaving=True)
            self.queue.leave(f"worker/{self.mark:04x}", self.options.name)
        for part in self.parts.values():
            part.close()

    def _give_up(self, threads: list[threading.Thread]) -> None:
        """Units that did not end in time: their leases end now, so that others have them at once."""
        with self.news:
            late = list(self.held.values())
        for held in late:
            held.lost = True
        for part in list(self.parts.values()):
            part.stop()
        others = [held.lease for held in late if held.lease.queue in self.options.others]
        with suppress(DunlinError):
            self.queue.release(others)  # that the worker stops is not their fault
            self.queue.heartbeat([held.lease for held in late if held.lease not in others], 0.0)
            self.queue.sweep()
        for thread in threads:
            thread.join(1.0)

    # ---- a slot ----

    def _slot(self) -> None:
        while (held := self._take()) is not None:
            try:
                self._do(held)
            except LeaseLostError:
                self._drop(held, "worker.lost")
            except Exception as error:
                if isinstance(error, DunlinError) and error.kind in (*TRANSIENT, ErrorKind.AUTH):
                    self._missed(error)
                    self._drop(held, "")
                    continue
                # A fault must not end the worker: the coordinator hears of it and counts it as a failure.
                body = packing.pack_texts(packing.FAULT, _line(error), traceback.format_exc())
                self._put_done(held, body if held.lease.queue in self.options.others else self._placed(held, body))

    def _take(self) -> Held | None:
        with self.news:
            while not self.waiting:
                if self.ended:
                    return None
                self.news.wait()
            return self.waiting.popleft()

    def _do(self, held: Held) -> None:
        lease = held.lease
        if held.left(self.clock()) < self.options.pace.margin:
            raise LeaseLostError
        handler = self.options.others.get(lease.queue)
        if handler is not None:
            self._handle(held, handler)
            return
        token = lease.queue.removeprefix(PREFIX)
        with self.opening:  # until it is entered: one with nothing to do is closed
            part = self._part(token)
            if part is not None:
                self._enter(token, 1)
        if part is None:
            self._give_back(held)
            return
        held.begun = True
        try:
            done = part.work.do(held, partial(self._tell, held))
        finally:
            part.used = self.clock()
            self._enter(token, -1)
        if held.lost or not (done.whole or part.over):
            raise LeaseLostError  # half of it is no result: it is done again when the lease has run out
        *before, last = packing.pieces(done.body)
        for piece in before:
            self._tell(held, piece)
        self.unit_seconds += (done.seconds - self.unit_seconds) / 16
        self._put_done(held, self._placed(held, last))
        if done.trouble is not None:
            self._refuse(token, done.trouble)

    def _placed(self, held: Held, body: bytes) -> bytes:
        return packing.placed(held.doing, held.told, body)

    def _tell(self, held: Held, body: bytes) -> None:
        """Tell the coordinator; waits for a queue that is away as long as the lease is good. Raises when it is not."""
        while held.left(self.clock()) > 0:
            try:
                if not self.queue.tell(held.lease, self._placed(held, body)):
                    break
                held.told += 1
                return
            except DunlinError as error:
                self._missed(error)
                time.sleep(IDLE)
        held.lost = True
        raise LeaseLostError

    def _handle(self, held: Held, handler: Handler) -> None:
        begun = self.clock()
        held.begun = True
        with self.news:
            self.handled.add(held)
        self._enter(held.lease.queue, 1)
        try:
            body = handle(self.queue, held, handler, self.options.pace.margin, self.report, self.clock)
        finally:
            with self.news:
                self.handled.discard(held)
            self._enter(held.lease.queue, -1)
        self.unit_seconds += (self.clock() - begun - self.unit_seconds) / 16
        if body is None:
            self._forget(held)
        else:
            self._put_done(held, body)

    def _part(self, token: str) -> Part[Any] | None:
        """This worker's part in a run, while `opening` is held; None when it has none, which is on the board then."""
        if token in self.refused:
            return None
        part = self.parts.get(token)
        if part is not None and part.alone is not None:
            self.refused[token] = self.clock() + 1.0
            return None
        if part is not None:
            return part
        try:
            part = self._joined(token)
        except DunlinError as error:
            if error.kind in TRANSIENT and not error.where:
                raise
            self._refuse(token, error)
            return None
        if part is None:
            self.refused[token] = self.clock() + 1.0  # its coordinator is gone, or has not begun
            return None
        self.parts[token] = part
        self._event(Level.INFO, "worker.joined", f"takes part in run {token}: {part.work.title}", run=token)
        return part

    def _joined(self, token: str) -> Part[Any] | None:
        """See `take_part`; the first byte of a run's setup tells what kind of run it is."""
        how = self.options
        body = self.queue.read(setup_name(token))
        try:
            if body is None or body[:1] not in (packing.BACKUP, packing.VERIFY):
                progress = SentProgress(self.queue)
                return take_part(
                    self.queue, token, self.mark, how.slots, how.resolve, self.guard, progress, how.vaults
                )
            if body[:1] == packing.VERIFY:
                from dunlin.workers.verify_task import take_verify

                return take_verify(self.queue, token, how.vaults)
            from dunlin.workers.backup_task import take_backup

            return take_backup(self.queue, token, how.slots, how.resolve, how.vaults)
        except ImportError as error:
            raise usage(f"this worker lacks the Python package {error.name}", "pip install dunlin[backup]") from error

    def _refuse(self, token: str, error: DunlinError) -> None:
        self.refused[token] = self.clock() + REFUSED
        line = str(error)
        self._event(Level.WARN, "worker.refused", f"takes no part in run {token}: {line}", run=token)
        with suppress(DunlinError):
            self.queue.write(refusal_name(token, self.options.name), line.encode("utf-8", "replace"), 2 * REFUSED)

    def _give_back(self, held: Held) -> None:
        self._forget(held)
        with suppress(DunlinError):
            self.queue.release([held.lease])

    def _enter(self, token: str, n: int) -> None:
        with self.news:
            self.begun[token] = self.begun.get(token, 0) + n

    def _forget(self, held: Held) -> None:
        with self.news:
            if self.held.get(held.lease.id) is held:
                del self.held[held.lease.id]
            self.news.notify_all()

    def _drop(self, held: Held, name: str) -> None:
        self._forget(held)
        if name:
            self._event(Level.WARN, name, f"the lease of a unit was lost: {held.lease.label}", unit=held.lease.label)

    # ---- acknowledging ----

    def _put_done(self, held: Held, body: bytes) -> None:
        with self.news:
            self.done.append((held, body))
            self.news.notify_all()

    def _acks(self) -> None:
        while True:
            with self.news:
                while not self.done:
                    if self.finished:
                        return
                    self.news.wait(IDLE)
                batch = self._batch()
            self._acknowledge(batch)

    def _batch(self) -> list[tuple[Held, bytes]]:
        batch: list[tuple[Held, bytes]] = []
        size = 0
        while self.done and (not batch or size + len(self.done[0][1]) < PAYLOAD):
            batch.append(self.done.popleft())
            size += len(batch[-1][1])
        return batch

    def _acknowledge(self, batch: list[tuple[Held, bytes]]) -> None:
        while batch:
            now = self.clock()
            for held, _ in batch:
                if held.left(now) <= 0:
                    self._drop(held, "worker.lost")
            batch = [each for each in batch if each[0].left(now) > 0]
            if not batch:
                return
            try:
                kept = self.queue.ack([(held.lease, body) for held, body in batch])
            except DunlinError as error:
                self._missed(error)
                time.sleep(IDLE)
                continue
            self._there()
            for (held, _), mine in zip(batch, kept, strict=True):
                if mine:
                    self._forget(held)
                else:
                    self._drop(held, "worker.lost")
            return

    # ---- the beat ----

    def _beats(self) -> None:
        pace = self.options.pace
        due = dict.fromkeys((self._heartbeat, self._sweep, self._orders), 0.0)
        every = {self._heartbeat: pace.beat, self._sweep: pace.sweep, self._orders: pace.orders}
        while not self.finished and self.fault is None:
            for act, at in due.items():
                if self.clock() < at:
                    continue
                due[act] = self.clock() + every[act]
                try:
                    act()
                except DunlinError as error:
                    self._missed(error)
                except NumberTakenError as error:
                    self.fault = error
            time.sleep(TICK)

    def _heartbeat(self) -> None:
        with self.news:
            held = [each for each in self.held.values() if not each.lost and self.clock() < each.limit]
        if held:
            extended = self.queue.heartbeat([each.lease for each in held], self.options.pace.lease)
            for each, lease in zip(held, extended, strict=True):
                if lease is not None:
                    each.extend(lease)
                    continue
                each.lost = True
                with self.news:
                    if each in self.waiting:
                        self.waiting.remove(each)
                        self.held.pop(each.lease.id, None)
        self._hello()
        self._there()

    def _hello(self, leaving: bool = False) -> None:
        options = self.options
        with self.news:
            busy = sum(self.begun.values())
        info = WorkerInfo(
            options.name, options.host, options.pid, options.slots, busy, (*options.runs, *options.others),
            options.labels, __version__, 0.0, 0.0,
        )  # fmt: skip
        self.queue.hello(info, 0.0 if leaving else ALIVE)
        if not leaving and not self.queue.hold(f"worker/{self.mark:04x}", options.name, 6 * ALIVE):
            raise NumberTakenError

    def _sweep(self) -> None:
        self.queue.sweep()

    def _orders(self) -> None:
        now = self.clock()
        for token, part in list(self.parts.items()):
            part.obey(self.queue.read(orders_name(token)), now)
            given_up = part.bucket.stopped and not part.over
            if self.begun.get(token) or (now - part.used < KEPT and not given_up):
                continue
            with self.opening, self.news:
                if self.begun.get(token) or self.parts.get(token) is not part:
                    continue
                del self.parts[token]
            part.close()
            self._event(Level.INFO, "worker.left", f"run {token} has nothing to do", run=token)

    # ---- telling ----

    def _missed(self, error: DunlinError) -> None:
        """The queue did not answer. What is no passing trouble ends the worker."""
        if error.kind not in TRANSIENT:
            self.fault = self.fault or error
        elif not self.away:
            self.away = True
            self._event(Level.WARN, "queue.away", f"the queue is away: {error.reason or error}")

    def _there(self) -> None:
        if self.away:
            self.away = False
            self._event(Level.INFO, "queue.back", "the queue is back")

    def _event(self, level: Level, name: str, message: str, **fields: object) -> None:
        self.report.event(Event(level, name, message, {**fields, "worker": self.options.name}))


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
