"""Many files at a time: all are done, no more than allowed at once, errors come out, nothing is left running."""

from __future__ import annotations

import threading
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
    failed = threading.Event()

    def work(mine: Iterable[int]) -> None:
        for n in mine:
            begun.append(n)
            if n == 2:
                failed.set()
                raise ValueError(n)
            assert failed.wait(10)

    with pytest.raises(ValueError, match="2"):
        hands.share(range(1000), work, 1000)
    assert len(begun) < 20
