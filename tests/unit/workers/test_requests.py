"""What a run makes of the answers of its movers' gates: one number for all of them, and why it changes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dunlin.pace.climb import LEAST, Climb
from dunlin.pace.gate import Passed
from dunlin.report import Level, RecordingReport
from dunlin.workers.requests import LOOK, Requests, follow
from dunlin.workers.setup import share
from dunlin.workers.telling import Telling

KIB = 1 << 10


class Pool:
    """Movers at whose gates a store works: each request takes `seconds`, at most `servers` of them at a time."""

    def __init__(self, servers: float = 1e9, seconds: float = 0.1, movers: int = 2, size: int = KIB) -> None:
        self.started = True
        self.threads, self.borne = 1, 0
        self.numbers = list(range(movers))
        self.gates: dict[int, tuple[Any, ...]] = {}
        self.servers, self.seconds, self.bytes = servers, seconds, size
        self.limit = 32
        self.refusals = 0
        self.reached: list[int] = []
        self.asked = 0
        self._totals = [Passed(0.0, 0, 0, 0.0, 0, 16)] * 10
        self._owed = [0.0] * 10
        self.silent: set[int] = set()

    @property
    def size(self) -> int:
        return len(self.numbers)

    def reach(self, requests: int) -> None:
        self.limit = requests
        self.reached.append(requests)

    def ask_gates(self) -> None:
        self.gates.clear()
        self.asked += 1

    def pass_time(self, seconds: float) -> None:
        """The movers work, and answer what they were asked."""
        inside = min(self.limit, self.borne or self.limit)
        for number in self.numbers:
            mine = share(inside, len(self.numbers), self.numbers.index(number))
            self._owed[number] += min(mine, self.servers / len(self.numbers)) / self.seconds * seconds
            done = int(self._owed[number])
            self._owed[number] -= done
            was = self._totals[number]
            now = self._totals[number] = Passed(
                was.time + seconds, was.left + done, was.moved + done * self.bytes, was.inside + mine * seconds,
                self.refusals, mine,
            )  # fmt: skip
            if number not in self.silent:
                self.gates[number] = tuple(now)


class Scene:
    """Requests of a run, its clock, and what it tells."""

    def __init__(self, pool: Pool, start: int = 32, most: int = 128) -> None:
        self.now = 0.0
        self.pool = pool
        self.report = RecordingReport()
        self.bucket = SimpleNamespace(rate=0, paused=False)
        self.crew: Any = SimpleNamespace(
            report=self.report, telling=Telling(self.report, lambda *_: None), bucket=self.bucket
        )
        made: Any = pool
        self.requests = Requests(Climb(start, LEAST, most), made, lambda: self.now)

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.requests.poll(self.crew)
            self.now += LOOK
            self.pool.pass_time(LOOK)

    @property
    def lines(self) -> list[str]:
        return [event.message for event in self.report.events]


def test_nothing_is_asked_before_there_are_movers() -> None:
    pool = Pool()
    pool.started = False
    Scene(pool).pass_time(5)
    assert (pool.asked, pool.reached) == (0, [])


def test_they_are_asked_twice_a_second_however_often_it_is_called() -> None:
    scene = Scene(Pool())
    for _ in range(50):
        scene.requests.poll(scene.crew)
    assert scene.pool.asked == 1
    scene.pass_time(10)
    assert scene.pool.asked == 20


def test_requests_to_a_store_far_away_become_more_and_the_log_says_why() -> None:
    scene = Scene(Pool(seconds=0.3))
    scene.pass_time(20)
    assert scene.lines[0] == "Requests to the store: 32 -> 48 (throughput grows)"
    assert scene.report.events[0].level is Level.INFO
    assert scene.report.events[0].fields == {"before": 32, "requests": 48, "why": "throughput grows"}
    assert scene.pool.limit == 128
    assert scene.report.gauges["requests_limit"] == 128
    assert scene.report.gauges["requests"] == pytest.approx(128, abs=2)


def test_a_store_with_few_servers_gets_fewer_requests() -> None:
    scene = Scene(Pool(servers=8, seconds=0.04))
    scene.pass_time(60)
    assert 7 <= scene.pool.limit <= 10
    assert scene.lines[0] == "Requests to the store: 32 -> 22 (fewer bring as much)"


@pytest.mark.parametrize("what", ["rate", "paused", "borne"])
def test_what_was_measured_while_something_else_decided_does_not_count(what: str) -> None:
    scene = Scene(Pool(seconds=0.3))
    if what == "borne":
        scene.pool.borne = 20
    else:
        setattr(scene.bucket, what, 1000)
    scene.pass_time(60)
    assert set(scene.pool.reached) == {32}
    if what == "borne":
        scene.pool.borne = 0
    else:
        setattr(scene.bucket, what, 0)
    scene.pass_time(60)
    assert scene.pool.limit == 128


def test_while_threads_are_tried_out_requests_are_not() -> None:
    scene = Scene(Pool(seconds=0.3))
    for n in range(40):
        scene.pool.threads = 1 + n % 2
        scene.pass_time(LOOK)
    assert set(scene.pool.reached) == {32}


def test_what_the_store_refuses_at_any_mover_counts() -> None:
    scene = Scene(Pool(seconds=0.3))
    for _ in range(120):
        if scene.pool.limit > 32:
            scene.pool.refusals += 1
        scene.pass_time(LOOK)
    assert not [line for line in scene.lines if "grows" in line]
    assert max(scene.pool.reached) == 48


def test_a_mover_that_does_not_answer_is_waited_for() -> None:
    scene = Scene(Pool(seconds=0.3))
    scene.pool.silent.add(1)
    scene.pass_time(20)
    assert set(scene.pool.reached) == {32}
    scene.pool.silent.clear()
    scene.pass_time(30)
    assert scene.pool.limit == 128


def test_a_mover_that_replaced_another_begins_to_count_anew() -> None:
    scene = Scene(Pool(seconds=0.3))
    scene.pass_time(2)
    scene.pool.numbers = [0, 7]
    scene.pass_time(30)
    assert scene.pool.limit == 128


@pytest.mark.parametrize(("size", "most"), [(4 * KIB, 128), (512 * KIB, 64), (1000 * KIB, 32), (50_000 * KIB, 32)])
def test_large_files_in_hand_are_no_more_than_memory_is_planned_for(size: int, most: int) -> None:
    scene = Scene(Pool(seconds=0.3, size=size))
    scene.pass_time(60)
    assert max(scene.pool.reached) == pytest.approx(most, rel=0.1)


def test_files_that_become_large_bring_the_number_down() -> None:
    scene = Scene(Pool(seconds=0.3))
    scene.pass_time(30)
    scene.pool.bytes = 1 << 20
    scene.pass_time(10)
    assert scene.pool.limit == 32
    assert scene.lines[-1].endswith("(the files are large)")


@pytest.mark.parametrize(
    ("movers", "start", "most", "wanted"),
    [(2, 32, 128, (4, 128)), (8, 32, 128, (8, 128)), (2, 10, 10, (4, 10)), (2, 4, 4, None), (2, 2, 2, None)],
)
def test_there_is_something_to_decide_or_not(
    movers: int, start: int, most: int, wanted: tuple[int, int] | None
) -> None:
    pool: Any = Pool(seconds=0.3, movers=movers)
    made = follow(pool, start, most)
    assert (made is not None) is (wanted is not None)
    if made is not None and wanted is not None:
        scene = Scene(pool)
        scene.requests = made
        scene.requests._clock = lambda: scene.now
        scene.pass_time(60)
        assert max(pool.reached) == wanted[1]
