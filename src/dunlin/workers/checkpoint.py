"""Flushing the destination in the background, so that "synced" does not outlive the data in a power cut.

Flushing a file system may take minutes, and a process cannot end while one of its threads waits for the
disk. So a child process does it: it is asked now and then, answers when the flush that it was asked for
has ended, and is left alone at the end of the run. What no answered flush covers is on record as
doubtful for the first run after another boot; a later flush of the same boot covers it, too.
"""

from __future__ import annotations

import os
import select
import struct
import sys
import time
from collections.abc import Callable

from dunlin.errors import DunlinError
from dunlin.stores.base import Store, Syncs, power

EVERY = 30.0
"""Seconds between two flushes."""

GRACE = 0.05
"""Seconds that the end of a run waits for the last answer: an idle or memory file system answers at once."""

_TIME = struct.Struct("=q")


class Checkpointer:
    """Flushes `target` from a child process.

    Args:
        target: the destination; nothing happens if it cannot be flushed.
        durable: called with the time (ns) that was current when an answered flush was asked for.
        release: descriptors that the child must not keep: the run's lock.
    """

    def __init__(self, target: Store, durable: Callable[[int], None], release: tuple[int, ...] = ()) -> None:
        self._target = power(target, Syncs)
        self._durable = durable
        self._release = release
        self._ask = self._answer = -1
        self._pid = 0
        self._busy = False
        self._next = time.monotonic() + EVERY

    def poll(self, now: Callable[[], int]) -> None:
        """Take an answer, and ask for the next flush when it is due."""
        if self._busy:
            self._take(0.0)
        elif time.monotonic() >= self._next:
            self._request(now())

    def finish(self, now: Callable[[], int]) -> None:
        """Ask for a last flush and end without waiting for it (longer than `GRACE`)."""
        if self._target is None:
            return
        if self._busy:
            self._take(GRACE)
        if not self._busy:
            self._request(now())
            self._take(GRACE)
        if self._pid:
            os.close(self._ask)
            os.close(self._answer)
            os.waitpid(self._pid, os.WNOHANG)
            self._pid = 0

    def _request(self, moment: int) -> None:
        if self._target is None:
            return
        if not self._pid:
            self._start()
        os.write(self._ask, _TIME.pack(moment))
        self._busy = True

    def _take(self, timeout: float) -> None:
        ready, _, _ = select.select([self._answer], [], [], timeout)
        if not ready:
            return
        data = os.read(self._answer, _TIME.size)
        self._busy = False
        self._next = time.monotonic() + EVERY
        if len(data) == _TIME.size:
            self._durable(_TIME.unpack(data)[0])

    def _start(self) -> None:
        asked, self._ask = os.pipe()
        self._answer, answered = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.setsid()
                os.close(self._ask)
                os.close(self._answer)
                for fd in self._release:
                    os.close(fd)
                self._serve(asked, answered)
            finally:
                os._exit(0)
        os.close(asked)
        os.close(answered)

    def _serve(self, asked: int, answered: int) -> None:
        assert self._target is not None
        while data := os.read(asked, _TIME.size):
            try:
                self._target.checkpoint()
            except DunlinError as error:
                sys.stderr.write(f"dunlin: {error}\n")
                return
            try:
                os.write(answered, data)
            except BrokenPipeError:
                return
