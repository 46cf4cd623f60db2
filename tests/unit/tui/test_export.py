"""Exported files: whole, never over another one, harmless in a spreadsheet."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.state.overview import Overview
from dunlin.tui import export
from tests.unit.tui.fabricated import NOW, fabricate


@pytest.mark.parametrize("links", [True, False])
def test_no_file_is_replaced_by_accident(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not links:

        def refuse(*_: object) -> None:
            raise PermissionError(1, "no links here")

        monkeypatch.setattr(os, "link", refuse)
    file = tmp_path / "a.json"
    export.write(str(file), "one", replace=False)
    with pytest.raises(DunlinError) as caught:
        export.write(str(file), "two", replace=False)
    assert caught.value.kind is ErrorKind.EXISTS
    assert file.read_text() == "one"
    export.write(str(file), "three", replace=True)
    assert file.read_text() == "three"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DunlinError):
        export.write(str(tmp_path / "a.json"), "text", replace=False)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["=cmd()", "+1", "-1", "@x", "\tx"])
def test_names_are_no_formulas(name: str) -> None:
    assert export._table(("path",), [(name,), ("plain",), (-1,)]).splitlines()[1].strip('"') == f"'{name}"
    assert export._table(("number",), [(-1,)]) == "number\r\n-1\r\n"


@pytest.mark.parametrize("name", ["", "a", ".json", ".csv", "a.txt", "dir/.json"])
def test_names_need_an_ending(name: str) -> None:
    with pytest.raises(DunlinError, match="must end in"):
        export.check_name(name)


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(DunlinError, match="directory"):
        export.check_name(str(tmp_path / "a.json"))


def test_a_run_whose_process_is_gone_was_interrupted(path: Path) -> None:
    fabricate(path, status="running")
    with Overview.open(str(path), lambda run: False, lambda: NOW) as overview:
        assert overview.now(12) is not None
        found = json.loads(export.content("x.json", overview, "main", 12, 1, NOW))
        table = export.content("x.csv", overview, "main", 12, 1, NOW)
    assert (found["current"]["status"], found["runs"][0]["status"]) == ("interrupted", "interrupted")
    assert table.splitlines()[1].startswith("12,1,interrupted,")
