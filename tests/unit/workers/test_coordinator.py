"""What the coordinator puts on record when units of one directory end in every order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import Action, Kind, facts
from dunlin.pace.bucket import Bucket
from dunlin.pace.concurrency import Concurrency
from dunlin.pace.stop import Stop
from dunlin.pace.window import Numbers, WindowLimits
from dunlin.report import NullReport
from dunlin.state.codec import DirectoryStatus
from dunlin.state.store import State
from dunlin.transfer.outcome import Outcome
from dunlin.workers.coordinator import Coordinator, Flight
from dunlin.workers.crawl import UNBOUNDED, CrawlPlan
from dunlin.workers.pool import Arrival, Pool
from dunlin.workers.rows import put_rows
from dunlin.workers.tasks import Finish, Join, Move, Scan, Unblock
from tests.unit.workers.conftest import World

SIZE = 9 << 20  # each file is a unit of its own


class IdlePool:
    """A pool that takes units and never does any."""

    started = True
    size = 1
    room = 9
    threads = 1
    batch = page = parts = 0
    busy = False

    def __init__(self) -> None:
        self.submitted: list[tuple[Any, ...]] = []
        self.told: list[tuple[object, ...]] = []
        self.arrivals: list[Arrival] = []
        self.grown: list[int] = []
        self.pids: list[int] = []
        self.numbers: list[int] = []
        self.on_record: list[int] = []

    def settled(self) -> None:
        self.on_record.append(len(self.submitted))

    def submit(self, unit: int, packed: tuple[Any, ...], again: bool = False) -> None:
        self.submitted.append(packed)

    def learn(self, seconds: float) -> None: ...

    def grow(self, threads: int) -> None:
        self.grown.append(threads)

    def tell(self, *message: object) -> None:
        self.told.append(message)

    def poll(self, timeout: float) -> list[Arrival]:
        arrivals, self.arrivals = self.arrivals, []
        return arrivals


@pytest.fixture
def state() -> Iterator[State]:
    state = State.open(None, NullReport())
    yield state
    state.close()


class Halfway:
    """A run with one directory, whose two large files are both under way."""

    def __init__(self, world: World, state: State, plan: CrawlPlan = UNBOUNDED, cap: int = 1) -> None:
        self.state = state
        pair = state.pair("file:///s", "file:///t", "x")
        self.run = state.begin_run(pair, {}, "boot", 1).id
        (self.id,) = state.add_directories(self.run, [("d", 1)])
        self.stop = Stop()
        self.pool = IdlePool()
        self.crew = Coordinator(
            world.context(),
            cast(Pool, self.pool),
            state,
            pair.id,
            self.run,
            Bucket.create(0),
            self.stop,
            Concurrency(cap),
            False,
            lambda: None,
            lambda directory, outcome: None,
            NullReport(),
            plan,
        )
        waiting = [(name, facts(Kind.FILE, SIZE), int(Action.COPY), False) for name in ("a", "b")]
        put_rows(state, self.run, self.id, Outcome(waiting=waiting), "blake3")
        state.finish_directory(self.run, self.id, DirectoryStatus.SCANNED)
        flight = Flight(Move("d", ()), self.id)
        self.crew.backlog.add(self.crew._open(flight), waiting)
        for unit in range(2):
            taken = self.crew.backlog.next()
            assert taken is not None
            self.crew.flights[unit] = Flight(taken[1], taken[0])

    def ends(self, unit: int, *, back: bool = False, fatal: bool = False) -> None:
        name = "ab"[unit]
        outcome = Outcome()
        if back:
            outcome.waiting = [(name, facts(Kind.FILE, SIZE), int(Action.COPY), False)]
        else:
            outcome.copied = [(name, SIZE, 1, 1, None, 0o100644, 0, 0, b"h")]
        if fatal:
            outcome.end(DunlinError("write", "d", ErrorKind.NO_SPACE))
        self.crew._record([(unit, "done", outcome)])

    def left(self) -> list[str]:
        return [row.name for row in self.state.pending(self.run)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("fatal", [False, True])
def test_a_file_that_was_handed_back_stays_pending(
    world: World, state: State, order: tuple[int, int], fatal: bool
) -> None:
    half = Halfway(world, state)
    if not fatal:
        half.stop.request("test")
    for unit in order:
        half.ends(unit, back=unit == 0, fatal=fatal and unit == 0)
    assert half.left() == ["a"]
    assert not any(packed[0] == Finish.__name__ for packed in half.pool.submitted)
    assert not half.state.finished(half.run)


def test_a_scan_that_is_done_again_after_parts_of_it_were_told_counts_every_name_once(
    world: World, state: State
) -> None:
    half = Halfway(world, state)
    crew = half.crew
    crew._next_unit = 10
    crew.submit(Scan("d"), half.id)
    for unit in (10, 11):
        found = Counter(scanned_files=5, copied_files=5 if unit == 10 else 0, equal_files=0 if unit == 10 else 5)
        part = Outcome(found, subdirectories=[("s", 1)], extras=[("x", True)], unfinished=True)
        crew._record([(unit, "part", part)])
        crew._retry_lost(Arrival("lost", unit, ("0badc0de01", True)))
    crew.scanning = 1
    end = Outcome(Counter(scanned_files=9, equal_files=5, copied_files=4), listed=True)
    end.subdirectories, end.extras = [("s", 1), ("t", 1)], [("x", True), ("y", True)]
    crew._record([(12, "done", end)])
    assert (crew.stats.scanned_files, crew.stats.copied_files, crew.stats.equal_files) == (9, 9, 0)
    queued = []
    while (next_one := crew.frontier.next()) is not None:
        queued.append(next_one.path)
    assert sorted(queued) == ["d/s", "d/t", "d/x", "d/y"]


def test_what_may_take_long_is_not_done_where_orders_are_obeyed(world: World, state: State) -> None:
    half = Halfway(world, state)
    for task in (Join("a", ("b",)), Unblock("d", ("a",)), Move("d", (("a", 1 << 30, int(Action.COPY), False),))):
        assert half.crew._worth_movers(task)
    assert not half.crew._worth_movers(Move("d", (("a", 10, int(Action.COPY), False),)))


def test_a_directory_is_finished_after_its_last_file(world: World, state: State) -> None:
    half = Halfway(world, state)
    half.ends(1)
    assert half.pool.submitted == []
    half.ends(0)
    assert [packed[:2] for packed in half.pool.submitted] == [("Finish", "d")]
    assert half.left() == []


# ---- the crawl ----

PLAN = CrawlPlan(WindowLimits(2, 10), most_directories=2, most_files=10)


def scans(half: Halfway) -> int:
    return sum(packed[0] == Scan.__name__ for packed in half.pool.submitted)


def test_while_names_are_engaged_no_directory_is_handed_out_beside_another(world: World, state: State) -> None:
    half = Halfway(world, state, PLAN)
    half.crew.frontier.add("", [(name, 1) for name in "xyz"])
    half.crew.crawling.heard(half.crew, 4, tuple(Numbers(held=10)))
    half.crew._dispatch()
    assert scans(half) == 1, "none was under way"
    half.crew._dispatch()
    assert scans(half) == 1
    half.crew.crawling.heard(half.crew, 4, tuple(Numbers(held=0)))
    half.crew._dispatch()
    assert scans(half) == 3


def test_while_files_wait_no_more_directories_are_handed_out_than_have_a_slot(world: World, state: State) -> None:
    def given(plan: CrawlPlan) -> list[bool]:
        half = Halfway(world, state, plan)
        half.crew.flights = {unit: Flight(Move("d", ()), half.id) for unit in range(40)}
        half.crew.backlog.on_disk = True  # there is some
        found = []
        for scanning in (1, 2, 3, 10, 11):
            half.crew.scanning = scanning
            found.append(half.crew._may_scan())
        return found

    assert given(PLAN) == [True, True, False, False, False]
    assert given(UNBOUNDED) == [True, True, True, True, False]


@pytest.mark.parametrize("stopping", [True, False])
def test_what_waits_at_movers_is_cancelled_only_when_the_run_stops(
    world: World, state: State, stopping: bool
) -> None:
    half = Halfway(world, state)
    if stopping:
        half.stop.request("test")
    half.crew.flights, half.crew.scanning = {5: Flight(Scan("d"), half.id)}, 1
    half.pool.arrivals = [Arrival("done", 5, (Outcome().pack(),))]
    half.crew.drain()
    assert half.crew.flights == {}
    assert half.pool.told == ([("cancel",)] if stopping else [])


def empty(half: Halfway, unit: int, **more: float) -> int:
    """A directory in which there was nothing to do is through; the threads that are wanted then."""
    half.crew.flights[unit] = Flight(Scan("d"), half.id)
    half.crew.scanning += 1
    half.crew._record([(unit, "done", Outcome(seconds=0.004, cpu=0.0001, listed=True, **more))])  # type: ignore[arg-type]
    return half.pool.grown[-1]


def test_a_directory_without_files_is_work_and_lets_threads_grow_while_that_pays(world: World, state: State) -> None:
    half = Halfway(world, state, cap=8)
    half.crew.concurrency._clock = lambda: float(len(half.pool.grown))
    wanted = [empty(half, 100 + n) for n in range(40)]
    assert wanted[-1] == 8
    assert sorted(set(wanted)) == [1, 4, 8]


@pytest.mark.parametrize(("plan", "most"), [(PLAN, 2), (PLAN._replace(most_directories=5, lifts=True), 5)])
def test_threads_do_not_outgrow_the_slots_while_directories_are_all_there_is(
    world: World, state: State, plan: CrawlPlan, most: int
) -> None:
    half = Halfway(world, state, plan, cap=8)
    half.crew.concurrency._clock = lambda: float(len(half.pool.grown))
    assert max(empty(half, 100 + n) for n in range(40)) == most
    half.crew.backlog.on_disk = True
    assert max(empty(half, 200 + n) for n in range(40)) == 8


def test_a_directory_that_waited_for_its_slot_did_not_wait_for_a_mount(world: World, state: State) -> None:
    half = Halfway(world, state, cap=8)
    half.crew.concurrency._clock = lambda: float(len(half.pool.grown))
    # Two threads that take turns: what each directory takes after its wait is twice as long for both.
    for n in range(60):
        empty(half, 100 + n, waited=0.004 * (half.crew.concurrency.target - 1))
    assert half.pool.grown.count(1) > 40, "a trial of three units, then ten seconds without any"


def test_what_came_is_on_record_when_those_who_did_it_hear_of_it(world: World, state: State) -> None:
    half = Halfway(world, state)
    half.crew.flights, half.crew.scanning = {5: Flight(Scan("d"), half.id)}, 1
    still_out: list[bool] = []
    half.pool.settled = lambda: still_out.append(5 in half.crew.flights)  # type: ignore[method-assign]
    half.pool.arrivals = [Arrival("done", 5, (Outcome().pack(),))]
    half.crew.collect()
    assert still_out == [False]
