"""Calls that look at places which may not answer: so many at a time, so many that wait, and no more.

Theory. To accept what is to be published is to look at paths of the machine, of which some may lie on a share whose
server is gone: such a look ends when the server comes back, or never, and no time-out reaches into it. In the threads
that all requests share, a handful of these would stop logins, pages and jobs. So they have threads of their own
(`pace.aside`), and one that has looked for `still` seconds takes no place from others any more. What finds none free
within `patience`, since very many are slow or `HUNG` of them hang, or finds too many waiting already, is refused, and
may be sent again.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

from dunlin.errors import DunlinError
from dunlin.pace.aside import Aside
from dunlin.web.problems import Refused

P = ParamSpec("P")
T = TypeVar("T")

FULL = "too many requests of this kind are under way: the places that they look at may not answer"
HUNG = 100
"""Calls that may hang beside those that do not."""
LOOK = 1.0
"""Seconds between two looks of one that waits whether others hang by now."""


class Bounded:
    """Makes calls in threads; see the module docstring.

    Args:
        threads: calls at a time. waiting: those that wait for a thread, at most.
        patience: seconds that one waits.
        still: seconds after which a call takes no place any more.
    """

    def __init__(self, threads: int = 16, waiting: int = 512, patience: float = 10.0, still: float = 10.0) -> None:
        self._aside = Aside("bounded", threads, still, threads + HUNG)
        self._patience = patience
        self._keys = itertools.count()
        self._lock = threading.Lock()
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._waiting = waiting
        self._closed = False

    async def __call__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a call. Given up, it is not begun any more, or goes on in its thread. Raises `Refused`."""
        future: Future[T] = Future()
        with self._lock:
            if self._closed or (len(self._calls) >= self._waiting and not self._aside.room):
                raise Refused(503, FULL)
            self._calls.append((future, functools.partial(call, *args, **kwargs)))
        self._next()
        result = asyncio.wrap_future(future)
        until = time.monotonic() + self._patience
        try:
            while not future.done() and not future.running():
                left = until - time.monotonic()
                await asyncio.wait({result}, timeout=max(0.0, min(left, LOOK)))
                self._next()
                if left <= 0 and future.cancel():
                    raise Refused(503, FULL)
            return await result
        finally:
            future.cancel()

    def _next(self) -> None:
        """Begin what waits, as far as there is room."""
        with self._lock:
            while self._calls and self._aside.room:
                future, call = self._calls.popleft()
                if future.set_running_or_notify_cancel():
                    self._begin(future, call)

    def _begin(self, future: Future[Any], call: Callable[[], Any]) -> None:
        found: list[Callable[[], None]] = []

        def act() -> None:
            try:
                found.append(functools.partial(future.set_result, call()))
            except BaseException as error:
                found.append(functools.partial(future.set_exception, error))

        def tell() -> None:  # when there is room again: whoever hears of it may ask at once
            found.pop()()
            self._next()

        try:
            self._aside.begin(str(next(self._keys)), act, tell)
        except DunlinError as error:  # the system has no thread left
            future.set_exception(error)

    def close(self) -> None:
        """Begin no more calls; those that go on are not waited for."""
        with self._lock:
            self._closed = True
            while self._calls:
                self._calls.popleft()[0].cancel()
