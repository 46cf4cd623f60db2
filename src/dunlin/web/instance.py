"""One running service, and how others of its machine learn that it has ended: by a lock on a file that is its own.

A service that was killed cannot say so. Its jobs are free when their leases run out; one that starts on the same
machine need not wait for that, where it can see that the owner of a job is gone. A host name and a process number do
not tell: two containers may have one name, and each calls its own first process 1. So each service holds an `flock` on
a file in a directory of this machine, and the file is named by the service: its name, a number, and chance. A file that
is there and not locked is that of a service that has ended; of one whose file is not here nothing is known.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterable
from contextlib import suppress

from dunlin.errors import translate
from dunlin.hashing import blake2b

PREFIX, SUFFIX = "dunlin-service-", ".lock"
KEPT = 86_400.0
"""Seconds for which the file of a service that was killed is kept."""


class Instance:
    """This service, from now until `close`. `name` is nobody else's, and people can read it."""

    def __init__(self, directory: str) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{os.urandom(5).hex()}"
        self._path = _file(self.name, directory)
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise translate(error, "open the lock file", self._path) from error
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        _tidy(directory)

    def close(self) -> None:
        """End."""
        with suppress(OSError):
            os.unlink(self._path)
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        os.close(self._fd)


def ended(owners: Iterable[str], directory: str) -> set[str]:
    """Those of the owners of jobs whose service ran on this machine and has ended.

    Args:
        owners: the names of services, or those and a part: ``NAME:hook``.
    """
    return {owner for owner in owners if _free(_file(":".join(owner.split(":")[:3]), directory))}


def _file(name: str, directory: str) -> str:
    digest = blake2b(name.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
    return os.path.join(directory, f"{PREFIX}{digest}{SUFFIX}")


def _tidy(directory: str) -> None:
    """Remove what services left that were killed long ago."""
    with suppress(OSError), os.scandir(directory) as listing:
        for each in listing:
            mine = each.name.startswith(PREFIX) and each.name.endswith(SUFFIX)
            if mine and each.stat(follow_symlinks=False).st_mtime < time.time() - KEPT and _free(each.path):
                os.unlink(each.path)


def _free(path: str) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
