"""Who may begin, continue and schedule jobs that take away what nobody can bring back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dunlin.queue.ledger.words import JobStatus, NewJob, NewSchedule, Role, Tenant
from dunlin.web.kinds import KEEPS, REMOVES, RUNS, role_of
from tests.unit.web.served import Served, served
from tests.unit.web.test_gate import bearer, guarded

OPTIONS = {"source": "/a", "destination": "/b"}  # what the runner of these tests wants to see


def heads(made: Served) -> dict[str, dict[str, str]]:
    made.services.ledger.accounts.put_tenant(Tenant("default"))
    return {role.value: bearer(made.services.ledger.keys.add("k", role).text) for role in Role}


def codes(made: Served, method: str, path: str, **more: Any) -> list[int]:
    """The answers to a viewer, an operator and an administrator."""
    return [made.ask(method, path, headers=head, **more).status_code for head in heads(made).values()]


def test_what_removes_is_among_what_has_to_do_with_repositories() -> None:
    assert set(KEEPS) > REMOVES
    assert set(RUNS) == {"sync", "check", *KEEPS}
    assert {kind for kind in RUNS if role_of(kind) is Role.ADMIN} == {"forget", "prune"}


@pytest.mark.parametrize("kind", RUNS)
def test_each_kind_needs_its_role(tmp_path: Path, kind: str) -> None:
    with served(tmp_path, found=guarded()) as made:
        operators = 403 if kind in REMOVES else 201
        assert codes(made, "POST", "/api/v1/jobs", json={"kind": kind, "options": OPTIONS}) == [403, operators, 201]
        body = {"kind": kind, "options": OPTIONS, "interval": 60}
        saved = codes(made, "PUT", "/api/v1/schedules/s", json=body)
        assert saved == [403, 403 if kind in REMOVES else 200, 200]


@pytest.mark.parametrize("verb", ["resume", "retry"])
def test_who_may_not_begin_it_may_not_go_on_with_it(tmp_path: Path, verb: str) -> None:
    with served(tmp_path, found=guarded()) as made:
        jobs = made.services.ledger.jobs
        id = jobs.submit(NewJob("prune", tenant="default")).job.id
        jobs.move(id, JobStatus.PAUSED if verb == "resume" else JobStatus.FAILED)
        assert codes(made, "POST", f"/api/v1/jobs/{id}/{verb}") == [403, 403, 200]
        job = jobs.get(id)
        assert job is not None
        assert job.status is JobStatus.QUEUED
        assert codes(made, "POST", f"/api/v1/jobs/{id}/cancel")[:2] == [403, 200]


def test_who_may_not_begin_it_may_not_change_its_schedule(tmp_path: Path) -> None:
    with served(tmp_path, found=guarded()) as made:
        head = heads(made)["operator"]
        schedules = made.services.ledger.schedules
        schedules.put(NewSchedule("tidy", "forget", tenant="default", interval=60), "admin")
        body = {"kind": "sync", "options": OPTIONS, "interval": 60}
        assert made.ask("PUT", "/api/v1/schedules/tidy", json=body, headers=head).status_code == 403
        for verb in ("run", "disable", "remove"):
            form = {"verb": verb, "name": "tidy", "tenant": "default"}
            assert made.post("/monitoring/schedules", data=form, headers=head).status_code == 403
        found = schedules.get("tidy", "default")
        assert found is not None
        assert (found.new.kind, found.new.enabled, found.last_run) == ("forget", True, None)
        assert codes(made, "DELETE", "/api/v1/schedules/tidy") == [403, 403, 204]


def test_the_page_of_a_job_tells_what_came_of_it(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        jobs = made.services.ledger.jobs
        id = jobs.submit(NewJob("verify", tenant="default", label="vault")).job.id
        assert "What came of it" not in made.get(f"/monitoring/job?id={id}").text
        jobs.move(id, JobStatus.RUNNING)
        jobs.move(id, JobStatus.FAILED, error="1 object damaged", result=b'{"lost": [{"path": "<b>a"}]}')
        text = made.get(f"/monitoring/job?id={id}").text
        assert "What came of it" in text
        assert "1 object damaged" in text
        assert "&lt;b&gt;a" in text
        assert "<b>a" not in text
