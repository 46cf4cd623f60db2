"""Every page in every size: as many lines as the terminal has, none longer than it is wide, nothing essential lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from dunlin.tui.pages import KEYS, View, paint
from dunlin.tui.reader import Look, Question, Reader
from dunlin.tui.styles import PLAIN, STRONG, TITLE
from dunlin.tui.text import length
from tests.unit.tui.fabricated import NOW, fabricate

WIDTHS = (60, 61, 67, 79, 80, 99, 119, 120, 121, 150, 179, 180, 200, 317)
HEIGHTS = (20, 21, 23, 24, 25, 30, 40, 60, 99)


def looked(path: Path, page: str, status: str = "throttled", alive: bool = True) -> Look:
    if not path.exists():
        fabricate(path, status=status)
    reader = Reader(str(path), lambda run: alive and run.status == "running", lambda: NOW)
    try:
        look = reader.look(Question(page=page))
    finally:
        reader.close()
    assert look.problem == ""
    return look


@pytest.mark.parametrize("page", ["main", "errors", "statistics", "help"])
@pytest.mark.parametrize("problem", ["", "the state file is locked by another process"])
def test_pages_fit_into_every_terminal(page: str, problem: str, path: Path) -> None:
    look = looked(path, page)._replace(problem=problem)
    for width in WIDTHS:
        for height in HEIGHTS:
            lines = paint(look, View(page), width, height, NOW)
            assert len(lines) == height
            assert max(map(length, lines)) <= width
            assert "".join(text for text, _ in lines[0]).endswith("07:41:23")


@pytest.mark.parametrize("status", ["running", "paused", "throttled", "completed", "failed", "interrupted", "stale"])
def test_the_smallest_terminal_shows_what_matters(status: str, path: Path) -> None:
    look = looked(path, "main", status, alive=status != "stale")
    text = "\n".join("".join(text for text, _ in line) for line in paint(look, View(), 60, 20, NOW))
    word = "Silent" if status == "stale" else status.capitalize()
    speed = "Average 5" if status in ("completed", "failed", "interrupted") else "Speed"
    for words in (word, "Files 8,234", speed, "ETA", "CPU", "Memory", "Workers", "Recent activity", "Errors (3)"):
        assert words in text


@pytest.mark.parametrize(("width", "height"), [(59, 20), (60, 19), (1, 1), (10, 40), (20, 10), (20, 2)])
def test_too_small_is_all_that_is_said(width: int, height: int, path: Path) -> None:
    lines = paint(looked(path, "main"), View(), width, height, NOW)
    assert 1 <= len(lines) <= height
    assert max(length(line) for line in lines) <= width
    said = "too small: needs 60x20, has "
    whole = " ".join("".join(text for text, _ in line) for line in lines)
    if width >= 20 and height > 2:
        assert whole == f"{said}{width}x{height} (q quits)"


def test_what_is_too_small_is_folded_between_words(path: Path) -> None:
    lines = paint(looked(path, "main"), View(), 20, 10, NOW)
    assert ["".join(text for text, _ in line) for line in lines] == [
        "too small: needs", "60x20, has 20x10 (q", "quits)",
    ]  # fmt: skip


@pytest.mark.parametrize("status", ["running", "paused", "throttled", "completed", "failed", "stale"])
def test_nothing_is_cut_in_the_middle_of_a_figure(status: str, path: Path) -> None:
    look = looked(path, "main", status, alive=status != "stale")
    for width in WIDTHS:
        text = ["".join(text for text, _ in line) for line in paint(look, View(), width, 40, NOW)]
        top = text[: next(at for at, line in enumerate(text) if "Recent activity" in line)]
        assert [line for line in top if "…" in line] == [], width


def test_the_help_names_every_key() -> None:
    text = " ".join(key for key, _ in KEYS)
    for key in ("q", "Ctrl+C", "r", "p", "↑ ↓", "/", "f", "s", "Tab", "e", "?", "Esc"):
        assert key in text


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (200, 60)])
def test_the_whole_of_an_error_holds_its_reason_however_long_its_path_is(size: tuple[int, int], path: Path) -> None:
    look = looked(path, "errors")
    long = look.log[0]._replace(path="a-long-name/" * 300 + "end.txt", message="word " * 12 + "and that is why")
    lines = paint(look._replace(log=[long]), View("errors"), *size, NOW)
    detail = "".join(text for line in lines for text, style in line if style in (PLAIN, STRONG))
    assert "end.txtword word" in detail
    assert "and that is why" in detail
    assert sum(style == STRONG for line in lines[1:-1] for _, style in line) > 1
    assert len(lines) == size[1]


def headings(look: Look, width: int, height: int) -> str:
    lines = paint(look, View(), width, height, NOW)
    return "\n".join(text for line in lines for text, style in line if style == TITLE)


def test_while_a_tree_is_listed_that_comes_before_what_was_done_yesterday(path: Path) -> None:
    look = looked(path, "main", "running")
    assert look.now is not None
    lists = look._replace(now=look.now._replace(listed=False))
    assert "Listing" in headings(lists, 80, 24)
    assert "Last 24 hours" not in headings(lists, 80, 24)
    for over in (look, lists._replace(crawl=None), look._replace(now=lists.now and lists.now._replace(status="stale"))):
        assert "Last 24 hours" in headings(over, 80, 24)
        assert "Listing" not in headings(over, 80, 24)
    for each in (look, lists):
        assert "Last 24 hours" in headings(each, 80, 40)
        assert "Listing" in headings(each, 80, 40)


@pytest.mark.parametrize(
    ("status", "order"), [("running", "p pause"), ("paused", "p resume"), ("completed", ""), ("stale", "")]
)
def test_only_what_goes_on_can_be_paused(status: str, order: str, path: Path) -> None:
    lines = paint(looked(path, "main", status, alive=status != "stale"), View(), 80, 24, NOW)
    footer = "".join(text for text, _ in lines[-1])
    assert footer.startswith(order or "f errors")
