"""How many requests are under way to a store when nobody says how many: as many as bring more.

What counts is what the server saw: the requests that were under way when each one came. What stood in between, and was
not only tried, is in the log.
"""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path
from statistics import median

import pytest

from tests.acceptance.clouds import cloud, words
from tests.acceptance.program import dunlin, start
from tests.acceptance.trees import Pair
from tests.servers.faults import Proxy, Request, Rules

START = 32
SERVERS = 5
CONTENT = frozenset({"read", "write"})


def made(tmp_path: Path, files: int) -> Pair:
    """A tree of so many small files."""
    pair = Pair.make(tmp_path)
    for n in range(files):
        folder = pair.source / f"d{n // 500}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{n:04}").write_bytes(b"content %d" % n)
    return pair


def content(proxy: Proxy) -> list[Request]:
    """The requests for content that the server saw, in the order in which they began."""
    return sorted((each for each in proxy.seen() if each.kind in CONTENT), key=lambda each: each.began_s)


def synced(
    tmp_path: Path, request: pytest.FixtureRequest, rules: Rules, files: int, *options: str
) -> tuple[list[Request], str]:
    """What the server saw of a sync to it, and what was said."""
    pair = made(tmp_path, files)
    bucket = cloud(request, "fast")
    with bucket.through(rules) as (slow, proxy):
        places, env = words(pair.source, slow)
        done = dunlin("sync", "--no-auto-throttle", *options, *places, cwd=pair.cwd, env=env, expect=0, timeout=180)
        seen = content(proxy)
    assert len(bucket.keys()) == files
    return seen, done.stdout + done.stderr


def stood(said: str) -> list[int]:
    """How many requests stood, one after the other; what was only tried is not told."""
    return [START, *(int(after) for after in re.findall(r"Requests to the store: \d+ -> (\d+) ", said))]


def under_way(seen: list[Request]) -> float:
    """How many requests were under way at a time."""
    return median(1 + each.beside for each in seen)


def test_a_store_with_few_servers_is_not_kept_waiting_for(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    # Slow enough for this machine to be busy with something else as well: throughput is that of the server. How soon
    # fewer stand depends on noise, and so on what else goes on: the run lasts until they do, or its files are done.
    pair = made(tmp_path, 8_000)
    log = tmp_path / "log"
    with (
        cloud(request, "fast").through(Rules(servers=SERVERS, kinds=CONTENT, latency_s=0.1)) as (slow, proxy),
        log.open("wb") as out,
    ):
        places, env = words(pair.source, slow)
        running = start("sync", "--no-auto-throttle", *places, cwd=pair.cwd, env=env, stdout=out, stderr=out)
        while running.poll() is None and (proxy.count() < 1_500 or stood(log.read_text())[-1] > START // 2):
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        running.wait(60)
        seen, said = content(proxy), log.read_text()
    assert running.returncode == 130, said
    assert max(1 + each.beside for each in seen) > START, "more were tried"
    assert under_way(seen[-60:]) < 0.9 * START
    assert "(fewer bring as much)" in said
    # Fewer than there are servers may be tried, but they never stand: one would be without work.
    assert min(stood(said)) >= SERVERS, said


def test_far_away_more_requests_are_made_at_a_time(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    seen, said = synced(tmp_path, request, Rules(kinds=CONTENT, latency_s=0.3), 3_000)
    assert under_way(seen[:100]) <= START
    assert under_way(seen[-1_000:]) > 1.4 * START
    assert max(1 + each.beside for each in seen) <= 128
    assert "Requests to the store: 32 -> 48 (throughput grows)" in said


def test_who_says_how_many_gets_as_many(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    # So far away that what this machine itself takes for a request does not show, also where it is busy.
    seen, said = synced(tmp_path, request, Rules(kinds=CONTENT, latency_s=1.0), 300, "--workers=20")
    assert max(1 + each.beside for each in seen) == 20
    assert under_way(seen[40:-40]) >= 17
    assert "Requests to the store" not in said
