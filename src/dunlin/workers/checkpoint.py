"""Flushing the destination in the background, so that "synced" does not outlive the data in a power cut.

Flushing a file system may take minutes, and a process cannot end while one of its threads waits for the
disk. So a child process does it: it is asked now and then, answers when the flush that it was asked for
has ended, and is left alone at the end of the run. What no answered flush covers is on record as
doubtful for the first run after another boot; a later flush of the same boot covers it, too.
"""

from __future__ import annotations

import os
import select
import stat
import struct
import time
from collections.abc import Callable
from contextlib import suppress

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
        failed: called with the reason when the destination cannot be flushed; it is not asked for again.
    """

    def __init__(
        self, target: Store, durable: Callable[[int], None], failed: Callable[[str], None] = lambda reason: None
    ) -> None:
        self._target = power(target, Syncs)
        self._durable = durable
        self._failed = failed
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
        self.close()

    def close(self) -> None:
        """Let go of the child, whatever it is doing. Safe to call twice."""
        if self._pid:
            os.close(self._ask)
            os.close(self._answer)
            with suppress(ChildProcessError):  # somebody else collected it
                os.waitpid(self._pid, os.WNOHANG)
            self._pid = 0

    def _request(self, moment: int) -> None:
        if self._target is None:
            return
        if not self._pid:
            self._start()
        self._busy = True
        with suppress(BrokenPipeError):  # it died: its answer is the end of the pipe
            os.write(self._ask, _TIME.pack(moment))

    def _take(self, timeout: float) -> None:
        answer = select.poll()  # not `select`, which takes no descriptor above 1023
        answer.register(self._answer, select.POLLIN)
        if not answer.poll(timeout * 1000):
            return
        data = os.read(self._answer, 4096)
        self._busy = False
        self._next = time.monotonic() + EVERY
        if len(data) == _TIME.size:
            self._durable(_TIME.unpack(data)[0])
            return
        self._target = None
        self._failed(data.decode("utf-8", "replace").strip() or "the process that flushes it died")

    def _start(self) -> None:
        asked, self._ask = os.pipe()
        self._answer, answered = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.setsid()
                _keep_only(asked, answered)
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
                data = str(error).encode("utf-8", "replace")[:4096]
            try:
                os.write(answered, data)
            except BrokenPipeError:
                return


def _keep_only(*kept: int) -> None:
    """Close every other descriptor but directories, by which the store finds its way.

    The child may outlive the run, and must hold up nobody who waits for the end of a pipe (whoever reads our
    output), of a socket (a mover) or of the run's lock.
    """
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        numbers = list(range(min(os.sysconf("SC_OPEN_MAX"), 65_536)))
    for fd in numbers:
        with suppress(OSError):
            if fd not in kept and not stat.S_ISDIR(os.fstat(fd).st_mode):
                os.close(fd)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        if fd not in kept:
            os.dup2(null, fd)
