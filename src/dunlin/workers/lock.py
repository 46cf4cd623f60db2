"""One run at a time for each destination: an `flock` on a file named by the destination's hash.

The lock lives in a directory of this machine, never beside the data, so it also works for runs that
keep no state. Every mover inherits the descriptor: while an orphan of a killed parent still writes,
the lock is still held.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable

from dunlin.errors import DunlinError, ErrorKind, translate


class RunLock:
    """The lock on one destination.

    Args:
        destination: canonical URL.
        directory: where lock files live; made when it is missing.
    """

    def __init__(self, destination: str, directory: str) -> None:
        name = hashlib.blake2b(destination.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
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
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Take the lock, waiting up to `wait` seconds. Raises LOCKED and names the process that has it."""
        until = clock() + wait
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
                sleep(0.1)
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, f"{os.getpid()}\n".encode(), 0)

    def _holder(self) -> str:
        try:
            text = os.pread(self.fd, 32, 0).decode("ascii", "replace").strip()
        except OSError:
            return ""
        return f" (process {text})" if text.isdigit() else ""

    def release(self) -> None:
        """Close the lock file; the lock itself ends when the last mover has closed it, too."""
        os.close(self.fd)
