"""What frames every page: exactly the lines of the terminal, the chosen one in sight, one thing in the last line."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dunlin.tui.frame import framed, help_page, keys, last_line, marked, scrolled, too_small, wrong
from dunlin.tui.styles import PLAIN, WARN, Line
from dunlin.tui.text import length


def words(line: Line) -> str:
    return "".join(text for text, _ in line)


@pytest.mark.parametrize("wanted", [0, 3, 50])
@pytest.mark.parametrize("problem", ["", "it is away"])
def test_a_page_is_filled_or_cut_to_the_terminal(wanted: int, problem: str) -> None:
    told: list[int] = []

    def page(room: int) -> list[Line]:
        told.append(room)
        return [[(f"line {at} and more than there is room for", PLAIN)] for at in range(wanted)]

    lines = framed([("head", PLAIN)], wrong(problem, 0, 20), page, [("last", PLAIN)], 20, 12)
    assert len(lines) == 12
    assert max(map(length, lines)) <= 20
    assert (words(lines[0]), words(lines[-1])) == ("head", "last")
    assert told == [9 if problem else 10]
    assert ("it is away" in words(lines[1])) == bool(problem)


def test_old_figures_say_how_old_they_are() -> None:
    hour = 3600 * 1_000_000_000
    assert words(wrong("it is\naway", 8 * hour, 60)[0]) == "⚠ it is away; figures from 08:00:00"
    assert words(wrong("it is away", 0, 60)[0]) == "⚠ it is away"


def test_the_last_line_holds_what_matters_most() -> None:
    view = SimpleNamespace(note=("", ""), asking="")
    names = [("q", "quit"), ("p", "pause")]
    assert words(last_line(view, names, 60)) == "q quit  p pause"
    view.note = ("something was done", WARN)
    assert last_line(view, names, 60) == [("something was done", WARN)]
    view.asking = "Cancel it?"
    assert words(last_line(view, names, 60)) == "Cancel it?"
    assert words(keys(names, 14)) == "q quit"  # never half a key


def test_a_line_that_is_typed_counts_as_one_of_the_terminal() -> None:
    assert too_small(SimpleNamespace(note=("", ""), asking="Search"), 60, 19) == []
    assert too_small(SimpleNamespace(note=("", ""), asking=""), 60, 19) != []


@pytest.mark.parametrize("at", range(9))
@pytest.mark.parametrize("rows", [1, 2, 5, 9, 20])
def test_the_chosen_one_is_in_sight_and_marked(at: int, rows: int) -> None:
    lines = [words(line) for line in marked(range(9), at, rows, lambda item: [(f"item {item}", PLAIN)])]
    assert len(lines) == min(rows, 9)
    assert [line for line in lines if line.startswith("▸")] == [f"▸ item {at}"]


def test_scrolling_ends_at_both_ends() -> None:
    lines: list[Line] = [[(str(at), PLAIN)] for at in range(10)]
    view = SimpleNamespace(scroll=99)
    assert [words(line) for line in scrolled(lines, view, 4)] == ["6", "7", "8", "9"]
    view.scroll = -5
    assert [words(line) for line in scrolled(lines, view, 4)] == ["0", "1", "2", "3"]
    assert view.scroll == 0


def test_the_page_of_keys_names_keys_states_and_signs() -> None:
    states = [(f"state{at}", PLAIN) for at in range(7)]
    names = [("x", "does something that takes more words than one line of this terminal holds")]
    text = "\n".join(map(words, help_page(names, states, ["a sign"], SimpleNamespace(scroll=0), 60, 20)))
    assert "x" in text
    assert all(state in text for state, _ in states)
    assert text.endswith("a sign")
    assert " ".join(text.split()).count("does something that takes more words than one") == 1
