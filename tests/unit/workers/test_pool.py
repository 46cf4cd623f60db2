"""Real movers: they do units, are replaced when they are killed, and end with their sockets."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dunlin.errors import ErrorKind
from dunlin.pace.bucket import Bucket
from dunlin.plan import Policy
from dunlin.transfer import Options
from dunlin.transfer.outcome import Outcome
from dunlin.workers import mover as movers
from dunlin.workers import scan as scanning
from dunlin.workers import tasks
from dunlin.workers.context import Rules
from dunlin.workers.pool import AHEAD, Arrival, Pool
from dunlin.workers.setup import Setup, for_mover, share
from dunlin.workers.tasks import Move, Scan

RUN = "0badc0de"


class Crew:
    """A pool on two local trees, and what became of the units given to it."""

    def __init__(self, root: Path) -> None:
        self.source, self.target = root / "source", root / "target"
        self.source.mkdir()
        self.target.mkdir()
        self.bucket = Bucket.create()
        self.pools: list[Pool] = []
        self.arrivals: list[Arrival] = []

    def pool(self, size: int = 1, start: str = "fork", keep_open: tuple[int, ...] = (), most: int = 0) -> Pool:
        rules = Rules(Policy(perms=True), run=RUN)
        setup = Setup(f"file://{self.source}", f"file://{self.target}", Options(perms=True), rules)
        pool = Pool(setup, self.bucket, size, start, keep_open, most)
        self.pools.append(pool)
        pool.start()
        return pool

    def wait(self, pool: Pool, done: Callable[[], bool]) -> None:
        """Poll until it is so; the deadline is only for a test that fails."""
        deadline = time.monotonic() + 20
        while not done():
            assert time.monotonic() < deadline, self.arrivals
            self.arrivals += pool.poll(0.05)

    def named(self, kind: str) -> list[Arrival]:
        return [arrival for arrival in self.arrivals if arrival.kind == kind]

    def outcomes(self) -> dict[int, Outcome]:
        return {arrival.unit: Outcome.unpack(arrival.body[0]) for arrival in self.named("done")}

    def temporary(self) -> list[str]:
        return [path.name for path in self.target.rglob(".dunlin-*")]


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    made = Crew(tmp_path)
    yield made
    made.bucket.stop()
    for pool in made.pools:
        pool.close()
    made.bucket.close()


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_movers_do_units(crew: Crew, start: str) -> None:
    for n in range(6):
        (crew.source / f"d{n}").mkdir()
        (crew.source / f"d{n}" / "f").write_text(str(n))
    pool = crew.pool(2, start)
    for n in range(6):
        pool.submit(n, tasks.pack(Scan(f"d{n}")))
    crew.wait(pool, lambda: len(crew.named("done")) == 6)
    outcomes = crew.outcomes()
    assert [outcomes[n].failed for n in range(6)] == [[]] * 6
    assert [[row[0] for row in outcomes[n].copied] for n in range(6)] == [["f"]] * 6
    assert [(crew.target / f"d{n}" / "f").read_text() for n in range(6)] == [str(n) for n in range(6)]
    assert pool.room == 2 * (1 + AHEAD[0])
    assert pool.deaths == 0


def test_a_spawned_mover_loads_nothing_from_the_working_directory(
    crew: Crew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    for name in ("queue.py", "signal.py"):
        (here / name).write_text("raise SystemExit('not the one of the library')")
    monkeypatch.chdir(here)
    pool = crew.pool(1, "spawn")
    pool.submit(1, tasks.pack(Scan("")))
    crew.wait(pool, lambda: bool(crew.named("done")) or pool.deaths > 0)
    assert pool.deaths == 0


def test_units_go_to_the_mover_with_the_fewest(crew: Crew) -> None:
    pool = crew.pool(3)
    for n in range(6):
        pool.submit(n, tasks.pack(Scan("")))
    assert sorted(len(m.units) for m in pool._movers.values()) == [2, 2, 2]
    assert pool.room == 3 * (1 + AHEAD[0]) - 6
    crew.wait(pool, lambda: len(crew.named("done")) == 6)


def test_a_mover_that_is_killed_is_replaced_and_its_units_are_told(crew: Crew) -> None:
    for name in "ab":
        (crew.source / name).write_bytes(b"x" * 500_000)
    crew.bucket.set_rate(200_000)  # keeps it busy for as long as this test needs
    pool = crew.pool(1)
    pool.submit(1, tasks.pack(Scan("")))
    pool.submit(2, tasks.pack(Scan("")))
    crew.wait(pool, lambda: bool(crew.temporary()))
    (victim,) = pool._movers.values()
    assert crew.temporary()[0].startswith(f".dunlin-{RUN}00-")
    os.kill(victim.pid, signal.SIGKILL)
    crew.wait(pool, lambda: len(crew.named("lost")) == 2)
    assert [arrival.unit for arrival in crew.named("gone")] == [0]
    assert [(arrival.unit, arrival.body[0]) for arrival in crew.named("lost")] == [(1, f"{RUN}00"), (2, f"{RUN}00")]
    assert pool.deaths == 1
    (replacement,) = pool._movers.values()
    assert replacement.pid != victim.pid
    assert replacement.units == set()
    crew.bucket.set_rate(0)
    pool.submit(3, tasks.pack(Scan("", sweep=(f"{RUN}00",))))
    crew.wait(pool, lambda: 3 in crew.outcomes())
    assert crew.outcomes()[3].failed == []
    assert sorted(os.listdir(crew.target)) == ["a", "b"]  # and nothing of the dead one's


def test_an_idle_mover_that_is_killed_loses_nothing(crew: Crew) -> None:
    pool = crew.pool(2)
    victim = next(iter(pool._movers.values()))
    os.kill(victim.pid, signal.SIGKILL)
    crew.wait(pool, lambda: pool.deaths == 1)
    assert crew.named("lost") == []
    assert len(pool._movers) == 2
    (crew.source / "f").write_text("x")
    pool.submit(1, tasks.pack(Scan("")))
    crew.wait(pool, lambda: 1 in crew.outcomes())
    assert (crew.target / "f").exists()


def test_nobody_is_replaced_once_the_run_stops(crew: Crew) -> None:
    pool = crew.pool(1)
    (victim,) = pool._movers.values()
    crew.bucket.stop()
    os.kill(victim.pid, signal.SIGKILL)
    crew.wait(pool, lambda: pool.deaths == 1)
    assert not pool.started


def test_a_stop_ends_units_at_the_next_file(crew: Crew) -> None:
    for n in range(50):
        (crew.source / f"f{n}").write_bytes(b"x" * 100_000)
    crew.bucket.set_rate(500_000)
    pool = crew.pool(1)
    pool.submit(1, tasks.pack(Scan("")))
    crew.wait(pool, lambda: bool(os.listdir(crew.target)))
    crew.bucket.stop()
    crew.wait(pool, lambda: 1 in crew.outcomes())
    outcome = crew.outcomes()[1]
    assert outcome.fatal is not None
    assert outcome.fatal[0] == ErrorKind.INTERRUPTED.value
    assert not outcome.listed
    assert crew.temporary() == []


def test_several_threads_give_back_every_unit(crew: Crew) -> None:
    for n in range(60):
        (crew.source / f"d{n}").mkdir()
        (crew.source / f"d{n}" / "f").write_text(str(n))
    pool = crew.pool(1)
    pool.grow(4)
    for n in range(60):
        pool.submit(n, tasks.pack(Scan(f"d{n}")))
        if n % 5 == 0:
            pool.flush()
    crew.wait(pool, lambda: len(crew.named("done")) == 60)
    assert sorted(crew.outcomes()) == list(range(60))
    pool.grow(1)
    pool.submit(60, tasks.pack(Scan("")))
    crew.wait(pool, lambda: 60 in crew.outcomes())


def test_threads_are_grown_in_movers_that_start_later(crew: Crew) -> None:
    pool = crew.pool(1)
    pool.grow(3)
    os.kill(next(iter(pool._movers.values())).pid, signal.SIGKILL)
    crew.wait(pool, lambda: pool.deaths == 1)
    pool.submit(1, tasks.pack(Scan("")))
    crew.wait(pool, lambda: 1 in crew.outcomes())
    (replacement,) = pool._movers.values()
    assert len(os.listdir(f"/proc/{replacement.pid}/task")) == 4


def test_what_all_may_have_is_given_out_to_the_last(crew: Crew) -> None:
    assert [share(5, 2, place) for place in range(2)] == [3, 2]
    assert [share(2, 3, place) for place in range(3)] == [1, 1, 1], "a mover without a hand would do nothing"
    setup = Setup("", "", Options(), Rules(Policy()), hands=7)
    assert [for_mover(setup, 3, place).hands for place in range(3)] == [3, 2, 2]
    pool = crew.pool(2, most=5)
    pool.grow(16)
    assert pool.room == 5 + 2 * AHEAD[0]


def test_who_takes_the_place_of_a_dead_mover_gets_its_share(crew: Crew) -> None:
    """By its number alone, which is new, it would get another's."""
    pool = crew.pool(2, most=5)
    pool.grow(16)
    second = pool._movers[1].pid
    os.kill(second, signal.SIGKILL)
    crew.wait(pool, lambda: bool(crew.named("gone")))
    assert sorted(m.place for m in pool._movers.values()) == [0, 1]
    assert pool.room == 5 + 2 * AHEAD[0]


@pytest.mark.parametrize("fault", [RuntimeError("odd"), OSError(5, "odd"), BrokenPipeError("odd")])
def test_a_fault_of_ours_is_told_and_the_mover_goes_on(
    crew: Crew, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    real = movers.run_unit

    def faulty(context: object, task: object, emit: object) -> Outcome:
        if isinstance(task, Scan) and task.directory == "bad":
            raise fault
        return real(context, task, emit)  # type: ignore[arg-type]

    monkeypatch.setattr(movers, "run_unit", faulty)  # inherited by the fork
    pool = crew.pool(1)
    pool.submit(1, tasks.pack(Scan("bad")))
    pool.submit(2, tasks.pack(Scan("")))
    crew.wait(pool, lambda: bool(crew.named("fault")) and bool(crew.named("done")))
    ((_, unit, body),) = crew.named("fault")
    assert unit == 1
    assert type(fault).__name__ in body[0]
    assert "Traceback" in body[1]
    assert pool.deaths == 0


def test_parts_of_a_huge_directory_arrive_before_its_end(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "RUN", 10)  # inherited by the fork
    for n in range(35):
        (crew.source / f"f{n:02}").write_text(str(n))
    pool = crew.pool(1)
    pool.submit(1, tasks.pack(Scan("")))
    crew.wait(pool, lambda: 1 in crew.outcomes())
    parts = [Outcome.unpack(arrival.body[0]) for arrival in crew.named("part")]
    assert len(parts) >= 3
    assert sum(len(part.copied) for part in parts) + len(crew.outcomes()[1].copied) == 35
    assert crew.arrivals[-1].kind == "done"


def test_a_large_file_is_shown_while_it_moves(crew: Crew) -> None:
    (crew.source / "big").write_bytes(b"x" * (9 << 20))
    pool = crew.pool(1)
    pool.submit(1, tasks.pack(Move("", (("big", 9 << 20, 1, False),))))
    crew.wait(pool, lambda: 1 in crew.outcomes() and bool(crew.named("end")))
    shown = crew.named("task")
    assert shown[0].body[1:] == ("big", 9 << 20, 0)
    assert (crew.target / "big").stat().st_size == 9 << 20


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_movers_keep_the_descriptors_they_are_told_to(crew: Crew, tmp_path: Path, start: str) -> None:
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    pool = crew.pool(1, start, (lock,))
    pool.submit(1, tasks.pack(Scan("")))
    crew.wait(pool, lambda: 1 in crew.outcomes())
    (mover,) = pool._movers.values()
    assert os.readlink(f"/proc/{mover.pid}/fd/{lock}") == str(tmp_path / "lock")
    os.close(lock)


def test_closing_ends_and_collects_every_mover(crew: Crew) -> None:
    pool = crew.pool(3)
    pids = [mover.pid for mover in pool._movers.values()]
    pool.close()
    crew.pools.remove(pool)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_mover_ends_with_its_parent(crew: Crew) -> None:
    """The parent is killed while its mover waits: the mover must not live on."""
    read, write = os.pipe()
    parent = os.fork()
    if parent == 0:
        try:
            pool = crew.pool(1)
            os.write(write, b"%d" % next(iter(pool._movers.values())).pid)
            signal.pause()
        finally:
            os._exit(1)
    orphan = int(os.read(read, 20))
    os.close(write)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert os.read(read, 1) == b""  # its copy of the pipe is closed: it is gone
    os.close(read)
    assert orphan != parent
