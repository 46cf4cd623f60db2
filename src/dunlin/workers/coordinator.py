"""The coordinator of a run: it hands out units, takes in outcomes, and is the one writer of the state.

Theory. The unit of work is a directory. Two queues feed the movers: directories to be scanned (the
frontier) and files that wait (the backlog). A small directory is listed, compared and copied in one
unit; where transfers take longer than scans (a slow link, large files), scan units stop copying, so
that the scan runs ahead, the backlog fills and the time left becomes known.

Everything is on record before it is acted on: a directory is queued in the same transaction that
records its parent as done, waiting files are pending rows before they are handed out. So at any
instant a kill loses or repeats the units in flight and nothing else, and memory holds only windows
on the frontier and the backlog.

The process is single-threaded: one loop that dispatches, waits for sockets, records and reports.
That is what makes it safe to fork movers from it at any time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import SIZE, Stats, join
from dunlin.pace.bucket import Bucket
from dunlin.pace.concurrency import Concurrency
from dunlin.pace.stop import Stop
from dunlin.report import Level, Report
from dunlin.state.codec import DirectoryStatus
from dunlin.state.later import Top
from dunlin.state.store import State
from dunlin.transfer.outcome import Outcome, Presence, fatal_error
from dunlin.workers import tasks
from dunlin.workers.backlog import Backlog, Open
from dunlin.workers.context import Context
from dunlin.workers.crawl import UNBOUNDED, Crawl, CrawlPlan
from dunlin.workers.doers import Arrival, Doers
from dunlin.workers.frontier import Frontier, Queued
from dunlin.workers.joined import put_joined
from dunlin.workers.linked import follow_links
from dunlin.workers.rows import put_rows, wanted
from dunlin.workers.tasks import Again, Finish, Join, Move, Scan, Unblock
from dunlin.workers.telling import Telling
from dunlin.workers.trouble import fault, given_up
from dunlin.workers.twice import owed_for, settle
from dunlin.workers.units import run_unit

if TYPE_CHECKING:  # made by the first sample
    from dunlin.workers.crawled import Crawled

LAZY_FILES = 300
LAZY_SECONDS = 0.1
"""Movers are started after so many files or so much work."""

HINTS = {
    ErrorKind.NO_SPACE: "make room there and run the same again: it goes on where it stopped",
    ErrorKind.READ_ONLY: "make it writable and run the same again: it goes on where it stopped",
    ErrorKind.AUTH: "log in anew and run the same again: it goes on where it stopped",
}
"""What to do about errors of the destination that end a run."""

FIRST_FILES = 25
FIRST_BYTES = 2 << 20
"""What one unit copies before there are movers: on a slow mount more would keep everybody waiting."""

SCAN_BYTES = 16 << 20
"""What a mover copies at most in the unit that lists the directory."""

RUN_AHEAD = 0.25
"""Seconds: when units that copy take longer than this on average, scans run ahead of transfers."""

DEATHS = 3
"""Movers that may die over one unit before its directory counts as failed.

Which of its units a mover died over is not known the first time. From then on these units are announced when they
are begun, so that those that only waited are not blamed again.
"""


@dataclass(slots=True, eq=False, repr=False)
class Flight:
    """A unit that is being done. `told`: counts of its parts, also from before its mover died; `owed`: see `twice`."""

    task: tasks.Task
    directory: int
    deaths: int = 0
    told: Counter[str] | None = None
    owed: Counter[str] | None = None


class Coordinator:
    """One run of one pair.

    Args:
        context: the pair as seen from this process, for the units done here.
        pool: the movers, not yet started.
        state: where everything is recorded (a temporary file with `--state-db none`).
        pair, run: numbers in the state.
        stop: the request to stop; bucket: shared with the movers.
        orders: called a few times a second: obeys `dunlin control` and the timetable.
        audit: gets every file's outcome.
        report: gets counts, gauges, events and tasks.
        plan: what the crawl may take; news: gets a sample of it now and then (`workers.crawl`).
    """

    def __init__(
        self,
        context: Context,
        pool: Doers,
        state: State,
        pair: int,
        run: int,
        bucket: Bucket,
        stop: Stop,
        concurrency: Concurrency,
        scan_first: bool,
        orders: Callable[[], None],
        audit: Callable[[str, Outcome], None],
        report: Report,
        plan: CrawlPlan = UNBOUNDED,
        news: Callable[[Crawled], object] | None = None,
    ) -> None:
        self.context = context
        self.rules = context.rules
        self.pool = pool
        self.state = state
        self.pair = pair
        self.run = run
        self.bucket = bucket
        self.stop = stop
        self.concurrency = concurrency
        self.scan_first = scan_first
        self.orders = orders
        self.telling = Telling(report, audit, state if self.rules.mode == "sync" else None, run)
        self.report = report
        self.stats = Stats()
        self.moved_before = state.moved_bytes(pair)
        parts = pool.parts or (1 if context.site.hands is None else pool.size)
        self.backlog = Backlog(state, run, parts, plan.share, pool.page, lambda: bucket.rate)
        self.fatal: DunlinError | None = None
        self.frontier = Frontier(state, pair, run, plan.share)
        self.crawling = Crawl(plan, context.window, news)
        self.flights: dict[int, Flight] = {}
        self.scanning = 0
        self.batch = pool.batch or 1_000  # files that a unit copies at most while it scans
        self.touched: set[str] = set()
        self._finishing: dict[int, Open] = {}
        self.alone = False  # no movers: a side is in this process's memory, and they would have a memory of their own
        self._next_unit = 0
        self._work_seconds = 0.0
        self._copy_seconds = 0.0
        self._scan_open = True
        self._checksum = None if context.site.options.checksum == "none" else context.site.options.checksum

    # ---- the loop ----

    def crawl(self) -> None:
        """Scan and transfer until nothing is left, or the run is to stop. Errors that end it stand in `fatal`."""
        while not self.stopping:
            self._dispatch()
            if not self.flights and not self._has_work():
                break
            self.collect()
        self.drain()
        self.crawling.end(self)
        if not self.stopping:
            self._finish_rest()

    def drain(self) -> None:
        """Wait for the units in flight; with the bucket stopped they end at the next file, and no directory begins."""
        if self.stopping and self.flights:
            self.pool.tell("cancel")
        while self.flights:
            self.collect()

    def abandon(self, error: DunlinError) -> None:
        """End the run without a word on record: the state itself failed. What was recorded before is true."""
        self.fatal = error
        self.bucket.stop()
        self.pool.tell("cancel")
        while self.pool.busy:
            self.pool.poll(0.1)
        self.flights.clear()

    @property
    def stopping(self) -> bool:
        """Whether no new unit may begin."""
        return self.fatal is not None or self.stop.requested

    def _has_work(self) -> bool:
        return bool(self.frontier or self.backlog)

    def _dispatch(self) -> None:
        """Give out units while there is room."""
        while not self.stopping and self.room() > 0:
            if self._may_scan():
                queued = self.frontier.next()
                if queued is not None:
                    self._submit_scan(queued)
                    continue
            move = self.backlog.next()
            if move is not None:
                self.submit(move[1], move[0])
                continue
            queued = None if self._window_is_full else self.frontier.next()
            if queued is None:
                return
            self._submit_scan(queued)

    def room(self) -> int:
        """How many units may be given out now; without movers one at a time is done here."""
        if not self.pool.started:
            return 1 if not self.flights else 0
        return self.pool.room

    @property
    def _window_is_full(self) -> bool:
        """Whether directories have to wait for those under way, which wake the loop when they end."""
        return self.crawling.holds and self.scanning > 0

    def _may_scan(self) -> bool:
        """Whether a scan goes before a transfer: always, until the scan runs ahead; then a quarter of the units.

        And then no more than have a slot: a thread that waits for one moves nothing meanwhile.
        """
        if self._window_is_full:
            return False
        if not self.backlog or self.scan_first:
            return True
        return self.scanning <= min(len(self.flights) // 4, self.crawling.directories or len(self.flights))

    @property
    def runs_ahead(self) -> bool:
        """Whether scan units leave the copying to others."""
        return self.scan_first or self._copy_seconds > RUN_AHEAD or self.bucket.rate > 0

    def _submit_scan(self, queued: Queued) -> None:
        self.scanning += 1
        task = Scan(
            queued.path,
            queued.presence,
            files=0 if self.runs_ahead else self.batch if self.pool.started else FIRST_FILES,
            size=SCAN_BYTES if self.pool.started else FIRST_BYTES,
            digest=queued.digest,
            suspect=queued.doubtful,
            listing=queued.listing,
            there=queued.there,
            bookmark=queued.bookmark,
        )
        self.submit(task, queued.id)

    def submit(
        self, task: tasks.Task, directory: int, deaths: int = 0, told: Counter[str] | None = None
    ) -> None:
        """Have a unit done: by a mover, or here as long as there is little to do.

        `deaths`: movers that died over it. `told`: the counts of what they had told of it.
        """
        unit = self._next_unit
        self._next_unit += 1
        flight = self.flights[unit] = Flight(task, directory, deaths)
        if told is not None:
            flight.told, flight.owed = told, owed_for(told)
        if not self.pool.started and self._worth_movers(task):
            self.start_movers()
        if self.pool.started:
            self.pool.submit(unit, tasks.pack(task), deaths > 0)
            return
        begin = time.perf_counter()
        outcome = run_unit(self.context, task, lambda part: self._record([(unit, "part", part)]))
        self._work_seconds += time.perf_counter() - begin
        self._record([(unit, "done", outcome)])

    def _worth_movers(self, task: tasks.Task) -> bool:
        if self.alone:
            return False
        # What is done here is not interrupted by orders, so nothing that takes long is done here.
        if isinstance(task, (Again, Join, Unblock)) and self.rules.mode == "sync":
            return True  # each may have to copy files of any size
        if isinstance(task, Move):
            size = sum(turn[1] for turn in task.turns)
            if size > FIRST_BYTES or size > self.bucket.rate * LAZY_SECONDS > 0:
                return True
        moved = self.stats.copied_files + self.stats.equal_files
        return moved >= LAZY_FILES or self._work_seconds >= LAZY_SECONDS

    def start_movers(self) -> None:
        """Start the movers; units are done by them from now on."""
        self.pool.start()
        self.report.gauge("movers", self.pool.size)

    def collect(self) -> None:
        """Wait for news from the movers for a moment, record it, obey orders."""
        self.orders()
        self.crawling.poll(self)
        if not self.pool.started:
            return
        arrivals = self.pool.poll(0.1)
        batch: list[tuple[int, str, Outcome]] = []
        lost: list[str] = []
        for arrival in arrivals:
            if arrival.kind in ("done", "part"):
                batch.append((arrival.unit, arrival.kind, Outcome.unpack(arrival.body[0])))
            elif arrival.kind == "lost":
                lost.append(_directory(self.flights[arrival.unit].task) or ".")
                self._retry_lost(arrival)
            elif arrival.kind == "fault":
                where = _directory(self.flights[arrival.unit].task)
                batch.append((arrival.unit, "done", fault(where, *map(str, arrival.body))))
            elif arrival.kind == "window":
                self.crawling.heard(self, arrival.unit, arrival.body)
            else:
                if arrival.kind == "gone":
                    self.crawling.gone(arrival.unit)
                self.telling.progress(arrival)
        if lost and not self.stopping:
            more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
            self.telling.event(Level.WARN, "mover.lost", f"a mover died; what it had is done again: {lost[0]}{more}")
        if batch:
            self._record(batch)
        self.pool.settled()
        self._gauges()

    def _retry_lost(self, arrival: Arrival) -> None:
        """The mover of a unit died: do the unit again, looking at the destination and for its temporary files."""
        flight = self.flights.pop(arrival.unit)
        name, begun = arrival.body
        deaths = flight.deaths + 1 if begun or not flight.deaths else flight.deaths
        if deaths >= DEATHS or self.stopping:
            outcome = given_up(_directory(flight.task), DEATHS, self.stopping)
            self.flights[arrival.unit] = flight
            self._record([(arrival.unit, "done", outcome)])
            return
        self.submit(tasks.again(flight.task, name), flight.directory, deaths, flight.told)

    # ---- the frontier ----

    def begin(self, root: Queued | None) -> None:
        """Start from the root; or, for a continued run (None), from what the state says is left."""
        if root is not None:
            self.frontier.put(root)
        else:
            self.frontier.on_disk = self.frontier.resumed = True
            self.frontier.marked = self.context.site.source.caps.far
            self.backlog.on_disk = True
            self.backlog.resumed = True
        files, size = self.state.pending_totals(self.run) if root is None else (0, 0)
        self.stats.pending_files, self.stats.pending_bytes = files, size

    # ---- taking in outcomes ----

    def _record(self, batch: list[tuple[int, str, Outcome]]) -> None:
        """Put what arrived together on record in one transaction, then act on it."""
        follow: list[Callable[[], None]] = []
        with self.state.transaction():
            for unit, kind, outcome in batch:
                flight = self.flights[unit]
                self._take_in(flight, kind == "done", outcome, follow)
                if kind == "done":
                    del self.flights[unit]
                    if isinstance(flight.task, Scan):
                        self.scanning -= 1
        for act in follow:
            act()

    def _take_in(self, flight: Flight, done: bool, outcome: Outcome, follow: list[Callable[[], None]]) -> None:
        task = flight.task
        if flight.owed is not None:
            settle(flight.owed, outcome.counts)
        if not done:
            flight.told = (flight.told or Counter()) + outcome.counts
        self._count(outcome, task)
        light = self._is_light(flight, outcome)
        self.record_rows(flight.directory, wanted(self.rules, task, flight.deaths, outcome), not light)
        if outcome.bookmark is not None and self.rules.record:
            self.state.set_bookmark(self.pair, _directory(task), outcome.bookmark)
        if outcome.complete and self.rules.record and not light:
            self.state.forget_unseen(flight.directory, self.run)
        directory = _directory(task)
        if outcome.subdirectories:
            self.frontier.add_found(directory, outcome)
        if outcome.extras or outcome.blocked:
            self._extras(directory, task, outcome)
        if outcome.linked:
            follow_links(self, flight, outcome)
        if isinstance(task, Join) and self.rules.mode == "sync":
            put_joined(self.state, self.pair, self.run, outcome, self._checksum)
        self.stats.pending_files += len(outcome.waiting)
        self.stats.pending_bytes += sum(facts[SIZE] for _, facts, _, _ in outcome.waiting)
        if outcome.waiting and not self.stopping:
            known = self._open(flight)
            if light and not known.light:
                known.light = True
                known.complete = outcome.complete  # not before their rows are of this run, too
                known.fresh = self.state.is_empty(flight.directory)
            self.backlog.add(known, outcome.waiting)
        if done:
            if isinstance(task, Scan):
                self._scanned(flight, outcome, follow)
            elif isinstance(task, Move):
                self._moved(flight, outcome, follow)
            elif isinstance(task, Finish):
                self._finished(flight, outcome)
            elif isinstance(task, Unblock) and outcome.waiting:
                self.state.finish_directory(self.run, flight.directory, DirectoryStatus.SCANNED)
        self.telling.outcome(directory, outcome)
        if outcome.fatal is not None and self.fatal is None:
            self._end(fatal_error(outcome.fatal))

    def _is_light(self, flight: Flight, outcome: Outcome) -> bool:
        """Whether what waits need not be put on record, because transfers keep up with the scan and it fits in memory.

        The directory then stays queued until all of that is done: after a kill it is simply listed again.
        """
        known = self.backlog.open.get(flight.directory)
        return (
            isinstance(flight.task, Scan)
            and not (known is not None and known.more)
            and 0 < len(outcome.waiting) <= self.backlog.room
            and not (outcome.linked or self.runs_ahead or self.stopping)
            # A listing may be taken up again behind names that are on record only.
            and (outcome.listed or not self.context.site.source.caps.far)
        )

    def add(self, outcome: Outcome, directory: str = "", rows: bool = False) -> None:
        """Count and tell what was found out about names outside of any unit: by paths, or of one directory.

        `rows`: put it on record, too.
        """
        known = self.state.digests(self.pair, [directory]).get(directory) if rows else None
        if known is not None:
            self.record_rows(known.id, outcome)
        self.stats.add(outcome.counts)
        for name, n in outcome.counts.items():
            self.report.count(name, n)
        self.telling.outcome(directory, outcome)

    def _end(self, error: DunlinError) -> None:
        if error.kind is ErrorKind.INTERRUPTED:
            return
        error.hint = error.hint or HINTS.get(error.kind, "")
        self.fatal = error
        self.bucket.stop()

    def _open(self, flight: Flight) -> Open:
        known = self.backlog.open.get(flight.directory)
        if known is None:
            known = Open(flight.directory, _directory(flight.task))
            self.backlog.open[flight.directory] = known
        known.scanning = known.scanning or isinstance(flight.task, Scan)
        # What waited when its listing was cut short is on record, and only there.
        known.more = known.more or (isinstance(flight.task, Scan) and flight.task.bookmark is not None)
        return known

    def _count(self, outcome: Outcome, task: tasks.Task) -> None:
        counts = outcome.counts
        self.stats.add(counts)
        for name, n in counts.items():
            if n:
                self.report.count(name, n)
        if isinstance(task, Scan):
            changed = counts["updated_files"] + sum(1 for turn in outcome.waiting if turn[3])
            self.count("differing_files", changed if self.rules.mode == "sync" else 0)
            new = counts["copied_files"] + len(outcome.waiting) - changed
            self.count("missing_files", new if self.rules.mode == "sync" else 0)
            if outcome.seconds:
                self.crawling.took(outcome.seconds)
        if isinstance(task, Move):
            settled = {turn[0]: turn[1] for turn in task.turns}
            self.stats.pending_files -= len(settled)
            self.stats.pending_bytes -= sum(settled.values())
        if outcome.seconds:
            # Every unit is work: of a tree of empty directories nothing else would show that it gets on.
            done = counts["copied_bytes"] + 4096 * (1 + counts["copied_files"] + counts["equal_files"])
            self.pool.learn(outcome.seconds)
            if not (self.bucket.rate or self.bucket.paused):  # waiting for the limit is not waiting for a mount
                most = self.crawling.threads(self) if isinstance(task, Scan) and not counts["copied_files"] else None
                self.pool.grow(self.concurrency.sample(outcome.seconds, outcome.cpu, done, outcome.waited, most))
            if counts["copied_files"]:
                self._copy_seconds += (outcome.seconds - self._copy_seconds) / 8

    def record_rows(self, directory: int, outcome: Outcome, waiting: bool = True) -> None:
        """Put the rows of an outcome on record, where there are any."""
        # Units at the end of a run (links, deletes) name paths of many directories; they have no rows.
        if directory and self.rules.record and self.rules.mode == "sync":
            known = self.backlog.open.get(directory)
            fresh = known is not None and known.fresh
            put_rows(self.state, self.run, directory, outcome, self._checksum, waiting=waiting, fresh=fresh)

    def _extras(self, directory: str, task: tasks.Task, outcome: Outcome) -> None:
        absent = isinstance(task, Scan) and task.presence == Presence.TARGET
        # What is in a directory that stands in the way goes on record, and is counted, like any other extras.
        directories = [name for name, is_directory in outcome.extras if is_directory] + outcome.blocked
        if directories:
            self.frontier.add(directory, [(name, int(Presence.TARGET)) for name in directories])
        if self.rules.mode == "sync":
            top = Top.BELOW if absent else Top.NOTHING
            extras = [(join(directory, name), is_directory, top) for name, is_directory in outcome.extras]
            extras += [(join(directory, name), True, Top.OTHER) for name in outcome.blocked]
            self.state.add_extras(self.pair, extras)

    def count(self, name: str, n: int) -> None:
        """So many more, in the counts of the run and for the report."""
        self.stats.add({name: n})
        self.report.count(name, n)

    def _scanned(self, flight: Flight, outcome: Outcome, follow: list[Callable[[], None]]) -> None:
        """A scan is through: the directory is done, or its files still wait."""
        failed = bool(outcome.failed) and not outcome.listed
        known = self.backlog.open.get(flight.directory)
        if outcome.fatal is not None:
            # Not seen to its end: it stays queued and is listed again, whatever of it is on record.
            self.frontier.held.discard(flight.directory)
            return
        if known is not None:
            known.scanning = False
            known.failed = known.failed or bool(outcome.failed)
            known.digest = outcome.digest
            if self.stopping and outcome.waiting:
                # Handed back, and in no queue: it is on record, or its directory is listed again.
                known.left += 1
            if known.light:
                self._settle(known, follow)
                return
            self.state.finish_directory(self.run, flight.directory, DirectoryStatus.SCANNED)
            self.frontier.held.discard(flight.directory)
            self._settle(known, follow)
            return
        self.frontier.held.discard(flight.directory)
        if self.stopping and not outcome.listed:
            return  # it stays queued and is listed again
        status = DirectoryStatus.FAILED if failed else DirectoryStatus.DONE
        if isinstance(flight.task, Scan) and flight.task.bookmark is not None:
            outcome.unfinished = self.backlog.on_disk = True  # what waited before it was cut short is on record
        if self.rules.mode == "sync" and (outcome.waiting or outcome.unfinished):
            status = DirectoryStatus.SCANNED
        digest = outcome.digest
        # Whatever the mode: one that stayed queued would be read back when the window has run empty, again and again.
        self.state.finish_directory(self.run, flight.directory, status, None, digest)

    def _settle(self, known: Open, follow: list[Callable[[], None]]) -> None:
        closed = self.backlog.settle(known)
        if closed is not None:
            follow.append(lambda: self._submit_finish(closed))
        elif known.light and known.id not in self.backlog.open:
            # What was not on record is done; the rest is, and is read back from there.
            self.state.finish_directory(self.run, known.id, DirectoryStatus.SCANNED)
            self.frontier.held.discard(known.id)

    def _submit_finish(self, closed: Open) -> None:
        self._finishing[closed.id] = closed
        self.submit(Finish(closed.path), closed.id)

    def _moved(self, flight: Flight, outcome: Outcome, follow: list[Callable[[], None]]) -> None:
        known = self.backlog.open[flight.directory]
        known.failed = known.failed or bool(outcome.failed or outcome.vanished)
        if outcome.fatal is not None or (self.stopping and outcome.waiting):
            # What was not begun stays pending, and the directory open: no other unit may finish it now.
            return
        known.left -= 1
        self._settle(known, follow)

    def _finished(self, flight: Flight, outcome: Outcome) -> None:
        closed = self._finishing.pop(flight.directory, None)
        self.frontier.held.discard(flight.directory)
        if outcome.fatal is not None or closed is None:
            return
        digest = None if closed.failed or outcome.failed else closed.digest
        if closed.complete and self.rules.record:
            self.state.forget_unseen(flight.directory, self.run)
        self.state.finish_directory(self.run, flight.directory, DirectoryStatus.DONE, None, digest)

    def _finish_rest(self) -> None:
        """Directories of a continued run whose last file was done before the kill, but not they themselves."""
        while not self.stopping and (rest := self.state.scanned_directories(self.run, 1_000)):
            for number, path in rest:
                self._finishing[number] = Open(number, path)
                self.submit(Finish(path), number)
                if self.room() <= 0:
                    self.collect()
            self.drain()

    # ---- telling ----

    def _gauges(self) -> None:
        self.report.gauge("pending_files", self.stats.pending_files)
        self.report.gauge("pending_bytes", self.stats.pending_bytes)
        complete = not self.frontier and not self.scanning
        self.report.gauge("scan_complete", float(complete))
        self.report.gauge("threads", self.pool.threads)
        self.report.gauge("total_bytes", self.moved_before + self.stats.copied_bytes)


def _directory(task: tasks.Task) -> str:
    return str(getattr(task, "directory", ""))
