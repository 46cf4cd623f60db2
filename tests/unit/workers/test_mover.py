"""The threads of a mover, as its parent's system shows them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dunlin.pace.bucket import Bucket
from dunlin.pace.window import WindowLimits
from dunlin.plan import Policy
from dunlin.transfer import Options
from dunlin.workers import tasks
from dunlin.workers.context import Rules
from dunlin.workers.pool import Pool
from dunlin.workers.setup import Setup
from dunlin.workers.tasks import Scan

DIRECTORIES = 1_000


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    for side in ("source", "target"):
        for n in range(DIRECTORIES):
            (tmp_path / side / f"d{n}").mkdir(parents=True)
    rules = Rules(Policy(perms=True), run="0123abcd")
    urls = [f"file://{tmp_path / side}" for side in ("source", "target")]
    setup = Setup(*urls, Options(perms=True), rules, window=WindowLimits(1, 10_000))
    bucket = Bucket.create()
    made = Pool(setup, bucket, 1, "fork")
    made.start()
    yield made
    bucket.stop()
    made.close()
    bucket.close()


def threads(pool: Pool) -> int:
    (pid,) = pool.pids
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def test_threads_that_come_and_go_while_units_wait_are_never_more_than_were_wanted(pool: Pool) -> None:
    """Each that was to end stood behind all units that waited, and others were started beside it."""
    for n in range(DIRECTORIES):
        pool.submit(n, tasks.pack(Scan(f"d{n}")))
    pool.flush()
    done = most = 0
    deadline = time.monotonic() + 60
    for _ in range(30):
        for n in (4, 1):
            pool.grow(n)
    while done < DIRECTORIES:
        assert time.monotonic() < deadline, done
        most = max(most, threads(pool))
        done += sum(arrival.kind == "done" for arrival in pool.poll(0.001))
    # Beside them the one that reads, and the one that answers; and who ends is counted until it has.
    assert most <= 2 + 4 + 4
    while threads(pool) > 3:
        assert time.monotonic() < deadline
        pool.poll(0.01)
