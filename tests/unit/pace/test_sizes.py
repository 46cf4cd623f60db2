from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace import sizes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("100", 100),
        ("100B", 100),
        ("20M", 20 * 1024**2),
        ("20m", 20 * 1024**2),
        ("1.5G", 3 * 1024**3 // 2),
        (".5k", 512),
        ("1.k", 1024),
        ("20MB", 20_000_000),
        ("20mb", 20_000_000),
        ("20MiB", 20 * 1024**2),
        ("3TiB", 3 * 1024**4),
        ("2 GB", 2_000_000_000),
        (" 7 ", 7),
        ("1E", 1024**6),
        ("0.1K", 102),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert sizes.parse_size(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "M",
        "-1",
        "+1",
        "1,5G",
        "20Mbit",
        "20 M B",
        "1e6",
        "0x10",
        "ten",
        "20MiBs",
        "off",
        "٣",
        "20M/s",
        "1.2.3",
    ],
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(DunlinError) as caught:
        sizes.parse_size(text, "value of --min-size")
    assert caught.value.kind is ErrorKind.USAGE
    assert f"{text!r} is no value of --min-size" in str(caught.value)


def test_nothing_rounds_to_zero_and_nothing_overflows() -> None:
    with pytest.raises(DunlinError, match="less than one byte"):
        sizes.parse_rate("0.5")
    with pytest.raises(DunlinError, match="too large"):
        sizes.parse_size("8E")
    assert sizes.parse_size("7.9E") < 2**63


@pytest.mark.parametrize(
    ("text", "expected"),
    [("off", 0), ("OFF", 0), ("0", 0), ("20M", 20 * 1024**2), ("20M/s", 20 * 1024**2), ("5MB/s", 5_000_000)],
)
def test_rates(text: str, expected: int) -> None:
    assert sizes.parse_rate(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 90),
        ("2m", 120),
        ("2min", 120),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("7d", 604800),
        ("2w", 1209600),
        ("1y", 31536000),
        ("1.5h", 5400),
        ("500ms", 0.5),
        ("45", 45),
        ("0.25", 0.25),
        ("1D", 86400),
    ],
)
def test_durations(text: str, expected: float) -> None:
    assert sizes.parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "s", "1x", "-5s", "1h30", "1h,30m", "2026-01-31", "5 5s", "off"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(DunlinError, match="is no time-out"):
        sizes.parse_duration(text, "time-out")


def test_ages_are_before_now_or_at_a_date() -> None:
    now = 1_800_000_000_123_456_789
    assert sizes.parse_age("0", now) == now
    assert sizes.parse_age("7d", now) == now - 7 * 86400 * 10**9
    assert sizes.parse_age("500ms", now) == now - 500_000_000
    assert sizes.parse_age("2026-01-31", now, UTC) == int(datetime(2026, 1, 31, tzinfo=UTC).timestamp()) * 10**9
    zone = timezone(timedelta(hours=2))
    expected = int(datetime(2026, 1, 31, 18, tzinfo=zone).timestamp()) * 10**9
    assert (
        sizes.parse_age("2026-01-31T18:00", now, zone)
        == sizes.parse_age("2026-01-31T18:00+02:00", now, UTC)
        == expected
    )
    assert sizes.parse_age("2026-07-01", now, ZoneInfo("Europe/Berlin")) == 1_782_856_800 * 10**9
    assert sizes.parse_age("1969-12-31T23:59:59.5", now, UTC) == -500_000_000


@pytest.mark.parametrize(
    ("text", "reason"), [("2026-02-30", "is no date"), ("2026-1-1", "is no date"), ("soon", "is no --max-age")]
)
def test_what_is_no_age(text: str, reason: str) -> None:
    with pytest.raises(DunlinError, match=reason):
        sizes.parse_age(text, 0, UTC, "--max-age")


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KiB"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (102_400, "100 KiB"),
     (1_048_575, "1.0 MiB"), (20 * 1024**2, "20.0 MiB"), (1024**4, "1.0 TiB"), (5 * 1024**7, "5120 EiB"),
     (-2048, "-2.0 KiB")],
)  # fmt: skip
def test_sizes_for_people(size: float, expected: str) -> None:
    assert sizes.format_size(size) == expected


def test_rates_for_people() -> None:
    assert sizes.format_rate(20 * 1024**2) == "20.0 MiB/s"


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "0"), (7, "7"), (0.44, "0.4"), (9.94, "9.9"), (9.96, "10"), (12.3, "12"), (999, "999"), (999.7, "1K"),
     (1000, "1K"), (15_200, "15.2K"), (99_960, "100K"), (999_960, "1M"), (6_000_000, "6M"), (7_800_000, "7.8M"),
     (3e9, "3G"), (5e15, "5000T"), (-3, "-3")],
)  # fmt: skip
def test_counts_for_people(count: float, expected: str) -> None:
    assert sizes.format_count(count) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0.00s"), (0.346, "0.35s"), (9.996, "10.0s"), (59.94, "59.9s"), (59.96, "1m00s"), (125, "2m05s"),
     (3599.6, "1h00m"), (3725, "1h02m"), (86399.9, "1d00h"), (3 * 86400 + 4 * 3600, "3d04h"), (-2, "-2.00s")],
)  # fmt: skip
def test_durations_for_people(seconds: float, expected: str) -> None:
    assert sizes.format_duration(seconds) == expected


@given(st.integers(0, 2**62))
def test_what_is_printed_can_be_read_again(size: int) -> None:
    again = sizes.parse_size(sizes.format_size(size))
    assert abs(again - size) <= size * 0.051


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_a_usage_error(text: str) -> None:
    for parse in (sizes.parse_size, sizes.parse_rate, sizes.parse_duration, lambda t: sizes.parse_age(t, 0, UTC)):
        kind = None
        try:
            value = parse(text)
        except DunlinError as error:
            kind = error.kind
        assert kind is ErrorKind.USAGE or isinstance(value, int | float)


def test_sparklines_leave_gaps_and_scale_to_the_most() -> None:
    assert sizes.sparkline([0, None, 5, 10], 10) == "▁ ▅█"
    assert sizes.sparkline([0, 10, None, None, 10, 10], 3) == "▅ █"
    assert sizes.sparkline([None, 0, 0], 3) == " ▁▁"
    assert sizes.sparkline([], 3) == ""


def test_moments_are_local_to_the_minute() -> None:
    moment = datetime(2026, 1, 31, 18, 5, 59).astimezone()
    assert sizes.format_moment(round(moment.timestamp() * 1e9)) == "2026-01-31 18:05"
    assert sizes.format_moment(round(moment.timestamp() * 1e9), seconds=True) == "2026-01-31 18:05:59"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0s"), (7.4, "7s"), (59.6, "1m00s"), (125, "2m05s"), (8000, "2h13m")]
)
def test_spans_are_whole_seconds(seconds: float, shown: str) -> None:
    assert sizes.format_span(seconds) == shown


@pytest.mark.parametrize(
    ("share", "shown", "finer"),
    [
        (0.0, "0%", "0.0%"),
        (0.29, "29%", "29.0%"),
        (0.995, "99%", "99.5%"),
        (0.99999, "99%", "99.9%"),
        (1.0, "100%", "100.0%"),
        (1.02, "100%", "100.0%"),
        (-0.1, "0%", "0.0%"),
        (0.0099, "<1%", "0.9%"),
        (0.0001, "<1%", "<0.1%"),
    ],
)
def test_all_is_100_percent_and_nothing_else(share: float, shown: str, finer: str) -> None:
    assert (sizes.format_share(share), sizes.format_share(share, 1)) == (shown, finer)


def test_numbers_have_their_plural() -> None:
    assert sizes.format_number(1, "file") == "1 file"
    assert sizes.format_number(12_345, "file") == "12,345 files"
    assert sizes.format_number(0, "directory", "directories") == "0 directories"
