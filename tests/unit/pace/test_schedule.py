from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.schedule import parse_schedule

M = 1024**2
MONDAY = datetime(2026, 11, 23)
BERLIN = ZoneInfo("Europe/Berlin")


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return MONDAY + timedelta(days=day, hours=hour, minutes=minute)


@pytest.mark.parametrize(("text", "rate"), [("20M", 20 * M), ("off", 0), ("0", 0), (" 5MB ", 5_000_000)])
def test_one_rate_holds_always(text: str, rate: int) -> None:
    schedule = parse_schedule(text)
    assert schedule.rate_at(at(0, 0)) == schedule.rate_at(at(6, 23, 59)) == rate
    assert schedule.next_change(at(3, 3)) is None


def test_every_day_with_midnight_inside_an_entry() -> None:
    schedule = parse_schedule("08:00,5M 19:00,off")
    assert [schedule.rate_at(at(2, *time)) for time in ((0, 0), (7, 59), (8, 0), (18, 59), (19, 0), (23, 59))] == [
        0, 0, 5 * M, 5 * M, 0, 0,
    ]  # fmt: skip
    assert schedule.next_change(at(2, 7, 59)) == at(2, 8)
    assert schedule.next_change(at(2, 8)) == at(2, 19)
    assert schedule.next_change(at(2, 19)) == at(3, 8)
    assert schedule.next_change(at(6, 20)) == at(7, 8)


def test_weekdays_wrap_around_the_week() -> None:
    schedule = parse_schedule("Mon-08:00,5M Fri-18:00,off")
    assert schedule.rate_at(at(0, 7)) == 0
    assert schedule.rate_at(at(0, 8)) == schedule.rate_at(at(4, 17)) == 5 * M
    assert schedule.rate_at(at(6, 12)) == 0
    assert schedule.next_change(at(5, 0)) == at(7, 8)
    assert parse_schedule("monday-8:00,5M FRI-18:00,off") == schedule


def test_a_weekday_entry_stands_before_a_daily_one() -> None:
    schedule = parse_schedule("08:00,5M 19:00,off Sun-08:00,1M")
    assert schedule.rate_at(at(5, 9)) == 5 * M
    assert schedule.rate_at(at(6, 9)) == M


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("08:00", "no bandwidth limit"),
        ("08:00,5M 20M", "'20M' is no entry"),
        ("24:00,5M", "no such time"),
        ("08:60,5M", "no such time"),
        ("Mox-08:00,5M", "'mox' is no weekday"),
        ("08:00,fast", "'fast' is no bandwidth limit"),
        ("08:00,5M 08:00,6M", "another rate already"),
        ("08:00,5M 8:00,0.1", "less than one byte"),
        ("10M:1M", "no bandwidth limit"),
    ],
)
def test_what_is_no_timetable(text: str, reason: str) -> None:
    with pytest.raises(DunlinError, match=reason) as caught:
        parse_schedule(text)
    assert caught.value.kind is ErrorKind.USAGE


def test_an_entry_in_the_hour_that_spring_skips() -> None:
    schedule = parse_schedule("02:30,5M 08:00,off")
    before = datetime(2026, 3, 29, 1, 50, tzinfo=BERLIN)  # at 2:00 the clocks show 3:00
    change = schedule.next_change(before)
    assert change is not None
    assert change.astimezone(UTC) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert schedule.rate_at(change) == 5 * M


def test_the_hour_that_autumn_repeats() -> None:
    schedule = parse_schedule("02:30,5M 08:00,off")
    moment = datetime(2026, 10, 25, 1, 0, tzinfo=BERLIN)  # at 3:00 the clocks show 2:00
    changes = []
    for _ in range(4):
        following = schedule.next_change(moment)
        assert following is not None
        moment = following
        changes.append((moment.astimezone(UTC).strftime("%H:%M"), schedule.rate_at(moment)))
    assert changes == [("00:30", 5 * M), ("01:00", 0), ("01:30", 5 * M), ("07:00", 0)]


ENTRIES = st.lists(
    st.tuples(st.integers(0, 7), st.integers(0, 23), st.integers(0, 59)), min_size=2, max_size=5, unique=True
)


@given(entries=ENTRIES, minutes=st.integers(0, 366 * 24 * 60), zone=st.sampled_from([None, BERLIN]))
def test_nothing_changes_before_the_next_change(
    entries: list[tuple[int, int, int]], minutes: int, zone: ZoneInfo | None
) -> None:
    names = ("Mon-", "Tue-", "Wed-", "Thu-", "Fri-", "Sat-", "Sun-", "")
    schedule = parse_schedule(" ".join(f"{names[d]}{h:02}:{m:02},{n + 1}K" for n, (d, h, m) in enumerate(entries)))
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    local = moment.astimezone(zone) if zone else moment.replace(tzinfo=None)
    change = schedule.next_change(local)
    assert change is not None
    assert change.tzinfo is local.tzinfo
    end = change.astimezone(UTC) if zone else change.replace(tzinfo=UTC)
    span = end - moment
    assert timedelta(0) < span <= timedelta(days=8)
    rate = schedule.rate_at(local)
    for step in range(20):
        inside = moment + span * step / 20
        assert schedule.rate_at(inside.astimezone(zone) if zone else inside.replace(tzinfo=None)) == rate
    assert schedule.rate_at(change) != rate
