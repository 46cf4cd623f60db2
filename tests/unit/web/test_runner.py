"""Jobs of the service: claimed, done, paused, cancelled, put back; with a run that only waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dunlin.config.service import Tenant
from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs.options import Result, SyncOptions
from dunlin.model import Stats
from dunlin.pace.stop import Stop
from dunlin.queue.ledger.ledger import Ledger, open_ledger
from dunlin.queue.ledger.words import Job, JobStatus, NewJob, Wish
from dunlin.report import Event, Level, NullReport, Report
from dunlin.web.runner import Runner

PATIENCE = 20.0


class Run:
    """Ends when it is told to, or stopped."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.began = threading.Event()
        self.result = Result(Stats(copied_files=3), "completed", "", 0, 7)
        self.error: Exception | None = None
        self.asked: list[SyncOptions] = []

    def __call__(self, options: SyncOptions, stop: Stop, report: Report) -> Result:
        self.asked.append(options)
        report.count("copied_files", 3)
        report.count("scanned_bytes", 99)
        report.gauge("pending_files", 4)
        report.event(Event(Level.INFO, "file.copied", "a", {"path": "a"}))
        report.event(Event(Level.INFO, "run.started", "scanning", {"run": 7}))
        self.began.set()
        stop.tell(self.go.set)
        assert self.go.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        if stop.requested:
            return self.result._replace(status="interrupted", exit_code=130, message=stop.reason)
        return self.result


class Made:
    def __init__(self, ledger: Ledger, roots: tuple[str, ...]) -> None:
        self.ledger, self.run, self.events = ledger, Run(), []  # type: tuple[Ledger, Run, list[Event]]
        self.now = 1000.0

        def ask(kind: str, options: Mapping[str, Any]) -> SyncOptions:
            return SyncOptions(options["source"], options["destination"])

        self.runner = Runner(
            ledger.jobs, ask, self.run, lambda name: Tenant(name, roots, ()) if name == "t" else None, 1, "me",
            NullReport(), self.events.append, lambda: self.now,
        )  # fmt: skip

    def submit(self, tenant: str = "t", source: str = "/a", kind: str = "sync") -> str:
        options = msgspec.json.encode({"source": source, "destination": "/b"})
        return self.ledger.jobs.submit(NewJob(kind, options, tenant)).job.id

    def job(self, id: str) -> Job:
        found = self.ledger.jobs.get(id)
        assert found is not None
        return found

    def until(self, good: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not good():
            assert time.monotonic() < end
            time.sleep(0.005)  # for a thread, not for a clock


@contextmanager
def made(tmp_path: Path, roots: tuple[str, ...] = ()) -> Iterator[Made]:
    ledger = open_ledger(str(tmp_path / "ledger.db"))
    found = Made(ledger, roots)
    try:
        yield found
    finally:
        found.runner.close(PATIENCE)
        ledger.close()


def test_a_job_is_done_and_its_end_is_on_record(tmp_path: Path) -> None:
    with made(tmp_path) as it:
        id = it.submit()
        it.runner.look()
        assert it.run.began.wait(PATIENCE)
        assert it.job(id).status is JobStatus.RUNNING
        it.runner.look()
        assert it.job(id).counts == {"copied_files": 3, "pending_files": 4}
        it.run.go.set()
        it.until(lambda: it.job(id).status is JobStatus.COMPLETED)
        result = msgspec.json.decode(it.job(id).result)
        assert (result["run"], result["exit_code"], result["stats"]) == (7, 0, {"copied_files": 3})
        started = next(event for event in it.events if event.name == "run.started")
        assert started.fields == {"job": id, "run_id": 7}
        assert not any(event.name.startswith("file.") for event in it.events)


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [(0, "completed", ""), (3, "completed", ""), (24, "completed", ""), (23, "failed", "2 files failed (exit code 23)"),
     (25, "failed", "0 files failed (exit code 25)")],
)  # fmt: skip
def test_exit_codes(tmp_path: Path, code: int, status: str, error: str) -> None:
    with made(tmp_path) as it:
        it.run.result = Result(Stats(failed_files=2 if code == 23 else 0), "completed", "", code)
        it.run.go.set()
        id = it.submit()
        it.runner.look()
        it.until(lambda: it.job(id).status.value == status)
        assert it.job(id).error == error


def test_there_are_no_more_at_a_time_than_slots(tmp_path: Path) -> None:
    with made(tmp_path) as it:
        first, second = it.submit(), it.submit()
        it.runner.look()
        it.runner.look()
        assert (it.job(first).status, it.job(second).status) == (JobStatus.RUNNING, JobStatus.QUEUED)
        it.run.go.set()
        it.until(lambda: it.runner.busy == 0)
        it.runner.look()
        it.until(lambda: it.job(second).status is JobStatus.COMPLETED)


@pytest.mark.parametrize(("wish", "status"), [(Wish.PAUSE, JobStatus.PAUSED), (Wish.CANCEL, JobStatus.CANCELLED)])
def test_wishes_are_obeyed(tmp_path: Path, wish: Wish, status: JobStatus) -> None:
    with made(tmp_path) as it:
        id = it.submit()
        it.runner.look()
        assert it.ledger.jobs.ask(id, wish)
        it.runner.look()
        it.until(lambda: it.job(id).status is status)
        if wish is Wish.PAUSE:
            it.run.go.clear()
            it.ledger.jobs.move(id, JobStatus.QUEUED)
            it.until(lambda: it.runner.busy == 0)
            it.runner.look()
            assert it.job(id).status is JobStatus.RUNNING


def test_the_end_of_the_service_puts_jobs_back(tmp_path: Path) -> None:
    with made(tmp_path) as it:
        id = it.submit()
        it.runner.look()
        assert it.run.began.wait(PATIENCE)
        assert it.runner.close(PATIENCE)
        assert it.job(id).status is JobStatus.QUEUED


def test_what_another_service_left_is_queued_again(tmp_path: Path) -> None:
    with made(tmp_path) as it:
        id = it.submit()
        it.ledger.jobs.claim("dead", -1.0)
        it.runner.look()
        it.runner.look()
        assert it.job(id).owner == "me"


def test_an_error_of_the_run_and_a_fault_are_told(tmp_path: Path) -> None:
    with made(tmp_path) as it:
        it.run.go.set()
        for error, words in (
            (DunlinError("read", "/a", ErrorKind.NOT_FOUND, "gone"), "cannot read /a: gone"),
            (ZeroDivisionError("x"), "a fault of dunlin itself: ZeroDivisionError"),
        ):
            it.run.error = error
            id = it.submit()
            it.runner.look()
            it.until(lambda id=id: it.job(id).status is JobStatus.FAILED)  # type: ignore[misc]
            assert it.job(id).error == words
            it.until(lambda: it.runner.busy == 0)


def test_roots_are_looked_at_when_it_is_asked_for_and_when_it_is_done(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    with made(tmp_path, (str(inside),)) as it:
        tenant = Tenant("t", (str(inside),), ())
        with pytest.raises(DunlinError, match="outside the allowed roots"):
            it.runner.check("sync", {"source": "/etc", "destination": str(inside / "b")}, tenant)
        it.run.go.set()
        id = it.submit(source="/etc")
        it.runner.look()
        it.until(lambda: it.job(id).status is JobStatus.FAILED)
        assert "outside the allowed roots" in it.job(id).error
        assert it.run.asked == []
        it.until(lambda: it.runner.busy == 0)
        gone = it.submit(tenant="gone")
        it.runner.look()
        it.until(lambda: it.job(gone).status is JobStatus.FAILED)


def test_other_kinds_are_left_to_others(tmp_path: Path) -> None:
    with made(tmp_path) as it:
        id = it.submit(kind="publish")
        it.runner.look()
        assert it.job(id).status is JobStatus.QUEUED
        with pytest.raises(DunlinError, match="does no such jobs"):
            it.runner.check("publish", {}, Tenant("t", (), ()))
