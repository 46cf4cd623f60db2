"""The pool of buffers: the bound on a pipeline."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from dunlin.stores.buffers import Buffers


def test_a_pool_makes_no_more_than_its_count_and_reuses_them() -> None:
    pool = Buffers(8, 2)
    first, second = pool.take(), pool.take()
    assert len(first) == len(second) == 8
    pool.give(first[2:3])
    again = pool.take()
    assert again.obj is first.obj
    assert len(again) == 8


def test_take_waits_for_give() -> None:
    pool = Buffers(8, 1)
    block = pool.take()
    taken: list[memoryview] = []
    thread = threading.Thread(target=lambda: taken.append(pool.take()))
    thread.start()
    assert taken == []
    pool.give(block)
    thread.join(10)
    assert [one.obj for one in taken] == [block.obj]


def test_abandon_wakes_who_waits() -> None:
    pool = Buffers(8, 1)
    pool.take()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            pool.take()
        except BrokenPipeError as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    pool.abandon()
    thread.join(10)
    assert len(failed) == 1


def test_bytes_are_nobody_s_buffer() -> None:
    pool = Buffers(8, 1)
    pool.give(b"12345678")
    assert len(pool.take()) == 8


def test_what_pools_held_is_the_system_s_again_when_they_are_gone() -> None:
    """In several threads at a time, each of which keeps something small: that pins the heaps of the allocator."""
    zeros = bytes(5 << 20)
    kept: list[bytearray] = []

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def use(meet: threading.Barrier) -> None:
        pool = Buffers(5 << 20, 2)
        blocks = [pool.take(), pool.take()]
        for block in blocks:
            block[:] = zeros
        kept.append(bytearray(50_000))
        meet.wait(10)
        for block in blocks:
            pool.give(block)

    before = resident()
    for _ in range(6):
        meet = threading.Barrier(4)
        threads = [threading.Thread(target=use, args=(meet,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert len(kept) == 24
    assert resident() - before < 20 << 20


@pytest.mark.parametrize(("size", "count"), [(0, 1), (1, 0)])
def test_an_empty_pool_is_refused(size: int, count: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Buffers(size, count)
