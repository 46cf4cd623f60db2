"""Guesses of where keys lie: right for what is numbered or hashed, and never without end for the rest."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.stores.objects.scale import Scale, Scales

NAMES = st.lists(st.text("ab/-.019é\U0001f426", min_size=1, max_size=6), min_size=2, max_size=40, unique=True)


@given(NAMES, st.text("abc/.0159"), st.text("abc/.0159"))
def test_numbers_do_not_fall_while_names_rise(names: list[str], one: str, other: str) -> None:
    scale = Scale()
    stop = scale.learn(sorted(names))
    low, high = sorted([one, other])
    assert 0 <= scale.number(low, stop) <= scale.number(high, stop) < scale.size(stop)


@given(NAMES, st.integers(0))
def test_a_number_is_that_of_its_name(names: list[str], number: int) -> None:
    scale = Scale()
    stop = scale.learn(sorted(names))
    number %= scale.size(stop)
    assert scale.number(scale.name(number, stop), stop) == number


@given(NAMES, st.sampled_from(["", "a", "a/"]), st.floats(0, 1e6), st.none() | st.text("ab/019", min_size=1))
def test_a_guess_lies_ahead_and_before_the_end(names: list[str], prefix: str, pages: float, end: str | None) -> None:
    keys = sorted(prefix + name for name in names)
    line = Scales(prefix).line(keys)
    guess = line.ahead(pages, end)
    assert not guess or (guess > keys[-1] and (end is None or guess < end))


@pytest.mark.parametrize("form", ["img_{:08}.jpg", "{:06}", "2024/{:06}"])
def test_counters_go_on_as_they_did(form: str) -> None:
    line = Scales("").line([form.format(n) for n in range(5000, 6000)])
    assert form.format(10_800) <= line.ahead(5, None) <= form.format(11_200)
    pages = line.pages(form.format(7000))
    assert pages == pytest.approx(1, abs=0.05)
    assert line.pages(None) == float("inf")


def test_hashes_are_spread_evenly() -> None:
    keys = sorted(hashlib.md5(b"%d" % n).hexdigest() for n in range(16_000))
    guess = Scales("").line(keys[:1000]).ahead(8, None)
    assert 8_000 < sum(key <= guess for key in keys) < 10_000


def test_a_directory_that_lasts_for_pages_is_cut_at_its_end() -> None:
    scales = Scales("")
    keys = [f"big/{n:04}" for n in range(5000, 6000)]
    assert scales.line(keys).ahead(8, None) == "big0"
    assert scales.line(keys).ahead(8, "big/7000") < "big/7000"


def test_no_guess_falls_into_a_void_that_was_met_before() -> None:
    scales = Scales("")
    days = [f"{month:02}/{day:02}" for month in range(1, 12) for day in range(1, 32)]
    for at in range(0, 200, 10):
        scales.line(days[at : at + 10])
    letters = scales.line(days[190:200])
    guess = letters.ahead(3, None)
    assert "0" <= guess[3] <= "3"


def test_keys_that_all_look_alike_give_no_guess() -> None:
    assert Scales("a/").line(["a/b"]).ahead(3, None) == ""
    assert Scales("").line(["a"]).pages("b") is None
