"""A queue that goes back in time: an older copy of it is restored, on a real server of each kind.

So does a replica that lagged and takes over, or a server that lost the last second of its log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import apsw
import psycopg
import pytest
import redis as redis_py

from dunlin.pace.bucket import Bucket
from dunlin.queue.base import Queue
from dunlin.queue.open import open_queue
from dunlin.report import RecordingReport
from dunlin.transfer.outcome import Outcome
from dunlin.workers import tasks
from dunlin.workers.doers import Arrival
from dunlin.workers.remote import LOOK, RECONCILE, RemotePool, Sending
from dunlin.workers.tasks import Scan
from tests.contract.queue_work import patiently
from tests.contract.queues import LONG, leased, put
from tests.servers.postgres import Postgres
from tests.servers.redis import redis_server
from tests.unit.workers.remote import QUEUE, RUN, Clock, done, outcome, setup, take, tell

SCHEMA = "dunlin_queue"


class Past(NamedTuple):
    """A queue of which a copy can be kept. `keep`: now; `back`: it is as it was then."""

    url: str
    keep: Callable[[], None]
    back: Callable[[], None]


@contextmanager
def file_past(root: Path) -> Iterator[Past]:
    live, copy = str(root / "queue.db"), str(root / "copy.db")

    def write(source: str, target: str) -> None:
        one, other = apsw.Connection(source), apsw.Connection(target)
        with other.backup("main", one, "main") as backup:
            backup.step(-1)
        one.close()
        other.close()

    yield Past(live, lambda: write(live, copy), lambda: write(copy, live))


@contextmanager
def redis_past() -> Iterator[Past]:
    """Its dump is written once; killed, it begins with that."""
    with redis_server(fsync="") as server:

        def keep() -> None:
            client = redis_py.Redis.from_url(server.url)
            client.save()
            client.close()

        yield Past(server.queue(), keep, lambda: server.process.restart(kill=True))


@contextmanager
def postgres_past(server: Postgres) -> Iterator[Past]:
    url = server.database()
    tables: dict[str, bytes] = {}
    sequences: dict[str, tuple[int, bool]] = {}

    def keep() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (SCHEMA,)).fetchall()
            for (name,) in names:
                with connection.cursor().copy(f"COPY {SCHEMA}.{name} TO STDOUT (FORMAT binary)".encode()) as copy:
                    tables[name] = b"".join(bytes(block) for block in copy)
            rows = connection.execute("SELECT sequencename FROM pg_sequences WHERE schemaname = %s", (SCHEMA,))
            for (name,) in rows.fetchall():
                row = connection.execute(f"SELECT last_value, is_called FROM {SCHEMA}.{name}".encode()).fetchone()
                assert row is not None
                sequences[name] = (row[0], row[1])

    def back() -> None:
        with psycopg.connect(url) as connection:
            connection.execute(f"TRUNCATE {', '.join(f'{SCHEMA}.{name}' for name in tables)}".encode())
            for name, body in tables.items():
                with connection.cursor().copy(f"COPY {SCHEMA}.{name} FROM STDIN (FORMAT binary)".encode()) as copy:
                    copy.write(body)
            for name, place in sequences.items():
                connection.execute("SELECT setval(%s, %s, %s)", (f"{SCHEMA}.{name}", *place))

    yield Past(url, keep, back)


@pytest.fixture(params=["embedded", "redis", "postgres"])
def past(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Past]:
    if request.param == "embedded":
        made = file_past(tmp_path)
    else:
        made = redis_past() if request.param == "redis" else postgres_past(request.getfixturevalue("postgres"))
    with made as found:
        yield found


@pytest.fixture
def queue(past: Past) -> Iterator[Queue]:
    made = open_queue(past.url)
    yield made
    made.close()


def gone_back(past: Past, queue: Queue) -> None:
    past.back()
    patiently(queue.stats)


def test_numbers_of_news_are_not_given_a_second_time(past: Past, queue: Queue) -> None:
    put(queue, "a", "b")
    past.keep()
    for lease in leased(queue):
        queue.ack([(lease, b"")])
    first = queue.collect("q", 9)
    gone_back(past, queue)
    assert queue.collect("q", 9) == []
    queue.ack([(lease, b"") for lease in leased(queue)])
    again = queue.collect("q", 9, after=first[-1].number)
    assert sorted(news.key for news in again) == ["a", "b"]
    queue.confirm("q", first[-1].number)
    assert queue.collect("q", 9) == again, "what was confirmed is of another time"


@pytest.mark.parametrize("who", ["another", "the same"])
def test_a_lease_of_the_lost_time_is_not_taken_for_one_with_its_number(past: Past, queue: Queue, who: str) -> None:
    """Another worker has the same task, or the same worker another task."""
    put(queue, "before")
    queue.ack([(lease, b"") for lease in leased(queue)])
    if who == "another":
        put(queue, "k")
    past.keep()
    if who == "the same":
        put(queue, "old")
    (old,) = leased(queue, worker="w")
    gone_back(past, queue)
    if who == "the same":
        put(queue, "new")
    (new,) = leased(queue, worker="w" if who == "the same" else "other")
    assert (new.id, new.attempt) == (old.id, old.attempt)
    assert queue.heartbeat([old, new], LONG)[0] is None
    assert not queue.tell(old, b"of the lost time")
    assert not queue.nack(old, "of the lost time")
    queue.release([old])
    assert queue.ack([(old, b"of the lost time"), (new, b"")]) == [False, True]
    assert [news.body for news in queue.collect("q", 9)][-1] == b""


class Run:
    """A coordinator's pool on that queue; its clock stands still until it is told to go on."""

    def __init__(self, root: Path, past: Past) -> None:
        self.clock = Clock()
        self.bucket = Bucket.create()
        self.report = RecordingReport()
        self.pool = RemotePool(
            open_queue(past.url), RUN, setup(root), self.bucket, Sending(), None, self.report, self.clock,
            self.clock.sleep,
        )  # fmt: skip

    def submit(self, *units: int) -> None:
        for unit in units:
            self.pool.submit(unit, tasks.pack(Scan(f"d{unit}")))
        assert self.pool.poll(0.0) == []

    def poll(self) -> list[Arrival]:
        found = self.pool.poll(0.0)
        self.pool.settled()
        return found

    def polls(self) -> list[Arrival]:
        """All that comes within some time of the coordinator."""
        found: list[Arrival] = []
        for _ in range(20):
            found += self.poll()
            self.clock.now += max(LOOK, RECONCILE / 4)
        return found


@pytest.fixture
def run(tmp_path: Path, past: Past) -> Iterator[Run]:
    made = Run(tmp_path, past)
    yield made
    made.pool.close()
    made.bucket.close()


def counted(arrivals: list[Arrival]) -> list[tuple[str, int, int]]:
    return sorted(
        (arrival.kind, arrival.unit, Outcome.unpack(arrival.body[0]).counts["copied_files"]) for arrival in arrivals
    )


def test_what_is_done_after_the_queue_went_back_reaches_the_coordinator(past: Past, queue: Queue, run: Run) -> None:
    run.submit(1, 2, 3, 4)
    past.keep()
    leases = take(queue, seconds=LONG)
    for lease in leases[:2]:
        done(queue, lease, copied_files=1)
    assert counted(run.poll()) == [("done", 1, 1), ("done", 2, 1)]
    gone_back(past, queue)
    for lease in take(queue, seconds=LONG):  # all four, by another one
        done(queue, lease, copied_files=int(lease.key))
    assert counted(run.polls()) == [("done", 3, 3), ("done", 4, 4)]
    assert not run.pool.busy
    assert queue.collect(QUEUE, 9) == [], "it is confirmed"


def test_a_part_that_the_queue_lost_has_its_unit_done_again(past: Past, queue: Queue, run: Run) -> None:
    run.submit(1, 2)
    one, two = take(queue, seconds=LONG)
    tell(queue, one, outcome(copied_files=1))
    assert counted(run.poll()) == [("part", 1, 1)]
    past.keep()
    tell(queue, one, outcome(copied_files=2), place=1)
    tell(queue, two, outcome(copied_files=5))
    gone_back(past, queue)
    done(queue, one, 2)  # workers know nothing of it, and go on
    done(queue, two, 1)
    assert [(arrival.kind, arrival.unit) for arrival in run.polls()] == [("lost", 1), ("lost", 2)]
    assert not run.pool.busy


def test_a_part_that_comes_back_is_not_counted_again(past: Past, queue: Queue, run: Run) -> None:
    run.submit(1)
    (lease,) = take(queue, seconds=LONG)
    tell(queue, lease, outcome(copied_files=1))
    past.keep()
    assert counted(run.poll()) == [("part", 1, 1)]
    assert queue.collect(QUEUE, 9) == []
    gone_back(past, queue)
    assert len(queue.collect(QUEUE, 9)) == 1
    done(queue, lease, 1, copied_files=2)
    assert counted(run.polls()) == [("done", 1, 2)]


def test_units_of_the_lost_time_are_done_again(past: Past, queue: Queue, run: Run) -> None:
    run.submit(1)
    past.keep()
    run.submit(2)
    gone_back(past, queue)
    assert [(arrival.kind, arrival.unit) for arrival in run.polls()] == [("lost", 2)]
    assert [lease.key for lease in take(queue, seconds=LONG)] == ["1"]
