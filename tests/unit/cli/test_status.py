"""`dunlin status` over real state files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from dunlin.cli.statefile import find, lives
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import Stats
from dunlin.report import NullReport
from dunlin.state import FILE_ROW, DirectoryStatus, FileStatus, State
from dunlin.state import Run as StateRun

Run = Callable[..., Result]


def row(name: str, status: FileStatus, error: str | None = None, kind: ErrorKind | None = None) -> tuple[object, ...]:
    values = {"name": name, "size": 1024, "mtime": 1, "status": status, "error": error}
    values["error_kind"] = kind.value if kind else None
    return tuple(values.get(field) for field in FILE_ROW)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    monkeypatch.chdir(tmp_path)
    return State.open(str(tmp_path / ".sync-state.db"), NullReport())


def begin(state: State, pid: int = 0, pair: str = "/d") -> StateRun:
    return state.begin_run(state.pair("/s", pair, "all"), {}, "boot", pid or os.getpid())


def fail(state: State, run: StateRun, names: list[str]) -> None:
    directory = state.start_frontier(run.id)
    rows = [row(name, FileStatus.FAILED, f"cannot read {name}: Permission denied", ErrorKind.DENIED) for name in names]
    state.put_files(run.id, directory, rows)


def test_no_state_file_is_one_friendly_line(dunlin: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = dunlin("status")
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("dunlin: cannot find the state file")
    assert "go where `dunlin sync` was started" in line
    assert list(tmp_path.iterdir()) == []  # asking makes nothing


def test_the_users_state_directory_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "dunlin").mkdir(parents=True)
    there = tmp_path / "home" / "dunlin" / "sync-state.db"
    there.touch()
    assert find(None) == str(there)
    with pytest.raises(DunlinError):
        find("other.db")


def test_a_file_without_runs(dunlin: Run, state: State) -> None:
    state.close()
    assert dunlin("status").stdout == "no runs yet\n"


def test_a_completed_run(dunlin: Run, state: State) -> None:
    run = begin(state)
    state.finish_run(run.id, "completed", Stats(copied_files=12, copied_bytes=2048, deleted_files=3))
    state.close()
    result = dunlin("status")
    assert result.exit_code == 0
    assert "/s -> /d\n" in result.stdout
    assert "last complete run 20" in result.stdout
    assert "copied 12 files (2.0 KiB), 3 deleted" in result.stdout
    assert "together" not in result.stdout


def test_failed_files_with_their_reasons(dunlin: Run, state: State) -> None:
    run = begin(state)
    fail(state, run, [f"f{n}\x1b" for n in range(130)])
    state.finish_run(run.id, "failed", Stats(failed_files=130), "130 files failed")
    state.close()
    short = dunlin("status").stdout
    assert "failed: 130 files (auth 130)" in short
    assert "f0\\x1b: cannot read f0\\x1b: Permission denied" in short
    assert "and 125 more; --failed lists them" in short
    long = dunlin("status", "--failed").stdout
    assert long.count("Permission denied") == 130
    assert "more" not in long
    found = json.loads(dunlin("status", "--failed", "--json").stdout)
    assert len(found["pairs"][0]["failed"]) == 130
    assert found["pairs"][0]["failed"][0]["kind"] == "denied"


def test_a_run_that_goes_on_and_one_that_was_killed(dunlin: Run, state: State) -> None:
    begin(state)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    begin(state, dead.pid, "/other")
    state.close()
    out = dunlin("status").stdout
    assert f"running: run 1, process {os.getpid()}" in out
    assert "run 2 was cut short" in out
    found = json.loads(dunlin("status", "--json").stdout)
    assert [pair["runs"][0]["status"] for pair in found["pairs"]] == ["running", "interrupted"]


def test_a_later_process_of_the_same_number_is_not_the_run(state: State) -> None:
    run = begin(state)
    assert lives(run)
    assert not lives(run._replace(started=1))
    assert not lives(run._replace(status="completed"))
    state.close()


def test_a_damaged_file_is_one_line(dunlin: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.db"
    bad.write_bytes(b"this is no database" * 100)
    result = dunlin("status", "--state-db", str(bad))
    assert result.exit_code in (1, 2)
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [("status",), ("history",), ("retry",), ("control", "pause")])
def test_an_empty_state_file_stays_empty(
    dunlin: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.db").touch()
    result = dunlin(*words, "--state-db", "empty.db")
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert "empty.db: the state file is empty; a run fills it" in line
    assert [(each.name, each.stat().st_size) for each in tmp_path.iterdir()] == [("empty.db", 0)]


def test_directories_that_failed_are_listed(dunlin: Run, state: State) -> None:
    run = begin(state)
    fail(state, run, ["f"])
    [bad] = state.add_directories(run.id, [("sub", 0)])
    state.finish_directory(run.id, bad, DirectoryStatus.FAILED)
    state.put_event(run.id, 40, "directory.failed", "cannot list it: Permission denied", "sub", ErrorKind.DENIED)
    state.finish_run(run.id, "completed", Stats(failed_files=1, failed_directories=1))
    state.close()
    for words in (("status",), ("status", "--failed")):
        text = dunlin(*words).stdout
        assert "failed: 1 file (auth 1), 1 directory\n" in text
        assert "    sub/: cannot list it: Permission denied\n    f: cannot read f: Permission denied\n" in text
    [pair] = json.loads(dunlin("status", "--json").stdout)["pairs"]
    assert (pair["failed_files"], pair["failed_directories"]) == (1, 1)
    assert [each["path"] for each in pair["failed"]] == ["sub/", "f"]
    assert "  sub/: cannot list it: Permission denied\n" in dunlin("history", str(run.id)).stdout
