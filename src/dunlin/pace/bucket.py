"""The one limit on bytes per second: shared by every thread and process of a run on this machine.

What it promises
    Bytes may flow at `rate`, and nobody may save up: after any idle time at most `WINDOW` (40 ms) worth of
    bytes may go at once. So in any span of T seconds at most rate * (T + 0.04) bytes are granted, as long as
    single requests are no larger than `block_for` says; a larger request of n bytes waits until all but
    40 ms of its own time has passed, and then the span may hold rate * T + n.
    Requests are served in the order in which they were made, whatever their size, across processes.

How: virtual scheduling on a clock of bytes
    The limit is a clock that counts bytes: V(now) = base + rate * (now - since), and a pause stops it. A
    request of n bytes moves the end of the queue, tail = max(tail, V) + n, keeps the new tail as its ticket,
    and may go once V + rate * WINDOW has reached the ticket. (This is the generic cell rate algorithm
    of ITU-T I.371, with its times multiplied by the rate.) Because tickets are bytes, not times, a new rate
    only bends the clock: whoever waits is served under the new rate at once, in the old order. No limit =
    the clock has reached the tail. Waiting is done outside every lock, in slices of 0.1 s, so that new
    rates, pauses and stops are seen in time.

Where it lives
    In 64 bytes of an anonymous file that every process maps: forked children inherit the mapping, spawned ones
    attach to the descriptor. Between processes it is guarded by a POSIX record lock, which belongs to a
    *process* (flock and open-file locks are shared by forked relatives) and is released by the kernel when its
    holder is killed; between the threads of a process by an ordinary lock. The state is written by one copy of
    56 bytes after all has been computed, so a holder that dies leaves the old state or the new one.
    The stop flag is a word of its own, set without any lock, so that a signal handler may set it. The first word
    tells whether there is a limit or a pause at all: a bucket without them costs the reading of two words.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from dunlin.errors import DunlinError, ErrorKind

try:
    import fcntl
except ImportError:  # Windows: the limit then holds for each process by itself
    fcntl = None  # type: ignore[assignment]

WINDOW = 40_000_000
"""ns: how much time's worth of bytes may go at once."""

SLICE = 0.1
"""Seconds: longest sleep before the state is looked at again."""

MIN_BLOCK = 16 * 1024
PAGE = 4096
_STATE = struct.Struct("=7q")
_SIZE = 64
_SECOND = 1_000_000_000
# The words of the state; BUSY: there is a limit or a pause. STOPPED stands behind the state.
BUSY, RATE, SINCE, BASE, TAIL, PAUSED, GRANTED, STOPPED = range(8)

_threads = threading.Lock()


def _new_lock() -> None:
    # A forked child has one thread; another thread of the parent may have held the lock at the fork.
    global _threads
    _threads = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


def block_at(rate: int, block_size: int) -> int:
    """See `Bucket.block_for`."""
    return min(block_size, max(MIN_BLOCK, rate * WINDOW // _SECOND // PAGE * PAGE)) if rate else block_size


class Paces(Protocol):
    """What those who move bytes need of the limit, wherever it is kept."""

    @property
    def rate(self) -> int:
        """The limit in bytes per second; 0 = none."""
        ...

    @property
    def stopped(self) -> bool:
        """Whether everything is to end."""
        ...

    def take(self, n: int) -> None:
        """Return when `n` more bytes may go. Raises INTERRUPTED once everything is to end."""
        ...

    def block_for(self, block_size: int) -> int:
        """The number of bytes to ask for at a time, at most `block_size`."""
        ...


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("dunlin-pace")
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.truncate(descriptor, _SIZE)
    return descriptor


class Bucket:
    """A token bucket in shared memory; make it with `create` or `attach`.

    `clock` gives ns of a clock that all processes share (CLOCK_MONOTONIC), `sleep` takes seconds.
    """

    def __init__(
        self,
        descriptor: int,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, _SIZE)
        self._words = memoryview(self._memory).cast("q")
        self._clock = clock
        self._sleep = sleep

    @classmethod
    def create(
        cls,
        rate: int = 0,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], object] = time.sleep,
    ) -> Bucket:
        """A new bucket with a limit of `rate` bytes per second; 0 = no limit."""
        bucket = cls(_anonymous_file(), clock, sleep)
        bucket.set_rate(rate)
        return bucket

    @classmethod
    def attach(
        cls,
        descriptor: int,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], object] = time.sleep,
    ) -> Bucket:
        """The bucket behind the `fileno` that another process passed on; the descriptor is now ours to close."""
        return cls(descriptor, clock, sleep)

    def fileno(self) -> int:
        """The descriptor to pass to a spawned process."""
        return self._descriptor

    def close(self) -> None:
        """Unmap and close. Other processes go on."""
        # Closing any descriptor of a file drops all record locks that the process has on it.
        with _threads:
            self._words.release()
            self._memory.close()
            os.close(self._descriptor)

    @property
    def rate(self) -> int:
        """The limit in bytes per second; 0 = none."""
        return self._words[RATE]

    @property
    def paused(self) -> bool:
        """Whether everybody waits for `resume`."""
        return bool(self._words[PAUSED])

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return bool(self._words[STOPPED])

    @property
    def granted(self) -> int:
        """Bytes granted so far while there was a limit or a pause; without one nothing is counted."""
        return self._words[GRANTED]

    def take(self, n: int) -> None:
        """Return when `n` more bytes may go. Raises INTERRUPTED once the bucket was stopped."""
        if self._words[BUSY] or self._words[STOPPED]:
            self._wait(n)

    def _wait(self, n: int) -> None:
        ticket = -1
        while True:
            if self._words[STOPPED]:
                raise DunlinError("go on", "", ErrorKind.INTERRUPTED, "the run was stopped")
            with self._locked() as state:
                if not state[BUSY]:
                    return
                now = self._clock()
                reached = self._reached(state, now)
                if ticket < 0:
                    ticket = state[TAIL] = max(state[TAIL], reached) + n
                    state[GRANTED] += n
                if state[PAUSED]:
                    wait = SLICE
                else:
                    # Everything in bytes * ns/s, so that nothing is rounded in anybody's favour.
                    due = (ticket - reached) * _SECOND - state[RATE] * WINDOW
                    if due <= 0:
                        return
                    wait = min(due / state[RATE] / _SECOND, SLICE)
            self._sleep(wait)

    def set_rate(self, rate: int) -> None:
        """Limit to `rate` bytes per second from now on; 0 = no limit. Whoever waits is served accordingly."""
        if rate < 0:
            raise ValueError(f"a rate cannot be {rate}")
        self._change(RATE, rate)

    def pause(self) -> None:
        """Let nobody go until `resume`."""
        self._change(PAUSED, 1)

    def resume(self) -> None:
        """End a pause; the limit goes on where it stood, without credit for the time in between."""
        self._change(PAUSED, 0)

    def stop(self) -> None:
        """Make everybody who waits, and every later `take`, raise INTERRUPTED. Cannot be undone.

        The only change that a signal handler may make: it takes no lock. After `close` it does nothing.
        """
        with suppress(ValueError):
            self._words[STOPPED] = 1

    def block_for(self, block_size: int) -> int:
        """The number of bytes to ask for at a time, at most `block_size`.

        Under a limit it is what may go in `WINDOW`, so that requests do not make bursts, but not below
        16 KiB: under limits of less than 400 KiB/s a span of one second may hold 16 KiB more than the limit.
        Whole pages, because half a page that is pushed out is sent again with its other half.
        """
        return block_at(self._words[RATE], block_size)

    @staticmethod
    def _reached(state: list[int], now: int) -> int:
        if state[PAUSED]:
            return state[BASE]
        return state[BASE] + state[RATE] * max(0, now - state[SINCE]) // _SECOND

    def _change(self, word: int, value: int) -> None:
        with self._locked() as state:
            now = self._clock()
            state[BASE] = self._reached(state, now)
            state[SINCE] = now
            state[word] = value
            if not state[RATE] and not state[PAUSED]:
                state[BASE] = max(state[BASE], state[TAIL])
            state[BUSY] = int(bool(state[RATE] or state[PAUSED]))

    @contextmanager
    def _locked(self) -> Iterator[list[int]]:
        """The state, under both locks; what the body leaves in it is stored, also when it returns early."""
        with _threads:
            if fcntl is not None:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
            try:
                before = self._memory[: _STATE.size]
                state = list(_STATE.unpack(before))
                yield state
                after = _STATE.pack(*state)
                if after != before:
                    self._memory[: _STATE.size] = after
            finally:
                if fcntl is not None:
                    fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
