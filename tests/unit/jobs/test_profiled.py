"""A run with a profile of it."""

from __future__ import annotations

import os
import pstats
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from dunlin.errors import DunlinError
from dunlin.jobs.options import Crew, Log, Result
from dunlin.jobs.profiled import SHOWN, expensive, run
from dunlin.pace.stop import Stop
from dunlin.report import Level, RecordingReport
from tests.unit.jobs.conftest import Places


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where processes leave their parts."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def profiled(places: Places, path: Path, names: bool = False, **fields: Any) -> tuple[Result, RecordingReport]:
    report = RecordingReport()
    return run(places.options(log=Log(profile=str(path), names=names), **fields), Stop(), report), report


def calls(path: Path, name: str) -> int:
    stats: Any = pstats.Stats(str(path))
    return sum(row[1] for (_, _, function), row in stats.stats.items() if function == name)


def test_a_run_without_movers_profiles_its_loop(places: Places, parts: Path) -> None:
    places.file("d/a")
    path = places.root / "profile"
    result, report = profiled(places, path)
    assert result.exit_code == 0
    assert (calls(path, "crawl"), calls(path, "run_unit")) == (1, 3), "two directories, and the times of the root"
    (event,) = report.named("profile.written")
    assert event.level is Level.INFO
    assert (event.fields["path"], event.fields["processes"]) == (str(path), 1)
    assert os.listdir(parts) == []
    assert sys.getprofile() is None


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_run_with_movers_has_theirs_in_one_file(places: Places, parts: Path, start: str) -> None:
    for n in range(60):
        for k in range(12):
            places.file(f"d{n}/f{k}")
    path = places.root / "profile"
    result, report = profiled(places, path, crew=Crew(movers=2, start=start))
    assert result.stats.copied_files == 720
    assert report.gauges["movers"] == 2
    assert report.named("profile.written")[0].fields["processes"] == 3
    # Each mover counts for itself and not for the loop that it was forked from.
    assert calls(path, "crawl") == 1
    assert calls(path, "scan") == result.stats.scanned_directories == 61
    assert os.listdir(parts) == []


def test_the_most_expensive_functions_are_named(places: Places, parts: Path) -> None:
    places.file("a")
    for names, level in ((True, Level.INFO), (False, Level.DEBUG)):
        _, report = profiled(places, places.root / "profile", names=names)
        told = report.named("profile.function")
        assert len(told) == SHOWN
        assert {event.level for event in told} == {level}
        own = [event.fields["own_seconds"] for event in told]
        assert own == sorted(own, reverse=True)


def test_functions_are_ranked_by_their_own_time_and_shown_briefly() -> None:
    stats: dict[tuple[str, int, str], Any] = {
        ("/x/src/dunlin/workers/scan.py", 3, "run"): (1, 2, 0.5, 0.75, {}),
        ("/y/lib/python3.11/queue.py", 7, "get"): (1, 9, 0.25, 0.25, {}),
        ("~", 0, "<built-in method posix.open>"): (1, 1, 0.75, 0.75, {}),
        ("/z/other.py", 1, "f"): (1, 1, 0.0, 9.0, {}),
    }
    assert expensive(stats, 3) == [
        ("<built-in method posix.open>", 0.75, 0.75, 1),
        ("workers/scan.py:3(run)", 0.5, 0.75, 2),
        ("queue.py:7(get)", 0.25, 0.25, 9),
    ]


def test_a_file_that_cannot_be_written_ends_it_before_anything_is_done(places: Places, parts: Path) -> None:
    places.file("a")
    for path in (places.root / "no" / "profile", places.source):
        with pytest.raises(DunlinError, match="cannot write the profile") as caught:
            profiled(places, path)
        assert caught.value.exit_code == 1
    assert not places.target.exists()
    assert not places.state_db.exists()
    assert os.listdir(parts) == []


def test_a_run_that_cannot_begin_leaves_a_profile_all_the_same(places: Places, parts: Path) -> None:
    path = places.root / "profile"
    with pytest.raises(DunlinError):
        profiled(places, path, source=str(places.root / "nowhere"))
    assert calls(path, "open_pair") == 1
    assert os.listdir(parts) == []


def test_a_profile_that_gets_lost_is_a_warning(places: Places, parts: Path) -> None:
    result, report = profiled(places, Path("/dev/full"))
    assert result.exit_code == 0
    (event,) = report.named("profile.lost")
    assert event.level is Level.WARN
    assert "/dev/full" in event.message
    assert report.named("profile.written") == []


def test_a_profile_inside_the_trees_is_no_part_of_them(places: Places, parts: Path) -> None:
    places.file("a")
    path = places.source / "profile"
    path.write_bytes(b"")
    result, _ = profiled(places, path, delete=True)
    assert result.stats.copied_files == 1
    assert sorted(os.listdir(places.target)) == ["a"]
