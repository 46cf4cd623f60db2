"""Requests per second, and failed logins."""

from __future__ import annotations

import pytest

from dunlin.web import limits
from dunlin.web.limits import Failures, Rates, client_of


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_passes_and_then_one_for_each_part_of_a_second() -> None:
    clock = Clock()
    rates = Rates(clock)
    assert [rates.take("a", 10, 3) for _ in range(3)] == [0, 0, 0]
    assert rates.take("a", 10, 3) == pytest.approx(0.1)
    clock.now += 0.1
    assert rates.take("a", 10, 3) == 0
    assert rates.take("a", 10, 3) > 0
    clock.now += 60
    assert [rates.take("a", 10, 3) for _ in range(4)].count(0) == 3


def test_clients_do_not_share_and_no_rate_is_no_limit() -> None:
    rates = Rates(Clock())
    assert rates.take("a", 1, 1) == 0
    assert rates.take("b", 1, 1) == 0
    assert rates.take("a", 1, 1) > 0
    assert {rates.take("a", 0, 0) for _ in range(1000)} == {0.0}


def test_the_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_CLIENTS", 10)
    clock = Clock()
    rates = Rates(clock)
    assert [rates.take(str(n), 1, 1) for n in range(10)] == [0] * 10
    assert rates.take("one more", 1, 1) == 1.0
    clock.now += 2
    assert rates.take("one more", 1, 1) == 0
    assert len(rates._until) == 1


def test_failures_pass_with_time_or_a_success() -> None:
    clock = Clock()
    failures = Failures(2, 60, clock)
    failures.note("user:a", "address:x")
    assert failures.wait("user:a") == 0
    clock.now += 10
    failures.note("user:b", "address:x")
    assert failures.wait("user:a") == failures.wait("user:b") == 0
    assert failures.wait("user:c", "address:x") == 50
    clock.now += 50
    assert failures.wait("address:x") == 0
    failures.note("user:b")
    failures.note("user:b")
    failures.forget("user:b")
    assert failures.wait("user:b") == 0


def test_many_names_do_not_push_the_newest_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_CLIENTS", 10)
    failures = Failures(2, 60, Clock())
    for number in range(30):
        failures.note(str(number))
        failures.note(str(number))
        assert failures.wait(str(number)) > 0
    assert len(failures._times) == 10


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:aaaa:bbbb:cccc:dddd", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("a name", "a name"),
    ],
)
def test_whoever_has_a_network_of_ipv6_is_one_client(address: str, client: str) -> None:
    assert client_of(address) == client
