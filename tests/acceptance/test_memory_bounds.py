"""`--max-memory-mb` and `--disk-buffer-mb` hold for the whole tree of processes while large objects are moved."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from tests.acceptance.clouds import cloud, words
from tests.acceptance.program import dunlin, start
from tests.acceptance.trees import Pair
from tests.servers.faults import Rules

MIB = 1 << 20
SIZE = 48 * MIB
OBJECTS = 4
LIMIT_MB = 160


def most_of_the_tree(process: psutil.Process) -> int:
    """Bytes of all processes together; what several share counts once (PSS)."""
    total = 0
    for each in [process, *process.children(recursive=True)]:
        try:
            total += each.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total


@pytest.mark.parametrize("way", ["up", "down"])
def test_large_objects_stay_within_the_limit(tmp_path: Path, request: pytest.FixtureRequest, way: str) -> None:
    pair = Pair.make(tmp_path)
    bucket = cloud(request, "fast")
    for n in range(OBJECTS):
        with open(pair.source / f"o{n}", "wb") as file:
            for block in range(SIZE // MIB):
                file.write(bytes([n, block % 256]) * (MIB // 2))
    if way == "down":
        places, env = words(pair.source, bucket)
        dunlin("sync", *places, cwd=pair.cwd, env=env, expect=0)
    limits = (f"--max-memory-mb={LIMIT_MB}", "--disk-buffer-mb=16", "--movers=2", "--no-auto-throttle")
    with bucket.through(Rules(bytes_per_second=60e6)) as (slow, _):
        places, env = words(*((pair.source, slow) if way == "up" else (slow, pair.target)))
        process = start("sync", *limits, *places, cwd=pair.cwd, env=env)
        most, looks = 0, 0
        tree = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                most = max(most, most_of_the_tree(tree))
            except psutil.NoSuchProcess:
                break
            looks += 1
            time.sleep(0.05)
        out, err = process.communicate()
    assert process.returncode == 0, (out, err)
    assert looks >= 10, "it was over before it could be looked at"
    assert 0 < most <= LIMIT_MB * MIB, f"{most / MIB:.0f} MiB"
    check, env = words(pair.source, bucket if way == "up" else pair.target)
    dunlin("check", "--size-only", *check, cwd=pair.cwd, env=env, expect=0)
