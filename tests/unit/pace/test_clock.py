from __future__ import annotations

import time

import pytest

from dunlin.pace import clock


def test_sleep_of_the_machine_passes_here_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    boot = 5_000.0
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    monkeypatch.setattr(time, "clock_gettime", lambda which: {time.CLOCK_BOOTTIME: boot}[which])
    before = clock.passed(), clock.asleep()
    boot += 3_600.0  # the lid was closed for an hour
    assert (clock.passed() - before[0], clock.asleep() - before[1]) == (3_600.0, 3_600.0)


def test_where_no_clock_knows_of_sleep_time_passes_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    now = 7.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert (clock.passed(), clock.asleep()) == (7.0, 0.0)
    now = 9.0
    assert (clock.passed(), clock.asleep()) == (9.0, 0.0)


def test_the_sleep_of_this_machine_can_be_asked_for() -> None:
    # The process may be held up between the two clocks that are compared: then a look shows less.
    one, other = (max(clock.asleep() for _ in range(100)) for _ in range(2))
    assert one > -0.01
    assert abs(one - other) < 0.01
