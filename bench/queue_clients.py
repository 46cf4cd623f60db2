"""Many clients of one queue, each with a connection of its own: `python -m bench.queue_clients QUEUE CLIENTS TASKS`.

Each leases one task, renews the lease, and acknowledges, as fast as it can. Clients are threads of a few processes.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import threading
import time
from collections import Counter
from typing import Any

from dunlin.queue.base import NewTask, Queue
from dunlin.queue.open import open_queue

THREADS = 75
"""Most clients of one process."""

LEASE = 60.0


def clients(url: str, first: int, count: int, ready: Any, go: Any, told: Any) -> None:
    """So many clients in this process; tells how often each key was leased, and how many leases were refused."""
    seen: list[str] = []
    refused: list[str] = []

    def client(number: int) -> None:
        queue = open_queue(url)
        queue.stats()
        ready.release()
        go.wait()
        while leases := queue.lease(f"client {number}", 1, LEASE, wait=0.5):
            seen.extend(lease.key for lease in leases)
            held = queue.heartbeat(leases, LEASE)
            taken = queue.ack([(lease, b"done") for lease in leases])
            if held == [None] or taken != [True]:
                refused.append(leases[0].key)
        queue.close()

    crew = [threading.Thread(target=client, args=(first + number,)) for number in range(count)]
    for one in crew:
        one.start()
    for one in crew:
        one.join()
    told.put((seen, refused))


def connected(url: str, queue: Queue) -> int:
    """Connections that the server counts."""
    if url.startswith("postgresql"):
        from dunlin.queue.postgres import Postgres

        assert isinstance(queue, Postgres)
        sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dunlin'"
        return int(queue._pool.rows(sql)[0][0])
    from dunlin.queue.redis_engine import RedisQueue

    assert isinstance(queue, RedisQueue)
    return int(queue._client.info("clients")["connected_clients"])


def measure(url: str, count: int, tasks: int) -> dict[str, float]:
    """Let them all lease at once; how fast they were, and whether any task was lost or leased twice."""
    queue = open_queue(url)
    payload = bytes(range(256)) * 80
    for start in range(0, tasks, 500):
        some = range(start, min(start + 500, tasks))
        queue.put([NewTask("clients", str(number), payload, retries=0) for number in some])
    spawn = multiprocessing.get_context("spawn")
    ready, go, told = spawn.Semaphore(0), spawn.Event(), spawn.Queue()
    shares = [min(THREADS, count - first) for first in range(0, count, THREADS)]
    crew = [
        spawn.Process(target=clients, args=(url, number * THREADS, share, ready, go, told))
        for number, share in enumerate(shares)
    ]
    for one in crew:
        one.start()
    for _ in range(count):
        ready.acquire()
    connections = connected(url, queue) - 1  # without this one
    begun = time.perf_counter()
    go.set()
    done: list[str] = []
    while len(done) < tasks and time.perf_counter() - begun < 120:
        news = queue.collect("clients", 1000, wait=0.5)
        if news:
            done += [one.key for one in news]
            queue.confirm("clients", news[-1].number)
    seconds = time.perf_counter() - begun
    reports = [told.get() for _ in crew]
    for one in crew:
        one.join()
    leased = Counter(key for seen, _ in reports for key in seen)
    queue.close()
    return {
        "clients": count,
        "connections": connections,
        "seconds": seconds,
        "tasks": tasks,
        "lost": tasks - len(set(done)),
        "double": sum(leased.values()) - len(leased) + len(done) - len(set(done)),
        "refused": sum(len(refused) for _, refused in reports),
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
