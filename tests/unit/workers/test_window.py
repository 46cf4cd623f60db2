"""The window of the crawl in the processes that list: shares, slots around scans, what movers say."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dunlin.jobs.limits import FEWEST
from dunlin.pace.bucket import Bucket
from dunlin.pace.window import LEAST_RUN, Marks, Numbers, Slot, Window, WindowLimits
from dunlin.plan import Policy
from dunlin.report import NullReport
from dunlin.state.store import State
from dunlin.transfer import Options
from dunlin.transfer.directory import carry_out
from dunlin.transfer.outcome import Outcome, Presence
from dunlin.workers import backlog, frontier, tasks
from dunlin.workers.backlog import Backlog
from dunlin.workers.context import Rules
from dunlin.workers.frontier import Frontier, Queued
from dunlin.workers.pool import Arrival, Pool
from dunlin.workers.scan import scan
from dunlin.workers.setup import Setup, build, window_share
from dunlin.workers.tasks import Scan
from dunlin.workers.units import run_unit
from tests.unit.workers.conftest import World

LIMITS = WindowLimits(8, 1_000, 72, Marks(0.9, 0.5))


@pytest.mark.parametrize("movers", [1, 2, 3, 7, 8])
def test_shares_make_up_the_whole(movers: int) -> None:
    shares = [window_share(LIMITS, movers, place) for place in range(movers)]
    whole = [sum(each) for each in zip(*((one.directories, one.files, one.threads) for one in shares), strict=True)]
    assert whole == [8, 1_000, 72]
    assert {each.marks for each in shares} == {LIMITS.marks}


def test_where_directories_are_fewer_than_movers_those_that_list_have_all_files() -> None:
    shares = [window_share(LIMITS._replace(directories=2), 4, place) for place in range(4)]
    assert [each.files for each in shares[:2]] == [500, 500]
    assert window_share(WindowLimits(), 4, 1) == WindowLimits()


# ---- around a scan ----


class Watched(Window):
    """Remembers how it stood whenever names were held or the listings had ended."""

    def __init__(self, limits: WindowLimits = LIMITS) -> None:
        super().__init__(limits)
        self.seen: list[tuple[int, int]] = []

    def _hold(self, n: int) -> None:
        super()._hold(n)
        self.seen.append((self._active, self._held))


def test_a_scan_has_a_slot_and_holds_both_listings_until_its_end(world: World) -> None:
    world.source.make_directory("d")
    world.target.make_directory("d")
    for n in range(30):
        world.source.make_directory(f"d/s{n}")
        world.target.make_directory(f"d/s{n}")
    context = world.context()
    context.window = window = Watched()
    outcome = world.do(Scan("d", int(Presence.BOTH)), context)
    assert len(outcome.subdirectories) == 30
    assert window.seen[-1] == (1, 60)
    assert window.numbers()[:4] == (0, 0, 0, 60)


@pytest.mark.parametrize("presence", [Presence.BOTH, Presence.UNKNOWN])
def test_a_scan_that_fails_gives_everything_back(world: World, presence: Presence) -> None:
    context = world.context()
    context.window = window = Watched()
    world.do(Scan("missing", int(presence)), context)
    assert window.numbers()[:3] == (0, 0, 0)


def test_a_scan_gives_its_slot_back_before_it_copies(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.source.make_directory("d")
    world.source.make_directory("d/s")
    context = world.context()
    context.window = window = Watched()
    active: list[tuple[int, int]] = []

    def watched(*arguments: Any) -> None:
        active.append((window._active, window._held))
        carry_out(*arguments)

    monkeypatch.setattr("dunlin.workers.scan.carry_out", watched)
    world.do("d", context)
    assert active == [(0, 1)]


def test_after_a_cancellation_no_directory_is_begun_and_it_stays_queued(world: World) -> None:
    world.source.make_directory("d")
    context = world.context()
    context.window.cancel()
    world.calls("source")
    outcome = run_unit(context, Scan("d"), world.parts.append)
    assert outcome.fatal is not None
    assert not outcome.listed
    assert world.calls("source") == {}


def test_runs_are_as_short_as_the_window_asks(world: World) -> None:
    world.source.make_directory("d")
    for n in range(3 * LEAST_RUN):
        world.source.make_directory(f"d/s{n:05}")
    context = world.context(mode="check")
    context.window = Watched(WindowLimits(8, 10))
    parts: list[Outcome] = []
    with Slot(context.window) as slot:
        scan(context, Scan("d", int(Presence.UNKNOWN)), parts.append, slot)
    assert context.window.run == LEAST_RUN
    assert len(parts) >= 2


def test_a_unit_says_how_long_it_waited_for_its_slot(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]

    class Late(Window):
        def _enter(self) -> None:
            now[0] += 7.0
            super()._enter()

    def seconds(context: object, task: object, emit: object, slot: object) -> Outcome:
        now[0] += 2.0
        return Outcome()

    monkeypatch.setattr("dunlin.workers.units.time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr("dunlin.workers.units.scan", seconds)
    context = world.context()
    context.window = Late(LIMITS)
    outcome = world.do("d", context)
    assert (outcome.waited, outcome.seconds) == (7.0, 2.0)
    assert Outcome.unpack(outcome.pack()).waited == 7.0


@pytest.mark.parametrize(("limits", "most"), [(WindowLimits(1, 2_000), 1_000), (WindowLimits(), 1_500)])
def test_local_places_list_in_batches_no_longer_than_a_run(tmp_path: Path, limits: WindowLimits, most: int) -> None:
    """A batch is in memory as a whole before it is cut into runs."""
    for n in range(1_500):
        (tmp_path / f"f{n}").touch()
    url = f"file://{tmp_path}"
    bucket = Bucket.create()
    rules = Rules(Policy(), run="0123abcd")
    context = build(Setup(url, url, Options(), rules, window=limits), bucket, 0, NullReport())
    for store in (context.site.source, context.site.target):
        assert max(len(batch) for batch in store.list("")) == most
    context.site.source.close()
    context.site.target.close()
    bucket.close()


def test_a_long_directory_takes_what_is_said_to_be_the_least(tmp_path: Path, world: World) -> None:
    for side in ("source", "target"):
        (tmp_path / side).mkdir()
        for n in range(6_000):
            (tmp_path / side / f"f{n}").touch()
    bucket = Bucket.create()
    limits = WindowLimits(1, 1)
    urls = (f"file://{tmp_path / side}" for side in ("source", "target"))
    context = build(Setup(*urls, Options(), Rules(Policy(), run="0123abcd"), window=limits), bucket, 0, NullReport())
    assert world.do(Scan("", int(Presence.BOTH)), context).listed
    assert context.window.numbers().peak == pytest.approx(FEWEST, rel=0.01)
    context.site.source.close()
    context.site.target.close()
    bucket.close()


# ---- movers ----


class Crew:
    """A pool whose movers have windows."""

    def __init__(self, root: Path) -> None:
        self.source, self.target = root / "source", root / "target"
        self.source.mkdir()
        self.target.mkdir()
        self.bucket = Bucket.create()
        self.pools: list[Pool] = []

    def pool(self, size: int, limits: WindowLimits) -> Pool:
        rules = Rules(Policy(perms=True), run="0123abcd")
        setup = Setup(
            f"file://{self.source}", f"file://{self.target}", Options(perms=True), rules, window=limits
        )
        pool = Pool(setup, self.bucket, size, "fork")
        self.pools.append(pool)
        pool.start()
        return pool


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    made = Crew(tmp_path)
    yield made
    made.bucket.stop()
    for pool in made.pools:
        pool.close()
    made.bucket.close()


def arrived(pool: Pool, kind: str, n: int) -> list[Arrival]:
    """So many arrivals of a kind; the deadline is only for a test that fails."""
    deadline = time.monotonic() + 20
    found: list[Arrival] = []
    while len(found) < n:
        assert time.monotonic() < deadline, found
        found += [each for each in pool.poll(0.05) if each.kind == kind]
    return found


def test_movers_say_how_their_windows_stand_and_hear_of_memory(crew: Crew) -> None:
    pool = crew.pool(2, LIMITS)
    pool.tell("window?", 0.85)
    first: dict[int, Numbers] = {}
    while len(first) < 2:  # what the question changes may be told before it is answered
        for each in arrived(pool, "window", 1):
            first.setdefault(each.unit, Numbers(*each.body))
    assert sorted(first) == sorted(pool.numbers)
    for numbers in first.values():
        assert (numbers.active, numbers.waiting, numbers.held) == (0, 0, 0)
        assert numbers.engaged == (("memory", 0.85, 1.0),)
        assert numbers.events == (("memory", True, 85.0),)


def test_a_mover_whose_window_is_full_says_so_unasked(crew: Crew) -> None:
    (crew.source / "d").mkdir()
    for n in range(20):
        (crew.source / "d" / f"f{n}").write_text("x")
    pool = crew.pool(1, WindowLimits(1, 1_000))
    pool.window(WindowLimits(1, 15))
    pool.submit(1, tasks.pack(Scan("d", int(Presence.SOURCE), files=1, size=1)))
    told: list[tuple[str, bool, float]] = []
    while len(told) < 2:
        for each in arrived(pool, "window", 1):
            told += Numbers(*each.body).events
    assert [(name, engaged) for name, engaged, _ in told] == [("files", True), ("files", False)]


def test_with_fewer_slots_than_movers_only_so_many_list(crew: Crew) -> None:
    for n in range(12):
        (crew.source / f"d{n}").mkdir()
    pool = crew.pool(2, WindowLimits(1, 1_000))
    for n in range(12):
        pool.submit(n, tasks.pack(Scan(f"d{n}")))
    units = [sorted(m.units) for m in pool._movers.values()]
    assert units == [list(range(12)), []]
    assert len(arrived(pool, "done", 12)) == 12
    pool.window(WindowLimits(2, 1_000))
    for n in range(12):
        pool.submit(n, tasks.pack(Scan(f"d{n}")))
    assert [len(m.units) for m in pool._movers.values()] == [6, 6]


def test_what_waits_at_a_mover_comes_back_undone_after_a_cancellation(crew: Crew) -> None:
    (crew.source / "d").mkdir()
    pool = crew.pool(1, LIMITS)
    pool.tell("cancel")
    pool.submit(1, tasks.pack(Scan("d")))
    (arrival,) = arrived(pool, "done", 1)
    assert Outcome.unpack(arrival.body[0]).fatal is not None
    assert not (crew.target / "d").exists()


# ---- the queues of the process that leads ----


def test_frontier_and_backlog_are_as_large_as_memory_allows(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontier, "WINDOW", 80)
    monkeypatch.setattr(backlog, "WINDOW", 80)
    pair = state.pair("file:///s", "file:///t", "x")
    run = state.begin_run(pair, {}, "boot", 1).id
    small = Frontier(state, pair.id, run, 0.1)
    small.put(Queued(1, "", 0, None, False))
    assert small.queued == 1
    assert small.next() is not None
    small.add("", [(f"d{n}", 0) for n in range(30)])
    assert (len(small._window), small.queued) == (8, -1)
    found = set()
    while (queued := small.next()) is not None:
        found.add(queued.path)
    assert found == {f"d{n}" for n in range(30)}
    assert Backlog(state, run).room == 80
    assert Backlog(state, run, 1, 0.1).room == 8
    assert Backlog(state, run, 1, 0.0001).room == 1
