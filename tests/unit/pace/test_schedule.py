from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.schedule import Schedule, parse_schedule, within

M = 1024**2
MONDAY = datetime(2026, 11, 23)
BERLIN = ZoneInfo("Europe/Berlin")


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return MONDAY + timedelta(days=day, hours=hour, minutes=minute)


@pytest.mark.parametrize(("text", "rate"), [("20M", 20 * M), ("off", 0), ("0", 0), (" 5MB ", 5_000_000)])
def test_one_rate_holds_always(text: str, rate: int) -> None:
    schedule = parse_schedule(text)
    assert schedule.rate_at(at(0, 0)) == schedule.rate_at(at(6, 23, 59)) == rate


def test_every_day_with_midnight_inside_an_entry() -> None:
    schedule = parse_schedule("08:00,5M 19:00,off")
    assert [schedule.rate_at(at(2, *time)) for time in ((0, 0), (7, 59), (8, 0), (18, 59), (19, 0), (23, 59))] == [
        0, 0, 5 * M, 5 * M, 0, 0,
    ]  # fmt: skip


def test_weekdays_wrap_around_the_week() -> None:
    schedule = parse_schedule("Mon-08:00,5M Fri-18:00,off")
    assert schedule.rate_at(at(0, 7)) == 0
    assert schedule.rate_at(at(0, 8)) == schedule.rate_at(at(4, 17)) == 5 * M
    assert schedule.rate_at(at(6, 12)) == 0
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
    before = datetime(2026, 3, 29, 0, 50, tzinfo=UTC)  # at 2:00 the clocks show 3:00
    rates = [schedule.rate_at((before + timedelta(minutes=n)).astimezone(BERLIN)) for n in (0, 9, 10, 20)]
    assert rates == [0, 0, 5 * M, 5 * M]


def test_the_hour_that_autumn_repeats() -> None:
    schedule = parse_schedule("02:30,5M 08:00,off")
    midnight = datetime(2026, 10, 25, tzinfo=UTC)  # at 1:00 UTC the clocks go from 3:00 back to 2:00
    rates = {n: schedule.rate_at((midnight + timedelta(minutes=n)).astimezone(BERLIN)) for n in range(0, 450, 30)}
    changes = [n for n in range(30, 450, 30) if rates[n] != rates[n - 30]]
    assert changes == [30, 60, 90, 420]
    assert rates[30] == rates[90] == 5 * M


ENTRIES = st.lists(
    st.tuples(st.integers(0, 7), st.integers(0, 23), st.integers(0, 59)), min_size=2, max_size=5, unique=True
)


@given(entries=ENTRIES, minute=st.integers(0, 7 * 24 * 60 - 1))
def test_the_latest_entry_before_a_moment_holds(entries: list[tuple[int, int, int]], minute: int) -> None:
    """Against the definition: go back from the moment minute by minute until an entry stands there."""
    names = ("Mon-", "Tue-", "Wed-", "Thu-", "Fri-", "Sat-", "Sun-", "")
    schedule = parse_schedule(" ".join(f"{names[d]}{h:02}:{m:02},{n + 1}K" for n, (d, h, m) in enumerate(entries)))
    rates = {entry: (n + 1) * 1024 for n, entry in enumerate(entries)}
    moment = at(0, 0) + timedelta(minutes=minute)
    back = moment
    while True:
        clock = (back.hour, back.minute)
        found = rates.get((back.weekday(), *clock), rates.get((7, *clock)))
        if found is not None:
            break
        back -= timedelta(minutes=1)
    assert schedule.rate_at(moment) == found


def test_a_timetable_within_a_rate_is_never_above_it() -> None:
    assert within(None, 7) == Schedule(((0, 7),))
    asked = parse_schedule("08:00,5 12:00,50 19:00,off")
    assert [within(asked, 9).rate_at(datetime(2024, 1, 1, hour)) for hour in (9, 13, 20)] == [5, 9, 9]
