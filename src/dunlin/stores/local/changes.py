"""Changes below local directories, told by the operating system (watchfiles: inotify, FSEvents, ...).

Only what happens through this machine is told: a share's other clients are not heard. Directories that appear later
are watched as well. Events are gathered from the moment the object is made, also while nobody waits. A directory that
is replaced by another one (it is mounted, or restored) is watched anew at the next wait.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Sequence

from dunlin.errors import DunlinError, ErrorKind, translate

_STEP_MS = 250
_DEBOUNCE_MS = 400

Events = Generator[set[tuple[object, str]], None, None]


class Changes:
    """The changes below `paths`.

    Args:
        paths: directories.
        ignored: tells of an absolute path, with its links resolved up to the directory, that its changes mean nothing.
        clock: seconds that never go back.

    Raises UNSUPPORTED where they cannot be had: the library is not installed, the system's watches are used up.
    """

    def __init__(
        self, paths: Sequence[str], ignored: Callable[[str], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._paths = [os.path.realpath(path) for path in paths]
        self._ignored = ignored
        self._clock = clock
        self._seen: list[tuple[int, int] | None] = []
        self._events: Events | None = None
        self._watch()

    def _watch(self) -> None:
        try:
            import watchfiles
        except ImportError as error:
            reason, hint = "watchfiles is not installed", "install it with: pip install 'dunlin[watch]'"
            raise DunlinError("watch", self._paths[0], ErrorKind.UNSUPPORTED, reason, hint) from error
        self.close()
        self._seen = [_identity(path) for path in self._paths]
        events = watchfiles.watch(
            *self._paths,
            watch_filter=lambda change, name: not self._ignored(name),
            debounce=_DEBOUNCE_MS,
            rust_timeout=_STEP_MS,
            yield_on_timeout=True,
        )
        try:
            next(events)  # makes the watches; what changes from now on is told
        except OSError as error:
            reason = translate(error, "watch", self._paths[0]).reason
            raise DunlinError("watch", self._paths[0], ErrorKind.UNSUPPORTED, reason) from error
        self._events = events  # type: ignore[assignment]

    def wait(
        self, seconds: float, stopped: Callable[[], bool], sleep: Callable[[float], object] = time.sleep
    ) -> frozenset[int]:
        """Wait until something has changed, `seconds` have passed or `stopped` says so.

        Returns the numbers of the directories (from 0, as they were given) in which something has changed.
        """
        until = self._clock() + seconds
        if [_identity(path) for path in self._paths] != self._seen:
            self._renew()
        while not stopped():
            if changed := self._changed(sleep):
                return changed
            if self._clock() >= until:
                break
        return frozenset()

    def _renew(self) -> None:
        """Watch what stands there now; where that is nothing, the next wait tries again."""
        try:
            self._watch()
        except DunlinError:
            self.close()
            self._seen = []

    def _changed(self, sleep: Callable[[float], object]) -> frozenset[int]:
        if self._events is None:
            sleep(_STEP_MS / 1000)
            return frozenset()
        try:
            events = next(self._events, None)
        except (OSError, RuntimeError):  # the watch itself broke: there are still full looks
            events = None
        if events is None:
            self.close()
            self._seen = []
            return frozenset()
        return frozenset(
            at for at, path in enumerate(self._paths) for _, name in events if _lies_in(name, path)
        )

    def close(self) -> None:
        """Give the system's watches back."""
        if self._events is not None:
            self._events.close()
            self._events = None


def _identity(path: str) -> tuple[int, int] | None:
    try:
        there = os.stat(path)
    except OSError:
        return None
    return there.st_dev, there.st_ino


def _lies_in(name: str, directory: str) -> bool:
    return name == directory or name.startswith(directory.rstrip("/") + "/")
