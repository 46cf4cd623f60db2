"""The coordinator's side of a backup over a queue: groups out, replies in, what is lost goes out again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dunlin.backup.chunks import Segment, build
from dunlin.backup.packing import FLUSHED_PACKS, FLUSHED_SECONDS
from dunlin.backup.save import Saved
from dunlin.backup.words import Location
from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.base import NewTask
from dunlin.workers.backup_remote import GIVEN_UP, TRIES, RemoteMovers, take_over
from dunlin.workers.backup_wire import Result
from dunlin.workers.doers import Arrival
from dunlin.workers.remote import orders_name, queue_of, setup_name
from dunlin.workers.savers import Member
from tests.unit.workers.remote import Clock, open_queue

FACTS = (0,) * 11


class Pool:
    """Takes units, and has those arrive that it is told to."""

    def __init__(self) -> None:
        self.wanted, self.room = 4, 1
        self.sent: dict[int, list[Member]] = {}
        self.news: list[Arrival] = []
        self.told: list[tuple[object, ...]] = []
        self.closed = False

    @property
    def busy(self) -> bool:
        return bool(self.sent)

    def submit(self, unit: int, packed: tuple[Any, ...], announce: bool = False) -> None:
        assert packed[:2] == ("Save", packed[2][0][1])
        self.sent[unit] = packed[2]

    def poll(self, timeout: float) -> list[Arrival]:
        found, self.news = self.news, []
        for arrival in found:
            if arrival.kind != "part":
                self.sent.pop(arrival.unit)
        return found

    def settled(self) -> None:
        pass

    def learn(self, seconds: float) -> None:
        pass

    def tell(self, *message: object) -> None:
        self.told.append(message)

    def close(self) -> None:
        self.closed = True

    # ---- what happens ----

    def last(self) -> tuple[int, list[Member]]:
        return max(self.sent.items())

    def done(self, *numbers: int, unit: int = 0, **how: Any) -> None:
        """A worker answers for some directories of the last unit."""
        replies = [(number, Saved(same=True), None) for number in numbers]
        self.news.append(Arrival("done", unit or self.last()[0], (Result(replies, **how),)))

    def lost(self, unit: int = 0) -> None:
        self.news.append(Arrival("lost", unit or self.last()[0], ("0", False)))


class Area:
    """Keeps segments of the index, and takes them only when what they name is on stable storage."""

    def __init__(self) -> None:
        self.segments: list[tuple[bool, int]] = []
        self.objects = self
        self.synced = False

    def sync(self) -> None:
        self.synced = True

    def put_chunk_segment(self, segment: Segment, small: bool) -> str:
        assert self.synced
        self.segments.append((small, len(segment)))
        return "key"


class Run:
    def __init__(self) -> None:
        self.pool, self.area, self.clock = Pool(), Area(), Clock()
        self.movers = RemoteMovers(self.pool, self.area, self.clock)  # type: ignore[arg-type]

    def give(self, *numbers: int) -> None:
        end = self.movers.free()
        assert end is not None
        self.movers.give(end, [(number, f"d{number}", 0, FACTS, 0) for number in numbers])

    def replies(self) -> list[int]:
        return [number for number, *_ in self.movers.replies(0.0)]

    def out(self) -> list[list[int]]:
        return [[member[0] for member in group] for group in self.pool.sent.values()]


@pytest.fixture
def run() -> Run:
    return Run()


def chunks(*names: bytes) -> Segment:
    return build((name * 32, Location(b"p" * 16, 0, 100, 0)) for name in names)


def test_a_group_goes_out_and_its_replies_come_back(run: Run) -> None:
    assert run.movers.size == 4
    run.give(1, 2)
    assert run.out() == [[1, 2]]
    run.pool.done(2, 1)
    assert run.replies() == [2, 1]
    assert run.out() == []
    run.pool.room = 0
    assert run.movers.free() is None


def test_what_a_worker_left_of_a_group_goes_out_again_under_another_number(run: Run) -> None:
    run.give(1, 2, 3)
    first, _ = run.pool.last()
    run.pool.done(1)
    assert run.replies() == [1]
    second, group = run.pool.last()
    assert (second > first, [member[0] for member in group]) == (True, [2, 3])


def test_an_answer_for_what_was_not_asked_is_left_out(run: Run) -> None:
    run.give(1)
    run.pool.done(1, 77)
    assert run.replies() == [1]


def test_a_lost_group_goes_out_again_and_is_taken_apart_in_the_end(run: Run) -> None:
    run.give(1, 2)
    for _ in range(TRIES):
        assert run.out() == [[1, 2]]
        run.pool.lost()
        assert run.replies() == []
    assert run.out() == [[1], [2]]


def test_a_directory_that_kills_workers_is_told_as_failed_and_the_run_goes_on(run: Run) -> None:
    run.give(5)
    for _ in range(TRIES):
        assert run.out() == [[5]]
        run.pool.lost()
        found = run.movers.replies(0.0)
    ((number, saved, _),) = found
    assert saved.error is not None
    assert (number, saved.error.kind, saved.error.where) == (5, ErrorKind.INTERNAL, "d5")
    assert run.out() == []


def test_workers_that_fail_at_everything_end_the_run(run: Run) -> None:
    for number in range(GIVEN_UP + 1):
        run.give(number)
        for _ in range(TRIES - 1):
            run.pool.news.append(Arrival("fault", run.pool.last()[0], ("KeyError: 'x'", "")))
            assert run.replies() == []
        run.pool.news.append(Arrival("fault", run.pool.last()[0], ("KeyError: 'x'", "")))
        if number < GIVEN_UP:
            assert run.replies() == [number]
    with pytest.raises(DunlinError) as raised:
        run.replies()
    assert (raised.value.kind, "KeyError: 'x'" in raised.value.reason) == (ErrorKind.INTERNAL, True)


def test_a_worker_that_answers_nothing_is_not_asked_for_ever(run: Run) -> None:
    run.give(5)
    for _ in range(TRIES):
        assert run.out() == [[5]]
        run.pool.done()
        found = run.movers.replies(0.0)
    assert [number for number, *_ in found] == [5]
    assert found[0][1].error is not None


def test_what_goes_wrong_with_a_worker_is_tried_with_others_and_ends_the_run_then(run: Run) -> None:
    error = DunlinError("read", "d", ErrorKind.TIMEOUT, "nothing came")
    run.give(5)
    for _ in range(TRIES - 1):
        run.pool.done(error=error)
        assert run.replies() == []
        assert run.out() == [[5]]
    run.pool.done(error=error)
    with pytest.raises(DunlinError) as raised:
        run.replies()
    assert raised.value is error


def test_a_full_repository_ends_the_run_at_once(run: Run) -> None:
    run.give(1, 2)
    run.pool.done(error=DunlinError("write", "p", ErrorKind.NO_SPACE, "full"))
    with pytest.raises(DunlinError) as raised:
        run.replies()
    assert raised.value.kind is ErrorKind.NO_SPACE


def test_places_of_chunks_become_one_segment_of_each_kind_at_the_end(run: Run) -> None:
    for number, places in enumerate([(chunks(b"a", b"b"), None), (chunks(b"b", b"c"), chunks(b"x")), (None, None)]):
        run.give(number)
        run.pool.done(number, places=places, new_bytes=10, stored_bytes=4, packs=1)
        assert run.replies() == [number]
    assert run.area.segments == []
    assert run.movers.finish() == (30, 12)
    assert run.area.segments == [(True, 3), (False, 1)]
    run.movers.close()
    assert run.area.segments == [(True, 3), (False, 1)]
    assert run.pool.closed


@pytest.mark.parametrize(("packs", "seconds"), [(FLUSHED_PACKS, 0.0), (1, FLUSHED_SECONDS)])
def test_places_are_written_now_and_then(run: Run, packs: int, seconds: float) -> None:
    run.give(1)
    run.clock.now += seconds
    run.pool.done(1, places=(chunks(b"a"), None), packs=packs)
    run.replies()
    assert run.area.segments == [(True, 1)]


def test_who_stops_takes_what_was_stored_by_then_and_no_replies(run: Run) -> None:
    run.give(1)
    run.give(2)
    first, second = run.pool.sent
    run.pool.done(1, unit=first, places=(chunks(b"a"), None), new_bytes=9, stored_bytes=5)
    run.pool.lost(second)
    assert run.movers.finish() == (9, 5)
    assert run.pool.told == [("cancel",)]
    assert run.area.segments == [(True, 1)]


def test_a_run_that_breaks_down_leaves_an_index_as_far_as_that_can_be(run: Run) -> None:
    run.give(1)
    run.pool.done(1, places=(chunks(b"a"), None))
    run.replies()

    def full(segment: Segment, small: bool) -> str:
        raise DunlinError("write", "index", ErrorKind.NO_SPACE, "full")

    run.area.put_chunk_segment = full  # type: ignore[method-assign]
    run.movers.close()
    assert run.pool.closed


def test_what_a_killed_run_of_the_share_left_in_the_queue_is_forgotten(tmp_path: Path) -> None:
    queue = open_queue(tmp_path, Clock())

    def began(token: str, share: str) -> Callable[[], None]:
        leave = take_over(queue, "repository", "acme", share, token)
        queue.write(setup_name(token), b"setup")
        queue.write(orders_name(token), b"orders")
        queue.put([NewTask(queue_of(token), "1", b"unit")])
        return leave

    began("0001", "docs")
    began("0002", "other")
    leave = began("0003", "docs")
    assert sorted(stats.queue for stats in queue.stats()) == ["run-0002", "run-0003"]
    assert queue.read(setup_name("0001")) is None
    leave()
    began("0004", "docs")
    assert queue.read(setup_name("0003")) == b"setup"  # who ended himself forgets his own
    queue.close()


def test_parts_of_a_huge_directory_are_passed_on_and_what_they_name_is_kept(run: Run) -> None:
    run.give(1, 2)
    unit, _ = run.pool.last()
    part = (1, Saved(more=True), None), (77, Saved(more=True), None)
    run.pool.news.append(Arrival("part", unit, (Result(list(part), (chunks(b"a"), None), 5, 3, 1),)))
    ((number, saved, _),) = run.movers.replies(0.0)
    assert (number, saved.more, run.out()) == (1, True, [[1, 2]])  # it goes on
    run.pool.lost()
    assert run.replies() == []
    assert run.out() == [[1, 2]]  # the whole of it again
    run.pool.news.append(Arrival("part", unit, (Result([part[0]]),)))  # of a doing that nobody waits for any more
    assert run.replies() == []
    run.pool.done(1, 2, places=(chunks(b"b"), None), new_bytes=5, stored_bytes=3, packs=1)
    assert run.replies() == [1, 2]
    assert run.movers.finish() == (10, 6)
    assert run.area.segments == [(True, 2)]
