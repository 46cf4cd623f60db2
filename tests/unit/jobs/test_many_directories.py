"""More directories than the frontier holds in memory: every mode looks at each of them once."""

from __future__ import annotations

import pytest

from dunlin.workers import frontier
from dunlin.workers.coordinator import Coordinator
from dunlin.workers.frontier import Queued
from tests.unit.jobs.conftest import Places

DIRECTORIES = 30


@pytest.mark.parametrize("mode", ["sync", "plan", "check"])
def test_each_directory_is_looked_at_once(places: Places, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    for n in range(DIRECTORIES):
        places.file(f"d{n:02}/f", str(n))
    if mode != "sync":
        places.target.mkdir()
    monkeypatch.setattr(frontier, "WINDOW", 4)
    scanned: list[str] = []
    submit = Coordinator._submit_scan

    def counted(crew: Coordinator, queued: Queued) -> None:
        scanned.append(queued.path)
        assert len(scanned) < 3 * DIRECTORIES, "they are read back again and again"
        submit(crew, queued)

    monkeypatch.setattr(Coordinator, "_submit_scan", counted)
    result = places.run(mode=mode)
    assert sorted(scanned) == ["", *(f"d{n:02}" for n in range(DIRECTORIES))]
    assert result.stats.scanned_directories == DIRECTORIES + 1
    if mode != "sync":
        assert not list(places.target.iterdir())
        assert result.stats.missing_files == DIRECTORIES
