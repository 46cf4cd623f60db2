"""Names fit into their cells, whatever is in them, and nothing that belongs together is cut in two."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.errors import printable
from dunlin.report.cells import cells, cut, shorten

ANY = st.text(st.characters(exclude_categories=[]), max_size=60)
"""Marks, wide characters, escapes, bytes that are no text."""
ODD = st.text(alphabet=st.sampled_from("ab/.é́日本🐦⬛[]\x1b\n\u200d\u202e\udcff "), max_size=40)


@given(st.one_of(ANY, ODD), st.integers(0, 60), st.sampled_from(["...", "…"]))
def test_shortened_text_fits_and_is_whole_when_it_can_be(name: str, width: int, gap: str) -> None:
    whole = printable(name)
    for short in (shorten(name, width, gap), cut(name, width)):
        assert cells(short) <= width
        assert short.isprintable()
        assert (short == whole) is (cells(whole) <= width)


@pytest.mark.parametrize(("name", "width", "short"), [
    ("a\u200db\u200dc\u200dd", 16, "a...c\\u200dd"), ("e\u0301" * 9, 7, "e\u0301...e\u0301e\u0301e\u0301"),
    ("x\x1b[2J" * 5, 12, "x...x\\x1b[2J"), ("漢字漢字漢字", 9, "漢...漢字"),
])  # fmt: skip
def test_escapes_accents_and_wide_characters_are_never_cut_in_two(name: str, width: int, short: str) -> None:
    assert shorten(name, width) == short


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [
        ("data/2024/file.json", 19, "data/2024/file.json"),
        ("data/2024/file.json", 13, "data…ile.json"),
        ("日本語の長い名前", 8, "日…名前"),
        ("abcdef", 3, "…ef"),
        ("abcdef", 1, "…"),
        ("abcdef", 0, ""),
    ],
)
def test_paths_lose_their_middle(text: str, width: int, short: str) -> None:
    assert shorten(text, width, "…") == short


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [("abcdef", 6, "abcdef"), ("abcdef", 3, "ab…"), ("ab cdef", 4, "ab…"), ("a\x1bb", 4, "a…"), ("abcdef", 0, "")],
)
def test_what_is_cut_loses_its_end(text: str, width: int, short: str) -> None:
    assert cut(text, width) == short


def test_wide_characters_take_two_cells() -> None:
    assert (cells("漢字"), cells("e\u0301"), cells("abc")) == (4, 1, 3)
