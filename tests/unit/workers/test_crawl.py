"""The crawl as the process that leads sees it, with movers that the test plays."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dunlin.model import Stats
from dunlin.pace.window import Marks, Numbers, Window, WindowLimits
from dunlin.workers.crawl import LOOK, Crawl, CrawlPlan
from dunlin.workers.crawled import Crawled

MB = 1 << 20
PLAN = CrawlPlan(WindowLimits(8, 1_000, 72), 40, 2_000, 100, lifts=True, memory_bytes=100 * MB)


class Pool:
    def __init__(self) -> None:
        self.started = True
        self.size = 2
        self.threads = 1
        self.numbers = [4, 5]
        self.pids = [71, 72]
        self.told: list[tuple[object, ...]] = []
        self.limits: list[WindowLimits] = []

    def tell(self, *message: object) -> None:
        self.told.append(message)

    def window(self, limits: WindowLimits) -> None:
        self.limits.append(limits)


class Scene:
    def __init__(self, plan: CrawlPlan = PLAN) -> None:
        self.now = 50.0
        self.resident = 10 * MB
        self.asked: list[list[int]] = []
        self.samples: list[Crawled] = []
        self.window = Window(plan.limits, threads=lambda: 3)
        self.crawl = Crawl(plan, self.window, self.samples.append, lambda: self.now, self._memory)
        self.pool = Pool()
        self.stats = Stats()
        self.crew: Any = SimpleNamespace(pool=self.pool, stats=self.stats, frontier=SimpleNamespace(queued=7))

    def _memory(self, pids: list[int]) -> int:
        self.asked.append(pids)
        return self.resident

    def holds(self) -> bool:
        return self.crawl.holds

    def tick(self, *answers: Numbers) -> None:
        """Two seconds later everybody is asked, and those of the movers that have something to say say it."""
        self.now += LOOK
        self.crawl.poll(self.crew)
        for mover, numbers in zip(self.pool.numbers, answers, strict=False):
            self.crawl.heard(self.crew, mover, tuple(numbers))


def test_every_two_seconds_all_are_asked_and_told_how_full_memory_is() -> None:
    scene = Scene()
    for _ in range(19):
        scene.now += 0.1
        scene.crawl.poll(scene.crew)
    assert (scene.pool.told, scene.asked) == ([], [])
    scene.tick()
    assert scene.pool.told == [("window?", 0.1)]
    assert scene.asked[0][1:] == [71, 72]


def test_a_sample_adds_up_all_windows() -> None:
    scene = Scene()
    scene.stats.scanned_files, scene.stats.scanned_directories, scene.stats.settled_directories = 500, 20, 3
    for seconds in (1.0, 3.0):
        scene.crawl.took(seconds)
    scene.tick(Numbers(2, 1, 100, 300, 5), Numbers(1, 4, 50, 60, 6))
    (sample,) = scene.samples
    assert (sample.active, sample.waiting, sample.held, sample.queued) == (3, 5, 150, 7)
    assert (sample.files_limit, sample.directories_limit, sample.threads_limit) == (1_000, 8, 72)
    assert (sample.total_files, sample.total_directories, sample.settled) == (500, 20, 3)
    assert (sample.files_per_second, sample.directories_per_second) == (250.0, 10.0)
    assert (sample.directory_seconds, sample.memory_bytes, sample.memory_limit) == (2.0, 10 * MB, 100 * MB)
    assert sample.threads >= 12
    assert (sample.engaged, sample.transitions, sample.adjustment) == ((), (), None)
    scene.tick(Numbers(), Numbers())
    assert scene.samples[-1].directory_seconds == 2.0
    assert scene.samples[-1].files_per_second == 0.0


def test_who_does_not_answer_counts_as_it_last_stood() -> None:
    scene = Scene()
    scene.tick(Numbers(1, 0, 10), Numbers(1, 0, 20))
    scene.tick(Numbers(1, 0, 5))
    assert len(scene.samples) == 1
    scene.tick()
    assert [sample.held for sample in scene.samples] == [30, 25]


def test_a_resource_is_engaged_while_it_is_in_any_process() -> None:
    scene = Scene()
    scene.tick(Numbers(events=(("files", True, 101.0),)), Numbers(events=(("files", True, 103.0),)))
    assert scene.samples[-1].transitions == (("files", True, 101.0),)
    assert scene.samples[-1].engaged == (("files", 0.0, 1_000.0),)
    scene.tick(Numbers(events=(("files", False, 84.0),)), Numbers())
    second = scene.samples[-1]
    assert (len(second.transitions), len(second.engaged)) == (0, 1)
    scene.tick(Numbers(), Numbers(events=(("files", False, 80.0), ("files", True, 100.0), ("files", False, 70.0))))
    third = scene.samples[-1]
    assert third.transitions == (("files", False, 80.0), ("files", True, 100.0), ("files", False, 70.0))
    assert third.engaged == ()


def test_a_mover_that_died_holds_and_engages_nothing() -> None:
    scene = Scene()
    scene.tick(Numbers(1, 1, 2_000, events=(("files", True, 200.0),)), Numbers(0, 0, 1))
    assert scene.holds()
    scene.crawl.gone(4)
    assert not scene.holds()
    scene.pool.numbers = [5]
    scene.tick(Numbers(0, 0, 1))
    assert (scene.samples[-1].held, scene.samples[-1].engaged) == (1, ())


def test_directories_are_held_back_while_files_or_memory_are_engaged_in_the_sum() -> None:
    scene = Scene()
    scene.crawl.heard(scene.crew, 4, tuple(Numbers(held=500)))
    assert not scene.holds()
    scene.crawl.heard(scene.crew, 5, tuple(Numbers(held=500)))
    assert scene.holds()
    scene.crawl.heard(scene.crew, 5, tuple(Numbers(held=349)))
    assert not scene.holds()
    scene.resident = 80 * MB
    scene.tick()
    assert scene.holds()
    scene.resident = 70 * MB
    scene.tick()
    assert scene.holds()
    scene.resident = 69 * MB
    scene.tick()
    assert not scene.holds()


def test_the_monitor_moves_the_limits_of_all_processes() -> None:
    scene = Scene()
    for _ in range(10):
        scene.tick(Numbers(1, 1, 10), Numbers(0, 0, 10))
    sample = scene.samples[-1]
    assert sample.adjustment is not None
    assert sample.adjustment[:3] == ("UNDERUTILIZED", 1_000, 1_300)
    assert scene.pool.limits == [WindowLimits(10, 1_300, 72)]
    assert (sample.files_limit, sample.directories_limit, sample.adjustments) == (1_300, 10, 1)
    scene.tick(Numbers(), Numbers())
    assert (scene.samples[-1].adjustment, scene.samples[-1].adjustments) == (None, 1)


def test_marks_samples_and_cooldown_are_those_of_the_plan() -> None:
    scene = Scene(PLAN._replace(limits=WindowLimits(8, 1_000, 72, Marks(0.5, 0.4)), consistency=2, cooldown=5.0))
    scene.crawl.heard(scene.crew, 4, tuple(Numbers(held=500)))
    assert scene.holds()
    for _ in range(8):
        scene.tick(Numbers(1, 1), Numbers())
    assert [sample.adjustment is not None for sample in scene.samples] == [False, True, False, False, True, False,
                                                                           False, True]  # fmt: skip


def test_directories_follow_the_threads_that_pay_unless_somebody_said_how_many() -> None:
    for lifts, expected in ((True, [20, 40]), (False, [])):
        scene = Scene(PLAN._replace(lifts=lifts))
        for threads in (1, 4, 10, 10, 64):
            scene.pool.threads = threads
            scene.crawl.poll(scene.crew)
        assert [limits.directories for limits in scene.pool.limits] == expected


def test_without_movers_the_sample_is_that_of_this_process() -> None:
    scene = Scene()
    scene.pool.started = False
    scene.pool.pids, scene.pool.numbers = [], []
    with scene.window.slot() as slot:
        slot.hold(1_001)
        scene.resident = 90 * MB
        scene.tick()
        (sample,) = scene.samples
        assert (sample.active, sample.held, sample.threads) == (1, 1_001, 3)
        assert sample.transitions == (("files", True, 100.1),)
        assert {name for name, *_ in scene.window.numbers().engaged} == {"files", "memory"}
    assert scene.pool.told == []


@pytest.mark.parametrize("started", [False, True])
def test_the_end_is_told_with_nothing_under_way_if_there_was_anything_to_tell(started: bool) -> None:
    scene = Scene()
    scene.pool.started = started
    scene.stats.scanned_files = 11
    scene.crawl.end(scene.crew)
    assert scene.samples == []
    scene.crawl.heard(scene.crew, 4, tuple(Numbers(1, 1, 5, events=(("files", True, 100.0),))))
    scene.crawl.end(scene.crew)
    (sample,) = scene.samples
    assert (sample.held, sample.active, sample.total_files, sample.engaged) == (0, 0, 11, ())
    assert sample.transitions == (("files", True, 100.0), ("files", False, 0.0))
    scene.crawl.news = None
    scene.crawl.end(scene.crew)
    assert len(scene.samples) == 1


def test_what_happened_in_this_process_is_told_at_the_end_of_a_short_run() -> None:
    scene = Scene()
    scene.pool.started = False
    with scene.window.slot() as slot:
        slot.hold(1_000)
    scene.crawl.end(scene.crew)
    assert scene.samples[0].transitions == (("files", True, 100.0), ("files", False, 0.0))


@pytest.mark.parametrize("left", [0, 1])
def test_a_sample_is_taken_when_the_last_mover_that_owes_an_answer_dies(left: int) -> None:
    scene = Scene()
    scene.tick(Numbers(1, 0, 10))  # and the other owes its answer still
    assert scene.samples == []
    scene.crawl.gone(5)
    scene.pool.numbers = [4] * left
    scene.crawl.poll(scene.crew)
    assert [sample.held for sample in scene.samples] == [10]
    scene.crawl.poll(scene.crew)
    assert len(scene.samples) == 1, "and only one"
    scene.tick(*[Numbers(0, 0, 7)] * left)
    assert len(scene.samples) == 1 + left


def test_what_the_end_or_a_death_releases_is_told_at_what_it_is() -> None:
    for ends in (True, False):
        scene = Scene()
        scene.resident = 83 * MB
        engaged = tuple((name, True, 100.0) for name in ("files", "memory", "threads"))
        scene.tick(Numbers(1, 0, 500, events=engaged), Numbers(1, 0, 250, threads=36))
        if ends:
            scene.crawl.end(scene.crew)
        else:
            scene.crawl.gone(4)
            scene.pool.numbers = [5]
            scene.tick(Numbers(1, 0, 250, threads=36))
        told = {name: percent for name, engaged, percent in scene.samples[-1].transitions if not engaged}
        assert (told["files"], told["memory"]) == (0.0 if ends else 25.0, pytest.approx(83.0))
        assert 50.0 < told["threads"] < 100.0


def test_limits_that_nobody_waits_for_are_not_raised_however_many_directories_are_queued() -> None:
    scene = Scene()
    scene.crew.frontier = SimpleNamespace(queued=5_000)
    for _ in range(15):
        scene.tick(Numbers(1, 0, 10), Numbers(0, 0, 10))
    assert [sample.adjustment for sample in scene.samples] == [None] * 15
    assert scene.pool.limits == []


def test_the_monitor_goes_on_from_the_directories_that_came_with_threads() -> None:
    scene = Scene()
    scene.tick(Numbers(1, 1), Numbers())
    scene.pool.threads = 10
    for _ in range(9):
        scene.tick(Numbers(1, 1), Numbers())
    adjustment = scene.samples[-1].adjustment
    assert adjustment is not None
    assert (adjustment.directories_before, adjustment.directories_after) == (20, 26)
    assert [limits.directories for limits in scene.pool.limits] == [20, 26]


def test_nobody_waits_for_the_answer_of_a_mover_that_has_died() -> None:
    scene = Scene()
    scene.tick()
    scene.crawl.gone(4)
    scene.crawl.heard(scene.crew, 5, tuple(Numbers(0, 0, 3)))
    assert [sample.held for sample in scene.samples] == [3]


def test_threads_that_find_a_slot_are_as_many_as_directories_may_ever_be_listed() -> None:
    scene = Scene()
    scene.crew.backlog = []
    assert scene.crawl.threads(scene.crew) == 20, "40 directories, in two movers"
    asked = Scene(PLAN._replace(lifts=False, limits=WindowLimits(3, 1_000, 72)))
    asked.crew.backlog = []
    assert asked.crawl.threads(asked.crew) == 2
    asked.crew.backlog = ["a file"]
    assert asked.crawl.threads(asked.crew) is None
