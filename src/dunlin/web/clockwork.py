"""What the service does by itself, again and again: schedules that are due, news of jobs, thinning of the ledger.

Each task has a thread and a pause of its own, so that one that waits for a database does not hold up another.
A ledger that is away is said once, and that it is back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from dunlin.errors import DunlinError
from dunlin.report import Event, Level


class Chore(NamedTuple):
    """Something to be done every so many seconds. `do` may raise `DunlinError`."""

    name: str
    pause: float
    do: Callable[[], object]


class Clockwork:
    """Does chores from `start` to `close`."""

    def __init__(self, chores: Sequence[Chore], log: Callable[[Event], None]) -> None:
        self._log = log
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._again, args=(chore,), name=chore.name, daemon=True) for chore in chores
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End; what is under way is waited for, for two seconds."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(2.0)

    def _again(self, chore: Chore) -> None:
        wrong = ""
        while not self._stop.wait(chore.pause):
            try:
                chore.do()
                now = ""
            except DunlinError as error:
                now = str(error)
            except Exception as error:
                now = f"a fault of dunlin itself: {type(error).__name__}: {' '.join(str(error).split())}"
            if bool(now) != bool(wrong):
                message = f"{chore.name}: {now}" if now else f"{chore.name} goes on"
                self._log(Event(Level.WARN if now else Level.INFO, "chore", message, {"chore": chore.name}))
            wrong = now
