"""A fabricated state, a fixed clock in a fixed time zone, and the dashboard over them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_textual_snapshot import SVGImageExtension

from dunlin.tui.app import Dashboard
from dunlin.tui.reader import Reader
from tests.unit.tui.fabricated import NOW, fabricate

Build = Callable[..., Dashboard]

SVGImageExtension.file_extension = "svg"  # the plug-in names it as an older syrupy did


def without_fonts(svg: str) -> str:
    """A picture that fetches nothing from elsewhere."""
    return re.sub(r"\s*@font-face \{.*?\}\n", "", svg, flags=re.DOTALL)


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("NO_COLOR", "TEXTUAL", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the state file is, or is not."""
    return tmp_path / "state.db"


@pytest.fixture
def build(path: Path) -> Build:
    """Makes the dashboard over a fabricated state; it looks again only when it is asked to."""

    def make(status: str = "throttled", pairs: int = 1, theme: str = "dark", alive: bool = True) -> Dashboard:
        if not path.exists():
            fabricate(path, status=status, pairs=pairs)
        reader = Reader(str(path), lambda run: alive and run.status == "running", lambda: NOW)
        app = Dashboard(reader, interval=3600.0, theme=theme)
        export = app.export_screenshot
        app.export_screenshot = lambda **words: without_fonts(export(**words))  # type: ignore[method-assign]
        return app

    return make
