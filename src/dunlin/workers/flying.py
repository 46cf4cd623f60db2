"""Bytes under way: moved, and not counted as copied yet.

Of large files the movers tell how far they are. Small ones are counted with their unit, which may hold a thousand of
them; but where there is a limit every byte is granted by it, whoever moves it. So what was granted beyond what was
copied is under way. What was copied before there was a limit was never granted: `_least` is how far the grants have
been behind at most, and from there they are counted. Bytes granted for a file that then failed stay in, but never
more than what waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dunlin.workers.coordinator import Coordinator


class Flying:
    """Knows the bytes under way of one run."""

    def __init__(self) -> None:
        self._least = 0

    def bytes(self, crew: Coordinator) -> int:
        """Bytes that are under way now."""
        stats = crew.stats
        ahead = crew.bucket.granted - stats.copied_bytes
        self._least = min(self._least, ahead)
        granted = min(ahead - self._least, stats.pending_bytes) if crew.bucket.rate else 0
        return max(crew.telling.flying, granted)
