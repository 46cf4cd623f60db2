"""Lines never exceed their cells, whatever is in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.report.cells import cells
from dunlin.tui.styles import Line
from dunlin.tui.text import apart, bar, beside, clip, fitting, folded, joined, length, pad, shown, title

NAMES = st.text(alphabet=st.sampled_from("ab/.é́日本🐦⬛[]\x1b\n\u200d\u202e\udcff "), max_size=40)


@given(NAMES)
def test_nothing_that_moves_a_cursor_is_shown(text: str) -> None:
    assert shown(text).isprintable()


@given(st.lists(st.tuples(NAMES.map(shown), st.just("")), max_size=4), st.integers(0, 40))
def test_lines_fit(line: Line, width: int) -> None:
    assert length(clip(line, width)) <= width
    assert length(pad(line, width)) == width
    assert length(joined([line, line, line], width)) <= width
    assert length(apart(line, line, width)) <= width
    assert length(fitting(width, line, line)) <= width
    assert all(length(each) <= width for each in beside([line], [line, line], max(4, width)) if width >= 4)


def test_the_right_end_goes_first() -> None:
    left: Line = [("left", "")]
    assert apart(left, [("right", "")], 20)[-1][0] == "right"
    assert apart(left, [("right", "")], 10) == left


def test_parts_are_left_out_as_a_whole() -> None:
    parts: list[Line] = [[("first", "")], [("second", "")], [("third", "")]]
    assert "".join(text for text, _ in joined(parts, 14)) == "first   second"
    assert "".join(text for text, _ in joined(parts, 13)) == "first"


def test_a_bar_is_full_only_at_the_end() -> None:
    assert (bar(0, 6), bar(0.5, 6), bar(0.999, 6), bar(1, 6)) == ("[░░░░]", "[██░░]", "[███░]", "[████]")


@pytest.mark.parametrize("width", range(1, 40))
def test_titles_fit(width: int) -> None:
    assert length(title("Some words", width, [("more words", "")])) <= width


def test_names_are_folded_without_losing_a_character() -> None:
    text = "a long sentence with averyveryverylongwordthatdoesnotfit and 日本語の長い名前です"
    for width in range(4, 30):
        lines = folded(text, width)
        assert max(map(cells, lines)) <= width
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
