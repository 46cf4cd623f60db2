"""Files that changed just before they were read."""

from __future__ import annotations

import pytest

from dunlin.backup import rows
from dunlin.model import CTIME, FILE_BITS, IDENT, MODE, MTIME, SIZE, Facts

SECOND = 10**9
NOW = 1_800_000_000 * SECOND + 123_456_789


def facts(mtime: int | None, ctime: int | None, ident: object = 7) -> Facts:
    values: list[object] = [None] * 16
    values[MODE], values[SIZE], values[MTIME], values[CTIME], values[IDENT] = FILE_BITS, 1, mtime, ctime, ident
    return tuple(values)


@pytest.mark.parametrize(
    ("mtime", "ctime", "told"),
    [
        (NOW - 60 * SECOND, NOW - 60 * SECOND, False),
        (NOW - 5_000_000, NOW - 60 * SECOND, True),  # within a tick of the kernel
        (NOW - 60 * SECOND, NOW - 5_000_000, True),
        (NOW - SECOND, NOW - SECOND, False),  # times of nanoseconds
        (NOW // SECOND * SECOND, NOW - 60 * SECOND, True),  # whole seconds
        (None, NOW // SECOND * SECOND - SECOND, True),  # two of them
        (NOW // SECOND * SECOND - 3 * SECOND, None, False),
        (NOW + 60 * SECOND, NOW + 60 * SECOND, False),  # a clock that is wrong would have it read for ever
    ],
)
def test_a_file_is_recent_for_as_long_as_its_time_may_go_on(mtime: int | None, ctime: int | None, told: bool) -> None:
    assert rows.recent(facts(mtime, ctime), NOW) is told
    assert not rows.recent(facts(mtime, ctime, "an etag"), NOW)
