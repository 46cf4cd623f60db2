"""left: seconds until the rest is done."""

from __future__ import annotations

import pytest

from dunlin.pace.left import PER_FILE, seconds_left


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
