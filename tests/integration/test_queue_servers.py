"""Queues on servers that refuse, lack or ration something: one clear line, without the password."""

from __future__ import annotations

import glob
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import psycopg
import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.base import NewTask, Queue
from dunlin.queue.open import open_queue
from dunlin.queue.postgres import open_postgres
from dunlin.queue.postgres_pool import Pool
from dunlin.queue.redis_engine import RedisQueue
from tests.servers.postgres import Postgres
from tests.servers.redis import Redis, redis_server

WRONG = "wr%C3%B6ng-pass"


def refused(url: str) -> DunlinError:
    with pytest.raises(DunlinError) as raised:
        open_queue(url)
    text = f"{raised.value}{raised.value!r}"
    assert "wr" + "öng" not in text
    assert WRONG not in text
    assert "\n" not in str(raised.value)
    return raised.value


def test_a_wrong_password_for_postgres(postgres: Postgres) -> None:
    assert refused(postgres.url(password=WRONG)).kind is ErrorKind.AUTH


def test_no_password_for_postgres(postgres: Postgres) -> None:
    assert refused(postgres.url().replace(f":{postgres.password}@", "@")).kind is ErrorKind.AUTH


def test_a_database_that_is_not_there(postgres: Postgres) -> None:
    error = refused(postgres.url("nowhere"))
    assert error.kind is ErrorKind.NOT_FOUND
    assert "nowhere" in str(error)


@pytest.mark.parametrize("login", [f":{WRONG}@", "", f"somebody:{WRONG}@"])
def test_a_wrong_password_for_redis(redis: Redis, login: str) -> None:
    assert refused(f"redis://{login}127.0.0.1:{redis.process.port}/0").kind is ErrorKind.AUTH


def test_a_user_who_may_not_create_is_told(postgres: Postgres) -> None:
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    url = postgres.url().replace(f"dunlin:{postgres.password}@", "guest:guest@")
    assert refused(url).kind is ErrorKind.DENIED


def test_a_schema_of_a_newer_dunlin_is_left_alone(postgres: Postgres) -> None:
    url = postgres.database()
    open_queue(url).close()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE dunlin_queue.version SET number = 99")
    assert refused(url).kind is ErrorKind.NEWER


def fill(queue: Queue, body: bytes) -> None:
    for number in range(100):
        queue.put([NewTask("q", f"k{number}", body)])


@pytest.fixture
def full() -> Iterator[Redis]:
    with redis_server(settings="maxmemory 8mb") as server:
        yield server


def test_a_redis_without_memory_says_so_and_loses_nothing(full: Redis) -> None:
    queue = open_queue(full.queue())
    body = b"x" * 500_000
    with pytest.raises(DunlinError) as raised:
        fill(queue, body)
    assert raised.value.kind is ErrorKind.NO_SPACE
    put = queue.stats()[0].put
    assert 0 < put < 30
    assert [lease.payload for lease in queue.lease("w", 100, 60)] == [body] * put
    queue.close()


def test_a_redis_forgets_what_is_done(redis: Redis) -> None:
    url = redis.queue()
    queue = open_queue(url)
    assert isinstance(queue, RedisQueue)
    queue.put([NewTask("q", f"k{n}", b"", groups=("g",), host="h", delay=0 if n else 60) for n in range(5)])
    one, two, three, *_ = queue.lease("w", 5, 60, labels=["h"])
    queue.ack([(one, b""), (two, b"")])
    queue.nack(three, "bad", final=True)
    queue.cancel("q")
    queue.confirm("q", queue.collect("q", 9)[-1].number)
    prefix = queue._prefix
    left = {key.decode().removeprefix(prefix) for key in queue._client.scan_iter(f"{glob.escape(prefix)}*")}
    assert left == {"seq", "queues", "queue:q", "news:q"}
    queue.drop("q")
    left = {key.decode().removeprefix(prefix) for key in queue._client.scan_iter(f"{glob.escape(prefix)}*")}
    assert left == {"seq"}
    queue.close()


def test_leasing_does_not_slow_down_with_what_waits(postgres: Postgres) -> None:
    """Plans are kept from when the table was empty; they must not read all of it later, nor be compiled."""
    url = postgres.database()
    queue = open_queue(url)
    for _ in range(10):
        assert queue.lease("w", 1, 60) == []
        assert queue.sweep() == 0
    for start in range(0, 20_000, 2000):
        some = range(start, start + 2000)
        queue.put([NewTask(f"q{n % 3}", str(n), b"", groups=(f"g{n % 5}",), delay=n % 2 * 60) for n in some])
    queue.cap("g0", 1)
    with psycopg.connect(url, autocommit=True) as connection:
        before = cpu(connection)
        for _ in range(50):
            (lease,) = queue.lease("w", 1, 60)
            assert queue.heartbeat([lease], 60) != [None]
            assert queue.ack([(lease, b"")]) == [True]
            queue.sweep()
        assert cpu(connection) - before < 2.0
    queue.close()


def cpu(connection: psycopg.Connection[Any]) -> float:
    """Processor seconds of all other clients' servers so far."""
    found = connection.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'dunlin'").fetchall()
    times = [psutil.Process(pid).cpu_times() for (pid,) in found]
    return sum(one.user + one.system for one in times)


def test_a_process_has_no_more_connections_than_it_may(postgres: Postgres) -> None:
    url = postgres.database()
    queue = open_postgres(url, "w", connections=3)
    queue.put([NewTask("q", f"k{number}", b"") for number in range(200)])
    counting, stop, most = Pool(postgres.url(), "w"), threading.Event(), 0
    # Those of clients: the server's own vacuum comes by when it likes.
    sql = (
        f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{url.rpartition('/')[2]}'"
        " AND backend_type = 'client backend'"
    )

    def watch() -> None:
        nonlocal most
        while not stop.is_set():
            most = max(most, counting.rows(sql)[0][0])

    def one(worker: str) -> int:
        return sum(len(queue.ack([(lease, b"")])) for _ in range(20) for lease in queue.lease(worker, 1, 60))

    with ThreadPoolExecutor(13) as threads:
        threads.submit(watch)
        done = sum(threads.map(one, map(str, range(12))))
        stop.set()
    assert done == 200
    assert 1 < most <= 3
    queue.close()
    counting.close()


def test_news_that_is_committed_late_is_not_lost(postgres: Postgres) -> None:
    url = postgres.database()
    queue = open_queue(url)
    queue.put([NewTask("q", "slow", b""), NewTask("q", "fast", b"")])
    slow, fast = queue.lease("w", 2, 60)
    with psycopg.connect(url) as connection:  # a transaction that has begun to tell, and takes its time
        connection.execute(
            "INSERT INTO dunlin_queue.news (task, attempt, kind, queue, key, error, worker, body)"
            " VALUES (1, 1, 'part', 'q', 'slow', '', 'w', 'late')"
        )
        queue.ack([(fast, b"early")])
        (first,) = queue.collect("q", 9)
        assert first.body == b"early"
        queue.confirm("q", first.number)
    (second,) = queue.collect("q", 9, after=first.number)
    assert second.body == b"late"
    assert second.number > first.number
    assert queue.ack([(slow, b"")]) == [True]
    queue.close()


def test_clients_that_collect_at_once_number_each_piece_of_news_once(postgres: Postgres) -> None:
    url = postgres.database()
    queues = [open_queue(url) for _ in range(6)]
    queues[0].put([NewTask("q", str(number), b"") for number in range(300)])
    leases = queues[0].lease("w", 300, 60)

    def one(number: int) -> set[tuple[str, int]]:
        seen = set()
        for lease in leases[number::6]:
            queues[number].ack([(lease, b"")])
            seen |= {(news.key, news.number) for news in queues[number].collect("q", 300)}
        return seen

    with ThreadPoolExecutor(6) as threads:
        seen = set.union(*threads.map(one, range(6)), {(news.key, news.number) for news in queues[0].collect("q", 300)})
    assert len({number for _, number in seen}) == len({key for key, _ in seen}) == len(seen) == 300
    for queue in queues:
        queue.close()
