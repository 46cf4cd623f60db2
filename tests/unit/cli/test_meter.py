"""Totals, rates and the time that is left, with a clock of our own."""

from __future__ import annotations

import pytest

from dunlin.cli.meter import Meter
from dunlin.pace.left import PER_FILE
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


def test_the_time_before_the_first_byte_does_not_slow_a_run_down(meter: Meter, clock: Clock) -> None:
    for _ in range(50):
        clock.now += 0.1
        assert meter.picture().left == 0
    meter.gauges |= {"pending_files": 1, "pending_bytes": 100 * MIB}
    moving = meter.begin("big", 100 * MIB, lambda: None)
    for _ in range(20):
        clock.now += 0.1
        moving.advance(MIB)
        picture = meter.picture()
    assert picture.byte_rate == pytest.approx(10 * MIB, rel=0.6)
    assert picture.byte_rate > 6 * MIB, "over seven seconds it would be 3"
    assert moving.rate == pytest.approx(10 * MIB, rel=0.06)


def test_a_pause_is_nobodys_speed(meter: Meter, clock: Clock) -> None:
    meter.gauges |= {"pending_files": 1, "pending_bytes": 100 * MIB}
    moving = meter.begin("big", 100 * MIB, lambda: None)
    for _ in range(20):
        clock.now += 0.5
        moving.advance(MIB)
        before = meter.picture()
    meter.gauges["paused"] = 1
    for _ in range(100):
        paused = meter.picture()
        assert (paused.byte_rate, paused.left) == (0, None)
        clock.now += 30
    meter.gauges["paused"] = 0
    after = meter.picture()
    assert after.byte_rate == pytest.approx(before.byte_rate)
    assert after.left == pytest.approx(before.left)
    assert moving.rate == pytest.approx(2 * MIB)
    assert after.still < 1
    assert after.seconds == pytest.approx(3010)


def test_a_process_that_was_stopped_is_as_fast_as_before(meter: Meter, clock: Clock) -> None:
    for _ in range(10):
        clock.now += 1
        meter.counts["copied_bytes"] += MIB
        before = meter.picture()
    clock.now += 600
    meter.rest(600)
    assert meter.picture().byte_rate == pytest.approx(before.byte_rate)
    assert meter.picture().still == 0


def test_a_file_that_has_landed_is_not_pending_again(meter: Meter, clock: Clock) -> None:
    meter.gauges |= {"pending_files": 2, "pending_bytes": 90 * MIB, "scan_complete": 1}
    first = meter.begin("a", 45 * MIB, lambda: None)
    clock.now += 1
    first.advance(45 * MIB)
    assert (meter.picture().moved_bytes, meter.picture().pending_bytes) == (45 * MIB, 45 * MIB)
    first.end()
    second = meter.begin("b", 45 * MIB, lambda: None)
    second.advance(5 * MIB)
    landed = meter.picture()
    assert landed.moved_bytes + landed.pending_bytes == 90 * MIB
    meter.counts.update(copied_files=1, copied_bytes=45 * MIB)
    meter.gauges |= {"pending_files": 1, "pending_bytes": 45 * MIB}
    counted = meter.picture()
    assert (counted.moved_bytes, counted.pending_bytes) == (50 * MIB, 40 * MIB)
    assert landed.share <= counted.share < 1


def test_what_was_moved_for_nothing_is_taken_back(meter: Meter, clock: Clock) -> None:
    meter.gauges |= {"pending_files": 1, "pending_bytes": 100 * MIB}
    first = meter.begin("big", 100 * MIB, lambda: None)
    clock.now += 2
    first.advance(80 * MIB)
    meter.picture()
    first.end()
    again = meter.begin("big", 100 * MIB, lambda: None)
    assert (first.attempt, again.attempt) == (1, 2)
    clock.now += 1
    again.advance(10 * MIB)
    picture = meter.picture()
    assert (picture.moved_bytes, picture.pending_bytes) == (10 * MIB, 90 * MIB)
    assert picture.byte_rate > 0
    again.end()
    meter.event(Event(Level.ERROR, "file.failed", "cannot read big", {"path": "big"}))
    assert meter.picture().moved_bytes == 0


def test_a_beginning_without_bytes_is_no_attempt(meter: Meter) -> None:
    """A store that cannot copy by itself says so after the task has begun; the bytes then come by another way."""
    meter.begin("big", 10, lambda: None).end()
    assert meter.begin("big", 10, lambda: None).attempt == 1


def test_files_that_landed_are_not_remembered_without_end(meter: Meter) -> None:
    for number in range(1000):
        moving = meter.begin(f"f{number}", 5, lambda: None)
        moving.advance(5)
        moving.end()
    assert len(meter._landed) <= 64


def test_standing_still_is_measured(meter: Meter, clock: Clock) -> None:
    meter.counts["scanned_files"] = 5
    assert meter.picture().still == 0
    clock.now += 25
    assert meter.picture().still == 25
    meter.counts["scanned_files"] = 6
    assert meter.picture().still == 0


def test_what_throttles_is_told_from_the_number_before_it_began(meter: Meter) -> None:
    def step(name: str, before: int, after: int, value: float) -> None:
        fields = {"gauge": "cpu", "value": value, "before": before, "workers": after}
        meter.event(Event(Level.WARN, name, "", fields))

    step("throttle.engaged", 8, 5, 0.93)
    assert meter.picture().facts["throttle"] == "workers 8 -> 5 (cpu was 93%)"
    step("throttle.engaged", 5, 3, 0.97)
    step("throttle.eased", 3, 4, 0.6)
    assert meter.picture().facts["throttle"] == "workers 8 -> 4 (cpu was 60%)"
    step("throttle.released", 4, 8, 0.2)
    assert "throttle" not in meter.picture().facts
    meter.event(Event(Level.WARN, "throttle.engaged", "", {}))
    assert "throttle" not in meter.picture().facts
    meter.event(Event(Level.WARN, "memory.full", ""))
    assert meter.picture().facts["memory"].startswith("memory is at its limit")
    meter.event(Event(Level.INFO, "memory.easy", ""))
    assert "memory" not in meter.picture().facts


def test_the_share_that_is_done_counts_bytes_and_files(meter: Meter, clock: Clock) -> None:
    assert meter.picture().share == 1
    meter.counts.update(copied_files=25, copied_bytes=25 * MIB)
    meter.gauges |= {"pending_files": 75, "pending_bytes": 75 * MIB}
    clock.now += 1
    assert meter.picture().share == pytest.approx(0.25)


def test_small_files_under_a_limit_are_on_their_way(meter: Meter, clock: Clock) -> None:
    meter.gauge("pending_bytes", 100 * MIB)
    for second in range(1, 11):
        clock.now += 1
        meter.gauge("flying_bytes", second * MIB)
        picture = meter.picture()
        assert picture.still == 0
    assert (picture.moved_bytes, picture.pending_bytes, picture.byte_rate) == (10 * MIB, 90 * MIB, MIB)


def test_what_was_on_its_way_and_is_counted_now_is_not_counted_twice(meter: Meter) -> None:
    meter.gauge("pending_bytes", 100 * MIB)
    meter.gauge("flying_bytes", 10 * MIB)
    meter.counts["copied_bytes"] += 10 * MIB  # before the gauge says that nothing is on its way
    assert meter.picture().moved_bytes == 10 * MIB
    meter.gauge("flying_bytes", 2 * MIB)
    assert meter.picture().moved_bytes == 12 * MIB


def test_what_a_limit_let_through_for_nothing_does_not_come_back(meter: Meter) -> None:
    meter.gauge("pending_bytes", 100 * MIB)
    first = meter.begin("big", 100 * MIB, lambda: None)
    first.advance(80 * MIB)
    first.end()
    meter.gauge("flying_bytes", 80 * MIB)
    meter.begin("big", 100 * MIB, lambda: None).advance(10 * MIB)
    meter.picture()
    meter.gauge("flying_bytes", 90 * MIB)  # all that was granted
    assert meter.picture().moved_bytes == 10 * MIB
    meter.event(Event(Level.INFO, "run.begins", ""))  # the next cycle of a watch knows nothing of it
    meter.gauge("flying_bytes", 90 * MIB)
    assert meter.picture().moved_bytes == 90 * MIB


def test_no_rest_is_through_sooner_than_a_limit_allows(meter: Meter, clock: Clock) -> None:
    meter.counts.update(copied_files=6000, copied_bytes=300_000)
    meter.gauges |= {"pending_files": 1, "pending_bytes": 50 * MIB, "limit": MIB}
    clock.now += 6
    assert meter.picture().left == 50


def test_a_stage_begins_at_nothing(meter: Meter, clock: Clock) -> None:
    meter.event(Event(Level.DEBUG, "stage.begins", "reading packs", {"unit": "pack", "items": 4, "bytes": 400 * MIB}))
    meter.gauge("pending_files", 3)
    meter.gauge("pending_bytes", 300 * MIB)
    meter.counts.update(copied_files=1, copied_bytes=100 * MIB)
    clock.now += 2
    picture = meter.picture()
    assert (picture.facts["stage"], picture.facts["unit"]) == ("reading packs", "pack")
    assert (picture.moved_bytes, picture.byte_rate, picture.left) == (100 * MIB, 50 * MIB, pytest.approx(6, abs=0.1))
    meter.event(Event(Level.DEBUG, "stage.begins", "looking", {"unit": "snapshot", "items": 2, "bytes": 0}))
    meter.gauge("pending_files", 2)
    meter.gauge("pending_bytes", 0)
    clock.now += 1
    picture = meter.picture()
    assert (picture.moved_bytes, picture.counts["copied_files"], picture.byte_rate) == (0, 0, 0)
    assert picture.share < 0.01
