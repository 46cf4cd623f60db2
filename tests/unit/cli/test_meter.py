"""Totals, rates and the time that is left, with a clock of our own."""

from __future__ import annotations

import pytest

from dunlin.cli.meter import PER_FILE, Meter
from dunlin.report import Event, Level

MIB = 1 << 20


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def meter(clock: Clock) -> Meter:
    return Meter(clock)


def test_rates_are_per_second(meter: Meter, clock: Clock) -> None:
    meter.counts.update(copied_files=50, copied_bytes=10 * MIB)
    clock.now += 5
    picture = meter.picture()
    assert (picture.byte_rate, picture.file_rate, picture.seconds) == (2 * MIB, 10, 5)


def test_old_speed_is_forgotten(meter: Meter, clock: Clock) -> None:
    meter.counts["copied_bytes"] = 1000 * MIB
    for _ in range(40):
        clock.now += 0.5
        picture = meter.picture()
    assert picture.byte_rate == 0
    assert len(meter._samples) < 30  # the window is bounded


def test_a_moment_without_time_has_no_rate(meter: Meter) -> None:
    meter.counts["copied_bytes"] = 5
    assert meter.picture().byte_rate == 0


def test_the_engines_own_rate_wins(meter: Meter, clock: Clock) -> None:
    clock.now += 2
    meter.gauges["bytes_per_second"] = 7.0
    assert meter.picture().byte_rate == 7.0


def test_the_part_of_a_large_file_that_is_done_is_moved_and_not_pending(meter: Meter, clock: Clock) -> None:
    meter.gauges |= {"pending_files": 1, "pending_bytes": 100 * MIB}
    moving = meter.begin("big", 100 * MIB, lambda: None)
    moving.advance(40 * MIB)
    clock.now += 4
    picture = meter.picture()
    assert (picture.moved_bytes, picture.pending_bytes) == (40 * MIB, 60 * MIB)
    assert picture.left == pytest.approx(6, rel=0.01)


def test_totals_do_not_go_back_when_a_file_ends_before_it_is_counted(meter: Meter) -> None:
    moving = meter.begin("big", 10, lambda: None)
    moving.advance(10)
    assert meter.picture().moved_bytes == 10
    moving.end()
    assert meter.picture().moved_bytes == 10
    meter.counts["copied_bytes"] += 10
    assert meter.picture().moved_bytes == 10


def test_of_two_equal_tasks_the_one_that_ends_goes(meter: Meter) -> None:
    first, second = (meter.begin("same", 5, lambda: None) for _ in range(2))
    second.end()
    assert len(meter.moving) == 1
    assert meter.moving[0] is first
    second.end()  # twice does no harm
    assert len(meter.moving) == 1


def test_small_files_are_estimated_by_their_number(meter: Meter, clock: Clock) -> None:
    meter.counts["copied_files"] = 1000
    meter.gauges |= {"pending_files": 3000, "pending_bytes": 0}
    clock.now += 10
    assert meter.picture().left == pytest.approx(30)


def test_a_few_small_files_behind_large_ones_do_not_spoil_the_estimate(meter: Meter, clock: Clock) -> None:
    meter.counts.update(copied_files=1, copied_bytes=1000 * MIB)
    meter.gauges |= {"pending_files": 200, "pending_bytes": 1000 * MIB}
    clock.now += 10
    assert meter.picture().left == pytest.approx(10, rel=200 * PER_FILE / (1000 * MIB) + 0.01)


def test_no_estimate_in_the_first_second_nor_without_speed(meter: Meter, clock: Clock) -> None:
    meter.gauges |= {"pending_files": 3, "pending_bytes": 10}
    meter.counts["copied_bytes"] = 10
    clock.now += 0.5
    assert meter.picture().left is None
    fresh = Meter(clock)
    fresh.gauges |= {"pending_files": 3, "pending_bytes": 10}
    clock.now += 5
    assert fresh.picture().left is None


def test_nothing_pending_is_no_time_left(meter: Meter) -> None:
    assert meter.picture().left == 0


def test_a_files_rate_is_smoothed_and_gives_its_time(meter: Meter, clock: Clock) -> None:
    moving = meter.begin("big", 100 * MIB, lambda: None)
    assert moving.left is None
    meter.picture()
    for _ in range(30):
        clock.now += 0.5
        moving.advance(MIB)
        meter.picture()
    assert moving.rate == pytest.approx(2 * MIB)
    assert moving.left == pytest.approx(35)
    clock.now += 0.5
    moving.advance(10 * MIB)  # one burst
    meter.picture()
    assert moving.rate is not None
    assert 2 * MIB < moving.rate < 8 * MIB


def test_a_file_of_unknown_size_has_no_time(meter: Meter, clock: Clock) -> None:
    moving = meter.begin("pipe", None, lambda: None)
    meter.picture()
    clock.now += 1
    moving.advance(10)
    meter.picture()
    assert moving.rate == 10
    assert moving.left is None


def test_why_names_were_skipped_and_what_failed_first(meter: Meter) -> None:
    meter.event(Event(Level.DEBUG, "file.skipped", "a", {"reason": "link", "files": 11}))
    meter.event(Event(Level.INFO, "plan", "skip b", {"verb": "skip", "reason": "link"}))
    meter.event(Event(Level.INFO, "plan", "copy c", {"verb": "copy", "reason": ""}))
    for number in range(5):
        meter.event(Event(Level.ERROR, "file.failed", f"cannot read {number}"))
    assert meter.skipped == {"link": 12}
    assert meter.failures == ["cannot read 0", "cannot read 1", "cannot read 2"]
