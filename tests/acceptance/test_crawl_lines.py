"""What a real crawl tells of itself: lines of the log with exact totals, throttles of a small window, rows on record.

A crawl tells nothing in its first two seconds, so a limit on the bandwidth makes these last longer.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.program import dunlin
from tests.acceptance.trees import Pair, make

SLOW = ("--bwlimit", "100K")
LONG = 270 * 1024
"""Bytes that take somewhat less than three seconds then."""


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


def crawl_lines(pair: Pair, *options: str, command: str = "sync") -> list[dict[str, Any]]:
    words = (command, "--log-format=json", *options, pair.source, pair.target)
    told = dunlin(*words, cwd=pair.cwd, expect=0).stderr.splitlines()
    return [line for line in map(json.loads, told) if line["event"].startswith("crawl.")]


def rows(pair: Pair, columns: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(pair.cwd / ".sync-state.db")) as database:
        return database.execute(f"SELECT {columns} FROM crawl_metrics ORDER BY id").fetchall()


def test_the_end_of_a_crawl_has_its_exact_totals(pair: Pair) -> None:
    make(pair.source, {f"d{n}/f{k}": b"x" for n in range(40) for k in range(10)} | {"long": b"x" * LONG})
    told = crawl_lines(pair, *SLOW)
    by_name = {line["event"]: line for line in told}
    stood = by_name["crawl.progress"]
    assert (stood["total_files"], stood["total_directories"]) == (401, 41)
    assert (stood["active"], stood["waiting"], stood["held"]) == (0, 0, 0)
    assert stood["message"] == "Active Dirs: 0 | Wait: 0 | Files: 0"
    rates = by_name["crawl.throughput"]
    assert rates["seconds"] >= 2
    assert round(rates["files_per_second"] * rates["seconds"]) == 401
    assert round(rates["directories_per_second"] * rates["seconds"]) == 41
    memory = by_name["crawl.memory"]
    assert 10 << 20 < memory["resident"] < memory["limit"]
    assert by_name["crawl.directories"]["directory_seconds"] > 0
    assert 0 <= by_name["crawl.cpu"]["cpu_percent"] <= 100
    assert {line["level"] for line in told} == {"info"}
    assert {line["run"] for line in told} == {1}
    last = rows(pair, "sync_run_id, total_files, total_dirs, max_active_files, throttled_by")[-1]
    assert last == (1, 401, 41, stood["files_limit"], "")


def test_a_short_crawl_tells_nothing(pair: Pair) -> None:
    make(pair.source, {"a": b"x"})
    assert crawl_lines(pair, "--log-level=debug") == []
    assert rows(pair, "*") == []


def test_skipped_directories_are_told_even_by_a_short_crawl(pair: Pair) -> None:
    make(pair.source, {f"d{n}/f": b"x" for n in range(30)})
    skip = ("-a", "--ctime-skip", "--ctime-margin", "0")
    assert crawl_lines(pair, *skip) == []
    (told,) = crawl_lines(pair, *skip)
    assert (told["event"], told["message"], told["settled"]) == (
        "crawl.settled", "CTime optimization: Skipped 30 dirs", 30,
    )  # fmt: skip
    assert rows(pair, "ctime_skips, total_dirs") == [(30, 31)]


def test_a_small_window_engages_and_releases_and_everything_is_copied(pair: Pair) -> None:
    make(pair.source, {f"d{n}/f{k}": b"" for n in range(6) for k in range(1200)} | {"long": b"x" * LONG})
    told = crawl_lines(pair, *SLOW, "--max-active-files", "500")
    throttles = [line for line in told if line["event"] in ("crawl.engaging", "crawl.releasing")]
    assert throttles[0]["event"] == "crawl.engaging"
    assert throttles[0]["level"] == "warn"
    assert throttles[0]["message"].startswith("FILES: Engaging throttle at ")
    assert throttles[0]["percent"] >= 100
    assert all(line["percent"] < 85 for line in throttles if line["event"] == "crawl.releasing")
    times = {name: sum(line["times"] for line in throttles if line["event"] == name) for name in
             ("crawl.engaging", "crawl.releasing")}  # fmt: skip
    assert times["crawl.engaging"] == times["crawl.releasing"] >= 1
    engaged = [line for line in told if line["event"] in ("crawl.engaged", "crawl.released")]
    assert engaged[0]["message"] == "THROTTLE ENGAGED: FILES"
    assert engaged[-1]["message"] == "THROTTLE RELEASED: All resources normal"
    (limits,) = [line for line in told if line["event"] == "crawl.limits"]
    assert (limits["files"], limits["files_limit"]) == ("normal", 500)
    assert sum(1 for path in pair.target.rglob("f*") if path.is_file()) == 7200
    with closing(sqlite3.connect(pair.cwd / ".sync-state.db")) as database:
        warned = database.execute("SELECT count(*) FROM event WHERE name = 'crawl.engaging'").fetchone()
    assert warned[0] >= 1
