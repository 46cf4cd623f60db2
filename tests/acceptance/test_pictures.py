"""The pictures of the documentation: made by scripts/pictures.py, shown on a page, still like the program."""

from __future__ import annotations

import importlib.util
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType

import pytest

from tests.acceptance.program import CHECKOUT


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scripts_pictures", CHECKOUT / "scripts" / "pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


pictures = _script()


def test_every_picture_has_its_maker_and_a_page_that_shows_it() -> None:
    there = {path.name for path in (CHECKOUT / "docs" / "pictures").iterdir()}
    assert there == set(pictures.PICTURES), "run scripts/pictures.py"
    pages = "".join(page.read_text(encoding="utf-8") for page in (CHECKOUT / "docs").rglob("*.md"))
    pages += (CHECKOUT / "README.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"!\[[^\]]+\]\((?:\S*/)?pictures/([^)/]+)\)", pages))
    assert there <= shown, "with words for those who cannot see it"


@pytest.mark.parametrize("name", sorted(name for name in pictures.PICTURES if name.endswith(".svg")))
def test_a_picture_brings_nothing_from_elsewhere(name: str) -> None:
    content = (CHECKOUT / "docs" / "pictures" / name).read_text(encoding="utf-8")
    assert ElementTree.fromstring(content).tag == "{http://www.w3.org/2000/svg}svg"
    assert not re.search(r"url\(\s*['\"]?https?:|(href|src)=|@import|@font-face|<script", content)
    assert str(CHECKOUT) not in content
    assert "/tmp" not in content


LINES = (
    r"\$ dunlin sync -a ", "dunlin: scanning source", r"scanned 1,212 files, 288 MiB, 0 in sync",
    r"copied \d+ files?, \d+ MiB", r"ETA \d+s", r"\d+s elapsed, (limit|held to) 40.0 MiB/s",
)  # fmt: skip


def lacking(content: str) -> list[str]:
    """What of the view a picture does not show."""
    texts = [text.text or "" for text in ElementTree.fromstring(content) if text.tag.endswith("text")]
    return [line for line in LINES if not any(re.match(line, text) for text in texts)]


def test_a_picture_shows_what_the_program_shows_today(tmp_path: Path) -> None:
    assert lacking((CHECKOUT / "docs" / "pictures" / "sync-narrow.svg").read_text(encoding="utf-8")) == []
    assert lacking(pictures.PICTURES["sync-narrow.svg"](tmp_path)) == [], "run scripts/pictures.py"


def test_colors_and_columns_of_a_line() -> None:
    line = "\x1b[1m\x1b[31m3 failed\x1b[0m, 漢字  \x1b[36mETA 5s"
    assert [tuple(run) for run in pictures.runs(line)] == [
        (0, "3 failed", pictures.COLORS["31"], True),
        (8, ", 漢字", pictures.TEXT, False),
        (16, "ETA 5s", pictures.COLORS["36"], False),
    ]
    drawn = ElementTree.fromstring(pictures.drawing("a <b>\n\x1b[1mx  y", 10, 'a "title"'))
    assert [(text.text, text.get("font-weight")) for text in drawn if text.tag.endswith("text")] == [
        ("a <b>", None), ("x", "bold"), ("y", "bold"),
    ]  # fmt: skip
