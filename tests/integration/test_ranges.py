"""A huge file from several workers at a time: real queues, real processes, which are killed in the middle."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dunlin.jobs import spread
from dunlin.jobs.options import Result, Spread, SyncOptions
from dunlin.jobs.sync import run
from dunlin.pace.schedule import Schedule
from dunlin.pace.stop import Stop
from dunlin.queue.base import Kind, Status
from dunlin.queue.open import open_queue
from dunlin.report import RecordingReport
from dunlin.transfer import Options, ranges
from dunlin.workers import packing
from tests.acceptance.clouds import cloud
from tests.acceptance.program import start

pytestmark = pytest.mark.slow

RANGE = 1 << 20


def until(done: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until it is so; the deadline is only for a test that fails."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Overheard:
    """A queue that remembers what was given out, and which worker told that it had brought which range."""

    def __init__(self, queue: Any, brought: list[tuple[str, int]], given: Counter[str]) -> None:
        self._queue = queue
        self._brought = brought
        self._given = given

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    def put(self, tasks: Any) -> Any:
        self._given.update(task.label.partition(" ")[0] for task in tasks)
        return self._queue.put(tasks)

    def collect(self, *how: Any, **more: Any) -> Any:
        news = self._queue.collect(*how, **more)
        for each in news:
            *_, body = packing.unplaced(each.body)
            if each.kind is Kind.DONE and body[:1] == packing.OUTCOME:
                outcome = packing.unpack_outcome(body)
                if outcome.brought is not None:
                    self._brought.append((each.worker, outcome.brought[0]))
        return news


class Site:
    """A huge file, a queue, workers of one slot each."""

    def __init__(self, work: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.work = work
        self.url = url
        self.source, self.target = work / "source", work / "target"
        self.source.mkdir()
        self.workers: list[subprocess.Popen[bytes]] = []
        self.brought: list[tuple[str, int]] = []
        self.given: Counter[str] = Counter()
        self.report = RecordingReport()
        monkeypatch.setattr(ranges, "RANGE", RANGE)
        monkeypatch.setattr(spread, "open_queue", lambda url: Overheard(open_queue(url), self.brought, self.given))
        monkeypatch.chdir(work)

    def fill(self, size: int) -> bytes:
        content = os.urandom(size)
        (self.source / "huge").write_bytes(content)
        os.utime(self.source / "huge", ns=(10**18, 10**18 + 5))
        return content

    def worker(self, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        log = open(self.work / f"worker{len(self.workers)}.log", "wb")  # noqa: SIM115
        words = ("--queue", self.url, "--labels", "here", "--workers", "1", "--processes", "1")
        worker = start("worker", *words, cwd=self.work, env=env, stdout=subprocess.DEVNULL, stderr=log)
        log.close()
        self.workers.append(worker)
        until(lambda: b"worker.started" in (self.work / f"worker{len(self.workers) - 1}.log").read_bytes())
        return worker

    def sync(self, source: str = "", target: str = "", rate: int = 0, **how: Any) -> Result:
        options = SyncOptions(
            source or str(self.source),
            target or str(self.target),
            transfer=Options(perms=True, checksum=how.pop("checksum", "blake3")),
            state_db=str(self.work / "state.db"),
            runtime=str(self.work),
            bandwidth=Schedule(((0, rate),)) if rate else None,
            spread=Spread(self.url, work=False, host="here", label="here", split_above=4 * RANGE),
        )
        return run(options._replace(**how), Stop(), self.report)

    def shares(self) -> dict[str, int]:
        """How many ranges each worker brought."""
        return dict(Counter(worker for worker, _ in self.brought))

    def end(self) -> None:
        for worker in self.workers:
            with suppress(ProcessLookupError):
                worker.kill()
            worker.wait()


@pytest.fixture(params=["embedded", "redis", "postgres"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site on each engine."""
    (tmp_path / "work").mkdir()
    here = request.param == "embedded"
    url = str(tmp_path / "work" / "queue.db") if here else request.getfixturevalue(request.param).queue()
    made = Site(tmp_path / "work", url, monkeypatch)
    yield made
    made.end()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    (tmp_path / "work").mkdir()
    made = Site(tmp_path / "work", str(tmp_path / "work" / "queue.db"), monkeypatch)
    yield made
    made.end()


def test_two_workers_share_one_file(anywhere: Site) -> None:
    site = anywhere
    content = site.fill(24 * RANGE + 17)
    site.worker()
    site.worker()
    result = site.sync(rate=6 << 20)
    assert (result.status, result.stats.copied_files, result.stats.copied_bytes) == ("completed", 1, len(content))
    assert (site.target / "huge").read_bytes() == content
    assert (site.target / "huge").stat().st_mtime_ns == 10**18 + 5
    assert os.listdir(site.target) == ["huge"]
    assert sorted(at for _, at in site.brought) == [n * RANGE for n in range(25)]
    shares = site.shares()
    assert len(shares) == 2
    assert min(shares.values()) >= 5, shares


def test_a_worker_that_is_killed_in_the_middle_of_a_range_costs_that_range(anywhere: Site) -> None:
    site = anywhere
    content = site.fill(10 * RANGE)
    first = site.worker()

    def kill() -> None:
        queue = open_queue(site.url)
        until(lambda: len(site.brought) >= 3 and bool(queue.tasks(status=Status.LEASED)))
        first.kill()
        queue.close()
        site.worker()

    killer = threading.Thread(target=kill)
    killer.start()
    result = site.sync(rate=2 << 20)
    killer.join()
    assert (result.status, result.stats.copied_files) == ("completed", 1)
    assert (site.target / "huge").read_bytes() == content
    assert os.listdir(site.target) == ["huge"]
    assert sorted(at for _, at in site.brought) == [n * RANGE for n in range(10)]
    assert len(site.shares()) == 2
    assert site.given["bring"] == 11


@pytest.mark.parametrize("kind", ["s3", "az"])
def test_two_workers_share_one_upload_and_one_download(site: Site, kind: str, request: pytest.FixtureRequest) -> None:
    content = site.fill(28 << 20)
    bucket = cloud(request, kind)
    env = {**bucket.env, **{f"DUNLIN_{name.replace('-', '_').upper()}": value for name, value in bucket.flags.items()}}
    for _ in range(2):
        site.worker(env)
    # Each part takes a while, so that one who is late still gets some.
    up = site.sync(target=bucket.url, login_target=bucket.login, rate=8 << 20)
    assert (up.status, up.stats.copied_files) == ("completed", 1), site.report.events
    (key,) = bucket.keys()
    assert bucket.content() == {key: content}
    assert len(site.brought) == 6
    assert len(site.shares()) == 2
    site.brought.clear()
    down = site.sync(bucket.url, str(site.work / "back"), login_source=bucket.login, rate=8 << 20)
    assert (down.status, down.stats.copied_files) == ("completed", 1)
    assert (site.work / "back" / "huge").read_bytes() == content
    assert len(site.brought) == 28
    assert len(site.shares()) == 2
    with bucket.opened() as service:
        assert service.unfinished(key) == ""
