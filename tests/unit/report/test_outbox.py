"""What waits to be sent: nobody who puts something in waits, and the end is bounded."""

from __future__ import annotations

import threading
import time

from dunlin.errors import DunlinError, ErrorKind
from dunlin.report import Level
from dunlin.report.notify import Notice
from dunlin.report.outbox import WAIT, Outbox, Outboxes, Pause, Way

SECRET = "T0K3N"


def notice(number: int = 0) -> Notice:
    return Notice("failure", float(number), "host", f"subject {number}")


class Server:
    """A way of sending that waits for `go` before each message, and fails with `errors` as long as there are some."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.began = threading.Semaphore(0)
        self.sent: list[float] = []
        self.errors: list[Exception] = []

    def send(self, notice: Notice, pause: Pause) -> None:
        self.began.release()
        self.go.acquire()
        if self.errors:
            raise self.errors.pop(0)
        self.sent.append(notice.time)

    def free(self) -> None:
        self.go.release(1000)


def failing() -> DunlinError:
    return DunlinError("send a message to", "https://host", ErrorKind.IO, "it answers with HTTP 400")


def refused() -> DunlinError:
    return DunlinError("send a message to", "https://host", ErrorKind.NETWORK, "Connection refused")


def test_messages_are_sent_in_order() -> None:
    server = Server()
    box = Outbox(Way("w", server.send))
    for number in range(3):
        box.put(notice(number))
    server.free()
    assert box.close(10) == 0
    assert server.sent == [0, 1, 2]
    assert box.troubles() == []


def test_the_oldest_makes_way_in_a_full_box() -> None:
    server = Server()
    box = Outbox(Way("w", server.send), room=2)
    box.put(notice(0))
    server.began.acquire()  # it is under way, and takes no room
    for number in range(1, 5):
        box.put(notice(number))
    server.free()
    assert box.close(10) == 2
    assert server.sent == [0, 3, 4]


def test_the_end_does_not_wait_for_one_who_never_answers() -> None:
    silent, well = Server(), Server()
    well.free()
    boxes = Outboxes([Way("silent", silent.send), Way("well", well.send)], every=60)
    for number in range(3):
        boxes.put(notice(number))
    silent.began.acquire()
    until = time.monotonic() + 20
    while len(well.sent) < 3:  # so short an end might be over before a thread has had its turn
        assert time.monotonic() < until
        time.sleep(0.005)
    begun = time.monotonic()
    told = boxes.close(0.2)
    assert time.monotonic() - begun < 5
    assert [(event.name, event.message) for event in told] == [
        ("notify.lost", "3 messages were not delivered by silent: no answer in time")
    ]
    assert well.sent == [0, 1, 2]
    silent.free()


def test_the_reason_of_the_last_attempt_is_told() -> None:
    go, paused = threading.Event(), threading.Event()

    def send(notice: Notice, pause: Pause) -> None:
        pause(refused(), 0.0)
        paused.set()
        go.wait(60)

    boxes = Outboxes([Way("https://host", send)], every=60)
    boxes.put(notice())
    assert paused.wait(10)
    [event] = boxes.close(0.2)
    assert event.message == "a message was not delivered by https://host: Connection refused"
    assert event.level is Level.WARN
    go.set()


def test_one_line_until_it_works_again() -> None:
    server = Server()
    server.errors = [failing(), failing()]
    server.free()
    box = Outbox(Way("https://host", server.send))
    for number in range(3):
        box.put(notice(number))
    assert box.close(10) == 2
    assert [event.message for event in box.troubles()] == [
        "cannot send a message to https://host: it answers with HTTP 400"
    ]
    assert box.troubles() == []
    assert server.sent == [2]


def test_a_fault_is_told_without_what_it_was_given() -> None:
    server = Server()
    server.errors = [ValueError(f"bad {SECRET}")]
    server.free()
    boxes = Outboxes([Way("w", server.send)], every=60)
    boxes.put(notice(1))
    boxes.put(notice(2))
    [event] = boxes.close(10)
    assert event.message == "cannot send a message by w: a fault of dunlin itself: ValueError"
    assert server.sent == [2]


def test_somebody_looks_at_the_clock_until_the_end() -> None:
    seen = threading.Semaphore(0)
    boxes = Outboxes([], every=0.001)
    boxes.watch(lambda: seen.release())
    assert seen.acquire(timeout=10)
    assert seen.acquire(timeout=10)
    boxes.rest()
    assert "notify clock" not in {thread.name for thread in threading.enumerate()}
    assert boxes.close(0) == []


class Refusing:
    """A way of sending by a server that refuses every attempt; it would be tried again after a minute, for ever."""

    def __init__(self) -> None:
        self.attempts = threading.Semaphore(0)
        self.made: list[float] = []

    def send(self, notice: Notice, pause: Pause) -> None:
        while True:
            self.made.append(notice.time)
            self.attempts.release()
            pause(refused(), 60.0)


def test_at_the_end_what_waits_is_tried_once_more_and_then_given_up() -> None:
    server = Refusing()
    boxes = Outboxes([Way("https://host", server.send)], every=60)
    boxes.put(notice(1))
    assert server.attempts.acquire(timeout=10)
    boxes.put(notice(2))
    begun = time.monotonic()
    told = boxes.close(30)
    assert time.monotonic() - begun < 10
    assert server.made == [1, 1, 2]
    assert [event.message for event in told] == [
        "cannot send a message to https://host: Connection refused",
        "2 messages were not delivered by https://host: Connection refused",
    ]


def test_the_last_attempts_of_all_ways_are_made_at_once() -> None:
    silent, other = Server(), Refusing()
    boxes = Outboxes([Way("silent", silent.send), Way("other", other.send)], every=60)
    boxes.put(notice(1))
    assert other.attempts.acquire(timeout=10)
    ended = threading.Thread(target=boxes.close, args=(60,))
    ended.start()
    assert other.attempts.acquire(timeout=10)
    silent.free()
    ended.join(10)
    assert not ended.is_alive()


def test_who_is_in_a_hurry_waits_no_longer() -> None:
    silent = Server()
    boxes = Outboxes([Way("silent", silent.send)], every=60)
    boxes.put(notice())
    assert silent.began.acquire(timeout=10)
    answers = iter([False, False, True])
    begun = time.monotonic()
    [event] = boxes.close(60, lambda: next(answers))
    assert time.monotonic() - begun < 10
    assert event.message == "a message was not delivered by silent: no answer in time"
    silent.free()


def test_the_last_error_is_the_reason_also_of_what_is_never_tried_again() -> None:
    server = Server()
    server.errors = [failing(), failing()]
    server.free()
    boxes = Outboxes([Way("w", server.send)], every=60)
    boxes.put(notice(1))
    boxes.put(notice(2))
    assert boxes.close(10)[-1].message == "2 messages were not delivered by w: it answers with HTTP 400"


def test_a_server_that_answers_later_is_asked_again_while_there_is_time() -> None:
    made: list[float] = []

    def send(notice: Notice, pause: Pause) -> None:
        for wait in (0.0, 0.0, 60.0):
            made.append(wait)
            pause(DunlinError("send a message to", "https://host", ErrorKind.BUSY, "HTTP 503"), wait)

    box = Outbox(Way("https://host", send))
    box.put(notice())
    box.hasten(30)
    begun = time.monotonic()
    assert box.close(30) == 1
    assert made == [0.0, 0.0, 60.0]
    assert time.monotonic() - begun < 10
    assert box.reason == "HTTP 503"


def test_the_end_is_short() -> None:
    assert WAIT == 3.0
