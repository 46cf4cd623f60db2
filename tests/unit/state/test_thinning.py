"""thinning: what is old becomes less, and nothing that somebody refers to is lost."""

from __future__ import annotations

import os

import pytest

from dunlin.model import Stats
from dunlin.report import NullReport
from dunlin.state import DirectoryStatus, FileStatus, Metric, Pair, Run, State, Target, thinning
from dunlin.state.overview import Overview
from dunlin.state.thinning import DAY, HOUR, MINUTE, SECOND
from tests.unit.state.rows import Clock, row

NOON = 1_700_000_000 * SECOND // DAY * DAY + 12 * HOUR


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON)


def sampled(state: State, run: Run, clock: Clock, until: int, every: int = 2 * SECOND) -> None:
    """A sample every so often."""
    with state.transaction():
        while clock.time < until:
            state.put_metric(run.id, Metric(cpu=50.0, memory=100, files=10.0, workers=4))
            clock.time += every


def counts(state: State) -> dict[int, int]:
    return dict(state.database.query("SELECT seconds, count(*) FROM metric GROUP BY seconds"))


def test_samples_become_means_of_minutes_and_then_of_hours(state: State, run: Run, clock: Clock) -> None:
    sampled(state, run, clock, NOON + 3 * HOUR)
    state.thin(run.pair)
    assert counts(state) == {0: 1800, 60: 120}
    clock.time = NOON + 26 * HOUR
    state.thin(run.pair)
    assert counts(state) == {60: 60, 3600: 2}
    clock.time = NOON + 40 * DAY
    state.thin(run.pair)
    assert counts(state) == {}


def test_a_mean_holds_what_it_stands_for(state: State, run: Run, clock: Clock) -> None:
    for n in range(30):
        clock.time = NOON + n * 2 * SECOND
        paused, cause = n < 20, "cpu 91%" if n == 3 else ""
        metric = Metric(float(n), n, 1.0, None, 3, 60.0 * (n == 0), throttled=n < 10, paused=paused, cause=cause)
        state.put_metric(run.id, metric)
    first = state.metrics(run.id)[0]
    clock.time += 2 * HOUR
    state.thin(run.pair)
    (mean,) = state.metrics(run.id)
    metric = mean.metric
    assert (mean.id, mean.time, metric.seconds) == (first.id, first.time, 60)
    assert (metric.cpu, metric.memory, metric.files, metric.disk, metric.workers) == (14.5, 29, 2.0, None, 3)
    assert (metric.throttled, metric.paused, metric.cause) == (False, True, "cpu 91%")


def test_workers_of_a_mean_are_the_rounded_mean_and_not_the_least_or_most(
    state: State, run: Run, clock: Clock
) -> None:
    for minute, workers in enumerate(((1, 2, 8), (8, 8, 9), (8, 8, 8))):
        for n, number in enumerate(workers):
            clock.time = NOON + minute * MINUTE + n * SECOND
            state.put_metric(run.id, Metric(workers=number))
    clock.time = NOON + 2 * HOUR
    state.thin(run.pair)
    assert [each.metric.workers for each in state.metrics(run.id)] == [4, 8, 8]
    clock.time = NOON + 2 * DAY
    state.thin(run.pair)
    assert [(each.metric.workers, each.metric.seconds) for each in state.metrics(run.id)] == [(7, 3600)]


def test_thinning_twice_changes_nothing(state: State, run: Run, clock: Clock) -> None:
    sampled(state, run, clock, NOON + 2 * HOUR)
    state.thin(run.pair)
    before = state.metrics(run.id, limit=9999)
    state.thin(run.pair)
    assert state.metrics(run.id, limit=9999) == before


def test_what_went_well_never_pushes_out_an_error(state: State, run: Run) -> None:
    with state.transaction():
        state.put_event(run.id, 40, "file.failed", "x", "bad")
        for n in range(20_000):
            state.put_event(run.id, 20, "file.copied", "", str(n))
    state.thin(run.pair)
    assert [event.path for event in state.events(after=0, limit=1)] == ["bad"]
    assert state.database.value("SELECT count(*) FROM event") == 1001


def test_errors_grow_old(state: State, pair: Pair, run: Run, clock: Clock) -> None:
    state.put_event(run.id, 40, "file.failed", "x", "solved")
    state.put_event(run.id, 40, "file.failed", "x", "open")
    state.resolve(pair.id, "solved")
    left = []
    for day in (6, 8, 31):
        clock.time = NOON + day * DAY
        state.thin(pair.id)
        left.append([event.path for event in state.events()])
    assert left == [["solved", "open"], ["open"], []]


def runs_of(state: State, pair: Pair, clock: Clock, number: int, **stats: int) -> list[int]:
    """So many runs, each a minute after the one before."""
    made = []
    with state.transaction():
        for _ in range(number):
            run = state.begin_run(pair, {}, "boot", 1)
            clock.time += 10 * SECOND
            state.finish_run(run.id, "completed", Stats(**stats))
            clock.time += 50 * SECOND
            made.append(run.id)
    return made


def test_old_runs_go_and_their_sums_stay(
    path: str, state: State, pair: Pair, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thinning, "KEEP_RUNS", 100)
    other = runs_of(state, state.pair("file:///x", "file:///y", "all"), clock, 1)
    made = runs_of(state, pair, clock, 90, copied_files=2, copied_bytes=10)
    made += runs_of(state, pair, clock, 160, copied_files=2, copied_bytes=10, failed_files=1)
    with Overview.open(path, clock=clock) as view:
        before = view.ever(pair.id), view.day(pair.id), state.moved_bytes(pair.id)
        state.thin(pair.id)
        kept = [run.id for run in view.runs(pair.id, limit=999)]
        # the last one that ended without a failure stays: --ctime-skip asks when it began
        assert kept == [*reversed(made[-100:]), made[89]]
        assert view.ever(pair.id) == pytest.approx(before[0])
        assert view.day(pair.id).runs == before[1].runs
        assert state.moved_bytes(pair.id) == before[2] == 2500
        assert state.last_success(pair.id) is not None
        assert state.run(other[0]).pair != pair.id
        clock.time += 60 * DAY
        runs_of(state, pair, clock, 1)
        state.thin(pair.id)
        assert state.database.value("SELECT count(*) FROM past") == 1
        assert view.ever(pair.id).files == 500


def test_runs_that_something_refers_to_stay(
    state: State, pair: Pair, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thinning, "KEEP_RUNS", 3)
    failing = state.begin_run(pair, {}, "boot", 1)
    root = state.start_frontier(failing.id)
    state.put_files(failing.id, root, [row("bad", status=FileStatus.FAILED, error="x", error_kind="denied")])
    state.finish_directory(failing.id, root, DirectoryStatus.DONE)
    state.finish_run(failing.id, "completed", Stats(failed_files=1))
    broken = state.begin_run(pair, {}, "boot", 1)
    state.add_directories(broken.id, [("unread", Target.UNKNOWN)])
    state.finish_run(broken.id, "interrupted", Stats())
    runs_of(state, pair, clock, 2)
    chain = [state.begin_run(pair, {}, "boot", 1)]
    for _ in range(5):
        state.finish_run(chain[-1].id, "interrupted", Stats())
        chain.append(state.begin_run(pair, {}, "boot", 1, continues=chain[-1].id))
    state.thin(pair.id)
    kept = {number for (number,) in state.database.query("SELECT id FROM run")}
    # the first of two that went well goes: nothing refers to it
    assert kept == {failing.id, broken.id, *(run.id for run in chain), chain[0].id - 1}
    assert [each.path for each in state.failed(failing.id)] == ["bad"]


def test_a_month_of_watching_stays_small(path: str, clock: Clock) -> None:
    """A run of twelve minutes every quarter of an hour, with fewer samples than there are: these do not last."""
    state = State.open(path, NullReport(), clock=clock)
    pair = state.pair("file:///source", "file:///destination", "all")
    sizes = []
    for _ in range(30):
        for _ in range(96):
            run = state.begin_run(pair, {"mode": "sync", "token": "0123abcd"}, "boot", 1)
            with state.transaction():
                for n in range(8):
                    state.put_metric(run.id, Metric(cpu=50.0, memory=1 << 28, files=10.0, bytes=1e6, workers=4))
                    for _ in range(5):
                        state.put_event(run.id, 20, "file.copied", "", f"directory/sub-directory/name-{n}", size=7)
                    clock.time += 90 * SECOND
                state.put_event(run.id, 40, "file.failed", "Permission denied", "directory/locked")
                state.finish_run(run.id, "completed", Stats(copied_files=40, scanned_files=99, failed_files=1))
                if run.id % 16 == 0:
                    state.thin(pair.id)
            clock.time += 3 * MINUTE
        state.database.query("PRAGMA wal_checkpoint(TRUNCATE)")
        sizes.append(os.path.getsize(path))
    tables = {name: state.database.value(f"SELECT count(*) FROM {name}") for name in ("metric", "event", "run", "past")}
    assert tables["run"] <= 1_016
    assert tables["event"] <= 1_000 + 30 * 96 + 300
    assert tables["metric"] <= 16 * 8 + 24 * 4 * 8 + 30 * 24 + 24
    assert tables["past"] <= 30 * 24 + 1
    assert sizes[-1] < 3 << 20
    # runs and samples have stopped growing by then; what still grows is one error in a quarter of an hour
    assert sizes[-1] - sizes[14] < 15 * 96 * 200
    with Overview.open(path, clock=clock) as view:
        assert (view.ever().runs, view.ever().files) == (30 * 96, 30 * 96 * 40)
        assert view.day().runs == pytest.approx(96, abs=4)  # to the hour
    state.close()
