"""What the tests of queues share: a place of each kind, with the server that it needs, and short words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dunlin.queue.base import Kind, Lease, NewTask, Queue, QueueStats
from dunlin.queue.open import open_queue

LONG = 60.0
"""Seconds of a lease that does not run out in a test; one of 0 seconds has run out at once."""
BRIEF = 0.2
"""Seconds of what is to run out in a test."""


@dataclass
class Place:
    """Where a queue lies; `open` gives one more client."""

    url: str
    opened: list[Queue]

    def open(self) -> Queue:
        queue = open_queue(self.url)
        self.opened.append(queue)
        return queue


@pytest.fixture(params=["embedded", "redis", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    here = request.param == "embedded"
    made = Place(str(tmp_path / "queue.db") if here else request.getfixturevalue(request.param).queue(), [])
    yield made
    for queue in made.opened:
        queue.close()


@pytest.fixture
def queue(place: Place) -> Queue:
    return place.open()


def task(key: str, **values: Any) -> NewTask:
    return NewTask(**{"queue": "q", "key": key, "payload": b"p-" + key.encode("utf-8", "surrogateescape"), **values})


def put(queue: Queue, /, *keys: str, **values: Any) -> None:
    assert queue.put([task(key, **values) for key in keys]) == len(keys)


def leased(queue: Queue, count: int = 100, /, **values: Any) -> list[Lease]:
    return queue.lease(**{"worker": "w", "count": count, "seconds": LONG, **values})


def keys(leases: list[Lease]) -> list[str]:
    return [lease.key for lease in leases]


def stats(queue: Queue, name: str = "q") -> QueueStats:
    (found,) = [one for one in queue.stats() if one.queue == name]
    return found


def news(queue: Queue, name: str = "q") -> list[tuple[str, int, Kind, bytes, str, str]]:
    return [tuple(one[1:]) for one in queue.collect(name, 100)]


def until(true: Callable[[], bool]) -> None:
    """Ask until it is so; the deadline is only for a test that fails."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)
