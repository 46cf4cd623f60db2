"""The service as a process: jobs from request to files, events, reload, ends."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.program import dunlin
from tests.integration.service import begin, serving


def tree(path: Path, files: int = 20) -> Path:
    """Some files."""
    for number in range(files):
        inner = path / f"d{number % 4}"
        inner.mkdir(parents=True, exist_ok=True)
        (inner / f"f{number}").write_text(f"content {number}")
    return path


def test_a_sync_from_request_to_files(tmp_path: Path) -> None:
    source, target = tree(tmp_path / "source"), tmp_path / "target"
    with serving(tmp_path / "cwd") as service:
        asked = {"kind": "sync", "options": {"source": str(source), "destination": str(target), "archive": True}}
        answer = service.client.post("/api/v1/jobs", json=asked)
        assert answer.status_code == 201
        job = service.job(answer.json()["id"])
        assert (job["status"], job["result"]["exit_code"], job["counts"]["copied_files"]) == ("completed", 0, 20)
        assert (target / "d1" / "f1").read_text() == "content 1"
        run = service.client.get("/api/v1/runs").json()["items"][0]
        assert (run["id"], run["status"], run["counts"]["copied_files"]) == (job["result"]["run"], "completed", 20)
        check = {"kind": "check", "options": {"source": str(source), "destination": str(target)}}
        (target / "d1" / "f1").write_text("other")
        found = service.job(service.client.post("/api/v1/jobs", json=check).json()["id"])
        assert (found["status"], found["result"]["exit_code"]) == ("completed", 3)
        assert found["counts"]["differing_files"] == 1
        assert 'dunlin_jobs{status="completed"} 2.0' in service.client.get("/metrics").text
        words = service.stop()
    assert "level=info event=service.stopped" in words
    assert "level=error" not in words


def test_its_runs_are_kept_where_it_is_told(tmp_path: Path) -> None:
    source = tree(tmp_path / "source")
    with serving(tmp_path / "cwd", "--state-db", str(tmp_path / "its.db"), "--log-format", "json") as service:
        options = {"source": str(source), "destination": str(tmp_path / "target")}
        id = service.client.post("/api/v1/jobs", json={"kind": "sync", "options": options}).json()["id"]
        service.job(id)
        assert len(service.client.get("/api/v1/runs").json()["items"]) == 1
        assert service.log().startswith('{"time":')
        service.stop()
    assert (tmp_path / "its.db").exists()
    assert not (tmp_path / "cwd" / ".sync-state.db").exists()


def test_publish_check_and_results(tmp_path: Path) -> None:
    source, target = tree(tmp_path / "source"), tmp_path / "bucket"
    target.mkdir()
    with serving(tmp_path / "cwd", env={"DUNLIN_PUBLISH_DESTINATION": str(target)}) as service:
        assert service.client.get("/readyz").json()["parts"]["store"] == "ok"
        before = service.client.get("/check/store/d1/f1").json()
        assert (before["exists"], before["cached"]) == (False, False)
        assert service.client.get("/check/store/d1/f1").json()["cached"] is True
        item = {"from": str(source), "to": "store/", "delete_after_sync": True}
        answer = service.client.post("/publish", json=[item])
        assert (answer.status_code, answer.json()["success"]) == (200, True)
        job = service.job(answer.json()["job_id"])
        assert job["status"] == "completed"
        result = job["result"]
        assert (result["total_files"], result["uploaded_files"], result["failed_files"]) == (20, 20, [])
        assert (target / "store" / "d1" / "f1").read_text() == "content 1"
        assert [path for path in source.rglob("*") if path.is_file()] == []
        after = service.client.get("/check?key=store/d1/f1").json()
        assert (after["exists"], after["size"]) == (True, 9)
        files = service.client.get(f"/api/v1/jobs/{job['id']}/files?count=7").json()
        assert [each["status"] for each in files["items"]] == ["uploaded"] * 7
        rest = service.client.get(f"/api/v1/jobs/{job['id']}/files?after={files['next']}").json()
        assert len(rest["items"]) == 13
        assert "next" not in rest
        service.stop()


def test_a_folder_around_the_destination_is_refused(tmp_path: Path) -> None:
    """Else each job would publish what the one before has published, and delete it."""
    source = tree(tmp_path / "source")
    with serving(tmp_path / "cwd", env={"DUNLIN_PUBLISH_DESTINATION": str(source / "pub")}) as service:
        answer = service.client.post("/publish", json=[{"from": str(source), "to": "store/"}])
        assert answer.status_code == 400
        assert answer.json()["error"].endswith("the destination lies in it")
        service.stop()
    assert not (source / "pub").exists()


def test_a_service_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    source, target = tree(tmp_path / "source", 40), tmp_path / "target"
    service = begin(tmp_path / "cwd")
    asked = {"source": str(source), "destination": str(target), "bwlimit": 40}
    id = service.client.post("/api/v1/jobs", json={"kind": "sync", "options": asked}).json()["id"]
    service.wait(f"/api/v1/jobs/{id}", lambda job: job["status"] == "running")
    service.wait(f"/api/v1/jobs/{id}", lambda job: job["counts"].get("copied_files", 0) > 0)
    service.client.close()
    service.process.kill()
    service.process.wait()
    with serving(tmp_path / "cwd") as again:
        again.wait(f"/api/v1/jobs/{id}", lambda job: "continuing run 1" in again.log())
        assert again.client.post(f"/api/v1/jobs/{id}/cancel").status_code == 200
        assert again.job(id)["status"] == "cancelled"


def test_pausing_and_going_on(tmp_path: Path) -> None:
    source, target = tree(tmp_path / "source", 60), tmp_path / "target"
    with serving(tmp_path / "cwd") as service:
        options = {"source": str(source), "destination": str(target), "bwlimit": 40}
        id = service.client.post("/api/v1/jobs", json={"kind": "sync", "options": options}).json()["id"]
        service.wait(f"/api/v1/jobs/{id}", lambda job: job["counts"].get("copied_files", 0) > 0)
        assert service.client.post(f"/api/v1/jobs/{id}/pause").status_code == 200
        paused = service.wait(f"/api/v1/jobs/{id}", lambda job: job["status"] == "paused")
        assert paused["counts"]["copied_files"] < 60
        assert service.client.post(f"/api/v1/jobs/{id}/pause").status_code == 409
        assert service.client.post(f"/api/v1/jobs/{id}/resume").json()["status"] in ("queued", "running")
        service.wait(f"/api/v1/jobs/{id}", lambda job: job["status"] == "running")
        service.stop()
    # A graceful end puts the job back; the next start goes on with it.
    with serving(tmp_path / "cwd") as service:
        service.wait(f"/api/v1/jobs/{id}", lambda job: job["status"] == "running")
        service.client.post(f"/api/v1/jobs/{id}/cancel")
        assert service.job(id)["status"] == "cancelled"


def read(answer: httpx.Response) -> Iterator[str]:
    """The lines of a stream; a test that waits for what does not come fails at the second sign of life."""
    signs = 0
    for line in answer.iter_lines():
        signs += line == ": still here"
        assert signs < 2, "nothing came for half a minute"
        yield line


def test_news_of_jobs_and_taking_them_up_again(tmp_path: Path) -> None:
    source = tree(tmp_path / "source")
    with serving(tmp_path / "cwd") as service:
        with service.client.stream("GET", "/api/v1/events") as answer:
            lines = read(answer)
            first = next(line for line in lines if line.startswith("id: "))
            # Slow enough to be seen while it runs: the ledger is looked at twice a second.
            options = {"source": str(source), "destination": str(tmp_path / "target"), "bwlimit": 60}
            id = service.client.post("/api/v1/jobs", json={"kind": "sync", "options": options}).json()["id"]
            assert next(line for line in lines if line == "event: job")
            assert id in next(line for line in lines if line.startswith("data: "))
        service.job(id)
        time.sleep(1)
        with service.client.stream("GET", "/api/v1/events", headers={"Last-Event-ID": first[4:]}) as answer:
            found = []
            for line in read(answer):
                found.append(line)
                if '"status":"completed"' in line:
                    break
            assert "event: reset" not in found
            assert any('"status":"queued"' in line or '"status":"running"' in line for line in found)
        with service.client.stream("GET", "/api/v1/events") as answer:
            assert answer.status_code == 200
            service.stop()  # a listener does not hold up the end


def test_a_schedule_starts_a_job(tmp_path: Path) -> None:
    source, target = tree(tmp_path / "source"), tmp_path / "target"
    with serving(tmp_path / "cwd") as service:
        body = {"kind": "sync", "options": {"source": str(source), "destination": str(target)}, "interval": 1}
        saved = service.client.put("/api/v1/schedules/often", json=body)
        assert (saved.status_code, saved.json()["interval"]) == (200, 1.0)
        jobs = service.wait("/api/v1/jobs", lambda page: any(job["status"] == "completed" for job in page["items"]))
        assert jobs["items"][0]["created_by"] == "schedule often"
        assert service.client.delete("/api/v1/schedules/often").status_code == 204
        assert service.client.get("/api/v1/schedules").json() == {"items": []}


def test_the_configuration_is_read_again(tmp_path: Path) -> None:
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    file = cwd / "dunlin.yaml"
    file.write_text("cache: {allowed_prefixes: [store/]}\n")
    (tmp_path / "bucket").mkdir()
    with serving(cwd, env={"DUNLIN_PUBLISH_DESTINATION": str(tmp_path / "bucket")}) as service:
        assert service.client.get("/check/nix/a").status_code == 403
        part = cwd / "new"
        words = ("cache: {allowed_prefixes: [nix/]}", "locations: {nas: {url: /mnt/nas}}", "monitor: {enabled: false}")
        part.write_text("\n".join(words))
        os.replace(part, file)
        service.wait("/api/v1/locations", lambda page: page["items"] == [{"name": "nas", "kind": "local"}], 20)
        assert service.client.get("/check/nix/a").status_code == 200
        assert "monitor.enabled holds after a restart" in service.log()
        part.write_text("cache: {allowed_prefixes: [x/], max_concurrent_s3_checks: 1000}\n")
        os.replace(part, file)
        end = time.monotonic() + 20
        while "the configuration stays as it was" not in service.log():
            assert time.monotonic() < end
            time.sleep(0.1)
        assert service.client.get("/check/nix/a").status_code == 200
        service.stop()


def test_an_address_that_is_taken_is_one_line(tmp_path: Path) -> None:
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = dunlin("serve", "--http-addr", str(port), cwd=cwd, expect=1)
    assert done.stderr.splitlines() == [
        f"dunlin: cannot listen at 127.0.0.1:{port}: Address already in use; http.addr names another address"
    ]
    assert not (cwd / ".dunlin-ledger.db").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--http-addr", "0.0.0.0:0"), "http.allowed_roots is missing"),
        (("--queue", "redis://127.0.0.1:1/0"), "127.0.0.1:1"),
    ],
)
def test_what_keeps_it_from_starting_is_one_line(tmp_path: Path, arguments: tuple[str, ...], line: str) -> None:
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    words = arguments if "--http-addr" in arguments else ("--http-addr", "127.0.0.1:0", *arguments)
    done = dunlin("serve", *words, cwd=cwd, expect=1)
    assert len(done.stderr.splitlines()) == 1
    assert line in done.stderr


def test_the_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    source = tree(tmp_path / "source")
    (source / "large").write_bytes(b"x" * 5_000_000)
    service = begin(tmp_path / "cwd")
    options = {"source": str(source), "destination": str(tmp_path / "target"), "bwlimit": "1K"}
    id = service.client.post("/api/v1/jobs", json={"kind": "sync", "options": options}).json()["id"]
    service.wait(f"/api/v1/jobs/{id}", lambda job: job["status"] == "running")
    service.client.close()
    service.process.send_signal(signal.SIGTERM)
    service.process.send_signal(signal.SIGINT)
    assert service.process.wait(20) in (0, 130)


def test_keys_and_users_by_the_command_line(tmp_path: Path) -> None:
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    text = dunlin("key", "add", "ci", "--role", "viewer", cwd=cwd, expect=0).stdout.strip()
    assert text.startswith("dk_")
    dunlin("user", "add", "ann", "--role", "admin", cwd=cwd, input=b"correct horse\n", expect=0)
    with serving(cwd) as service:
        headers = {"Authorization": f"Bearer {text}"}
        assert service.client.get("/api/v1/jobs", headers=headers).status_code == 200
        assert service.client.get("/api/v1/keys", headers=headers).status_code == 403
        made = service.client.post("/api/v1/session", json={"user": "ann", "password": "correct horse"})
        assert made.json()["role"] == "admin"
        listed = dunlin("key", "list", "--json", cwd=cwd, expect=0).stdout
        assert text.rpartition("_")[2] not in listed
        id = text.split("_")[1]
        dunlin("key", "revoke", id, cwd=cwd, expect=0)
        dunlin("key", "revoke", id, cwd=cwd, expect=1)
        end = time.monotonic() + 10
        while httpx.get(f"{service.url}/api/v1/jobs", headers=headers).status_code != 401:
            assert time.monotonic() < end
            time.sleep(0.2)
