"""A share whose server is gone: what lies there waits, and nothing else does. A real mount, whose server stands."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.acceptance.trouble import until
from tests.fuse.slowfs import mounted
from tests.integration.service import Service, serving


class Share:
    """A mounted directory, and a server that can be stopped and go on."""

    def __init__(self, path: Path, pid: int) -> None:
        self.path, self._pid = path, pid

    def stop(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._pid, signal.SIGCONT)


@pytest.fixture
def share(tmp_path: Path) -> Iterator[Share]:
    backing = tmp_path / "backing"
    for name in ("folder", *(f"asked{n}" for n in range(20))):
        (backing / name).mkdir(parents=True)
        (backing / name / "f").write_bytes(b"far")
    with mounted(backing, tmp_path / "mnt", attr_timeout=0.0, entry_timeout=0.0) as mount:
        found = Share(mount.path, mount.pid)
        try:
            yield found
        finally:
            found.go_on()


@contextmanager
def service(tmp_path: Path) -> Iterator[Service]:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here/f").write_bytes(b"near")
    with serving(tmp_path / "cwd", env={"DUNLIN_PUBLISH_DESTINATION": str(tmp_path / "bucket")}) as found:
        yield found


def schedule(service: Service, name: str, source: Path) -> None:
    items = [{"from": str(source), "to": f"store/{name}/"}]
    body = {"kind": "publish", "options": {"items": items}, "interval": 1}
    assert service.client.put(f"/api/v1/schedules/{name}", json=body).status_code < 300


def publish(service: Service, source: Path, name: str, patience: float = 20.0) -> str:
    body = [{"from": str(source), "to": f"store/{name}/"}]
    answer = httpx.post(f"{service.url}/publish", json=body, timeout=patience)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["job_id"])


def test_nothing_else_is_held_up(tmp_path: Path, share: Share) -> None:
    with service(tmp_path) as found:
        share.stop()
        told: list[str] = []

        def ask(n: int) -> None:
            told.append(publish(found, share.path / f"asked{n}", f"asked{n}", 120.0))

        asked = [threading.Thread(target=ask, args=(n,)) for n in range(20)]  # more than there are threads for
        for thread in asked:
            thread.start()
        schedule(found, "far", share.path / "folder")
        begun = found.wait(
            "/api/v1/jobs?kind=publish-items", lambda page: [job for job in page["items"] if job["status"] == "running"]
        )
        schedule(found, "near", tmp_path / "here")
        found.wait(
            "/api/v1/jobs?kind=publish-items&status=completed", lambda page: len(page["items"]) >= 2
        )  # of the other schedule, again and again
        assert found.job(publish(found, tmp_path / "here", "asked"))["status"] == "completed"
        assert (tmp_path / "bucket/store/asked/f").read_bytes() == b"near"
        assert told == []
        share.go_on()
        for thread in asked:
            thread.join(60)
        assert len(told) == 20
        for id in (begun["items"][0]["id"], *told):
            assert found.job(id)["status"] == "completed"
        found.stop()


def test_a_service_ends_though_looks_hang(tmp_path: Path, share: Share) -> None:
    """Those of a schedule's request, and those of a unit that its own worker is at."""
    for n in range(3):
        (share.path / "folder" / f"{n}").write_bytes(b"far")
    with service(tmp_path) as found:
        found.job(publish(found, tmp_path / "here", "first"))
        assert found.client.post("/api/v1/queues/publish/pause").status_code == 200
        waiting = publish(found, share.path / "folder", "unit")
        found.wait("/api/v1/queues", lambda page: any(each["waiting"] for each in page["items"]))
        share.stop()
        assert found.client.post("/api/v1/queues/publish/resume").status_code == 200
        found.wait("/api/v1/queues", lambda page: any(each["leased"] for each in page["items"]))
        schedule(found, "far", share.path / "folder")
        begun = found.wait("/api/v1/jobs?kind=publish-items", lambda page: page["items"])["items"][0]
        found.wait(f"/api/v1/jobs/{begun['id']}", lambda job: job["status"] == "running")
        assert found.client.get(f"/api/v1/jobs/{waiting}").json()["status"] == "running"
        found.process.terminate()
        until(lambda: found.process.poll() is not None, seconds=100, why=found.log)
        assert found.process.returncode == 0
        assert "event=service.stopped" in found.log()
