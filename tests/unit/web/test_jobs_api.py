"""Jobs, schedules, queues, runs and access by HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dunlin.queue.base import NewTask
from dunlin.queue.ledger.words import JobStatus, NewJob, Role, Tenant, Wish
from tests.unit.web.served import Served, served, settings
from tests.unit.web.test_gate import bearer, guarded

SYNC = {"kind": "sync", "options": {"source": "/a", "destination": "/b"}}


def two_tenants(tmp_path: Path, ready: Any = None, **more: Any) -> Any:
    from dunlin.config.service import Tenant as Own

    tenants = {name: Own(name, (f"/srv/{name}",), (f"{name}/",)) for name in ("a", "b")}
    return served(tmp_path, ready=ready, found=settings()._replace(tenants=tenants, **more))


def keys(made: Served) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Of tenant a, of tenant b, of the whole service."""
    for name in ("a", "b"):
        made.services.ledger.accounts.put_tenant(Tenant(name))
    texts = [made.services.ledger.keys.add("k", Role.ADMIN, tenant).text for tenant in ("a", "b", "")]
    one, two, all_of_them = map(bearer, texts)
    return one, two, all_of_them


def test_a_job_is_put_on_record_and_shown(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        answer = made.post("/api/v1/jobs", json={**SYNC, "priority": 5})
        job = answer.json()
        assert (answer.status_code, answer.headers["location"]) == (201, f"/api/v1/jobs/{job['id']}")
        assert (job["status"], job["label"], job["priority"]) == ("queued", "/a -> /b", 5)
        assert job["options"] == SYNC["options"]
        assert made.runner.woken == 1
        assert made.get(f"/api/v1/jobs/{job['id']}").json() == job
        assert made.get("/api/v1/jobs/none").status_code == 404
        assert made.services.ledger.audit.page()[0].verb == "submit"


def test_an_idempotency_key_makes_one_job(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        headers = {"Idempotency-Key": "k"}
        answers = [made.post("/api/v1/jobs", json=SYNC, headers=headers) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 200]
        assert len({answer.json()["id"] for answer in answers}) == 1
        other = {"kind": "sync", "options": {"source": "/c", "destination": "/b"}}
        assert made.post("/api/v1/jobs", json=other, headers=headers).status_code == 409


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400), ({"kind": "sync"}, 400), ({"kind": "backup", "options": {}}, 400), ({**SYNC, "x": 1}, 400),
        ({"kind": "sync", "options": {}}, 400), ({"kind": "sync", "options": []}, 400), ([], 400), ("x", 400),
        ({"kind": "sync", "options": {"source": "/refused", "destination": "/b"}}, 403),
        ({"kind": "publish", "options": {}}, 400), ({"kind": "publish", "options": {"items": [{}]}}, 400),
        ({**SYNC, "tenant": "other"}, 403), ({**SYNC, "priority": 1000}, 400),
    ],
)  # fmt: skip
def test_bad_jobs_are_problems(tmp_path: Path, body: Any, status: int) -> None:
    with served(tmp_path) as made:
        answer = made.post("/api/v1/jobs", json=body)
        assert (answer.status_code, answer.json()["status"]) == (status, status)
        assert answer.headers["content-type"] == "application/problem+json"
        assert made.services.ledger.jobs.page() == []


def test_pages_filters_and_orders(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        ids = [made.post("/api/v1/jobs", json=SYNC).json()["id"] for _ in range(5)][::-1]
        first = made.get("/api/v1/jobs?count=3").json()
        rest = made.get(f"/api/v1/jobs?count=3&after={first['next']}").json()
        assert [job["id"] for job in (*first["items"], *rest["items"])] == ids
        assert "next" not in rest
        for verb, status in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled"), ("retry", "queued")):
            assert made.post(f"/api/v1/jobs/{ids[0]}/{verb}").json()["status"] == status
        assert made.post(f"/api/v1/jobs/{ids[0]}/retry").status_code == 409
        assert made.post(f"/api/v1/jobs/{ids[0]}/resume").status_code == 409
        assert made.post(f"/api/v1/jobs/{ids[1]}/cancel").status_code == 200
        assert made.post(f"/api/v1/jobs/{ids[1]}/cancel").status_code == 409
        found = made.get("/api/v1/jobs?status=cancelled&status=paused").json()["items"]
        assert [job["id"] for job in found] == [ids[1]]
        assert made.get("/api/v1/jobs?kind=check").json() == {"items": []}
        assert len(made.get("/api/v1/jobs?search=-> /b").json()["items"]) == 5


def test_a_running_job_is_told_what_is_wanted(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        id = made.post("/api/v1/jobs", json=SYNC).json()["id"]
        made.services.ledger.jobs.claim("me", 60)
        assert made.post(f"/api/v1/jobs/{id}/pause").json()["wish"] == "pause"
        assert made.post(f"/api/v1/jobs/{id}/cancel").json()["wish"] == "cancel"


def test_a_command_after_uploads_that_runs_can_be_cancelled_and_not_paused(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        jobs = made.services.ledger.jobs
        id = jobs.submit(NewJob("hook", tenant="default")).job.id
        assert made.post(f"/api/v1/jobs/{id}/pause").json()["status"] == "paused"
        assert made.post(f"/api/v1/jobs/{id}/resume").json()["status"] == "queued"
        assert jobs.claim("me", 60, ("hook",))
        refused = made.post(f"/api/v1/jobs/{id}/pause")
        assert (refused.status_code, refused.json()["detail"]) == (
            409, "a command that runs cannot wait: it can be cancelled"
        )  # fmt: skip
        told = made.post(f"/api/v1/jobs/{id}/cancel").json()
        assert (told["status"], told["wish"]) == ("running", "cancel"), "its service ends it, and nobody else"
        assert jobs.wishes("me") == {id: Wish.CANCEL}
        jobs.move(id, JobStatus.CANCELLED)
        assert made.post(f"/api/v1/jobs/{id}/retry").json()["status"] == "queued"


def test_a_publish_job_that_is_being_begun_is_cancelled_by_whoever_begins_it(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        jobs = made.services.ledger.jobs
        id = jobs.submit(NewJob("publish-items", tenant="default")).job.id
        assert jobs.claim("me", 60)
        assert made.post(f"/api/v1/jobs/{id}/pause").status_code == 409
        assert jobs.wishes("me") == {}
        assert made.post(f"/api/v1/jobs/{id}/cancel").json()["wish"] == "cancel"
        assert jobs.wishes("me") == {id: Wish.CANCEL}
        jobs.move(id, JobStatus.QUEUED)
        assert made.post(f"/api/v1/jobs/{id}/cancel").json()["status"] == "cancelled"


def test_only_tasks_that_stay_away_are_removed(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        queue = made.services.queue
        job = made.services.ledger.jobs.submit(NewJob("publish", tenant="default")).job.id
        queue.put([NewTask("publish", f"{job}/0", b"x", retries=0), NewTask("run-0123abcd", "7", b"x", retries=0)])
        ids = {task.queue: task.id for task in queue.tasks()}
        for name, words in (("publish", f"cancel job {job}"), ("run-0123abcd", "dunlin control stop")):
            refused = made.post(f"/api/v1/tasks/{ids[name]}/cancel")
            assert refused.status_code == 409
            assert words in refused.json()["detail"]
        assert len(queue.tasks()) == 2
        [lease] = queue.lease("w", 1, 30.0, queues=["publish"])
        assert made.post(f"/api/v1/tasks/{ids['publish']}/cancel").status_code == 409, "it is under way"
        assert queue.nack(lease, "bad", final=True)
        assert made.post(f"/api/v1/tasks/{ids['publish']}/cancel").status_code == 204, "it is dead"
        assert [task.queue for task in queue.tasks()] == ["run-0123abcd"]
        assert made.post("/api/v1/tasks/999/cancel").status_code == 404


def test_tenants_do_not_see_each_other(tmp_path: Path) -> None:
    with two_tenants(tmp_path) as made:
        a, b, everybody = keys(made)
        id = made.post("/api/v1/jobs", json=SYNC, headers=a).json()["id"]
        assert made.get(f"/api/v1/jobs/{id}", headers=a).json()["tenant"] == "a"
        for headers, status in ((b, 404), (everybody, 200)):
            assert made.get(f"/api/v1/jobs/{id}", headers=headers).status_code == status
        assert made.post(f"/api/v1/jobs/{id}/cancel", headers=b).status_code == 404
        assert made.get("/api/v1/jobs", headers=b).json() == {"items": []}
        assert made.get("/api/v1/jobs?tenant=a", headers=b).status_code == 403
        assert made.post("/api/v1/jobs", json={**SYNC, "tenant": "a"}, headers=b).status_code == 403
        assert made.post("/api/v1/jobs", json={**SYNC, "tenant": "b"}, headers=everybody).json()["tenant"] == "b"
        assert made.get("/api/v1/queues", headers=a).status_code == 403
        assert made.get("/api/v1/runs", headers=a).status_code == 403
        assert made.get("/api/v1/queues", headers=everybody).status_code == 200
        assert [key["tenant"] for key in made.get("/api/v1/keys", headers=a).json()["items"]] == ["a"]
        other = made.services.ledger.keys.all()[1].id
        assert made.ask("DELETE", f"/api/v1/keys/{other}", headers=a).status_code == 404
        assert made.get("/check/b/x", headers=a).status_code == 403
        assert made.get("/check/a/x", headers=a).status_code == 200


def test_an_administrator_of_a_tenant_gets_no_further(tmp_path: Path) -> None:
    with two_tenants(tmp_path) as made:
        keys(made)
        made.services.ledger.accounts.put_tenant(Tenant("default"))
        head = bearer(made.services.ledger.keys.add("k", Role.ADMIN, "a").text)
        shown = made.get("/api/v1/keys", headers=head).json()["items"]
        assert {key["tenant"] for key in shown} == {"a"}
        assert made.post("/api/v1/keys", json={"label": "x"}, headers=head).json()["tenant"] == "a"
        assert made.post("/api/v1/keys", json={"label": "x", "tenant": "b"}, headers=head).status_code == 403
        whole = next(key.id for key in made.services.ledger.keys.all() if not key.tenant)
        assert made.ask("DELETE", f"/api/v1/keys/{whole}", headers=head).status_code == 404


def test_a_key_whose_tenant_is_no_more_is_good_for_nothing(tmp_path: Path) -> None:
    with two_tenants(tmp_path) as made:
        for tenant in ("gone", "default"):  # the latter from a time without tenants
            made.services.ledger.accounts.put_tenant(Tenant(tenant))
            head = bearer(made.services.ledger.keys.add("k", Role.ADMIN, tenant).text)
            for path in ("/api/v1/jobs", "/api/v1/keys", "/check/a/x", "/api/v1/locations", "/monitoring", "/metrics"):
                answer = made.get(path, headers=head)
                assert answer.status_code == 403, path
                assert "is no more" in answer.text
            assert made.ask("DELETE", "/check/store/x", headers=head).status_code == 403
            assert made.post("/publish", json=[{"from": "/a", "to": "a/"}], headers=head).status_code == 403
            assert made.get("/healthz", headers=head).status_code == 200
        assert made.publisher.forgotten == made.publisher.asked == []


def test_what_all_share_is_for_who_is_of_the_whole_service(tmp_path: Path) -> None:
    away = {"ledger": "ok", "queue": "connection to db.internal refused"}
    lie = {"mine": ("/srv/a/x",), "wider": ("/srv",), "theirs": ("/srv/b",), "broken": (), "s3": ("s3://bucket",)}
    with two_tenants(tmp_path, ready=away, lie=lie, locations=dict.fromkeys(lie, "local")) as made:
        a, _, whole = keys(made)
        assert made.get("/metrics", headers=a).status_code == 403
        assert made.get("/metrics", headers=whole).status_code == 200
        named = made.get("/api/v1/locations", headers=a).json()["items"]
        assert [each["name"] for each in named] == ["mine", "wider"]
        assert len(made.get("/api/v1/locations", headers=whole).json()["items"]) == len(lie)
        for path, headers, word in (
            ("/readyz", {}, "failing"), ("/readyz", a, "failing"), ("/api/v1/health", a, "failing"),
            ("/readyz", whole, away["queue"]), ("/api/v1/health", whole, away["queue"]),
        ):  # fmt: skip
            answer = made.get(path, headers=headers)
            assert (answer.status_code, answer.json()["parts"]) == (503, {"ledger": "ok", "queue": word})


def test_who_is_of_the_whole_service_says_for_whom(tmp_path: Path) -> None:
    item = [{"from": "/srv/x", "to": "b/"}]
    with two_tenants(tmp_path) as made:
        a, _, whole = keys(made)
        answer = made.post("/publish", json=item, headers=whole)
        assert (answer.status_code, answer.json()["error"]) == (
            400, "for which tenant? this key is of the whole service"
        )  # fmt: skip
        assert made.post("/publish?tenant=nobody", json=item, headers=whole).status_code == 400
        assert made.post("/publish?tenant=b", json=item, headers=whole).status_code == 200
        assert made.post("/publish?tenant=b", json=item, headers=a).status_code == 403
        assert [each[1] for each in made.publisher.asked] == ["b"]
        body = {**SYNC, "interval": 60}
        path = "/api/v1/schedules/daily"
        assert made.ask("PUT", path, json=body, headers=whole).status_code == 400
        saved = made.ask("PUT", path, json={**body, "tenant": "b"}, headers=whole)
        assert (saved.status_code, saved.json()["tenant"]) == (200, "b")
        assert made.ask("PUT", path, json={**body, "tenant": "b"}, headers=a).status_code == 403
        assert made.get(f"{path}?tenant=b", headers=whole).status_code == 200
        for headers, tenant, status in ((a, "", 404), (a, "b", 403), (whole, "a", 404), (whole, "b", 204)):
            found = made.ask("DELETE", f"{path}?tenant={tenant}", headers=headers)
            assert found.status_code == status, (tenant, status)


def test_schedules(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        made.services.ledger.accounts.put_tenant(Tenant("default"))
        body = {**SYNC, "cron": "0 3 * * *", "zone": "Europe/Berlin"}
        saved = made.ask("PUT", "/api/v1/schedules/nightly", json=body)
        assert (saved.status_code, saved.json()["cron"], saved.json()["tenant"]) == (200, "0 3 * * *", "default")
        assert saved.json()["next_run"] > saved.json()["created"]
        assert made.get("/api/v1/schedules/nightly").json() == made.get("/api/v1/schedules").json()["items"][0]
        for wrong in ({**body, "cron": "x"}, {**body, "zone": "Nowhere"}, {**SYNC}, {**body, "interval": 5}):
            assert made.ask("PUT", "/api/v1/schedules/nightly", json=wrong).status_code == 400, wrong
        refused = {**body, "options": {"source": "/refused", "destination": "/b"}}
        assert made.ask("PUT", "/api/v1/schedules/other", json=refused).status_code == 403
        later = {"kind": "publish", "options": {"items": [{"from": "/a", "to": "store/"}]}, "interval": 60}
        assert made.ask("PUT", "/api/v1/schedules/later", json=later).json()["kind"] == "publish"
        assert made.ask("DELETE", "/api/v1/schedules/nightly").status_code == 204
        assert made.ask("DELETE", "/api/v1/schedules/nightly").status_code == 404
        assert made.get("/api/v1/schedules/nightly").status_code == 404


def test_queues_tasks_and_workers(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        queue = made.services.queue
        queue.put([NewTask("q", f"k{number}", b"x", label=f"label {number}", retries=0) for number in range(3)])
        assert made.get("/api/v1/queues").json()["items"][0]["waiting"] == 3
        assert made.post("/api/v1/queues/q/pause").json()["paused"] is True
        assert made.post("/api/v1/queues/q/resume").json()["paused"] is False
        assert made.post("/api/v1/queues/none/pause").status_code == 404
        first = made.get("/api/v1/tasks?count=2").json()
        rest = made.get(f"/api/v1/tasks?count=2&after={first['next']}").json()
        assert [task["key"] for task in (*first["items"], *rest["items"])] == ["k0", "k1", "k2"]
        id = made.get("/api/v1/tasks?search=label 1&status=waiting").json()["items"][0]["id"]
        assert made.post(f"/api/v1/tasks/{id}/retry").status_code == 404
        assert made.post(f"/api/v1/tasks/{id}/cancel").status_code == 204
        assert len(made.get("/api/v1/tasks").json()["items"]) == 2
        assert made.get("/api/v1/workers").json() == {"items": []}


def test_files_of_a_job_that_has_none(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        id = made.services.ledger.jobs.submit(NewJob("publish", tenant="default")).job.id
        for what in ("files", "failures", "items"):
            assert made.get(f"/api/v1/jobs/{id}/{what}").json() == {"items": []}
            assert made.get(f"/api/v1/jobs/none/{what}").status_code == 404
        assert made.get(f"/api/v1/jobs/{id}/files?after=x").status_code == 400
        made.services.ledger.jobs.move(id, JobStatus.FAILED)
        assert made.post(f"/api/v1/jobs/{id}/retry").status_code == 409


def test_access_is_made_and_taken_away(tmp_path: Path) -> None:
    with served(tmp_path, found=guarded()) as made:
        head = bearer(made.services.ledger.keys.add("root", Role.ADMIN).text)
        made_key = made.post("/api/v1/keys", json={"label": "ci", "role": "viewer"}, headers=head).json()
        assert made.get("/api/v1/jobs", headers=bearer(made_key["text"])).status_code == 200
        assert "text" not in made.get("/api/v1/keys", headers=head).json()["items"][1]
        assert made.ask("DELETE", f"/api/v1/keys/{made_key['id']}", headers=head).status_code == 204
        assert made.get("/api/v1/jobs", headers=bearer(made_key["text"])).status_code == 401
        user = {"name": "ann", "password": "correct horse", "role": "viewer"}
        assert made.post("/api/v1/users", json=user, headers=head).json()["name"] == "ann"
        assert made.post("/api/v1/users", json=user, headers=head).status_code == 409
        assert made.post("/api/v1/users", json={**user, "password": "short"}, headers=head).status_code == 400
        assert made.ask("DELETE", "/api/v1/users/ann", headers=head).status_code == 204
        assert made.get("/api/v1/users", headers=head).json() == {"items": []}
        assert "correct horse" not in repr(made.services.ledger.audit.page())


def test_a_fault_is_told_to_the_log_and_not_to_the_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    with served(tmp_path) as made:
        monkeypatch.setattr(made.services.ledger.jobs, "page", broken)
        answer = made.get("/api/v1/jobs")
        assert (answer.status_code, "secret" in answer.text) == (500, False)
        assert [type(fault) for fault in made.faults] == [ZeroDivisionError]


def test_jobs_and_schedules_are_of_the_machine_whose_paths_they_name(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        ledger = made.services.ledger
        ledger.accounts.put_tenant(Tenant("default"))
        body = {"kind": "sync", "options": {"source": "/of/nas/a", "destination": "s3://b"}}
        id = made.post("/api/v1/jobs", json=body).json()["id"]
        job = ledger.jobs.get(id)
        assert job is not None
        assert job.host == "nas"
        put = made.ask("PUT", "/api/v1/schedules/nightly", json={**body, "interval": 60})
        assert put.status_code < 300, put.text
        ledger.shared = True  # as one on a server
        items = [{"from": "/srv/x", "to": "x/"}]
        later = {"kind": "publish", "options": {"items": items}, "interval": 60}
        put = made.ask("PUT", "/api/v1/schedules/later", json=later)
        assert put.status_code < 300, put.text
        here = made.services.settings().host
        assert {each.new.name: each.new.host for each in ledger.schedules.all()} == {"nightly": "nas", "later": here}
