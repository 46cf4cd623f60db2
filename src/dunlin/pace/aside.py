"""Work that may hang, each piece in a thread of its own: what hangs takes no place from the rest.

Theory. A look at a path may be one at a share whose server is gone. It ends when the server comes back, or never: no
time-out reaches into the system call, and no thread can be ended from outside. In a pool of a few threads a handful of
such looks is the end of all work. So a piece of work shows that it gets on (`moved`), and one that has been silent for
`still` seconds has lost its place: another may begin. Its thread is left to itself. Where the server comes back it goes
on as if nothing had been, though there may be more at work then, for a while, than there are places.

Threads that hang cost memory, so there are no more than `most` in all; from then on nothing begins until one ends. They
are daemons: none of them keeps the process from ending.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from dunlin.errors import DunlinError, ErrorKind


@dataclass(slots=True, eq=False, repr=False)
class _Piece:
    """`moved`: when it last got on. `told`: that it has not, since, was told."""

    moved: float
    told: bool = False


class Aside:
    """Does pieces of work, each known by a key. Safe from several threads.

    Args:
        name: of the threads. places: pieces at a time.
        still: seconds without a sign of life after which a piece holds no place.
        most: threads in all, those that hang among them. clock: seconds that never go back.
    """

    def __init__(
        self, name: str, places: int, still: float, most: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._places, self._still, self._most, self._clock = name, places, still, most, clock
        self._pieces: dict[str, _Piece] = {}
        self._change = threading.Condition()

    @property
    def room(self) -> bool:
        """Whether another piece may begin."""
        with self._change:
            now = self._clock()
            busy = sum(now - piece.moved < self._still for piece in self._pieces.values())
            return busy < self._places and len(self._pieces) < self._most

    def begin(self, key: str, act: Callable[[], object], after: Callable[[], object] = lambda: None) -> None:
        """Do this in a thread, whether there is room or not. `act` raises nothing; no other piece has the key.

        `after`: called in the same thread when the piece has given its place back.

        Raises BUSY where the system has no thread left.
        """
        thread = threading.Thread(target=self._do, args=(key, act, after), name=self._name, daemon=True)
        with self._change:
            self._pieces[key] = _Piece(self._clock())
        try:
            thread.start()
        except RuntimeError as error:
            with self._change:
                del self._pieces[key]
            raise DunlinError("begin", self._name, ErrorKind.BUSY, str(error)) from error

    def _do(self, key: str, act: Callable[[], object], after: Callable[[], object]) -> None:
        try:
            act()
        finally:
            with self._change:
                del self._pieces[key]
                self._change.notify_all()
        after()

    def moved(self, key: str) -> None:
        """The piece gets on."""
        with self._change:
            piece = self._pieces.get(key)
            if piece is not None:
                piece.moved, piece.told = self._clock(), False

    def going(self, key: str) -> bool:
        """Whether the piece has not ended, hung or not."""
        with self._change:
            return key in self._pieces

    @property
    def keys(self) -> set[str]:
        """All that have not ended."""
        with self._change:
            return set(self._pieces)

    def silent(self) -> list[str]:
        """Pieces that have lost their place since this was asked last."""
        with self._change:
            now = self._clock()
            found = [key for key, each in self._pieces.items() if not each.told and now - each.moved >= self._still]
            for key in found:
                self._pieces[key].told = True
            return found

    def wait(self, seconds: float) -> bool:
        """Wait until all have ended, for so many seconds at most; whether they have."""
        with self._change:
            return self._change.wait_for(lambda: not self._pieces, seconds)
