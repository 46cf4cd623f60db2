"""Hundreds of cycles leave nothing behind: no memory, no descriptors, no threads."""

from __future__ import annotations

import gc
import threading
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from dunlin.jobs.options import Result, SyncOptions, Watch
from dunlin.jobs.sync import run
from dunlin.jobs.watch import Waiting, watch
from dunlin.pace.stop import Stop
from dunlin.report import NullReport
from tests.acceptance.clouds import Cloud, cloud

CYCLES = 500
SETTLED = 100
"""Cycles after which caches are warm."""


def endure(options: SyncOptions) -> tuple[int, list[tuple[int, int, int]]]:
    """The last exit code; and (bytes resident, descriptors, threads) after `SETTLED` cycles and at the end."""
    me, found = psutil.Process(), list[tuple[int, int, int]]()
    waiting = Waiting([options], NullReport())

    def once(stop: Stop, cycle: int) -> Result:
        return run(options, stop, NullReport())

    def wait(seconds: float, stop: Stop, runs: Sequence[int]) -> frozenset[int]:
        if runs[0] in (SETTLED, CYCLES - 1):
            found.append((me.memory_info().rss, me.num_fds(), threading.active_count()))
        # Each real wait takes a quarter of a second: the library's own step.
        return waiting(0.0, stop, runs) if cycle_of(runs) % 25 == 0 else frozenset()

    # Each cycle collects; what the tests before have left in this process would make that a second each time.
    gc.collect()
    gc.freeze()
    try:
        result = watch([once], Watch(0.0, CYCLES), Stop(), NullReport(), wait)
    finally:
        waiting.close()
    assert result.run == CYCLES
    return result.exit_code, found


def cycle_of(runs: Sequence[int]) -> int:
    """In a state file of its own the number of a run is that of its cycle."""
    return runs[0]


def holds(found: list[tuple[int, int, int]]) -> None:
    (memory, fds, threads), (memory_after, fds_after, threads_after) = found
    assert fds_after <= fds  # what tests before have left in this process may end meanwhile
    assert threads_after <= threads
    assert memory_after - memory < 12 << 20, f"{(memory_after - memory) >> 10} KiB more"


def options_of(source: str, target: Path, root: Path, bucket: Cloud | None = None) -> SyncOptions:
    options = SyncOptions(
        source, str(target), state_db=str(root / "state.db"), user_state=str(root), runtime=str(root), watch=Watch()
    )
    return options if bucket is None else options._replace(login_source=bucket.login)


@pytest.mark.slow
def test_a_local_pair(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for n in range(20):
        (source / f"f{n}").write_bytes(b"x")
    code, found = endure(options_of(str(source), tmp_path / "target", tmp_path))
    assert code == 0
    holds(found)


@pytest.mark.slow
def test_a_bucket(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    bucket = cloud(request, "fast")
    bucket.put({f"d/f{n}": b"x" for n in range(20)})
    code, found = endure(options_of(bucket.url, tmp_path / "target", tmp_path, bucket))
    assert code == 0
    assert len(list((tmp_path / "target" / "d").iterdir())) == 20
    holds(found)
