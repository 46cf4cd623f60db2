"""The climb by itself, and at the simulated stores of scripts/plots.py."""

from __future__ import annotations

import importlib.util
import random
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.pace.climb import LEAST, MOST, MOST_REST, REST, START, Climb, Move, Seen

ROOT = Path(__file__).resolve().parents[3]


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scripts_plots_climb", ROOT / "scripts" / "plots.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


plots = _script()


def moves(glances: list[Any]) -> list[Move]:
    return [glance.move for glance in glances if glance.move is not None]


def turns(glances: list[Any]) -> int:
    """How often what stands went the other way."""
    ways = [move.after > move.before for move in moves(glances)]
    return sum(one is not other for one, other in pairwise(ways))


def rate(glances: list[Any]) -> float:
    return sum(glance.rate for glance in glances) / len(glances)


def stays(glances: list[Any], share: float = 0.5) -> list[int]:
    """What stood in the last part of the time."""
    return [glance.stands for glance in glances[int(len(glances) * (1 - share)) :]]


# ---- where it comes to ----


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("servers", [5, 8, 12, 20, 32, 48, 80, 110])
def test_it_finds_as_many_requests_as_there_are_servers(servers: int, seed: int) -> None:
    glances = plots.climb(plots.servers(servers, 0.05), 400, seed=seed)
    assert set(stays(glances)) <= set(range(int(servers * 0.8), int(servers * 1.45) + 1)), moves(glances)
    assert rate(glances) > 0.97 * min(servers, START) / 0.05
    assert rate(glances[len(glances) // 2 :]) > 0.95 * servers / 0.05
    assert turns(glances) <= 3


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("knee", [6, 12, 24, 40, 64, 100])
def test_a_knee_that_is_round_costs_little_throughput(knee: int, seed: int) -> None:
    glances = plots.climb(plots.bent(knee, 0.1), 600, seed=seed)
    most = max(n / plots.bent(knee, 0.1)(0.0, n, random.Random(1)) for n in range(LEAST, MOST + 1))
    assert rate(glances[len(glances) // 2 :]) > 0.85 * most
    assert set(stays(glances)) <= set(range(int(knee * 0.75), int(knee * 2.1) + 1)), moves(glances)
    assert turns(glances) <= 4


def test_far_away_it_goes_up_at_once_and_stays_there() -> None:
    glances = plots.climb(plots.servers(10_000, 0.3), 300)
    assert next(glance.time for glance in glances if glance.stands == MOST) < 20
    assert [(move.before, move.after) for move in moves(glances)] == [(32, 48), (48, 72), (72, 108), (108, 128)]
    assert {move.why for move in moves(glances)} == {"throughput grows"}


def test_a_link_that_is_full_takes_as_few_as_fill_it() -> None:
    glances = plots.climb(plots.linked(0.05, 200), 300)
    assert set(stays(glances)) <= set(range(10, 15))
    assert {move.why for move in moves(glances)} == {"fewer bring as much"}
    assert rate(glances) > 0.98 * 200


def test_servers_that_more_requests_hold_up_get_more_done_afterwards() -> None:
    glances = plots.climb(plots.trampled(16, 0.05), 300)
    assert rate(stays_from(glances, 60)) > 1.3 * glances[1].rate
    assert set(stays(glances)) <= set(range(14, 18))


def stays_from(glances: list[Any], time: float) -> list[Any]:
    return [glance for glance in glances if glance.time >= time]


@pytest.mark.parametrize(("before", "after"), [(12, 60), (60, 12), (100, 6), (6, 100)])
def test_it_follows_a_store_that_changes(before: int, after: int) -> None:
    store = plots.changing(plots.servers(before, 0.05), plots.servers(after, 0.05), 120)
    glances = plots.climb(store, 500)
    assert glances[239].stands == pytest.approx(before, rel=0.45)
    assert glances[-1].stands == pytest.approx(after, rel=0.45)
    assert rate(stays_from(glances, 320)) > 0.95 * after / 0.05


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("noise", "most"), [(0.05, 3), (0.1, 5), (0.2, 12)])
def test_noise_does_not_make_it_swing(noise: float, most: int, seed: int) -> None:
    glances = plots.climb(plots.servers(16, 0.05), 1200, seed=seed, noise=noise)
    assert turns(glances) <= most, moves(glances)
    assert rate(glances) > 0.94 * 16 / 0.05
    assert all(10 <= stands <= 48 for stands in stays(glances, 0.8))


@given(
    servers=st.integers(1, 400),
    seconds=st.floats(0.005, 5.0),
    noise=st.floats(0.0, 0.5),
    start=st.integers(LEAST, MOST),
    most=st.integers(1, MOST),
    refuses=st.integers(1, 400),
    seed=st.integers(0, 999),
)
def test_it_never_leaves_its_bounds(
    servers: int, seconds: float, noise: float, start: int, most: int, refuses: int, seed: int
) -> None:
    start, least = min(start, most), min(LEAST, most)
    glances = plots.climb(
        plots.servers(servers, seconds), 120, start, least, most, seed=seed, noise=noise, refuses=refuses
    )
    assert all(least <= glance.level <= most and least <= glance.stands <= most for glance in glances)
    assert [move.before for move in moves(glances)][:1] in ([], [start])
    assert all(one.after == other.before for one, other in pairwise(moves(glances)))


def test_at_rest_it_tries_ever_less_often() -> None:
    glances = plots.climb(plots.servers(32, 0.05), 3600, noise=0.02)
    tries = [after.time for before, after in pairwise(glances) if after.level != after.stands == before.level]
    assert len([time for time in tries if time > 600]) <= 3 * (3000 / MOST_REST + 1)
    tried = [glance for glance in stays_from(glances, 600) if glance.level < glance.stands]
    assert len(tried) < 0.03 * len(glances), "a try of fewer costs throughput"


# ---- what it does not go by ----


def test_where_fewer_requests_are_wanted_than_allowed_nothing_is_tried() -> None:
    glances = plots.climb(plots.servers(100, 0.05), 120, wanted=10)
    assert {glance.level for glance in glances} == {START}


def test_more_that_are_not_wanted_are_not_kept() -> None:
    glances = plots.climb(plots.servers(1000, 0.05), 120, wanted=30)
    assert {glance.stands for glance in glances} <= {START, 31}


def test_what_the_store_refuses_is_not_kept() -> None:
    glances = plots.climb(plots.servers(10_000, 0.1), 600, refuses=40)
    assert max(glance.stands for glance in glances) <= 40
    assert sum(glance.level > 40 for glance in glances) < 20


class Scene:
    """A climb that is told what it asks for."""

    def __init__(self, start: int = START, least: int = LEAST, most: int = MOST) -> None:
        self.climb = Climb(start, least, most)
        self.moves: list[Move] = []

    def glance(self, rate: float, refused: bool = False, held: bool = False, moved: int = 0) -> None:
        seen = Seen(0.5, round(rate / 2), moved, self.climb.level, refused, held)
        if (move := self.climb.sample(seen)) is not None:
            self.moves.append(move)

    def until(self, level: int, each: float) -> None:
        """Throughput in proportion to the requests, until there are so many."""
        for _ in range(500):
            if self.climb.level == level:
                return
            self.glance(self.climb.level * each)
        raise AssertionError(f"never came to {level}")


def test_a_step_up_that_was_kept_is_undone_when_the_store_refuses_soon_after() -> None:
    scene = Scene()
    scene.until(72, 10)
    assert scene.climb.stands == 48
    scene.glance(720, refused=True)
    assert (scene.climb.level, scene.climb.stands) == (48, 48), "the trial has failed"
    scene.glance(480, refused=True)
    assert scene.climb.level == 48, "what undid one step does not undo another"
    scene = Scene()
    scene.until(72, 10)
    while scene.climb.stands != 72:
        scene.glance(720)
    scene.glance(720, refused=True)
    assert scene.moves[-1] == Move(72, 48, "the store refuses")
    assert scene.climb.level == 48


def test_refusals_where_it_began_are_the_gates_business() -> None:
    scene = Scene()
    for _ in range(100):
        scene.glance(320, refused=True)
    assert (scene.climb.level, scene.moves) == (START, [])


def test_while_something_else_decides_nothing_is_measured() -> None:
    scene = Scene()
    scene.until(48, 10)
    for n in range(200):
        scene.glance(1000 + n, held=True)
    assert (scene.climb.level, scene.moves) == (START, []), "and a trial ends"
    scene.until(72, 10)
    assert scene.moves == [Move(32, 48, "throughput grows")]


def test_content_counts_as_well_as_requests() -> None:
    """Of files of 1 MiB it is the bytes in a second that tell whether more of them pay."""
    for growing, stands in ((True, 48), (False, 32)):
        scene = Scene()
        while scene.climb.level != 48:
            scene.glance(100, moved=200 << 20)
        for _ in range(12):
            scene.glance(100, moved=(300 if growing else 200) << 20)
        assert scene.climb.stands == stands


def test_less_is_allowed_than_there_was() -> None:
    scene = Scene()
    scene.until(108, 10)
    assert scene.climb.bound(64) == Move(72, 64, "the files are large")
    assert (scene.climb.level, scene.climb.stands, scene.climb.most) == (64, 64, 64)
    for _ in range(200):
        scene.glance(10 * scene.climb.level)
        assert scene.climb.level <= 64
    assert scene.climb.bound(128) is None


def test_a_throughput_that_falls_by_a_quarter_begins_the_search_anew() -> None:
    scene = Scene(start=8)
    levels = []
    for _ in range(int(REST / 0.5) + 60):
        scene.glance(160 if scene.climb.level >= 8 else 20 * scene.climb.level)
    assert scene.climb.stands == 8
    for _ in range(int(REST / 0.5) + 60):
        scene.glance(80 if scene.climb.level >= 4 else 20 * scene.climb.level)
        levels.append(scene.climb.level)
    assert scene.climb.stands in (4, 5)
    assert 12 in levels, "wide steps, as in the beginning"


@pytest.mark.parametrize(("start", "least", "most"), [(3, 4, 8), (9, 4, 8), (0, 0, 8)])
def test_what_makes_no_sense(start: int, least: int, most: int) -> None:
    with pytest.raises(ValueError, match="nobody comes to"):
        Climb(start, least, most)


def test_the_picture_in_the_docs_is_that_of_the_code() -> None:
    assert (ROOT / "docs" / "requests.svg").read_text(encoding="utf-8") == plots.climbing(), "run scripts/plots.py"
