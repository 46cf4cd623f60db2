"""Many files at a time: all are done, no more than allowed at once, errors come out, nothing is left running."""

from __future__ import annotations

import threading

import pytest

from dunlin.transfer.hands import Hands


@pytest.fixture
def hands():
    made = Hands(4)
    yield made
    made.close()


def test_everything_is_done_once(hands: Hands):
    assert sorted(hands.each(range(1, 100), lambda n: n * n)) == [n * n for n in range(1, 100)]


def test_they_work_at_the_same_time_and_no_more_than_allowed(hands: Hands):
    together = threading.Barrier(4)
    inside, most = 0, 0
    lock = threading.Lock()

    def do(n: int) -> int:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        if n <= 4:
            together.wait(10)
        with lock:
            inside -= 1
        return n

    assert len(list(hands.each(range(1, 30), do))) == 29
    assert most == 4


def test_only_as_many_are_taken_as_can_be_begun(hands: Hands):
    taken: list[int] = []

    def things():
        for n in range(1, 1000):
            taken.append(n)
            yield n

    results = hands.each(things(), lambda n: n)
    next(results)
    assert len(taken) <= 4
    results.close()  # type: ignore[attr-defined]


def test_an_error_is_raised_and_the_rest_is_not_begun(hands: Hands):
    begun: list[int] = []

    def do(n: int) -> int:
        begun.append(n)
        if n == 2:
            raise ValueError(n)
        return n

    with pytest.raises(ValueError, match="2"):
        list(hands.each(range(1, 1000), do))
    assert len(begun) < 20
