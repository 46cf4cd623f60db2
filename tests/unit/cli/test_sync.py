"""`dunlin sync` and `dunlin check` around an engine that does what a test says."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs import options as jobs
from dunlin.model import Stats
from dunlin.pace.stop import Stop
from dunlin.report import Event, Level, Report

Run = Callable[..., Result]


@pytest.mark.parametrize("code", [0, 2, 3, 23, 24, 25, 130])
@pytest.mark.parametrize("command", ["sync", "check"])
def test_the_exit_code_is_the_runs(dunlin: Run, engine: Any, command: str, code: int) -> None:
    engine.result = jobs.Result(Stats(), "failed", "", code)
    assert dunlin(command, "a", "b").exit_code == code


def test_the_start_and_the_end_are_logged_where_there_is_no_terminal(dunlin: Run, engine: Any) -> None:
    result = dunlin("sync", "a", "b")
    first, last = result.stderr.splitlines()
    assert "Sync started (source=a, destination=b, mode=once)" in first
    assert last.endswith("Sync completed (duration=2.00s, files=0, bytes=0B, failed=0)")
    assert result.stdout.splitlines()[0] == "no files found, nothing to do"


def test_quiet_says_nothing_when_all_is_well(dunlin: Run, engine: Any) -> None:
    result = dunlin("sync", "-q", "a", "b")
    assert (result.stdout, result.stderr) == ("", "")


def test_quiet_says_why_a_run_failed(dunlin: Run, engine: Any) -> None:
    engine.result = jobs.Result(Stats(), "failed", "the disk is full", 2)
    assert dunlin("sync", "-q", "a", "b").stderr == "dunlin: failed: the disk is full\n"


def test_json_is_one_object(dunlin: Run, engine: Any) -> None:
    def act(stop: Stop, report: Report) -> None:
        report.event(Event(Level.WARN, "x", "careful"))
        report.event(Event(Level.INFO, "plan", "copy a", {"verb": "copy", "path": "a"}))
        report.event(Event(Level.DEBUG, "file.skipped", "l", {"reason": "link", "files": 2, "path": "l"}))

    engine.act = act
    result = dunlin("sync", "--json", "a", "b")
    found = json.loads(result.stdout)
    assert (found["status"], found["exit_code"], found["run"], found["skipped"]) == ("completed", 0, 7, {"link": 2})
    assert "careful" in result.stderr


def refuse(stop: Stop, report: Report) -> None:
    raise DunlinError("read the source", "/x", ErrorKind.NOT_FOUND, "no such directory", "is it mounted?")


def test_an_error_at_the_start(dunlin: Run, engine: Any) -> None:
    engine.act = refuse
    result = dunlin("sync", "a", "b")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1] == "dunlin: cannot read the source /x: no such directory; is it mounted?"


def test_an_error_at_the_start_as_json(dunlin: Run, engine: Any) -> None:
    engine.act = refuse
    result = dunlin("sync", "--json", "a", "b")
    found = json.loads(result.stdout)
    assert result.exit_code == found["exit_code"] == 1
    assert found["status"] == "failed"
    assert "no such directory" in found["message"]
    assert "no such directory" in result.stderr


def test_a_signal_becomes_a_request_to_stop(dunlin: Run, engine: Any) -> None:
    def act(stop: Stop, report: Report) -> jobs.Result:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
        return jobs.Result(Stats(), "interrupted", stop.reason, 130)

    engine.act = act
    result = dunlin("sync", "a", "b")
    assert result.exit_code == 130
    assert "interrupted by SIGTERM: " in result.stdout


def test_two_signals_end_with_130_without_a_traceback(dunlin: Run, engine: Any) -> None:
    def act(stop: Stop, report: Report) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    engine.act = act
    result = dunlin("sync", "a", "b")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "dunlin: interrupted"


def test_check_prints_what_differs_and_a_summary(dunlin: Run, engine: Any) -> None:
    def act(stop: Stop, report: Report) -> None:
        for verb, path in (("differ", "a"), ("missing", "b"), ("extra", "c")):
            report.event(Event(Level.INFO, "plan", f"{verb} {path}", {"verb": verb, "path": path}))

    engine.act = act
    engine.result = jobs.Result(Stats(differing_files=1, missing_files=1, extra_files=1), "completed", "", 3)
    result = dunlin("check", "a", "b")
    assert result.exit_code == 3
    lines = result.stdout.splitlines()
    assert lines[:3] == ["differ a", "missing b", "extra c"]
    assert lines[3] == "different: 0 matched, 1 differ, 1 missing at the destination, 1 missing at the source"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ([], "`dunlin status --failed`"),
        (["--state-db", "x.db"], "`dunlin status --failed --state-db x.db`"),
        (["--state-db", "none"], None),
    ],
)
def test_where_failed_files_are_listed(dunlin: Run, engine: Any, words: list[str], hint: str | None) -> None:
    engine.result = jobs.Result(Stats(failed_files=9), "failed", "", 23)
    out = dunlin("sync", *words, "a", "b").stdout
    assert ("lists them" in out) is (hint is not None)
    assert hint is None or hint in out


def test_many_workers_get_advice_only_where_a_server_is_asked(dunlin: Run, engine: Any) -> None:
    assert "429" in dunlin("sync", "--workers", "25", "s3://x/y", "b").stderr
    assert "429" not in dunlin("sync", "--workers", "24", "s3://x/y", "b").stderr
    assert "429" not in dunlin("sync", "--workers", "100", "a", "b").stderr
