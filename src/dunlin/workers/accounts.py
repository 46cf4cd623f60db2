"""Limits on bytes that several share: what a unit moves is drawn from each account that it belongs to.

Theory. A run has an account of its own, whose rate its coordinator says (`--bwlimit`). A tenant has one for all its
runs and all that it publishes, and so has publishing as a whole; their rates stand on the queue's board
(`queue.caps`). A byte counts in all of them, so the most that may go is what the narrowest leaves, and where two
tenants meet in one account the sum of both is bounded. An account is asked for a slice at a time (`pace.drawn`), and
all of them at once: waiting for the one passes the time that the others ask for.

A board that has forgotten the rates (the queue was emptied, or went back in time) gets them again from a service,
within ten seconds or so. Until then those known last hold: a limit must not end because its keeper is away.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from dunlin.errors import DunlinError
from dunlin.pace.drawn import Drawn
from dunlin.queue import caps
from dunlin.queue.base import Queue

LOOK = 1.0
"""Seconds between two looks at what rates there are."""


def account_name(group: str) -> str:
    """The account of a group, as the queue knows it."""
    return f"bytes/{group}"


class Accounts:
    """The accounts of one run, or of one kind of task, in this process.

    Args:
        queue: keeps them. shared: names of `queue.caps` whose rates it tells. own: one more, whose rate is given; "":
            none.
    """

    def __init__(self, queue: Queue, shared: Sequence[str], own: str = "") -> None:
        self._queue = queue
        self._shared = tuple(shared)
        self._own = own
        self._said: dict[str, int] = {}
        self._rates: dict[str, int] = {}

    def look(self, own: int = 0) -> int:
        """Learn what rates there are; the lowest, 0 for none. Raises what the queue raises.

        Args:
            own: bytes per second of the account of one's own; 0: no limit.
        """
        said = caps.read(self._queue) if self._shared else None
        if said is not None:
            self._said = {account_name(each): said.rates.get(each, 0) for each in self._shared}
        rates = {**self._said, self._own: own}
        self._rates = {name: rate for name, rate in rates.items() if name and rate > 0}
        return min(self._rates.values(), default=0)

    def draw(self, amount: int, rate: int, burst: int) -> float:
        """From all of them (`Drawn`'s `draw`): seconds to wait. Raises what the queue raises."""
        waits = [self._queue.draw(name, amount, each, burst) for name, each in self._rates.items()]
        return max(waits, default=0.0)


class Limits:
    """Limits of tasks that belong to no run: one for each set of accounts, for all threads of the process.

    Args:
        queue: keeps the accounts. clock: seconds. sleep: waits.
    """

    def __init__(
        self,
        queue: Queue,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._queue, self._clock, self._sleep = queue, clock, sleep
        self._lock = threading.Lock()
        self._known: dict[tuple[str, ...], Drawn] = {}

    def __call__(self, shared: Sequence[str]) -> Drawn:
        """The limit of what belongs to these accounts."""
        key = tuple(shared)
        with self._lock:
            if key not in self._known:
                self._known[key] = self._made(key)
            return self._known[key]

    def _made(self, shared: tuple[str, ...]) -> Drawn:
        accounts, looked, lock = Accounts(self._queue, shared), float("-inf"), threading.Lock()

        def look() -> None:
            nonlocal looked
            now = self._clock()
            if now - looked < LOOK or not lock.acquire(blocking=False):
                return
            try:
                looked = now
                drawn.rate = accounts.look()
            except DunlinError:
                return  # the rates of a moment ago hold; without a queue the lease does not last anyway
            finally:
                lock.release()

        drawn = Drawn(accounts.draw, check=look, clock=self._clock, sleep=self._sleep)
        return drawn
