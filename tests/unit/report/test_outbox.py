"""What waits to be sent: nobody who puts something in waits, and the end is bounded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from dunlin.errors import DunlinError, ErrorKind
from dunlin.report import Level
from dunlin.report.notify import Notice
from dunlin.report.outbox import Outbox, Outboxes, Way

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

    def send(self, notice: Notice, failed: Callable[[DunlinError], object]) -> None:
        self.began.release()
        self.go.acquire()
        if self.errors:
            raise self.errors.pop(0)
        self.sent.append(notice.time)

    def free(self) -> None:
        self.go.release(1000)


def failing() -> DunlinError:
    return DunlinError("send a message to", "https://host", ErrorKind.IO, "it answers with HTTP 400")


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
    begun = time.monotonic()
    told = boxes.close(0.2)
    assert time.monotonic() - begun < 5
    assert [(event.name, event.message) for event in told] == [
        ("notify.lost", "3 messages were not delivered by silent: no answer in time")
    ]
    assert well.sent == [0, 1, 2]
    silent.free()


def test_the_reason_of_the_last_attempt_is_told() -> None:
    go = threading.Event()

    def send(notice: Notice, failed: Callable[[DunlinError], object]) -> None:
        failed(DunlinError("send a message to", "https://host", ErrorKind.NETWORK, "Connection refused"))
        go.wait(60)

    boxes = Outboxes([Way("https://host", send)], every=60)
    boxes.put(notice())
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
