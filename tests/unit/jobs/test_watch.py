"""The watch: cycle after cycle, through absences, until it is stopped."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs.options import Result
from dunlin.jobs.watch import Watch, pause, watch
from dunlin.model import Stats
from dunlin.pace.stop import Stop
from dunlin.report import RecordingReport

DONE = Result(Stats(), "completed", "", 0)


class Runs:
    """Runs that end as told; the waits between them are counted."""

    def __init__(self, *ends: Result | DunlinError, stop_after: int = 0) -> None:
        self.ends = list(ends)
        self.stop = Stop()
        self.report = RecordingReport()
        self.cycles = 0
        self.waits: list[float] = []
        self.stop_after = stop_after
        self.inner: list[Stop] = []

    def once(self, stop: Stop) -> Result:
        self.cycles += 1
        self.inner.append(stop)
        end = self.ends.pop(0) if self.ends else DONE
        if isinstance(end, DunlinError):
            raise end
        return end

    def wait(self, seconds: float, stop: Stop) -> bool:
        self.waits.append(seconds)
        if self.stop_after and len(self.waits) >= self.stop_after:
            self.stop.request("SIGTERM")
        return False

    def go(self, **how: float) -> Result:
        return watch(self.once, Watch(**how), self.stop, self.report, self.wait)  # type: ignore[arg-type]


def test_it_runs_again_after_each_interval_until_it_is_stopped():
    runs = Runs(stop_after=3)
    result = runs.go(interval=120.0)
    assert (runs.cycles, runs.waits) == (3, [120.0, 120.0, 120.0])
    assert (result.status, result.exit_code) == ("interrupted", 130)


def test_files_that_failed_do_not_end_it():
    runs = Runs(DONE._replace(exit_code=23), stop_after=2)
    runs.go()
    assert runs.cycles == 2


@pytest.mark.parametrize("kind", [ErrorKind.NETWORK, ErrorKind.TIMEOUT, ErrorKind.NOT_FOUND, ErrorKind.LOCKED])
def test_a_store_that_is_away_for_a_while_is_news(kind: ErrorKind):
    runs = Runs(DONE, DunlinError("list", "s3://b", kind), DONE, stop_after=3)
    runs.go()
    assert runs.cycles == 3
    assert "watch.away" in [event.name for event in runs.report.events]


def test_the_first_cycle_fails_like_any_run():
    runs = Runs(DunlinError("list", "s3://b", ErrorKind.NETWORK))
    with pytest.raises(DunlinError):
        runs.go()
    assert runs.waits == []


@pytest.mark.parametrize("kind", [ErrorKind.AUTH, ErrorKind.CORRUPT, ErrorKind.USAGE])
def test_what_waiting_does_not_mend_ends_it(kind: ErrorKind):
    runs = Runs(DONE, DunlinError("open", "x", kind))
    with pytest.raises(DunlinError):
        runs.go()


def test_a_run_that_had_to_end_ends_it():
    full = Result(Stats(), "failed", "no space left", 2)
    runs = Runs(DONE, full)
    assert runs.go() == full
    assert runs.cycles == 2


def test_a_stop_reaches_the_run_that_is_going_on():
    runs = Runs()
    seen: list[bool] = []

    def once(stop: Stop) -> Result:
        runs.stop.request("SIGINT")
        seen.append(stop.requested)
        return Result(Stats(), "interrupted", "SIGINT", 130)

    result = watch(once, Watch(), runs.stop, runs.report, runs.wait)
    assert seen == [True]
    assert (result.status, result.message, result.exit_code) == ("interrupted", "SIGINT", 130)
    assert runs.waits == []


def test_listeners_do_not_pile_up():
    runs = Runs(stop_after=50)
    told: list[Callable[[], None]] = []
    runs.stop.tell = told.append  # type: ignore[method-assign]
    runs.go()
    assert len(told) == 1
    assert len({id(stop) for stop in runs.inner}) == 50


def test_it_ends_after_as_many_cycles_as_asked():
    runs = Runs()
    assert runs.go(cycles=4) == DONE
    assert runs.cycles == 4


def test_a_pause_ends_soon_after_a_stop():
    stop, slept = Stop(), []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            stop.request("SIGTERM")

    assert pause(60.0, stop, sleep) is False
    assert len(slept) == 3


def test_a_pause_lasts_as_long_as_asked():
    slept: list[float] = []
    pause(1.1, Stop(), slept.append)
    assert sum(slept) == pytest.approx(1.1)
