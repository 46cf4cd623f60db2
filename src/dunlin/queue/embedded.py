"""The queue in a SQLite file: for the processes of one machine, without any server.

Writers
    SQLite has one writer at a time. Every call that changes something is one short IMMEDIATE transaction (a batch of
    any size, never a wait in between), so that writers only ever wait for the length of such a batch. Whether there is
    anything to do at all is read first, without a lock: a hundred idle workers cost a hundred reads and not one write.

Waiting
    SQLite cannot tell another process that something was written, so whoever waits looks again, with pauses from 5 to
    100 ms. A look is one indexed read of some 20 µs.

Durability
    The file is in WAL mode and, unlike the state's, synchronous=FULL: what was put is still there after a power cut,
    for one fsync a batch. `?sync=normal` trades that for speed; a killed process loses nothing in either mode.

The clock
    Leases are measured by the wall clock of the machine, the only one that all its processes share and that goes on
    over a restart of the machine. If it is set forward, leases run out early and their tasks are done twice, which the
    fence makes harmless; if it is set back, those of dead workers last that much longer.

Payloads stand in a table of their own, because SQLite writes a whole row anew whenever a column changes.
"""

from __future__ import annotations

import heapq
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from dunlin.queue import rules
from dunlin.queue.base import Kind, Lease, News, NewTask, QueueStats, Status, TaskInfo, WorkerInfo
from dunlin.queue.rules import Fate, meant, stored
from dunlin.sqlite import BUSY_MS, Database, Schema, Warn, load_statements, open_database

T = TypeVar("T")

_HERE = os.path.dirname(__file__)
READY, LEASED, DEAD, OVER, DELAYED = range(5)
_SHOWN = {READY: Status.WAITING, LEASED: Status.LEASED, DEAD: Status.DEAD, DELAYED: Status.WAITING}
_CODES = {Status.WAITING: (READY, DELAYED), Status.LEASED: (LEASED,), Status.DEAD: (DEAD,)}
BATCH = 1000
"""Tasks that one transaction of `sweep` takes back."""
IDLE_LANES = 256
"""Empty lanes are left in the file up to that many lanes altogether."""


def _create() -> str:
    with open(os.path.join(_HERE, "embedded_schema.sql"), encoding="utf-8") as file:
        return file.read()


SCHEMA = Schema(
    what="queue file",
    option="--queue",
    application_id=0x446E6C51,  # "DnlQ"
    version=1,
    create=_create,
)


class Embedded:
    """A `Queue` in one file; see the module docstring. Make one with `Embedded.open`."""

    def __init__(
        self,
        connect: Callable[[], Database],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._connect = connect
        self._database = connect()
        self._inherited: list[Database] = []
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._sql = load_statements(os.path.join(_HERE, "embedded.sql"))

    @classmethod
    def open(
        cls,
        path: str,
        warn: Warn,
        *,
        durable: bool = True,
        busy_ms: int = BUSY_MS,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> Embedded:
        """The queue in the file `path`, which is made when there is none.

        Args:
            path: the file; beside it stand its WAL and its shared memory.
            warn: told when the file lies on a network mount, where the journal is slower.
            durable: a power cut loses nothing that a call returned for; else the last commits.
            busy_ms: how long a call waits for other writers, milliseconds.
            clock, monotonic, sleep: for tests. Seconds.

        Raises what `sqlite.open_database` raises.
        """

        def connect() -> Database:
            database = open_database(path, SCHEMA, warn, busy_ms=busy_ms)
            if durable and database.journal == "wal":
                database.execute("PRAGMA synchronous=FULL")
            return database

        return cls(connect, clock, monotonic, sleep)

    # ---- those who have work ----

    def put(self, tasks: Sequence[NewTask]) -> int:
        """See `Queue.put`."""
        for task in tasks:
            rules.fits(task.payload, task.key)
        rows: dict[tuple[str, str], NewTask] = {}
        for task in tasks:
            rows.setdefault((stored(task.queue), stored(task.key)), task)
        if not rows:
            return 0
        with self._write() as database:
            now = self._clock()
            lanes = self._lanes(database, rows.items())
            new = database.query_many(
                self._sql["task_new"],
                [(lanes[rules.lane(task)], *name, *_columns(task, now)) for name, task in rows.items()],
            )
            database.many(self._sql["body_new"], [(id, rows[queue, key].payload) for id, queue, key in new])
            for queue, count in Counter(queue for _, queue, _ in new).items():
                database.execute(self._sql["queue_put"], (queue, count))
        return len(new)

    def _lanes(self, database: Database, rows: Iterable[tuple[tuple[str, str], NewTask]]) -> dict[str, int]:
        lanes: dict[str, int] = {}
        for (queue, _), task in rows:
            name = rules.lane(task)
            if name not in lanes:
                database.execute(self._sql["queue_new"], (queue,))
                database.execute(self._sql["lane_new"], (queue, name))
                lanes[name] = database.value(self._sql["lane_id"], (name,))
        return lanes

    def collect(self, queue: str, count: int, wait: float = 0.0, after: int = 0) -> list[News]:
        """See `Queue.collect`."""

        def look() -> list[News]:
            rows = self._read(self._sql["news_page"], (stored(queue), after, count))
            return [
                News(number, meant(key), attempt, Kind(kind), body, meant(error), meant(worker))
                for number, key, attempt, kind, body, error, worker in rows
            ]

        return list(self._wait(look, wait))

    def confirm(self, queue: str, upto: int) -> None:
        """See `Queue.confirm`."""
        with self._write() as database:
            database.execute(self._sql["news_over"], (stored(queue), upto))
            database.execute(self._sql["news_confirm"], (stored(queue), upto))

    def known(self, queue: str, keys: Collection[str]) -> set[str]:
        """See `Queue.known`."""
        with self._held() as database:
            rows = database.query_many(self._sql["task_known"], [(stored(queue), stored(key)) for key in keys])
        return {meant(key) for (key,) in rows}

    def cancel(self, queue: str, keys: Collection[str] | None = None) -> int:
        """See `Queue.cancel`."""
        name = stored(queue)
        with self._write() as database:
            if keys is None:
                return self._remove(database, database.query(self._sql["task_all"], (name,)))
            wanted = {(name, stored(key)) for key in keys}
            return self._remove(database, database.query_many(self._sql["task_keyed"], wanted))

    def drop(self, queue: str) -> None:
        """See `Queue.drop`."""
        name = (stored(queue),)
        with self._write() as database:
            database.execute(self._sql["drop_bodies"], name)
            for table in ("task", "news", "lane"):
                database.execute(f"DELETE FROM {table} WHERE queue = ?", name)
            database.execute("DELETE FROM queue WHERE name = ?", name)

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
        """See `Queue.lease`."""
        patterns = [stored(pattern) for pattern in queues]
        hosts = {"", *map(stored, labels)}
        if count < 1:
            return []

        def look() -> list[Lease]:
            if not self._may_lease(patterns, hosts):
                return []
            until = self._monotonic() + seconds
            with self._write() as database:
                now = self._clock()
                database.execute(self._sql["delayed_ready"], (now,))
                ids = self._chosen(database, count, patterns, hosts)
                rows = database.query_many(self._sql["task_lease"], [(id, stored(worker), now + seconds) for id in ids])
            return [
                Lease(rules.name(id), meant(queue), meant(key), payload, attempt, until, meant(label), worker)
                for id, queue, key, payload, attempt, label in rows
            ]

        return list(self._wait(look, wait))

    def _may_lease(self, patterns: Sequence[str], hosts: Collection[str]) -> bool:
        """Whether it is worth a transaction."""
        with self._held() as database:
            ready = self._open(database, patterns, hosts)
            return bool(ready or database.query(self._sql["delayed_due"], (self._clock(),)))

    def _open(self, database: Database, patterns: Sequence[str], hosts: Collection[str]) -> list[_Lane]:
        """The lanes with ready tasks that such a worker may have, as far as caps go."""
        lanes = [_Lane(id, name) for id, name in database.query(self._sql["lane_ready"])]
        lanes = [lane for lane in lanes if lane.host in hosts and rules.matches(lane.queue, patterns)]
        room = self._room(database) if any(lane.groups for lane in lanes) else {}
        return [lane for lane in lanes if all(room.get(group, 1) > 0 for group in lane.groups)]

    def _room(self, database: Database) -> dict[str, int]:
        """How many more tasks of each capped group may be leased."""
        room = dict(database.query(self._sql["cap_all"]))
        for name, count in database.query(self._sql["lane_leased"]) if room else ():
            for group in _Lane(0, name).groups:
                if group in room:
                    room[group] -= count
        return room

    def _chosen(self, database: Database, count: int, patterns: Sequence[str], hosts: Collection[str]) -> list[int]:
        """The ids of the next tasks: the heads of the open lanes, merged."""
        lanes = self._open(database, patterns, hosts)
        room = self._room(database) if any(lane.groups for lane in lanes) else {}
        heads = [
            [(rank, id, lane) for rank, id in database.query(self._sql["task_head"], (lane.id, count))]
            for lane in lanes
        ]
        chosen: list[int] = []
        for _, id, lane in heapq.merge(*heads, key=lambda head: head[:2]):
            if len(chosen) == count:
                break
            if all(room.get(group, 1) > 0 for group in lane.groups):
                chosen.append(id)
                for group in lane.groups:
                    room[group] = room.get(group, count + 1) - 1
        return chosen

    def heartbeat(self, leases: Sequence[Lease], seconds: float) -> list[Lease | None]:
        """See `Queue.heartbeat`."""
        until = self._monotonic() + seconds
        names = list(map(_fence, leases))
        if not names:
            return []
        with self._write() as database:
            due = self._clock() + seconds
            held = set(database.query_many(self._sql["task_heartbeat"], [(*name, due) for name in names]))
        kept = [lease._replace(until=until) for lease in leases]
        return [lease if name in held else None for lease, name in zip(kept, names, strict=True)]

    def tell(self, lease: Lease, body: bytes) -> bool:
        """See `Queue.tell`."""
        rules.fits(body, lease.key)
        id = rules.number(lease.id)
        with self._write() as database:
            row = database.one(self._sql["task_held"], _fence(lease))
            if row is None:
                return False
            queue, key, worker, *_ = row
            self._tell(database, [(queue, id, key, lease.attempt, Kind.PART, body, "", worker)])
        return True

    def ack(self, done: Sequence[tuple[Lease, bytes]]) -> list[bool]:
        """See `Queue.ack`."""
        results = {_fence(lease): rules.fits(body, lease.key) for lease, body in done}
        if not results:
            return []
        with self._write() as database:
            rows = database.query_many(self._sql["task_done"], list(results))
            database.many(self._sql["body_drop"], [(id,) for id, *_ in rows])
            self._tell(
                database,
                [
                    (queue, id, key, attempt, Kind.DONE, results[id, attempt, worker, queue, key], "", worker)
                    for id, attempt, worker, queue, key in rows
                ],
            )
            for queue, count in Counter(row[3] for row in rows).items():
                database.execute(self._sql["queue_done"], (queue, count))
        over = set(rows)
        return [_fence(lease) in over for lease, _ in done]

    def nack(self, lease: Lease, error: str, delay: float = 0.0, final: bool = False) -> bool:
        """See `Queue.nack`."""
        id, error = rules.number(lease.id), stored(error)
        with self._write() as database:
            row = database.one(self._sql["task_held"], _fence(lease))
            if row is None:
                return False
            queue, key, worker, used, retries = row
            database.execute(self._sql["queue_failed"], (queue,))
            if rules.fate(used, retries, final=final) is Fate.AGAIN:
                status = DELAYED if delay > 0 else READY
                database.execute(self._sql["task_again"], (id, status, self._clock() + max(0.0, delay), error))
            else:
                database.execute(self._sql["task_dead"], (id, error))
                self._tell(database, [(queue, id, key, lease.attempt, Kind.DEAD, b"", error, worker)])
        return True

    def release(self, leases: Sequence[Lease]) -> None:
        """See `Queue.release`."""
        if leases:
            with self._write() as database:
                database.many(self._sql["task_release"], list(map(_fence, leases)))

    def hello(self, info: WorkerInfo, seconds: float) -> None:
        """See `Queue.hello`."""
        with self._write() as database:
            if seconds <= 0:
                database.execute(self._sql["worker_leave"], (stored(info.worker),))
                return
            now = self._clock()
            lists = (json.dumps(list(map(stored, info.queues))), json.dumps(list(map(stored, info.labels))))
            first = (stored(info.worker), stored(info.host), info.pid, info.slots, info.busy)
            last = (stored(info.version), now - info.age, now, now + seconds)
            database.execute(self._sql["worker_hello"], (*first, *lists, *last))

    # ---- those who look after it ----

    def sweep(self) -> int:
        """See `Queue.sweep`."""
        swept = 0
        while self._read(self._sql["task_expired"], (self._clock(), 1)):
            with self._write() as database:
                rows = database.query(self._sql["task_expired"], (self._clock(), BATCH))
                for row in rows:
                    self._take_back(database, *row)
            swept += len(rows)
        self._tidy()
        return swept

    def _take_back(
        self, database: Database, id: int, queue: str, key: str, worker: str, attempt: int, used: int, retries: int
    ) -> None:
        database.execute(self._sql["queue_lost"], (queue,))
        error = rules.ran_out(worker)
        match rules.fate(used, retries, expired=True):
            case Fate.AGAIN:
                database.execute(self._sql["task_again"], (id, READY, self._clock(), error))
            case Fate.LOST:
                database.execute(self._sql["task_over"], (id, error))
                database.execute(self._sql["body_drop"], (id,))
                self._tell(database, [(queue, id, key, attempt, Kind.LOST, b"", worker, worker)])
            case Fate.DEAD:
                database.execute(self._sql["task_dead"], (id, error))
                self._tell(database, [(queue, id, key, attempt, Kind.DEAD, b"", error, worker)])

    def _tidy(self) -> None:
        """Remove what nobody will ask for again; a read alone when there is nothing."""
        past = self._read(self._sql["past"], (self._clock(),))[0][0]
        empty = self._read("SELECT count(*) FROM lane")[0][0] > IDLE_LANES and self._read(self._sql["lane_empty"])
        if not past and not empty:
            return
        with self._write() as database:
            for table in ("board", "office", "worker"):
                database.execute(f"DELETE FROM {table} WHERE until <= ?", (self._clock(),))
            if empty:
                database.many(self._sql["lane_drop"], database.query(self._sql["lane_empty"]))

    def stats(self) -> list[QueueStats]:
        """See `Queue.stats`."""
        with self._held() as database:
            queues = database.query(self._sql["stats_queues"])
            counts: Counter[tuple[str, int]] = Counter()
            oldest: dict[str, int] = {}
            for queue, status, count, id in database.query(self._sql["stats_tasks"]):
                counts[queue, status] += count
                if status in (READY, DELAYED):
                    oldest[queue] = min(id, oldest.get(queue, id))
            created = {queue: database.value(self._sql["stats_created"], (id,)) for queue, id in oldest.items()}
        now = self._clock()
        return [
            QueueStats(
                meant(queue), counts[queue, READY], counts[queue, DELAYED], counts[queue, LEASED], counts[queue, DEAD],
                news, put, done, failed, lost, max(0.0, now - (created.get(queue) or now)), bool(paused),
            )
            for queue, news, put, done, failed, lost, paused in queues
        ]  # fmt: skip

    def tasks(
        self, queue: str = "", status: Status | None = None, search: str = "", after: str = "", count: int = 100
    ) -> list[TaskInfo]:
        """See `Queue.tasks`."""
        sql = self._sql["task_one"].replace("id = ?", "id > ?")
        bindings: list[Any] = [rules.number(after)]
        if queue:
            sql, bindings = f"{sql} AND queue = ?", [*bindings, stored(queue)]
        if status is not None:
            codes = _CODES[status]
            sql += f" AND status = {codes[0]}" if len(codes) == 1 else f" AND status IN {codes}"
        if search:
            sql, bindings = f"{sql} AND (instr(key, ?) OR instr(label, ?))", [*bindings, *[stored(search)] * 2]
        now = self._clock()
        return [_info(row, now) for row in self._read(f"{sql} ORDER BY id LIMIT ?", (*bindings, count))]

    def task(self, id: str) -> tuple[TaskInfo, bytes] | None:
        """See `Queue.task`."""
        with self._held() as database:
            row = database.one(self._sql["task_one"], (rules.number(id),))
            payload = database.value(self._sql["body_one"], (rules.number(id),))
        return None if row is None or payload is None else (_info(row, self._clock()), payload)

    def revive(self, ids: Sequence[str]) -> int:
        """See `Queue.revive`."""
        with self._write() as database:
            return len(database.query_many(self._sql["task_revive"], [(rules.number(id),) for id in ids]))

    def remove(self, ids: Sequence[str]) -> int:
        """See `Queue.remove`."""
        with self._write() as database:
            numbers = {(rules.number(id),) for id in ids}
            return self._remove(database, database.query_many(self._sql["task_there"], numbers))

    def _remove(self, database: Database, rows: Sequence[tuple[int]]) -> int:
        database.many(self._sql["body_drop"], rows)
        database.many(self._sql["task_remove"], rows)
        return len(rows)

    def pause(self, queue: str, paused: bool = True) -> None:
        """See `Queue.pause`."""
        with self._write() as database:
            database.execute(self._sql["queue_new"], (stored(queue),))
            database.execute(self._sql["queue_pause"], (stored(queue), paused))

    def cap(self, group: str, most: int) -> None:
        """See `Queue.cap`."""
        with self._write() as database:
            if most > 0:
                database.execute(self._sql["cap_set"], (stored(group), most))
            else:
                database.execute(self._sql["cap_drop"], (stored(group),))

    def workers(self) -> list[WorkerInfo]:
        """See `Queue.workers`."""
        now = self._clock()
        return [_worker(row, now) for row in self._read(self._sql["worker_all"], (now,))]

    # ---- what those who share the queue agree on ----

    def write(self, name: str, value: bytes | None, seconds: float = 0.0) -> None:
        """See `Queue.write`."""
        with self._write() as database:
            if value is None:
                database.execute(self._sql["board_drop"], (stored(name),))
            else:
                until = self._clock() + seconds if seconds > 0 else None
                database.execute(self._sql["board_set"], (stored(name), rules.fits(value, name), until))

    def read(self, name: str) -> bytes | None:
        """See `Queue.read`."""
        rows = self._read(self._sql["board_get"], (stored(name), self._clock()))
        return rows[0][0] if rows else None

    def hold(self, name: str, owner: str, seconds: float) -> bool:
        """See `Queue.hold`."""
        with self._write() as database:
            now = self._clock()
            return bool(database.query(self._sql["office_take"], (stored(name), stored(owner), now + seconds, now)))

    def leave(self, name: str, owner: str) -> None:
        """See `Queue.leave`."""
        with self._write() as database:
            database.execute(self._sql["office_leave"], (stored(name), stored(owner)))

    def draw(self, name: str, amount: int, rate: int, burst: int) -> float:
        """See `Queue.draw`."""
        if rate <= 0:
            return 0.0
        with self._write() as database:
            now = self._clock()
            owed, at = database.one(self._sql["bucket_get"], (stored(name),)) or (0.0, now)
            owed, wait = rules.debt(owed, now - at, amount, rate, burst)
            database.execute(self._sql["bucket_set"], (stored(name), owed, now))
        return wait

    def close(self) -> None:
        """See `Queue.close`."""
        if os.getpid() == self._pid:
            with self._lock:
                self._database.close()

    # ---- the file ----

    @contextmanager
    def _held(self) -> Iterator[Database]:
        """The connection of this process, for this thread alone."""
        if os.getpid() != self._pid:
            # SQLite forbids to use, and even to close, a connection that a fork brought along; and a thread that held
            # the lock is not there to let go of it.
            self._inherited.append(self._database)
            self._database, self._lock, self._pid = self._connect(), threading.RLock(), os.getpid()
        with self._lock:
            yield self._database

    @contextmanager
    def _write(self) -> Iterator[Database]:
        with self._held() as database, database.transaction():
            yield database

    def _read(self, sql: str, bindings: Sequence[Any] = ()) -> list[Any]:
        with self._held() as database:
            return database.query(sql, bindings)

    def _wait(self, look: Callable[[], Sequence[T]], wait: float) -> Sequence[T]:
        return rules.waiting(look, wait, sleep=self._sleep, clock=self._monotonic)

    def _tell(self, database: Database, news: Sequence[tuple[str, int, str, int, Kind, bytes, str, str]]) -> None:
        """Add news: queue, number of the task, key, attempt, kind, body, error, worker, all names as stored."""
        at = int(self._clock() * 1e6)
        database.many(self._sql["news_new"], [(at, *row[:4], row[4].value, *row[5:]) for row in news])


class _Lane:
    """A lane that was read: see rules.py."""

    __slots__ = ("groups", "host", "id", "queue")

    def __init__(self, id: int, name: str) -> None:
        self.id = id
        self.queue, self.host, *self.groups = name.split(rules.UNIT)


def _fence(lease: Lease) -> tuple[int, int, str, str, str]:
    """What a lease is known by: number, attempt, worker, queue, key."""
    return rules.number(lease.id), lease.attempt, stored(lease.worker), stored(lease.queue), stored(lease.key)


def _columns(task: NewTask, now: float) -> tuple[int, int, int, float, float, int, str]:
    """What a row of a new task holds behind its names."""
    status = DELAYED if task.delay > 0 else READY
    due = now + max(0.0, task.delay)
    rank = rules.weight(task.priority) + int(now)
    return status, rank, task.retries, now, due, len(task.payload), stored(task.label)


def _info(row: Sequence[Any], now: float) -> TaskInfo:
    id, queue, key, label, status, rank, attempt, retries, worker, error, created, due, size = row
    priority = rules.priority(int(created) - rank)
    return TaskInfo(
        rules.name(id), meant(queue), meant(key), meant(label), _SHOWN[status], priority, attempt, retries,
        meant(worker), meant(error), max(0.0, now - created), due - now if status in (LEASED, DELAYED) else 0.0, size,
    )  # fmt: skip


def _worker(row: Sequence[Any], now: float) -> WorkerInfo:
    name, host, pid, slots, busy, queues, labels, version, born, seen = row
    return WorkerInfo(
        meant(name), meant(host), pid, slots, busy, tuple(map(meant, json.loads(queues))),
        tuple(map(meant, json.loads(labels))), meant(version), max(0.0, now - born), max(0.0, now - seen),
    )  # fmt: skip
