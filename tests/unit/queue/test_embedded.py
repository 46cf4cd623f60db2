"""embedded: what a file costs and promises besides the contract (tests/contract/test_queues.py)."""

from __future__ import annotations

import multiprocessing
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.base import Kind, NewTask, WorkerInfo
from dunlin.queue.embedded import IDLE_LANES, Embedded
from dunlin.queue.open import open_queue


class Time:
    """The clock of a machine, and a monotonic one, both moved by hand."""

    def __init__(self) -> None:
        self.wall, self.steady = 1_000_000.0, 500.0

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def queue(time: Time, tmp_path: Path) -> Iterator[Embedded]:
    made = Embedded.open(
        str(tmp_path / "q.db"), print, clock=lambda: time.wall, monotonic=lambda: time.steady, sleep=time.pass_
    )
    yield made
    made.close()


def version(queue: Embedded) -> int:
    """Changes with every commit of this connection."""
    return int(queue._database.value("SELECT total_changes()"))


def test_looking_for_work_writes_nothing(queue: Embedded) -> None:
    queue.put([NewTask("q", "later", b"", delay=60), NewTask("other", "k", b""), NewTask("q", "far", b"", host="h")])
    queue.put([NewTask("full", "a", b"", groups=("g",)), NewTask("full", "b", b"", groups=("g",))])
    queue.cap("g", 1)
    assert len(queue.lease("w", 5, 60, queues=["full"])) == 1
    queue.pause("other")
    before = version(queue)
    assert queue.lease("w", 5, 60, wait=5) == []
    assert queue.collect("q", 5, wait=5) == []
    assert queue.sweep() == 0
    assert version(queue) == before


def test_a_delayed_task_is_found_by_whoever_waits(queue: Embedded, time: Time) -> None:
    queue.put([NewTask("q", "k", b"", delay=3)])
    (lease,) = queue.lease("w", 1, 60, wait=10)
    assert time.steady == pytest.approx(503, abs=0.2)
    assert lease.until == pytest.approx(time.steady + 60)


def test_a_lease_is_never_thought_longer_than_it_is(queue: Embedded, time: Time) -> None:
    queue.put([NewTask("q", "k", b"")])
    (lease,) = queue.lease("w", 1, 10)
    time.pass_(9.99)
    assert queue.sweep() == 0
    time.pass_(0.02)
    assert lease.until < time.steady
    assert queue.sweep() == 1


def test_a_clock_set_back_only_delays(queue: Embedded, time: Time) -> None:
    queue.put([NewTask("q", "k", b"", retries=0)])
    queue.lease("w", 1, 10)
    time.wall -= 3600
    assert queue.sweep() == 0
    assert queue.stats()[0].oldest == 0
    time.wall += 3611
    assert queue.sweep() == 1
    assert queue.collect("q", 1)[0].kind is Kind.LOST


@pytest.mark.parametrize(("suffix", "level"), [("", 2), ("?sync=normal", 1)])
def test_a_commit_reaches_the_disk_unless_that_is_not_wanted(suffix: str, level: int, tmp_path: Path) -> None:
    queue = open_queue(f"sqlite://{tmp_path}/q.db{suffix}")
    assert isinstance(queue, Embedded)
    assert queue._database.value("PRAGMA synchronous") == level
    assert queue._database.journal == "wal"
    queue.close()


def test_a_queue_is_still_there_after_all_have_gone(tmp_path: Path) -> None:
    path = str(tmp_path / "q.db")
    queue = open_queue(path)
    queue.put([NewTask("q", "k", b"payload")])
    queue.close()
    queue = open_queue(path)
    assert [lease.payload for lease in queue.lease("w", 1, 60)] == [b"payload"]
    queue.close()


@pytest.mark.parametrize(
    "name",
    ["lane_ready", "delayed_due", "task_head", "task_expired", "task_heartbeat", "task_done", "task_known", "task_all",
     "news_page", "news_confirm", "news_over", "lane_leased", "stats_tasks", "body_drop", "task_keyed"],
)  # fmt: skip
def test_no_frequent_statement_reads_all_tasks(queue: Embedded, name: str) -> None:
    sql = queue._sql[name]
    count = max([int(number) for number in re.findall(r"\?(\d)", sql)] or [sql.count("?")])
    plan = [row[3] for row in queue._database.query(f"EXPLAIN QUERY PLAN {sql}", [1] * count)]
    # Lanes, queues and caps are few; a covering index is read in one piece to count.
    scans = [step for step in plan if re.match(r"SCAN (?!l$|q$|lane)", step) and "USING" not in step]
    assert scans == [], plan
    assert not any("TEMP B-TREE FOR ORDER BY" in step for step in plan)


def test_a_heartbeat_does_not_write_the_payload_again(queue: Embedded, tmp_path: Path) -> None:
    queue.put([NewTask("q", "k", b"x" * 4_000_000)])
    (lease,) = queue.lease("w", 1, 60)
    queue._database.query("PRAGMA wal_checkpoint(TRUNCATE)")
    for _ in range(10):
        queue.heartbeat([lease], 60)
    assert (tmp_path / "q.db-wal").stat().st_size < 500_000


def test_what_nobody_needs_is_removed_by_the_sweep(queue: Embedded, time: Time) -> None:
    for number in range(IDLE_LANES + 10):
        queue.put([NewTask("q", f"k{number}", b"", groups=(f"g{number}",))])
    queue.write("brief", b"v", 5)
    queue.write("long", b"v")
    queue.hold("office", "me", 5)
    queue.hello(WorkerInfo("w", "h", 1, 1, 0, (), (), "1", 0, 0), 5)
    queue.cancel("q", [f"k{number}" for number in range(1, IDLE_LANES + 10)])
    time.pass_(6)
    queue.sweep()
    left = {
        table: queue._database.value(f"SELECT count(*) FROM {table}")
        for table in ("lane", "board", "office", "worker", "body")
    }
    assert left == {"lane": 1, "board": 1, "office": 0, "worker": 0, "body": 1}
    assert len(queue.lease("w", 5, 60)) == 1


def test_another_process_that_writes_too_long_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "q.db")
    queue = Embedded.open(path, print, busy_ms=1)
    other = apsw.Connection(path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DunlinError) as raised:
        queue.put([NewTask("q", "k", b"")])
    assert raised.value.kind is ErrorKind.LOCKED
    other.close()
    assert queue.put([NewTask("q", "k", b"")]) == 1
    queue.close()


def test_a_child_does_not_wait_for_a_thread_that_it_has_not(tmp_path: Path) -> None:
    queue = open_queue(str(tmp_path / "q.db"))
    queue.put([NewTask("q", "k", b"")])
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with queue._lock:
            held.set()
            let_go.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(30)
    child = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(len(queue.lease("w", 1, 60))))
    child.start()
    child.join(20)
    let_go.set()
    thread.join()
    code = child.exitcode
    child.kill()
    assert code == 1
    queue.close()
