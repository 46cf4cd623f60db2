from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from dunlin.pace.load import Load
from dunlin.pace.throttle import LOOK
from dunlin.report import Level, RecordingReport
from dunlin.workers.governor import BATCH, LEAST_BATCH, RATION, Enforced, Governor
from dunlin.workers.telling import Telling

MB = 1 << 20


class Pool:
    """What the governor knows of a pool."""

    def __init__(self) -> None:
        self.started = True
        self.size = 2
        self.wanted = 10
        self.in_flight = 10
        self.pids = [71, 72]
        self.limits: list[tuple[int, float, bool]] = []
        self.told: list[tuple[object, ...]] = []

    def limit(self, workers: int, share: float = 1.0, hold: bool = False) -> None:
        self.limits.append((workers, round(share, 2), hold))

    def tell(self, *message: object) -> None:
        self.told.append(message)


class Scene:
    """A governor with a clock, gauges and a crew that the test steers."""

    def __init__(self, limits: Enforced, most: int = 10, hands: object = None) -> None:
        self.now = 0.0
        self.readings: Mapping[str, float] = {"cpu": 0.1}
        self.own: Mapping[str, float] = {}
        self.held = 0
        self.looked: list[list[int]] = []
        self.made: list[tuple[int, int]] = []
        self.slept: list[float] = []
        self.recorded: list[tuple[int, bool]] = []
        self.report = RecordingReport()
        self.pool = Pool()
        telling = Telling(self.report, lambda *_: None)
        if hands is not None:
            self.pool.wanted = most
        site = SimpleNamespace(hands=hands)
        self.crew: Any = SimpleNamespace(
            pool=self.pool, batch=BATCH, telling=telling, report=self.report, context=SimpleNamespace(site=site)
        )
        self.governor = Governor(limits, most, self._record, self._gauges, lambda: self.now, self.slept.append)

    def _record(self, load: Load, workers: int, throttled: bool) -> None:
        self.recorded.append((workers, throttled))

    def _gauges(self, limit: int, link: int) -> Any:
        self.made.append((limit, link))
        return SimpleNamespace(look=self._look, resident=lambda pids: self.held)

    def _look(self, pids: list[int]) -> Load:
        self.looked.append(pids)
        return Load(self.readings, self.own, self.held, 0.0)

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += 0.1
            self.governor.poll(self.crew)

    @property
    def lines(self) -> list[str]:
        return [event.message for event in self.report.events]


@pytest.fixture
def scenes() -> Iterator[list[Scene]]:
    made: list[Scene] = []
    yield made
    for scene in made:
        scene.governor.close()


def test_nothing_is_looked_at_before_there_are_movers() -> None:
    scene = Scene(Enforced(2, 0, 100 * MB, 0.8))
    scene.pool.started = False
    scene.pass_time(20)
    assert (scene.made, scene.looked) == ([], [])


def test_a_look_every_five_seconds_at_all_processes() -> None:
    scene = Scene(Enforced(2, 0, 0, 0.8, 99))
    scene.pass_time(4 * LOOK + 1)
    assert scene.made == [(0, 99)]
    assert [pids[1:] for pids in scene.looked] == [[71, 72]] * 4
    assert scene.recorded == [(10, False)] * 4
    assert scene.report.gauges["load_cpu"] == 0.1
    assert scene.pool.limits == []


def test_the_limit_on_processors_is_told_for_the_view() -> None:
    for percent, told in ((0, 0), (25, 0.25)):
        scene = Scene(Enforced(2, cpu_percent=percent))
        scene.pass_time(1)
        assert scene.report.gauges["cpu_limit"] == told


def test_a_busy_machine_gets_fewer_workers_and_smaller_batches_and_the_log_says_so() -> None:
    scene = Scene(Enforced(2, 0, 0, 0.8))
    scene.readings = {"cpu": 0.93, "memory": 0.2}
    scene.pass_time(3 * LOOK + 1)
    assert scene.pool.limits == [(7, 0.7, False), (5, 0.49, False), (3, 0.34, False)]
    assert scene.crew.batch == 342
    assert scene.lines == [
        "Throttling (cpu=93%, threshold=80%, workers=10->7)",
        "Throttling (cpu=93%, threshold=80%, workers=7->5)",
        "Throttling (cpu=93%, threshold=80%, workers=5->3)",
    ]
    assert {event.level for event in scene.report.events} == {Level.WARN}
    assert scene.report.events[0].fields == {"gauge": "cpu", "value": 0.93, "workers": 7, "before": 10, "batch": 700}
    assert scene.recorded[-1] == (10, True)
    assert scene.report.gauges["throttled"] == 1
    scene.pass_time(20 * LOOK)
    assert LEAST_BATCH <= scene.crew.batch < BATCH // 8
    assert scene.pool.limits[-1][0] == 1


def test_the_cause_is_told_as_it_is_now() -> None:
    """It stands beside the load as it is: two figures for one gauge would be one too many."""
    scene = Scene(Enforced(2, 0, 0, 0.8))
    scene.readings = {"cpu": 0.93, "memory": 0.2}
    scene.pass_time(2 * LOOK + 1)
    assert scene.governor.cause == "cpu 93%"
    scene.readings = {"cpu": 0.78, "memory": 0.2}
    scene.pass_time(LOOK)
    assert scene.governor.cause == "cpu 78%"


def test_it_recovers_when_the_machine_does() -> None:
    scene = Scene(Enforced(2, 0, 0, 0.8))
    scene.readings = {"cpu": 0.93}
    scene.pass_time(2 * LOOK + 1)
    scene.readings = {"cpu": 0.1}
    scene.pass_time(100)
    assert scene.lines[2:] == [
        "Throttling eased (workers=5->6)",
        "Throttling eased (workers=6->7)",
        "Throttling eased (workers=7->8)",
        "Throttling ended (workers=8->10)",
    ]
    assert scene.pool.limits[-1] == (0, 1.0, False)
    assert scene.crew.batch == BATCH
    assert scene.report.gauges["throttled"] == 0


def test_what_others_cause_does_not_grow_with_the_workers() -> None:
    scene = Scene(Enforced(2, 0, 0, 0.8), most=2)
    scene.pool.wanted = 2
    scene.readings = {"cpu": 0.95}
    scene.pass_time(LOOK + 0.5)
    scene.readings = {"cpu": 0.7}
    scene.pass_time(100)
    assert scene.lines == ["Throttling (cpu=95%, threshold=80%, workers=2->1)"]
    scene.own = {"cpu": 0.05}
    scene.pass_time(LOOK + 0.5)
    assert scene.lines[1:] == ["Throttling ended (workers=1->2)"]


def test_far_away_all_that_may_be_in_flight_counts_not_threads() -> None:
    scene = Scene(Enforced(2, 0, 0, 0.8), most=32, hands=object())
    scene.readings = {"network": 0.9}
    scene.pass_time(LOOK + 0.5)
    assert scene.lines == ["Throttling (network=90%, threshold=80%, workers=32->22)"]


def test_units_become_smaller_in_proportion_to_the_requests_that_pay_not_to_all_that_there_may_be() -> None:
    scene = Scene(Enforced(2, 0, 0, 0.8), most=128, hands=object())
    scene.pool.wanted = 32
    scene.readings = {"network": 0.9}
    scene.pass_time(2 * LOOK + 0.5)
    assert scene.pool.limits == [(22, 0.7, False), (16, 0.49, False)]
    assert scene.crew.batch == pytest.approx(490, abs=1)


def test_memory_gets_tight_and_full_and_easy_again() -> None:
    scene = Scene(Enforced(2, 0, 100 * MB))
    for held in (50, 86, 90, 96, 80, 60):
        scene.held = held * MB
        scene.pass_time(0.6)
    assert scene.pool.limits == [(2, 0.0, False), (1, 0.0, True), (2, 0.0, False), (0, 1.0, False)]
    assert scene.pool.told == [("trim",), ("trim",)]
    assert scene.lines == [
        "Memory is short, less is under way (resident=86.0 MiB, limit=100 MiB)",
        "Memory is at its limit, one file at a time (resident=96.0 MiB, limit=100 MiB)",
        "Memory is short, less is under way (resident=80.0 MiB, limit=100 MiB)",
        "Memory is enough again (resident=60.0 MiB, limit=100 MiB)",
    ]


def test_the_smaller_of_memory_and_load_counts() -> None:
    scene = Scene(Enforced(2, 0, 100 * MB, 0.8))
    scene.held = 86 * MB
    scene.readings = {"cpu": 0.9}
    scene.pass_time(30 * LOOK)
    assert scene.pool.limits[-1] == (1, 0.0, False)
    scene.held = 10 * MB
    scene.pass_time(1)
    assert scene.pool.limits[-1] == (1, 0.1, False)


def test_the_quota_of_processor_time_follows_what_is_used(scenes: list[Scene]) -> None:
    scene = Scene(Enforced(4, 25))
    scenes.append(scene)
    quota = scene.governor.quota
    assert quota is not None
    assert quota.rate == 1_000_000
    scene.pass_time(2 * RATION)
    first = quota.rate
    scene.pass_time(2)
    assert quota.rate > first, "nobody used anything"
    assert scene.slept == []


def test_without_a_limit_on_processors_there_is_no_quota() -> None:
    scene = Scene(Enforced(4, 0, 0, 0.8))
    assert scene.governor.quota is None
    scene.governor.stop()
    scene.governor.close()


def test_a_stop_reaches_whoever_waits_for_leave_to_compute(scenes: list[Scene]) -> None:
    scene = Scene(Enforced(1, 1))
    scenes.append(scene)
    scene.governor.stop()
    assert scene.governor.quota is not None
    assert scene.governor.quota.stopped


def test_what_is_in_use_is_cut_down_not_what_is_allowed() -> None:
    scene = Scene(Enforced(2, 0, 0, 0.8), most=64)
    scene.pool.wanted = 4
    scene.readings = {"iowait": 0.93}
    scene.pass_time(LOOK + 1)
    assert scene.lines == ["Throttling (iowait=93%, threshold=80%, workers=4->3)"]


def test_batches_do_not_shrink_to_nothing() -> None:
    scene = Scene(Enforced(2, 0, 0, 0.8), most=64, hands=object())
    scene.readings = {"network": 0.93}
    scene.pass_time(30 * LOOK)
    assert scene.pool.limits[-1] == (1, 0.02, False)
    assert scene.crew.batch == LEAST_BATCH
