"""Which directories `--ctime-skip` may leave alone, by what the state says of the runs before."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from dunlin.jobs.options import SyncOptions
from dunlin.jobs.settled import EVER, none_settled, settled_before
from dunlin.model import Stats
from dunlin.plan import Policy
from dunlin.report import NullReport, RecordingReport
from dunlin.state import Pair, State

SECOND = 10**9
OPTIONS = SyncOptions("/s", "/d", ctime_skip=True, ctime_margin=10)


class Past:
    """A pair and its runs, by a clock that is set."""

    def __init__(self) -> None:
        self.now = 0
        self.state = State.open(None, NullReport(), clock=lambda: self.now)
        self.pair: Pair = self.state.pair("file:///s", "file:///d", "all")

    def ran(self, began: int, ended: int, status: str = "completed", continues: int | None = None, **stats: int) -> int:
        self.now = began * SECOND
        run = self.state.begin_run(self.pair, {}, "boot", 1, continues)
        self.now = ended * SECOND
        self.state.finish_run(run.id, status, Stats(**stats), "")
        return run.id

    def settled(self, at: int, far: bool = False, options: SyncOptions = OPTIONS) -> tuple[int | None, list[str]]:
        self.now = at * SECOND
        report = RecordingReport()
        found = settled_before(options, self.state, self.pair.id, far, report, self.now)
        return found, [event.message for event in report.events]


@pytest.fixture
def past() -> Iterator[Past]:
    made = Past()
    yield made
    made.state.close()


def test_the_start_of_the_last_run_without_failure_decides_less_the_margin(past: Past) -> None:
    past.ran(100, 120)
    past.ran(200, 260)
    assert past.settled(300) == (190 * SECOND, [])


def test_nothing_is_asked_where_nothing_is_wanted(past: Past) -> None:
    past.ran(100, 120)
    assert past.settled(300, options=SyncOptions("/s", "/d")) == (None, [])


def test_a_margin_of_nothing_is_told(past: Past) -> None:
    told = ["--ctime-margin does nothing without --ctime-skip"]
    assert past.settled(300, options=OPTIONS._replace(ctime_skip=False)) == (None, told)


@pytest.mark.parametrize(
    "trouble",
    [{"failed_files": 1}, {"failed_directories": 1}, {"vanished_files": 1}, {"source_errors": 1}],
)
def test_a_run_with_trouble_is_no_success(past: Past, trouble: dict[str, int]) -> None:
    past.ran(100, 120)
    past.ran(200, 220, **trouble)
    past.ran(300, 320, "interrupted")
    past.ran(400, 420, "failed")
    assert past.settled(500)[0] == 90 * SECOND


def test_a_continued_run_began_with_the_one_that_it_continues(past: Past) -> None:
    first = past.ran(100, 120, "interrupted")
    past.ran(500, 520, continues=first)
    assert past.settled(600)[0] == 90 * SECOND


def test_without_a_success_nothing_is_settled_and_it_is_said(past: Past) -> None:
    past.ran(100, 120, failed_files=1)
    assert past.settled(300) == (None, ["--ctime-skip skips nothing: no run has ended without any failure yet"])


def test_a_clock_that_was_set_back_settles_nothing(past: Past) -> None:
    past.ran(1000, 1010)
    found, told = past.settled(900)
    assert found is None
    assert "was the clock set back?" in told[0]


def test_a_mirror_settles_nothing(past: Past) -> None:
    past.ran(100, 120)
    found, told = past.settled(300, options=OPTIONS._replace(policy=Policy(delete=True)))
    assert found is None
    assert "extras are deleted" in told[0]


def test_an_object_store_has_no_change_times(past: Past) -> None:
    past.ran(100, 120)
    assert past.settled(300, far=True) == (EVER, [])


def test_why_nothing_was_skipped_names_the_moment_after_which_all_has_changed() -> None:
    seen = Stats(scanned_directories=9)
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(1_000_000_000))
    assert f"changed after {moment} (--ctime-margin before" in none_settled(1_000_000_000 * SECOND, seen)
    assert "as the state has it" in none_settled(EVER, seen)
    assert none_settled(-5, seen) != ""
    for before, stats in ((None, seen), (9, Stats(scanned_directories=9, settled_directories=1)), (9, Stats())):
        assert none_settled(before, stats) == ""
