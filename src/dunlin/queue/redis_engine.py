"""The queue in Redis: for workers on any machine.

Every verb is one Lua script, so one round trip, and nothing comes between its steps. The scripts take the time from
the server, and lanes, fence and fates are those of the other engines (rules.py). All state stands in Redis's own
structures, so that what a server does to keep them (its append-only file, replicas) is all that durability needs.

Durability
    With the defaults of Redis a crash loses minutes. With `appendonly yes` it loses the last second; with
    `appendfsync always` besides, nothing that a call returned for. The owner of a run finds out what was lost with
    `known` and puts it again. `maxmemory-policy` must be `noeviction`: Redis must not forget tasks to make room.

Requests are never sent a second time by the library: a lease whose answer got lost would be taken twice.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue import rules
from dunlin.queue.base import Kind, Lease, News, NewTask, QueueStats, Status, TaskInfo, WorkerInfo
from dunlin.queue.rules import meant, stored
from dunlin.sqlite import load_statements

T = TypeVar("T")

_HERE = os.path.dirname(__file__)
CONNECTIONS = 64
"""Most connections of a process."""
BATCH = 1000
"""Tasks that one script of a long work looks at."""
RANKS = 1 << 31
"""Added to ranks, so that their eight hexadecimal digits sort as they do."""
CONNECT_S, ANSWER_S = 10.0, 30.0
_STATUS = {b"0": Status.WAITING, b"1": Status.LEASED, b"2": Status.DEAD, b"4": Status.WAITING}


def open_redis(
    url: str,
    where: str,
    namespace: str = "dunlin",
    connections: int = CONNECTIONS,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> RedisQueue:
    """The queue in a Redis server, 6.2 or newer.

    Args:
        url: redis://[USER:PASSWORD@]HOST[:PORT][/DB], or rediss:// for TLS, with redis-py's own parameters.
        where: the URL for people, without the password.
        namespace: all keys begin with `{NAMESPACE}:queue:`.
        connections: most connections of this process.

    Raises:
        DunlinError: NETWORK, AUTH and so on as `translated` says; USAGE when the URL cannot be read.
    """
    try:
        pool = redis.BlockingConnectionPool.from_url(
            url, max_connections=connections, timeout=ANSWER_S, retry=Retry(NoBackoff(), 0), protocol=2,
            socket_connect_timeout=CONNECT_S, socket_timeout=ANSWER_S, socket_keepalive=True,
        )  # fmt: skip
        secret = unquote(urlsplit(url).password or "")
    except (ValueError, TypeError):
        raise DunlinError("read the address of the queue", where, ErrorKind.USAGE, "it is no valid URL") from None
    queue = RedisQueue(redis.Redis(connection_pool=pool), where, namespace, secret, monotonic, sleep)
    try:
        queue.check()
    except BaseException:
        queue.close()
        raise
    return queue


class RedisQueue:
    """A `Queue` in one server; see the module docstring. Make one with `open_redis`."""

    def __init__(
        self,
        client: redis.Redis,
        where: str,
        namespace: str = "dunlin",
        secret: str = "",
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._client: Any = client
        self._where = where
        self._secret = secret
        self._prefix = f"{{{namespace}}}:queue:"
        self._monotonic = monotonic
        self._sleep = sleep
        scripts = load_statements(os.path.join(_HERE, "redis_engine.lua"))
        common = scripts.pop("common")
        self._scripts = {name: self._client.register_script(f"{common}\n{body}") for name, body in scripts.items()}

    def check(self) -> None:
        """Reach the server; raises what `translated` says."""
        self._call(self._client.ping, operation="open the queue")

    # ---- those who have work ----

    def put(self, tasks: Sequence[NewTask]) -> int:
        """See `Queue.put`."""
        words: list[Any] = []
        for task in tasks:
            payload = rules.fits(task.payload, task.key)
            words += [stored(task.queue), stored(task.key), rules.lane(task), payload]
            words += [RANKS + rules.weight(task.priority), _ms(task.delay), task.retries, stored(task.label)]
        return int(self._script("put", words)) if words else 0

    def collect(self, queue: str, count: int, wait: float = 0.0, after: int = 0) -> list[News]:
        """See `Queue.collect`."""
        stream = f"{self._prefix}news:{stored(queue)}"

        def look() -> list[News]:
            entries = self._call(lambda: self._client.xrange(stream, min=f"{after + 1}-0", count=count))
            return [_news(id, fields) for id, fields in entries]

        return list(self._wait(look, wait))

    def confirm(self, queue: str, upto: int) -> None:
        """See `Queue.confirm`."""
        self._script("confirm", [stored(queue), upto])

    def known(self, queue: str, keys: Collection[str]) -> set[str]:
        """See `Queue.known`."""
        if not keys:
            return set()
        wanted = list(keys)
        name = f"{self._prefix}keys:{stored(queue)}"
        found = self._call(lambda: self._client.hmget(name, [stored(key) for key in wanted]))
        return {key for key, id in zip(wanted, found, strict=True) if id is not None}

    def cancel(self, queue: str, keys: Collection[str] | None = None) -> int:
        """See `Queue.cancel`."""
        name = f"{self._prefix}keys:{stored(queue)}"
        if keys is None:
            ids = self._call(lambda: [id for _, id in self._client.hscan_iter(name, count=BATCH)])
        else:
            wanted = [stored(key) for key in keys]
            ids = self._call(lambda: self._client.hmget(name, wanted)) if wanted else []
        return self._remove([id for id in ids if id is not None])

    def drop(self, queue: str) -> None:
        """See `Queue.drop`."""
        self.cancel(queue)
        self._script("drop", [stored(queue)])

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
        words = [stored(worker), count, _ms(seconds), len(queues), *map(stored, queues), "", *map(stored, labels)]

        def look() -> list[Lease]:
            until = self._monotonic() + seconds
            return [
                Lease(id.decode(), _name(queue), _name(key), payload, int(attempt), until, _name(label), worker)
                for id, queue, key, payload, attempt, label in self._script("lease", words)
            ]

        return list(self._wait(look, wait))

    def heartbeat(self, leases: Sequence[Lease], seconds: float) -> list[Lease | None]:
        """See `Queue.heartbeat`."""
        if not leases:
            return []
        until = self._monotonic() + seconds
        kept = self._script("heartbeat", [_ms(seconds), *_fences(leases)])
        return [lease._replace(until=until) if is_held else None for lease, is_held in zip(leases, kept, strict=True)]

    def tell(self, lease: Lease, body: bytes) -> bool:
        """See `Queue.tell`."""
        return bool(self._script("tell", [*_fences([lease]), rules.fits(body, lease.key)]))

    def ack(self, done: Sequence[tuple[Lease, bytes]]) -> list[bool]:
        """See `Queue.ack`."""
        words = [word for lease, body in done for word in (*_fences([lease]), rules.fits(body, lease.key))]
        return [bool(kept) for kept in self._script("ack", words)] if words else []

    def nack(self, lease: Lease, error: str, delay: float = 0.0, final: bool = False) -> bool:
        """See `Queue.nack`."""
        return bool(self._script("nack", [*_fences([lease]), stored(error), _ms(delay), int(final)]))

    def release(self, leases: Sequence[Lease]) -> None:
        """See `Queue.release`."""
        if leases:
            self._script("release", _fences(leases))

    def hello(self, info: WorkerInfo, seconds: float) -> None:
        """See `Queue.hello`."""
        if seconds <= 0:
            self._call(lambda: self._client.hdel(f"{self._prefix}workers", stored(info.worker)))
            return
        told = [info.host, info.pid, info.slots, info.busy, list(info.queues), list(info.labels), info.version]
        # JSON escapes what is no text; the scripts keep the inner string as it is
        words = json.dumps({"info": json.dumps(told)})
        self._script("hello", [stored(info.worker), words, _ms(info.age), _ms(seconds)])

    # ---- those who look after it ----

    def sweep(self) -> int:
        """See `Queue.sweep`."""
        swept = 0
        while count := int(self._script("sweep", [BATCH])):
            swept += count
        self._script("tidy", [])
        return swept

    def stats(self) -> list[QueueStats]:
        """See `Queue.stats`."""
        return sorted(map(_stats, self._script("stats", [])))

    def tasks(
        self, queue: str = "", status: Status | None = None, search: str = "", after: str = "", count: int = 100
    ) -> list[TaskInfo]:
        """See `Queue.tasks`."""
        found: list[TaskInfo] = []
        place = after
        while len(found) < count:
            words = [place, stored(queue), status.value if status else "", stored(search), count - len(found), BATCH]
            last, rows = self._script("tasks", words)
            if not last:
                break
            place = last.decode()
            found += map(_info, rows)
        return found

    def task(self, id: str) -> tuple[TaskInfo, bytes] | None:
        """See `Queue.task`."""
        row = self._script("task", [stored(id)])
        return (_info(row[:-1]), row[-1]) if row else None

    def revive(self, ids: Sequence[str]) -> int:
        """See `Queue.revive`."""
        return int(self._script("revive", list(map(stored, ids))))

    def remove(self, ids: Sequence[str]) -> int:
        """See `Queue.remove`."""
        return self._remove(list(map(stored, ids)))

    def _remove(self, ids: Sequence[Any]) -> int:
        """Remove tasks some at a time: a script keeps everybody else waiting."""
        return sum(int(self._script("remove", ids[start : start + BATCH])) for start in range(0, len(ids), BATCH))

    def pause(self, queue: str, paused: bool = True) -> None:
        """See `Queue.pause`."""
        self._script("pause", [stored(queue), int(paused)])

    def cap(self, group: str, most: int) -> None:
        """See `Queue.cap`."""
        name = f"{self._prefix}cap"
        if most > 0:
            self._call(lambda: self._client.hset(name, stored(group), most))
        else:
            self._call(lambda: self._client.hdel(name, stored(group)))

    def workers(self) -> list[WorkerInfo]:
        """See `Queue.workers`."""
        return sorted(map(_worker, self._script("workers", [])))

    # ---- what those who share the queue agree on ----

    def write(self, name: str, value: bytes | None, seconds: float = 0.0) -> None:
        """See `Queue.write`."""
        key = f"{self._prefix}board:{stored(name)}"
        if value is None:
            self._call(lambda: self._client.delete(key))
        else:
            body, ms = rules.fits(value, name), _ms(seconds)
            self._call(lambda: self._client.set(key, body, px=ms or None))

    def read(self, name: str) -> bytes | None:
        """See `Queue.read`."""
        key = f"{self._prefix}board:{stored(name)}"
        found: bytes | None = self._call(lambda: self._client.get(key))
        return found

    def hold(self, name: str, owner: str, seconds: float) -> bool:
        """See `Queue.hold`."""
        return bool(self._script("hold", [stored(name), stored(owner), max(1, _ms(seconds))]))

    def leave(self, name: str, owner: str) -> None:
        """See `Queue.leave`."""
        self._script("leave", [stored(name), stored(owner)])

    def draw(self, name: str, amount: int, rate: int, burst: int) -> float:
        """See `Queue.draw`."""
        return float(self._script("draw", [stored(name), amount, rate, burst])) if rate > 0 else 0.0

    def close(self) -> None:
        """See `Queue.close`."""
        self._client.close()
        self._client.connection_pool.disconnect()

    # ---- the server ----

    def _script(self, name: str, words: Sequence[Any]) -> Any:
        return self._call(lambda: self._scripts[name](keys=[self._prefix], args=words))

    def _call(self, call: Callable[[], Any], operation: str = "use the queue") -> Any:
        try:
            return call()
        except exceptions.RedisError as error:
            found = translated(error, operation, self._where)
        except OSError as error:  # what the library lets through: name look-ups, TLS
            found = DunlinError(operation, self._where, ErrorKind.NETWORK, str(error))
        if self._secret:
            found.reason = found.reason.replace(self._secret, "***")
            found.args = (*found.args[:3], found.reason, found.hint)
        raise found from None

    def _wait(self, look: Callable[[], Sequence[T]], wait: float) -> Sequence[T]:
        return rules.waiting(look, wait, rules.FAR_PAUSE, sleep=self._sleep, clock=self._monotonic)


def translated(error: exceptions.RedisError, operation: str, where: str) -> DunlinError:
    """The `DunlinError` for what redis-py raised.

    NETWORK: nobody answers, the connection broke, the server is starting, a replica, or cannot save. AUTH: it refuses
    the login. DENIED: the user may not do that. NO_SPACE: its memory is full. All else is INTERNAL.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    word = text.partition(" ")[0]
    match error:
        case exceptions.NoPermissionError():
            return DunlinError(operation, where, ErrorKind.DENIED, text)
        case (
            exceptions.AuthenticationError()
            | exceptions.AuthorizationError()
            | exceptions.AuthenticationWrongNumberOfArgsError()
        ):
            return DunlinError(operation, where, ErrorKind.AUTH, text, "check the user and the password in its URL")
        case exceptions.OutOfMemoryError():
            return DunlinError(operation, where, ErrorKind.NO_SPACE, text, "raise maxmemory of the server")
        case exceptions.ConnectionError() | exceptions.TimeoutError() | exceptions.ReadOnlyError():
            return DunlinError(operation, where, ErrorKind.NETWORK, text)
    if word in ("NOAUTH", "WRONGPASS") or "AUTH <password>" in text:
        return DunlinError(operation, where, ErrorKind.AUTH, text, "check the user and the password in its URL")
    if word == "OOM" or " -OOM " in f" {text}":
        return DunlinError(operation, where, ErrorKind.NO_SPACE, text, "raise maxmemory of the server")
    if word in ("LOADING", "MISCONF", "READONLY", "MASTERDOWN", "BUSY", "TRYAGAIN", "CLUSTERDOWN"):
        return DunlinError(operation, where, ErrorKind.NETWORK, text)
    return DunlinError(operation, where, ErrorKind.INTERNAL, text)


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _name(raw: bytes) -> str:
    return meant(raw.decode())


def _fences(leases: Sequence[Lease]) -> list[Any]:
    return [
        word
        for lease in leases
        for word in (lease.id, lease.attempt, stored(lease.worker), stored(lease.queue), stored(lease.key))
    ]


def _news(id: bytes, fields: dict[bytes, bytes]) -> News:
    number, kind = int(id.partition(b"-")[0]), Kind(fields[b"kind"].decode())
    error, worker = _name(fields[b"error"]), _name(fields[b"worker"])
    return News(number, _name(fields[b"key"]), int(fields[b"attempt"]), kind, fields[b"body"], error, worker)


def _stats(row: Sequence[bytes]) -> QueueStats:
    waiting, news, age, delayed, leased, dead, put, done, failed, lost, paused = map(int, row[1:])
    return QueueStats(
        _name(row[0]), waiting - delayed, delayed, leased, dead, news, put, done, failed, lost, age / 1000, bool(paused)
    )


def _worker(row: Sequence[bytes]) -> WorkerInfo:
    host, pid, slots, busy, queues, labels, version = json.loads(row[1])
    age, seen = int(row[2]) / 1000, int(row[3]) / 1000
    return WorkerInfo(_name(row[0]), host, pid, slots, busy, tuple(queues), tuple(labels), version, age, seen)


def _info(row: Sequence[bytes]) -> TaskInfo:
    id, queue, key, label, status, lead, attempt, retries, worker, error, age, due, size = row
    return TaskInfo(
        id.decode(), _name(queue), _name(key), _name(label), _STATUS[status], rules.priority(int(lead)), int(attempt),
        int(retries), _name(worker), _name(error), int(age) / 1000, int(due) / 1000, int(size),
    )  # fmt: skip
