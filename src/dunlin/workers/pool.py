"""The local movers of a run: started late, fed a few units ahead, replaced when they die.

Theory. Two processes copy small files nearly twice as fast as one (the interpreter lock), but each
costs 10 ms to fork or 100 ms to spawn, so a run starts them only once there is work for them. On a
mount with latency it is waiting that dominates, not the processor: there, threads inside the movers
are grown, because a thread costs nothing while it waits. Each mover holds as many units as it has
threads, and some more, so that it never waits for the parent.

A message costs two context switches, as much as looking through a small directory. So units travel in
groups: as many ahead as a mover does in `AHEAD_SECONDS`, and what they became comes back together.

Movers are forked where no native runtime with threads of its own is loaded, which is always the case
between local stores, and spawned otherwise, or to replace one that died.

What only movers need (sockets, `mover` itself) is imported when the first one starts: most runs have none.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.bucket import Bucket
from dunlin.pace.window import WindowLimits
from dunlin.workers.doers import Arrival
from dunlin.workers.setup import Setup, for_mover, share, token, window_share

if TYPE_CHECKING:
    import selectors
    import socket
    import subprocess

    from dunlin.workers.wire import Wire

AHEAD = (2, 64)
"""Fewest and most units that wait at a mover beyond those its threads work on."""

MOST_DEATHS = 50
"""Movers that may die in one run; more means that they cannot work here at all."""

AHEAD_SECONDS = 0.12
"""Work that waits at a mover, as far as units are that small."""


@dataclass(slots=True, eq=False, repr=False)
class Mover:
    """The parent's side of one mover. `place`: which share of the work is its, from 0; its successor has the same.

    `hands`: the requests that it was told it may have under way; 0: nothing was said since it began.
    """

    number: int
    place: int
    wire: Wire
    pid: int
    child: subprocess.Popen[bytes] | None = None
    hands: int = 0
    units: set[int] = field(default_factory=set)
    begun: set[int] = field(default_factory=set)
    outbox: list[tuple[int, tuple[Any, ...], bool]] = field(default_factory=list)


class Pool:
    """The movers of one run.

    Args:
        setup: what each mover is told.
        bucket: shared with all of them.
        size: number of processes.
        start: "fork" or "spawn".
        keep_open: descriptors that every mover inherits: the run's lock.
        most: threads that all movers together may have; 0: as many as they are told to use.
        quota: shared with all of them, too: how much they may compute (`pace.duty`); None: as much as they can.
    """

    def __init__(
        self,
        setup: Setup,
        bucket: Bucket,
        size: int,
        start: str,
        keep_open: tuple[int, ...] = (),
        most: int = 0,
        quota: Bucket | None = None,
    ) -> None:
        self._setup = setup
        self._bucket = bucket
        self._size = size
        self._start = start
        self._keep_open = keep_open
        self._most = most
        self._quota = quota
        self._far = setup.source_far is not None or setup.target_far is not None
        self.borne = 0  # see `limit`
        self._reach = setup.begin or setup.hands  # see `reach`
        self.gates: dict[int, tuple[Any, ...]] = {}
        self.share = 1.0
        self.hold = False
        self._movers: dict[int, Mover] = {}
        self._next = 0
        self.threads = 1
        self.batch = self.page = 0
        self.parts = 0
        self.deaths = 0
        self._ahead = AHEAD[0]
        self._unit_seconds = AHEAD_SECONDS

    @cached_property
    def _selector(self) -> selectors.BaseSelector:
        import selectors

        return selectors.DefaultSelector()

    @property
    def started(self) -> bool:
        """Whether there are movers."""
        return bool(self._movers)

    @property
    def size(self) -> int:
        """How many processes there are, or will be."""
        return self._size

    @property
    def room(self) -> int:
        """How many more units the movers take now."""
        ahead = self._ahead
        if self.borne:
            if self.hold:
                return 0 if self.busy else 1
            ahead = max(1, int(ahead * self.share))
        return sum(max(0, self._threads(m) + ahead - len(m.units)) for m in self._movers.values() if self._takes(m))

    def _takes(self, m: Mover) -> bool:
        """Whether a mover gets units at present."""
        return not self.borne or m.place < self.borne

    @property
    def wanted(self) -> int:
        """Files that would be in flight if the machine bore everything; far away, requests."""
        if self._far:
            return self._reach
        return min(self._most or self._size * self.threads, self._size * self.threads)

    @property
    def in_flight(self) -> int:
        """Files that may be in flight now, as far as threads carry them; far away, requests."""
        if self._far:
            return min(self._reach, self.borne or self._reach)
        return sum(self._threads(m) for m in self._movers.values() if self._takes(m))

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return [m.pid for m in self._movers.values()]

    @property
    def numbers(self) -> list[int]:
        """The movers."""
        return list(self._movers)

    @property
    def busy(self) -> bool:
        """Whether a mover still has units."""
        return any(m.units for m in self._movers.values())

    def start(self) -> None:
        """Start all movers."""
        while len(self._movers) < self._size:
            self._launch(self._start, len(self._movers))

    def _threads(self, m: Mover) -> int:
        """How many threads a mover has now."""
        threads = min(self.threads, share(self._most, self._size, m.place)) if self._most else self.threads
        return min(threads, share(self.borne, self._size, m.place)) if self.borne else threads

    def limit(self, workers: int, share: float = 1.0, hold: bool = False) -> None:
        """Have no more files in flight than the machine bears at present; what is under way goes on.

        Args:
            workers: files in flight over all movers; where they are fewer than the movers, the last ones get nothing.
                0: as many as the user allows.
            share: of the units that wait at movers, of what they are otherwise.
            hold: give nothing out while anything is under way.
        """
        before = self.borne
        self.borne, self.share, self.hold = workers, share, hold
        if workers != before:
            for m in self._movers.values():
                self._tell_limit(m)

    def reach(self, requests: int) -> None:
        """Have so many requests to a store that is far away under way, over all movers, from now on.

        Movers that have no unit at present leave theirs to the others: at the end of a run that is often all but one.
        To be called now and then with the same number; one that gets a unit again has its share at once.
        """
        self._reach = requests
        busy = [m for m in self._movers.values() if m.units]
        for m in self._movers.values():
            parts, place = (len(busy), busy.index(m)) if m in busy else (self._size, m.place)
            self._tell_hands(m, share(self.in_flight, parts, place))

    def ask_gates(self) -> None:
        """Ask every mover what has gone through its gate; the answers come into `gates`, by the mover's number."""
        self.gates.clear()
        self.tell("gate?")

    def _tell_limit(self, m: Mover) -> None:
        self._send(m, ("threads", self._threads(m)))
        self._tell_hands(m, share(min(self._reach, self.borne or self._reach), self._size, m.place))

    def _tell_hands(self, m: Mover, hands: int) -> None:
        if hands != m.hands:
            m.hands = hands
            self._send(m, ("hands", hands))

    def window(self, limits: WindowLimits) -> None:
        """Have listings take no more than that in all movers together, from now on."""
        self._setup = self._setup._replace(window=limits)
        for m in self._movers.values():
            self._send(m, ("window", *window_share(limits, self._size, m.place)[:2]))

    def _lists(self, m: Mover) -> bool:
        """Whether a mover gets directories: with fewer slots than movers, the last ones get none."""
        return not self._setup.window.directories or m.place < self._setup.window.directories

    def tell(self, *message: object) -> None:
        """Send every mover a message of its own."""
        for m in self._movers.values():
            self._send(m, message)

    def _send(self, m: Mover, *messages: tuple[object, ...]) -> None:
        with contextlib.suppress(OSError):  # it died; `poll` will find out and tell that its units are lost
            for message in messages:
                m.wire.send(message)

    def _launch(self, how: str, place: int) -> None:
        import selectors
        import socket

        from dunlin.workers import mover
        from dunlin.workers.wire import Wire

        number = self._next
        self._next += 1
        setup = for_mover(self._setup, self._size, place)
        ours, theirs = socket.socketpair()
        if how == "fork":
            others = [m.wire for m in self._movers.values()]
            parent = os.getpid()
            pid = os.fork()
            if pid == 0:
                ours.close()
                for wire in others:
                    wire.close()
                mover.run_forked(theirs, setup, self._bucket, number, parent, self._quota)
            child = None
        else:
            child = self._spawn(theirs, number)
            pid = child.pid
        theirs.close()
        wire = Wire(ours)
        if how != "fork":
            import pickle

            data = pickle.dumps(setup)
            ours.sendall(len(data).to_bytes(8, "big") + data)
        m = self._movers[number] = Mover(number, place, wire, pid, child)
        self._selector.register(wire, selectors.EVENT_READ, number)
        if self._threads(m) > 1:
            wire.send(("threads", self._threads(m)))
        if self.borne or self._reach != (self._setup.begin or self._setup.hands):
            self._tell_limit(m)

    def _spawn(self, theirs: socket.socket, number: int) -> subprocess.Popen[bytes]:
        import subprocess

        from dunlin.workers.anew import command

        bucket, quota = self._bucket.fileno(), self._quota.fileno() if self._quota is not None else -1
        words = command("dunlin.workers.mover", theirs.fileno(), bucket, number, os.getpid(), quota)
        fds = tuple(fd for fd in (theirs.fileno(), bucket, quota, *self._keep_open) if fd >= 0)
        return subprocess.Popen(words, pass_fds=fds, stdin=subprocess.DEVNULL)

    def submit(self, unit: int, packed: tuple[Any, ...], announce: bool = False) -> None:
        """Give a unit to the mover with the fewest; it goes out with the next `flush` or `poll`.

        `announce`: the mover tells before it begins, which costs a message.
        """
        # One that died was replaced by one of the same place, so there is always one that takes units: the first.
        scans = packed[0] == "Scan"
        takers = (m for m in self._movers.values() if self._takes(m) and (not scans or self._lists(m)))
        least = min(takers, key=lambda m: len(m.units))
        least.units.add(unit)
        least.outbox.append((unit, packed, announce))

    def flush(self) -> None:
        """Send what was submitted."""
        for m in self._movers.values():
            if m.outbox:
                self._send(m, ("units", m.outbox))
                m.outbox = []

    def learn(self, seconds: float) -> None:
        """Take note of how long a unit took: small units are sent further ahead."""
        self._unit_seconds += (seconds - self._unit_seconds) / 16
        self._ahead = max(AHEAD[0], min(AHEAD[1], int(AHEAD_SECONDS / max(self._unit_seconds, 1e-6))))

    def grow(self, threads: int) -> None:
        """Let every mover use that many threads, or its share of what all may have."""
        if threads == self.threads:
            return
        self.threads = threads
        for m in self._movers.values():
            self._send(m, ("threads", self._threads(m)))

    def poll(self, timeout: float) -> list[Arrival]:
        """What the movers sent, waiting up to `timeout` seconds for the first message."""
        self.flush()
        arrivals: list[Arrival] = []
        for key, _ in self._selector.select(timeout):
            m = self._movers[key.data]
            messages = m.wire.receive()
            if messages is None:
                arrivals += self._lost(m)
                continue
            for message in messages:
                kind = message[0]
                if kind == "gate":
                    self.gates[m.number] = message[1:]
                    continue
                if kind in ("task", "end", "window"):
                    arrivals.append(Arrival(kind, m.number, message[1:]))
                    continue
                if kind == "begin":
                    m.begun.add(message[1])
                    continue
                if kind == "part":
                    arrivals.append(Arrival(kind, message[1], message[2:]))
                    continue
                for ended, unit, *body in message[1]:
                    m.units.discard(unit)
                    arrivals.append(Arrival(ended, unit, tuple(body)))
        return arrivals

    def settled(self) -> None:
        """Nothing waits for that: what was sent is gone from the movers."""

    def _lost(self, m: Mover) -> list[Arrival]:
        """A mover died: its units are lost, and another takes its place."""
        self._selector.unregister(m.wire)
        m.wire.close()
        self._reap(m)
        del self._movers[m.number]
        self.deaths += 1
        if not self._bucket.stopped:
            if self.deaths > MOST_DEATHS:
                self._bucket.stop()
                reason = f"{self.deaths} movers died"
                raise DunlinError("go on", "", ErrorKind.INTERNAL, reason, "the messages above may say why")
            self._launch("spawn", m.place)
        name = token(self._setup.rules, m.number)
        lost = [Arrival("lost", unit, (name, unit in m.begun)) for unit in sorted(m.units)]
        return [Arrival("gone", m.number, ()), *lost]

    def _reap(self, m: Mover) -> None:
        if m.child is not None:
            m.child.wait()
            return
        with contextlib.suppress(ChildProcessError):  # somebody else collected it
            os.waitpid(m.pid, 0)

    def close(self) -> None:
        """Close the sockets, which ends the movers, and wait for them."""
        for m in self._movers.values():
            self._selector.unregister(m.wire)
            m.wire.close()
        for m in self._movers.values():
            self._reap(m)
        self._movers.clear()
        if self._next:
            self._selector.close()
