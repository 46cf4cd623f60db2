"""left: seconds until the rest is done."""

from __future__ import annotations

import pytest

from dunlin.pace.left import PER_FILE, seconds_left, share


@pytest.mark.parametrize(
    ("files", "size", "files_rate", "bytes_rate", "seconds"),
    [
        (0, 0, 0, 0, 0.0),
        (1, 0, 0, 0, None),
        (100, 0, 50, 0, 2.0),  # many small ones: their number decides
        (1, 100 << 20, 0, 10 << 20, pytest.approx(10, rel=0.01)),  # a large one: its bytes do
        (10, PER_FILE * 10, 1, PER_FILE, 10.0),
    ],
)
def test_seconds(files: int, size: int, files_rate: float, bytes_rate: float, seconds: float | None) -> None:
    assert seconds_left(files, size, files_rate, bytes_rate) == seconds


def test_bytes_go_no_faster_than_a_limit() -> None:
    """Six thousand small files went by, and one large one waits: their number is no speed for its bytes."""
    free = seconds_left(1, 50 << 20, 1000, 50_000)
    assert free is not None
    assert free < 2
    assert seconds_left(1, 50 << 20, 1000, 50_000, 1 << 20) == 50
    assert seconds_left(100, 0, 50, 0, 1 << 20) == 2.0


def test_where_a_limit_is_used_up_files_cost_no_more_than_their_bytes() -> None:
    """Six thousand small files wait with a large one, and none of their units is counted yet."""
    assert seconds_left(6000, 60 << 20, 0, 1 << 20, 1 << 20) == 60
    half = seconds_left(6000, 60 << 20, 0, 1 << 19, 1 << 20)
    free = seconds_left(6000, 60 << 20, 0, 1 << 19)
    assert half is not None
    assert free is not None
    assert 120 < half < free
    assert seconds_left(100, 0, 0, 1 << 20, 1 << 20) == 0


def test_where_bytes_are_most_of_it_their_rate_decides() -> None:
    assert seconds_left(1, 100 << 20, 100, 10 << 20) == 10.0


@pytest.mark.parametrize(
    ("done", "waiting", "expected"),
    [
        ((0, 0), (0, 0), 1.0),
        ((0, 0), (3, 5), 0.0),
        ((25, 0), (75, 0), 0.25),
        ((0, 100), (0, 300), 0.25),
        ((1, 0), (0, PER_FILE), 0.5),
    ],
)
def test_the_share_counts_bytes_and_files(done: tuple[int, int], waiting: tuple[int, int], expected: float) -> None:
    assert share(*done, *waiting) == expected


def test_under_a_limit_the_share_is_that_of_the_time() -> None:
    """Four thousand files of 10 KB and a few large ones, of which a third of the bytes are through and no file is."""
    size = 90 << 20
    under = share(0, size / 3, 4_000, size * 2 / 3, 2 << 20)
    assert 0.30 < under < 1 / 3
    assert share(0, size / 3, 4_000, size * 2 / 3) < 0.1
    assert share(0, size / 3, 4_000, size * 2 / 3, 1 << 40) == share(0, size / 3, 4_000, size * 2 / 3)
    assert share(25, 0, 75, 0, 1) == 0.25  # files without bytes count all the same
