"""The state file under the dashboard: locked, damaged, of another version, on a mount without a write-ahead log."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from dunlin import sqlite
from dunlin.state import Run
from dunlin.tui import reader as module
from dunlin.tui.reader import Question, Reader, Thread
from tests.unit.tui.fabricated import NOW, fabricate


@pytest.fixture
def reader(path: Path) -> Iterator[Reader]:
    fabricate(path, status="running")
    opened = Reader(str(path), lambda run: run.status == "running", lambda: NOW)
    yield opened
    opened.close()


def test_what_is_not_shown_is_not_read(reader: Reader) -> None:
    look = reader.look(Question())
    assert (look.log, look.runs, look.ever, set(look.curves)) == ([], [], None, {"bytes"})
    assert len(reader.look(Question(page="statistics")).runs) == 12


def test_a_writer_in_the_middle_of_a_transaction_holds_nobody_up(reader: Reader, path: Path) -> None:
    writer = apsw.Connection(str(path))
    writer.set_busy_timeout(0)
    try:
        writer.execute("BEGIN IMMEDIATE; UPDATE run SET message = 'half done'")
        look = reader.look(Question())
        assert look.problem == ""
        assert look.now is not None
        assert look.now.run.message == ""
        # and the reader, which has the file open, holds up no writer: with no time to wait this would fail at once
        writer.execute("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        writer.close()
    again = reader.look(Question()).now
    assert again is not None
    assert again.run.message == "half done"


def test_a_locked_file_on_a_network_mount_keeps_the_figures(
    reader: Reader, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "network_mount", lambda *_: "nfs")
    monkeypatch.setattr(module, "BUSY_MS", 10)
    assert reader.look(Question()).problem == ""
    writer = apsw.Connection(str(path))
    try:
        assert writer.execute("PRAGMA journal_mode").fetchall() == [("delete",)]
        writer.execute("BEGIN EXCLUSIVE")
        look = reader.look(Question())
        assert look.problem == "the state file is locked by another process"
        assert look.now is not None
        writer.execute("COMMIT")
        assert reader.look(Question()).problem == ""
    finally:
        writer.close()


def test_a_file_of_a_newer_version_is_named(reader: Reader, path: Path) -> None:
    reader.close()
    other = apsw.Connection(str(path))
    other.execute("PRAGMA user_version=99")
    other.close()
    assert "newer dunlin" in reader.look(Question()).problem


@pytest.mark.parametrize("column", ["stats", "options", "life"])
def test_rows_that_make_no_sense_end_nothing(column: str, reader: Reader, path: Path) -> None:
    assert reader.look(Question()).problem == ""
    other = apsw.Connection(str(path))
    other.execute(f"UPDATE run SET {column} = '{{\"broken'")
    other.close()
    look = reader.look(Question())
    assert "cannot be understood" in look.problem
    assert look.now is not None


def test_an_empty_file_stays_empty_and_is_waited_for(path: Path) -> None:
    path.touch()
    empty = Reader(str(path), None)
    try:
        look = empty.look(Question())
    finally:
        empty.close()
    assert (look.problem, look.now, look.pairs) == ("the state file is empty; waiting for a run", None, [])
    assert path.stat().st_size == 0


def test_an_order_to_a_run_that_is_over_is_refused(path: Path) -> None:
    fabricate(path, status="completed")
    assert Reader(str(path), None).tell(12, "pause") == "run 12 is over"


def test_an_order_that_cannot_be_written_is_one_line(
    reader: Reader, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ORDER_BUSY_MS", 10)
    writer = apsw.Connection(str(path))
    try:
        writer.execute("BEGIN IMMEDIATE")
        assert reader.tell(12, "pause") == "the state file is locked by another process"
    finally:
        writer.close()


def test_the_thread_gives_results_and_errors_in_order() -> None:
    thread = Thread()

    def fail() -> None:
        raise ValueError("no")

    async def run() -> tuple[int, int]:
        first, second = await asyncio.gather(thread.call(threading.get_ident), thread.call(threading.get_ident))
        with pytest.raises(ValueError, match="no"):
            await thread.call(fail)
        return first, second

    first, second = asyncio.run(run())
    assert first == second != threading.get_ident()


def test_whether_a_watch_waits_is_asked_of_the_run_that_is_shown(path: Path) -> None:
    fabricate(path, status="completed", pairs=2)
    asked: list[int] = []

    def watches(run: Run) -> bool:
        asked.append(run.id)
        return run.pair == 1

    reader = Reader(str(path), None, lambda: NOW, watches)
    try:
        looks = [reader.look(Question(pair=pair)) for pair in (1, 2)]
    finally:
        reader.close()
    assert [look.watched for look in looks] == [True, False]
    assert asked == [look.now.run.id for look in looks if look.now is not None]
