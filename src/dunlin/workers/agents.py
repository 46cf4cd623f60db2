"""The processes of a worker: started, watched, ended together.

Why several: two processes copy small local files nearly twice as fast as one (the interpreter lock); files that are
waited for are as fast in threads. So a worker of N slots has as many processes as processors, and shares its slots
among them. Each is a worker of its own to the queue.

They are forked where this process has neither threads nor native runtimes (`dunlin worker`), and spawned where it may
have them (the coordinator of a run); a spawned one is told what to do through a pipe, because that may hold logins.
A child dies with its parent, and one that ends is replaced.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import NamedTuple, NoReturn

from dunlin.errors import DunlinError
from dunlin.pace.stop import Stop
from dunlin.queue.base import Queue
from dunlin.queue.open import open_queue
from dunlin.report import NullReport, Report
from dunlin.workers.agent import AgentOptions, NumberTakenError, Pace, run_agent
from dunlin.workers.anew import command
from dunlin.workers.handling import Handler
from dunlin.workers.mover import settle
from dunlin.workers.part import Resolve, Vaults
from dunlin.workers.setup import share

AGAIN = 75
"""Exit code of a child that wants to begin anew."""

SLOW = 1.0
"""Seconds until a child that ended is replaced."""

CUT = 5.0
"""Seconds beyond their grace after which children are ended."""

_FIRST, _LAST = 0x1000, 0x10000
"""Numbers of workers: four hexadecimal digits, which no mover has, and none of them is left out in names of files."""


class AgentSetup(NamedTuple):
    """What a process of a worker is told.

    `url`: of the queue, with the password it may hold. `slots`: of all processes together. `publishes`: it takes what
    the service publishes, too. The others as in `agent.AgentOptions`.
    """

    url: str
    host: str
    slots: int
    labels: tuple[str, ...]
    resolve: Resolve
    runs: tuple[str, ...]
    grace: float = 30.0
    pace: Pace = Pace()
    publishes: bool = False
    vaults: Vaults | None = None


def take_number(queue: Queue, host: str) -> str:
    """A name for this process that ends in a number nobody else has."""
    pid = os.getpid()
    while True:
        mark = _FIRST + int.from_bytes(os.urandom(4), "big") % (_LAST - _FIRST)
        # Chance keeps two of them apart also where host and process have the same name, as in two containers.
        name = f"{host}-{pid}-{os.urandom(2).hex()}-{mark:04x}"
        if queue.hold(f"worker/{mark:04x}", name, 60.0):
            return name


def work(setup: AgentSetup, processes: int, place: int, stop: Stop, report: Report) -> None:
    """Be one of so many processes of a worker until `stop`. Raises what the queue raises."""
    queue = open_queue(setup.url)
    slots = share(setup.slots, processes, place)

    def options(name: str) -> AgentOptions:
        return AgentOptions(
            name,
            setup.host,
            os.getpid(),
            slots,
            setup.labels,
            setup.resolve,
            setup.runs,
            others,
            grace=setup.grace,
            pace=setup.pace,
            vaults=setup.vaults,
        )

    try:
        with _others(queue, setup, slots, report) as others:
            keep_running(queue, setup.host, options, stop, report)
    finally:
        queue.close()


def keep_running(
    queue: Queue, host: str, options: Callable[[str], AgentOptions], stop: Stop, report: Report
) -> None:
    """Be a worker until `stop`, under a new name where another one took the number. Raises what the queue raises.

    `options`: of a worker of that name.
    """
    while True:
        try:
            run_agent(queue, options(take_number(queue, host)), stop, report)
            return
        except NumberTakenError:
            continue


@contextmanager
def _others(queue: Queue, setup: AgentSetup, slots: int, report: Report) -> Iterator[dict[str, Handler]]:
    if not setup.publishes:
        yield {}
        return
    from dunlin.workers.accounts import Limits
    from dunlin.workers.publish_task import QUEUE, PublishTasks, TaskOptions

    how = TaskOptions(slots, setup.pace.margin, Limits(queue), recorded=queue.read)
    with closing(PublishTasks(lambda place: setup.resolve(place, "dest"), how, report)) as tasks:
        yield {QUEUE: tasks}


Launch = Callable[[int], int]
"""Starts the process of a place, and returns its id."""


class Agents:
    """The processes of one worker.

    Args:
        launch: see `forked` and `spawned`. count: how many.
        grace: seconds that they take to end at most.
    """

    def __init__(
        self, launch: Launch, count: int, grace: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._launch = launch
        self._count = count
        self._grace = grace
        self._clock = clock
        self._children: dict[int, int] = {}
        self._due: dict[int, float] = {}
        self.failed: int | None = None

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return list(self._children)

    def start(self) -> None:
        """Start all of them."""
        for place in range(self._count):
            self._children[self._launch(place)] = place

    def look(self) -> None:
        """Replace those that ended; one that ended with an exit code of its own making leaves it in `failed`."""
        now = self._clock()
        for pid in list(self._children):
            code = _ended(pid)
            if code is None:
                continue
            place = self._children.pop(pid)
            if code > 0 and code != AGAIN:
                self.failed = code
            self._due[place] = now + SLOW
        for place, at in list(self._due.items()):
            if now >= at:
                del self._due[place]
                self._children[self._launch(place)] = place

    def close(self) -> None:
        """Ask all to end, and wait for it."""
        self._due.clear()
        until = self._clock() + self._grace + CUT
        asked = 0.0
        while self._children and (now := self._clock()) < until:
            if now - asked > SLOW:  # again and again: one that has just begun is deaf for a moment
                asked = now
                for pid in self._children:
                    os.kill(pid, signal.SIGTERM)
            time.sleep(0.02)
            for pid in list(self._children):
                if _ended(pid) is not None:
                    del self._children[pid]
        for pid in list(self._children):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
        self._children.clear()


def _ended(pid: int) -> int | None:
    """The exit code of a child, negative for a signal; None while it lives."""
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0
    return os.waitstatus_to_exitcode(status) if done else None


def forked(body: Callable[[int, Stop], int]) -> Launch:
    """Children that are forked and do `body(place, stop)`, which returns their exit code and raises nothing."""

    def launch(place: int) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            stop = Stop()
            settle(parent)
            signal.signal(signal.SIGTERM, lambda *_: stop.request("asked to end"))
            code = body(place, stop)
        finally:
            leave(code)

    return launch


def leave(code: int) -> NoReturn:
    """End a forked child: nothing of its parent's may be unwound or flushed."""
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    coverage = sys.modules.get("coverage")
    current = coverage.Coverage.current() if coverage else None
    if current is not None:
        current.stop()
        current.save()
    os._exit(code)


def spawned(setup: AgentSetup, processes: int) -> Launch:
    """Children that are started anew and told what to do through a pipe."""

    def launch(place: int) -> int:
        words = command("dunlin.workers.agents", processes, place, os.getpid())
        child = subprocess.Popen(words, stdin=subprocess.PIPE)
        assert child.stdin is not None
        with suppress(BrokenPipeError):
            child.stdin.write(pickle.dumps(setup))
            child.stdin.close()
        child.returncode = 0  # `Agents` waits for it by its id
        return child.pid

    return launch


def main(argv: list[str]) -> None:
    """The body of a spawned child: how many there are, which one it is, and its parent."""
    processes, place, parent = (int(word) for word in argv)
    setup = pickle.loads(sys.stdin.buffer.read())
    stop = Stop()
    settle(parent)
    signal.signal(signal.SIGTERM, lambda *_: stop.request("asked to end"))
    try:
        work(setup, processes, place, stop, NullReport())
    except DunlinError:
        sys.exit(AGAIN)  # the coordinator meets, and tells, the same
