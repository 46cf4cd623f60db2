"""trend: up, down or level."""

from __future__ import annotations

import pytest

from dunlin.pace.trend import SAMPLES, Trend


@pytest.mark.parametrize(
    ("values", "word"),
    [([], "level"), ([1, 9], "level"), ([1, 2, 3], "level"), ([1, 1, 2, 2], "up"), ([2, 2, 1, 1], "down"),
     ([100, 100, 104, 104], "level"), ([0, 0, 0, 0], "level"), ([9] * 50 + [1] * 10, "level"),
     ([9] * 50 + [1] * 5, "down")],
)  # fmt: skip
def test_the_newer_half_is_compared_with_the_older(values: list[float], word: str) -> None:
    assert Trend(values).word == word


def test_only_the_last_samples_count() -> None:
    trend = Trend([1000.0] * 50)
    for n in range(SAMPLES):
        trend.put(float(n))
    assert trend.word == "up"
