"""Many files at a time: all are done, no more than allowed at once, errors come out, nothing is left running."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from dunlin.transfer.hands import Hands


@pytest.fixture
def hands():
    made = Hands(4)
    yield made
    made.close()


def test_everything_is_done_once(hands: Hands):
    taken = hands.share(range(1000), list, 1000)
    assert len(taken) == 4
    assert sorted(n for part in taken for n in part) == list(range(1000))


def test_what_stands_around_them_is_called_in_each_thread() -> None:
    seen: list[str] = []

    def around(work: Callable[[], Any]) -> Any:
        seen.append(threading.current_thread().name)
        return work()

    hands = Hands(3, around)
    try:
        taken = hands.share(range(100), list, 3)
    finally:
        hands.close()
    assert sorted(n for part in taken for n in part) == list(range(100))
    assert len(seen) == 3
    assert all(name.startswith("hand") for name in seen)


def test_no_more_threads_begin_than_there_are_things(hands: Hands):
    assert len(hands.share(range(2), list, 2)) == 2
    assert hands.share((), list, 0) == []


def test_they_work_at_the_same_time_and_no_more_than_allowed(hands: Hands):
    together = threading.Barrier(4)
    inside, most = 0, 0
    lock = threading.Lock()

    def work(mine: Iterable[int]) -> None:
        nonlocal inside, most
        for n in mine:
            with lock:
                inside += 1
                most = max(most, inside)
            if n < 4:
                together.wait(10)
            with lock:
                inside -= 1

    hands.share(range(30), work, 30)
    assert most == 4


def test_units_share_the_threads(hands: Hands):
    """A unit that is done by fewer threads leaves the others to the next one."""
    both = threading.Barrier(2)

    def work(mine: Iterator[int]) -> int:
        for _ in mine:
            both.wait(10)
        return 1

    other = threading.Thread(target=lambda: hands.share([1], work, 1))
    other.start()
    assert hands.share([1], work, 1) == [1]
    other.join()


def test_nothing_is_taken_before_it_is_begun(hands: Hands):
    taken: list[int] = []

    def things() -> Iterator[int]:
        for n in range(1000):
            taken.append(n)
            yield n

    def work(mine: Iterator[int]) -> int:
        return next(mine)

    assert sorted(hands.share(things(), work, 1000)) == taken == [0, 1, 2, 3]


def test_an_error_is_raised_and_the_rest_is_not_begun(hands: Hands):
    begun: list[int] = []

    def work(mine: Any) -> None:
        for n in mine:
            begun.append(n)
            if n == 2:
                raise ValueError(n)
            deadline = time.monotonic() + 20
            while not mine.shared.ended:  # what is taken before the error is known is no fault
                assert time.monotonic() < deadline
                time.sleep(0.001)

    with pytest.raises(ValueError, match="2"):
        hands.share(range(1000), work, 1000)
    assert sorted(begun) in ([0, 1, 2], [0, 1, 2, 3])


class Carried:
    """Things that are carried one step at a time, so that a test sees how many are."""

    def __init__(self) -> None:
        self.inside = 0
        self.changed = threading.Condition()
        self.leave = 0

    def work(self, mine: Iterable[int]) -> int:
        done = 0
        for _ in mine:
            with self.changed:
                self.inside += 1
                self.changed.notify_all()
                assert self.changed.wait_for(lambda: self.leave > 0, 10)
                self.leave -= 1
                self.inside -= 1
                self.changed.notify_all()
            done += 1
        return done

    def step(self, number: int, then: int) -> None:
        """Let so many end, and wait until so many are carried."""
        with self.changed:
            self.leave += number
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: self.leave == 0 and self.inside == then, 10), self.inside


def test_there_may_be_more_or_fewer_of_them_while_they_work() -> None:
    allowed = [4]
    hands = Hands(12, None, lambda: allowed[0])
    carried, results = Carried(), list[int]()
    thread = threading.Thread(target=lambda: results.extend(hands.share(range(60), carried.work, 60)))
    thread.start()
    carried.step(0, 4)
    allowed[0] = 12
    carried.step(1, 12)  # the one that goes on has another one begin beside it, and so does that
    allowed[0] = 3
    carried.step(9, 3)
    allowed[0] = 6
    carried.step(1, 6)
    allowed[0] = 1
    carried.step(5, 1)
    with carried.changed:
        carried.leave = 1000
        carried.changed.notify_all()
    thread.join(10)
    hands.close()
    assert sum(results) == 60


@pytest.mark.parametrize("fewest", [1, 2])
def test_units_that_meet_a_changing_number_of_threads_get_everything_done(fewest: int) -> None:
    chance = random.Random(fewest)
    hands = Hands(9, None, lambda: chance.choice((fewest, 4, 9)))
    done: list[int] = []
    units = [
        threading.Thread(target=lambda: done.extend(n for part in hands.share(range(500), list, 500) for n in part))
        for _ in range(5)
    ]
    for unit in units:
        unit.start()
    for unit in units:
        unit.join(10)
    hands.close()
    assert sorted(done) == sorted([*range(500)] * 5)


def test_a_limit_of_nothing_lets_one_go_on() -> None:
    hands = Hands(3, None, lambda: 0)
    assert hands.share(range(5), list, 5)[0] == [0, 1, 2, 3, 4]
    hands.close()


def test_what_is_bound_in_the_thread_of_the_unit_is_in_those_that_carry() -> None:
    from contextvars import ContextVar

    unit: ContextVar[str] = ContextVar("unit", default="none")
    hands = Hands(3)
    unit.set("mine")
    assert set(hands.share(range(30), lambda mine: (list(mine), unit.get())[1], 30)) == {"mine"}
    unit.set("another")
    assert set(hands.share(range(30), lambda mine: (list(mine), unit.get())[1], 30)) == {"another"}
    hands.close()
