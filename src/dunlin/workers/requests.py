"""How many requests of a run may be under way to a store far away, where nobody said how many.

Every mover counts what goes through its gate (`pace.gate`). Twice a second all of them are asked for that, the answers
are added up, and the climb (`pace.climb`) makes of it how many requests there are to be: one number for the whole run,
which the pool shares out like any other limit. So the store is seen as a whole, by one who decides.

What was measured while something else changed tells nothing: the threads that units are done in (`pace.concurrency`),
the movers themselves, a limit on bandwidth, a pause, a host that bears less (`workers.governor`).

Small files are held in memory whole, each in one hand: where they are large, no more of them are under way than `HELD`
bytes hold, but as many as at the beginning in any case.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from dunlin.pace.climb import LEAST, START, Climb, Move, Seen
from dunlin.pace.gate import Passed
from dunlin.report import Level
from dunlin.transfer.content import FETCHED

if TYPE_CHECKING:
    from dunlin.workers.coordinator import Coordinator
    from dunlin.workers.pool import Pool

LOOK = 0.5
"""Seconds between two looks."""

HELD = 2 * FETCHED * START
"""Bytes of small files in memory that more requests than at the beginning may come to, each twice: pieces and whole."""


class Requests:
    """Steers the requests of one run.

    Args:
        climb: decides. pool: has the gates. clock: seconds that never go back.
    """

    def __init__(self, climb: Climb, pool: Pool, clock: Callable[[], float] = time.monotonic) -> None:
        self._climb = climb
        self._pool = pool
        self._most = climb.most
        self._start = climb.level
        self._clock = clock
        self._next = 0.0
        self._before: dict[int, Passed] = {}
        self._crew = (0, 0)
        self._size = 0.0  # bytes of a file, on average

    def poll(self, crew: Coordinator) -> None:
        """Look at what is due, and steer the crew by it; called a few times a second at least."""
        now = self._clock()
        if now < self._next or not self._pool.started:
            return
        self._next = now + LOOK
        seen = self._look(crew)
        if seen is not None:
            self._steer(crew, seen)
        self._pool.reach(self._climb.level)
        self._pool.ask_gates()

    def _look(self, crew: Coordinator) -> Seen | None:
        """What went on since the look before; None: not every mover has answered, or there is nothing to compare."""
        pool = self._pool
        answers = {number: Passed(*numbers) for number, numbers in pool.gates.items()}
        if set(answers) != set(pool.numbers):
            return None
        before, self._before = self._before, answers
        steady, self._crew = self._crew, (pool.threads, pool.borne)
        if set(before) != set(answers):
            return None
        pairs = [(before[number], after) for number, after in answers.items()]
        times = [after.time - then.time for then, after in pairs]
        if min(times) <= 0:
            return None
        return Seen(
            sum(times) / len(times),
            sum(after.left - then.left for then, after in pairs),
            sum(after.moved - then.moved for then, after in pairs),
            sum((after.inside - then.inside) / (after.time - then.time) for then, after in pairs),
            refused=any(after.refusals > then.refusals for then, after in pairs),
            held=bool(
                steady != self._crew
                or crew.bucket.rate
                or crew.bucket.paused
                or sum(after.limit for _, after in pairs) < self._climb.level
            ),
        )

    def _steer(self, crew: Coordinator, seen: Seen) -> None:
        climb = self._climb
        if seen.requests:
            size = min(seen.moved / seen.requests, FETCHED)
            self._size += (size - self._size) / 4 if self._size else size
        fit = max(self._start, int(HELD / 2 / max(self._size, 1.0)))
        move = climb.bound(min(self._most, fit)) or climb.sample(seen)
        crew.report.gauge("requests_limit", climb.level)
        crew.report.gauge("requests", round(seen.under_way, 1))
        if move is not None:
            _tell(crew, move)


def follow(pool: Pool, start: int, most: int) -> Requests | None:
    """What steers the requests of a pool's movers, from `start` on; None where there is nothing to decide."""
    least = max(LEAST, pool.size)
    return Requests(Climb(start, least, most), pool) if least <= start and least < most else None


def _tell(crew: Coordinator, move: Move) -> None:
    message = f"Requests to the store: {move.before} -> {move.after} ({move.why})"
    crew.telling.event(Level.INFO, "requests.changed", message, before=move.before, requests=move.after, why=move.why)
