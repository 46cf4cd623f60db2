"""Commands that look at a state file which another process has locked say at once that they wait, and how long."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import apsw
import pytest

from tests.acceptance.program import dunlin, start

SAID = "dunlin: another process has locked {}; waiting up to 10 seconds for it\n"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A directory where something was synced, with a state file that readers cannot read beside a writer."""
    place = tmp_path / "work"
    (place / "source").mkdir(parents=True)
    (place / "source" / "name").write_text("content")
    dunlin("sync", "source", "destination", cwd=place, expect=0)
    return place


def lock(work: Path) -> apsw.Connection:
    """A program that holds the file for itself."""
    holder = apsw.Connection(str(work / ".sync-state.db"))
    holder.execute("PRAGMA journal_mode=DELETE").fetchall()
    holder.execute("BEGIN EXCLUSIVE")
    return holder


def line(process: subprocess.Popen[bytes]) -> str:
    """The next line that it writes to standard error, as soon as it is there."""
    assert process.stderr is not None
    return process.stderr.readline().decode()


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["status"], "copied 1 file"),
        (["retry"], "nothing to retry"),
        (["history"], "completed"),
        (["control", "stop"], ""),
    ],
)
def test_whoever_looks_is_told_at_once_and_gets_the_answer_when_the_lock_is_gone(
    words: list[str], answer: str, work: Path
) -> None:
    holder = lock(work)
    process = start(*words, cwd=work)
    try:
        assert line(process) == SAID.format(f"{work}/.sync-state.db")
        assert process.poll() is None
    finally:
        holder.execute("COMMIT")
        holder.close()
    out, rest = process.communicate(timeout=30)
    assert answer in out.decode()
    assert "locked" not in rest.decode()


def test_it_ends_in_the_time_that_was_said(work: Path) -> None:
    holder = lock(work)
    begun = time.monotonic()
    processes = [start(*words, cwd=work) for words in (["status"], ["retry"])]
    try:
        assert [line(process) for process in processes] == [SAID.format(f"{work}/.sync-state.db")] * 2
        said = time.monotonic()
        for process in processes:
            _, told = process.communicate(timeout=60)
            assert time.monotonic() - begun > 9.5
            assert time.monotonic() - said < 16
            assert process.returncode == 1
            [second] = told.decode().splitlines()
            assert "another process holds its lock; wait for it to end" in second
    finally:
        holder.execute("COMMIT")
        holder.close()
