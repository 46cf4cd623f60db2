"""Units whose files lie on a share whose server is gone: they hold no slot, and those that follow are not begun.

Theory. A look at such a file ends when the server is back, or never, and no time-out reaches into the system call. A
few units of such a share would take all slots of a worker for as long as their files may take, and the units of
everybody else would wait. So a unit is done in a thread of its own, and whoever holds the slot only waits for it, and
watches how long the look at a source lasts that is under way (`Looks`; the destination has time-outs of its own, and
to wait for bandwidth is no sign of anything). After `STILL` seconds the unit is given up: its lease counts as lost, the
queue delivers it again later, and the thread is left to itself. Until it ends, the unit's directories count as gone,
and units of these are refused at once. When it ends, because the server is back, they are done again.

So one thread hangs for each directory, or a few that were at it at the same moment. Where more than `MOST` do, slots
are held after all: that is the end of memory, else.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, TypeVar

from dunlin.errors import DunlinError, ErrorKind, printable
from dunlin.model import Entry, is_within
from dunlin.stores.base import Body, Caps, Data, Listing, Meta, RemovesDirs, Store, remove_directory
from dunlin.stores.buffers import Buffers

T = TypeVar("T")

STILL = 120.0
"""Seconds after which a look counts as hung: disks that begin to turn are faster, and so is most that lies on tape."""
MOST = 64
"""Units that may hang in a process."""
LOOK = 1.0
"""Seconds between two looks at the looks."""


class Looks:
    """Looks at the sources of a unit that are under way. Safe from many threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun: dict[object, tuple[float, str]] = {}

    @contextmanager
    def at(self, path: str) -> Iterator[None]:
        """What is done within is a look at that path."""
        key = object()
        self._begun[key] = self._clock(), path
        try:
            yield
        finally:
            del self._begun[key]

    def hung(self, seconds: float) -> str:
        """The path at which somebody has looked for longest, if that is so many seconds; else ""."""
        since, path = min(self._begun.copy().values(), default=(float("inf"), ""))
        return path if self._clock() - since >= seconds else ""


class Watched:
    """The file system from its root, as far as a unit needs it: all looks at it are noted."""

    def __init__(self, store: Store, looks: Looks) -> None:
        self._store, self._looks = store, looks

    def powers(self) -> frozenset[type]:
        """The power that is handed on."""
        return frozenset({RemovesDirs})

    @property
    def caps(self) -> Caps:
        return self._store.caps

    @property
    def url(self) -> str:
        return self._store.url

    def list(self, directory: str) -> Listing:
        return self._each(directory, self._store.list(directory))

    def stat(self, path: str) -> Entry:
        with self._looks.at(path):
            return self._store.stat(path)

    def read(
        self, entry: Entry, start: int = 0, length: int | None = None, into: Buffers | None = None
    ) -> Iterator[Data]:
        return self._each(entry.path, self._store.read(entry, start, length, into))

    def write(self, path: str, body: Body, *, meta: Meta, if_absent: bool = False) -> Entry:
        return self._store.write(path, body, meta=meta, if_absent=if_absent)

    def delete(self, paths: Sequence[str]) -> list[bool]:  # type: ignore[valid-type]
        with self._looks.at(paths[0] if paths else ""):
            return self._store.delete(paths)

    def remove_directory(self, path: str) -> bool:
        with self._looks.at(path):
            return remove_directory(self._store, path)

    def close(self) -> None:
        self._store.close()

    def _each(self, path: str, items: Iterator[T]) -> Iterator[T]:
        """A listing or content, each batch or block of which is a look."""
        try:
            while True:
                with self._looks.at(path):
                    item = next(items, None)
                if item is None:
                    return
                yield item
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()


class Hung:
    """Does units, and knows which directories do not answer. Safe from many threads.

    Args:
        still: see `STILL`.
    """

    def __init__(self, still: float = STILL) -> None:
        self._still = still
        self._gone: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._hung = 0

    def do(self, roots: Sequence[str], looks: Looks, act: Callable[[], T], give_up: Callable[[], object]) -> T:
        """What `act` returns or raises, which looks at what lies below these directories, and notes that in `looks`.

        `give_up`: called where it hangs, before TIMEOUT is raised; `act` goes on in its thread, if it ever does.
        """
        with self._lock:
            gone = next((root for root in roots if self._gone[root]), "")
        if gone:
            raise self._silent(gone)
        over, found = threading.Event(), dict[str, Any]()
        lost: list[str] = []

        def run() -> None:
            try:
                found["result"] = act()
            except BaseException as error:
                found["error"] = error
            finally:
                with self._lock:
                    over.set()
                    self._hung -= bool(lost)
                    self._gone.subtract(lost)

        threading.Thread(target=copy_context().run, args=(run,), name="publish-unit", daemon=True).start()
        while not over.wait(LOOK):
            path = looks.hung(self._still)
            if path and self._leave(roots, path, lost, over):
                give_up()
                raise self._silent(path)
        if "error" in found:
            raise found["error"]
        result: T = found["result"]
        return result

    def _leave(self, roots: Sequence[str], path: str, lost: list[str], over: threading.Event) -> bool:
        """Leave a thread to itself, unless it has just ended or too many are."""
        with self._lock:
            if over.is_set() or self._hung >= MOST:
                return False
            lost += [root for root in roots if is_within(f"/{path.lstrip('/')}", [root])] or roots
            self._gone.update(lost)
            self._hung += 1
            return True

    def _silent(self, path: str) -> DunlinError:
        shown = printable(f"/{path.lstrip('/')}")
        reason = f"it has not answered for {self._still:g} seconds"
        error = DunlinError("read", shown, ErrorKind.TIMEOUT, reason, "look whether its server is there")
        error.retry_after = self._still
        return error
