"""Rows about queues: files through queue and ledger, and many clients at once. Servers wait for the disk, as in use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.context import Context, alternate
from bench.measure import Failed, Measured
from bench.results import Check, Row, at_least, at_most
from tests.servers.postgres import postgres_server
from tests.servers.redis import redis_server

BAR = 20_000
CLIENTS = (1, 10, 50, 100, 300)
DURABLE = "the file with synchronous=FULL, PostgreSQL with fsync, Redis with appendfsync always; all on the disk"


def queue(context: Context) -> Row:
    """Put, lease, a row for each file, result, acknowledgement, confirmation."""
    files = context.fewer(100_000, 2_000)
    row = Row(
        "queue", f"{files:,} files through queue and ledger in units of 250, by two workers that do nothing to them"
    )
    rates: dict[str, list[float]] = {}
    with servers() as (postgres, redis):
        places: dict[str, Callable[[int], tuple[str, str]]] = {
            "dunlin, file": lambda n: (str(context.disk / f"queue{n}.db"), str(context.disk / f"ledger{n}.db")),
            "dunlin, Redis": lambda n: (redis(), str(context.disk / f"ledger-redis{n}.db")),
            "dunlin, PostgreSQL": lambda n: (url := postgres(), url),
        }

        def call(name: str) -> Callable[[], Measured]:
            def once() -> Measured:
                where = places[name](len(rates.get(name, ())))
                return context.run([sys.executable, "-m", "bench.queue_flow", *where, str(files)])

            return once

        def after(name: str) -> None:
            told = context.told()
            if told["uploaded"] != files or told["pending"]:
                raise Failed(f"{name}: the ledger has {told['uploaded']} of {files} files")
            rates.setdefault(name, []).append(told["files"] / told["seconds"])

        alternate(context, row, {name: call(name) for name in places}, after=after)
    for name, found in rates.items():
        row.checks.append(at_least(f"{name}: files a second", sorted(found)[len(found) // 2], BAR, "/s"))
    row.notes.append(f"{DURABLE}; the ledger in PostgreSQL, otherwise in a file; clients and servers share two cores")
    return row


def clients(context: Context) -> Row:
    """Nothing is lost and nothing leased twice, however many there are."""
    tasks = context.fewer(3_000, 300)
    row = Row(
        "queue-clients",
        f"{tasks:,} tasks of 20 KB, leased, renewed and acknowledged one at a time by 1 to 300 connections",
    )
    lost = double = 0.0
    with servers() as (postgres, redis):
        for count in CLIENTS:
            for name, url in (("PostgreSQL", postgres()), ("Redis", redis())):
                label = f"dunlin, {name}, {count}"
                command = [sys.executable, "-m", "bench.queue_clients", url, str(count), str(tasks)]
                row.runs[label] = [context.run(command).as_dict()]
                told = context.told()
                if told["connections"] < count:
                    raise Failed(f"{name} counted {told['connections']} connections of {count}")
                row.checks.append(Check(f"{name}, {count} connections: claims a second", tasks / told["seconds"], "/s"))
                lost += told["lost"]
                double += told["double"] + told["refused"]
    row.checks += [at_most("lost tasks", lost, 0, "tasks"), at_most("tasks leased twice", double, 0, "tasks")]
    row.notes.append(f"{DURABLE}; clients are threads of up to four processes, which share two cores with the servers")
    return row


@contextmanager
def servers() -> Iterator[tuple[Callable[[], str], Callable[[], str]]]:
    """A PostgreSQL and a Redis; each gives URLs of queues that nobody else uses."""
    with postgres_server(fsync=True) as postgres, redis_server() as redis:
        yield postgres.queue, redis.queue
