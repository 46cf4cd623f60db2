"""Whether the parts of a service answer, in bounded time."""

from __future__ import annotations

import threading

from dunlin.errors import DunlinError, ErrorKind
from dunlin.report import Event
from dunlin.web.clockwork import Chore, Clockwork
from dunlin.web.ready import Ready


def test_each_part_is_told_by_itself() -> None:
    def away() -> None:
        raise DunlinError("ask", "", ErrorKind.NETWORK, "connection refused")

    def fault() -> None:
        raise ZeroDivisionError

    ready = Ready({"ledger": lambda: None, "queue": away, "store": fault})
    try:
        assert ready() == {
            "ledger": "ok", "queue": "connection refused", "store": "a fault of dunlin itself: ZeroDivisionError"
        }  # fmt: skip
    finally:
        ready.close()


def test_a_part_that_hangs_is_asked_once_and_not_waited_for() -> None:
    go, asked = threading.Event(), []

    def hangs() -> None:
        asked.append(1)
        go.wait(20)

    moments = iter(range(0, 1000, 10))
    ready = Ready({"store": hangs, "queue": lambda: None}, patience=0.05, clock=lambda: float(next(moments)))
    try:
        for _ in range(3):
            assert ready()["store"] == "no answer within 0.05 seconds"
        assert asked == [1]
    finally:
        go.set()
        ready.close()


def test_answers_are_good_for_a_second() -> None:
    now, asked = [0.0], []
    ready = Ready({"queue": lambda: asked.append(1)}, clock=lambda: now[0])
    try:
        ready()
        ready()
        assert len(asked) == 1
        now[0] = 1.5
        ready()
        assert len(asked) == 2
    finally:
        ready.close()


def test_a_chore_goes_on_after_trouble_and_says_it_once() -> None:
    times, done = [0], threading.Event()
    events: list[Event] = []

    def act() -> None:
        times[0] += 1
        if times[0] < 4:
            raise DunlinError("look", "", ErrorKind.NETWORK, "away")
        if times[0] == 6:
            done.set()

    clockwork = Clockwork([Chore("news", 0.001, act)], events.append)
    clockwork.start()
    assert done.wait(20)
    clockwork.close()
    assert [event.message for event in events] == ["news: cannot look: away", "news goes on"]
