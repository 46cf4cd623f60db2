"""The gate: half as many after a refusal, one more for every quiet second."""

from __future__ import annotations

import threading

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.gate import CALM, Gate

BUSY = DunlinError("read", "x", ErrorKind.BUSY)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def passes(gate: Gate) -> None:
    with gate:
        pass


def test_a_refusal_halves_the_limit_and_quiet_seconds_bring_it_back():
    clock = Clock()
    gate = Gate(16, clock=clock)
    gate.note(BUSY)
    assert gate.limit == 8
    for _ in range(20):
        clock.now += CALM
        passes(gate)
    assert gate.limit == 16


def test_refusals_of_requests_that_were_under_way_together_count_once():
    clock = Clock()
    gate = Gate(16, clock=clock)
    for _ in range(10):
        gate.note(BUSY)
    assert (gate.limit, gate.refusals) == (8, 10)
    clock.now += CALM
    gate.note(BUSY)
    assert gate.limit == 4


def test_what_succeeds_among_refusals_does_not_raise_the_limit():
    """When a second is over, a request that succeeds may come before one that is refused."""
    clock = Clock()
    gate = Gate(16, clock=clock)
    limits = []
    for _ in range(20):
        gate.note(BUSY)
        limits.append(gate.limit)
        clock.now += CALM / 4
        passes(gate)
        limits.append(gate.limit)
    assert limits == sorted(limits, reverse=True)
    assert limits[-1] == 1


def test_it_never_closes():
    clock = Clock()
    gate = Gate(4, clock=clock)
    for _ in range(10):
        clock.now += CALM
        gate.note(BUSY)
    assert gate.limit == 1
    passes(gate)


def test_the_limit_does_not_rise_twice_in_a_moment():
    clock = Clock()
    gate = Gate(16, clock=clock)
    gate.note(BUSY)
    clock.now += CALM
    for _ in range(5):
        passes(gate)
    assert gate.limit == 9


@pytest.mark.parametrize("kind", [ErrorKind.BUSY, ErrorKind.TIMEOUT])
def test_a_service_with_too_much_to_do_says_so_or_nothing(kind: ErrorKind):
    gate = Gate(16)
    gate.note(DunlinError("read", "x", kind))
    assert (gate.limit, gate.refusals) == (8, 1)


@pytest.mark.parametrize("kind", [ErrorKind.NETWORK, ErrorKind.NOT_FOUND, ErrorKind.DENIED])
def test_other_errors_say_nothing_about_the_number(kind: ErrorKind):
    gate = Gate(16)
    gate.note(DunlinError("read", "x", kind))
    assert (gate.limit, gate.refusals) == (16, 0)


def test_no_more_than_the_limit_are_inside():
    gate = Gate(3)
    inside, most = 0, 0
    lock = threading.Lock()
    together = threading.Barrier(3)

    def work(waits: bool) -> None:
        nonlocal inside, most
        with gate:
            with lock:
                inside += 1
                most = max(most, inside)
            if waits:
                together.wait(10)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=work, args=(n < 3,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert most == 3


def test_waiting_ends_when_the_run_is_stopped():
    gate = Gate(1, stopped=lambda: True)
    with gate, pytest.raises(DunlinError) as caught:
        passes(gate)
    assert caught.value.kind is ErrorKind.INTERRUPTED


def test_a_gate_for_nobody_makes_no_sense():
    with pytest.raises(ValueError, match="0"):
        Gate(0)


def test_waiting_for_another_attempt_ends_soon_after_a_stop():
    stopped: list[bool] = []
    gate = Gate(1, stopped=lambda: bool(stopped))
    gate.sleep(0.0)
    stopped.append(True)
    with pytest.raises(DunlinError) as caught:
        gate.sleep(3600.0)
    assert caught.value.kind is ErrorKind.INTERRUPTED


def test_the_machine_may_bear_less_than_the_service() -> None:
    gate = Gate(8)
    gate.cap(3)
    assert gate.limit == 3
    gate.cap(100)
    assert gate.limit == 8
    gate.cap(0)
    assert gate.limit == 1


def test_what_the_service_bears_is_remembered_beside_what_the_machine_does() -> None:
    clock = Clock()
    gate = Gate(8, clock=clock)
    gate.note(BUSY)
    assert gate.limit == 4
    gate.cap(6)
    assert gate.limit == 4
    gate.cap(2)
    assert gate.limit == 2
    for _ in range(3):
        clock.now += CALM
        passes(gate)
    assert gate.limit == 2
    gate.cap(8)
    assert gate.limit == 7


def test_whoever_waits_at_a_gate_is_let_in_when_the_machine_bears_more() -> None:
    gate = Gate(2)
    gate.cap(1)
    inside, second = threading.Event(), threading.Event()

    def enter() -> None:
        inside.set()
        with gate:
            second.set()

    with gate:
        thread = threading.Thread(target=enter)
        thread.start()
        assert inside.wait(10)
        assert not second.is_set()
        gate.cap(2)
        assert second.wait(10)
    thread.join()


def test_what_has_gone_through_is_counted() -> None:
    clock = Clock()
    gate = Gate(8, clock=clock)
    clock.now += 5
    with gate:
        clock.now += 1
        with gate:
            clock.now += 2
            gate.moved(100)
        assert gate.passed() == (108.0, 1, 100, 5.0, 0, 8)
        clock.now += 3
        assert gate.passed().inside == 8.0, "whoever is inside still counts"
    gate.note(BUSY)
    assert gate.passed() == (111.0, 2, 100, 8.0, 1, 4)


def test_a_stop_that_comes_with_the_last_moment_of_a_wait_is_seen() -> None:
    """A process may be stopped for minutes right there, and what it waits for must not be done after that."""
    answers = iter([False, True])
    with pytest.raises(DunlinError) as caught:
        Gate(1, lambda: next(answers)).sleep(0.001)
    assert caught.value.kind is ErrorKind.INTERRUPTED
