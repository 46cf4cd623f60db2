"""The throttle by itself, and on the simulated machines of scripts/plots.py."""

from __future__ import annotations

import importlib.util
import math
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.pace.throttle import FIRST, LOOK, MOST, REGRET, Step, Throttle

ROOT = Path(__file__).resolve().parents[3]


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scripts_plots", ROOT / "scripts" / "plots.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


plots = _script()


class Machine:
    """A throttle, and the clock that it looks at."""

    def __init__(self, most: int = 10, threshold: float = 0.8) -> None:
        self.now = 0.0
        self.throttle = Throttle(most, threshold, lambda: self.now)

    def look(self, value: float, wanted: int = 0) -> Step | None:
        self.now += LOOK
        return self.throttle.sample({"memory": 0.05, "cpu": value}, wanted)

    def after(self, *values: float) -> list[int]:
        workers = []
        for value in values:
            self.look(value)
            workers.append(self.throttle.workers)
        return workers


def test_ten_workers_become_seven_five_three_and_in_the_end_one() -> None:
    assert Machine().after(*[0.9] * 8) == [7, 5, 3, 2, 2, 1, 1, 1]


def test_a_gauge_at_the_threshold_is_not_above_it() -> None:
    machine = Machine()
    assert machine.after(0.8, 0.8) == [10, 10]
    assert not machine.throttle.engaged


def test_any_gauge_may_slow_it_down_and_is_named() -> None:
    machine = Machine()
    machine.now = 5.0
    assert machine.throttle.sample({"cpu": 0.2, "iowait": 0.95, "network": 0.5}) == Step(10, 7, "iowait", 0.95)


def test_a_machine_without_gauges_is_left_alone() -> None:
    assert Throttle(4, 0.5).sample({}) is None


def test_growth_is_slower_than_the_fall() -> None:
    machine = Machine()
    machine.after(0.9, 0.9, 0.9)
    assert machine.after(*[0.1] * 14) == [3, 4, 4, 5, 5, 6, 6, 7, 7, 9, 9, 10, 10, 10]
    assert not machine.throttle.engaged


def test_a_step_that_would_not_fit_is_not_made() -> None:
    machine = Machine()
    machine.after(0.9)
    assert machine.after(*[0.71] * 20) == [7] * 20  # eight would take 0.81
    assert machine.after(0.69) == [8]


def test_what_others_cause_is_not_expected_to_grow() -> None:
    machine = Machine()
    machine.after(0.9)
    machine.now += 100
    assert machine.throttle.sample({"cpu": 0.79, "memory": 0.8}, 0, {"cpu": 0.01, "memory": 0.1}) is None
    assert machine.throttle.sample({"cpu": 0.79, "memory": 0.8}, 0, {"cpu": 0.01, "memory": 0.0}) is not None


def test_from_one_to_two_workers_the_load_may_double() -> None:
    machine = Machine(2)
    machine.after(0.9)
    assert machine.after(*[0.41] * 20) == [1] * 20
    assert machine.after(0.4) == [2]


def test_it_falls_from_what_is_in_use_not_from_what_is_allowed() -> None:
    machine = Machine(64)
    assert machine.look(0.95, wanted=4) == Step(4, 3, "cpu", 0.95)
    assert machine.throttle.workers == 3
    machine.look(0.95, wanted=4)
    assert machine.throttle.workers == 2


def test_it_ends_when_all_that_are_wanted_are_back() -> None:
    machine = Machine(64)
    machine.look(0.95, wanted=2)
    assert machine.throttle.workers == 1
    steps = [step for _ in range(8) if (step := machine.look(0.1, wanted=2))]
    assert steps == [Step(1, 2, "cpu", 0.1)]
    assert not machine.throttle.engaged


@pytest.mark.parametrize(("most", "threshold"), [(0, 0.5), (3, 0.0), (3, 1.1)])
def test_what_makes_no_sense(most: int, threshold: float) -> None:
    with pytest.raises(ValueError, match="nothing can be throttled"):
        Throttle(most, threshold)


def ups_to(machine: Machine, workers: int, tries: int) -> list[float]:
    """The seconds that pass before the step up to so many is tried, each time that it is undone at once."""
    waits = []
    for _ in range(tries):
        begin = machine.now
        while machine.throttle.workers < workers:
            machine.look(0.1)
        waits.append(machine.now - begin)
        machine.look(0.95)
    return waits


def test_a_step_that_is_undone_again_and_again_is_tried_ever_less_often() -> None:
    machine = Machine(2)
    machine.look(0.95)
    assert ups_to(machine, 2, 7) == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST, 16 * FIRST, MOST, MOST]


def test_a_step_that_stands_was_right() -> None:
    machine = Machine(2)
    machine.look(0.95)
    ups_to(machine, 2, 3)
    while machine.throttle.workers < 2:
        machine.look(0.1)
    for _ in range(int(REGRET / LOOK)):
        machine.look(0.1)
    machine.look(0.95)
    assert ups_to(machine, 2, 1) == [FIRST]


# ---- simulated machines ----


def downs(looks: list[object]) -> int:
    return sum(1 for look in looks if look.workers < look.before)  # type: ignore[attr-defined]


@given(
    each=st.floats(0.005, 0.5),
    others=st.floats(0, 0.75),
    most=st.integers(1, 64),
    threshold=st.floats(0.3, 1.0),
)
def test_a_load_in_proportion_to_the_workers_comes_to_rest(
    each: float, others: float, most: int, threshold: float
) -> None:
    looks = plots.simulate(plots.own(each, others), 900, most, threshold)
    changes = [1 if look.workers > look.before else -1 for look in looks if look.workers != look.before]
    assert changes == sorted(changes), "it went down after it had gone up"
    assert len({look.workers for look in looks[-60:]}) == 1
    last = looks[-1]
    assert last.gauge <= threshold or last.workers == 1
    if last.workers < most:
        # Not slower than it has to be either: the next step, one worker or x 1.2, would not fit (forecast).
        assert last.gauge * max(last.workers + 1, math.ceil(last.workers * 1.2 + 0.5)) / last.workers > threshold


@pytest.mark.parametrize("seed", range(20))
def test_noise_does_not_make_it_swing(seed: int) -> None:
    looks = plots.simulate(plots.own(0.09, noise=0.06), 3600, seed=seed)
    assert downs(looks) <= 8
    assert {look.workers for look in looks[-120:]} <= {6, 7, 8}


def test_a_disk_that_bears_four_is_probed_ever_less_often() -> None:
    looks = plots.simulate(plots.disk(4), 3600)
    falls = [look.time for look in looks if look.workers < look.before]
    late = [fall for fall in falls if fall > 600]
    assert len(late) <= 3000 / MOST + 1
    assert all(after - before >= MOST for before, after in pairwise(late))
    assert sum(look.workers == 4 for look in looks) > 0.9 * len(looks)


def test_guests_are_made_room_for_and_forgotten() -> None:
    looks = plots.simulate(plots.guest(0.06, 0.5, 60, 180), 400)
    assert [look.workers for look in looks if look.time < 60] == [10] * 11
    assert {look.workers for look in looks if 70 <= look.time < 180} == {5}
    assert next(look.time for look in looks if look.time > 180 and look.workers == 10) <= 215


@pytest.mark.parametrize("period", [10, 20, 60, 120])
def test_others_that_come_and_go_do_not_drag_it_along(period: float) -> None:
    looks = plots.simulate(plots.bursts(0.03, 0.7, period), 7200)
    assert downs([look for look in looks if look.time > 1800]) <= 5400 / MOST * 3
    assert min(look.workers for look in looks) >= 1


def test_the_picture_in_the_docs_is_that_of_the_code() -> None:
    assert (ROOT / "docs" / "throttling.svg").read_text(encoding="utf-8") == plots.drawing(), "run scripts/plots.py"
