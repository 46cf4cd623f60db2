"""Reads the state file for the dashboard, whatever becomes of the file meanwhile.

A state file may be missing, empty, locked, damaged, of a newer version, or replaced by another one while it is shown.
None of it ends the dashboard: what was read last stays, with one line that says what is wrong, and every look tries
again. A file that was replaced is opened anew: it is known by its device and inode.

All calls come from one thread of their own (`Thread`), a daemon: the screen never waits for a disk, and quitting does
not wait for a mount that hangs. Between two looks nothing is open but the connection, so a writer is never held up:
with a write-ahead log readers and writers do not meet at all; without one (network mounts) a read lasts milliseconds.

Orders go the way of `dunlin control`: a row for the run, written in a transaction of its own.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from dunlin.errors import DunlinError, ErrorKind, translate
from dunlin.report import NullReport
from dunlin.state import Run, State
from dunlin.state.overview import (
    Activity,
    CrawlNow,
    Overview,
    PairNow,
    RunNow,
    Sample,
    Statistics,
)

ACTIVITIES = 100
ERRORS = 10
BUCKETS = 96
"""Points of a curve: a quarter of an hour each, over a day."""

CURVES = ("files", "bytes", "cpu", "memory", "network", "disk", "workers")
"""Curves of the page of statistics; one that the state does not keep is left out."""

RECENT = 10 * 60
"""Seconds of the curves of the run itself."""

MOST_ERRORS = 10_000
BUSY_MS = 500
ORDER_BUSY_MS = 5_000

SECOND = 1_000_000_000
DAY = 24 * 3600 * SECOND

Answer = TypeVar("Answer")
Lives = Callable[[Run], bool]


class Question(NamedTuple):
    """What is to be read.

    Attributes:
        pair: the pair that is shown; None: that of the run that goes on, else of the last one.
        text: only activities that contain it.
        page: the page that is open: what only others show is not read.
        kind, error_text, resolved, errors: which errors the page of errors shows, and how many at most.
    """

    pair: int | None = None
    text: str = ""
    page: str = "main"
    kind: str = ""
    error_text: str = ""
    resolved: bool = False
    errors: int = 200


class Look(NamedTuple):
    """What was read at one moment; `time` in ns, 0 when nothing was read yet.

    Attributes:
        question: what it answers.
        problem: why the figures are old, in one line; "" when they are not.
        now: the run that is shown; None when there is none.
        activity, errors: the newest first.
        counts: unresolved errors by type.
        log: errors for the page of errors, the newest first.
        curves: by field over a day, `recent`: over the last ten minutes.
        runs: the last runs of the pair with their status words.
        watched: the run that is shown is over, and a watch waits to make the next one.
    """

    question: Question = Question()
    time: int = 0
    problem: str = ""
    pairs: list[PairNow] = []  # noqa: RUF012  (never changed)
    now: RunNow | None = None
    sample: Sample | None = None
    crawl: CrawlNow | None = None
    day: Statistics | None = None
    ever: Statistics | None = None
    activity: list[Activity] = []  # noqa: RUF012
    errors: list[Activity] = []  # noqa: RUF012
    counts: Mapping[str, int] = {}
    log: list[Activity] = []  # noqa: RUF012
    curves: Mapping[str, list[float | None]] = {}
    recent: Mapping[str, list[float | None]] = {}
    runs: list[tuple[Run, str]] = []  # noqa: RUF012
    watched: bool = False


class Reader:
    """Reads `path`. Use it from one thread; no call raises because of the file.

    Args:
        path: the state file.
        lives: whether the process of a run is there.
        clock: ns since 1970.
        watches: whether a run that is over was one of a watch that goes on.
    """

    def __init__(
        self, path: str, lives: Lives | None, clock: Callable[[], int] = time.time_ns, watches: Lives | None = None
    ) -> None:
        self.path = path
        self.clock = clock
        self._lives = lives
        self._watches = watches
        self._overview: Overview | None = None
        self._identity: tuple[int, int] | None = None
        self._last = Look()

    def look(self, question: Question) -> Look:
        """What the file says now, or what it said last with the reason why that is all."""
        try:
            self._last = self._read(question)
        except DunlinError as error:
            if error.kind is not ErrorKind.LOCKED:
                self.close()
            self._last = self._last._replace(problem=in_words(error))
        except Exception as error:  # a damaged file may hold anything, and none of it ends the dashboard
            self.close()
            words = f"the state file holds what cannot be understood ({type(error).__name__})"
            self._last = self._last._replace(problem=words)
        return self._last

    def overview(self) -> Overview:
        """The open file; opened anew when another one stands in its place. Raises `DunlinError`."""
        try:
            found = os.stat(self.path)
        except OSError as error:
            raise translate(error, "read the state file", self.path) from error
        identity = found.st_dev, found.st_ino
        if self._overview is None or identity != self._identity:
            self.close()
            self._overview = Overview.open(self.path, self._lives, self.clock, BUSY_MS)
            self._identity = identity
        return self._overview

    def _read(self, question: Question) -> Look:
        overview, time_ns = self.overview(), self.clock()
        pairs = overview.pairs()
        now = self._now(overview, pairs, question.pair)
        pair = now.run.pair if now is not None else question.pair
        run = now.run.id if now is not None else None
        # A file of one pair shows what happened in all of its runs: a watch makes a new one at every look.
        only = run if len(pairs) > 1 else None
        look = Look(
            question,
            time_ns,
            "",
            pairs,
            now,
            None if run is None else overview.latest(run),
            None if run is None else overview.crawl(run),
            overview.day(pair),
            None,
            overview.activity(ACTIVITIES, run=only, text=question.text)[::-1],
            overview.errors(ERRORS, pair=pair),
            overview.error_counts(pair=pair),
            curves={"bytes": overview.series("bytes", time_ns - DAY, time_ns, BUCKETS, pair=pair)},
            watched=now is not None and self._watches is not None and self._watches(now.run),
        )
        if question.page == "errors":
            log = overview.errors(
                min(question.errors, MOST_ERRORS),
                pair=pair,
                kind=question.kind,
                text=question.error_text,
                resolved=question.resolved,
            )
            look = look._replace(log=log)
        elif question.page == "statistics":
            day = {name: overview.series(name, time_ns - DAY, time_ns, BUCKETS, pair=pair) for name in _kept()}
            begin = time_ns - RECENT * SECOND
            recent = {name: overview.series(name, begin, time_ns, BUCKETS, run=run) for name in _kept()}
            runs = [(each, overview.word(each)) for each in overview.runs(pair, limit=20)]
            look = look._replace(curves=day, recent=recent, runs=runs, ever=overview.ever(pair))
        return look

    def _now(self, overview: Overview, pairs: list[PairNow], pair: int | None) -> RunNow | None:
        chosen = next((each for each in pairs if each.id == pair and each.run), None)
        return overview.now(chosen.run) if chosen is not None else overview.now()

    def tell(self, run: int, verb: str) -> str:
        """Give a run an order, as `dunlin control` does; "" or why it could not be given."""
        try:
            state = State.open(self.path, NullReport(), create=False, write=True, busy_ms=ORDER_BUSY_MS)
            try:
                told = state.control_put(run, verb)
            finally:
                state.close()
        except DunlinError as error:
            return in_words(error)
        return "" if told else f"run {run} is over"

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        overview, self._overview = self._overview, None
        if overview is not None:
            with suppress(DunlinError):
                overview.close()


def _kept() -> list[str]:
    from dunlin.state.overview import SERIES

    return [name for name in CURVES if name in SERIES]


def in_words(error: DunlinError) -> str:
    """Why the file could not be read, in one line for the screen."""
    if error.kind is ErrorKind.NOT_FOUND:
        empty = error.reason.endswith("is empty")  # one that a run is about to fill, or that somebody has cut
        return "the state file is empty; waiting for a run" if empty else "the state file is gone; waiting for it"
    if error.kind is ErrorKind.LOCKED:
        return "the state file is locked by another process"
    return f"the state file cannot be read: {error.reason or error.kind.value}"


class Thread:
    """One daemon thread that calls what it is given, one after another, until it is closed."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="dunlin-dashboard-reader", daemon=True).start()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def close(self) -> None:
        """End after what was given already; nobody waits for it."""
        self._calls.put(None)

    async def call(self, function: Callable[[], Answer]) -> Answer:
        """What `function` returns, or raises, on the thread."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()

        def done(setter: Callable[[Any], None], value: Any) -> None:
            if not future.cancelled():
                setter(value)

        def work() -> None:
            try:
                result = function()
            except BaseException as error:
                _send(loop, done, future.set_exception, error)
            else:
                _send(loop, done, future.set_result, result)

        self._calls.put(work)
        return await future


def _send(loop: asyncio.AbstractEventLoop, *call: Any) -> None:
    with suppress(RuntimeError):  # the screen was closed meanwhile, and nobody waits
        loop.call_soon_threadsafe(*call)
