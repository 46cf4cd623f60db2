"""The ledger's contract, in every engine: schedules start each job once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dunlin.errors import ErrorKind
from dunlin.queue.ledger import JobStatus, Ledger, NewSchedule, Schedule, Tenant
from tests.contract.ledgers import NOON, Clock
from tests.contract.test_ledger import fails

HOUR = 3600.0


def minutely(name: str = "s", **changes: Any) -> NewSchedule:
    return NewSchedule(name, "sync", b'{"a":1}', interval=60.0, **changes)


def test_a_schedule_is_kept_as_it_was_put(ledger: Ledger) -> None:
    ledger.accounts.put_tenant(Tenant("acme"))
    when = "30 2 * * *", 0.0, "Europe/Berlin"
    new = NewSchedule("nightly é", "sync", b'{"a":1}', "acme", *when, True, True, "x -> y", 4)
    made = ledger.schedules.put(new, "ann")
    assert made == Schedule(new, "ann", NOON, None, "", NOON + 12.5 * HOUR, 0)
    assert ledger.schedules.get("nightly é", "acme") == made
    assert ledger.schedules.get("nightly é") is None
    ledger.schedules.put(minutely("b"))
    assert [one.new.name for one in ledger.schedules.all()] == ["b", "nightly é"]
    assert [one.new.name for one in ledger.schedules.all("acme")] == ["nightly é"]
    assert ledger.schedules.remove("nightly é", "acme")
    assert not ledger.schedules.remove("nightly é", "acme")


@pytest.mark.parametrize(
    "new",
    [
        NewSchedule("s", "sync"),
        NewSchedule("s", "sync", cron="* * * * *", interval=60.0),
        NewSchedule("s", "sync", interval=0.5),
        NewSchedule("s", "sync", interval=float("nan")),
        NewSchedule("s", "sync", interval=float("inf")),
        NewSchedule("s", "sync", interval=-60.0),
        NewSchedule("s", "sync", cron="61 * * * *"),
        NewSchedule("s", "sync", cron="* * * * * *"),
        NewSchedule("s", "sync", cron="0 0 30 2 *"),
        NewSchedule("s", "sync", cron="@daily"),
        NewSchedule("s", "sync", cron="* * * * *", zone="Mars/Base"),
        NewSchedule("s", "sync", interval=60.0, zone="../../etc/passwd"),
        NewSchedule("s", "sync", b"no json", interval=60.0),
        NewSchedule("s/t", "sync", interval=60.0),
    ],
)
def test_schedules_that_make_no_sense_are_refused(ledger: Ledger, new: NewSchedule) -> None:
    fails(ErrorKind.USAGE, lambda: ledger.schedules.put(new))
    assert ledger.schedules.all() == []


def test_a_tenant_must_be_there(ledger: Ledger) -> None:
    fails(ErrorKind.NOT_FOUND, lambda: ledger.schedules.put(minutely(tenant="nowhere")))


def test_due_queues_a_job_and_says_when_next(ledger: Ledger, clock: Clock) -> None:
    ledger.schedules.put(minutely(label="x -> y", priority=7), "ann")
    assert ledger.schedules.due() == []
    clock.now += 60
    [due] = ledger.schedules.due()
    assert due.at == NOON + 60
    assert due.job is not None
    assert ledger.jobs.get(due.job.id) == due.job
    assert (due.job.kind, due.job.options, due.job.label, due.job.priority) == ("sync", b'{"a":1}', "x -> y", 7)
    assert (due.job.status, due.job.created_by) == (JobStatus.QUEUED, "schedule s")
    assert due.schedule == ledger.schedules.get("s")
    assert (due.schedule.last_run, due.schedule.last_job, due.schedule.next_run) == (clock.now, due.job.id, NOON + 120)
    assert ledger.schedules.due() == []


def test_what_was_missed_is_made_up_for_once(ledger: Ledger, clock: Clock) -> None:
    ledger.schedules.put(minutely())
    clock.now += 10 * 60 + 7
    [due] = ledger.schedules.due()
    assert due.at == NOON + 60
    assert due.schedule.next_run == NOON + 11 * 60, "the rhythm stays"
    assert ledger.schedules.due() == []


def test_a_job_that_has_not_ended_is_not_started_over(ledger: Ledger, clock: Clock) -> None:
    ledger.schedules.put(minutely())
    ledger.schedules.put(minutely("o", overlap=True))
    clock.now += 60
    first = {due.schedule.new.name: due.job for due in ledger.schedules.due()}
    assert first["s"] is not None
    clock.now += 60
    second = {due.schedule.new.name: due for due in ledger.schedules.due()}
    assert second["s"].job is None
    assert second["s"].schedule.passed_over == 1
    assert second["s"].schedule.last_job == first["s"].id
    assert second["o"].job is not None
    for status in (JobStatus.RUNNING, JobStatus.COMPLETED):
        ledger.jobs.move(first["s"].id, status)
    clock.now += 60
    third = {due.schedule.new.name: due for due in ledger.schedules.due()}
    assert third["s"].job is not None
    assert third["s"].schedule.passed_over == 1


def test_of_services_that_look_at_once_one_is_first(ledger: Ledger, ledger_url: str, opened: Any, clock: Clock) -> None:
    for n in range(10):
        ledger.schedules.put(minutely(f"s{n}"))
    clock.now += 60
    ledgers = [ledger, opened(ledger_url, clock)]
    gate = threading.Barrier(4)

    def look(n: int) -> list[str]:
        gate.wait()
        return [due.schedule.new.name for _ in range(3) for due in ledgers[n % 2].schedules.due()]

    with ThreadPoolExecutor(4) as pool:
        started = [name for names in pool.map(look, range(4)) for name in names]
    assert sorted(started) == [f"s{n}" for n in range(10)]
    assert len(ledger.jobs.page()) == 10


def test_a_schedule_that_is_off_is_not_due(ledger: Ledger, clock: Clock) -> None:
    ledger.schedules.put(minutely())
    off = ledger.schedules.enable("s", False)
    assert off is not None
    assert (off.new.enabled, off.next_run) == (False, None)
    clock.now += 1000
    assert ledger.schedules.due() == []
    on = ledger.schedules.enable("s", True)
    assert on is not None
    assert on.next_run == clock.now + 60, "what was missed is not made up for"
    assert ledger.schedules.enable("s", True) == on
    assert ledger.schedules.enable("t", True) is None
    made = ledger.schedules.put(minutely("off", enabled=False))
    assert made.next_run is None


def test_a_change_keeps_the_next_time_unless_it_moves_it(ledger: Ledger, clock: Clock) -> None:
    made = ledger.schedules.put(minutely(), "ann")
    clock.now += 30
    changed = ledger.schedules.put(minutely(label="new"), "bob")
    assert (changed.next_run, changed.created_by, changed.created) == (made.next_run, "ann", NOON)
    moved = ledger.schedules.put(NewSchedule("s", "sync", interval=90.0))
    assert moved.next_run == clock.now + 90


def test_a_schedule_runs_when_it_is_asked_to(ledger: Ledger, clock: Clock) -> None:
    made = ledger.schedules.put(minutely())
    clock.now += 5
    job = ledger.schedules.run("s", created_by="ann")
    assert job is not None
    assert (job.created_by, job.status) == ("ann", JobStatus.QUEUED)
    now = ledger.schedules.get("s")
    assert now is not None
    assert (now.last_job, now.last_run, now.next_run) == (job.id, clock.now, made.next_run)
    assert ledger.schedules.run("t") is None


def test_its_jobs_are_of_the_machine_whose_paths_they_name(ledger: Ledger, clock: Clock) -> None:
    assert ledger.schedules.put(minutely(host="nas")).new.host == "nas"
    clock.now += 60
    [due] = ledger.schedules.due()
    now = ledger.schedules.run("s")
    assert due.job is not None
    assert now is not None
    assert (due.job.host, now.host) == ("nas", "nas")
    assert ledger.schedules.put(minutely()).new.host == ""
