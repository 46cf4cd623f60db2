"""store: one file, opened by many, killed at any time; which index serves which query."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import Stats
from dunlin.report import NullReport, RecordingReport
from dunlin.state import DirectoryStatus, FileStatus, Pair, Run, State, store
from tests.unit.state.rows import row, synced

WRITER = """
import sys
from dunlin.report import NullReport
from dunlin.state import DirectoryStatus, State
state = State.open(sys.argv[1], NullReport())
pair = state.pair("file:///s", "file:///d", "")
left = state.unfinished(pair.id)
run = state.begin_run(pair, {}, "boot", 1, continues=left.run if left else None).id
if left is None:
    state.start_frontier(run)
while batch := state.next_directories(run, 2):
    with state.transaction():
        for directory in batch:
            rows = [(f"f{n}", n, 1, 1, None, 1, 1, 1, b"h") for n in range(50)]
            state.put_synced(run, directory.id, rows[:30], "blake3")
            below = directory.path.count("/") < 3
            state.add_directories(run, [(f"{directory.path}/{n}", 0) for n in range(6)] if below else [])
            state.put_synced(run, directory.id, rows[30:], "blake3")
            state.finish_directory(run, directory.id, DirectoryStatus.DONE, 1, b"digest")
    print(".", flush=True)
state.finish_run(run, "completed", __import__("dunlin.model").model.Stats())
print("end", flush=True)
"""
WHOLE = 1 + 6 + 36 + 216


def start(path: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(store.__file__).parents[2])}
    return subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True, env=environment)


def test_killed_ten_times_and_never_inconsistent(path: str) -> None:
    dice = random.Random(7)
    for _ in range(10):
        with start(path) as writer:
            assert writer.stdout is not None
            for _ in range(dice.randint(0, 11)):
                writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
        if not os.path.exists(path):
            continue
        state = State.open(path, NullReport())
        database = state.database
        assert database.value("PRAGMA integrity_check") == "ok"
        count = "(SELECT count(*) FROM file WHERE directory_id = d.id)"
        broken = f"SELECT path FROM directory AS d WHERE status = 2 AND {count} <> 50"
        assert database.query(broken) == []
        torn = (
            "SELECT path FROM directory AS d WHERE status = 0 AND EXISTS (SELECT 1 FROM file WHERE directory_id = d.id)"
        )
        assert database.query(torn) == []
        state.close()
    with start(path) as writer:
        assert writer.stdout is not None
        assert writer.stdout.read().endswith("end\n")
    state = State.open(path, NullReport())
    assert state.database.query("SELECT status, count(*) FROM directory GROUP BY status") == [(2, WHOLE)]
    assert state.unfinished(1) is None
    chain = [r[0] for r in state.database.query("SELECT status FROM run ORDER BY id")]
    assert chain[-1] == "completed"
    assert set(chain[:-1]) == {"interrupted"}
    state.close()


def test_reader_sees_what_is_committed_while_a_run_writes(path: str, state: State, run: Run) -> None:
    (number,) = state.add_directories(run.id, [("a", 0)])
    reader = State.open(path, NullReport(), create=False, write=False)
    with state.transaction():
        state.put_files(run.id, number, [row("x")])
        state.finish_directory(run.id, number, DirectoryStatus.SCANNED)
        assert reader.status()[0].pending_files == 0
    assert reader.status()[0].pending_files == 1
    reader.close()


def test_transaction_that_fails_leaves_nothing(state: State, run: Run) -> None:
    def fail() -> None:
        with state.transaction():
            (number,) = state.add_directories(run.id, [("a", 0)])
            state.put_files(run.id, number, [row("x")])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert state.next_directories(run.id, 1) == []
    assert state.database.value("SELECT count(*) FROM file") == 0


def test_full_disk_is_told_and_the_file_stays_readable(state: State, pair: Pair, run: Run) -> None:
    (number,) = state.add_directories(run.id, [("a", 0)])
    state.put_files(run.id, number, [synced("kept")])
    pages = state.database.value("PRAGMA page_count")
    state.database.execute(f"PRAGMA max_page_count={pages + 1}")
    with pytest.raises(DunlinError) as caught:
        state.put_files(run.id, number, [synced(f"f{n}") for n in range(5000)])
    assert caught.value.kind is ErrorKind.NO_SPACE
    assert [known.name for known in state.known_rows(number)] == ["kept"]
    assert state.status(pair.id)[0].runs[0].status == "running"
    state.finish_run(run.id, "failed", Stats(), "no space")


def test_private_state_works_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = State.open(None, NullReport())
    run = state.begin_run(state.pair("s", "d", ""), {}, "", 1)
    state.put_files(run.id, state.start_frontier(run.id), [row("x")])
    state.close()
    state.close()
    assert os.listdir(tmp_path) == []


def test_opening_warns_through_the_report(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dunlin.sqlite.network_mount", lambda path, mountinfo: "nfs4")
    report = RecordingReport()
    State.open(path, report).close()
    assert [event.name for event in report.events] == ["state.journal"]


HOT = {
    "directory_next_old": "directory_queued",
    "directory_next_new": "directory_queued",
    "directory_known": "sqlite_autoindex_directory_1",
    "directory_from": "sqlite_autoindex_directory_1",
    "directory_adopt_queued": "directory_queued",
    "directory_adopt_scanned": "directory_scanned",
    "directory_count_queued": "directory_queued",
    "directory_failed": "directory_failed",
    "doubt_mark": "directory_written",
    "doubt_page": "directory_doubt",
    "pending_next": "directory_scanned",
    "pending_totals": "directory_scanned",
    "failed_page": "file_failed",
    "failed_kinds": "file_failed",
    "run_last": "run_pair",
    "run_live": "run_live",
    "run_success": "run_pair",
    "event_resolve": "event_open",
    "metric_after": "metric_run",
    "control_open": "control_open",
}
"""The statements that name an index, and the one that must serve them."""

WHOLE_TABLE_ALLOWED = {
    "clock": "one row",
    "clock_set": "one row",
    "pair_all": "a handful of rows",
    "event_last": "backwards along the id, and stops at its limit",
    "run_newest": "backwards along the id, and stops at the first",
    "event_trim_minor": "backwards along the index, and stops at what is kept",
    "event_trim": "backwards along the id, and stops at what is kept",
    "event_age": "thinning keeps the table small",
    "event_error_kinds": "unresolved errors: thinning keeps them few",
    "metric_trim": "backwards along the id, and stops at what is kept",
    "run_sums": "thinning keeps the table small",
    "past_sums": "an hour a row, of a month",
    "control_age": "an order a row",
    "control_of": "backwards along the id, of a table that thinning keeps small",
    "control_pauses": "along the id, of a table that thinning keeps small",
    "metric_rate": "twenty rows at most, which its inner query finds by an index",
    "survey_count": "what its inner query finds by an index, up to its limit",
    "survey_files": "what its inner query finds by the key, up to its limit",
    "survey_largest": "what its inner query finds by the key, up to its limit",
}

SORTING_ALLOWED = {
    "failed_kinds": "a group per kind of error",
    "event_error_kinds": "a group per kind of error",
    "event_unresolved": "thinning keeps errors few",
    "metric_series": "as many rows as a curve has points, and a row in a minute",
    "metric_minutes": "the samples of a minute or so",
    "metric_hours": "the rows of an hour or so",
    "survey_files": "a group per band of sizes",
    "survey_largest": "keeps as many as its limit says",
}


def plan(state: State, name: str) -> list[str]:
    sql = store.load_statements(os.path.join(os.path.dirname(store.__file__), "queries.sql"))[name]
    return [r[3] for r in state.database.query(f"EXPLAIN QUERY PLAN {sql}", [None] * arguments(sql))]


def arguments(sql: str) -> int:
    numbered = [int("".join(c for c in rest[:2] if c.isdigit())) for rest in sql.split("?")[1:] if rest[:1].isdigit()]
    return max(numbered) if numbered else sql.count("?")


def statements() -> list[str]:
    return list(store.load_statements(os.path.join(os.path.dirname(store.__file__), "queries.sql")))


@pytest.mark.parametrize("name", statements())
def test_no_statement_reads_a_whole_table_or_sorts_one(state: State, name: str) -> None:
    steps = plan(state, name)
    if name not in WHOLE_TABLE_ALLOWED:
        fine = ("SCAN CONSTANT ROW", "SCAN run USING INDEX run_live", "SCAN run USING COVERING INDEX run_live")
        assert not [step for step in steps if step.startswith("SCAN ") and step not in fine], steps
    if name not in SORTING_ALLOWED:
        assert not [step for step in steps if "TEMP B-TREE" in step], steps


@pytest.mark.parametrize("name", HOT)
def test_hot_statements_use_their_index(state: State, name: str) -> None:
    steps = plan(state, name)
    assert any(f"INDEX {HOT[name]}" in step.replace("COVERING ", "") for step in steps), steps


def test_pending_is_counted_without_touching_the_rows(state: State) -> None:
    assert any("COVERING INDEX file_pending" in step for step in plan(state, "pending_totals"))


def test_rows_cost_few_statements(state: State, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished directory costs a fixed number of calls, however many files it has."""
    (number,) = state.add_directories(run.id, [("a", 0)])
    calls: list[str] = []
    for verb in ("execute", "many", "query", "query_many"):
        real = getattr(type(state.database), verb)

        def counted(self: object, sql: str, *rest: object, real: object = real) -> object:
            calls.append(sql)
            return real(self, sql, *rest)  # type: ignore[operator]

        monkeypatch.setattr(type(state.database), verb, counted)
    with state.transaction():
        state.put_synced(run.id, number, [(f"f{n}", 1, 2, 3, None, 4, 5, 6, b"h") for n in range(2000)], "blake3")
        state.finish_directory(run.id, number, DirectoryStatus.DONE)
    assert len(calls) <= 7, calls
    assert FileStatus.SYNCED in {known.status for known in state.known_rows(number)}
