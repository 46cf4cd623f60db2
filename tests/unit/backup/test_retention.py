from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.backup.retention import FOREVER, Candidate, Policy, decide

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(when: datetime, *tags: str) -> Candidate:
    return Candidate(when.isoformat(), int(when.timestamp()) * 10**9, tags)


def kept(snapshots: list[Candidate], policy: Policy, zone: object = UTC) -> list[str]:
    return [verdict.snapshot.id for verdict in decide(snapshots, policy, zone) if verdict.kept]  # type: ignore[arg-type]


HOURLY = [at(NOON - timedelta(hours=hours)) for hours in range(24 * 400)]


@pytest.mark.parametrize(
    ("policy", "count"),
    [
        (Policy(last=7), 7),
        (Policy(hourly=30), 30),
        (Policy(daily=10), 10),
        (Policy(weekly=6), 6),
        (Policy(monthly=5), 5),
        (Policy(yearly=5), 2),  # 400 days reach into two years
        (Policy(within=3 * 3600), 4),
        (Policy(last=FOREVER), len(HOURLY)),
        (Policy(last=2, daily=3, monthly=2), 4),  # the newest counts for all three, the 28th for day and month
    ],
)
def test_each_rule_keeps_its_own(policy: Policy, count: int) -> None:
    assert len(kept(HOURLY, policy)) == count


def test_the_newest_of_each_period_stays() -> None:
    day = timedelta(days=1)
    snapshots = [at(NOON - 2 * day), at(NOON - day), at(NOON - day - timedelta(hours=5)), at(NOON)]
    assert kept(snapshots, Policy(daily=2)) == [at(NOON).id, at(NOON - day).id]


def test_periods_without_snapshots_cost_nothing() -> None:
    snapshots = [at(NOON - timedelta(days=days)) for days in (0, 50, 51, 300)]
    assert len(kept(snapshots, Policy(daily=4))) == 4


def test_within_counts_from_the_newest_snapshot_not_from_now() -> None:
    long_ago = [at(NOON.replace(year=1999) - timedelta(days=days)) for days in range(5)]
    assert len(kept(long_ago, Policy(within=2 * 86400))) == 3


def test_tags_keep() -> None:
    snapshots = [at(NOON - timedelta(days=days), *(["keep"] if days == 7 else [])) for days in range(10)]
    assert kept(snapshots, Policy(last=1, tags=("keep",))) == [snapshots[0].id, snapshots[7].id]


def test_days_are_those_of_the_zone() -> None:
    late = [at(datetime(2026, 3, 1, 23, 30, tzinfo=UTC)), at(datetime(2026, 3, 1, 12, tzinfo=UTC))]
    assert len(kept(late, Policy(daily=5))) == 1
    assert len(kept(late, Policy(daily=5), ZoneInfo("Europe/Berlin"))) == 2


def test_the_hour_that_comes_twice_is_two_hours() -> None:
    twice = [at(datetime(2026, 10, 25, hour, 30, tzinfo=UTC)) for hour in (0, 1)]
    assert len(kept(twice, Policy(hourly=5), ZoneInfo("Europe/Berlin"))) == 2


def test_the_last_week_of_a_year_is_one_week() -> None:
    around = [at(datetime(2027, 1, 2, tzinfo=UTC)), at(datetime(2026, 12, 30, tzinfo=UTC))]
    assert len(kept(around, Policy(weekly=5))) == 1


@given(st.lists(st.integers(0, 10**9), max_size=50), st.integers(-1, 5), st.integers(-1, 5), st.integers(0, 10**6))
def test_the_newest_always_stays_and_more_is_never_less(times: list[int], last: int, daily: int, within: int) -> None:
    snapshots = [Candidate(str(number), time * 10**9) for number, time in enumerate(times)]
    policy = Policy(last=last, daily=daily, within=within)
    stay = kept(snapshots, policy)
    if times:
        assert max(times) in {times[int(name)] for name in stay}
    if not any(policy):
        assert len(stay) == len(times)
    assert set(stay) <= set(kept(snapshots, policy._replace(last=FOREVER)))


def test_the_reasons_are_told() -> None:
    [first, second, third] = decide(HOURLY[:3], Policy(last=1, daily=1, within=3600), UTC)
    assert first.reasons == ("last", "daily", "within")
    assert second.reasons == ("within",)
    assert not third.kept
