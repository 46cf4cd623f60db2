"""What a queue is: tasks that wait, leases on them, and news about what became of them.

Theory. A queue is transport, never truth: what was done stands with whoever put the task there (the
state of a run, the ledger of a service). So the protocol promises little, and exactly:

* **At least once.** A task is handed out until somebody acknowledges it or its deliveries are used up.
  Whoever does tasks must bear doing one twice.
* **Fenced.** Every hand-out has a number, the attempt, given atomically with the lease. Only the latest
  attempt may heartbeat, tell, acknowledge or give back; a worker that slept through its lease (a zombie)
  is told so, and nothing that it says reaches the owner. What it *does* meanwhile no queue can stop: it
  must look at its own clock before each step that cannot be taken back (`Lease.until`).
* **One clock.** Leases, delays and ages are measured by the clock of the place where the queue lies
  (Redis, PostgreSQL, or this machine's for a file), so that workers whose clocks are wrong do no harm.
* **News stays until confirmed.** Results, parts of results and losses wait for the owner, in the order
  in which they happened; one that crashed reads them again.
* **A queue may go back in time** (a replica that lagged takes over, an older copy is restored, the last second of a log
  is lost): what was put, leased and told since is as if it had never been. Neither a number of news nor a lease is
  mistaken for one of the lost time: numbers begin at the server's clock, and a lease is held only by the worker that
  had it, for the very task. What is missing the owner must find out (`known`, and by counting what workers tell).
* **Idempotent by key.** A second `put` of a key that the queue still knows changes nothing, so an owner
  that does not know whether its `put` arrived may repeat it.

Engines: `embedded` (a SQLite file, for the processes of one machine), `redis_engine`, `postgres`. All
calls are synchronous and safe from several threads. Every call may raise `DunlinError` of kind NETWORK
(the queue's server is away; try again), AUTH, or INTERNAL; where a disk or a memory is full NO_SPACE, and the
file what `sqlite.translate_sqlite` says (LOCKED when another process writes for longer than 10 s).

Payloads name locations and paths, never secrets.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

PAYLOAD = 8 << 20
"""Bytes that a payload or a piece of news may have at most."""


class Status(enum.StrEnum):
    """How a task stands. `DEAD`: all its deliveries failed; it stays for people to look at (the dead-letter list)."""

    WAITING = "waiting"
    LEASED = "leased"
    DEAD = "dead"


class Kind(enum.StrEnum):
    """What a piece of news tells: a part of a result, the result, a lease that ran out, the last failure."""

    PART = "part"
    DONE = "done"
    LOST = "lost"
    DEAD = "dead"


class NewTask(NamedTuple):
    """A task to be put into a queue.

    Attributes:
        queue: the name of the queue; the owner of a run has one of its own.
        key: names the task within its queue.
        payload: what is to be done; `PAYLOAD` bytes at most.
        priority: higher ones are handed out first; of one priority, those put first. A step is worth a minute of
            waiting (`rules.STEP`): a lower one is overtaken for so many minutes, and then comes whatever else there is.
        delay: seconds until it may be handed out.
        retries: further deliveries after one failed or ran out; 0: the owner decides (it gets LOST or DEAD).
        groups: names whose number of leases at a time is capped (`Queue.cap`): a tenant, a store.
        host: only workers that name this label get it; "": all. For paths that only some machines have.
        label: what people see in a list: a path, a name. Searched by `tasks`.
    """

    queue: str
    key: str
    payload: bytes
    priority: int = 0
    delay: float = 0.0
    retries: int = 3
    groups: tuple[str, ...] = ()
    host: str = ""
    label: str = ""


class Lease(NamedTuple):
    """A task that was handed out.

    Attributes:
        id: names the task in the whole queue system.
        queue, key, payload, label: as in `NewTask`.
        attempt: which hand-out of the task this is, from 1; the fence.
        until: when it runs out, on this process's monotonic clock (never later than the queue thinks, since the
            time is taken before the request goes out).
        worker: whose it is.
    """

    id: str
    queue: str
    key: str
    payload: bytes
    attempt: int
    until: float
    label: str = ""
    worker: str = ""


class News(NamedTuple):
    """What became of a task, for its owner.

    Attributes:
        number: to be confirmed with; grows within a queue, in steps of one or more, and from what the server's clock
            says in microseconds: so it grows also where the queue has gone back in time, unless the clock has, too.
        key, attempt: which task, and which hand-out of it.
        kind: what it tells.
        body: the part, or the result; empty for LOST.
        error: one line, for DEAD; the worker's name for LOST.
        worker: whose lease it was.
    """

    number: int
    key: str
    attempt: int
    kind: Kind
    body: bytes
    error: str
    worker: str


class TaskInfo(NamedTuple):
    """A task as people look at it. Seconds: its `age`, and when it is `due` (may be handed out, or its lease ends)."""

    id: str
    queue: str
    key: str
    label: str
    status: Status
    priority: int
    attempt: int
    retries: int
    worker: str
    error: str
    age: float
    due: float
    size: int


class QueueStats(NamedTuple):
    """How a queue stands: tasks by status, unconfirmed news, totals since it exists, age of the oldest waiting."""

    queue: str
    waiting: int
    delayed: int
    leased: int
    dead: int
    news: int
    put: int
    done: int
    failed: int
    lost: int
    oldest: float
    paused: bool


class WorkerInfo(NamedTuple):
    """A worker that said it is alive. `seen`: seconds since; `slots`: tasks it does at a time; `busy`: of them, now."""

    worker: str
    host: str
    pid: int
    slots: int
    busy: int
    queues: tuple[str, ...]
    labels: tuple[str, ...]
    version: str
    age: float
    seen: float


class Queue(Protocol):
    """One queue system: any number of named queues in one place."""

    # ---- those who have work ----

    def put(self, tasks: Sequence[NewTask]) -> int:
        """Add tasks, all or none; how many were new. Durable when it returns, as far as the server is set up to be."""
        ...

    def collect(self, queue: str, count: int, wait: float = 0.0, after: int = 0) -> list[News]:
        """The oldest news with numbers over `after`, waiting up to `wait` seconds for the first; it stays there."""
        ...

    def confirm(self, queue: str, upto: int) -> None:
        """Forget the news up to that number, and the tasks that it says are done."""
        ...

    def known(self, queue: str, keys: Collection[str]) -> set[str]:
        """Those of the keys whose tasks wait, are leased or dead, or whose news is not confirmed: the rest are lost."""
        ...

    def cancel(self, queue: str, keys: Collection[str] | None = None) -> int:
        """Remove tasks (None: all of the queue), leased ones too, whose workers find out; how many. Makes no news."""
        ...

    def drop(self, queue: str) -> None:
        """Remove the queue with all that is in it: tasks, news, counts, whether it is paused."""
        ...

    # ---- those who work ----

    def lease(
        self,
        worker: str,
        count: int,
        seconds: float,
        wait: float = 0.0,
        queues: Sequence[str] = (),
        labels: Sequence[str] = (),
    ) -> list[Lease]:
        """Take up to `count` tasks for so many seconds, waiting up to `wait` seconds for the first.

        `queues`: patterns of names, `*` at the end standing for anything; empty: all. Paused queues and full groups
        give nothing.
        """
        ...

    def heartbeat(self, leases: Sequence[Lease], seconds: float) -> list[Lease | None]:
        """Extend leases to so many seconds from now; None in the place of each that is no longer this worker's."""
        ...

    def tell(self, lease: Lease, body: bytes) -> bool:
        """Send the owner a part of the result; False when the lease is no longer this worker's."""
        ...

    def ack(self, done: Sequence[tuple[Lease, bytes]]) -> list[bool]:
        """Tasks are done, with these results; False for each whose lease is no longer this worker's."""
        ...

    def nack(self, lease: Lease, error: str, delay: float = 0.0, final: bool = False) -> bool:
        """A task failed: it is delivered again after `delay` seconds, or is dead (`final`, or no deliveries left)."""
        ...

    def release(self, leases: Sequence[Lease]) -> None:
        """Give tasks back that were not begun; this delivery does not count."""
        ...

    def hello(self, info: WorkerInfo, seconds: float) -> None:
        """This worker is alive, for so many seconds from now; 0: it is leaving."""
        ...

    # ---- those who look after it ----

    def sweep(self) -> int:
        """Take back leases that ran out: deliver again, or tell LOST (no deliveries were promised), or DEAD; how many.

        Anybody may call it, any number at a time.
        """
        ...

    def stats(self) -> list[QueueStats]:
        """How each queue stands, by name."""
        ...

    def tasks(
        self, queue: str = "", status: Status | None = None, search: str = "", after: str = "", count: int = 100
    ) -> list[TaskInfo]:
        """Tasks by id, those after the id `after`; of one queue or all; whose key or label contains `search`."""
        ...

    def task(self, id: str) -> tuple[TaskInfo, bytes] | None:
        """One task with its payload."""
        ...

    def revive(self, ids: Sequence[str]) -> int:
        """Deliver dead tasks again, with as many deliveries as at first; how many there were."""
        ...

    def remove(self, ids: Sequence[str]) -> int:
        """Remove tasks that wait or are dead or leased; how many there were."""
        ...

    def pause(self, queue: str, paused: bool = True) -> None:
        """Hand out nothing of a queue, or go on. What is leased goes on."""
        ...

    def cap(self, group: str, most: int) -> None:
        """Have at most so many tasks of a group leased at a time, over all workers; 0: any number."""
        ...

    def workers(self) -> list[WorkerInfo]:
        """The workers that are alive, by name."""
        ...

    # ---- what those who share the queue agree on ----

    def write(self, name: str, value: bytes | None, seconds: float = 0.0) -> None:
        """Keep a value under a name, for so many seconds (0: for good); None: forget it."""
        ...

    def read(self, name: str) -> bytes | None:
        """The value under a name."""
        ...

    def hold(self, name: str, owner: str, seconds: float) -> bool:
        """Take or keep an office (coordinator of a run, scheduler) for so many seconds; False: another one has it."""
        ...

    def leave(self, name: str, owner: str) -> None:
        """Give an office up, if it is this owner's."""
        ...

    def draw(self, name: str, amount: int, rate: int, burst: int) -> float:
        """Take from a token bucket that all share (bytes of a global bandwidth limit); seconds to wait before using it.

        The debt model of `pace.bucket`: it is taken at once, even where that leaves less than nothing.
        """
        ...

    def close(self) -> None:
        """Let go of connections; leases stay until they run out."""
        ...
