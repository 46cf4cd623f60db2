"""The watch: cycle after cycle, through absences, until it is stopped."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.filters import Selection
from dunlin.jobs.options import Log, Result, SyncOptions, Watch
from dunlin.jobs.watch import REST, Orders, later, own, pause, watch
from dunlin.model import Stats
from dunlin.pace.stop import Stop
from dunlin.plan import Policy
from dunlin.report import NullReport, RecordingReport
from dunlin.state.store import State

DONE = Result(Stats(), "completed", "", 0)
NOW = 1_800_000_000_000_000_000


class Runs:
    """Runs that end as told; the waits between them are counted, and a clock that only they move."""

    def __init__(self, *ends: Result | DunlinError, stop_after: int = 0, pairs: int = 1) -> None:
        self.ends = list(ends)
        self.stop = Stop()
        self.report = RecordingReport()
        self.pairs = pairs
        self.asked: list[tuple[int, int]] = []
        self.waits: list[float] = []
        self.rests: list[float] = []
        self.changes: list[frozenset[int]] = []
        self.stop_after = stop_after
        self.inner: list[Stop] = []
        self.now = 0.0
        self.takes = 0.0

    def once(self, pair: int) -> Callable[[Stop, int], Result]:
        def run(stop: Stop, cycle: int) -> Result:
            self.asked.append((cycle, pair))
            self.inner.append(stop)
            self.now += self.takes
            end = self.ends.pop(0) if self.ends else DONE
            if isinstance(end, DunlinError):
                raise end
            return end

        return run

    @property
    def cycles(self) -> int:
        return self.asked[-1][0]

    def wait(self, seconds: float, stop: Stop, runs: Sequence[int]) -> frozenset[int]:
        self.waits.append(seconds)
        if self.stop_after and len(self.waits) >= self.stop_after:
            self.stop.request("SIGTERM")
        changed = self.changes.pop(0) if self.changes else frozenset[int]()
        self.now += 1.0 if changed else seconds
        return changed

    def go(self, **how: float) -> Result:
        pairs = [self.once(number) for number in range(self.pairs)]
        rest = lambda seconds, stop: self.rests.append(seconds)  # noqa: E731
        return watch(pairs, Watch(**how), self.stop, self.report, self.wait, rest, lambda: self.now)  # type: ignore[arg-type]

    def names(self) -> list[str]:
        return [event.name for event in self.report.events]


def test_it_runs_again_after_each_interval_until_it_is_stopped() -> None:
    runs = Runs(stop_after=3)
    result = runs.go(interval=120.0)
    assert (runs.cycles, runs.waits) == (3, [120.0, 120.0, 120.0])
    assert (result.status, result.message, result.exit_code) == ("interrupted", "SIGTERM", 130)


def test_every_cycle_does_all_pairs() -> None:
    runs = Runs(stop_after=2, pairs=2)
    runs.go()
    assert runs.asked == [(1, 0), (1, 1), (2, 0), (2, 1)]


def test_a_change_has_a_run_of_its_own_and_does_not_put_off_the_full_look() -> None:
    runs = Runs(stop_after=3, pairs=3)
    runs.takes = 2.0
    runs.changes = [frozenset({1})]
    runs.go(interval=100.0)
    assert runs.asked[3:] == [(2, 1), (3, 0), (3, 1), (3, 2)]
    assert runs.waits[:2] == [100.0, 97.0]
    assert runs.rests == [5.0], "as long as the run took, less what has passed since"
    assert "watch.changed" in runs.names()


def test_the_rest_after_a_long_run_is_bounded() -> None:
    runs = Runs(stop_after=2)
    runs.takes = 3600.0
    runs.changes = [frozenset({0})]
    runs.go()
    assert runs.rests == [REST - 1.0]


def test_files_that_failed_do_not_end_it() -> None:
    runs = Runs(DONE._replace(exit_code=23), stop_after=2)
    runs.go()
    assert runs.cycles == 2


@pytest.mark.parametrize("kind", [ErrorKind.NETWORK, ErrorKind.TIMEOUT, ErrorKind.NOT_FOUND, ErrorKind.LOCKED])
def test_a_store_that_is_away_for_a_while_is_news(kind: ErrorKind) -> None:
    runs = Runs(DONE, DunlinError("list", "s3://b", kind), DONE, stop_after=3)
    runs.go()
    assert runs.cycles == 3
    assert "watch.away" in runs.names()


def test_the_other_pairs_have_their_runs_while_a_store_is_away() -> None:
    runs = Runs(DONE, DONE, DunlinError("list", "s3://b", ErrorKind.NETWORK), stop_after=2, pairs=2)
    runs.go()
    assert runs.asked[2:] == [(2, 0), (2, 1)]


def test_the_first_cycle_fails_like_any_run() -> None:
    runs = Runs(DunlinError("list", "s3://b", ErrorKind.NETWORK))
    with pytest.raises(DunlinError):
        runs.go()
    assert runs.waits == []


@pytest.mark.parametrize("kind", [ErrorKind.AUTH, ErrorKind.CORRUPT, ErrorKind.USAGE])
def test_what_waiting_does_not_mend_ends_it(kind: ErrorKind) -> None:
    runs = Runs(DONE, DunlinError("open", "x", kind))
    with pytest.raises(DunlinError):
        runs.go()


def test_a_run_that_had_to_end_ends_it() -> None:
    full = Result(Stats(), "failed", "no space left", 2)
    runs = Runs(DONE, full)
    assert runs.go() == full
    assert runs.cycles == 2


def test_a_stop_reaches_the_run_that_is_going_on() -> None:
    runs = Runs()
    seen: list[bool] = []

    def once(stop: Stop, cycle: int) -> Result:
        runs.stop.request("SIGINT")
        seen.append(stop.requested)
        return Result(Stats(), "interrupted", "SIGINT", 130)

    result = watch([once], Watch(), runs.stop, runs.report, runs.wait)
    assert seen == [True]
    assert (result.status, result.message, result.exit_code) == ("interrupted", "SIGINT", 130)
    assert runs.waits == []


def test_an_order_to_a_run_means_the_watch() -> None:
    runs = Runs()

    def once(stop: Stop, cycle: int) -> Result:
        stop.request("stopped by an order")
        return DONE

    result = watch([once], Watch(), runs.stop, runs.report, runs.wait)
    assert (result.status, result.message, result.exit_code) == ("interrupted", "stopped by an order", 130)


def test_listeners_do_not_pile_up() -> None:
    runs = Runs(stop_after=50)
    told: list[Callable[[], None]] = []
    runs.stop.tell = told.append  # type: ignore[method-assign]
    runs.go()
    assert len(told) == 1
    assert len({id(stop) for stop in runs.inner}) == 50


def test_it_ends_after_as_many_cycles_as_asked() -> None:
    runs = Runs(*[DONE] * 7, DONE._replace(exit_code=24), pairs=2)
    assert runs.go(cycles=4).exit_code == 24
    assert runs.cycles == 4


def test_a_pause_ends_soon_after_a_stop() -> None:
    stop, slept = Stop(), []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            stop.request("SIGTERM")

    pause(60.0, stop, sleep)
    assert len(slept) == 3


def test_a_pause_lasts_as_long_as_asked() -> None:
    slept: list[float] = []
    looks: list[int] = []
    pause(1.1, Stop(), slept.append, lambda: looks.append(1), lambda: sum(slept))
    assert sum(slept) == pytest.approx(1.1)
    assert len(looks) == len(slept)


# ---- what later cycles are asked to do ----


def test_what_was_asked_for_once_is_not_done_in_every_cycle() -> None:
    first = SyncOptions(
        "a", "b", policy=Policy(force=True), rescan=True, force_resync=True, accept_source=True,
        selection=Selection(newer_than=1, older_than=2, ages=("2026-01-31T00:00+00:00", "7d")),
    )  # fmt: skip
    then = later(first, NOW)
    assert [then.rescan, then.force_resync, then.accept_source, then.policy.force] == [False] * 4
    assert then.selection.newer_than == NOW - 7 * 86_400 * 10**9, "an age is counted from each cycle"
    assert then.selection.older_than == 1_769_817_600 * 10**9
    assert then.selection.fingerprint() == first.selection.fingerprint()


# ---- own files ----


def test_own_files_wake_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    (source / "target").mkdir(parents=True)
    monkeypatch.chdir(source)
    log = Log(file="audit.log", keep=2, report_file="report")
    output = source / "output"
    with open(output, "w") as stream:
        pairs = [SyncOptions(".", "target", log=log, user_state=str(tmp_path / "user"))]
        ignored = own(pairs, [stream.fileno()])
        ours = (
            ".sync-state.db", ".sync-state.db-wal", ".sync-state.db-shm", "audit.log", "audit.log.2", "report",
            ".dunlin-1-2.tmp", "d/.dunlin-1-2.tmp/f", "target", "target/f", "output",
        )  # fmt: skip
        assert [name for name in ours if not ignored(f"{source}/{name}")] == []
        others = ("f", "audit.log.3", "targets", "d/report", "x.dunlin-1")
        assert [name for name in others if ignored(f"{source}/{name}")] == []


# ---- orders while it waits ----


def test_an_order_reaches_a_watch_that_waits(tmp_path: Path) -> None:
    path = str(tmp_path / "state.db")
    state = State.open(path, NullReport())
    run = state.begin_run(state.pair("a", "b", ""), {"watch": True}, "boot", os.getpid()).id
    plain = state.begin_run(state.pair("c", "d", ""), {"watch": False}, "boot", os.getpid()).id
    for number in (run, plain):
        state.finish_run(number, "completed", Stats())
    assert [each.id for each in state.watched()] == [run]
    stop, report = Stop(), RecordingReport()
    orders = Orders([path, None, path], [run, 0, 0], stop, report)
    orders.look()
    assert not stop.requested
    assert (state.control_put(run, "pause"), state.control_put(plain, "stop")) == (1, 0)
    orders.look()
    assert not stop.requested
    assert [event.name for event in report.events] == ["control"]
    assert state.control_put(run, "stop") == 1
    orders.look()
    assert stop.reason == "stopped by `dunlin control stop`"
    assert state.control_waiting(run) == 0
    orders.close()
    state.close()
