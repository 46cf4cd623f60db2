"""The loop of a worker: units are done under a lease, and nothing is said or written without one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind, usage
from dunlin.pace.stop import Stop
from dunlin.queue.base import Kind, Lease, News, NewTask, Status
from dunlin.queue.embedded import Embedded
from dunlin.report import RecordingReport
from dunlin.stores.login import Login
from dunlin.transfer.outcome import Outcome
from dunlin.workers import agent, packing, part, tasks
from dunlin.workers.agent import AgentOptions, Pace, check_pace, run_agent
from dunlin.workers.context import Context
from dunlin.workers.handling import Handler
from dunlin.workers.packing import Orders
from dunlin.workers.part import Resolve
from dunlin.workers.remote import orders_name, refusal_name, setup_name
from dunlin.workers.tasks import Scan
from tests.unit.workers.remote import QUEUE, RUN, WORKER, setup, told

FAST = Pace(lease=2.0, beat=0.1, sweep=0.1, orders=0.05, margin=0.5)


class Site:
    """A run on two local trees, and a worker in a thread."""

    def __init__(self, root: Path) -> None:
        self.queue = Embedded.open(str(root / "queue.db"), lambda _: None, durable=False)
        self.setup = setup(root)
        self.source, self.target = root / "source", root / "target"
        self.stop = Stop()
        self.report = RecordingReport()
        self.thread: threading.Thread | None = None
        self.numbers = iter(range(1, 100))
        self.error: BaseException | None = None
        self.order()
        self.queue.write(setup_name(RUN), packing.pack_setup(self.setup))

    def order(self, **orders: object) -> None:
        self.queue.write(orders_name(RUN), packing.pack_orders(Orders(**orders)))  # type: ignore[arg-type]

    def put(self, unit: tasks.Task, announce: bool = False) -> str:
        key = str(next(self.numbers))
        self.queue.put([NewTask(QUEUE, key, packing.pack_unit(tasks.pack(unit), announce, []), retries=0)])
        return key

    def work(
        self,
        resolve: Resolve = lambda text, side: (text, Login()),
        others: Mapping[str, Handler] = {},
        grace: float = 20.0,
        slots: int = 2,
        pace: Pace = FAST,
    ) -> None:
        options = AgentOptions(
            WORKER, "host", 7, slots, ("host",), resolve, others=others, grace=grace, pace=pace
        )

        def body() -> None:
            try:
                run_agent(self.queue, options, self.stop, self.report)
            except BaseException as error:
                self.error = error

        self.thread = threading.Thread(target=body)
        self.thread.start()

    def news(self, count: int = 1) -> list[News]:
        """So many results; the deadline is only for a test that fails."""
        self.until(lambda: len(self.queue.collect(QUEUE, 100)) >= count)
        return self.queue.collect(QUEUE, 100)

    def until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not done():
            assert time.monotonic() < deadline, self.report.events
            assert self.error is None, self.error
            time.sleep(0.01)

    def end(self) -> None:
        self.stop.request("the test is over")
        if self.thread is not None:
            self.thread.join(30)
            assert not self.thread.is_alive()
            self.thread = None

    def leases(self) -> list[str]:
        return [info.key for info in self.queue.tasks(QUEUE, Status.LEASED)]

    def names(self) -> list[str]:
        return [event.name for event in self.report.events]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.end()
    made.queue.close()


@pytest.mark.parametrize("pace", [Pace(), Pace(lease=5.0), Pace(lease=2.0, beat=0.5), Pace(lease=60.0, beat=29.5)])
def test_a_lease_that_bears_one_late_heartbeat_is_taken(pace: Pace) -> None:
    check_pace(pace)


@pytest.mark.parametrize("pace", [Pace(lease=4.9), Pace(beat=2.6), Pace(lease=6.0, beat=10.0), Pace(2.0, 0.8)])
def test_a_lease_that_would_run_out_is_refused(pace: Pace) -> None:
    with pytest.raises(DunlinError) as raised:
        check_pace(pace)
    assert raised.value.kind is ErrorKind.USAGE
    assert f"--lease {2 * pace.beat + pace.margin:g}s" in raised.value.hint


def test_a_unit_is_done_and_its_outcome_told(site: Site) -> None:
    (site.source / "f").write_text("content")
    (site.source / "d").mkdir()
    site.work()
    site.put(Scan(""))
    (news,) = site.news()
    outcome = packing.unpack_outcome(told(news))
    assert (news.kind, news.key, news.worker) == (Kind.DONE, "1", WORKER)
    assert outcome.counts["copied_files"] == 1
    assert [name for name, _ in outcome.subdirectories] == ["d"]
    assert (site.target / "f").read_text() == "content"
    site.end()
    assert [info for info in site.queue.workers() if info.worker == WORKER] == []


def test_it_is_told_when_an_announced_unit_is_begun(site: Site) -> None:
    site.work()
    site.put(Scan(""), announce=True)
    begun, done = site.news(2)
    assert (begun.kind, told(begun)[:1]) == (Kind.PART, packing.BEGUN)
    assert done.kind is Kind.DONE
    assert [packing.unplaced(news.body)[1] for news in (begun, done)] == [0, 1]
    assert packing.unplaced(begun.body)[0] == packing.unplaced(done.body)[0]


def test_a_fault_ends_the_unit_and_not_the_worker(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Outcome:
        raise KeyError("surprise")

    with monkeypatch.context() as patch:
        patch.setattr(part, "run_unit", broken)
        site.work()
        site.put(Scan(""))
        (news,) = site.news()
    text, trace = packing.unpack_texts(told(news))
    assert text == "KeyError: 'surprise'"
    assert "Traceback" in trace
    site.put(Scan(""))
    assert packing.unpack_outcome(told(site.news(2)[1])).listed


def test_a_unit_that_nobody_can_read_fails_alone(site: Site) -> None:
    site.work()
    site.queue.put([NewTask(QUEUE, "77", b"rubbish", retries=0)])
    (news,) = site.news()
    assert "not ours" in packing.unpack_texts(told(news))[0]
    site.put(Scan(""))
    assert packing.unpack_outcome(told(site.news(2)[1])).listed


def test_who_cannot_take_part_says_why_and_leaves_the_unit_to_others(site: Site) -> None:
    def resolve(text: str, side: str) -> tuple[str, Login]:
        raise usage("there is no location nas")

    site.work(resolve)
    site.put(Scan(""))
    site.until(lambda: site.queue.read(refusal_name(RUN, WORKER)) is not None)
    site.until(lambda: site.leases() == [])
    assert site.queue.read(refusal_name(RUN, WORKER)) == b"cannot start: there is no location nas"
    lease: list[Lease] = []
    # The one that refused may ask for it again now and then; in between others have it.
    site.until(lambda: lease.extend(site.queue.lease("another", 1, 5.0, queues=(QUEUE,))) or bool(lease))
    assert [each.key for each in lease] == ["1"]
    assert site.names().count("worker.refused") == 1


def test_a_lease_that_is_lost_on_the_way_leaves_nothing_behind(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The coordinator takes the unit back while a file is on its way: it must not get its name."""
    (site.source / "f").write_text("content")
    real = part.run_unit

    def slow(context: object, task: object, emit: object) -> Outcome:
        site.queue.cancel(QUEUE)
        held = next(iter(running.held.values()))
        site.until(lambda: held.lost)
        return real(context, task, emit)  # type: ignore[arg-type]

    running = agent._Agent(
        site.queue, AgentOptions(WORKER, "host", 7, 1, (), lambda text, _: (text, Login()), pace=FAST), site.stop,
        site.report,
    )  # fmt: skip
    monkeypatch.setattr(part, "run_unit", slow)
    site.put(Scan(""))
    site.thread = threading.Thread(target=running.run)
    site.thread.start()
    site.until(lambda: "worker.lost" in site.names())
    assert list(site.target.iterdir()) == []
    assert site.queue.collect(QUEUE, 10) == []


def test_a_worker_that_is_to_stop_gives_back_what_it_had_not_begun(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    release, begun = threading.Event(), threading.Event()
    real = part.run_unit

    def slow(context: object, task: object, emit: object) -> Outcome:
        begun.set()
        assert release.wait(20)
        return real(context, task, emit)  # type: ignore[arg-type]

    monkeypatch.setattr(part, "run_unit", slow)
    monkeypatch.setattr(agent, "PREFETCH_SECONDS", 10.0)
    for _ in range(4):
        site.put(Scan(""))
    site.work(slots=1)
    assert begun.wait(20)
    site.until(lambda: len(site.leases()) == 4)
    site.stop.request("the test wants it")
    site.until(lambda: len(site.leases()) == 1)
    release.set()
    (news,) = site.news()
    assert news.kind is Kind.DONE
    site.end()
    # They were never begun, so the one delivery that each has is still to come.
    assert len(site.queue.lease("another", 10, 5.0, queues=(QUEUE,))) == 3


def test_what_does_not_end_in_time_is_others_at_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    release, begun = threading.Event(), threading.Event()

    def stuck(*_: object) -> Outcome:
        begun.set()
        assert release.wait(20)
        return Outcome()

    monkeypatch.setattr(part, "run_unit", stuck)
    site.put(Scan(""))
    patient = FAST._replace(lease=60.0)
    site.work(slots=1, grace=0.1, pace=patient)
    assert begun.wait(20)
    before = time.monotonic()
    site.stop.request("the test wants it")
    (news,) = site.news()
    assert news.kind is Kind.LOST
    assert time.monotonic() - before < patient.lease
    release.set()
    site.end()
    assert len(site.queue.collect(QUEUE, 10)) == 1  # what it came to is told to nobody


def test_a_run_that_is_to_stop_gets_the_outcome_of_what_was_begun(site: Site) -> None:
    for n in range(3):
        (site.source / f"f{n}").write_text("content")
    site.order(stopped=True)
    site.work()
    site.put(Scan(""))
    (news,) = site.news()
    outcome = packing.unpack_outcome(told(news))
    assert outcome.fatal is not None
    assert outcome.fatal[0] == ErrorKind.INTERRUPTED.value
    assert outcome.counts["copied_files"] == 0


def test_the_stores_of_a_run_with_nothing_to_do_are_closed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "KEPT", 0.1)
    site.work()
    site.put(Scan(""))
    site.news()
    site.until(lambda: "worker.left" in site.names())
    site.put(Scan(""))
    site.news(2)
    assert site.names().count("worker.joined") == 2


def test_a_run_that_is_about_to_be_worked_for_is_not_left(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has nothing to do for longer than it is kept, and is looked at right when a unit of it has come."""
    real = agent._Agent._enter
    lookers: list[threading.Thread] = []
    left: list[bool] = []
    do = part.run_unit

    def unit(context: Context, task: tasks.Task, emit: Callable[[Outcome], None]) -> Outcome:
        left.append("worker.left" in site.names())
        return do(context, task, emit)

    def enter(self: agent._Agent, token: str, n: int) -> None:
        if n > 0:
            lookers.append(threading.Thread(target=self._orders))
            lookers[-1].start()
            lookers[-1].join(0.2)
        real(self, token, n)

    monkeypatch.setattr(agent._Agent, "_enter", enter)
    monkeypatch.setattr(part, "run_unit", unit)
    monkeypatch.setattr(agent, "KEPT", 0.0)
    (site.source / "f").write_text("content")
    site.work()
    site.put(Scan(""))
    (news,) = site.news()
    for looker in lookers:
        looker.join()
    found = packing.unpack_outcome(told(news))
    assert (found.listed, found.counts["copied_files"], found.failed) == (True, 1, [])
    assert left == [False]


def test_a_unit_that_the_queue_hands_out_a_second_time_is_done_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue went back to before this worker had it, and gives the same worker the very same."""
    real = site.queue.lease
    given: list[Lease] = []
    looks = threading.Event()
    units: list[tasks.Task] = []
    do = part.run_unit

    def lease(*arguments: object, **how: object) -> list[Lease]:
        found = real(*arguments, **how)  # type: ignore[arg-type]
        if given:
            looks.set()
        given.extend(found)
        return found or given[:1]

    def unit(context: Context, task: tasks.Task, emit: Callable[[Outcome], None]) -> Outcome:
        assert looks.wait(20)
        units.append(task)
        return do(context, task, emit)

    monkeypatch.setattr(site.queue, "lease", lease)
    monkeypatch.setattr(part, "run_unit", unit)
    site.put(Scan(""))
    site.work()
    site.news()
    site.end()
    assert units == [Scan("")]


def test_tasks_of_other_queues_are_done_by_their_handlers(site: Site) -> None:
    class Tasks:
        def do(self, lease: Lease, tell: Callable[[bytes], bool], may: Callable[[], bool]) -> bytes:
            if lease.payload == b"bad":
                raise DunlinError("publish", "f", ErrorKind.IO, "broken")
            assert tell(b"a part")
            assert may()
            return b"done " + lease.payload

        def limit(self, lease: Lease) -> float:
            return 60.0

    site.work(others={"publish": Tasks()})
    site.queue.put([NewTask("publish", "1", b"x"), NewTask("publish", "2", b"bad", retries=0)])
    site.until(lambda: len(site.queue.collect("publish", 10)) == 3)
    found = {(news.key, news.kind): (news.body, news.error) for news in site.queue.collect("publish", 10)}
    assert found["1", Kind.PART][0] == b"a part"
    assert found["1", Kind.DONE][0] == b"done x"
    assert "broken" in found["2", Kind.DEAD][1]


def test_a_queue_that_is_away_for_a_moment_is_told_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "IDLE", 0.02)
    real = site.queue.lease
    missed: list[int] = []

    def lease(*arguments: object, **how: object) -> list[Lease]:
        if len(missed) < 5:
            missed.append(1)
            raise DunlinError("lease", "", ErrorKind.NETWORK, "connection refused")
        return real(*arguments, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(site.queue, "lease", lease)
    monkeypatch.setattr(agent._Agent, "_heartbeat", lambda self: None)
    site.work()
    site.put(Scan(""))
    site.news()
    assert site.names().count("queue.away") == 1
    assert "queue.back" in site.names()


def test_a_refused_login_ends_the_worker(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> list[Lease]:
        raise DunlinError("lease", "", ErrorKind.AUTH, "wrong password")

    monkeypatch.setattr(site.queue, "lease", refused)
    site.work()
    assert site.thread is not None
    site.thread.join(20)
    assert isinstance(site.error, DunlinError)
    assert site.error.kind is ErrorKind.AUTH
    site.error = None


@pytest.mark.parametrize("broken", ["sweep", "ack"])
def test_a_worker_whose_heart_stops_ends(site: Site, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(site.queue, broken, fails)
    site.work(grace=0.2)
    site.put(Scan(""))
    assert site.thread is not None
    site.thread.join(20)
    assert isinstance(site.error, ZeroDivisionError)
    site.error = None
