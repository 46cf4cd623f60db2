"""location: where the state file lives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dunlin.state import Location, locate, location, own_files


def test_named_none_and_default(tmp_path: Path) -> None:
    here = str(tmp_path)
    assert locate("none", here, "/state") == Location(None)
    assert locate("a/b.db", here, "/state") == Location(f"{here}/a/b.db")
    assert locate("/x/b.db", here, "/state") == Location("/x/b.db")
    assert locate(None, here, "/state") == Location(f"{here}/.sync-state.db")
    assert os.listdir(here) == [], "deciding makes nothing"


@pytest.mark.parametrize("shut", ["directory", "file"])
def test_default_falls_back_with_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shut: str) -> None:
    default = tmp_path / ".sync-state.db"
    default.touch()
    closed = tmp_path if shut == "directory" else default
    monkeypatch.setattr(location.os, "access", lambda path, mode: Path(path) != closed)
    found = locate(None, str(tmp_path), "/state")
    assert found.path == "/state/sync-state.db"
    assert found.path in found.note
    assert str(default) in found.note


def test_own_files_are_all_that_sqlite_makes() -> None:
    assert own_files("/x/s.db") == ["/x/s.db", "/x/s.db-wal", "/x/s.db-shm", "/x/s.db-journal"]
    assert own_files(None) == []
