"""Syncs that a service is asked for, and that workers elsewhere do, of which one is killed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dunlin.queue.open import open_queue
from tests.acceptance.spread import Site
from tests.acceptance.trouble import until
from tests.integration.service import serving

# Real processes, a run that lasts until one of them is killed, and a lease that runs out: some ten seconds each.
pytestmark = pytest.mark.slow

SMALL = ("--workers", "4", "--processes", "1")


@pytest.fixture(params=["redis", "postgres"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "work").mkdir()
    made = Site(tmp_path / "work", request.getfixturevalue(request.param).queue())
    yield made
    made.end()


def test_a_sync_of_the_service_is_done_by_workers_of_which_one_is_killed(site: Site) -> None:
    site.fill(40, 20, 4_000)
    env = {"DUNLIN_QUEUE_URL": site.url, "DUNLIN_QUEUE_WORK": "false"}
    with serving(site.work / "cwd", env=env) as service:
        options: dict[str, Any] = {"source": str(site.source), "destination": str(site.target), "archive": True}
        options["bwlimit"] = "250K"
        id = service.client.post("/api/v1/jobs", json={"kind": "sync", "options": options}).json()["id"]
        until(lambda: "no worker takes part" in service.log())
        assert site.copied() == 0, "the service does none of it"
        first, _ = site.worker(*SMALL), site.worker(*SMALL)
        until(lambda: all("worker.joined" in site.told(number) for number in (0, 1)) and site.copied() > 50)
        first.kill()
        assert service.client.get(f"/api/v1/jobs/{id}").json()["status"] == "running"
        first.wait()
        job = service.job(id)
        assert (job["status"], job["result"]["exit_code"]) == ("completed", 0), job
        site.equal()
        counts = job["counts"]
        assert counts["copied_files"] + counts.get("equal_files", 0) == site.files
        assert "failed_files" not in counts
        assert list(site.target.rglob(".dunlin-*")) == []
        del options["bwlimit"]
        again = service.client.post("/api/v1/jobs", json={"kind": "sync", "options": options}).json()["id"]
        counts = service.job(again)["counts"]
        assert (counts["equal_files"], counts.get("copied_files", 0)) == (site.files, 0)
        assert "level=error" not in service.stop()
    queue = open_queue(site.url)
    assert [stats.queue for stats in queue.stats() if stats.waiting or stats.leased or stats.news] == []
    queue.close()
    site.workers[1].send_signal(signal.SIGTERM)
    assert site.workers[1].wait(30) == 0
