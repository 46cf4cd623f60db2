"""Where a value is going: up, down, or nowhere in particular."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

SAMPLES = 10
"""Values that a trend is taken over."""

STEADY = 0.05
"""A smaller change, as a share of the larger value, is none."""


class Trend:
    """Compares the newer half of the last `SAMPLES` values with the older one."""

    def __init__(self, values: Iterable[float] = ()) -> None:
        self._values: deque[float] = deque(values, maxlen=SAMPLES)

    def put(self, value: float) -> None:
        """The next sample."""
        self._values.append(value)

    @property
    def word(self) -> str:
        """ "up", "level" or "down"; level as long as there are too few samples to tell."""
        values = list(self._values)
        half = len(values) // 2
        if half < 2:
            return "level"
        older, newer = sum(values[:half]) / half, sum(values[-half:]) / half
        if abs(newer - older) <= STEADY * max(abs(older), abs(newer)):
            return "level"
        return "up" if newer > older else "down"
