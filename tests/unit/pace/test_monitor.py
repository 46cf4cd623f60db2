"""The statistics monitor on a clock that the test moves."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from dunlin.pace.monitor import (
    COOLDOWN,
    FALLING,
    LOOK,
    NO_GAIN,
    OPTIMAL,
    OVERSATURATED,
    SATURATED,
    UNDERUTILIZED,
    Adjustment,
    Bounds,
    Monitor,
    Sample,
    falls,
    zone_of,
)

MILLION = 1_000_000


class Scene:
    def __init__(self, directories: int = 10, files: int = 6 * MILLION, bounds: Bounds | None = None) -> None:
        self.now = 1_000.0
        self.monitor = Monitor(
            directories, files, bounds or Bounds(1_000, 100 * MILLION, 1), clock=lambda: self.now
        )
        self.made: list[Adjustment] = []
        self.at: list[float] = []

    def pass_samples(self, n: int, **sample: object) -> list[Adjustment]:
        before = len(self.made)
        for _ in range(n):
            self.now += LOOK
            made = self.monitor.sample(Sample(**sample))  # type: ignore[arg-type]
            if made is not None:
                self.made.append(made)
                self.at.append(self.now)
        return self.made[before:]

    def use(self, share: float) -> int:
        return int(share * self.monitor.files)


@pytest.mark.parametrize(
    ("use", "waits", "zone"),
    [
        (0.0, True, UNDERUTILIZED),
        (0.399, True, UNDERUTILIZED),
        (0.399, False, OPTIMAL),
        (0.4, True, OPTIMAL),
        (0.799, True, OPTIMAL),
        (0.8, True, SATURATED),
        (1.0, True, SATURATED),
        (1.001, False, OVERSATURATED),
    ],
)
def test_zones(use: float, waits: bool, zone: str) -> None:
    assert zone_of(use, waits) == zone


def test_ten_samples_of_too_little_use_raise_both_limits_once() -> None:
    scene = Scene()
    assert scene.pass_samples(9, held=1, waits=True) == []
    (made,) = scene.pass_samples(1, held=1, waits=True)
    assert made == (UNDERUTILIZED, 6 * MILLION, 7_800_000, 10, 13)
    assert made.text == "ADJUSTMENT: UNDERUTILIZED - 6M -> 7.8M, 10 -> 13 directories"
    assert (scene.monitor.files, scene.monitor.directories, scene.monitor.adjustments) == (7_800_000, 13, 1)


def test_the_line_is_that_of_the_specification_where_only_files_change() -> None:
    scene = Scene(bounds=Bounds(10, 100 * MILLION))
    (made,) = scene.pass_samples(10, held=1, waits=True)
    assert made.text == "ADJUSTMENT: UNDERUTILIZED - 6M -> 7.8M"


def test_a_step_that_a_bound_cuts_short_is_told_in_full() -> None:
    scene = Scene(bounds=Bounds(10, 6_010_000))
    (made,) = scene.pass_samples(10, held=1, waits=True)
    assert made.text == "ADJUSTMENT: UNDERUTILIZED - 6,000,000 -> 6,010,000"


def test_two_minutes_pass_between_two_moves_and_ten_samples_again() -> None:
    scene = Scene()
    scene.pass_samples(200, held=1, waits=True)
    gaps = [after - before for before, after in pairwise(scene.at)]
    assert gaps == [COOLDOWN] * len(gaps)
    assert len(gaps) == 3


def test_one_sample_of_another_zone_begins_the_count_anew() -> None:
    scene = Scene()
    for _ in range(20):
        assert scene.pass_samples(9, held=1, waits=True) == []
        assert scene.pass_samples(1, held=scene.use(0.5), waits=True) == []
    assert len(scene.pass_samples(10, held=1, waits=True)) == 1


@pytest.mark.parametrize("share", [0.4, 0.6, 0.79, 0.9, 1.0])
def test_good_use_and_full_use_change_nothing(share: float) -> None:
    scene = Scene()
    assert scene.pass_samples(500, held=scene.use(share), waits=True, throughput=100.0) == []


def test_nothing_is_raised_that_nobody_waits_for() -> None:
    assert Scene().pass_samples(500, held=1, active=2, waits=False) == []


def test_more_than_all_lowers_both_limits() -> None:
    scene = Scene()
    (made,) = scene.pass_samples(10, held=scene.use(1.2))
    assert made == (OVERSATURATED, 6 * MILLION, 4_615_385, 10, 7)


@pytest.mark.parametrize("sample", [{"held": 6_100_000}, {"active": 11}, {"memory": 1.01}])
def test_the_scarcest_resource_decides(sample: dict[str, float]) -> None:
    assert [made.reason for made in Scene().pass_samples(10, waits=True, **sample)] == [OVERSATURATED]


def test_bounds_hold_and_at_a_bound_nothing_is_told() -> None:
    scene = Scene(bounds=Bounds(12, 7 * MILLION, 5 * MILLION))
    scene.pass_samples(1_000, held=0, waits=True)
    assert (scene.monitor.directories, scene.monitor.files) == (12, 7 * MILLION)
    assert len(scene.made) == 1
    scene.pass_samples(3_000, memory=1.5)
    assert (scene.monitor.directories, scene.monitor.files) == (1, 5 * MILLION)
    told = len(scene.made)
    assert scene.pass_samples(500, memory=1.5) == []
    assert told < 20


def test_a_single_directory_can_become_more() -> None:
    scene = Scene(directories=1, bounds=Bounds(4, 6 * MILLION))
    scene.pass_samples(400, held=1, waits=True)
    assert scene.monitor.directories == 4


def test_a_limit_that_a_user_set_beyond_the_bounds_is_not_cut_by_a_step_up() -> None:
    scene = Scene(directories=50, bounds=Bounds(12, MILLION, 1))
    assert scene.pass_samples(100, held=1, waits=True) == []
    assert (scene.monitor.directories, scene.monitor.files) == (50, 6 * MILLION)


def test_falling_throughput_at_full_use_is_answered_by_less_and_that_stays_where_it_helped() -> None:
    scene = Scene()
    assert scene.pass_samples(5, active=9, throughput=1_000.0) == []
    (made,) = scene.pass_samples(5, active=9, throughput=700.0)
    assert made == (FALLING, 6 * MILLION, 4_615_385, 10, 7)
    assert scene.pass_samples(200, active=6, throughput=1_000.0) == []
    assert scene.monitor.directories == 7


def test_what_brought_nothing_is_taken_back() -> None:
    scene = Scene()
    scene.pass_samples(5, active=9, throughput=1_000.0)
    scene.pass_samples(5, active=9, throughput=700.0)
    (back,) = scene.pass_samples(100, active=6, throughput=690.0)
    assert back == (NO_GAIN, 4_615_385, 6 * MILLION, 7, 10)
    assert scene.at[-1] - scene.at[-2] == COOLDOWN
    assert scene.pass_samples(300, active=9, throughput=690.0) == []


def test_noise_is_no_fall() -> None:
    rng = random.Random(1)
    rates = [rng.uniform(500, 1_500) for _ in range(10_000)]
    assert sum(falls(rates[at : at + 10]) for at in range(len(rates) - 10)) < 15
    assert not falls([5.0])
    assert not falls([])
    assert falls([100, 100, 79, 79])


@pytest.mark.parametrize("seed", range(20))
def test_it_comes_to_rest_whatever_the_demand_is(seed: int) -> None:
    """Names held swing between the marks of a full window, and a little over, or are what the tree has."""
    rng = random.Random(seed)
    demand = rng.uniform(0.05, 3.0) * 6 * MILLION
    scene = Scene(bounds=Bounds(10, 50 * MILLION))
    for _ in range(3_000):
        use = min(demand * rng.uniform(0.97, 1.03), scene.monitor.files * rng.uniform(0.85, 1.05))
        scene.pass_samples(1, held=int(use), waits=True, throughput=rng.uniform(900, 1_100))
    ups = [made.after > made.before for made in scene.made]
    assert sum(one != other for one, other in pairwise(ups)) <= 1
    assert all(at < 1_000 + 2_000 * LOOK for at in scene.at)
    assert scene.monitor.files >= 6 * MILLION
