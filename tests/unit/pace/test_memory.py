from __future__ import annotations

import gc
import weakref

import pytest

from dunlin.pace.memory import EASY, FULL, TIGHT, Stage, stage, trim


@pytest.mark.parametrize(
    ("before", "share", "after"),
    [
        (Stage.EASY, 0.5, Stage.EASY),
        (Stage.EASY, EASY, Stage.EASY),
        (Stage.EASY, TIGHT, Stage.TIGHT),
        (Stage.EASY, FULL, Stage.FULL),
        (Stage.TIGHT, EASY, Stage.TIGHT),
        (Stage.TIGHT, EASY - 0.01, Stage.EASY),
        (Stage.TIGHT, 1.2, Stage.FULL),
        (Stage.FULL, FULL - 0.01, Stage.TIGHT),
        (Stage.FULL, EASY, Stage.TIGHT),
        (Stage.FULL, 0.1, Stage.EASY),
    ],
)
def test_stages(before: Stage, share: float, after: Stage) -> None:
    assert stage(before, share) is after


class Ring:
    """Garbage that only the collector finds."""

    def __init__(self) -> None:
        self.me = self


def test_trim_collects_garbage() -> None:
    gc.disable()
    try:
        left = weakref.ref(Ring())
        assert left() is not None
        trim()
        assert left() is None
    finally:
        gc.enable()
