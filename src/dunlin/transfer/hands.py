"""Many files of one unit at a time: where every request takes a round trip, waiting for one after the other is slow.

A unit's files go to a pool of threads that all units of the process share. Each thread that is free takes the next
file from the unit, and the next, until none is left, and then hands over what became of all it took. (To hand each
file over and its outcome back would be two switches between threads for each, which costs more than a small file's
request.) Memory stays bounded: no more files are begun than there are threads, and the service's own wishes are
obeyed through the gate around each request (`pace.gate`).

How many threads carry files may change while they do. A thread that is to go on when there are too many leaves the
rest of its unit to the others; one that takes a file when there could be more has another one begin beside it. So no
thread waits at the gate: waking one up for each file that ends costs as much as handing it over would.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from threading import Condition
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Hands:
    """Threads that carry files. Safe to use from many threads.

    Args:
        most: files under way at a time, in this process.
        around: calls what it is given, in each thread; None: the threads call it themselves.
        limit: how many of them there may be at present; None: always all.
    """

    def __init__(
        self,
        most: int,
        around: Callable[[Callable[[], Any]], Any] | None = None,
        limit: Callable[[], int] | None = None,
    ) -> None:
        self.most = most
        self._around = around
        self._limit = limit
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="hand")
        self._changed = Condition()
        self._carrying = 0
        self._asked: deque[_Shared[Any, Any]] = deque()  # units for which another thread is to begin

    def share(self, things: Iterable[T], work: Callable[[Iterator[T]], R], begin: int) -> list[R]:
        """Let up to `begin` threads do `work`, each on those of the things that it takes; what they returned.

        Args:
            things: taken by one thread at a time, in their order.
            work: has to take its things one by one, each when it is about to be done, until there are no more.
                After an exception, which is raised here, the others find no more to take, and are waited for.
        """
        shared = _Shared(iter(things), work, begin)
        with self._changed:
            for _ in range(min(begin, self.allowed)):
                self._ask(shared)
            self._admit()
            try:
                while shared.open:
                    self._changed.wait()
            except BaseException:
                shared.ended = True
                while shared.open:
                    self._changed.wait()
                raise
        if shared.error is not None:
            raise shared.error
        return shared.results

    @property
    def allowed(self) -> int:
        """How many threads may carry files now."""
        return self.most if self._limit is None else max(1, min(self.most, self._limit()))

    def close(self) -> None:
        """End the threads once they are idle."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    # ---- under the lock ----

    def _ask(self, shared: _Shared[Any, Any]) -> None:
        """Have one more thread begin as soon as there may be one more."""
        shared.open += 1
        shared.asked += 1
        self._asked.append(shared)

    def _admit(self) -> None:
        while self._asked and self._carrying < self.allowed:
            self._carrying += 1
            self._pool.submit(self._carry, self._asked.popleft())

    def _leave(self, turn: _Turn[Any, Any]) -> None:
        if not turn.over:
            turn.over = True
            turn.shared.carried -= 1
            self._carrying -= 1

    # ---- in the threads ----

    def take(self, turn: _Turn[T, Any]) -> T:
        """The next thing for the thread that asks. Raises StopIteration: there is none, or it is one too many."""
        shared = turn.shared
        with self._changed:
            allowed = self.allowed
            if shared.ended or turn.over:
                raise StopIteration
            if self._carrying > allowed and shared.carried > 1:
                self._leave(turn)
                shared.asked -= 1
                raise StopIteration
            thing = next(shared.things)
            if self._carrying < allowed:
                if not self._asked and shared.asked < min(shared.begin, allowed):
                    self._ask(shared)
                self._admit()
            return thing

    def _carry(self, shared: _Shared[Any, Any]) -> None:
        turn = _Turn(self, shared)
        with self._changed:
            shared.carried += 1
        context = shared.context.copy()

        def do() -> Any:
            return context.run(shared.work, turn)

        try:
            shared.results.append(do() if self._around is None else self._around(do))
        except BaseException as error:
            shared.error, shared.ended = shared.error or error, True
        with self._changed:
            self._leave(turn)
            shared.open -= 1
            self._admit()
            if not shared.open:
                self._changed.notify_all()


class _Shared(Generic[T, R]):
    """The things of one unit, and what threads made of them.

    Attributes:
        things, work, begin: as in `Hands.share`.
        open: threads that carry them, or are asked to. carried: those of them that take things now.
        asked: threads that were asked to, less those that were too many.
        context: what is bound in the thread of the unit, and so in each that carries its things (`workers.fence`).
        ended: nobody gets anything any more.
    """

    def __init__(self, things: Iterator[T], work: Callable[[Iterator[T]], R], begin: int) -> None:
        self.things = things
        self.work = work
        self.begin = begin
        self.open = self.carried = self.asked = 0
        self.context = copy_context()
        self.ended = False
        self.results: list[R] = []
        self.error: BaseException | None = None


class _Turn(Generic[T, R]):
    """The things of a unit as one of its threads takes them; `over` once it gets no more."""

    def __init__(self, hands: Hands, shared: _Shared[T, R]) -> None:
        self._hands = hands
        self.shared = shared
        self.over = False

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return self._hands.take(self)
