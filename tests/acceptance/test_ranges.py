"""A huge file in ranges over a queue, as a black box: the coordinator dies, a worker sleeps, the run is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.spread import Site
from tests.acceptance.trouble import until

pytestmark = pytest.mark.slow

SIZE = 160 << 20
"""Three ranges, of 64 MiB and the rest."""

SPLIT = ("--no-work", "--split-above", "1M")
QUICK = ("--workers", "1", "--processes", "1", "--lease", "3s", "--heartbeat", "1s")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "work").mkdir()
    made = Site(tmp_path / "work", "queue.db")
    with open(made.source / "huge", "wb") as file:
        for at in range(0, SIZE, 1 << 20):
            file.seek(at)
            file.write(os.urandom(64))
        file.truncate(SIZE)
    os.utime(made.source / "huge", ns=(10**18, 10**18 + 3))
    yield made
    made.end()


def temporary(site: Site) -> list[Path]:
    return [path for path in site.target.glob(".dunlin-*-r*.tmp") if path.stat().st_blocks]


def whole(site: Site) -> None:
    """The destination is what the source is, and nothing else is there."""
    assert os.listdir(site.target) == ["huge"]
    assert subprocess.run(["cmp", site.source / "huge", site.target / "huge"], check=False).returncode == 0
    assert (site.target / "huge").stat().st_mtime_ns == 10**18 + 3
    assert site.target.stat().st_mtime_ns == site.source.stat().st_mtime_ns


def test_what_a_killed_coordinator_left_is_removed_and_the_file_begun_anew(site: Site) -> None:
    site.worker(*QUICK)
    site.ready()
    run = site.sync(*SPLIT, "--bwlimit", "40M")
    until(lambda: bool(temporary(site)))
    (left,) = temporary(site)
    run.kill()
    run.communicate()
    assert not (site.target / "huge").exists()
    result = site.result(site.sync(*SPLIT))
    assert result["stats"]["copied_files"] == 1
    assert not left.exists()
    whole(site)


def test_a_worker_that_slept_in_a_range_spoils_nothing_when_it_wakes(site: Site) -> None:
    first = site.worker(*QUICK)
    site.ready()
    run = site.sync(*SPLIT, "--bwlimit", "60M")
    until(lambda: bool(temporary(site)))
    child = site.put_to_sleep(first)
    site.worker(*QUICK)
    assert site.result(run)["stats"]["copied_files"] == 1
    whole(site)
    with open(site.target / "huge", "r+b") as file:
        file.write(b"somebody's")
    before = (site.target / "huge").read_bytes()
    os.kill(child, signal.SIGCONT)
    until(lambda: "worker.lost" in site.told())
    assert (site.target / "huge").read_bytes() == before
    assert os.listdir(site.target) == ["huge"]


def test_a_run_that_is_stopped_leaves_nothing_behind_and_is_continued(site: Site) -> None:
    site.worker(*QUICK)
    site.ready()
    run = site.sync(*SPLIT, "--bwlimit", "20M")
    until(lambda: bool(temporary(site)))
    begun = time.monotonic()
    run.send_signal(signal.SIGINT)
    site.result(run, 130)
    assert time.monotonic() - begun < 15
    assert os.listdir(site.target) == []
    again = site.result(site.sync(*SPLIT))
    assert again["stats"]["copied_files"] == 1
    whole(site)
