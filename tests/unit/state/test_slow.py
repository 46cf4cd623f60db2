"""The slowest units of a run."""

from __future__ import annotations

import pytest

from dunlin.model import Stats
from dunlin.state import Pair, Run, State, thinning
from dunlin.state.slow import Slow, Slowest, put_slow, slow_of


def test_only_the_slowest_are_kept() -> None:
    slowest = Slowest(3, least=0.5)
    for seconds in (5.0, 1.0, 9.0, 3.0, 7.0):
        if seconds > slowest.floor:
            slowest.add(Slow(seconds, 1, 1, f"f{seconds}"))
    assert [each.seconds for each in slowest.rows()] == [9.0, 7.0, 5.0]
    assert slowest.floor == 5.0


def test_the_floor_stays_until_there_are_enough() -> None:
    slowest = Slowest(2, least=0.5)
    slowest.add(Slow(4.0, 1, 1, "a"))
    assert slowest.floor == 0.5


def test_a_run_without_a_slow_unit_writes_nothing(state: State, run: Run) -> None:
    before = state.database.value("SELECT total_changes()")
    put_slow(state, run.id, [])
    assert state.database.value("SELECT total_changes()") == before


def test_rows_come_back_as_they_went(state: State, run: Run) -> None:
    rows = [Slow(9.5, 1, 10**12, "big\udcff"), Slow(1.25, 700, 5, "dir/"), Slow(1.25, 0, 0, "/")]
    put_slow(state, run.id, rows)
    assert slow_of(state, run.id) == rows
    assert slow_of(state, run.id + 1) == []


def test_a_second_time_replaces_the_first(state: State, run: Run) -> None:
    put_slow(state, run.id, [Slow(2.0, 1, 1, "a"), Slow(1.0, 1, 1, "b")])
    put_slow(state, run.id, [Slow(3.0, 1, 1, "c")])
    assert slow_of(state, run.id) == [Slow(3.0, 1, 1, "c")]


def test_they_go_with_their_run(state: State, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thinning, "KEEP_RUNS", 3)
    runs = [state.begin_run(pair, {}, "boot", 1).id for _ in range(9)]
    for run in runs:
        put_slow(state, run, [Slow(2.0, 1, 1, "a")])
        state.finish_run(run, "completed", Stats())
    state.thin(pair.id)
    kept = [run for run in runs if slow_of(state, run)]
    assert kept == runs[-3:]
    assert state.database.value("SELECT count(DISTINCT run) FROM slow") == 3
