"""Runs of which a side is an object store, with the service in memory: forked movers have their own copy of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dunlin.jobs.options import Crew, SyncOptions
from dunlin.jobs.sync import run
from dunlin.pace.stop import Stop
from dunlin.report import RecordingReport
from dunlin.stores.objects import place
from dunlin.workers import coordinator
from tests.unit.stores.objects.fake_service import LIMITS, FakeService


def test_a_mover_does_a_long_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it tells of each page, and where the listing may be taken up again, passes through the pipe."""
    service = FakeService(limits=LIMITS._replace(page=10))
    keys = [f"k{n:03}" for n in range(350)]
    for key in keys:
        service.put(key, b"x", {})
    service.requests.clear()
    monkeypatch.setattr(place, "open_service", lambda *_, **__: service)
    monkeypatch.setattr(coordinator, "LAZY_SECONDS", 0.0)
    report = RecordingReport()
    options = SyncOptions(
        "s3://bucket",
        str(tmp_path / "target"),
        crew=Crew(movers=1, start="fork"),
        state_db=str(tmp_path / "state.db"),
        user_state=str(tmp_path),
        runtime=str(tmp_path / "locks"),
    )
    result = run(options, Stop(), report)
    assert (result.exit_code, result.stats.copied_files) == (0, len(keys))
    assert report.named("mover.lost") == []
    assert report.gauges["movers"] == 1
    assert service.requests["page"] <= 2  # the parent only looks whether there is anything
    assert all((tmp_path / "target" / key).read_bytes() == b"x" for key in keys)
