"""What speaks against deleting."""

from __future__ import annotations

import pytest

from dunlin.model import Stats
from dunlin.workers.endgame import AT_LEAST, delete_limit, delete_refusal


@pytest.mark.parametrize(
    ("stats", "empty", "changed", "known", "word"),
    [
        (Stats(), False, False, 100, ""),
        (Stats(extra_files=5), False, False, 0, ""),
        (Stats(source_errors=1), False, False, 0, "1 errors while reading the source"),
        (Stats(), True, False, 1, "is it mounted?"),
        (Stats(extra_files=1), True, False, 0, "is it mounted?"),
        (Stats(extra_directories=1), True, False, 0, "is it mounted?"),
        (Stats(), True, False, 0, ""),  # empty, and nothing was ever there
        (Stats(), False, True, 0, "--accept-source"),
        (Stats(source_errors=2), True, True, 9, "2 errors"),
        (Stats(failed_files=3, vanished_files=3), False, False, 9, ""),  # not errors of the source's listings
    ],
)
def test_delete_refusal(stats: Stats, empty: bool, changed: bool, known: int, word: str) -> None:
    reason = delete_refusal(stats, empty, changed, known)
    assert word in reason
    assert bool(reason) is bool(word)


@pytest.mark.parametrize(
    ("asked", "known", "limit"),
    [(None, 0, AT_LEAST), (None, 400, 100), (None, 404, 101), (None, 1_000_000, 250_000), (0, 1000, 0), (7, 0, 7)],
)
def test_delete_limit(asked: int | None, known: int, limit: int) -> None:
    assert delete_limit(asked, known) == limit
