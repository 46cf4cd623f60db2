"""One run at a time for each destination: an `flock` on a file named by the destination's hash.

The lock lives in a directory of this machine, never beside the data, so it also works for runs that
keep no state. Every mover inherits the descriptor: while an orphan of a killed parent still writes,
the lock is still held.

The file also says who holds the lock, and the tokens of the runs that held it and did not come to their
end: whoever gets the lock knows that these are dead, so that their temporary files may be removed, also
where no state tells of them.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress

from dunlin.errors import DunlinError, ErrorKind, translate
from dunlin.hashing import blake2b

_REMEMBERED = 200
"""Runs cut short one after the other, of which the lock file tells."""


class RunLock:
    """The lock on one destination.

    Args:
        destination: canonical URL.
        directory: where lock files live; made when it is missing.

    `dead` holds, once the lock is taken, the tokens of runs that held it and were cut short.
    """

    def __init__(self, destination: str, directory: str) -> None:
        self.dead: frozenset[str] = frozenset()
        name = blake2b(destination.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
        self.path = os.path.join(directory, f"dunlin-{name}.lock")
        self._destination = destination
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            self.fd = self._open()
        except OSError as error:
            raise translate(error, "open the lock file", self.path) from error

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_NOFOLLOW
        try:
            return os.open(self.path, flags)  # without O_CREAT: another user's file may be opened in /tmp
        except FileNotFoundError:
            old = os.umask(0)
            try:
                return os.open(self.path, flags | os.O_CREAT, 0o666)
            finally:
                os.umask(old)

    def take(
        self,
        wait: float,
        token: str = "",
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        waits: Callable[[str], None] = lambda holder: None,
    ) -> None:
        """Take the lock for the run that `token` names, waiting up to `wait` seconds.

        `waits` is called once, before the first wait, with `` (process 123)``, or "" when nobody knows.
        Raises LOCKED and names the process that has it, and what `sleep` raises.
        """
        until = clock() + wait
        told = False
        while True:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if clock() >= until:
                    raise DunlinError(
                        "start",
                        self._destination,
                        ErrorKind.LOCKED,
                        f"another run works on this destination{self._holder()}",
                        "wait for it, or give --lock-wait SECONDS",
                    ) from error
                if not told:
                    told = True
                    waits(self._holder())
                sleep(0.1)
        words = self._words()[1:]
        self.dead = frozenset(words)
        self._put([*words[-_REMEMBERED:], token])

    def ended(self) -> None:
        """The run came to its end: whatever was cut short before it has left nothing any more."""
        self._put([])

    def _put(self, tokens: list[str]) -> None:
        text = " ".join([str(os.getpid()), *tokens]).encode() + b"\n"
        # In this order a kill in between leaves more words than there should be, but none lost.
        with suppress(OSError):  # a full disk: the lock holds all the same
            os.pwrite(self.fd, text, 0)
            os.ftruncate(self.fd, len(text))

    def _words(self) -> list[str]:
        try:
            return os.pread(self.fd, 1 << 16, 0).decode("ascii", "replace").partition("\n")[0].split()
        except OSError:
            return []

    def _holder(self) -> str:
        words = self._words()
        return f" (process {words[0]})" if words and words[0].isdigit() else ""

    def release(self) -> None:
        """Give the lock back, now that the movers have ended.

        Unlocked and not only closed: the process that flushes the destination was forked with the descriptor, and
        may not have come to closing it yet. Where nobody calls this, the lock ends with the last mover.
        """
        fcntl.flock(self.fd, fcntl.LOCK_UN)
        os.close(self.fd)
