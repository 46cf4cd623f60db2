"""What the tests of queues run in other processes and threads."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.base import Lease, Queue
from dunlin.queue.open import open_queue


def work(queue: Queue, worker: str, idle: float, seconds: float = 30.0, count: int = 3) -> list[str]:
    """Lease and acknowledge until nothing came for `idle` seconds; the keys whose acknowledgement was taken."""
    done: list[str] = []
    while leases := queue.lease(worker, count, seconds, wait=idle):
        taken = queue.ack([(lease, worker.encode()) for lease in leases])
        done += [lease.key for lease, is_taken in zip(leases, taken, strict=True) if is_taken]
    return done


def patiently(call: Callable[[], object], seconds: float = 30.0) -> object:
    """What `call` returns, repeated while the server is away."""
    end = time.monotonic() + seconds
    while True:
        try:
            return call()
        except DunlinError as error:
            if error.kind is not ErrorKind.NETWORK or time.monotonic() > end:
                raise
            time.sleep(0.05)


def work_in_process(url: str, worker: str, threads: int, idle: float) -> list[str]:
    """`work` in so many threads, which share a queue; the keys of all."""
    queue = open_queue(url)
    done: list[str] = []
    lock = threading.Lock()

    def one(number: int) -> None:
        keys = work(queue, f"{worker}-{number}", idle)
        with lock:
            done.extend(keys)

    crew = [threading.Thread(target=one, args=(number,)) for number in range(threads)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    queue.close()
    return done


def lease_and_die(url: str, worker: str, seconds: float) -> None:
    """Lease one task and end as a killed process does."""
    leases: list[Lease] = open_queue(url).lease(worker, 1, seconds)
    os._exit(0 if leases else 1)
