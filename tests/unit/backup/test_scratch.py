"""Temporary files beside the cache, and what becomes of those of a run that was killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dunlin.backup.scratch import scratch


def old(folder: Path) -> None:
    os.utime(folder, (1, 1))


def test_they_lie_beside_the_cache_and_are_gone_at_the_end(tmp_path: Path) -> None:
    with scratch(tmp_path / "cache") as folder:
        (folder / "deep").mkdir()
        assert folder.parent == tmp_path / "cache"
        assert folder.stat().st_mode & 0o077 == 0
        assert folder.parent.stat().st_mode & 0o077 == 0
    assert list((tmp_path / "cache").iterdir()) == []


def test_where_nothing_can_be_written_the_system_s_place_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "file").write_text("")
    for beside in (None, tmp_path / "file" / "cache"):
        with scratch(beside) as folder:
            assert folder.parent == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_run_left_goes_and_what_is_in_use_stays(tmp_path: Path) -> None:
    with scratch(tmp_path) as used:
        (used / "segment").write_text("x")
        old(used)
        left, young = (tmp_path / f"dunlin-temporary-{name}" for name in ("left", "young"))
        for each in (left, young):
            each.mkdir()
            (each / "segment").write_text("x")
        old(left)
        (tmp_path / "other").mkdir()
        with scratch(tmp_path):
            assert (used / "segment").exists()
            assert young.exists()
            assert not left.exists()
            assert (tmp_path / "other").exists()
