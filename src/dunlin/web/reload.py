"""Noticing that the configuration has changed.

What is watched is the directory of the file, never the file: editors rename a new one over it, and a mounted
configuration (Kubernetes) swaps a link beside it, so the file that was there at the start is soon another one's.
Whatever happens in the directory, the file's bytes are compared with those that were read last, so that a touch is no
change. Where the system tells nothing (some network mounts) the bytes are compared every few seconds all the same.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator

LOOK = 5.0
"""Seconds between two looks where nothing was told."""


def digest(path: str) -> bytes:
    """What the file holds, as far as it matters; b"" where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).digest()
    except OSError:
        return b""


def changes(path: str, last: bytes, stop: threading.Event, look: float = LOOK) -> Iterator[None]:
    """One item for each change of the file's bytes, until `stop` is set. A file that is gone is no change.

    Args:
        last: the `digest` of what was read. look: seconds between two looks where nothing was told.
    """
    for _ in _wakings(os.path.dirname(os.path.abspath(path)), stop, look):
        now = digest(path)
        if now and now != last:
            last = now
            yield


def _wakings(directory: str, stop: threading.Event, look: float) -> Iterator[None]:
    try:
        from watchfiles import watch
    except ImportError:
        while not stop.wait(look):
            yield
        return
    for _ in watch(
        directory, watch_filter=None, debounce=300, step=50, stop_event=stop, rust_timeout=round(look * 1000),
        yield_on_timeout=True, recursive=False, raise_interrupt=False,
    ):  # fmt: skip
        yield


class Reloads:
    """Watches a file in a thread and calls `reload` when it has changed, from `start` to `close`."""

    def __init__(self, path: str, reload: Callable[[], None], look: float = LOOK) -> None:
        self._path, self._reload, self._look = path, reload, look
        self._last = digest(path)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="reload", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _watch(self) -> None:
        for _ in changes(self._path, self._last, self._stop, self._look):
            self._reload()

    def close(self) -> None:
        """End."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2.0)
