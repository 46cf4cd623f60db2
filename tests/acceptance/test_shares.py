"""Caps, priorities and limits of bytes as a black box, on real servers: counted while workers work."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from dunlin.queue import caps
from dunlin.queue.base import Status
from dunlin.queue.caps import PUBLISHING, Shared
from dunlin.queue.open import open_queue
from tests.acceptance.program import dunlin
from tests.acceptance.spread import Site
from tests.acceptance.test_spread import anywhere  # noqa: F401
from tests.acceptance.trouble import until
from tests.integration.service import Service, serving

pytestmark = pytest.mark.slow


def test_a_sync_holds_to_the_caps_over_all_its_workers(anywhere: Site) -> None:  # noqa: F811
    """Two workers with eight slots between them, and two tasks at a time for the directory that they write to."""
    site = anywhere
    site.fill(70, 3)
    (site.work / "dunlin.yaml").write_text(f"queue: {{caps: {{{site.target}: 2}}}}\n")
    site.worker("--workers", "4", "--processes", "1")
    site.worker("--workers", "4", "--processes", "1")
    site.ready(0)
    site.ready(1)
    queue = open_queue(str(site.work / site.url) if site.url == "queue.db" else site.url)
    caps.put(queue, Shared({f"store:{site.target}": 2}))
    run = site.sync("--no-work", "--priority", "high")
    seen, priorities = set(), set()
    begun = time.monotonic()
    while run.poll() is None:
        assert time.monotonic() < begun + 60
        tasks = queue.tasks()
        seen.add(sum(task.status is Status.LEASED for task in tasks))
        priorities |= {task.priority for task in tasks}
    assert site.result(run)["stats"]["copied_files"] == site.files
    site.equal()
    assert seen <= {0, 1, 2}
    assert seen & {1, 2}
    assert priorities == {10}
    queue.close()


CONFIGURATION = """
queue: {{url: "{url}", jobs: 2, host_label: here}}
publish: {{destination: {target}, bandwidth: 400M}}
cache: {{allowed_prefixes: ["one/", "two/"]}}
tenants:
  one: {{allowed_roots: [{root}/one], tasks: 1, bandwidth: 1MB}}
  two: {{allowed_roots: [{root}/two]}}
"""


@pytest.mark.parametrize("engine", ["embedded", "redis"])
def test_a_service_bounds_each_tenant_and_learns_new_bounds(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str
) -> None:
    """What one tenant publishes takes as long as its limit says, one task at a time; nobody else is held up."""
    url = str(tmp_path / "queue.db") if engine == "embedded" else request.getfixturevalue("redis").queue()
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    for tenant in ("one", "two"):
        for n in range(3):
            file = tmp_path / tenant / f"d{n}" / "file"
            file.parent.mkdir(parents=True)
            file.write_bytes(bytes([n]) * 1_000_000)
    words = CONFIGURATION.format(url=url, root=tmp_path, target=tmp_path / "target")
    (cwd / "dunlin.yaml").write_text(words)
    with serving(cwd) as service, closing(open_queue(url)) as queue:
        assert caps.read(queue) == Shared({"tenant:one": 1}, {PUBLISHING: 400 << 20, "tenant:one": 1_000_000})
        clients = {tenant: client(cwd, service, tenant) for tenant in ("one", "two")}
        begun = time.monotonic()
        ids = {tenant: [publish(each, tmp_path / tenant, n) for n in range(3)] for tenant, each in clients.items()}
        ended, leased = {}, set()
        while len(ended) < 2:
            leased.add(sum(task.status is Status.LEASED and "/one/" in task.label for task in queue.tasks("publish")))
            for tenant, each in clients.items():
                jobs = [each.get(f"/api/v1/jobs/{id}").json() for id in ids[tenant]]
                if tenant not in ended and all(job["status"] == "completed" for job in jobs):
                    ended[tenant] = time.monotonic() - begun
            assert time.monotonic() < begun + 60, service.log()
        assert leased <= {0, 1}
        assert 1 in leased
        # 3 MB at 1 MB/s; a tenth of a second's worth may have been saved up.
        assert ended["one"] > 2.5
        assert ended["two"] < ended["one"]
        assert len([path for path in (tmp_path / "target").rglob("*") if path.is_file()]) == 6
        (cwd / "dunlin.yaml").write_text(words.replace("tasks: 1, bandwidth: 1MB", "tasks: 5"))
        until(lambda: caps.read(queue) == Shared({"tenant:one": 5}, {PUBLISHING: 400 << 20}))
        if engine == "redis":  # which may forget
            queue.write(caps.NAME, None)
            until(lambda: caps.read(queue) == Shared({"tenant:one": 5}, {PUBLISHING: 400 << 20}))
        for each in clients.values():
            each.close()


def publish(client: httpx.Client, folder: Path, number: int) -> str:
    asked = [{"from": f"{folder}/d{number}", "to": f"{folder.name}/{number}"}]
    id: str = client.post("/publish", json=asked).json()["job_id"]
    return id


def client(directory: Path, service: Service, tenant: str) -> httpx.Client:
    """One that has a key of a tenant."""
    words = ["key", "add", tenant, "--role", "operator", "--tenant", tenant]
    token = dunlin(*words, cwd=directory, expect=0).stdout.strip()
    return httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {token}"}, timeout=20)
