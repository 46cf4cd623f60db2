"""rules: names that every engine can store, patterns, fates, waiting, debts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue import rules
from dunlin.queue.base import PAYLOAD, NewTask
from dunlin.queue.rules import Fate

ANYTHING = st.text(st.characters() | st.characters(categories=["Cs"]) | st.sampled_from("\0\x1b\x1f\x1e1b"))


@given(ANYTHING)
def test_any_name_can_be_stored_and_comes_back(name: str) -> None:
    kept = rules.stored(name)
    assert rules.meant(kept) == name
    kept.encode()  # valid UTF-8
    assert not set(kept) & set("\0\x1e\x1f")


@given(ANYTHING, ANYTHING)
def test_what_is_found_in_a_name_is_found_in_what_is_stored(name: str, part: str) -> None:
    assert rules.stored(part) in rules.stored(name + part)


def test_usual_names_are_stored_as_they_are() -> None:
    for name in ("", "docs/a b.txt", "日本", "tab\tnew\nline"):
        assert rules.stored(name) == name


@given(ANYTHING, ANYTHING, st.lists(ANYTHING, max_size=3))
def test_a_lane_tells_queue_host_and_groups_apart(queue: str, host: str, groups: list[str]) -> None:
    name = rules.lane(NewTask(queue, "k", b"", host=host, groups=tuple(groups)))
    first, second, *rest = name.split(rules.UNIT)
    assert (rules.meant(first), rules.meant(second)) == (queue, host)
    assert [rules.meant(group) for group in rest] == sorted(set(groups))


def test_ids_sort_as_their_numbers() -> None:
    numbers = [0, 1, 9, 10, 255, 4096, 1 << 58]
    ids = [rules.name(number) for number in numbers]
    assert sorted(ids) == ids
    assert [rules.number(id) for id in ids] == numbers


@pytest.mark.parametrize("id", ["", "1", "x" * 15, "0" * 16, "é"])
def test_what_is_no_id_has_no_number(id: str) -> None:
    assert rules.number(id) == -1


@pytest.mark.parametrize(
    ("queue", "patterns", "answer"),
    [
        ("run-1", [], True),
        ("run-1", ["run-1"], True),
        ("run-1", ["run"], False),
        ("run-1", ["run*"], True),
        ("run-1", ["publish", "run-*"], True),
        ("run-1", ["*"], True),
        ("run", ["run-*"], False),
        ("a.b", ["a?b"], False),
        ("*", ["*"], True),
    ],
)
def test_patterns(queue: str, patterns: list[str], answer: bool) -> None:
    assert rules.matches(queue, patterns) is answer


@pytest.mark.parametrize(
    ("used", "retries", "expired", "final", "fate"),
    [
        (1, 0, False, False, Fate.DEAD),
        (1, 0, True, False, Fate.LOST),
        (1, 1, False, False, Fate.AGAIN),
        (1, 1, True, False, Fate.AGAIN),
        (1, 1, False, True, Fate.DEAD),
        (2, 1, True, False, Fate.DEAD),
        (2, 1, False, False, Fate.DEAD),
    ],
)
def test_fates(used: int, retries: int, expired: bool, final: bool, fate: Fate) -> None:
    assert rules.fate(used, retries, expired=expired, final=final) is fate


def test_what_is_too_long_is_refused() -> None:
    assert rules.fits(b"x" * PAYLOAD, "k") == b"x" * PAYLOAD
    with pytest.raises(DunlinError) as raised:
        rules.fits(b"x" * (PAYLOAD + 1), "k")
    assert raised.value.kind is ErrorKind.INTERNAL


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_waiting_looks_with_growing_pauses_until_it_finds() -> None:
    time, answers = Time(), [[], [], [], ["found"]]
    found = rules.waiting(lambda: answers.pop(0), 10, sleep=time.sleep, clock=lambda: time.now)
    assert found == ["found"]
    assert len(time.slept) == 3
    assert all(0.8 * most <= pause <= most for pause, most in zip(time.slept, [0.005, 0.01, 0.02], strict=True))


def test_waiting_ends_after_a_last_look_at_its_end() -> None:
    time, looks = Time(), []
    assert rules.waiting(lambda: looks.append(time.now) or [], 1.0, sleep=time.sleep, clock=lambda: time.now) == []
    assert looks[-1] == pytest.approx(1.0)
    assert max(time.slept) <= rules.LAST_PAUSE
    assert 10 < len(looks) < 25


def test_without_a_wait_there_is_one_look() -> None:
    time = Time()
    assert rules.waiting(list, 0, sleep=time.sleep, clock=lambda: time.now) == []
    assert time.slept == []


def test_debts() -> None:
    assert rules.debt(0, 0, 100, 100, 100) == (100, 0)
    assert rules.debt(100, 0, 100, 100, 100) == (200, 1.0)
    assert rules.debt(200, 1.5, 100, 100, 100) == (150, 0.5)
    assert rules.debt(50, 1000, 10, 100, 100) == (10, 0), "nothing is saved up"
    assert rules.debt(50, -5, 0, 100, 0) == (50, 0.5), "a clock that went back takes nothing away"
    assert rules.debt(50, 1, 1000, 0, 0) == (0, 0), "no rate, no limit"


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 500)), min_size=1, max_size=30))
def test_whoever_waits_as_told_keeps_the_rate(draws: list[tuple[float, int]]) -> None:
    rate, burst, now, owed, last, used = 1000, 200, 0.0, 0.0, 0.0, 0
    for pause, amount in draws:
        now += pause
        owed, wait = rules.debt(owed, now - last, amount, rate, burst)
        last = now
        used += amount
        assert used <= rate * (now + wait) + burst + 1e-6
