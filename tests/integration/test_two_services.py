"""Two services on one ledger and queue of a server, with clocks of their own: one runs a job, never both."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from dunlin.config.service import Tenant
from dunlin.jobs.office import Office
from dunlin.jobs.options import Result, SyncOptions
from dunlin.model import Stats
from dunlin.pace.stop import Stop
from dunlin.queue.ledger.ledger import open_ledger
from dunlin.queue.ledger.words import JobStatus, NewJob
from dunlin.queue.open import open_queue
from dunlin.report import NullReport, Report
from dunlin.web.runner import SURE, Runner
from tests.contract.ledgers import Clock, later
from tests.servers.postgres import Postgres

PATIENCE = 20.0


class Service:
    """A runner with a connection and clocks of its own. Its runs go on until they are told to stop, or `done`."""

    def __init__(self, name: str, url: str, ahead: float, history: list[str]) -> None:
        self.name, self.history, self.lock_wait = name, history, 5.0
        self.clock, self.now = Clock(), 0.0
        self.clock.now += ahead
        self.ledger, self.queue = open_ledger(url, self.clock), open_queue(url)
        self.began, self.done = threading.Event(), threading.Event()
        self.runner = Runner(
            self.ledger.jobs, lambda kind, words: SyncOptions("/a", "/b"), self.run, lambda name: Tenant(name, (), ()),
            1, name, NullReport(), lambda event: None, lambda: self.now,
            lambda: Office(self.queue, lambda: self.now, self.nap),
        )  # fmt: skip

    def run(self, options: SyncOptions, stop: Stop, report: Report, *, office: Office | None) -> Result:
        assert office is not None
        office.take("file:///b", "/b", f"run of {self.name}", frozenset(), self.lock_wait, stop, report)
        self.history.append(f"{self.name} begins")
        self.began.set()
        stop.tell(self.done.set)
        assert self.done.wait(PATIENCE)
        self.history.append(f"{self.name} ends")
        return Result(Stats(copied_files=1), "interrupted" if stop.requested else "completed", stop.reason, 0)

    def nap(self, seconds: float) -> None:
        time.sleep(seconds / 10)  # for the other service
        self.now += seconds / 100

    def close(self) -> None:
        self.done.set()
        self.runner.close(PATIENCE)
        self.queue.close()
        self.ledger.close()


def until(good: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not good():
        assert time.monotonic() < end
        time.sleep(0.01)  # for a thread


def test_a_service_whose_clock_is_ahead_leaves_the_jobs_of_others_alone(postgres: Postgres) -> None:
    url, history = postgres.queue(), []  # type: tuple[str, list[str]]
    one, other = Service("one", url, 0.0, history), Service("other", url, 3600.0, history)
    try:
        id = one.ledger.jobs.submit(NewJob("sync")).job.id
        one.runner.look()
        assert one.began.wait(PATIENCE)
        for service in (other, one, other):
            service.now += 5
            service.runner.look()
        assert (other.runner.busy, history) == (0, ["one begins"])
        one.done.set()
        until(lambda: one.runner.busy == 0)
        found: Any = other.ledger.jobs.get(id)
        assert found.status is JobStatus.COMPLETED
        assert history == ["one begins", "one ends"]
    finally:
        one.close()
        other.close()


def test_a_service_that_was_stopped_for_longer_than_its_lease_does_not_write_beside_its_successor(
    postgres: Postgres,
) -> None:
    url, history = postgres.queue(), []  # type: tuple[str, list[str]]
    one, other = Service("one", url, -3600.0, history), Service("other", url, 0.0, history)
    try:
        id = one.ledger.jobs.submit(NewJob("sync")).job.id
        one.runner.look()
        assert one.began.wait(PATIENCE)
        # It is stopped now: it looks at nothing, and half a minute passes.
        later(one.ledger, one.clock, 31)
        other.now += 5
        other.runner.look()
        found: Any = other.ledger.jobs.get(id)
        assert (found.status, found.owner) == (JobStatus.RUNNING, "other")
        assert history == ["one begins"], "the destination is not free yet"
        # It wakes, and looks at its clock before anything else.
        one.now += SURE + 5
        one.runner.look_at_the_clock()
        assert other.began.wait(PATIENCE)
        assert history == ["one begins", "one ends", "other begins"]
        until(lambda: one.runner.busy == 0)
        found = other.ledger.jobs.get(id)
        assert (found.status, found.owner) == (JobStatus.RUNNING, "other"), "what the sleeper says does not count"
        other.done.set()
        until(lambda: other.runner.busy == 0)
        found = one.ledger.jobs.get(id)
        assert (found.status, found.owner) == (JobStatus.COMPLETED, "")
    finally:
        one.close()
        other.close()
