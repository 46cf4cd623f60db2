"""The queue in PostgreSQL: for workers on any machine.

Leases
    One statement takes the heads of all open lanes with FOR UPDATE SKIP LOCKED, so workers never wait for each other.
    Where groups have caps, leases are given one at a time (an advisory lock until the commit), because a cap over
    all workers can be counted only when nobody else is about to lease.

News
    `collect` numbers what is new, one collector at a time: see the schema. Totals of a queue are spread over rows for
    the same reason: what all commits change, they queue for, each as long as a write to disk takes.

Waiting
    By looking again, with pauses from 12 to 250 ms. LISTEN and NOTIFY would wake sooner, but every commit that notifies
    takes one lock of the whole server, which is what a queue with many workers can afford least, and poolers
    of connections do not pass it on.

Durability
    What the server is set up for: with its default, `synchronous_commit = on`, what a call returned for is on disk.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue import rules
from dunlin.queue.base import Kind, Lease, News, NewTask, QueueStats, Status, TaskInfo, WorkerInfo
from dunlin.queue.postgres_pool import CONNECTIONS, Pool
from dunlin.queue.rules import meant, stored
from dunlin.sqlite import load_statements

T = TypeVar("T")

_HERE = os.path.dirname(__file__)
VERSION = 1
BATCH = 1000
INDEXES = "SET jit = off; " + "; ".join(
    f"SET enable_{way} = off" for way in ("seqscan", "bitmapscan", "hashjoin", "mergejoin")
)
"""Every frequent statement has its index. A plan that was kept from when the table was empty must use it, too."""
_SHOWN = {0: Status.WAITING, 1: Status.LEASED, 2: Status.DEAD, 4: Status.WAITING}
_CODES = {None: [0, 1, 2, 4], Status.WAITING: [0, 4], Status.LEASED: [1], Status.DEAD: [2]}


def open_postgres(
    url: str,
    where: str,
    namespace: str = "dunlin",
    connections: int = CONNECTIONS,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Postgres:
    """The queue in the schema `NAMESPACE_queue` of a database, which is made when there is none.

    Args:
        url: libpq's URL (postgresql://USER:PASSWORD@HOST/DATABASE?sslmode=...).
        where: the URL for people, without the password.
        namespace: a lower-case identifier.
        connections: most connections of this process.

    Raises:
        DunlinError: NETWORK, AUTH, NOT_FOUND, DENIED as `postgres_pool.translated` says; NEWER for a schema that a
            newer dunlin made; USAGE when the URL cannot be read.
    """
    pool = Pool(url, where, connections, INDEXES)
    schema = f"{namespace}_queue"
    try:
        _prepare(pool, schema, where)
    except BaseException:
        pool.close()
        raise
    return Postgres(pool, schema, monotonic, sleep)


def _prepare(pool: Pool, schema: str, where: str) -> None:
    """Make the schema, one process at a time; the answer to most calls is one read."""
    operation = "open the queue"
    with pool.connection(operation) as connection:
        version = _version(connection, schema)
        if not version:
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (schema,))
                version = _version(connection, schema)
                if not version:
                    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}".encode())
                    with open(os.path.join(_HERE, "postgres_schema.sql"), encoding="utf-8") as file:
                        connection.execute(file.read().replace("{schema}", schema).encode())
                    version = VERSION
    if version > VERSION:
        reason = f"it was made by a newer dunlin (schema {version}, this one knows {VERSION})"
        raise DunlinError(operation, where, ErrorKind.NEWER, reason, "update dunlin")


def _version(connection: Any, schema: str) -> int:
    # Asked of the table of tables: to_regclass would remember from before the lock that there is none.
    there = "SELECT 1 FROM pg_tables WHERE schemaname = %s AND tablename = 'version'"
    if connection.execute(there, (schema,)).fetchone() is None:
        return 0
    return int(connection.execute(f"SELECT number FROM {schema}.version".encode()).fetchone()[0])


class Postgres:
    """A `Queue` in one schema; see the module docstring. Make one with `open_postgres`."""

    def __init__(
        self,
        pool: Pool,
        schema: str,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._pool = pool
        self._monotonic = monotonic
        self._sleep = sleep
        statements = load_statements(os.path.join(_HERE, "postgres.sql"))
        self._sql = {name: sql.replace("{schema}", schema) for name, sql in statements.items()}

    # ---- those who have work ----

    def put(self, tasks: Sequence[NewTask]) -> int:
        """See `Queue.put`."""
        if not tasks:
            return 0
        values: dict[str, Any] = {
            "queues": [stored(task.queue) for task in tasks],
            "keys": [stored(task.key) for task in tasks],
            "lanes": [rules.lane(task) for task in tasks],
            "payloads": [rules.fits(task.payload, task.key) for task in tasks],
            "weights": [rules.weight(task.priority) for task in tasks],
            "delays": [float(task.delay) for task in tasks],
            "retries": [task.retries for task in tasks],
            "labels": [stored(task.label) for task in tasks],
        }
        return int(self._rows("put", values)[0][0])

    def collect(self, queue: str, count: int, wait: float = 0.0, after: int = 0) -> list[News]:
        """See `Queue.collect`."""

        def look() -> list[News]:
            rows = self._rows("collect", {"queue": stored(queue), "count": count, "after": after})
            return [
                News(number, meant(key), attempt, Kind(kind), body, meant(error), meant(worker))
                for number, key, attempt, kind, body, error, worker in rows
            ]

        return list(self._wait(look, wait))

    def confirm(self, queue: str, upto: int) -> None:
        """See `Queue.confirm`."""
        self._count("confirm", {"queue": stored(queue), "upto": upto})

    def known(self, queue: str, keys: Collection[str]) -> set[str]:
        """See `Queue.known`."""
        rows = self._rows("known", {"queue": stored(queue), "keys": [stored(key) for key in keys]})
        return {meant(key) for (key,) in rows}

    def cancel(self, queue: str, keys: Collection[str] | None = None) -> int:
        """See `Queue.cancel`."""
        if keys is None:
            return self._count("cancel_all", {"queue": stored(queue)})
        return self._count("cancel", {"queue": stored(queue), "keys": [stored(key) for key in keys]})

    def drop(self, queue: str) -> None:
        """See `Queue.drop`."""
        self._count("drop", {"queue": stored(queue)})

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
        if count < 1:
            return []
        values = {
            "worker": stored(worker),
            "count": count,
            "seconds": float(seconds),
            "queues": [stored(pattern) for pattern in queues],
            "hosts": ["", *map(stored, labels)],
        }

        def look() -> list[Lease]:
            until = self._monotonic() + seconds
            return [
                Lease(rules.name(id), meant(queue), meant(key), payload, attempt, until, meant(label), worker)
                for id, queue, key, payload, attempt, label in self._rows("lease", values)
            ]

        return list(self._wait(look, wait))

    def heartbeat(self, leases: Sequence[Lease], seconds: float) -> list[Lease | None]:
        """See `Queue.heartbeat`."""
        if not leases:
            return []
        until = self._monotonic() + seconds
        held = {tuple(row) for row in self._rows("heartbeat", {**_names(leases), "seconds": float(seconds)})}
        return [lease._replace(until=until) if tuple(_name(lease).values()) in held else None for lease in leases]

    def tell(self, lease: Lease, body: bytes) -> bool:
        """See `Queue.tell`."""
        return self._count("tell", {**_name(lease), "body": rules.fits(body, lease.key)}) == 1

    def ack(self, done: Sequence[tuple[Lease, bytes]]) -> list[bool]:
        """See `Queue.ack`."""
        if not done:
            return []
        bodies = [rules.fits(body, lease.key) for lease, body in done]
        rows = self._rows("ack", {**_names([lease for lease, _ in done]), "bodies": bodies})
        over = {tuple(row) for row in rows}
        return [tuple(_name(lease).values()) in over for lease, _ in done]

    def nack(self, lease: Lease, error: str, delay: float = 0.0, final: bool = False) -> bool:
        """See `Queue.nack`."""
        values = {**_name(lease), "error": stored(error), "delay": max(0.0, float(delay)), "final": final}
        return self._rows("nack", values) == [(1,)]

    def release(self, leases: Sequence[Lease]) -> None:
        """See `Queue.release`."""
        if leases:
            self._count("release", _names(leases))

    def hello(self, info: WorkerInfo, seconds: float) -> None:
        """See `Queue.hello`."""
        if seconds <= 0:
            self._count("goodbye", {"worker": stored(info.worker)})
            return
        names = {"worker": stored(info.worker), "host": stored(info.host), "version": stored(info.version)}
        lists = {"queues": list(map(stored, info.queues)), "labels": list(map(stored, info.labels))}
        numbers = {"pid": info.pid, "slots": info.slots, "busy": info.busy}
        self._count("hello", {**names, **lists, **numbers, "age": float(info.age), "seconds": float(seconds)})

    # ---- those who look after it ----

    def sweep(self) -> int:
        """See `Queue.sweep`."""
        swept = 0
        while count := int(self._rows("sweep", {"count": BATCH})[0][0]):
            swept += count
        self._count("tidy", {})
        return swept

    def stats(self) -> list[QueueStats]:
        """See `Queue.stats`."""
        return [QueueStats(meant(queue), *figures) for queue, *figures in self._rows("stats", {})]

    def tasks(
        self, queue: str = "", status: Status | None = None, search: str = "", after: str = "", count: int = 100
    ) -> list[TaskInfo]:
        """See `Queue.tasks`."""
        place = {"after": rules.number(after), "count": count, "statuses": _CODES[status]}
        return [_info(row) for row in self._rows("tasks", {**place, "queue": stored(queue), "search": stored(search)})]

    def task(self, id: str) -> tuple[TaskInfo, bytes] | None:
        """See `Queue.task`."""
        for *row, payload in self._rows("task", {"id": rules.number(id)}):
            return _info(row), payload
        return None

    def revive(self, ids: Sequence[str]) -> int:
        """See `Queue.revive`."""
        return self._count("revive", {"ids": list(map(rules.number, ids))})

    def remove(self, ids: Sequence[str]) -> int:
        """See `Queue.remove`."""
        return self._count("remove", {"ids": list(map(rules.number, ids))})

    def pause(self, queue: str, paused: bool = True) -> None:
        """See `Queue.pause`."""
        self._count("pause", {"queue": stored(queue), "paused": paused})

    def cap(self, group: str, most: int) -> None:
        """See `Queue.cap`."""
        if most > 0:
            self._count("cap", {"group": stored(group), "most": most})
        else:
            self._count("uncap", {"group": stored(group)})

    def workers(self) -> list[WorkerInfo]:
        """See `Queue.workers`."""
        return [_worker(row) for row in self._rows("workers", {})]

    # ---- what those who share the queue agree on ----

    def write(self, name: str, value: bytes | None, seconds: float = 0.0) -> None:
        """See `Queue.write`."""
        if value is None:
            self._count("forget", {"name": stored(name)})
        else:
            self._count("write", {"name": stored(name), "value": rules.fits(value, name), "seconds": float(seconds)})

    def read(self, name: str) -> bytes | None:
        """See `Queue.read`."""
        rows = self._rows("read", {"name": stored(name)})
        return rows[0][0] if rows else None

    def hold(self, name: str, owner: str, seconds: float) -> bool:
        """See `Queue.hold`."""
        return bool(self._rows("hold", {"name": stored(name), "owner": stored(owner), "seconds": float(seconds)}))

    def leave(self, name: str, owner: str) -> None:
        """See `Queue.leave`."""
        self._count("leave", {"name": stored(name), "owner": stored(owner)})

    def draw(self, name: str, amount: int, rate: int, burst: int) -> float:
        """See `Queue.draw`."""
        if rate <= 0:
            return 0.0
        values = {"name": stored(name), "amount": float(amount), "rate": float(rate), "burst": float(burst)}
        return float(self._rows("draw", values)[0][0])

    def close(self) -> None:
        """See `Queue.close`."""
        self._pool.close()

    # ---- statements ----

    def _rows(self, name: str, values: dict[str, Any]) -> list[Any]:
        return self._pool.rows(self._sql[name], values)

    def _count(self, name: str, values: dict[str, Any]) -> int:
        return self._pool.count(self._sql[name], values)

    def _wait(self, look: Callable[[], Sequence[T]], wait: float) -> Sequence[T]:
        return rules.waiting(look, wait, rules.FAR_PAUSE, sleep=self._sleep, clock=self._monotonic)


def _name(lease: Lease) -> dict[str, Any]:
    names = {"worker": stored(lease.worker), "queue": stored(lease.queue), "key": stored(lease.key)}
    return {"id": rules.number(lease.id), "attempt": lease.attempt, **names}


def _names(leases: Sequence[Lease]) -> dict[str, Any]:
    given = list(map(_name, leases))
    return {f"{name}s": [each[name] for each in given] for name in ("id", "attempt", "worker", "queue", "key")}


def _info(row: Sequence[Any]) -> TaskInfo:
    id, queue, key, label, status, lead, attempt, retries, worker, error, age, due, size = row
    return TaskInfo(
        rules.name(id), meant(queue), meant(key), meant(label), _SHOWN[status], rules.priority(lead), attempt, retries,
        meant(worker), meant(error), age, due, size,
    )  # fmt: skip


def _worker(row: Sequence[Any]) -> WorkerInfo:
    name, host, pid, slots, busy, queues, labels, version, age, seen = row
    return WorkerInfo(
        meant(name), meant(host), pid, slots, busy, tuple(map(meant, queues)), tuple(map(meant, labels)),
        meant(version), age, seen,
    )  # fmt: skip
