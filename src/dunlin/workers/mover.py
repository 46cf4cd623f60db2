"""A local mover: a process that takes units from its parent's socket and does them, in one or more threads.

A mover holds no state. When it dies, what it was doing is done again by another; when its parent
dies, it ends too: the socket closes, and on Linux the kernel sends the signal it asked for.
Signals that ask to end are ignored here: the parent decides, and stops movers through the bucket.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from dunlin.pace.bucket import Bucket
from dunlin.pace.duty import Duty
from dunlin.pace.memory import trim
from dunlin.report import NullReport, Task
from dunlin.transfer.outcome import Outcome
from dunlin.transfer.site import STREAM
from dunlin.workers import tasks
from dunlin.workers.context import Context
from dunlin.workers.handout import Handout
from dunlin.workers.setup import Setup, build
from dunlin.workers.units import run_unit
from dunlin.workers.wire import Wire

_PR_SET_PDEATHSIG = 1
GROUP = 0.06
"""Seconds for which the outcomes of small units are gathered into one message."""

LEAVE = 1.0
"""Seconds for the files in flight to be given up, once nobody waits for them any more."""

TICK = 0.25
"""Seconds between two messages about how far a large file is."""


def serve(end: socket.socket, setup: Setup, bucket: Bucket, number: int, quota: Bucket | None = None) -> None:
    """Do units from the socket until it closes.

    Messages in: ("units", [(id, packed task, announce), ...]), ("threads", n), ("hands", n): files under way at a time
    to or from far away, ("trim",): give back memory that is not in use, ("window", directories, files): what listing
    may take, ("window?", share of the memory limit) and ("gate?",): answered, ("cancel",): no directory is begun.
    Messages out: ("part", id, outcome), ("gate", *numbers), ("window", *numbers), unasked where something was engaged
    or released, ("ended", [("done", id, outcome) or ("fault", id, text, trace), ...]), ("task", thread, path, total,
    done) and ("end", thread), and ("begin", id) for units that are to be announced.
    """
    if setup.profile:
        from dunlin.workers.profiles import forget

        forget()
    wire = Wire(end)
    duty = Duty(quota) if quota is not None else None
    context = build(setup, bucket, number, _Progress(wire, duty))
    work = Handout()
    threads: list[threading.Thread] = []
    unsent = _Unsent()

    def grow(n: int) -> None:
        threads[:] = [thread for thread in threads if thread.is_alive()]
        for _ in range(work.want(n)):
            thread = threading.Thread(target=_work, args=(context, wire, work, duty, unsent), daemon=True)
            thread.start()
            threads.append(thread)

    grow(1)
    window, answers = context.window, _Answers(wire, context)
    window.changed, window.blocks = answers.ask, unsent.send
    while (messages := wire.receive()) is not None:
        for message in messages:
            if message[0] == "units":
                work.put(message[1])
            elif message[0] == "threads":
                grow(message[1])
            elif message[0] == "hands" and context.site.gate is not None:
                context.site.gate.cap(message[1])
            elif message[0] == "gate?":
                answers.ask("gate")
            elif message[0] == "trim":
                trim()
            elif message[0] == "window":
                window.limit(*message[1:])
            elif message[0] == "window?":
                window.memory(message[1])
                answers.ask()
            elif message[0] == "cancel":
                window.cancel()
    # The parent has gone, or is going, without waiting for us: nothing new, and no temporary file stays behind.
    bucket.stop()
    window.cancel()
    if quota is not None:
        quota.stop()
    work.clear()
    work.want(0)
    until = time.monotonic() + LEAVE
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    if context.profiles is not None:
        context.profiles.leave()
    context.site.source.close()
    context.site.target.close()
    wire.close()


def _work(
    context: Context,
    wire: Wire,
    work: Handout,
    duty: Duty | None = None,
    unsent: _Unsent | None = None,
) -> None:
    """One thread: units from the queue; what became of them goes back in groups."""
    ended: list[tuple[Any, ...]] = []
    flush_at = 0.0

    def send() -> None:
        nonlocal ended, flush_at
        if ended:
            wire.send(("ended", ended))
            ended, flush_at = [], 0.0

    if unsent is not None:
        unsent.of_this_thread = send
    do: Callable[..., Outcome] = run_unit
    if context.profiles is not None:
        do = partial(cast(Callable[..., Outcome], context.profiles.run), run_unit)
    try:
        while True:
            try:
                item = work.take(wait=False)
            except queue.Empty:
                # Another thread may take what comes next: nothing may be held back while this one waits.
                send()
                item = work.take()
            if item is None:
                break
            unit, packed, announce = item
            begun = time.monotonic()
            if announce or _is_large(packed):
                send()
            if announce:
                wire.send(("begin", unit))
            try:
                outcome = do(context, tasks.unpack(packed), partial(_emit, wire, unit, duty))
                if duty is not None:
                    # What it waited for leave to compute it did not wait for a mount: threads would make it worse.
                    outcome.seconds = max(outcome.cpu, outcome.seconds - duty.waited())
                ended.append(("done", unit, outcome.pack()))
            except _Gone:
                return
            except Exception as error:
                # A fault of ours must not hang the run: the parent hears of it and counts it as a failure.
                ended.append(("fault", unit, f"{type(error).__name__}: {error}", _trace()))
            now = time.monotonic()
            flush_at = flush_at or begun + GROUP
            owes = duty is not None and duty.owes
            if now >= flush_at or owes:
                send()
            if duty is not None and owes:
                duty.pay()
                duty.waited()
        send()
    except OSError:
        return  # the parent is gone


def _is_large(packed: tuple[Any, ...]) -> bool:
    """Whether a unit is one large file, for which nothing that is done should wait: it may take hours."""
    return packed[0] == tasks.Move.__name__ and len(packed[2]) == 1 and packed[2][0][1] > STREAM


class _Unsent(threading.local):
    """What a thread has not sent yet goes before its next unit waits for a slot: that may be long."""

    of_this_thread: Callable[[], object] = staticmethod(lambda: None)

    def send(self) -> None:
        """Send it now, in the thread that waits."""
        try:
            self.of_this_thread()
        except OSError as error:
            raise _Gone from error


class _Answers:
    """Tells the parent how the window stands, or the gate, in a thread of its own.

    The thread that reads must never write: if the parent were writing, too, both would wait for ever. And whoever
    engages a resource is in the midst of a listing.
    """

    def __init__(self, wire: Wire, context: Context) -> None:
        self._wire = wire
        self._window = context.window
        self._gate = context.site.gate
        self._asked: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._started = False

    def ask(self, what: str = "window") -> None:
        """Have an answer sent soon. Never waits for the parent."""
        self._asked.put(what)
        with self._lock:
            if not self._started:
                self._started = True
                threading.Thread(target=self._answer, name="dunlin-answers", daemon=True).start()

    def _answer(self) -> None:
        with contextlib.suppress(OSError):  # the parent is gone
            while True:
                asked = {self._asked.get()}
                with contextlib.suppress(queue.Empty):
                    while True:
                        asked.add(self._asked.get_nowait())
                if "window" in asked:
                    self._wire.send(("window", *self._window.numbers()))
                if "gate" in asked and self._gate is not None:
                    self._wire.send(("gate", *self._gate.passed()))


class _Gone(Exception):
    """The parent is gone. Not an `OSError`: what a unit lets through of those is a fault, and must be told."""


def _emit(wire: Wire, unit: int, duty: Duty | None, part: Outcome) -> None:
    try:
        wire.send(("part", unit, part.pack()))
    except OSError as error:
        raise _Gone from error
    if duty is not None:
        duty.pay()


def _trace() -> str:
    import traceback

    return traceback.format_exc()


class _Progress(NullReport):
    """The mover's report: tells the parent which large files are being moved, a few times a second."""

    def __init__(self, wire: Wire, duty: Duty | None = None) -> None:
        self._wire = wire
        self._duty = duty

    def task(self, name: str, total: int | None) -> Task:
        return _SentTask(self._wire, name, total or 0, self._duty)


class _SentTask:
    def __init__(self, wire: Wire, name: str, total: int, duty: Duty | None = None) -> None:
        self._wire = wire
        self._duty = duty
        self._head = (threading.get_ident(), name, total)
        self._done = 0
        self._next = 0.0
        self.advance(0)

    def advance(self, amount: int) -> None:
        self._done += amount
        now = time.monotonic()
        if now >= self._next:
            self._next = now + TICK
            self._wire.send(("task", *self._head, self._done))
        if self._duty is not None:
            self._duty.pay()

    def end(self) -> None:
        self._wire.send(("end", self._head[0]))


def settle(parent: int) -> None:
    """Make the process a mover: deaf to signals that its parent obeys, and with no life without it."""
    # A service manager or a closed terminal signals the whole group: whoever died now would leave a temporary file.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # it died before the request took effect


def run_forked(
    end: socket.socket, setup: Setup, bucket: Bucket, number: int, parent: int, quota: Bucket | None = None
) -> None:
    """The body of a forked mover; never returns."""
    code = 1
    try:
        settle(parent)
        serve(end, setup, bucket, number, quota)
        code = 0
    except BaseException:
        sys.stderr.write(_trace())
        sys.stderr.flush()
    finally:
        # Nothing of the parent's may be unwound or flushed here: not its database, not its terminal.
        _save_coverage()
        os._exit(code)


def _save_coverage() -> None:
    coverage = sys.modules.get("coverage")
    current = coverage.Coverage.current() if coverage else None
    if current is not None:
        current.stop()
        current.save()


def main(argv: list[str]) -> None:
    """The body of a spawned mover: ``python -m dunlin.workers.mover SOCKET-FD BUCKET-FD NUMBER PARENT QUOTA-FD``."""
    socket_fd, bucket_fd, number, parent, quota_fd = (int(word) for word in argv)
    gc.set_threshold(100_000, 20, 20)  # what a forked mover has from its parent: see `dunlin.cli`
    settle(parent)
    end = socket.socket(fileno=socket_fd)
    head = end.recv(8, socket.MSG_WAITALL)
    setup = pickle.loads(end.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL))
    quota = Bucket.attach(quota_fd) if quota_fd >= 0 else None
    serve(end, setup, Bucket.attach(bucket_fd), number, quota)


if __name__ == "__main__":
    main(sys.argv[1:])
