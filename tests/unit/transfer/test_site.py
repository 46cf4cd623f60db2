"""Room for the buffers of large files: bounded, fair enough, and never a reason to hang."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.bucket import Bucket
from dunlin.stores.memory import MemoryStore
from dunlin.transfer import Options
from dunlin.transfer.options import MOST_LARGE, pipeline_shape
from dunlin.transfer.site import Site

MIB = 1 << 20


@pytest.fixture
def site() -> Iterator[Site]:
    bucket = Bucket.create()
    yield Site(MemoryStore("s"), MemoryStore("t"), Options(), bucket, budget=32 * MIB)
    bucket.close()


def test_a_file_alone_gets_most_and_others_what_is_left(site: Site) -> None:
    with site.room(1 << 30, 5 * MIB) as first:
        assert first == 24 * MIB
    with site.room(3 * MIB, 5 * MIB) as small, site.room(1 << 30, 5 * MIB) as second:
        assert small == 3 * MIB
        assert second == 29 * MIB * 3 // 4
    with site.room(1 << 30, 5 * MIB) as again:
        assert again == 24 * MIB


def test_who_finds_no_room_waits_until_there_is(site: Site) -> None:
    entered = threading.Event()
    given: list[int] = []

    def other() -> None:
        with site.room(1 << 30, 5 * MIB) as share:
            given.append(share)
            entered.set()

    thread = threading.Thread(target=other)
    with site.room(1 << 30, 5 * MIB):
        thread.start()
        assert not entered.wait(0.05)
    assert entered.wait(10)
    thread.join()
    assert given == [24 * MIB]


def test_a_block_larger_than_the_budget_is_granted_to_one(site: Site) -> None:
    site.budget = MIB
    with site.room(1 << 30, 5 * MIB) as share:
        assert share == 10 * MIB


def test_waiting_ends_with_the_run(site: Site) -> None:
    with ExitStack() as held:
        held.enter_context(site.room(1 << 30, 5 * MIB))
        site.bucket.stop()
        with pytest.raises(DunlinError) as caught:
            held.enter_context(site.room(1 << 30, 5 * MIB))
    assert caught.value.kind is ErrorKind.INTERRUPTED


@pytest.mark.parametrize(
    ("size", "share", "shape"),
    [
        (1 << 30, 24 * MIB, (5 * MIB, 4)),
        (1 << 30, 10 * MIB, (5 * MIB, 2)),
        (1 << 40, 1 << 30, (5 * MIB, MOST_LARGE)),
        (3 * MIB, 3 * MIB, (3 * MIB // 2, 2)),
        (1 << 30, 1 * MIB, (MIB, 1)),
    ],
)
def test_the_shape_of_a_pipeline_to_far_away(size: int, share: int, shape: tuple[int, int]) -> None:
    assert pipeline_shape(Options(), size, share, 5 * MIB) == shape
    block, count = shape
    assert block * count <= max(share, MIB)
    capped = pipeline_shape(Options(block_size=2 * MIB, queue_capacity=3), 1 << 30, 24 * MIB, 5 * MIB)
    assert capped == (2 * MIB, 3)
