"""How many requests are under way to a store when nobody says how many: as many as bring more.

What counts is what the server saw: the requests that were under way when each one came.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median

import pytest

from tests.acceptance.clouds import cloud, words
from tests.acceptance.program import dunlin
from tests.acceptance.trees import Pair
from tests.servers.faults import Request, Rules

START = 32
SERVERS = 5
CONTENT = frozenset({"read", "write"})


def synced(
    tmp_path: Path, request: pytest.FixtureRequest, rules: Rules, files: int, *options: str
) -> tuple[list[Request], str]:
    """What the server saw of a sync to it, in the order in which it began, and what was said."""
    pair = Pair.make(tmp_path)
    for n in range(files):
        folder = pair.source / f"d{n // 500}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{n:04}").write_bytes(b"content %d" % n)
    bucket = cloud(request, "fast")
    with bucket.through(rules) as (slow, proxy):
        places, env = words(pair.source, slow)
        done = dunlin("sync", *options, *places, cwd=pair.cwd, env=env, expect=0, timeout=180)
        seen = sorted(proxy.seen(), key=lambda each: each.began_s)
    assert len(bucket.keys()) == files
    return [each for each in seen if each.kind in CONTENT], done.stdout + done.stderr


def under_way(seen: list[Request]) -> float:
    """How many requests were under way at a time."""
    return median(1 + each.beside for each in seen)


def test_a_store_with_few_servers_is_not_kept_waiting_for(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    # Slow enough for this machine to be busy with something else as well: throughput is that of the server.
    rules = Rules(servers=SERVERS, kinds=CONTENT, latency_s=0.1)
    seen, said = synced(tmp_path, request, rules, 2_000)
    late = seen[-500:-20]
    assert max(1 + each.beside for each in seen) > START, "more were tried"
    assert under_way(late) < 0.9 * START
    assert "(fewer bring as much)" in said
    # And none of its servers is without work for that: another request was waiting, or all but this one at work.
    assert sum(each.beside >= SERVERS - 1 for each in late) > 0.8 * len(late)


def test_far_away_more_requests_are_made_at_a_time(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    seen, said = synced(tmp_path, request, Rules(kinds=CONTENT, latency_s=0.3), 3_000)
    assert under_way(seen[:100]) <= START
    assert under_way(seen[-1_000:]) > 1.4 * START
    assert max(1 + each.beside for each in seen) <= 128
    assert "Requests to the store: 32 -> 48 (throughput grows)" in said


def test_who_says_how_many_gets_as_many(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    seen, said = synced(tmp_path, request, Rules(kinds=CONTENT, latency_s=0.3), 500, "--workers=20")
    assert max(1 + each.beside for each in seen) == 20
    assert under_way(seen[40:-40]) >= 17
    assert "Requests to the store" not in said
