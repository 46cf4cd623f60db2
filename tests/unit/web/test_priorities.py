"""Priorities by HTTP and in the monitor: words and numbers, changed until the job is over, by its tenant alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from dunlin.queue.ledger.words import JobStatus, Tenant
from tests.unit.web.served import served
from tests.unit.web.test_gate import guarded
from tests.unit.web.test_jobs_api import SYNC, keys, two_tenants


@pytest.mark.parametrize(("asked", "number"), [("low", -10), ("normal", 0), ("high", 10), (-100, -100), (100, 100)])
def test_a_job_is_asked_for_with_a_priority(tmp_path: Path, asked: object, number: int) -> None:
    items = {"kind": "publish", "options": {"items": [{"from": "/a", "to": "store/"}]}}
    with served(tmp_path) as made:
        for body in (SYNC, items):
            answer = made.post("/api/v1/jobs", json={**body, "priority": asked})
            assert answer.status_code == 201
            assert answer.json().get("priority", 0) == number
        made.services.ledger.accounts.put_tenant(Tenant("default"))
        form = {**SYNC, "interval": 60, "priority": asked}
        assert made.ask("PUT", "/api/v1/schedules/s", json=form).status_code == 200
        (schedule,) = made.services.ledger.schedules.all()
        assert schedule.new.priority == number


@pytest.mark.parametrize("wrong", [101, -101, "urgent", 1.5, None, True])
def test_what_is_no_priority_is_refused(tmp_path: Path, wrong: object) -> None:
    with served(tmp_path) as made:
        assert made.post("/api/v1/jobs", json={**SYNC, "priority": wrong}).status_code == 400
        id = made.post("/api/v1/jobs", json=SYNC).json()["id"]
        assert made.post(f"/api/v1/jobs/{id}/priority", json={"priority": wrong}).status_code == 400
        assert made.get(f"/api/v1/jobs/{id}").json().get("priority", 0) == 0


def test_a_priority_is_changed_until_the_job_is_over(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        id = made.post("/api/v1/jobs", json=SYNC).json()["id"]
        answer = made.post(f"/api/v1/jobs/{id}/priority", json={"priority": "high"})
        assert (answer.status_code, answer.json()["priority"]) == (200, 10)
        assert made.runner.woken == 2
        record = made.services.ledger.audit.page()[0]
        assert (record.verb, record.target) == ("priority", id)
        made.services.ledger.jobs.move(id, JobStatus.CANCELLED)
        assert made.post(f"/api/v1/jobs/{id}/priority", json={"priority": 1}).status_code == 409
        assert made.post("/api/v1/jobs/none/priority", json={"priority": 1}).status_code == 404


def test_another_tenants_job_is_not_there(tmp_path: Path) -> None:
    with two_tenants(tmp_path) as made:
        one, two, _ = keys(made)
        id = made.post("/api/v1/jobs", json=SYNC, headers=one).json()["id"]
        assert made.post(f"/api/v1/jobs/{id}/priority", json={"priority": 5}, headers=two).status_code == 404
        assert made.post(f"/api/v1/jobs/{id}/priority", json={"priority": 5}, headers=one).status_code == 200


def test_the_monitor_shows_and_changes_it(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        id = made.post("/api/v1/jobs", json={**SYNC, "priority": 37}).json()["id"]
        page = made.get(f"/monitoring/job?id={id}").text
        assert "37 priority" in page
        assert all(f"{word} priority" in page for word in ("Low", "Normal", "High"))
        assert "sync, 37" in made.get("/monitoring/jobs").text
        assert made.post("/monitoring/job", data={"verb": "high", "id": id}).status_code in (200, 303)
        page = made.get(f"/monitoring/job?id={id}").text
        assert "high priority" in page
        assert "High priority" not in page, "it has that already"
        assert made.post("/monitoring/job", data={"verb": "higher", "id": id}).status_code == 400


def test_viewers_change_nothing(tmp_path: Path) -> None:
    with served(tmp_path, found=guarded()) as made:
        assert made.post("/api/v1/jobs/x/priority", json={"priority": 1}).status_code == 401
