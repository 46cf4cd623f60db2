from __future__ import annotations

import random
import threading

import pytest

from dunlin.pace.bucket import Bucket
from dunlin.pace.duty import FLOOR, LEAST, MILLION, SAVED, SETTLE, Duty, Ration


class World:
    """A clock, and a processor: whoever waits lets the clock go on."""

    def __init__(self, rate: float = 0.5) -> None:
        self.ns = 0
        self.used_ns = 0
        self.quota = Bucket.create(int(rate * MILLION), lambda: self.ns, self.wait)
        self.duty = Duty(self.quota, lambda: self.used_ns)

    def wait(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)

    def compute(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)
        self.used_ns += round(seconds * 1e9)


def test_a_mover_keeps_to_its_share() -> None:
    world = World(0.25)
    for _ in range(400):
        world.compute(0.05)
        world.duty.pay()
    # The bucket forgets what it may not save up; the ration makes up for it.
    assert 0.25 * 0.94 < world.used_ns / world.ns <= 0.25


def test_a_mover_that_uses_less_never_waits() -> None:
    world = World(0.5)
    for _ in range(100):
        world.compute(0.02)
        world.wait(0.05)
        before = world.ns
        world.duty.pay()
        assert world.ns == before
    assert world.duty.waited() == pytest.approx(0, abs=0.05)


def test_next_to_nothing_is_not_asked_for() -> None:
    world = World()
    world.used_ns = (LEAST - 1) * 1000
    assert not world.duty.owes
    world.duty.pay()
    assert world.quota.granted == 0
    world.used_ns = LEAST * 1000
    assert world.duty.owes
    world.duty.pay()
    assert (world.quota.granted, world.duty.owes) == (LEAST, False)


def test_two_threads_pay_once_for_what_both_did() -> None:
    world = World(1.0)
    world.used_ns = 10_000_000
    threads = [threading.Thread(target=world.duty.pay) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert world.quota.granted == 10_000


def test_a_stopped_run_waits_for_nothing() -> None:
    world = World(0.001)
    world.used_ns = 10**10
    world.quota.stop()
    world.duty.pay()
    assert world.ns == 0


def test_what_was_waited_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(0.5)
    monkeypatch.setattr("dunlin.pace.duty.time.perf_counter", lambda: world.ns / 1e9)
    world.used_ns = 540_000_000
    world.duty.pay()
    assert world.duty.waited() == pytest.approx(1.0, abs=0.05)
    assert world.duty.waited() == 0


def run(limit: float, own: float, delay: float = 0.0, seed: int = 1) -> float:
    """Seconds of processor time per second over all processes of a simulated run with movers that are always busy.

    `own`: what the parent uses for each second that movers use. `delay`: how much later movers pay.
    """
    chance = random.Random(seed)
    seconds = 60.0
    now, parent, paid, movers = 0.0, 0.3, 0.0, 0.0  # what it took to start
    ration = Ration(limit, lambda: parent, lambda: now)
    rate = limit
    while now < seconds:
        step = chance.uniform(0.2, 0.3)
        now += step
        moved = rate * step * chance.uniform(0.8, 1.2)
        movers += moved
        parent += own * moved
        paid = max(paid, movers - delay)
        rate = ration.rate(int(paid * MILLION)) / MILLION
    return (movers + parent) / seconds


@pytest.mark.parametrize("limit", [0.1, 0.5, 2.0, 16.0])
@pytest.mark.parametrize("own", [0.0, 0.3, 1.0])
def test_the_parent_and_what_it_took_to_start_are_made_up_for(limit: float, own: float) -> None:
    assert run(limit, own) == pytest.approx(limit, rel=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_payments_that_come_late_are_made_up_for(seed: int) -> None:
    assert run(0.5, 0.2, delay=0.2, seed=seed) == pytest.approx(0.5, rel=0.1)


def test_an_idle_hour_does_not_count_for_the_next() -> None:
    now = 0.0
    ration = Ration(1.0, lambda: 0.0, lambda: now)
    now = 3600.0
    assert ration.rate(0) / MILLION <= 1.0 + SAVED / SETTLE
    assert ration.debt == 0


def test_something_is_always_left_for_the_movers() -> None:
    now, own = 0.0, 0.0
    ration = Ration(0.5, lambda: own, lambda: now)
    for _ in range(100):
        now += 0.25
        own += 0.25
    assert ration.rate(0) > 0
    for _ in range(20):
        now += 0.25
        own += 0.25
        rate = ration.rate(0)
    assert rate == FLOOR * 0.5 * MILLION
    assert ration.pause == 0.2, "the parent alone uses more than all may: it has to wait itself"


def test_a_parent_within_the_limit_does_not_wait() -> None:
    now, own = 0.0, 0.0
    ration = Ration(0.5, lambda: own, lambda: now)
    for n in range(100):
        now += 0.25
        own += 0.05
        ration.rate(n * 200_000)  # far too much, but of the movers
    assert ration.debt > 0
    assert ration.pause == 0


def test_no_limit_is_no_ration() -> None:
    with pytest.raises(ValueError, match="nothing can be done"):
        Ration(0)
