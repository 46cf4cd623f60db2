"""A pool that the host throttles: who gets units, how many, and what movers are told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dunlin.pace.bucket import Bucket
from dunlin.plan import Policy
from dunlin.transfer import Options
from dunlin.transfer.outcome import Outcome
from dunlin.workers import tasks
from dunlin.workers.context import Rules
from dunlin.workers.pool import AHEAD, Pool
from dunlin.workers.setup import Setup
from dunlin.workers.tasks import Scan


class Crew:
    """A pool between two directories."""

    def __init__(self, root: Path) -> None:
        self.source, self.target = root / "source", root / "target"
        self.source.mkdir()
        self.target.mkdir()
        self.bucket = Bucket.create()
        self.quota = Bucket.create()
        self.pools: list[Pool] = []

    def pool(self, size: int, most: int = 0, start: str = "fork", quota: Bucket | None = None) -> Pool:
        rules = Rules(Policy(perms=True), run="0123abcd")
        setup = Setup(f"file://{self.source}", f"file://{self.target}", Options(perms=True), rules)
        pool = Pool(setup, self.bucket, size, start, (), most, quota)
        self.pools.append(pool)
        pool.start()
        return pool


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    made = Crew(tmp_path)
    yield made
    made.bucket.stop()
    made.quota.stop()
    for pool in made.pools:
        pool.close()
    made.bucket.close()
    made.quota.close()


def waited(pool: Pool, units: int) -> list[Outcome]:
    """The outcomes of so many units; the deadline is only for a test that fails."""
    deadline = time.monotonic() + 20
    found: list[Outcome] = []
    while len(found) < units:
        assert time.monotonic() < deadline, found
        found += [Outcome.unpack(each.body[0]) for each in pool.poll(0.05) if each.kind == "done"]
    return found


def holders(pool: Pool) -> list[int]:
    return [len(m.units) for m in sorted(pool._movers.values(), key=lambda m: m.place)]


@pytest.mark.parametrize(("workers", "flights"), [(0, 12), (11, 11), (7, 7), (5, 5), (3, 3), (2, 2), (1, 1)])
def test_so_many_files_are_in_flight_over_all_movers(crew: Crew, workers: int, flights: int) -> None:
    pool = crew.pool(3, most=12)
    pool.grow(4)
    assert pool.wanted == 12
    pool.limit(workers)
    assert pool.in_flight == flights
    pool.limit(0)
    assert pool.in_flight == 12


def test_with_fewer_workers_than_movers_the_last_movers_get_nothing(crew: Crew) -> None:
    pool = crew.pool(3)
    pool.limit(2)
    for n in range(6):
        pool.submit(100 + n, tasks.pack(Scan("")))
    assert holders(pool) == [3, 3, 0]


def test_less_waits_at_a_mover_of_a_busy_machine(crew: Crew) -> None:
    pool = crew.pool(2)
    for _ in range(400):
        pool.learn(0.001)
    assert pool.room == 2 * (1 + AHEAD[1])
    pool.limit(2, 0.25)
    assert pool.room == 2 * (1 + AHEAD[1] // 4)
    pool.limit(2, 0.0)
    assert pool.room == 2 * (1 + 1)


def test_while_memory_is_full_one_unit_is_out_at_a_time(crew: Crew) -> None:
    pool = crew.pool(2)
    pool.limit(1, 0.0, hold=True)
    assert pool.room == 1
    pool.submit(1, tasks.pack(Scan("")))
    assert pool.room == 0
    waited(pool, 1)
    assert pool.room == 1


def test_a_mover_that_replaces_a_dead_one_is_told_the_limit(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import signal

    pool = crew.pool(2, most=8)
    pool.grow(4)
    pool.limit(4)
    sent: list[tuple[object, ...]] = []
    monkeypatch.setattr("dunlin.workers.wire.Wire.send", lambda self, message: sent.append(message))
    os.kill(pool.pids[0], signal.SIGKILL)
    deadline = time.monotonic() + 20
    while pool.deaths == 0:
        assert time.monotonic() < deadline
        pool.poll(0.05)
    assert ("threads", 2) in sent
    assert ("hands", 2) in sent
    assert pool.in_flight == 4


def paying(crew: Crew, start: str, cpu_share: float) -> Callable[[], float]:
    """A pool whose movers may compute so much; returns what they have paid, in seconds, after some units."""
    crew.quota.set_rate(int(cpu_share * 1_000_000))
    for n in range(40):
        directory = crew.source / f"d{n}"
        directory.mkdir()
        for f in range(20):
            (directory / f"f{f}").write_bytes(b"x" * 4096)
    pool = crew.pool(2, start=start, quota=crew.quota)
    for n in range(40):
        pool.submit(n, tasks.pack(Scan(f"d{n}")))
    outcomes = waited(pool, 40)
    assert sum(len(outcome.copied) for outcome in outcomes) == 800
    return lambda: crew.quota.granted / 1e6


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_movers_pay_for_what_they_compute(crew: Crew, start: str) -> None:
    # At 36 us each, 800 files are about 30 ms of processor time.
    assert paying(crew, start, 2.0)() > 0.01


def test_movers_give_memory_back_when_they_are_told(crew: Crew) -> None:
    pool = crew.pool(1)
    pool.tell("trim")
    pool.submit(1, tasks.pack(Scan("")))
    assert not waited(pool, 1)[0].failed
    assert pool.deaths == 0
