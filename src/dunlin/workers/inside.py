"""A worker inside another process: that of `dunlin serve`, which does what the service publishes.

It is the loop that `dunlin worker` has (`agent`), in threads, for the tasks of some queues and for no runs. A process
of its own may end when its queue does not work; this one must not: whatever goes wrong is told, once a minute, and
tried again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from dunlin.errors import DunlinError
from dunlin.pace.stop import Stop
from dunlin.queue.base import Queue
from dunlin.report import Event, Level, Report
from dunlin.stores.login import Login
from dunlin.workers.agent import AgentOptions, Pace
from dunlin.workers.agents import keep_running
from dunlin.workers.handling import Handler

COMPLAIN = 60.0
"""Seconds between complaints."""
AGAIN = 1.0
"""Seconds until the worker is started anew."""


class Inside(NamedTuple):
    """How it works.

    Attributes:
        host: the machine's name. labels: of units that only some machines can do.
        slots: tasks under way at a time.
        grace: seconds for what is under way to end, once the worker is to stop.
    """

    host: str
    labels: tuple[str, ...] = ()
    slots: int = 2
    grace: float = 30.0
    pace: Pace = Pace()


def work_inside(
    queue: Queue,
    others: Mapping[str, Handler],
    how: Inside,
    stop: Stop,
    report: Report,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Do the tasks of these queues until `stop` is requested. Raises nothing."""
    complained = float("-inf")

    def options(name: str) -> AgentOptions:
        return AgentOptions(
            name, how.host, os.getpid(), how.slots, how.labels, _nowhere, (), others, grace=how.grace, pace=how.pace
        )

    while not stop.requested:
        try:
            keep_running(queue, how.host, options, stop, report)
        except Exception as error:
            if clock() - complained >= COMPLAIN:
                complained = clock()
                ours = not isinstance(error, DunlinError)
                line = f"{type(error).__name__}: {error}" if ours else str(error)
                level = Level.ERROR if ours else Level.WARN
                report.event(Event(level, "worker.trouble", f"{line}; trying again", {"error": line}))
            sleep(AGAIN)


def _nowhere(place: str, side: str) -> tuple[str, Login]:
    raise ValueError("this worker takes part in no run")
