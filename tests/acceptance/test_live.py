"""What a run says of itself while it goes on, read beside it: samples, signs of life, activity; and `dunlin status`."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.state.overview import Overview
from tests.acceptance.program import dunlin, start
from tests.acceptance.trouble import until


@pytest.fixture
def work(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    (work / "s").mkdir(parents=True)
    for n in range(40):
        (work / f"s/f{n:02}").write_bytes(b"x" * 100_000)
    (work / "s/large").write_bytes(b"x" * 24_000_000)
    return work


def opened(state: Path) -> Overview | None:
    """The overview of a state file, once a run has filled it."""
    try:
        return Overview.open(str(state))
    except DunlinError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
        return None


def test_a_run_can_be_followed_while_it_goes_on(work: Path) -> None:
    with (
        start("sync", "-a", "--bwlimit", "1M", "s", "d", cwd=work) as running,
        until(lambda: opened(work / ".sync-state.db")) as view,
    ):
        now = until(lambda: (found := view.now()) is not None and found.bytes_rate and found)
        assert now.status == "running"
        assert 0 < now.bytes_rate < 3 << 20
        assert now.limit == 1 << 20
        assert now.listed
        assert now.total_files == 41
        assert 0 < now.share < 1
        assert now.left > 1
        sample = until(lambda: (found := view.latest(now.run.id)) and found.metric.cpu is not None and found)
        assert sample.metric.memory > 10 << 20
        told = json.loads(dunlin("status", "--json", cwd=work, expect=0).stdout)["pairs"][0]["now"]
        assert (told["status"], told["total_files"], told["bandwidth_limit"]) == ("running", 41, 1 << 20)
        assert "files/s" in dunlin("status", cwd=work, expect=0).stdout

        dunlin("control", "pause", cwd=work, expect=0)
        assert until(lambda: (found := view.now()) and found.status == "paused")
        assert "paused" in dunlin("status", cwd=work, expect=0).stdout
        dunlin("control", "resume", cwd=work, expect=0)
        dunlin("control", "bwlimit", "off", cwd=work, expect=0)
        assert running.wait(30) == 0
        ended = view.now()
        assert ended is not None
        assert (ended.status, ended.done_files, ended.share) == ("completed", 41, 1.0)
        activity = view.activity()
        assert sum(each.number for each in activity if each.word in ("copied", "more")) == 41
        assert {each.word for each in activity} == {"copied", "more"}
        assert view.day().files == 41


def test_a_killed_run_is_told_from_one_that_goes_on(work: Path) -> None:
    with start("sync", "-a", "--bwlimit", "500K", "s", "d", cwd=work) as running:
        until((work / ".sync-state.db").exists)
        until(lambda: '"running"' in dunlin("status", "--json", cwd=work).stdout)
        running.kill()
        running.wait()
    told = json.loads(dunlin("status", "--json", cwd=work, expect=0).stdout)["pairs"][0]
    assert told["now"] is None
    assert told["runs"][0]["status"] == "interrupted"


def test_a_short_run_leaves_no_sample(work: Path) -> None:
    dunlin("sync", "-a", "s", "d", cwd=work, expect=0)
    with sqlite3.connect(work / ".sync-state.db") as database:
        assert database.execute("SELECT count(*) FROM metric").fetchone() == (0,)
        assert database.execute("SELECT sum(number) FROM event WHERE level = 20").fetchone() == (41,)
        assert database.execute("SELECT count(*) FROM event").fetchone()[0] <= 11


def test_totals_of_a_day(work: Path) -> None:
    dunlin("sync", "-a", "s", "d", cwd=work, expect=0)
    dunlin("sync", "-a", "s", "d", cwd=work, expect=0)
    told = json.loads(dunlin("status", "--json", cwd=work, expect=0).stdout)["pairs"][0]
    day = told["last_24h"]
    assert (day["runs"], day["clean_runs"], day["success_rate"], day["copied_files"]) == (2, 2, 1.0, 41)
    assert day == told["total"]
    assert "last 24 h: 2 runs, 100% without a failure, copied 41 files" in dunlin("status", cwd=work).stdout
