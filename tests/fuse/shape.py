"""What makes the mount slow, small or faulty: links with a rate, delays, logs, counters and rules.

A rate limit is modelled as a link: bytes take ``n / rate`` seconds and leave one after the other. The caller
sleeps until its bytes are through. Time in which nobody asked is lost, so a program that reads and writes in turn
gets half the rate, as it should. Given back are only the faults of this server: how much too long it slept the
last time (at most ``MOST_LATE``), ``OVERHEAD`` seconds per call for being written in Python, and ``COPYING`` seconds
per byte, the time in which the data is copied to and from the server while a network card would go on sending. So
a window carries at most ``rate * (window + slack(request))`` plus one request.
"""

from __future__ import annotations

import errno
import fnmatch
import json
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

MOST_LATE = 0.005
OVERHEAD = 0.00015
COPYING = 1.2e-9
WRITE_RECORD = struct.Struct("=QI")
REFUSABLE = frozenset({"chmod", "chown", "utimens", "setxattr", "symlink", "link", "mknod", "mkdir", "rename"})
CHANGES = frozenset({"grow", "shrink", "vanish"})


@dataclass(frozen=True, slots=True)
class Options:
    """How the mount behaves. Rates are bytes per second, 0 = unlimited.

    ``errors`` maps ``operation:pattern`` (operation = stat, open, read, write, readdir or any; pattern = fnmatch
    of the path below the mount) to the name of an errno; ``change_during_read`` maps a pattern to grow, shrink or
    vanish, done once, when the file is first read. ``refuse`` holds operations that are answered with EPERM
    (setxattr: ENOTSUP). ``capacity`` is the number of bytes of file content that fit, 0 = as much as the backing.
    ``writeback`` lets the kernel keep written pages dirty, as it does for NFS and SMB; ``direct_io`` keeps it from
    caching and reading ahead, so that each read and write of a program is a call of its own.
    """

    latency_ms: float = 0.0
    read_rate: float = 0.0
    write_rate: float = 0.0
    shared_rate: float = 0.0
    case_insensitive: bool = False
    refuse: tuple[str, ...] = ()
    errors: Mapping[str, str] = field(default_factory=dict)
    capacity: int = 0
    read_only: bool = False
    mtime_granularity_ns: int = 0
    write_log: str = ""
    counters: str = ""
    change_during_read: Mapping[str, str] = field(default_factory=dict)
    attr_timeout: float = 1.0
    entry_timeout: float = 1.0
    readdirplus: bool = True
    writeback: bool = False
    direct_io: bool = False
    read_ahead_kb: int = 1024
    threads: int = 0

    def checked(self) -> Options:
        """Itself; ValueError for a word that means nothing."""
        for word in self.refuse:
            if word not in REFUSABLE:
                raise ValueError(f"refuse: {word!r} is none of {sorted(REFUSABLE)}")
        for rule, name in self.errors.items():
            operation, colon, _ = rule.partition(":")
            if not colon or operation not in {"stat", "open", "read", "write", "readdir", "any"}:
                raise ValueError(f"errors: {rule!r} does not start with an operation and a colon")
            if not hasattr(errno, name):
                raise ValueError(f"errors: {name!r} is no errno")
        for change in self.change_during_read.values():
            if change not in CHANGES:
                raise ValueError(f"change_during_read: {change!r} is none of {sorted(CHANGES)}")
        return self


def slack(request: int) -> float:
    """Seconds by which a link may be ahead when requests have up to ``request`` bytes."""
    return MOST_LATE + OVERHEAD + request * COPYING


class Link:
    """One direction of a connection: ``carry(n)`` returns when ``n`` bytes have passed."""

    def __init__(
        self,
        rate: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._free_at = clock()
        self._late = 0.0
        self._lock = threading.Lock()

    def carry(self, size: int) -> None:
        """Block for as long as ``size`` bytes take."""
        with self._lock:
            now = self._clock()
            self._free_at = max(self._free_at, now - self._late - OVERHEAD - size * COPYING) + size / self._rate
            free_at = self._free_at
        if free_at > now:
            self._sleep(free_at - now)
            self._late = min(max(0.0, self._clock() - free_at), MOST_LATE)


def links(options: Options) -> tuple[tuple[Link, ...], tuple[Link, ...]]:
    """The links that a read and a write must pass."""
    shared = (Link(options.shared_rate),) if options.shared_rate else ()
    reading = (Link(options.read_rate),) if options.read_rate else ()
    writing = (Link(options.write_rate),) if options.write_rate else ()
    return reading + shared, writing + shared


class WriteLog:
    """Appends ``(monotonic ns, bytes)`` per write to a file: 12 bytes each, ``WRITE_RECORD``."""

    def __init__(self, path: str) -> None:
        self._file = Path(path).open("wb", buffering=1 << 16)  # noqa: SIM115 - lives as long as the mount
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        """Record one write that has arrived now."""
        with self._lock:
            self._file.write(WRITE_RECORD.pack(time.monotonic_ns(), size))

    def flush(self) -> None:
        """Make everything so far visible to readers of the file."""
        with self._lock:
            self._file.flush()


def read_write_log(path: Path) -> list[tuple[int, int]]:
    """The records of a write log, oldest first."""
    data = path.read_bytes()
    return list(WRITE_RECORD.iter_unpack(data[: len(data) - len(data) % WRITE_RECORD.size]))


def busiest_window(writes: Iterable[tuple[int, int]], window_ns: int = 1_000_000_000) -> int:
    """The most bytes that arrived within any ``window_ns``."""
    records = sorted(writes)
    best = total = first = 0
    for when, size in records:
        total += size
        while when - records[first][0] >= window_ns:
            total -= records[first][1]
            first += 1
        best = max(best, total)
    return best


class Counters:
    """Calls by name and bytes by direction. Each thread counts for itself; ``total`` adds up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parts: list[Counter[str]] = []
        self._base: Counter[str] = Counter()

    def for_thread(self) -> Counter[str]:
        """A counter that only the calling thread adds to."""
        part: Counter[str] = Counter()
        with self._lock:
            self._parts.append(part)
        return part

    def _sum(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for part in self._parts:
            total.update(dict(part))
        return total

    def total(self) -> dict[str, int]:
        """What was counted since the last ``reset``."""
        with self._lock:
            total = self._sum()
            total.subtract(self._base)
        return {name: count for name, count in sorted(total.items()) if count}

    def reset(self) -> None:
        """Count from zero."""
        with self._lock:
            self._base = self._sum()

    def as_json(self) -> bytes:
        """``total`` for the control xattr and the file written at the end."""
        return json.dumps(self.total()).encode()


class Rules:
    """Which path fails how, and which file changes when first read."""

    def __init__(self, options: Options) -> None:
        self._errors = [
            (operation, pattern, getattr(errno, name))
            for rule, name in options.errors.items()
            for operation, _, pattern in [rule.partition(":")]
        ]
        self._changes = dict(options.change_during_read)
        self._lock = threading.Lock()
        self.watching = bool(self._errors)

    def check(self, operation: str, path: str) -> None:
        """OSError when a rule covers ``operation`` on ``path``."""
        for rule, pattern, number in self._errors:
            if rule in (operation, "any") and fnmatch.fnmatchcase(path, pattern):
                raise OSError(number, "by rule")

    def changing(self, path: str) -> bool:
        """Whether a change waits for ``path``."""
        return bool(self._changes) and any(fnmatch.fnmatchcase(path, pattern) for pattern in self._changes)

    def take_change(self, path: str) -> str | None:
        """The change that is due now, at most once per rule."""
        with self._lock:
            for pattern in self._changes:
                if fnmatch.fnmatchcase(path, pattern):
                    return self._changes.pop(pattern)
        return None


class Capacity:
    """How many bytes of content still fit."""

    def __init__(self, capacity: int, used: int) -> None:
        self.capacity = capacity
        self.used = used
        self._lock = threading.Lock()

    def grow(self, size: int) -> None:
        """Take (or, negative, give back) ``size`` bytes; OSError ENOSPC when they do not fit."""
        with self._lock:
            if size > 0 and self.used + size > self.capacity:
                raise OSError(errno.ENOSPC, "full")
            self.used = max(0, self.used + size)
