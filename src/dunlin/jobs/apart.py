"""A piece of work in a process of its own, for programs with threads: the service.

Theory. A backup forks its movers, and a process with threads must not fork: a child would inherit locks that nobody
opens again. It computes as well, in numpy and in Python, and so do `verify` and `prune`; in a thread of the service
they would take turns with all its requests. So such work gets an interpreter of its own, with one thread at first.

    here    sends the call and what it is called with, then listens; asks to stop with a signal (SIGUSR1)
    there   sends counts and gauges a few times a second, events at once, and at last the result or the error

Both ends are the same program, over a pair of sockets that nobody else can reach, so messages are pickled; what the
call needs (a password among it) stands in no command line, environment or file. The process dies with the thread that
started it (`workers.mover.settle`), however that ends, so that nothing goes on for which nobody answers. It is deaf to
signals that a service manager sends to all processes of a service: whoever started it decides. One that does not stop
when it is asked to is killed after a while: all that is done like this survives that, since power cuts exist.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from types import MappingProxyType
from typing import Any, TypeVar

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.stop import Stop
from dunlin.report import Event, Level, Report, Task
from dunlin.report.base import NullReport
from dunlin.workers.anew import command
from dunlin.workers.mover import settle

W = TypeVar("W")
R = TypeVar("R")

ASKED = signal.SIGUSR1
PATIENCE = 15.0
"""Seconds in which a process has to stop when it is asked to."""

LOOK = 0.2
"""Seconds between two looks whether it shall stop."""

OFTEN = 0.3
"""Seconds between two messages about counts."""


def apart(call: Callable[[W, Stop, Report], R], words: W, stop: Stop, report: Report, patience: float = PATIENCE) -> R:
    """What `call(words, stop, report)` returns in another process.

    Args:
        call: a function of a module; it raises `DunlinError` and nothing else. words: what it is told.
        stop: of here; the one there is asked when this is. report: is told what the one there is told, but for tasks.
        patience: seconds in which it has to stop then, before it is killed.

    Raises what `call` raises, INTERRUPTED when it was killed because it did not stop, INTERNAL when it died.
    """
    ours, theirs = socket.socketpair()
    try:
        child = _start(theirs)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    end = Connection(ours.detach())
    try:
        end.send_bytes(pickle.dumps((call, words)))
        found: R = _listen(end, child, stop, report, patience)
        return found
    except (EOFError, OSError):
        if stop.requested:
            raise DunlinError("go on", "", ErrorKind.INTERRUPTED, stop.reason) from None
        code = child.wait()
        how = f"it was killed by signal {-code}" if code < 0 else f"it ended with code {code}"
        hint = "perhaps the machine has too little memory" if code == -signal.SIGKILL else ""
        raise DunlinError("go on", "", ErrorKind.INTERNAL, f"the process that did it is gone: {how}", hint) from None
    finally:
        end.close()
        if child.poll() is None:
            _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    """See that a process is gone which has told its result, or whose news nobody wants any more.

    One that waits for a mount which does not answer dies when that is back.
    """
    with suppress(subprocess.TimeoutExpired):
        child.wait(1.0)
        return
    child.kill()
    with suppress(subprocess.TimeoutExpired):
        child.wait(1.0)


def _start(theirs: socket.socket) -> subprocess.Popen[bytes]:
    words = command("dunlin.jobs.apart", theirs.fileno(), os.getpid())
    # In a session of its own: what a terminal sends to all of its processes is for the service.
    return subprocess.Popen(words, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, start_new_session=True)


def _listen(end: Connection, child: subprocess.Popen[bytes], stop: Stop, report: Report, patience: float) -> Any:
    """Pass news on until there is a result."""
    until = float("inf")
    asked = False
    while True:
        if stop.requested and not asked:
            asked, until = True, time.monotonic() + patience
            child.send_signal(ASKED)
        if time.monotonic() > until:
            child.kill()
        if time.monotonic() > until + patience:
            raise EOFError
        if not end.poll(LOOK):
            # Processes that it forked may hold its end of the sockets for longer than it lives.
            if child.poll() is not None and not end.poll(0):
                raise EOFError
            continue
        kind, *rest = end.recv()
        if kind == "result":
            return rest[0]
        if kind == "error":
            raise rest[0]
        if kind == "event":
            level, name, message, fields = rest
            report.event(Event(Level(level), name, message, MappingProxyType(fields)))
            continue
        counts, gauges = rest
        for name, n in counts.items():
            report.count(name, n)
        for name, value in gauges.items():
            report.gauge(name, value)


# ---- in the other process ----


class _Told:
    """A report that sends its news to the one that started this process. Safe from several threads."""

    def __init__(self, end: Connection, clock: Callable[[], float] = time.monotonic) -> None:
        self._end, self._clock = end, clock
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._gauges: dict[str, float] = {}
        self._sent = float("-inf")

    def count(self, name: str, n: int = 1) -> None:
        """See `Report`."""
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + n
            self._now_and_then()

    def gauge(self, name: str, value: float) -> None:
        """See `Report`."""
        with self._lock:
            self._gauges[name] = value
            self._now_and_then()

    def event(self, event: Event) -> None:
        """See `Report`."""
        with self._lock:
            self._send("event", int(event.level), event.name, event.message, dict(event.fields))

    def task(self, name: str, total: int | None) -> Task:
        """See `Report`. Of single files the one who started this is told nothing."""
        return NullReport().task(name, total)

    def end(self, kind: str, what: object) -> None:
        """The result, or the error, and the counts before it."""
        with self._lock:
            self._news()
            self._send(kind, what)

    def _now_and_then(self) -> None:
        if self._clock() - self._sent >= OFTEN:
            self._news()

    def _news(self) -> None:
        self._sent = self._clock()
        counts, gauges = self._counts, self._gauges
        self._counts, self._gauges = {}, {}
        if counts or gauges:
            self._send("news", counts, gauges)

    def _send(self, *message: object) -> None:
        try:
            self._end.send(message)
        except OSError:
            os._exit(1)  # nobody is there any more


def main(argv: list[str]) -> None:
    """The body of the process: its end of the sockets, and who started it."""
    fd, parent = (int(word) for word in argv)
    gc.set_threshold(100_000, 20, 20)  # as in `dunlin.cli`
    stop = Stop()
    settle(parent)
    signal.signal(ASKED, lambda *_: stop.request("asked to stop"))
    end = Connection(fd)
    os.set_inheritable(fd, False)
    call, words = pickle.loads(end.recv_bytes())
    told = _Told(end)
    try:
        result = call(words, stop, told)
    except DunlinError as error:
        told.end("error", _plain(error))
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        told.end("error", DunlinError("go on", "", ErrorKind.INTERNAL, reason))
        raise
    else:
        told.end("result", result)


def _plain(error: DunlinError) -> DunlinError:
    """An error without what a foreign one brought along."""
    return DunlinError(error.operation, error.where, error.kind, error.reason, error.hint)


__all__ = ["apart", "main"]
