"""The request to stop: made by a signal, an order or a caller, obeyed wherever bytes wait to go."""

from __future__ import annotations

from collections.abc import Callable


class Stop:
    """Whether a run shall stop, and why.

    `request` may be called from a signal handler: it only sets values and calls the listeners, which
    must not take locks (`Bucket.stop` does not).
    """

    def __init__(self) -> None:
        self.reason = ""
        self._listeners: list[Callable[[], None]] = []

    @property
    def requested(self) -> bool:
        """Whether `request` was called."""
        return bool(self.reason)

    def request(self, reason: str) -> None:
        """Ask to stop; the first reason stays."""
        if not self.reason:
            self.reason = reason
            for listener in self._listeners:
                listener()

    def tell(self, listener: Callable[[], None]) -> None:
        """Call `listener` once, when a stop is requested (at once if it was)."""
        self._listeners.append(listener)
        if self.reason:
            listener()
