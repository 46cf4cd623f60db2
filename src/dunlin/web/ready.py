"""Whether the service can work: each part is asked, all at once, and none is waited for longer than `PATIENCE`.

A part that does not answer in time is not asked again before that question has ended, so that a place that hangs takes
one thread and not one for each probe. Answers are good for a second: probes of many do not become load.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooSlow

from dunlin.errors import DunlinError

PATIENCE = 3.0
GOOD_FOR = 1.0
OK = "ok"


class Ready:
    """Asks the parts of a service.

    Args:
        parts: by name; each returns, or raises `DunlinError`.
    """

    def __init__(
        self,
        parts: Mapping[str, Callable[[], object]],
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts, self._patience, self._clock = dict(parts), patience, clock
        self._pool = ThreadPoolExecutor(max(1, len(self._parts)), "ready")
        self._asked: dict[str, Future[object]] = {}
        self._lock = threading.Lock()
        self._answer: tuple[float, dict[str, str]] = (float("-inf"), {})

    def __call__(self) -> dict[str, str]:
        """For each part "ok", or what is wrong with it."""
        with self._lock:
            if self._clock() - self._answer[0] < GOOD_FOR:
                return dict(self._answer[1])
            for name, part in self._parts.items():
                if name not in self._asked:
                    self._asked[name] = self._pool.submit(part)
            end = self._clock() + self._patience
            found = {name: self._word(name, end) for name in self._parts}
            self._answer = (self._clock(), found)
            return dict(found)

    def _word(self, name: str, end: float) -> str:
        future = self._asked[name]
        try:
            future.result(max(0.0, end - self._clock()))
        except TooSlow:
            if not future.done():
                return f"no answer within {self._patience:g} seconds"
        except DunlinError as error:
            del self._asked[name]
            return error.reason or error.kind.value
        except Exception as error:
            del self._asked[name]
            return f"a fault of dunlin itself: {type(error).__name__}"
        self._asked.pop(name, None)
        return OK

    def close(self) -> None:
        """Ask no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
