"""A limit on bytes per second that is kept elsewhere: shared by the workers of a run, on any number of machines.

What it promises
    All who draw from one account together move no more than the rate, and what each has drawn and not used: at most
    one slice, `SLICE_SECONDS` of the rate, and no more than `MOST`.

How
    The account (`queue.Queue.draw`) follows the debt model: it is drawn from at once, and the answer is how long to
    wait before the bytes may be used. Asking for every block would be a round trip each, so a slice is drawn at a
    time and used up here. Who waits for a slice holds the lock, so the others of the process wait behind it, as they
    would anyway.

While the account cannot be reached nothing moves: a limit that ends when its keeper is away is none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.bucket import MIN_BLOCK, block_at

SLICE_SECONDS = 0.1
MOST = 1 << 20
"""Bytes drawn at a time, at most (a larger request draws what it needs)."""

LOOK = 0.1
"""Seconds between two looks at whether there is a new rate, a pause or a stop."""

AGAIN = 0.5
"""Seconds until the account is asked again that could not be reached."""


class Drawn:
    """A limit like `bucket.Bucket` whose account lies elsewhere. Safe to use from many threads of one process.

    Args:
        draw: (bytes, bytes per second, bytes that may have been saved up) -> seconds to wait; raises `DunlinError`
            where the account cannot be reached.
        check: called by every `take`, and again and again while that waits; what it raises ends it.

    `rate`, `paused` and `stopped` may be set at any time, from any thread.
    """

    def __init__(
        self,
        draw: Callable[[int, int, int], float],
        rate: int = 0,
        check: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.rate = rate
        self.paused = False
        self.stopped = False
        self._draw = draw
        self._check = check
        self._clock = clock
        self._sleep = sleep
        self._left = 0
        self._lock = threading.Lock()

    def take(self, n: int) -> None:
        """Return when `n` more bytes may go. Raises INTERRUPTED once it was stopped."""
        self._go_on()
        if not self.rate:
            return
        while not self._lock.acquire(timeout=LOOK):
            self._go_on()
        try:
            while self.rate and self._left < n:
                self._more(n - self._left)
            self._left = max(0, self._left - n)
        finally:
            self._lock.release()

    def block_for(self, block_size: int) -> int:
        """The number of bytes to ask for at a time, at most `block_size`."""
        return block_at(self.rate, block_size)

    def stop(self) -> None:
        """Make everybody who waits, and every later `take`, raise INTERRUPTED."""
        self.stopped = True

    def _go_on(self) -> None:
        self._check()
        while not self.stopped and self.paused:
            self._sleep(LOOK)
            self._check()
        if self.stopped:
            raise DunlinError("go on", "", ErrorKind.INTERRUPTED, "the run was stopped")

    def _more(self, n: int) -> None:
        """Draw what is missing, a slice at least, and wait until it may be used."""
        rate = self.rate
        slice_ = max(MIN_BLOCK, min(MOST, int(rate * SLICE_SECONDS)))
        amount = max(n, slice_)
        try:
            wait = self._draw(amount, rate, slice_)
        except DunlinError:
            self._sleep(AGAIN)
            self._go_on()
            return
        due = self._clock() + wait
        while (left := due - self._clock()) > 0 and self.rate:
            self._go_on()
            self._sleep(min(left, LOOK))
        self._go_on()
        self._left += amount
