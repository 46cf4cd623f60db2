"""The workers of a run as its coordinator sees them: what goes out, what comes back, what is lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.bucket import Bucket
from dunlin.queue.base import NewTask
from dunlin.report import RecordingReport
from dunlin.state.codec import FileStatus
from dunlin.state.files import KnownFile
from dunlin.transfer.outcome import Outcome
from dunlin.workers import packing, tasks
from dunlin.workers.doers import Arrival
from dunlin.workers.packing import RunSetup
from dunlin.workers.remote import (
    GRACE,
    IDLE_UNITS,
    LOOK,
    MOST_AHEAD,
    NOBODY,
    PATIENCE,
    RECONCILE,
    RemotePool,
    Sending,
    orders_name,
    refusal_name,
    setup_name,
)
from dunlin.workers.tasks import Finish, Scan
from tests.unit.workers.remote import (
    DOING,
    QUEUE,
    RUN,
    WORKER,
    Clock,
    done,
    hello,
    open_queue,
    outcome,
    setup,
    take,
    tell,
)

SENDING = Sending(how_to="start one")


class Run:
    """A pool on a queue of its own."""

    def __init__(self, root: Path, sending: Sending = SENDING) -> None:
        self.clock = Clock()
        self.queue = open_queue(root, self.clock)
        self.bucket = Bucket.create()
        self.report = RecordingReport()
        self.pool = RemotePool(
            open_queue(root, self.clock), RUN, setup(root), self.bucket, sending, None, self.report, self.clock,
            self.clock.sleep,
        )  # fmt: skip

    def poll(self) -> list[Arrival]:
        return self.pool.poll(0.0)

    def events(self, name: str) -> list[str]:
        return [event.message for event in self.report.events if event.name == name]

    def close(self) -> None:
        self.pool.close()
        self.queue.close()
        self.bucket.close()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = Run(tmp_path)
    yield made
    made.close()


def submit(run: Run, *numbers: int, announce: bool = False) -> None:
    for number in numbers:
        run.pool.submit(number, tasks.pack(Scan(f"d{number}")), announce)


def kinds(arrivals: list[Arrival]) -> list[tuple[str, int]]:
    return [(arrival.kind, arrival.unit) for arrival in arrivals]


def test_a_unit_goes_out_and_its_outcome_comes_back(run: Run) -> None:
    submit(run, 5)
    assert run.poll() == []
    (lease,) = take(run.queue)
    assert packing.unpack_unit(lease.payload) == (Scan("d5"), False, [])
    assert lease.label == "scan d5"
    tell(run.queue, lease, outcome(scanned_files=3))
    assert kinds(run.poll()) == [("part", 5)]
    assert run.pool.busy
    done(run.queue, lease, 1, copied_files=2)
    (arrival,) = run.poll()
    assert (arrival.kind, arrival.unit) == ("done", 5)
    assert Outcome.unpack(arrival.body[0]).counts == {"copied_files": 2}
    assert not run.pool.busy


def test_units_carry_the_priority_and_the_groups_of_their_run(tmp_path: Path) -> None:
    run = Run(tmp_path, SENDING._replace(priority=7, groups=("tenant:one", "store:s3://b")))
    submit(run, 1, 2, 3)
    run.poll()
    assert {info.priority for info in run.queue.tasks()} == {7}
    run.queue.cap("store:s3://b", 2)
    held = take(run.queue)
    assert [lease.key for lease in held] == ["1", "2"]
    done(run.queue, held[0])
    assert kinds(run.poll()) == [("done", 1)]
    assert [lease.key for lease in take(run.queue)] == ["3"]
    run.close()


def test_the_run_stands_on_the_board_without_a_login_and_is_gone_in_the_end(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.poll()
    body = run.queue.read(setup_name(RUN))
    assert body is not None
    assert packing.unpack_setup(body).rules.run == RUN
    assert run.queue.read(orders_name(RUN)) is not None
    submit(run, 1)
    run.poll()
    run.pool.close()
    assert run.queue.read(setup_name(RUN)) is None
    assert run.queue.read(orders_name(RUN)) is None
    assert take(run.queue) == []
    run.queue.close()
    run.bucket.close()


def test_news_stays_until_it_is_on_record(run: Run) -> None:
    submit(run, 1)
    run.poll()
    done(run.queue, take(run.queue)[0])
    run.poll()
    assert [news.key for news in run.queue.collect(QUEUE, 10)] == ["1"]
    run.pool.settled()
    assert run.queue.collect(QUEUE, 10) == []
    assert run.queue.known(QUEUE, ["1"]) == set()


def test_a_dead_workers_unit_comes_back_with_the_token_of_its_temporary_files(run: Run) -> None:
    submit(run, 1, 2)
    run.poll()
    take(run.queue, 1)
    run.clock.now += 7
    arrivals = run.poll()  # the coordinator sweeps, too
    arrivals += run.poll()
    assert kinds(arrivals) == [("gone", 0x1A2B), ("lost", 1)]
    assert arrivals[1].body == (f"{RUN}1a2b", False)
    assert run.pool.busy
    assert [lease.key for lease in take(run.queue)] == ["2"]


def test_a_unit_that_was_announced_as_begun_is_told_so_when_it_is_lost(run: Run) -> None:
    submit(run, 1, announce=True)
    run.poll()
    (lease,) = take(run.queue)
    tell(run.queue, lease, packing.pack_texts(packing.BEGUN))
    assert run.poll() == []
    run.clock.now += 7
    arrivals = run.poll() + run.poll()
    assert arrivals[-1] == Arrival("lost", 1, (f"{RUN}1a2b", True))


def test_what_a_zombie_says_reaches_nobody(run: Run) -> None:
    submit(run, 1)
    run.poll()
    (lease,) = take(run.queue)
    run.clock.now += 7
    assert kinds(run.poll() + run.poll())[-1] == ("lost", 1)
    assert not run.queue.tell(lease, packing.placed(DOING, 0, outcome()))
    assert run.queue.ack([(lease, packing.placed(DOING, 0, outcome()))]) == [False]
    assert run.poll() == []


def test_news_of_a_unit_that_nobody_waits_for_is_dropped(run: Run) -> None:
    run.poll()
    run.queue.put([NewTask(QUEUE, "77", packing.pack_unit(tasks.pack(Finish("")), False, []))])
    done(run.queue, take(run.queue)[0])
    assert run.poll() == []


def test_a_fault_and_a_dead_task_are_failures_of_their_unit(run: Run) -> None:
    submit(run, 1, 2)
    run.poll()
    first, second = take(run.queue)
    run.queue.ack([(first, packing.placed(DOING, 0, packing.pack_texts(packing.FAULT, "KeyError: 1", "the trace")))])
    run.queue.nack(second, "no such thing", final=True)
    assert run.poll() == [
        Arrival("fault", 1, ("KeyError: 1", "the trace")),
        Arrival("fault", 2, ("no such thing", "")),
    ]


def test_what_nobody_can_read_fails_its_unit_and_no_other(run: Run) -> None:
    submit(run, 1, 2)
    run.poll()
    first, second = take(run.queue)
    tell(run.queue, first, b"O rubbish")
    (arrival,) = run.poll()
    assert (arrival.kind, arrival.unit) == ("fault", 1)
    assert "not ours" in arrival.body[0]
    done(run.queue, first, 1)
    done(run.queue, second)
    assert kinds(run.poll()) == [("done", 2)]


def test_an_outcome_in_pieces_arrives_whole(run: Run) -> None:
    submit(run, 1)
    run.poll()
    (lease,) = take(run.queue)
    made = Outcome()
    made.vanished = [f"name {n}" for n in range(500)]
    *before, last = packing.pieces(packing.pack_outcome(made), 1_000)
    assert len(before) > 3
    tell(run.queue, lease, *before)
    assert run.poll() == []
    run.queue.ack([(lease, packing.placed(DOING, len(before), last))])
    (arrival,) = run.poll()
    assert Outcome.unpack(arrival.body[0]) == made


def test_word_of_a_large_file_becomes_a_task_of_its_worker(run: Run) -> None:
    submit(run, 1)
    run.poll()
    (lease,) = take(run.queue)
    run.queue.tell(lease, packing.pack_progress([(9, "huge", 100, 40)]))
    run.queue.tell(lease, packing.pack_progress([(9, "huge", 100, -1)]))
    assert run.poll() == [Arrival("task", 0x1A2B, (9, "huge", 100, 40)), Arrival("end", 0x1A2B, (9,))]


def test_what_the_queue_forgot_is_done_again_and_the_run_is_made_known_again(run: Run) -> None:
    submit(run, 1, 2)
    run.poll()
    done(run.queue, take(run.queue, 1)[0])
    assert kinds(run.poll()) == [("done", 1)]
    run.pool.settled()
    run.queue.drop(QUEUE)
    run.queue.write(setup_name(RUN), None)
    run.clock.now += RECONCILE + LOOK
    assert run.poll() == [Arrival("lost", 2, (NOBODY, False))]
    assert run.queue.read(setup_name(RUN)) is not None
    assert run.events("queue.lost") == ["the queue has lost 1 units: they are done again"]
    # News that counts from the beginning again is heard.
    submit(run, 3)
    run.poll()
    done(run.queue, take(run.queue)[0])
    assert kinds(run.poll()) == [("done", 3)]


def test_what_went_out_after_the_queue_was_emptied_finds_the_run_on_the_board_again(run: Run) -> None:
    run.poll()
    run.queue.drop(QUEUE)
    run.queue.write(setup_name(RUN), None)
    submit(run, 1)
    run.clock.now += RECONCILE + LOOK
    assert run.poll() == []  # it went out just now, so the queue knows it; workers must know the run
    assert run.queue.read(setup_name(RUN)) is not None


def test_news_whose_numbers_went_back_is_found_in_the_end(run: Run) -> None:
    """The clock of the queue was set back, too, so not even that keeps the numbers growing."""
    submit(run, 1, 2)
    run.poll()
    first, second = take(run.queue, seconds=1_000.0)
    tell(run.queue, second, outcome(copied_files=3))
    done(run.queue, first)
    assert kinds(run.poll()) == [("part", 2), ("done", 1)]
    run.pool._read += 10**12
    done(run.queue, second, 1, copied_files=4)
    assert run.poll() == []
    run.clock.now += RECONCILE + LOOK
    (arrival,) = run.poll()  # and the part, which is read once more, is not counted again
    assert (arrival.kind, arrival.unit, Outcome.unpack(arrival.body[0]).counts) == ("done", 2, {"copied_files": 4})


def test_what_is_told_a_second_time_is_counted_once(run: Run) -> None:
    submit(run, 1)
    run.poll()
    (lease,) = take(run.queue)
    tell(run.queue, lease, outcome(copied_files=1))
    tell(run.queue, lease, outcome(copied_files=1))  # its answer got lost, so it was sent again
    done(run.queue, lease, 1, copied_files=2)
    assert [Outcome.unpack(arrival.body[0]).counts["copied_files"] for arrival in run.poll()] == [1, 2]


def test_a_unit_of_which_a_part_is_missing_is_done_again(run: Run) -> None:
    submit(run, 1, 2)
    run.poll()
    first, second = take(run.queue)
    done(run.queue, first, 1)  # what it told before is gone
    tell(run.queue, second, outcome(), place=1)
    assert kinds(run.poll()) == [("lost", 1), ("lost", 2)]
    assert not run.pool.busy
    assert run.queue.heartbeat([second], 6.0) == [None]  # whoever does it finds out
    assert len(run.events("queue.lost")) == 2


def test_a_unit_of_which_two_workers_tell_is_done_again(run: Run) -> None:
    """The queue went back to before one had it, and gave it to another: what the one told stands here all the same."""
    submit(run, 1)
    run.poll()
    (lease,) = take(run.queue)
    tell(run.queue, lease, outcome(copied_files=1))
    assert kinds(run.poll()) == [("part", 1)]
    run.queue.release([lease])
    (lease,) = take(run.queue, worker="host-8-2222")
    tell(run.queue, lease, outcome(copied_files=1), outcome(copied_files=1), doing=b"two time")
    assert kinds(run.poll()) == [("lost", 1)]
    assert run.poll() == []
    assert run.queue.known(QUEUE, ["1"]) == set()


def test_a_unit_that_one_worker_tells_of_twice_is_done_again(run: Run, tmp_path: Path) -> None:
    """The queue went back to before it was handed out, and the same worker got it as the same attempt once more."""
    submit(run, 1)
    run.poll()
    (first,) = take(run.queue)
    tell(run.queue, first, outcome(copied_files=1), outcome(copied_files=1))
    assert kinds(run.poll()) == [("part", 1), ("part", 1)]
    with closing(sqlite3.connect(tmp_path / "queue.db")) as database, database:
        database.execute("UPDATE task SET status = 0, attempt = 0, used = 0, worker = ''")
        database.execute("DELETE FROM news")
    (second,) = take(run.queue)
    assert second[:5] == first[:5]
    tell(run.queue, second, outcome(equal_files=100), outcome(equal_files=100), doing=b"two time")
    done(run.queue, second, 2, doing=b"two time", equal_files=7)
    run.clock.now += RECONCILE + LOOK
    assert kinds(run.poll()) == [("lost", 1)]
    assert len(run.events("queue.lost")) == 1


@pytest.mark.parametrize("kind", [packing.PROGRESS, packing.PIECE, packing.OUTCOME, b"\xff"])
def test_chance_may_be_like_any_word(run: Run, kind: bytes) -> None:
    submit(run, 1)
    run.poll()
    (lease,) = take(run.queue)
    tell(run.queue, lease, outcome(copied_files=1), doing=kind * 8)
    done(run.queue, lease, 1, doing=kind * 8)
    assert kinds(run.poll()) == [("part", 1), ("done", 1)]


def test_word_of_a_large_file_is_not_told_again(run: Run) -> None:
    submit(run, 1)
    run.poll()
    (lease,) = take(run.queue, seconds=1_000.0)
    run.queue.tell(lease, packing.pack_progress([(9, "huge", 100, 40)]))
    assert len(run.poll()) == 1
    run.clock.now += RECONCILE + LOOK
    assert run.poll() == []


def test_what_has_just_gone_out_is_not_taken_for_lost(run: Run) -> None:
    run.poll()
    run.clock.now += RECONCILE + LOOK
    submit(run, 1)
    assert run.poll() == []
    assert run.events("queue.lost") == []


def test_a_stop_brings_back_what_waits_at_once_and_the_rest_after_a_while(run: Run) -> None:
    submit(run, 1, 2)
    run.poll()
    (lease,) = take(run.queue, 1, seconds=1_000.0)
    run.pool.tell("cancel")
    orders = run.queue.read(orders_name(RUN))
    assert orders is not None
    assert packing.unpack_orders(orders).stopped
    submit(run, 3)
    run.clock.now += LOOK
    assert sorted(kinds(run.poll())) == [("lost", 2), ("lost", 3)]
    run.clock.now += GRACE + LOOK
    assert kinds(run.poll()) == [("lost", 1)]
    assert not run.pool.busy
    assert run.queue.heartbeat([lease], 6.0) == [None]


def test_limit_and_pause_reach_the_board_at_once(run: Run) -> None:
    run.poll()
    run.bucket.set_rate(12_345)
    run.bucket.pause()
    run.poll()
    orders = run.queue.read(orders_name(RUN))
    assert orders is not None
    assert packing.unpack_orders(orders) == (12_345, True, False)


def test_orders_run_out_when_nobody_coordinates(run: Run) -> None:
    run.poll()
    run.clock.now += 20
    run.poll()
    run.clock.now += 20
    assert run.queue.read(orders_name(RUN)) is not None
    run.clock.now += 20
    assert run.queue.read(orders_name(RUN)) is None


def test_so_many_units_go_ahead_as_the_workers_do_in_a_moment(run: Run) -> None:
    assert run.pool.room == IDLE_UNITS
    hello(run.queue, slots=4)
    hello(run.queue, "host-8-2222", slots=2)
    run.clock.now += LOOK
    run.poll()
    assert run.pool.room == 6 * 2
    for _ in range(200):
        run.pool.learn(0.001)
    assert run.pool.room == 6 * (1 + MOST_AHEAD)
    for _ in range(200):
        run.pool.learn(60.0)
    submit(run, *range(12))
    assert run.pool.room == 0
    assert run.pool.in_flight == 6


def test_workers_of_another_machine_do_not_count_for_local_paths(tmp_path: Path) -> None:
    run = Run(tmp_path, Sending(host="here", how_to="start one"))
    hello(run.queue, slots=4, labels=("there",))
    run.poll()
    assert run.pool.in_flight == 0
    hello(run.queue, "host-8-2222", slots=2, labels=("here",))
    run.clock.now += LOOK
    submit(run, 1)
    run.poll()
    assert run.pool.in_flight == 2
    assert run.queue.lease(WORKER, 1, 6.0, labels=("there",)) == []
    assert len(run.queue.lease(WORKER, 1, 6.0, labels=("here",))) == 1
    run.close()


def test_a_run_without_workers_says_once_how_to_start_one(run: Run) -> None:
    for _ in range(5):
        run.poll()
        run.clock.now += PATIENCE
    assert run.events("workers.none") == ["no worker takes part; start one"]


def test_a_worker_that_takes_no_part_is_told_of_once_and_does_not_count(run: Run) -> None:
    hello(run.queue)
    run.queue.write(refusal_name(RUN, WORKER), b"there is no location nas")
    for _ in range(3):
        run.poll()
        run.clock.now += LOOK
    assert run.events("worker.refused") == [f"worker {WORKER} takes no part: there is no location nas"]
    assert run.pool.in_flight == 0


def test_roots_are_looked_at_anew_while_somebody_takes_no_part(tmp_path: Path) -> None:
    looks: list[float] = []
    left: list[bool] = []

    def renew() -> RunSetup:
        looks.append(run.clock.now)
        return setup(tmp_path, dunlin=str(len(looks)))

    run = Run(tmp_path, Sending(renew=renew, leave=lambda: left.append(True)))
    hello(run.queue)
    for _ in range(3):
        run.poll()
        run.clock.now += LOOK
    assert looks == []
    run.queue.write(refusal_name(RUN, WORKER), b"it is another directory here")
    for _ in range(int(2 * RECONCILE / LOOK)):
        run.poll()
        run.clock.now += LOOK
    assert len(looks) == 2
    body = run.queue.read(setup_name(RUN))
    assert body is not None
    assert packing.unpack_setup(body).dunlin == "2"
    assert not left
    run.close()
    assert left == [True]


def test_rows_that_the_state_remembers_go_with_a_listing_and_with_nothing_else(tmp_path: Path) -> None:
    known = KnownFile("f", 1, 2, None, None, None, None, "etag", None, None, FileStatus.SYNCED)
    run = Run(tmp_path, Sending(rows=lambda directory: [known._replace(name=directory)]))
    run.pool.submit(1, tasks.pack(Scan("d")))
    run.pool.submit(2, tasks.pack(Finish("d")))
    run.poll()
    units = [packing.unpack_unit(lease.payload) for lease in take(run.queue)]
    assert [unit.known for unit in units] == [[known._replace(name="d")], []]
    run.close()


def test_a_queue_that_is_away_is_waited_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.poll()
    submit(run, 1)

    def away(*_: object) -> int:
        raise DunlinError("put", "", ErrorKind.NETWORK, "connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(run.pool._queue, "put", away)
        before = run.clock.now
        assert run.pool.poll(0.1) == []
        assert run.pool.poll(0.1) == []
        assert run.clock.now >= before + 0.2
    assert run.events("queue.away") == ["the queue is away, its units wait: connection refused"]
    run.poll()
    assert len(take(run.queue)) == 1


def test_a_run_that_is_to_stop_does_not_wait_for_a_queue_that_is_away(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(run, 1)
    run.poll()

    def away(*_: object, **__: object) -> int:
        raise DunlinError("collect", "", ErrorKind.NETWORK, "connection refused")

    monkeypatch.setattr(run.pool._queue, "collect", away)
    monkeypatch.setattr(run.pool._queue, "write", away)
    run.pool.tell("cancel")
    assert run.poll() == []
    run.clock.now += GRACE + 1
    assert kinds(run.poll()) == [("lost", 1)]


def test_a_refused_login_ends_the_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> int:
        raise DunlinError("collect", "", ErrorKind.AUTH, "wrong password")

    monkeypatch.setattr(run.pool._queue, "collect", refused)
    submit(run, 1)
    with pytest.raises(DunlinError) as raised:
        run.poll()
    assert raised.value.kind is ErrorKind.AUTH
    assert kinds(run.poll()) == [("lost", 1)]  # whoever winds the run up is not kept waiting


def test_two_runs_on_one_destination_end_the_second(tmp_path: Path) -> None:
    run = Run(tmp_path, Sending(office="destination/x"))
    run.poll()
    assert not run.queue.hold("destination/x", "somebody", 5.0)
    run.queue.leave("destination/x", RUN)
    run.queue.hold("destination/x", "somebody", 100.0)
    run.clock.now += LOOK
    with pytest.raises(DunlinError) as raised:
        run.poll()
    assert raised.value.kind is ErrorKind.LOCKED
    run.close()
