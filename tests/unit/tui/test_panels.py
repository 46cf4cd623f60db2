"""What the panels say about runs that stand in different ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from dunlin.tui import panels
from dunlin.tui.pages import View, paint
from dunlin.tui.text import Line
from tests.unit.tui.fabricated import NOW
from tests.unit.tui.test_pages import looked


def words(lines: list[Line]) -> str:
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)


def test_a_throttled_run_says_why_and_by_how_much(path: Path) -> None:
    look = looked(path, "main")
    text = words(paint(look, View(), 100, 30, NOW))
    assert "▼ Throttled" in text
    assert "Throttling: ● active (cpu 91%)" in text
    assert "Workers 8 → 5 (throttled)" in text
    assert "225 MiB / 500 MiB/s" in text


def test_a_paused_run_says_how_it_goes_on(path: Path) -> None:
    text = words(panels.sync(looked(path, "main", "paused"), 80))
    assert "‖ Paused" in text
    assert "press p" in text
    assert "ETA paused" in text


def test_a_run_whose_process_is_gone_says_so(path: Path) -> None:
    text = words(panels.sync(looked(path, "main", "running", alive=False), 80))
    assert "? Silent" in text
    assert "its process is gone" in text


@pytest.mark.parametrize("status", ["completed", "stale"])
def test_load_of_a_run_that_is_over_says_when_that_was(status: str, path: Path) -> None:
    look = looked(path, "main", "running" if status == "stale" else status, alive=False)
    assert words([panels.throttling(look)]) == "as it was at 07:41:21"


def test_while_the_listing_goes_on_no_share_is_claimed(path: Path) -> None:
    now = looked(path, "main", "running").now
    assert now is not None
    now = now._replace(listed=False)
    text = words([panels.progress(now, 80)])
    assert "%" not in text
    assert "still listing" in text
    assert words(panels.sync(looked(path, "main", "running")._replace(now=now), 80)).count("+") == 2


@pytest.mark.parametrize(("share", "percent"), [(0.0, "0%"), (0.995, "99%"), (0.9999, "99%"), (1.0, "100%")])
def test_all_is_100_percent_and_nothing_else(share: float, percent: str) -> None:
    assert panels.percentage(share) == percent


def test_activities_have_a_sign_and_a_word(path: Path) -> None:
    look = looked(path, "main")
    text = words([panels.activity_line(each, 80) for each in look.activity])
    for sign in (
        "✓ copied data/",
        "⚠ retry (2/3) data/",
        "✗ failed data/",
        "- deleted data/",
        "✓ and 1,234 files more",
    ):
        assert sign in text
    assert "[red]not red[/red]" in text
    assert "\\x1b[31mescape\\x07" in text
    assert "bytes-\\xff\\xfe.bin" in text


def test_the_listing_says_what_keeps_it_waiting(path: Path) -> None:
    text = words(panels.listing(looked(path, "main").crawl, 120))
    assert "12 active, 3 waiting" in text
    assert "8.5K files" in text
    assert "files/s ↗" in text
    assert "memory 82% ● THROTTLED" in text
    assert "threads 19% ○ ok" in text


def test_no_status_is_told_by_colour_alone() -> None:
    assert len({words for words, _ in panels.STATES.values()}) == len(panels.STATES)
    assert len({sign for sign, _, _ in panels.WORDS.values()}) >= 4
