"""The state of one file: everything a run remembers, as one object.

`State` binds the verbs of its parts; each part stands, with its theory, in the module of its name:

    runs      pairs, runs, what a power cut left in doubt        files   rows of files: synced, pending, failed
    frontier  directories: queued, scanned, done                 later   deferred deletions and hard links
    news      events, metrics, orders to a run                   status  what people are shown
    thinning  what is dropped as it grows old

One process writes a pair at a time (the caller holds the pair's lock); any number of processes read,
and several pairs may share a file: transactions are short and wait for each other. Use it from one
thread, and not in a forked child.

    with state.transaction():                       # everything that arrived together
        state.put_synced(run, directory, rows, "blake3")
        ids = state.add_directories(run, [("a/b", Target.UNKNOWN)])
        state.finish_directory(run, directory, DirectoryStatus.DONE, ctime, digest)
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from dunlin.errors import DunlinError
from dunlin.report import Event, Level, Report
from dunlin.sqlite import BUSY_MS, Database, Schema, load_statements, open_database
from dunlin.state.files import Files
from dunlin.state.frontier import Frontier
from dunlin.state.later import Later
from dunlin.state.news import News
from dunlin.state.runs import Runs
from dunlin.state.status import Status
from dunlin.state.thinning import Thinning

# beside this file: importlib.resources would take 30 ms of a start
_HERE = os.path.dirname(__file__)


def _create() -> str:
    return _read("schema.sql")


def _read(name: str) -> str:
    with open(os.path.join(_HERE, name), encoding="utf-8") as file:
        return file.read()


SCHEMA = Schema(
    what="state file",
    option="--state-db",
    application_id=0x446E6C53,  # "DnlS"
    version=3,
    create=_create,
    # schema.sql is always the newest as a whole; a migration is never changed once it was released
    migrations={2: lambda: _read("migrations/2.sql"), 3: lambda: _read("migrations/3.sql")},
)


class State:
    """See the module docstring. Make one with `State.open`."""

    def __init__(self, database: Database, report: Report, clock: Callable[[], int] = time.time_ns) -> None:
        self.database = database
        self._clock = clock
        self._sql = self.statements = load_statements(os.path.join(_HERE, "queries.sql"))
        self._last: int = database.value(self._sql["clock"])
        self._kept = self._last

        runs = Runs(database, self._sql, self.now)
        self.pair, self.begin_run, self.adopt = runs.pair, runs.begin_run, runs.adopt
        self.pairs = runs.pairs
        self.newest_run, self.retries = runs.newest_run, runs.retries
        self.update_run, self.finish_run = runs.update_run, runs.finish_run
        self.run, self.last_run, self.running, self.unfinished = runs.run, runs.last_run, runs.running, runs.unfinished
        self.watched, self.checked, self.last_success = runs.watched, runs.checked, runs.last_success
        self.tokens, self.moved_bytes = runs.tokens, runs.moved_bytes
        self.set_root, self.set_durable = runs.set_root, runs.set_durable
        self.suspects, self.suspect_files = runs.suspects, runs.suspect_files
        self.set_token, self.token = runs.set_token, runs.token
        self.set_bookmark, self.bookmark, self.clear_bookmarks = runs.set_bookmark, runs.bookmark, runs.clear_bookmarks

        frontier = Frontier(database, self._sql)
        self.start_frontier, self.add_directories = frontier.start_frontier, frontier.add_directories
        self.next_directories, self.finish_directory = frontier.next_directories, frontier.finish_directory
        self.finished, self.digests, self.directory_path = frontier.finished, frontier.digests, frontier.directory_path
        self.failed_directories, self.subdirectories = frontier.failed_directories, frontier.subdirectories
        self.forget_gone, self.scanned_directories = frontier.forget_gone, frontier.scanned_directories

        files = Files(database, self._sql, self.now)
        self.put_files, self.put_synced, self.is_empty = files.put_files, files.put_synced, files.is_empty
        self.known_rows, self.known_names = files.known_rows, files.known_names
        self.forget_missing, self.forget_unseen = files.forget_missing, files.forget_unseen
        self.pending, self.pending_totals, self.failed = files.pending, files.pending_totals, files.failed
        self.count_failed = files.count_failed

        later = Later(database, self._sql)
        self.add_extras, self.extras, self.count_extras = later.add_extras, later.extras, later.count_extras
        self.drop_extras, self.clear_extras, self.blocked = later.drop_extras, later.clear_extras, later.blocked
        self.add_links, self.link_groups, self.clear_links = later.add_links, later.link_groups, later.clear_links

        news = News(database, self._sql, self.now)
        self.put_event, self.resolve, self.events = news.put_event, news.resolve, news.events
        self.put_metric, self.metrics = news.put_metric, news.metrics
        self.put_crawl, self.crawls = news.put_crawl, news.crawls
        self.thin = Thinning(database, self._sql, self.now, news).thin
        self.control_put, self.control_poll = news.control_put, news.control_poll
        self.control_waiting, self.orders = news.control_waiting, news.orders

        status = Status(database, self._sql)
        self.status, self.bad_directories = status.status, status.bad_directories

    @classmethod
    def open(
        cls,
        path: str | None,
        report: Report,
        *,
        create: bool = True,
        write: bool = True,
        clock: Callable[[], int] = time.time_ns,
        busy_ms: int = BUSY_MS,
        waits: Callable[[], None] | None = None,
    ) -> State:
        """Open the state file; None for a private temporary one (``--state-db none``).

        Args:
            create: make the file when it is missing. Readers (status, dashboard, control) give False.
            write: fail when the file can only be read. Readers give False.
            clock: gives ns since 1970.
            busy_ms: how long to wait for another process's transaction, milliseconds.
            waits: called once when that takes longer than a moment; see `sqlite.open_database`.

        Raises what `sqlite.open_database` raises.
        """

        def warn(message: str) -> None:
            report.event(Event(Level.WARN, "state.journal", message, {"path": path}))

        database = open_database(path, SCHEMA, warn, create=create, write=write, busy_ms=busy_ms, waits=waits)
        try:
            return cls(database, report, clock)
        except BaseException:
            database.close()
            raise

    def now(self) -> int:
        """The time, ns since 1970, later than every time this file was given before."""
        self._last = max(self._last + 1, self._clock())
        return self._last

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, for everything that arrived together; a commit costs about as much as 20 rows."""
        with self.database.transaction():
            yield
            if self._last != self._kept:
                self.database.execute(self._sql["clock_set"], (self._last,))
        self._kept = self._last

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        if self._last != self._kept and self.database.writable:
            with suppress(DunlinError):  # a full disk: the next run's clock is late by a few ns at worst
                self.database.execute(self._sql["clock_set"], (self._last,))
            self._kept = self._last
        self.database.close()
