"""What the small-file loop calls for every file: right, and without what only the first call needs."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from dunlin.stores.local import quick


def test_births_of_many_names(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).touch()
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        born = quick.births(fd, ["a", "missing", "b"])
    finally:
        os.close(fd)
    assert born[1] is None
    assert born[0] is not None
    assert born[2] is not None
    assert 0 <= born[2] - born[0] < 60_000_000_000


def test_the_library_is_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A library that is opened for each file costs more than the file."""
    opened: list[object] = []
    library = ctypes.CDLL

    def counted(name: str | None) -> ctypes.CDLL:
        opened.append(name)
        return library(name)

    monkeypatch.setattr(ctypes, "CDLL", counted)
    quick._statx.cache_clear()
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(3):
            quick.births(fd, ["a"])
        quick.stat_reader()(fd)
    finally:
        os.close(fd)
    assert len(opened) == 1
