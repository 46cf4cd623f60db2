"""The one retry policy: which errors, how often, how long to wait.

A call is made again when its `DunlinError` is of a kind that the same request may survive. The wait doubles from
`base` to `cap`, each shortened at random by up to `jitter` of itself, so that many threads that failed together
do not come back together. Where the server said how long to wait (an attribute `retry_after`, seconds, on the
error), nothing is sent sooner. A wait that would pass the deadline is not begun: the error is raised at once.

Two uses that do not multiply: `REQUEST` stands around one request and retries what the network did; `FILE` stands
around the whole transfer of a file and retries only what was wrong with its content. A request that failed for
good is not of the second kind, so the file is not tried again for it.

(No library: tenacity and stamina take 35 ms to import, and neither lets a test inject its clock.)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from dunlin.errors import RETRYABLE, DunlinError, ErrorKind

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how patiently. Times in seconds.

    Attributes:
        attempts: calls altogether, the first included.
        deadline: no retry is begun later than this after the first call; None: no deadline.
        base: the first wait.
        cap: the longest wait that is ours to choose.
        jitter: the part of a wait that is left to chance, 0 to 1.
        kinds: the kinds of errors that are retried.
    """

    attempts: int = 8
    deadline: float | None = 300.0
    base: float = 0.2
    cap: float = 30.0
    jitter: float = 0.5
    kinds: frozenset[ErrorKind] = RETRYABLE

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.base < 0 or self.cap < 0 or not 0 <= self.jitter <= 1:
            raise ValueError(f"this policy makes no sense: {self}")

    def wait(self, attempt: int, chance: float) -> float:
        """Seconds to wait after failed attempt number `attempt` (from 1), for a `chance` from 0 to 1."""
        # The exponent is bounded: 2.0 ** 1100 overflows, and no cap lies beyond 2 ** 60.
        return float(min(self.cap, self.base * 2.0 ** min(attempt - 1, 60)) * (1 - self.jitter * chance))


CORRUPTION = frozenset({ErrorKind.CHECKSUM, ErrorKind.CHANGED})
REQUEST = Retry(kinds=RETRYABLE - CORRUPTION)
"""Around one request: up to 7 retries."""
REACH = Retry(attempts=4, deadline=5.0, kinds=frozenset({ErrorKind.NETWORK, ErrorKind.TIMEOUT}))
"""Around the first requests of a run: a wrong address is said within seconds, a few lost packets end nothing."""
PATIENCE = Retry(kinds=REQUEST.kinds - REACH.kinds)
"""Around `REACH`: who answers "later" is there, and is given the time that it asks for."""
FILE = Retry(attempts=3, deadline=None, kinds=CORRUPTION)
"""Around the transfer of one file: 3 attempts, for truncation, wrong checksums, files that changed while read."""


def retry(
    call: Callable[[], T],
    policy: Retry = REQUEST,
    on_retry: Callable[[DunlinError, int, float], object] | None = None,
    *,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    chance: Callable[[], float] | None = None,
) -> T:
    """What `call` returns, after as many attempts as `policy` allows; else raises its last error.

    Before each wait `on_retry(error, attempt that failed, seconds to wait)` is called.
    `sleep` may raise (a stop, for instance); that ends the retrying.
    """
    began = clock() if policy.deadline is not None else 0.0
    attempt = 1
    while True:
        try:
            return call()
        except DunlinError as error:
            if error.kind not in policy.kinds or attempt >= policy.attempts:
                raise
            wait = max(policy.wait(attempt, (chance or _chance)()), error.retry_after or 0.0)
            if policy.deadline is not None and clock() + wait > began + policy.deadline:
                raise
            if on_retry is not None:
                on_retry(error, attempt, wait)
        sleep(wait)
        attempt += 1


def _chance() -> float:
    import random  # wanted only after a failure

    return random.random()
