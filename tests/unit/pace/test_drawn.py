"""A limit whose account lies elsewhere."""

from __future__ import annotations

import threading

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.drawn import AGAIN, MOST, Drawn


class Account:
    """A bucket in the debt model, and the clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.paid = 0.0
        self.drawn: list[int] = []
        self.away = 0

    def draw(self, amount: int, rate: int, burst: int) -> float:
        if self.away:
            self.away -= 1
            raise DunlinError("draw", "", ErrorKind.NETWORK)
        self.drawn.append(amount)
        self.paid = max(self.paid, self.now) + amount / rate
        return max(0.0, self.paid - self.now - burst / rate)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def drawer(self, rate: int, **how: object) -> Drawn:
        return Drawn(self.draw, rate, clock=lambda: self.now, sleep=self.sleep, **how)  # type: ignore[arg-type]


def test_without_a_limit_nothing_is_drawn() -> None:
    account = Account()
    account.drawer(0).take(1 << 30)
    assert account.drawn == []
    assert account.now == 0.0


def test_two_who_share_an_account_move_no_more_than_the_rate() -> None:
    account = Account()
    one, other = account.drawer(1_000_000), account.drawer(1_000_000)
    for _ in range(50):
        one.take(100_000)
        other.take(50_000)
    assert sum(account.drawn) >= 7_500_000
    assert account.now == pytest.approx(7.5, abs=0.3)


def test_small_requests_share_a_slice() -> None:
    account = Account()
    bucket = account.drawer(1_000_000)
    for _ in range(100):
        bucket.take(1_000)
    assert account.drawn == [100_000]


def test_a_slice_is_never_larger_than_needed_and_a_megabyte() -> None:
    account = Account()
    bucket = account.drawer(1 << 30)
    bucket.take(10)
    bucket.take(5 << 20)
    assert account.drawn[0] == MOST
    assert account.drawn[1:] == [(5 << 20) - (MOST - 10)]


def test_a_stop_ends_who_waits() -> None:
    account = Account()
    bucket = account.drawer(1_000)

    def sleep(seconds: float) -> None:
        account.now += seconds
        bucket.stop()

    bucket._sleep = sleep
    with pytest.raises(DunlinError) as raised:
        bucket.take(1_000_000)
    assert raised.value.kind is ErrorKind.INTERRUPTED
    assert account.now < 1.0
    with pytest.raises(DunlinError):
        bucket.take(1)


def test_a_pause_holds_everybody_until_it_is_over() -> None:
    account = Account()
    bucket = account.drawer(0)
    bucket.paused = True

    def sleep(seconds: float) -> None:
        account.now += seconds
        bucket.paused = account.now < 5.0

    bucket._sleep = sleep
    bucket.take(1)
    assert account.now == pytest.approx(5.0, abs=0.2)


def test_while_the_account_is_away_nothing_moves() -> None:
    account = Account()
    account.away = 3
    account.drawer(1_000_000).take(10)
    assert account.now >= 3 * AGAIN


def test_no_limit_any_more_lets_who_waits_go() -> None:
    account = Account()
    bucket = account.drawer(1_000)

    def sleep(seconds: float) -> None:
        account.now += seconds
        bucket.rate = 0

    bucket._sleep = sleep
    bucket.take(1_000_000)
    assert account.now < 1.0


def test_who_waits_behind_another_sees_the_stop() -> None:
    account = Account()
    bucket = account.drawer(1)
    bucket._lock.acquire()
    failed: list[DunlinError] = []

    def take() -> None:
        try:
            bucket.take(1)
        except DunlinError as error:
            failed.append(error)

    thread = threading.Thread(target=take)
    thread.start()
    bucket.stop()
    thread.join(5)
    assert failed[0].kind is ErrorKind.INTERRUPTED


@pytest.mark.parametrize("paused", [False, True])
def test_whoever_may_not_go_on_does_not_wait_for_it_either(paused: bool) -> None:
    account = Account()

    def check() -> None:
        if account.now >= (1.0 if paused else 0.0):
            raise DunlinError("go on", "", ErrorKind.INTERRUPTED, "its lease ran out")

    bucket = account.drawer(0, check=check)
    bucket.paused = paused
    with pytest.raises(DunlinError):
        bucket.take(1)
    assert account.now == pytest.approx(1.0 if paused else 0.0, abs=0.2)
