"""A service that bears only so many requests at a time: all objects arrive, and fewer are asked for at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.clouds import cloud, words
from tests.acceptance.program import dunlin
from tests.acceptance.trees import Pair
from tests.servers.faults import Rules

BEARS = 6
FILES = 900
SETTLED_S = 5.0
"""It asks for half as much at most once a second: 24, 12, 6."""
CONTENT = frozenset({"read", "write"})


@pytest.mark.parametrize("way", ["up", "down"])
def test_as_many_requests_at_a_time_as_the_service_bears(
    tmp_path: Path, request: pytest.FixtureRequest, way: str
) -> None:
    pair = Pair.make(tmp_path)
    bucket = cloud(request, "fast")
    content = {f"f{n:03}": f"content {n}".encode() for n in range(FILES)}
    if way == "down":
        bucket.put(content)
    else:
        for name, data in content.items():
            (pair.source / name).write_bytes(data)
    rules = Rules(at_once=BEARS, kinds=CONTENT, latency_s=0.06)
    with bucket.through(rules) as (pressed, proxy):
        places, env = words(*((pair.source, pressed) if way == "up" else (pressed, pair.target)))
        dunlin("sync", "--movers=1", "--workers=24", "--no-auto-throttle", *places, cwd=pair.cwd, env=env, expect=0)
        seen = [each for each in proxy.seen() if each.kind in CONTENT]
    if way == "up":
        assert bucket.content() == content
    else:
        assert {path.name: path.read_bytes() for path in pair.target.iterdir()} == content
    seen.sort(key=lambda each: each.began_s)
    began = seen[0].began_s
    first, rest = ([each for each in seen if (each.began_s > began + SETTLED_S) is late] for late in (False, True))
    assert len(rest) > 100
    assert max(each.beside for each in first) > 2 * BEARS, "nothing was asked for at once, so nothing was shown"
    # It tries one more a second, and is told off for it.
    assert max(each.beside for each in rest) <= BEARS + 1
    refused = [each for each in seen if each.fault == "busy"]
    assert len([each for each in rest if each.fault == "busy"]) <= len(rest) // 10
    assert len(seen) - len(refused) == FILES
