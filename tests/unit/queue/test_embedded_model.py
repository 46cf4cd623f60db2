"""embedded: whatever is done in whatever order, it does what a few dicts would."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dunlin.queue.base import Kind, Lease, NewTask, Status
from dunlin.queue.embedded import Embedded

QUEUES = st.sampled_from(["a", "b"])
KEYS = st.sampled_from(["1", "2", "3", "\udcff"])
GROUPS = st.sampled_from([(), ("g",), ("g", "h")])
SECONDS = st.sampled_from([0.0, 1.0, 5.0])


@dataclass(eq=False)
class Task:
    """A task as the model has it. `status`: ready, leased, dead or over; `due`: when it is ready, or its lease ends."""

    number: int
    queue: str
    key: str
    priority: int
    retries: int
    groups: tuple[str, ...]
    due: float
    rank: float
    status: str = "ready"
    attempt: int = 0
    used: int = 0


class Model(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.directory = tempfile.TemporaryDirectory()
        self.queue = Embedded.open(
            str(Path(self.directory.name, "q.db")), print, durable=False, clock=lambda: self.now, sleep=lambda s: None
        )
        self.tasks: list[Task] = []
        self.leases: list[tuple[Lease, Task]] = []
        self.news: dict[str, list[tuple[Task, int, Kind]]] = {"a": [], "b": []}
        self.paused: set[str] = set()
        self.caps: dict[str, int] = {}
        self.put = 0

    def teardown(self) -> None:
        self.queue.close()
        self.directory.cleanup()

    def there(self, queue: str, key: str) -> list[Task]:
        return [task for task in self.tasks if (task.queue, task.key) == (queue, key)]

    def held(self, pair: tuple[Lease, Task]) -> bool:
        lease, task = pair
        return task in self.tasks and task.status == "leased" and task.attempt == lease.attempt

    def room(self, task: Task) -> bool:
        return all(
            sum(other.status == "leased" and group in other.groups for other in self.tasks) < self.caps.get(group, 999)
            for group in task.groups
        )

    @rule(queue=QUEUES, key=KEYS, priority=st.integers(-1, 1), delay=SECONDS, retries=st.integers(0, 2), groups=GROUPS)
    def put_one(self, queue: str, key: str, priority: int, delay: float, retries: int, groups: tuple[str, ...]) -> None:
        new = self.queue.put([NewTask(queue, key, b"", priority, delay, retries, groups)])
        assert new == (not self.there(queue, key))
        if new:
            self.put += 1
            self.tasks.append(Task(self.put, queue, key, priority, retries, groups, self.now + delay,
                                   self.now - 60 * priority))  # fmt: skip

    @rule(count=st.integers(1, 3), seconds=SECONDS, only=st.sampled_from([[], ["a"], ["b*"]]))
    def lease(self, count: int, seconds: float, only: list[str]) -> None:
        leases = self.queue.lease("w", count, seconds, queues=only)
        open_ = [
            task for task in self.tasks
            if task.status == "ready" and task.due <= self.now and task.queue not in self.paused
            and (not only or task.queue == only[0][0])
        ]  # fmt: skip
        taken: list[Task] = []
        for task in sorted(open_, key=lambda task: (task.rank, task.number)):
            if len(taken) < count and self.room(task):
                taken.append(task)
                task.status, task.due = "leased", self.now + seconds
                task.attempt += 1
                task.used += 1
        assert [(lease.queue, lease.key, lease.attempt) for lease in leases] == [
            (task.queue, task.key, task.attempt) for task in taken
        ]
        self.leases += zip(leases, taken, strict=True)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), what=st.sampled_from(["ack", "nack", "final", "release", "heartbeat", "tell"]))
    def answer(self, data: st.DataObject, what: str) -> None:
        pair = data.draw(st.sampled_from(self.leases))
        lease, task = pair
        held = self.held(pair)
        if what == "ack":
            assert self.queue.ack([(lease, b"r")]) == [held]
        elif what in ("nack", "final"):
            assert self.queue.nack(lease, "error", delay=1.0, final=what == "final") is held
        elif what == "release":
            self.queue.release([lease])
        elif what == "heartbeat":
            assert (self.queue.heartbeat([lease], 5.0) != [None]) is held
        else:
            assert self.queue.tell(lease, b"p") is held
        if held:
            self.answered(task, what)

    def answered(self, task: Task, what: str) -> None:
        if what == "ack":
            task.status = "over"
            self.tell(task, Kind.DONE)
        elif what == "tell":
            self.tell(task, Kind.PART)
        elif what == "heartbeat":
            task.due = self.now + 5
        elif what == "release":
            task.status, task.due, task.used = "ready", self.now, task.used - 1
        elif what == "nack" and task.used <= task.retries:
            task.status, task.due = "ready", self.now + 1
        else:
            task.status = "dead"
            self.tell(task, Kind.DEAD)

    def tell(self, task: Task, kind: Kind) -> None:
        self.news[task.queue].append((task, task.attempt, kind))

    @rule()
    def sweep(self) -> None:
        expired = [task for task in self.tasks if task.status == "leased" and task.due <= self.now]
        assert self.queue.sweep() == len(expired)
        for task in sorted(expired, key=lambda task: task.due):
            if task.used <= task.retries:
                task.status, task.due = "ready", self.now
            else:
                task.status = "dead" if task.retries else "over"
                self.tell(task, Kind.DEAD if task.retries else Kind.LOST)

    @rule(queue=QUEUES, count=st.integers(0, 3))
    def confirm(self, queue: str, count: int) -> None:
        told = self.queue.collect(queue, 100)
        assert sorted((one.key, one.attempt, one.kind) for one in told) == sorted(
            (task.key, attempt, kind) for task, attempt, kind in self.news[queue]
        )
        for one in told[:count]:
            self.queue.confirm(queue, one.number)
            (entry, *_) = [
                entry for entry in self.news[queue] if (entry[0].key, *entry[1:]) == (one.key, one.attempt, one.kind)
            ]
            self.news[queue].remove(entry)
            if one.kind in (Kind.DONE, Kind.LOST):
                self.tasks.remove(entry[0])

    @rule(queue=QUEUES, keys=st.none() | st.lists(KEYS, max_size=2))
    def cancel(self, queue: str, keys: list[str] | None) -> None:
        gone = [
            task for task in self.tasks
            if task.queue == queue and task.status != "over" and (keys is None or task.key in keys)
        ]  # fmt: skip
        assert self.queue.cancel(queue, keys) == len(gone)
        self.tasks = [task for task in self.tasks if task not in gone]

    @rule()
    def revive(self) -> None:
        dead = [info.id for info in self.queue.tasks(status=Status.DEAD)]
        assert self.queue.revive(dead) == len(dead) == sum(task.status == "dead" for task in self.tasks)
        for task in self.tasks:
            if task.status == "dead":
                task.status, task.due, task.used = "ready", self.now, 0

    @rule(queue=QUEUES)
    def drop(self, queue: str) -> None:
        self.queue.drop(queue)
        self.tasks = [task for task in self.tasks if task.queue != queue]
        self.news[queue] = []
        self.paused.discard(queue)

    @rule(queue=QUEUES, paused=st.booleans())
    def pause(self, queue: str, paused: bool) -> None:
        self.queue.pause(queue, paused)
        (self.paused.add if paused else self.paused.discard)(queue)

    @rule(group=st.sampled_from(["g", "h"]), most=st.integers(0, 2))
    def cap(self, group: str, most: int) -> None:
        self.queue.cap(group, most)
        self.caps[group] = most or 999

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0, 60.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def all_is_known(self) -> None:
        for queue in ("a", "b"):
            mine = {task.key for task in self.tasks if task.queue == queue}
            assert self.queue.known(queue, ["1", "2", "3", "\udcff"]) == mine
        listed = [(info.queue, info.key, info.attempt) for info in self.queue.tasks()]
        assert listed == [(task.queue, task.key, task.attempt) for task in self.tasks if task.status != "over"]

    @invariant()
    def all_is_counted(self) -> None:
        for one in self.queue.stats():
            mine = [task for task in self.tasks if task.queue == one.queue]
            leased, dead = (sum(task.status == status for task in mine) for status in ("leased", "dead"))
            waiting = sum(task.status == "ready" for task in mine)
            assert (one.waiting + one.delayed, one.leased, one.dead) == (waiting, leased, dead)
            assert one.news == len(self.news[one.queue])
            assert one.paused == (one.queue in self.paused)
        bodies = self.queue._database.value("SELECT count(*) FROM body")
        assert bodies == sum(task.status != "over" for task in self.tasks)


TestModel = Model.TestCase
