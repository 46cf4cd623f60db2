"""How every page looks, in four sizes and with every theme, against accepted pictures.

`pytest tests/unit/tui/test_snapshots.py --snapshot-update` accepts what there is now; look at the pictures first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.unit.tui.acting import read
from tests.unit.tui.conftest import Build

SIZES = ((60, 20), (80, 24), (120, 40), (200, 60))
KEYS = {"main": (), "errors": ("f",), "statistics": ("s",), "help": ("question_mark",)}

Compare = Callable[..., bool]


def steps(*keys: str) -> Callable[[Pilot[Any]], Any]:
    async def run(pilot: Pilot[Any]) -> None:
        await read(pilot)
        for key in keys:
            await pilot.press(key)
            await read(pilot)

    return run


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("page", KEYS)
def test_page(page: str, size: tuple[int, int], build: Build, snap_compare: Compare) -> None:
    assert snap_compare(build(), terminal_size=size, run_before=steps(*KEYS[page]))


@pytest.mark.parametrize("theme", ["default", "light"])
def test_theme(theme: str, build: Build, snap_compare: Compare) -> None:
    assert snap_compare(build(theme=theme), terminal_size=(80, 24), run_before=steps())


@pytest.mark.parametrize("status", ["running", "paused", "completed", "failed", "stale"])
def test_status(status: str, build: Build, snap_compare: Compare) -> None:
    assert snap_compare(build(status, alive=status != "stale"), terminal_size=(80, 24), run_before=steps())


def test_without_colours(build: Build, snap_compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(build(theme="default"), terminal_size=(80, 24), run_before=steps())


def test_too_small(build: Build, snap_compare: Compare) -> None:
    assert snap_compare(build(), terminal_size=(59, 20), run_before=steps())


def test_exporting(build: Build, snap_compare: Compare) -> None:
    assert snap_compare(build(), terminal_size=(80, 24), run_before=steps("e"))
