"""sampling: how many rows a run writes of itself, when, and what stands in them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dunlin.model import Stats
from dunlin.pace.disk import Used
from dunlin.pace.load import Load
from dunlin.report import NullReport
from dunlin.state import State
from dunlin.state.overview import Overview
from dunlin.transfer.outcome import Outcome
from dunlin.workers.sampling import Sampler
from tests.unit.workers.test_activity import copied

LOAD = Load({"cpu": 0.5, "memory": 0.25, "iowait": 0.125}, {}, 1 << 20, 5000.0)


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


class FakeGauges:
    def __init__(self) -> None:
        self.looks = 0

    def look(self, pids: Iterable[int]) -> Load:
        self.looks += 1
        return LOAD


class FakeDisks:
    def look(self) -> Used | None:
        return Used(700.0, 0.75)


class Holds:
    cause = "cpu 91%"

    def wanted(self, crew: object) -> int:
        return 8


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def crew(tmp_path: Path, clock: Clock) -> Iterator[Any]:
    state = State.open(
        str(tmp_path / "state.db"), NullReport(), clock=lambda: int(1_700_000_000e9 + clock.time * 1e9)
    )
    pair = state.pair("file:///a", "file:///b", "all")
    yield SimpleNamespace(
        state=state, pair=pair.id, run=state.begin_run(pair, {}, "boot", 1).id, stats=Stats(), frontier=[], scanning=0,
        bucket=SimpleNamespace(paused=False, rate=0, granted=0), telling=SimpleNamespace(flying=0),
        pool=SimpleNamespace(started=True, in_flight=5, pids=[]),
    )  # fmt: skip
    state.close()


def sampler(clock: Clock, gauges: FakeGauges | None = None, holds: Holds | None = None) -> Sampler:
    made: Any = gauges or FakeGauges()
    disks: Any = FakeDisks()
    return Sampler(lambda: holds, clock.time, clock, lambda: made, lambda: disks)


def polled(sampler: Sampler, crew: Any, clock: Clock, seconds: float) -> None:
    """Polled ten times a second for so long."""
    for _ in range(math.ceil(seconds * 10)):
        clock.time += 0.1
        sampler.poll(crew)


def rows(crew: Any, table: str) -> int:
    return int(crew.state.database.value(f"SELECT count(*) FROM {table}"))


def test_a_short_run_writes_no_sample_and_does_not_look_at_the_machine(crew: Any, clock: Clock) -> None:
    gauges = FakeGauges()
    sampling = sampler(clock, gauges)
    polled(sampling, crew, clock, 1.8)
    sampling.end(crew)
    assert (rows(crew, "metric"), rows(crew, "event"), gauges.looks) == (0, 0, 0)


def test_a_minute_makes_thirty_rows(crew: Any, clock: Clock) -> None:
    sampling = sampler(clock)
    polled(sampling, crew, clock, 60.05)
    assert rows(crew, "metric") == 30
    polled(sampling, crew, clock, 60)
    assert rows(crew, "metric") == 60


def test_fifty_thousand_files_a_second_make_eleven_rows_in_two(crew: Any, clock: Clock) -> None:
    sampling = sampler(clock)
    for _ in range(10):
        for n in range(1000):
            sampling.outcome(f"d{n}", copied("a", "b", "c"))
        polled(sampling, crew, clock, 2)
    assert rows(crew, "event") <= 10 * 11
    told = crew.state.database.value("SELECT sum(number) FROM event")
    left = sum(row.number for row in sampling.activity.give())
    assert told + left == 10 * 3000


def test_what_a_sample_holds(crew: Any, clock: Clock) -> None:
    sampling = sampler(clock)
    polled(sampling, crew, clock, 2.05)
    crew.stats = Stats(copied_files=100, hard_links=20, copied_bytes=3000, pending_files=7, pending_bytes=80)
    crew.telling.flying, crew.bucket.rate = 1000, 0
    polled(sampling, crew, clock, 2)
    first, second = (stored.metric for stored in crew.state.metrics(crew.run))
    assert (first.cpu, first.disk, first.workers, first.files) == (None, None, 5, 0)
    assert (second.cpu, second.memory, second.network, second.disk) == (50.0, 1 << 20, 5000.0, 700.0)
    assert (second.used, second.iowait, second.busy) == (25.0, 12.5, 75.0)
    assert (second.files, second.bytes) == (pytest.approx(60, rel=0.06), pytest.approx(2000, rel=0.06))
    assert (second.pending_files, second.pending_bytes, second.throttled, second.cause) == (7, 80, False, "")


def test_a_large_file_that_ends_is_not_counted_twice(crew: Any, clock: Clock) -> None:
    sampling = sampler(clock)
    crew.telling.flying = 9000
    polled(sampling, crew, clock, 2.05)
    crew.telling.flying, crew.stats.copied_bytes = 0, 0  # it has ended, and its unit has not
    polled(sampling, crew, clock, 2)
    crew.stats.copied_bytes = 9000
    polled(sampling, crew, clock, 2)
    sizes = [stored.metric.bytes or 0 for stored in crew.state.metrics(crew.run)]
    assert sizes == [pytest.approx(4500, rel=0.06), 0, 0]


def test_under_a_limit_bytes_count_when_they_are_granted(crew: Any, clock: Clock) -> None:
    """A unit of a thousand small files is counted when it is through: until then nothing would seem to move."""
    sampling = sampler(clock)
    crew.bucket.rate, crew.stats.pending_bytes = 1000, 5000
    for granted in (2000, 4000):
        crew.bucket.granted = granted
        polled(sampling, crew, clock, 2.05 if granted == 2000 else 2)
    assert [stored.metric.bytes for stored in crew.state.metrics(crew.run)] == [pytest.approx(1000, rel=0.06)] * 2
    assert crew.state.run(crew.run).life.flying == 4000


def test_what_holds_a_run_down_is_on_record(crew: Any, clock: Clock) -> None:
    gauges = FakeGauges()
    sampling = sampler(clock, gauges, Holds())
    sampling.note(LOAD, 5, True)
    polled(sampling, crew, clock, 4.05)
    metric = crew.state.metrics(crew.run)[-1].metric
    assert (metric.throttled, metric.cause, metric.workers, metric.wanted) == (True, "cpu 91%", 5, 8)
    assert metric.cpu == 50.0
    assert gauges.looks == 0  # whoever holds it down has looked
    life = crew.state.run(crew.run).life
    assert (life.cause, life.workers, life.wanted) == ("cpu 91%", 5, 8)


def test_an_old_look_is_no_look(crew: Any, clock: Clock) -> None:
    sampling = sampler(clock, None, Holds())
    sampling.note(LOAD, 5, True)
    polled(sampling, crew, clock, 10)
    assert crew.state.metrics(crew.run)[-1].metric.cpu is None


def test_a_pause_is_on_record_at_once_also_in_the_first_seconds(crew: Any, clock: Clock) -> None:
    sampling = sampler(clock)
    seen = []
    for paused in (False, True, False):
        crew.bucket.paused = paused
        polled(sampling, crew, clock, 0.1)
        seen.append(crew.state.run(crew.run).life.paused)
    assert seen == [False, True, False]
    assert rows(crew, "metric") == 0


def test_the_end_of_the_listing_is_on_record_as_exactly_as_it_is_polled(crew: Any, clock: Clock) -> None:
    sampling = sampler(clock)
    crew.scanning = 1
    polled(sampling, crew, clock, 3)
    assert crew.state.run(crew.run).life.listed_at == 0
    crew.scanning = 0
    polled(sampling, crew, clock, 0.3)  # something is found to be listed once more
    crew.frontier = ["d"]
    polled(sampling, crew, clock, 0.4)
    crew.frontier = []
    over = crew.state.now()
    polled(sampling, crew, clock, 5)
    assert (crew.state.run(crew.run).life.listed_at - over) / 1e9 == pytest.approx(0.1, abs=0.01)


def test_a_listing_that_ends_with_the_run_is_on_record(crew: Any, clock: Clock) -> None:
    sampling = sampler(clock)
    crew.scanning = 1
    polled(sampling, crew, clock, 3)
    crew.scanning = 0
    before = crew.state.now()
    sampling.end(crew)
    assert crew.state.run(crew.run).life.listed_at > before


def test_the_end_adds_a_sample_only_where_there_was_one(crew: Any, clock: Clock) -> None:
    sampling = sampler(clock)
    polled(sampling, crew, clock, 3)
    before = rows(crew, "metric")
    crew.stats.copied_files = 4
    sampling.outcome("", copied("last"))
    sampling.end(crew)
    assert rows(crew, "metric") == before + 1
    assert crew.state.events()[-1].path == "last"


def test_old_rows_go_while_a_run_goes_on(crew: Any, clock: Clock) -> None:
    sampling = sampler(clock)
    for _ in range(400):
        clock.time += 20
        sampling.poll(crew)
    assert rows(crew, "metric") < 180 + 80  # an hour of samples, and a mean in a minute


def test_what_a_live_view_reads_of_it(crew: Any, clock: Clock) -> None:
    sampling = sampler(clock)
    crew.stats = Stats(copied_files=10, copied_bytes=100, pending_files=10, pending_bytes=100)
    sampling.outcome("d", copied("x"))
    polled(sampling, crew, clock, 4.1)
    with Overview.open(
        crew.state.database.path, lives=lambda run: True, clock=lambda: int(1_700_000_000e9 + clock.time * 1e9)
    ) as view:
        now = view.now()
        assert now is not None
        assert (now.status, now.done_files, now.total_files, now.listed, now.share) == ("running", 10, 20, True, 0.5)
        assert [each.path for each in view.activity()] == ["d/x"]
        assert view.latest(crew.run) is not None


def test_outcomes_without_a_file_cost_no_row(crew: Any, clock: Clock) -> None:
    sampling = sampler(clock)
    sampling.outcome("d", Outcome())
    polled(sampling, crew, clock, 2.05)
    assert rows(crew, "event") == 0


def test_a_state_that_nobody_can_read_gets_nothing(crew: Any, clock: Clock) -> None:
    crew.state.close()
    crew.state = State.open(None, NullReport())
    gauges = FakeGauges()
    sampling = sampler(clock, gauges)
    polled(sampling, crew, clock, 10)
    assert (rows(crew, "metric"), gauges.looks) == (0, 0)
