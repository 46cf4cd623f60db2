from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.pace.concurrency import HOLD, Concurrency


class Pool:
    """A simulated pool in virtual time: always as many units in progress as the controller wants.

    `speed(n)` is how many units per second each thread does while n are at work; `cpu` is the CPU time of a unit.
    """

    def __init__(self, cap: int, speed: Callable[[int], float], cpu: float) -> None:
        self.now = 0.0
        self.speed = speed
        self.cpu = cpu
        self.control = Concurrency(cap, lambda: self.now)
        self.active: list[list[float]] = []  # what is left of it, when it began, its size
        self.sizes = cycle([1.0, 0.8, 1.3, 0.9, 1.1, 0.7, 1.2])
        self.targets: list[int] = []

    def run(self, units: int) -> Pool:
        for _ in range(units):
            while len(self.active) < self.control.target:
                size = next(self.sizes)
                self.active.append([size, self.now, size])
            speed = self.speed(len(self.active))
            step = min(left for left, _, _ in self.active)
            for unit in self.active:
                unit[0] -= step
            self.now += step / speed
            finished = min(self.active)
            self.active.remove(finished)
            _, began, size = finished
            self.targets.append(self.control.sample(self.now - began, self.cpu * size, size))
        return self

    def steps(self) -> list[int]:
        return [1, *(new for old, new in pairwise(self.targets) if new != old)]


def latency(threads: int) -> float:
    return 1 / 0.0021


def computing(threads: int) -> float:
    return 1 / 0.001 / threads  # the interpreter's lock: n threads take n times as long


def link(threads: int) -> float:
    return 100 * min(1, 4 / threads)  # four streams fill it


def thrashing(threads: int) -> float:
    return 100 if threads <= 4 else 100 * (4 / threads) ** 2  # more than four and the server suffers


def test_computing_stays_at_one_thread() -> None:
    assert set(Pool(16, computing, 0.00095).run(300).targets) == {1}


def test_latency_grows_to_the_cap_within_some_thirty_units() -> None:
    pool = Pool(16, latency, 0.00005).run(40)
    assert pool.targets.index(16) <= 32
    assert pool.run(300).targets[40:] == [16] * 300


def test_one_thread_at_most_means_one() -> None:
    assert set(Pool(1, latency, 0.00005).run(100).targets) == {1}


@pytest.mark.parametrize("cap", [3, 5, 12])
def test_a_cap_that_is_no_power_of_two_is_reached_and_kept(cap: int) -> None:
    assert set(Pool(cap, latency, 0.00005).run(300).targets[60:]) == {cap}


def test_a_full_link_stops_the_growth() -> None:
    pool = Pool(64, link, 0.002).run(400)
    assert pool.now < HOLD
    assert max(pool.targets) == 8  # tried once, gained nothing
    assert set(pool.targets[100:]) == {4}


def test_falling_throughput_shrinks_step_by_step() -> None:
    pool = Pool(64, thrashing, 0.002).run(150)
    assert pool.steps() == [1, 2, 4, 8, 5, 4]


def test_where_nearly_all_is_waiting_steps_are_larger() -> None:
    assert Pool(64, latency, 0.00005).run(60).steps()[:4] == [1, 4, 16, 64]
    pool = Pool(64, thrashing, 0.0001).run(150)
    assert pool.steps() == [1, 4, 16, 11, 7, 4]


def test_a_failed_trial_is_repeated_only_after_the_hold() -> None:
    pool = Pool(64, link, 0.002).run(100)
    fallen = pool.now
    while pool.targets[-1] == 4:
        pool.run(1)
    assert pool.targets[-1] == 8
    assert pool.now - fallen > HOLD * 0.9


def test_a_mount_that_became_fast_gives_threads_back() -> None:
    pool = Pool(8, latency, 0.00005).run(100)
    assert pool.targets[-1] == 8
    pool.speed, pool.cpu = computing, 0.00095
    while pool.now < 1.5 * HOLD:  # the first trial compares with a time that was half latency, and is held
        pool.run(100)
    assert pool.targets[-1] == 1


def test_threads_that_keep_a_core_busy_and_still_pay_are_kept() -> None:
    pool = Pool(8, lambda threads: 100.0, 0.0013).run(400)  # eight threads: 1.04 cores, and every thread counts
    assert pool.targets[-1] == 8
    assert min(pool.targets[60:]) >= 5


def test_units_that_began_before_a_change_do_not_count() -> None:
    now = 0.0
    control = Concurrency(8, lambda: now)
    for _ in range(3):
        now += 1.0
        control.sample(1.0, 0.2, 1.0)
    assert control.target == 2
    for _ in range(10):
        control.sample(2.0, 0.01, 0.001)  # began at 1: a terrible rate, but not under two threads
    assert control.target == 2


def test_where_nothing_comes_out_a_trial_has_failed_and_the_next_one_waits() -> None:
    """Units that copy and equal nothing: 0 is no less than 0, so trials never ended, and began anew for ever."""
    now = 0.0
    control = Concurrency(16, lambda: now)
    targets = []
    for _ in range(int(HOLD / 0.1)):
        now += 0.1
        targets.append(control.sample(0.1, 0.001, 0.0))
    steps = [new for old, new in pairwise([1, *targets]) if new != old]
    assert steps == [4, 1], "one trial within the time for which nothing is tried"


def test_waiting_for_leave_is_not_waiting_for_a_mount() -> None:
    now = 0.0
    control = Concurrency(16, lambda: now)
    for _ in range(50):
        now += 1.0
        assert control.sample(0.001, 0.0009, 1.0, waited=0.999) == 1


def test_threads_that_take_turns_gain_nothing() -> None:
    """One place for all: each unit takes 2 ms of waiting for the mount once it has the place, however many wait."""
    now = 0.0
    control = Concurrency(16, lambda: now)
    targets = []
    for _ in range(400):
        now += 0.002
        threads = control.target
        targets.append(control.sample(0.002, 0.0001, 1.0, waited=0.002 * (threads - 1)))
    assert targets[0:1] + targets[-1:] == [1, 1]
    assert targets.count(1) > 350


def test_no_more_threads_are_added_than_could_have_leave_together() -> None:
    def grown(most: int | None) -> int:
        now = 0.0
        control = Concurrency(16, lambda: now)
        for _ in range(60):
            now += 0.1
            control.sample(0.1, 0.001, 1.0, most=most)
        return control.target

    assert [grown(most) for most in (1, 2, 5, 99, None)] == [1, 2, 5, 16, 16]


def test_a_pool_without_threads_is_refused() -> None:
    with pytest.raises(ValueError, match="0 threads"):
        Concurrency(0)


@given(
    cap=st.integers(1, 40),
    samples=st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10), st.floats(0, 1e9), st.floats(0, 30)), max_size=80),
)
def test_the_target_stays_within_its_bounds(cap: int, samples: list[tuple[float, float, float, float]]) -> None:
    now = 0.0
    control = Concurrency(cap, lambda: now)
    for wall, cpu, work, passes in samples:
        now += passes
        assert 1 <= control.sample(wall, cpu, work) == control.target <= cap
