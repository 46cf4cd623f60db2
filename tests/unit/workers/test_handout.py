"""Units that wait at a mover, and the threads that take them."""

from __future__ import annotations

import os
import queue
import random
import threading
import time

import pytest

from dunlin.workers.handout import Handout, Unit


def unit(n: int) -> Unit:
    return n, ("Scan",), False


def test_units_come_in_order_and_each_once() -> None:
    work = Handout()
    assert work.want(1) == 1
    work.put([unit(1), unit(2)])
    work.put([unit(3)])
    assert [work.take(), work.take(), work.take()] == [unit(1), unit(2), unit(3)]
    with pytest.raises(queue.Empty):
        work.take(wait=False)
    work.put([unit(4)])
    work.clear()
    with pytest.raises(queue.Empty):
        work.take(wait=False)


def test_threads_that_are_too_many_end_before_the_units_that_wait() -> None:
    work = Handout()
    assert work.want(4) == 4
    work.put([unit(n) for n in range(60)])
    assert work.want(1) == 0
    assert [work.take() for _ in range(3)] == [None, None, None]
    assert work.take() == unit(0)


def test_threads_that_have_not_ended_yet_are_not_started_again() -> None:
    """The leak: 1, 4, 1, 4, ... while units wait; the threads that were to end stood behind all of them."""
    work = Handout()
    work.put([unit(n) for n in range(60)])
    started = sum(work.want(n) for n in [1, 4] * 100)
    assert started == 4
    work.want(1)
    assert work.take() is None
    assert work.want(4) == 1


def test_whoever_waits_for_a_unit_ends_when_it_is_one_too_many() -> None:
    work = Handout()
    took: queue.SimpleQueue[Unit | None] = queue.SimpleQueue()

    def body() -> None:
        while True:
            item = work.take()
            took.put(item)
            if item is None:
                return

    threads = [threading.Thread(target=body, daemon=True) for _ in range(work.want(3))]
    for thread in threads:
        thread.start()
    work.put([unit(1), unit(2)])
    assert {took.get(timeout=20) for _ in range(2)} == {unit(1), unit(2)}
    work.want(0)
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def test_whatever_is_wanted_meanwhile_every_unit_is_taken_once() -> None:
    work, rng = Handout(), random.Random(5)
    took: list[int] = []
    threads: list[threading.Thread] = []

    def body() -> None:
        while (item := work.take()) is not None:
            took.append(item[0])

    def grow(n: int) -> None:
        for _ in range(work.want(n)):
            threads.append(threading.Thread(target=body, daemon=True))
            threads[-1].start()

    for at in range(0, 2_000, 5):
        grow(rng.randrange(1, 7))
        work.put([unit(n) for n in range(at, at + 5)])
        assert sum(thread.is_alive() for thread in threads) <= 12, "six, and those that are about to end"
    grow(1)
    work.put([unit(2_000)])
    deadline = time.monotonic() + 20
    while len(took) < 2_001:
        assert time.monotonic() < deadline, len(took)
        os.sched_yield()
    work.want(0)
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert sorted(took) == list(range(2_001))
