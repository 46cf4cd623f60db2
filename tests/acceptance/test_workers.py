"""`--workers N` is the number of files in flight in the whole run: never more, and so many as soon as there is work.

The proxy holds every request for a while before it passes it on, so two that began within that time were certainly
under way together. The more there may be, the longer it is: all of them begin within it on a busy machine, too.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.clouds import cloud, words
from tests.acceptance.program import dunlin
from tests.servers.faults import Request, Rules

LATENCY = 0.05
"""Seconds that a request is held, for each that may be under way."""
CALM = "--no-auto-throttle"
"""Other tests keep the machine busy, which is no reason here to have fewer files in flight."""
ALONE = 25
"""Files that the process that leads moves before there are movers."""


def at_once(requests: list[Request], latency: float) -> int:
    """How many were under way together at most."""
    changes = [(r.began_s, 1) for r in requests] + [(r.began_s + latency, -1) for r in requests]
    now = most = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


@pytest.mark.parametrize("workers", [1, 2, 5, 7])
@pytest.mark.parametrize("name", ["f{:03}", "d{:03}/f"])
def test_so_many_files_are_in_flight(tmp_path: Path, request: pytest.FixtureRequest, workers: int, name: str) -> None:
    """One directory with all files, and many with one each; first one process moves them, then several movers."""
    bucket = cloud(request, "fast")
    files = {name.format(n): b"x" * 100 for n in range(ALONE + 25 * workers)}
    bucket.put(files)
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    latency = LATENCY * workers
    with bucket.through(Rules(latency_s=latency)) as (there, proxy):
        places, env = words(there, tmp_path / "target")
        told = dunlin("sync", f"--workers={workers}", CALM, *places, cwd=cwd, env=env, expect=0).stderr
        reads = sorted(proxy.seen(kind="read"), key=lambda r: r.began_s)
    assert f"Starting download (workers={workers})" in told
    assert len(reads) == len(files)
    assert at_once(reads, latency) == workers
    assert at_once(reads[ALONE + workers :], latency) == workers, "the movers"


def test_uploads_are_counted_in_the_same_way(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    bucket = cloud(request, "fast")
    source, cwd = tmp_path / "source", tmp_path / "cwd"
    source.mkdir()
    cwd.mkdir()
    for n in range(75):
        (source / f"f{n:02}").write_bytes(b"x")
    with bucket.through(Rules(latency_s=LATENCY * 5)) as (there, proxy):
        places, env = words(source, there)
        dunlin("sync", "--workers=5", CALM, *places, cwd=cwd, env=env, expect=0)
        assert at_once(proxy.seen(kind="write"), LATENCY * 5) == 5


def test_fewer_workers_than_movers_leave_movers_out(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    bucket = cloud(request, "fast")
    bucket.put({f"f{n:02}": b"x" for n in range(45)})
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    with bucket.through(Rules(latency_s=LATENCY * 2)) as (there, proxy):
        places, env = words(there, tmp_path / "target")
        dunlin("sync", "--workers=2", "--movers=4", CALM, *places, cwd=cwd, env=env, expect=0)
        assert at_once(proxy.seen(kind="read"), LATENCY * 2) == 2
