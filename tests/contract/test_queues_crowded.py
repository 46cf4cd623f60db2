"""The contract of queues, part two: many threads and processes at once, some of which die, as servers do."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dunlin.queue.open import open_queue
from tests.contract.queue_work import lease_and_die, patiently, work, work_in_process
from tests.contract.queues import Place, leased, put, stats, task
from tests.servers.postgres import postgres_server
from tests.servers.redis import redis_server

# ---- many at once ----


@pytest.mark.slow
def test_threads_and_processes_lease_each_task_exactly_once(place: Place) -> None:
    queue = place.open()
    names = [f"task {number}" for number in range(1200)]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(4, mp_context=spawn) as processes, ThreadPoolExecutor(8) as threads:
        futures = [processes.submit(work_in_process, place.url, f"process {n}", 2, 3.0) for n in range(4)]
        futures += [threads.submit(work, queue, f"thread {n}", 3.0) for n in range(8)]
        for start in range(0, len(names), 100):
            put(queue, *names[start : start + 100])
        done = [key for future in futures for key in future.result()]
    assert Counter(done) == Counter(names)
    told = queue.collect("q", 2000)
    assert Counter(one.key for one in told) == Counter(names)
    assert {one.attempt for one in told} == {1}
    assert stats(queue)[1:9] == (0, 0, 0, 0, 1200, 1200, 1200, 0)
    assert len({one.worker for one in told}) > 4


def test_many_make_a_queue_at_once(place: Place) -> None:
    with ThreadPoolExecutor(8) as threads:
        queues = list(threads.map(lambda _: place.open(), range(8)))
    put(queues[0], "k")
    assert [len(leased(queue)) for queue in queues] == [1, 0, 0, 0, 0, 0, 0, 0]


def test_a_process_that_died_loses_its_lease_only(place: Place) -> None:
    queue = place.open()
    put(queue, "k")
    child = multiprocessing.get_context("spawn").Process(target=lease_and_die, args=(place.url, "dead", 0.5))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert stats(queue).leased == 1
    deadline = time.monotonic() + 20
    while not queue.sweep():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert leased(queue)[0].attempt == 2


def test_a_forked_child_has_connections_of_its_own(place: Place) -> None:
    queue = place.open()
    put(queue, "a", "b")
    (mine,) = leased(queue, 1)
    fork = multiprocessing.get_context("fork")
    child = fork.Process(target=lambda: queue.ack([(leased(queue, 1)[0], b"child")]))
    child.start()
    assert queue.ack([(mine, b"parent")]) == [True]
    child.join()
    assert child.exitcode == 0
    assert sorted(one.body for one in queue.collect("q", 9)) == [b"child", b"parent"]


def test_namespaces_share_nothing(place: Place, tmp_path: Path) -> None:
    other = open_queue(place.url + "x" if "namespace" in place.url else str(tmp_path / "other.db"))
    queue = place.open()
    put(queue, "k")
    assert other.stats() == []
    assert leased(other) == []
    other.close()


# ---- servers that go away ----


def overcome(url: str, server: Any) -> None:
    """Put, lease, acknowledge and collect while the server is killed twice: nothing is lost, nothing told twice."""
    queue = open_queue(url)
    names = [f"task {number}" for number in range(400)]
    ended = threading.Event()

    def one(worker: str) -> None:
        mine: Any = patiently(lambda: open_queue(url))
        while not ended.is_set():
            leases = patiently(lambda: mine.lease(worker, 3, 1.0, wait=0.1))
            assert isinstance(leases, list)
            patiently(lambda: mine.ack([(lease, worker.encode()) for lease in leases]))  # noqa: B023 - called at once
            patiently(mine.sweep)
        mine.close()

    crew = [threading.Thread(target=one, args=(f"w{n}",)) for n in range(4)]
    for thread in crew:
        thread.start()
    told: list[str] = []
    try:
        for start in range(0, 400, 100):
            some = [task(name, retries=100) for name in names[start : start + 100]]
            patiently(lambda: queue.put(some))  # noqa: B023 - called at once
            if start in (100, 200):
                server.process.restart(kill=start == 200)
        deadline = time.monotonic() + 60
        while len(told) < 400 and time.monotonic() < deadline:
            arrived: Any = patiently(lambda: queue.collect("q", 50, wait=0.5))
            told += [news.key for news in arrived]
            if arrived:
                patiently(lambda: queue.confirm("q", arrived[-1].number))  # noqa: B023 - called at once
    finally:
        ended.set()
        for thread in crew:
            thread.join()
    assert sorted(told) == sorted(names)
    assert stats(queue)[1:6] == (0, 0, 0, 0, 0)
    queue.close()


@pytest.mark.slow
def test_redis_restarts_in_the_middle() -> None:
    with redis_server() as server:
        overcome(server.queue(), server)


@pytest.mark.slow
def test_postgres_restarts_in_the_middle() -> None:
    with postgres_server() as server:
        overcome(server.queue(), server)


def test_known_tells_what_a_redis_without_persistence_lost() -> None:
    with redis_server(fsync="") as server:
        queue = open_queue(server.queue())
        put(queue, "a", "b")
        (lease,) = leased(queue, 1)
        server.process.restart(kill=True)
        assert patiently(lambda: queue.known("q", ["a", "b"])) == set()
        assert queue.ack([(lease, b"")]) == [False]
        put(queue, "a", "b")
        queue.close()
