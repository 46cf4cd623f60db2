"""Charts: what is drawn where."""

from __future__ import annotations

import re

import pytest

from dunlin.jobs.history import Point, Stretch
from dunlin.web.charts import bar, clock, columns, plot, round_up, spans


def point(begin: float, end: float, value: float | None, errors: int = 0) -> Point:
    return Point(begin, end, value, None, None, None, errors)


def drawn(
    points: list[Point], seconds: float = 10, stretches: tuple[Stretch, ...] = (), tips: tuple[str, ...] = ()
) -> str:
    return plot(
        points, lambda each: each.bytes, seconds, name="N<", what="W", kind="of-bytes", ceiling=100.0,
        written=lambda value: f"{value:.0f}", stretches=stretches, tips=tips,
    ).markup  # fmt: skip


def paths(markup: str) -> list[str]:
    return re.findall(r' d="([^"]+)"', markup)


def test_means_are_steps() -> None:
    assert paths(drawn([point(0, 5, 50.0), point(5, 10, 100.0)])) == ["M0 100 L0 50 L500 50 L500 0 L1000 0 L1000 100 Z"]


def test_a_gap_is_no_zero() -> None:
    assert paths(drawn([point(0, 2, 10.0), point(2, 4, None), point(4, 10, 0.0)])) == [
        "M0 100 L0 90 L200 90 L200 100 Z",
        "M400 100 L400 100 L1000 100 L1000 100 Z",
    ]


def test_no_points_no_curve() -> None:
    assert paths(drawn([])) == []
    assert paths(drawn([point(0, 10, None)])) == []


def test_stretches_and_errors_and_tips() -> None:
    markup = drawn(
        [point(0, 5, 1.0, errors=2), point(5, 10, 1.0)], stretches=(Stretch(2, 4, "throttled", "cpu <91%"),),
        tips=("first", "second"),
    )  # fmt: skip
    assert '<rect class="throttled" x="200" y="0" width="200" height="100">' in markup.replace("><title>", "><title>")
    assert "throttled from 2.00s to 4.00s: cpu &lt;91%" in markup
    assert markup.count('class="error"') == 1
    assert [tip in markup for tip in ("<title>first</title>", "<title>second</title>")] == [True, True]
    assert 'role="img"' in markup
    assert "<title>N&lt;</title>" in markup


def test_axes_say_the_ends() -> None:
    words = re.findall(r"<span>([^<]*)</span>", drawn([], seconds=600))
    assert words == ["100", "50", "0", "0", "2m30s", "5m00s", "7m30s", "10m00s"]


def test_a_run_without_a_length_can_be_drawn() -> None:
    assert "nan" not in drawn([point(0, 0, 1.0)], seconds=0)


@pytest.mark.parametrize(
    ("value", "base", "rounded"),
    [
        (0, 10, 1), (0.03, 10, 0.05), (1, 10, 1), (7, 10, 10), (149, 10, 200), (1001, 10, 2000),
        (600, 1024, 1000), (1500, 1024, 2048), (88 * 1024**2, 1024, 100 * 1024**2), (1.2 * 1024**3, 1024, 2 * 1024**3),
    ],
)  # fmt: skip
def test_ceilings_are_easy_to_read(value: float, base: int, rounded: float) -> None:
    assert round_up(value, base) == pytest.approx(rounded)


def test_bars_and_strips_stay_inside() -> None:
    assert 'width="0%"' in bar(0).markup
    assert 'width="0.4%"' in bar(1e-9).markup
    assert 'width="100%"' in bar(7).markup
    [strip] = spans([(5, 10, "paused")], 20)
    assert 'x="25%" width="25%"' in strip.markup


def test_columns_are_as_high_as_their_value() -> None:
    markup = columns([(1, "good", "a"), (4, "bad", "b")], name="N", what="W").markup
    heights = [float(each) for each in re.findall(r'height="([0-9.]+)"', markup)]
    assert heights == [23.5, 94.0]


@pytest.mark.parametrize(("seconds", "said"), [(0, "0"), (0.5, "0.50s"), (12.3, "12s"), (59.6, "59.6s"), (90, "1m30s")])
def test_times_are_short(seconds: float, said: str) -> None:
    assert clock(seconds) == said


def test_times_below_a_curve_are_written_as_is_asked_for() -> None:
    markup = plot(
        [point(0, 5, 50.0)], lambda each: each.bytes, 10, name="N", what="W", kind="of-bytes", ceiling=100.0,
        written=str, when=lambda at: f"{10 - at:.0f}s ago",
    ).markup  # fmt: skip
    assert re.findall(r"<span>([^<]*ago)</span>", markup) == ["10s ago", "8s ago", "5s ago", "2s ago", "0s ago"]
