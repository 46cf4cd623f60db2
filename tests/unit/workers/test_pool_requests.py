"""Requests to a store far away over all movers: how they are shared, and what the movers answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dunlin.pace.bucket import Bucket
from dunlin.pace.gate import Passed
from dunlin.plan import Policy
from dunlin.stores.open import Far
from dunlin.transfer import Options
from dunlin.workers import tasks
from dunlin.workers.context import Rules
from dunlin.workers.pool import Pool
from dunlin.workers.setup import Setup, for_mover
from dunlin.workers.tasks import Scan

HANDS, BEGIN = 24, 9


def setup(root: Path) -> Setup:
    """Two directories that are treated as if one were far away."""
    for side in ("source", "target"):
        (root / side).mkdir(exist_ok=True)
    rules = Rules(Policy(), run="0123abcd")
    urls = [f"file://{root / side}" for side in ("source", "target")]
    return Setup(*urls, Options(), rules, source_far=Far(), hands=HANDS, begin=BEGIN)


@pytest.fixture
def pools(tmp_path: Path) -> Iterator[Callable[[int], Pool]]:
    bucket = Bucket.create()
    made: list[Pool] = []

    def make(size: int) -> Pool:
        made.append(Pool(setup(tmp_path), bucket, size, "fork"))
        made[-1].start()
        return made[-1]

    yield make
    bucket.stop()
    for pool in made:
        pool.close()
    bucket.close()


def answers(pool: Pool) -> dict[int, Passed]:
    """What the gates say; the deadline is only for a test that fails."""
    pool.ask_gates()
    deadline = time.monotonic() + 20
    while set(pool.gates) != set(pool.numbers):
        assert time.monotonic() < deadline, pool.gates
        pool.poll(0.05)
    return {number: Passed(*numbers) for number, numbers in pool.gates.items()}


def limits(pool: Pool) -> list[int]:
    return [each.limit for _, each in sorted(answers(pool).items())]


def test_a_run_begins_with_fewer_than_there_may_come_to_be(pools: Callable[[int], Pool], tmp_path: Path) -> None:
    assert limits(pools(2)) == [5, 4]
    whole = setup(tmp_path)
    assert [(each.hands, each.begin) for each in (for_mover(whole, 2, place) for place in (0, 1))] == [(12, 5), (12, 4)]
    assert for_mover(whole._replace(begin=0), 2, 0).begin == 0


@pytest.mark.parametrize(("requests", "shares"), [(24, [12, 12]), (15, [8, 7]), (3, [2, 1]), (1, [1, 1])])
def test_as_many_as_are_said_are_shared_by_the_movers(
    pools: Callable[[int], Pool], requests: int, shares: list[int]
) -> None:
    pool = pools(2)
    pool.reach(requests)
    assert limits(pool) == shares
    assert pool.wanted == pool.in_flight == requests


def test_the_smaller_of_what_pays_and_what_the_machine_bears_counts(pools: Callable[[int], Pool]) -> None:
    pool = pools(2)
    pool.reach(16)
    pool.limit(6)
    assert (limits(pool), pool.in_flight, pool.wanted) == ([3, 3], 6, 16)
    pool.reach(20)
    assert limits(pool) == [3, 3]
    pool.limit(0)
    assert (limits(pool), pool.in_flight) == ([10, 10], 20)


def test_a_mover_without_units_leaves_its_share_to_the_others(pools: Callable[[int], Pool]) -> None:
    pool = pools(2)
    pool.reach(16)
    pool.submit(1, tasks.pack(Scan("")))
    pool.reach(16)
    assert [m.hands for m in pool._movers.values()] == [16, 8]
    deadline = time.monotonic() + 20
    while pool.busy:
        assert time.monotonic() < deadline
        pool.poll(0.05)
    pool.reach(16)
    assert limits(pool) == [8, 8]


def test_a_mover_is_not_told_what_it_knows(pools: Callable[[int], Pool], monkeypatch: pytest.MonkeyPatch) -> None:
    pool = pools(2)
    pool.reach(16)
    sent: list[tuple[object, ...]] = []
    monkeypatch.setattr("dunlin.workers.wire.Wire.send", lambda self, message: sent.append(message))
    pool.reach(16)
    assert sent == []
    pool.reach(17)
    assert sent == [("hands", 9)]


def test_a_mover_that_replaces_a_dead_one_is_told(pools: Callable[[int], Pool]) -> None:
    import os
    import signal

    pool = pools(2)
    pool.reach(16)
    os.kill(pool.pids[0], signal.SIGKILL)
    deadline = time.monotonic() + 20
    while pool.deaths == 0:
        assert time.monotonic() < deadline
        pool.poll(0.05)
    assert limits(pool) == [8, 8]
