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
from dunlin.jobs.office import Office, name_of
from dunlin.jobs.options import Result, Spread, SyncOptions
from dunlin.model import Stats
from dunlin.pace.stop import Stop
from dunlin.queue.base import Queue
from dunlin.queue.ledger.ledger import Ledger, open_ledger
from dunlin.queue.ledger.words import Job, JobStatus, NewJob, Wish
from dunlin.queue.open import open_queue
from dunlin.report import Event, Level, NullReport, Report
from dunlin.web.kinds import KEEPS
from dunlin.web.machine import Machine
from dunlin.web.outcome import Done
from dunlin.web.runner import SURE, Runner

PATIENCE = 20.0


class Run:
    """Ends when it is told to, or stopped."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.began = threading.Event()
        self.result = Result(Stats(copied_files=3), "completed", "", 0, 7)
        self.error: Exception | None = None
        self.asked: list[SyncOptions] = []

    def __call__(self, options: SyncOptions, stop: Stop, report: Report, *, office: Office | None) -> Result:
        self.asked.append(options)
        self.office = office
        if office is not None:
            office.take("file:///b", "/b", f"token{len(self.asked)}", frozenset(), 0.0, stop, report)
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


class Keeps:
    """Does jobs with repositories as it is told."""

    def __init__(self) -> None:
        self.done = Done("completed", True, "unseen", {"exit_code": 0})
        self.error: Exception | None = None
        self.asked: list[tuple[str, str]] = []
        self.stops = False
        self.began = threading.Event()

    def check(self, kind: str, options: Mapping[str, Any], tenant: Tenant) -> str:
        return f"{kind} of {tenant.name}"

    def host(self, kind: str, options: Mapping[str, Any], tenant: Tenant) -> str:
        return "nas"

    def check_target(self, options: SyncOptions) -> None:
        if options.destination == "/vault":
            raise DunlinError("write to", "/vault", ErrorKind.DENIED, "a repository of backups is there")

    def do(self, job: Job, tenant: Tenant, stop: Stop, report: Report, office: Office) -> Done:
        self.asked.append((job.kind, tenant.name))
        report.count("copied_files", 5)
        if self.stops:
            over = threading.Event()
            stop.tell(over.set)
            self.began.set()
            assert over.wait(PATIENCE)
            raise DunlinError("back up", "", ErrorKind.INTERRUPTED, stop.reason)
        if self.error is not None:
            raise self.error
        return self.done


class Made:
    def __init__(self, ledger: Ledger, queue: Queue, roots: tuple[str, ...]) -> None:
        self.keeps = Keeps()
        self.ends: list[tuple[str, str, bool]] = []
        self.ledger, self.run, self.events = ledger, Run(), []  # type: tuple[Ledger, Run, list[Event]]
        self.queue = queue
        self.now = 1000.0
        self.machine = Machine()

        def ask(kind: str, options: Mapping[str, Any]) -> SyncOptions:
            spread = Spread("queue.db") if options.get("queue") else None
            mode = "check" if kind == "check" else "sync"
            return SyncOptions(options["source"], options["destination"], mode=mode, spread=spread)

        self.runner = Runner(
            ledger.jobs, ask, self.run, lambda name: Tenant(name, roots, ()) if name == "t" else None, 1, "me",
            NullReport(), self.events.append, lambda: self.now,
            lambda: Office(self.queue, lambda: self.now), machine=lambda: self.machine, keeps=self.keeps,
            ended=lambda job, done: self.ends.append((job.kind, done.status, done.good)),
        )  # fmt: skip

    def submit(self, tenant: str = "t", source: str = "/a", kind: str = "sync", queue: bool = False) -> str:
        options = msgspec.json.encode({"source": source, "destination": "/b", "queue": queue})
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
    queue = open_queue(str(tmp_path / "queue.db"))
    found = Made(ledger, queue, roots)
    try:
        yield found
    finally:
        found.runner.close(PATIENCE)
        ledger.close()
        queue.close()


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


# ---- several services ----


def taken_over(it: Made) -> str:
    """A job that is under way here, and another service's by now."""
    id = it.submit()
    it.runner.look()
    assert it.run.began.wait(PATIENCE)
    it.ledger.jobs.move(id, JobStatus.INTERRUPTED)
    it.ledger.jobs.move(id, JobStatus.QUEUED)
    assert it.ledger.jobs.claim("other", 60.0)
    return id


def test_a_job_that_another_service_has_is_stopped_and_not_ended(tmp_path: Path) -> None:
    with made(tmp_path) as it:
        id = taken_over(it)
        it.now += 5
        it.runner.look()
        it.until(lambda: it.runner.busy == 0)
        assert (it.job(id).status, it.job(id).owner, it.job(id).counts) == (JobStatus.RUNNING, "other", {})
        assert "job.lost" in [event.name for event in it.events]


def test_the_end_of_a_job_that_another_service_has_is_not_put_on_record(tmp_path: Path) -> None:
    with made(tmp_path) as it:
        id = taken_over(it)
        it.run.go.set()  # before this service has looked
        it.until(lambda: it.runner.busy == 0)
        assert (it.job(id).status, it.job(id).owner) == (JobStatus.RUNNING, "other")


def test_a_service_that_slept_stops_its_runs_before_it_asks_anybody(tmp_path: Path) -> None:
    with made(tmp_path) as it:
        id = it.submit()
        it.runner.look()
        assert it.run.began.wait(PATIENCE)
        it.now += SURE
        it.runner.look_at_the_clock()
        assert it.runner.busy == 1
        it.now += 1
        it.runner.look_at_the_clock()
        it.until(lambda: it.runner.busy == 0)
        assert "job.lost" in [event.name for event in it.events]
        # Nobody took it meanwhile: it goes on.
        assert it.job(id).status is JobStatus.QUEUED


def test_a_job_that_comes_back_before_its_run_has_stopped_waits_for_that(tmp_path: Path) -> None:
    with made(tmp_path) as it:
        id = it.submit()
        it.runner._slots = 2
        it.runner.look()
        assert it.run.began.wait(PATIENCE)
        it.ledger.jobs.move(id, JobStatus.INTERRUPTED)
        it.ledger.jobs.move(id, JobStatus.QUEUED)
        it.runner.look()
        assert len(it.run.asked) == 1
        assert it.job(id).status is JobStatus.QUEUED
        other = it.submit()
        it.runner.look()
        assert it.job(other).status is not JobStatus.QUEUED, "it is not held up by the older one"
        assert it.job(id).status is JobStatus.QUEUED


def test_an_end_that_could_not_be_put_on_record_is_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with made(tmp_path) as it:
        id = it.submit()
        it.runner.look()
        assert it.run.began.wait(PATIENCE)
        with monkeypatch.context() as patch:

            def away(*_: object, **__: object) -> None:
                raise DunlinError("use the ledger", "", ErrorKind.NETWORK, "away")

            patch.setattr(it.ledger.jobs, "progress", away)
            it.run.go.set()
            it.until(lambda: it.runner.busy == 0)
        assert it.job(id).status is JobStatus.RUNNING
        it.now += 5
        it.runner.look()
        it.until(lambda: it.job(id).status is JobStatus.COMPLETED)
        assert len(it.run.asked) == 2


def test_a_sync_has_the_office_of_its_destination_while_it_goes_on(tmp_path: Path) -> None:
    with made(tmp_path) as it:
        id = it.submit()
        it.runner.look()
        assert it.run.began.wait(PATIENCE)
        assert not it.queue.hold(name_of("file:///b"), "another run", 30.0)
        it.queue.leave(name_of("file:///b"), "token1")
        assert it.queue.hold(name_of("file:///b"), "another run", 30.0)
        it.now += 5
        it.runner.look()
        it.until(lambda: it.job(id).status is JobStatus.FAILED)
        assert it.job(id).error == "another run writes to the same destination, from another machine"
        it.until(lambda: it.runner.busy == 0)
        it.run.began.clear()
        second = it.submit()
        it.runner.look()
        it.until(lambda: it.job(second).status is JobStatus.FAILED)
        assert "another run writes there" in it.job(second).error
        it.queue.leave(name_of("file:///b"), "another run")
        it.until(lambda: it.runner.busy == 0)
        third = it.submit()
        it.runner.look()
        it.until(lambda: it.job(third).status is JobStatus.COMPLETED)
        assert it.queue.hold(name_of("file:///b"), "another run", 30.0), "it was left"


def test_a_run_whose_queue_is_away_for_too_long_goes_on_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with made(tmp_path) as it:
        id = it.submit()
        it.runner.look()
        assert it.run.began.wait(PATIENCE)

        def away(*_: object) -> bool:
            raise DunlinError("use the queue", "", ErrorKind.NETWORK, "away")

        monkeypatch.setattr(it.queue, "hold", away)
        for _ in range(4):
            it.now += 5
            it.runner.look()
            assert it.runner.busy == 1
        it.now += 6
        it.runner._closing = True  # it would begin again at once
        it.runner.look()
        it.until(lambda: it.runner.busy == 0)
        assert it.job(id).status is JobStatus.QUEUED


@pytest.mark.parametrize(("kind", "queue"), [("check", False), ("sync", True)])
def test_runs_that_only_look_or_are_spread_take_no_office_here(tmp_path: Path, kind: str, queue: bool) -> None:
    with made(tmp_path) as it:
        id = it.submit(kind=kind, queue=queue)
        it.run.go.set()
        it.runner.look()
        it.until(lambda: it.job(id).status is JobStatus.COMPLETED)
        assert it.run.office is None


def test_a_job_of_another_machine_is_left_to_it(tmp_path: Path) -> None:
    with made(tmp_path) as it:
        it.machine = Machine("far")
        theirs = it.ledger.jobs.submit(NewJob("sync", b'{"source": "/a", "destination": "/b"}', "t", host="nas")).job.id
        it.runner.look()
        assert (it.job(theirs).status, it.runner.busy) == (JobStatus.QUEUED, 0)
        it.machine = Machine("nas")
        it.runner.look()
        assert (it.job(theirs).status, it.runner.busy) == (JobStatus.RUNNING, 1)


def test_a_job_that_names_a_path_is_of_this_machine(tmp_path: Path) -> None:
    with made(tmp_path) as it:
        it.machine = Machine("nas", ("/srv/data",))
        tenant = Tenant("t", (), ())
        assert it.runner.host("sync", {"source": "/a", "destination": "s3://b"}, tenant) == "nas"
        assert it.runner.host("sync", {"source": "/srv/data/a", "destination": "s3://b"}, tenant) == ""


@pytest.mark.parametrize("kind", KEEPS)
def test_what_has_to_do_with_repositories_is_done_by_who_knows_them(tmp_path: Path, kind: str) -> None:
    with made(tmp_path) as it:
        tenant = Tenant("t", (), ())
        assert (it.runner.check(kind, {}, tenant), it.runner.host(kind, {}, tenant)) == (f"{kind} of t", "nas")
        id = it.submit(kind=kind)
        it.runner.look()
        it.until(lambda: it.job(id).status is JobStatus.COMPLETED)
        job = it.job(id)
        assert (it.keeps.asked, job.counts, job.error) == ([(kind, "t")], {"copied_files": 5}, "")
        assert msgspec.json.decode(job.result) == {"exit_code": 0}
        it.until(lambda: it.ends == [(kind, "completed", True)])


def test_what_went_wrong_with_it_is_on_record(tmp_path: Path) -> None:
    with made(tmp_path) as it:
        it.keeps.done = Done("completed", False, "2 objects damaged", {"exit_code": 3})
        bad = it.submit(kind="verify")
        it.runner.look()
        it.until(lambda: it.job(bad).status is JobStatus.FAILED)
        assert (it.job(bad).error, msgspec.json.decode(it.job(bad).result)) == ("2 objects damaged", {"exit_code": 3})
        it.until(lambda: it.runner.busy == 0)
        it.keeps.error = DunlinError("open the repository", "vault", ErrorKind.AUTH, "the password is wrong")
        locked = it.submit(kind="prune")
        it.runner.look()
        it.until(lambda: it.job(locked).status is JobStatus.FAILED)
        assert it.job(locked).error == "cannot open the repository vault: the password is wrong"
        it.until(lambda: it.ends == [("verify", "completed", False), ("prune", "failed", False)])


@pytest.mark.parametrize(
    ("wish", "status"), [(Wish.PAUSE, JobStatus.PAUSED), (Wish.CANCEL, JobStatus.CANCELLED), (None, JobStatus.QUEUED)]
)
def test_it_is_paused_cancelled_and_put_back_as_a_sync(tmp_path: Path, wish: Wish | None, status: JobStatus) -> None:
    with made(tmp_path) as it:
        it.keeps.stops = True
        id = it.submit(kind="backup")
        it.runner.look()
        assert it.keeps.began.wait(PATIENCE)
        if wish is None:
            it.runner.close(PATIENCE)
        else:
            it.ledger.jobs.ask(id, wish)
            it.runner.look()
        it.until(lambda: it.runner.busy == 0)
        assert it.job(id).status is status
        assert it.ends == ([("backup", "interrupted", False)] if status is JobStatus.CANCELLED else [])


def test_a_sync_does_not_write_into_a_repository(tmp_path: Path) -> None:
    with made(tmp_path) as it, pytest.raises(DunlinError, match="a repository of backups is there"):
        it.runner.check("sync", {"source": "/a", "destination": "/vault"}, Tenant("t", (), ()))
