"""Who may have lost its lease changes nothing."""

from __future__ import annotations

import threading

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.base import Lease
from dunlin.transfer.hands import Hands
from dunlin.workers import fence
from dunlin.workers.fence import Held, bound, current, guard, still_held


def lease(until: float) -> Lease:
    return Lease("1", "run-x", "1", b"", 1, until, "move d")


def test_what_is_done_without_a_lease_is_nobodys_business() -> None:
    guard()()
    still_held()


@pytest.mark.parametrize(("now", "good"), [(0.0, True), (8.9, True), (9.1, False), (20.0, False)])
def test_a_lease_needs_its_margin(now: float, good: bool) -> None:
    check = guard(1.0, lambda: now)
    held = Held(lease(10.0))
    with bound(held):
        if good:
            check()
        else:
            with pytest.raises(DunlinError) as raised:
                check()
            assert raised.value.kind is ErrorKind.INTERRUPTED
    assert held.lost is not good


def test_a_lost_lease_is_no_good_whatever_the_clock_says() -> None:
    held = Held(lease(1e9))
    held.lost = True
    with bound(held):
        with pytest.raises(DunlinError):
            guard(1.0, lambda: 0.0)()
        with pytest.raises(DunlinError):
            still_held()


def test_a_lease_that_was_extended_is_good_again() -> None:
    held = Held(lease(10.0))
    assert held.left(12.0) < 0
    held.extend(lease(16.0))
    assert held.left(12.0) == 4.0


def test_a_machine_that_slept_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = 100.0
    monkeypatch.setattr(fence, "asleep", lambda: slept)
    held = Held(lease(10.0))
    slept += 0.4
    assert held.left(0.0) == 10.0
    slept += 60
    assert held.left(0.0) == 0.0
    held.extend(lease(16.0))
    assert held.left(0.0) == 16.0


def test_each_thread_has_its_own_lease() -> None:
    seen: list[Held | None] = []
    with bound(Held(lease(1.0))):
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
    assert seen == [None]
    assert current() is None


def test_threads_that_carry_files_of_a_unit_carry_its_lease() -> None:
    hands = Hands(2)
    held = Held(lease(1.0))
    with bound(held):
        seen = hands.share(range(4), lambda things: [current() for _ in things], 2)
    hands.close()
    assert [one for part in seen for one in part] == [held] * 4
