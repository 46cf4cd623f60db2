"""timing: when a schedule is due, over the changes of daylight saving time too."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.ledger.timing import check, next_run
from dunlin.queue.ledger.words import NewSchedule

BERLIN = "Europe/Berlin"
# 2026: on 29 March 02:00 becomes 03:00 (01:00 UTC), on 25 October 03:00 becomes 02:00 (01:00 UTC)


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def local(text: str, zone: str, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def runs(cron: str, zone: str, begin: float, count: int) -> list[str]:
    """The next times of a cron schedule, in UTC."""
    schedule, now, found = NewSchedule("s", "sync", cron=cron, zone=zone), begin, []
    for _ in range(count):
        following = next_run(schedule, now)
        assert following is not None
        assert following > now
        now = following
        found.append(datetime.fromtimestamp(now, UTC).strftime("%d %H:%M"))
    return found


def test_cron_is_read_in_its_time_zone() -> None:
    assert runs("30 2 * * *", "UTC", utc("2026-05-01T00:00"), 2) == ["01 02:30", "02 02:30"]
    assert runs("30 2 * * *", BERLIN, utc("2026-05-01T00:00"), 2) == ["01 00:30", "02 00:30"]
    assert runs("0 9 * * mon-fri", "Asia/Kolkata", utc("2026-05-01T00:00"), 2) == ["01 03:30", "04 03:30"]


def test_the_time_that_is_now_is_over() -> None:
    assert runs("30 2 * * *", "UTC", utc("2026-05-01T02:30"), 1) == ["02 02:30"]
    assert runs("30 2 * * *", "UTC", utc("2026-05-01T02:29") + 59.9, 1) == ["01 02:30"]


def test_a_fixed_time_in_the_hour_that_is_left_out_runs_right_after_it() -> None:
    assert runs("30 2 * * *", BERLIN, utc("2026-03-28T00:00"), 3) == ["28 01:30", "29 01:00", "30 00:30"]


def test_a_fixed_time_in_the_hour_that_comes_twice_runs_once() -> None:
    assert runs("30 2 * * *", BERLIN, utc("2026-10-24T00:00"), 3) == ["24 00:30", "25 00:30", "26 01:30"]


def test_a_schedule_asked_in_the_second_of_the_two_hours_waits_for_the_next_day() -> None:
    now = local("2026-10-25T02:10", BERLIN, fold=1)
    assert runs("30 2 * * *", BERLIN, now, 1) == ["26 01:30"]


def test_what_runs_again_and_again_follows_the_clock_that_never_jumps() -> None:
    assert runs("*/30 * * * *", BERLIN, utc("2026-03-29T00:29"), 4) == ["29 00:30", "29 01:00", "29 01:30", "29 02:00"]
    assert runs("*/30 * * * *", BERLIN, utc("2026-10-24T23:59"), 5) == [
        "25 00:00", "25 00:30", "25 01:00", "25 01:30", "25 02:00",
    ]  # fmt: skip
    assert runs("0 * * * *", BERLIN, utc("2026-10-24T23:59"), 3) == ["25 00:00", "25 01:00", "25 02:00"]


def test_a_rhythm_of_hours_over_both_changes_never_stalls() -> None:
    for begin in ("2026-03-28T20:00", "2026-10-24T20:00"):
        schedule, now = NewSchedule("s", "sync", cron="*/10 * * * *", zone=BERLIN), utc(begin)
        for _ in range(80):
            following = next_run(schedule, now)
            assert following == now + 600
            now = following


def test_intervals_keep_their_rhythm() -> None:
    schedule = NewSchedule("s", "sync", interval=90.0)
    assert next_run(schedule, 1000.0) == 1090.0
    assert next_run(schedule, 1090.0, planned=1090.0) == 1180.0
    assert next_run(schedule, 1200.0, planned=1090.0) == 1270.0
    assert next_run(schedule, 1000.0, planned=1090.0) == 1180.0, "asked before it was due"


@pytest.mark.parametrize(
    "cron", ["", "*", "* * * *", "* * * * * *", "60 * * * *", "x * * * *", "*/0 * * * *", "@daily", "é * * * *"]
)
def test_what_is_no_cron_expression_is_refused(cron: str) -> None:
    with pytest.raises(DunlinError) as caught:
        check(NewSchedule("s", "sync", cron=cron, interval=0.0), 0.0)
    assert caught.value.kind is ErrorKind.USAGE


@pytest.mark.parametrize("zone", ["", "Nowhere", "../passwd", "/etc/passwd", "a\x00b", "x" * 500])
def test_what_is_no_zone_is_refused(zone: str) -> None:
    by_cron, by_interval = NewSchedule("s", "x", cron="* * * * *"), NewSchedule("s", "x", interval=5.0)
    for schedule in (by_cron._replace(zone=zone), by_interval._replace(zone=zone)):
        with pytest.raises(DunlinError) as caught:
            check(schedule, 0.0)
        assert caught.value.kind is ErrorKind.USAGE


def test_a_day_that_never_comes_is_refused_and_a_rare_one_is_not() -> None:
    with pytest.raises(DunlinError, match="day-of-month"):
        check(NewSchedule("s", "sync", cron="0 0 31 2 *"), utc("2026-01-01T00:00"))
    check(NewSchedule("s", "sync", cron="0 0 29 2 *"), utc("2026-01-01T00:00"))
    check(NewSchedule("s", "sync", cron="0 0 * jan sun"), utc("2026-01-01T00:00"))
