"""Publishing as people set it up: every kind of store as destination, schedules, and workers that are elsewhere."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.clouds import FIXTURES, Cloud
from tests.acceptance.program import start
from tests.integration.service import PATIENCE, Service, serving
from tests.integration.test_service import tree
from tests.servers.faults import Rules
from tests.servers.redis import Redis


def environment(cloud: Cloud) -> dict[str, str]:
    """What service and workers need to open the destination."""
    flags = {f"DUNLIN_DEST_{name.replace('-', '_').upper()}": value for name, value in cloud.flags.items()}
    return {**cloud.env, **flags}


def content(folder: Path, to: str = "store/") -> dict[str, bytes]:
    """What shall stand at which key."""
    return {f"{to}{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["az", "gs"])
def test_a_folder_goes_to_every_kind_of_store(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    fixture, made = FIXTURES[kind]
    cloud = made(request.getfixturevalue(fixture))
    folder = tree(tmp_path / "folder")
    (folder / "é x").write_bytes(b"")
    (folder / "large").write_bytes(b"0123456789abcdef" * (3 << 16))
    wanted = content(folder)
    env = {"DUNLIN_PUBLISH_DESTINATION": cloud.url, **environment(cloud)}
    with serving(tmp_path / "cwd", env=env) as service:
        assert service.client.get("/check/store/large").json()["exists"] is False
        item = {"from": str(folder), "to": "store/"}

        def publish(**more: bool) -> tuple[int, int, list[str]]:
            id = service.client.post("/publish", json=[{**item, **more}]).json()["job_id"]
            job = service.job(id)
            assert job["status"] == "completed", job
            result = job["result"]
            return result["total_files"], result["uploaded_files"], result["failed_files"]

        assert publish() == (22, 22, [])
        assert cloud.content() == wanted
        assert publish() == (22, 0, [])  # the same sizes: all skipped
        (folder / "d1" / "f1").write_text("of another size")
        assert publish() == (22, 1, [])
        assert cloud.content() == content(folder)
        found = service.client.get("/check/store/large").json()
        assert (found["exists"], found["size"]) == (True, 3 << 20)
        (folder / "d2" / "f2").write_text("content X")  # the size that it had
        assert publish(overwrite=True) == (22, 22, [])
        wanted = content(folder)
        assert publish(delete_after_sync=True) == (22, 0, [])  # skipped, compared, deleted
        assert [path for path in folder.rglob("*") if path.is_file()] == []
        service.stop()
    assert cloud.content() == wanted


def test_a_schedule_publishes(tmp_path: Path) -> None:
    folder, bucket = tree(tmp_path / "folder"), tmp_path / "bucket"
    bucket.mkdir()
    with serving(tmp_path / "cwd", env={"DUNLIN_PUBLISH_DESTINATION": str(bucket)}) as service:
        items = [{"from": str(folder), "to": "store/"}]
        body = {"kind": "publish", "options": {"items": items}, "interval": 1}
        saved = service.client.put("/api/v1/schedules/often", json=body)
        assert saved.status_code == 200, saved.text

        def published(number: int) -> list[str]:
            jobs = service.wait(
                "/api/v1/jobs?kind=publish",
                lambda page: sum(job["status"] == "completed" for job in page["items"]) >= number,
            )
            return [job["id"] for job in jobs["items"]]

        first = published(1)[-1]
        assert service.job(first)["result"]["uploaded_files"] == 20
        assert (bucket / "store" / "d1" / "f1").read_text() == "content 1"
        (folder / "new").write_text("new")
        service.wait("/check/store/new", lambda _: (bucket / "store" / "new").exists())
        assert len(published(2)) >= 2
        service.client.delete("/api/v1/schedules/often")
        service.stop()


def test_a_job_that_waited_is_held_against_the_rules_of_today(tmp_path: Path) -> None:
    folder, other, bucket, cwd = tree(tmp_path / "folder"), tmp_path / "other", tmp_path / "bucket", tmp_path / "cwd"
    for each in (other, bucket, cwd):
        each.mkdir()
    file = cwd / "dunlin.yaml"
    file.write_text(f"http: {{allowed_roots: [{folder}]}}\npublish: {{destination: {bucket}, slots: 0}}\n")
    with serving(cwd) as service:
        id = service.client.post("/publish", json=[{"from": str(folder), "to": "store/"}]).json()["job_id"]
        assert service.client.post(f"/api/v1/jobs/{id}/pause").status_code == 200
        file.write_text(f"http: {{allowed_roots: [{other}]}}\npublish: {{destination: {bucket}, slots: 0}}\n")
        service.wait("/healthz", lambda _: "configuration.reloaded" in service.log())
        assert service.client.post(f"/api/v1/jobs/{id}/resume").status_code == 200
        job = service.job(id)
        assert (job["status"], job["error"]) == (
            "failed", f"cannot go on with the job: {folder} is outside the allowed roots by now"
        )  # fmt: skip
        service.stop()


@contextmanager
def workers(directory: Path, queue: str, env: Mapping[str, str], count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """`dunlin worker` processes of their own."""
    made = []
    for n in range(count):
        (directory / f"w{n}").mkdir(parents=True)
        with (directory / f"w{n}" / "log.txt").open("wb") as out:
            words = ("worker", "--workers", "2", "--processes", "1")
            variables = {**env, "DUNLIN_QUEUE_URL": queue}
            made.append(start(*words, cwd=directory / f"w{n}", env=variables, stderr=out, stdout=out))
    try:
        yield made
    finally:
        for each in made:
            each.kill()
            each.wait()


def publish_and_kill_one(
    service: Service, cloud: Cloud, folder: Path, all_workers: list[subprocess.Popen[bytes]]
) -> str:
    """A publish job in the midst of which a worker is killed; its id."""
    item = {"from": str(folder), "to": "store/", "delete_after_sync": True}
    id: str = service.client.post("/publish", json=[item]).json()["job_id"]
    end = time.monotonic() + PATIENCE
    while len(cloud.keys()) < 20:
        assert time.monotonic() < end, service.log()
    all_workers[0].kill()
    all_workers[0].wait()
    return id


def test_workers_elsewhere_publish_over_redis(request: pytest.FixtureRequest, redis: Redis, tmp_path: Path) -> None:
    """The service does no unit itself; of two workers one is killed, and every file counts once."""
    cloud = FIXTURES["fast"][1](request.getfixturevalue("rclone_s3"))
    folder = tree(tmp_path / "folder", 400)
    wanted, queue = content(folder), redis.queue()
    with cloud.through(Rules(latency_s=0.03)) as (slow, _):
        env = environment(slow)
        settings = {"DUNLIN_PUBLISH_DESTINATION": cloud.url, "DUNLIN_QUEUE_URL": queue, "DUNLIN_PUBLISH_SLOTS": "0"}
        with serving(tmp_path / "cwd", env={**settings, **env}) as service:
            assert service.client.get("/api/v1/workers").json()["items"] == []
            with workers(tmp_path / "elsewhere", queue, env, 2) as both:
                shown = service.wait("/api/v1/workers", lambda page: len(page["items"]) == 2)["items"]
                assert all("publish" in each["queues"] for each in shown)
                job = service.job(publish_and_kill_one(service, cloud, folder, both))
            assert job["status"] == "completed", job
            result = job["result"]
            assert (result["total_files"], result["uploaded_files"], result["failed_files"]) == (400, 400, [])
            assert service.client.get("/check/store/d1/f1").json()["cached"] is True
            service.stop()
    assert cloud.content() == wanted
    assert [path for path in folder.rglob("*") if path.is_file()] == []
