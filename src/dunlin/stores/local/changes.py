"""Changes below a local directory, told by the operating system (watchfiles: inotify, FSEvents, ...).

Only what happens through this machine is told: a share's other clients are not heard. Directories that appear later
are watched as well. Events are gathered from the moment the object is made, also while nobody waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from dunlin.errors import DunlinError, ErrorKind, translate

_STEP_MS = 250


class Changes:
    """The changes below `path`.

    Args:
        path: a directory.
        ignored: tells of an absolute path that its changes mean nothing.
        clock: seconds that never go back.

    Raises UNSUPPORTED where they cannot be had: the library is not installed, the system's watches are used up.
    """

    def __init__(
        self, path: str, ignored: Callable[[str], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        try:
            import watchfiles
        except ImportError as error:
            hint = "install it with: pip install 'dunlin[watch]'"
            raise DunlinError("watch", path, ErrorKind.UNSUPPORTED, "watchfiles is not installed", hint) from error
        self._events = watchfiles.watch(
            path,
            watch_filter=lambda change, name: not ignored(name),
            rust_timeout=_STEP_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
        )
        try:
            next(self._events)  # makes the watches; what changes from now on is told
        except OSError as error:
            reason = translate(error, "watch", path).reason
            raise DunlinError("watch", path, ErrorKind.UNSUPPORTED, reason) from error

    def wait(self, seconds: float, stopped: Callable[[], bool]) -> bool:
        """Wait until something has changed (True), `seconds` have passed or `stopped` says so (False)."""
        until = self._clock() + seconds
        while not stopped():
            if next(self._events, None):
                return True
            if self._clock() >= until:
                return False
        return False
