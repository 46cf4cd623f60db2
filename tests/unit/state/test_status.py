"""status: what people are shown, and the views they query."""

from __future__ import annotations

from dunlin.errors import ErrorKind
from dunlin.model import Stats
from dunlin.state import DirectoryStatus, FileStatus, Metric, Pair, Run, State
from dunlin.state.survey import failed_directories
from tests.unit.state.rows import Clock, row, synced

BAD = {"status": FileStatus.FAILED, "error": "Permission denied"}


def test_status_of_a_pair(state: State, pair: Pair, run: Run) -> None:
    root, sub = state.add_directories(run.id, [("", 0), ("sub", 0)])
    rows = [row("p", size=7), synced("s"), row("f", error_kind="denied", **BAD), row("g", error_kind="io", **BAD)]
    state.put_files(run.id, root, rows)
    state.finish_directory(run.id, root, DirectoryStatus.SCANNED)
    (status,) = state.status(pair.id)
    assert (status.source, status.destination) == (pair.source, pair.destination)
    assert [r.id for r in status.runs] == [run.id]
    assert (status.pending_files, status.pending_bytes, status.queued_directories) == (1, 7, 1)
    assert {f.path: f.kind for f in status.failed} == {"f": ErrorKind.DENIED, "g": ErrorKind.IO}
    assert status.failed_by_category == {"auth": 1, "disk": 1}
    assert status.failed_files == 2
    assert status.last_success is None
    assert sub


def test_failures_of_an_earlier_run_still_count_until_they_are_synced(state: State, pair: Pair, run: Run) -> None:
    (root,) = state.add_directories(run.id, [("", 0)])
    state.put_files(run.id, root, [row("f", **BAD)])
    state.finish_run(run.id, "completed", Stats(scanned_files=1))
    second = state.begin_run(pair, {}, "boot-1", 1)
    assert state.status()[0].failed_files == 1
    assert state.status()[0].failed_by_category == {"unknown": 1}
    state.put_files(second.id, root, [synced("f")])
    assert state.status()[0].failed_files == 0
    ended = state.run(run.id).ended
    assert state.status()[0].last_success == ended
    assert state.status()[0].known_files == 1


def test_directories_that_failed_are_told_with_their_reasons(state: State, pair: Pair, run: Run) -> None:
    root, sub, deep, good = state.add_directories(run.id, [("", 0), ("sub", 0), ("sub/deep", 0), ("good", 0)])
    for directory in (root, good):
        state.finish_directory(run.id, directory, DirectoryStatus.SCANNED)
    for directory in (sub, deep):
        state.finish_directory(run.id, directory, DirectoryStatus.FAILED)
    state.put_event(run.id, 40, "directory.failed", "cannot list sub: Permission denied", "sub", ErrorKind.DENIED)
    state.finish_run(run.id, "completed", Stats(failed_directories=2))
    retry = state.begin_run(pair, {"retry": [run.id]}, "boot-1", 1)
    state.finish_run(retry.id, "completed", Stats())
    (status,) = state.status(pair.id)
    assert status.failed_directories == 2
    assert status.failed_files == 0
    assert [(each.path, each.kind, each.error, each.run) for each in status.bad] == [
        ("sub/", ErrorKind.DENIED, "cannot list sub: Permission denied", run.id),
        ("sub/deep/", ErrorKind.INTERNAL, "its reason is in the log", run.id),
    ]
    assert state.bad_directories(pair.id, 1) == status.bad[:1]
    assert failed_directories(state, run.id, 10) == status.bad
    assert failed_directories(state, retry.id, 10) == []
    again = state.begin_run(pair, {}, "boot-1", 1)
    state.start_frontier(again.id)
    state.add_directories(again.id, [("sub", 0), ("sub/deep", 0)])
    assert state.status(pair.id)[0].failed_directories == 0


def test_status_lists_every_pair_or_one(state: State, pair: Pair) -> None:
    other = state.pair("a", "b", "")
    assert [s.id for s in state.status()] == [pair.id, other.id]
    assert [s.id for s in state.status(other.id)] == [other.id]
    assert state.status(99) == []


def columns(state: State, view: str) -> list[str]:
    return [r[0] for r in state.database.query("SELECT name FROM pragma_table_info(?)", (view,))]


def test_view_file_path_has_the_fields_of_the_specification(state: State, run: Run, clock: Clock) -> None:
    (sub,) = state.add_directories(run.id, [("sub", 0)])
    clock.time = 1_700_000_000_000_000_000
    early = row("early", mtime=-1)
    state.put_files(run.id, sub, [synced("x", mtime=1_700_000_000_123_456_789, hash=b"\xab\xcd"), early])
    wanted = "source_path, dest_path, modified_date, permissions, hash, size, status, last_synced"
    found = state.database.query(f"SELECT {wanted} FROM file_path WHERE path = 'sub/x'")
    assert found == [
        (
            "file:///source/sub/x",
            "file:///destination/sub/x",
            "2023-11-14T22:13:20.123456789Z",
            "0644",
            "abcd",
            4,
            "synced",
            "2023-11-14 22:13:20",
        )
    ]
    before = state.database.value("SELECT modified_date FROM file_path WHERE path = 'sub/early'")
    assert before == "1969-12-31T23:59:59.999999999Z"
    assert {"created_date", "changed_date"} <= set(columns(state, "file_path"))


def test_views_under_the_old_names(state: State, pair: Pair, run: Run) -> None:
    (root,) = state.add_directories(run.id, [("", 0)])
    state.put_files(run.id, root, [synced("x", content_md5="m", etag="e"), row("y")])
    state.put_metric(run.id, Metric(cpu=50.0, memory=3 << 20, network=1_000_000))
    state.put_event(run.id, 40, "file.failed", "no answer", "x", ErrorKind.TIMEOUT, attempt=3)
    state.put_event(run.id, 20, "file.note", "fine", "x")
    state.set_token(pair.id, "", "next", 12)
    state.finish_run(run.id, "failed", Stats(scanned_files=2, copied_files=1, failed_files=1, copied_bytes=4), "why")
    query = state.database.query
    runs = "SELECT status, total_files, downloaded_files, failed_files, total_bytes, error_message FROM sync_runs"
    assert query(runs) == [("failed", 2, 1, 1, 4, "why")]
    blobs = "SELECT blob_name, local_path, size_bytes, content_md5, etag, sync_run_id, status FROM blob_state"
    assert query(blobs) == [
        ("x", "file:///destination/x", 4, "m", "e", run.id, "downloaded"),
        ("y", "file:///destination/y", 4, None, None, run.id, "pending"),
    ]
    assert query("SELECT cpu_percent, memory_mb, network_mbps, throttled FROM performance_metrics") == [
        (50.0, 3, 8.0, 0)
    ]
    errors = "SELECT blob_name, error_type, error_message, retry_count, resolved FROM error_log"
    assert query(errors) == [("x", "network", "no answer", 3, 0)]
    tokens = "SELECT container_name, last_continuation_token, total_blobs_tracked FROM sync_checkpoint"
    assert query(tokens) == [("file:///source", "next", 12)]


def test_error_types_of_the_view_are_those_of_the_errors(state: State, run: Run) -> None:
    from dunlin.errors import DunlinError

    for kind in ErrorKind:
        state.put_event(run.id, 40, "x", kind.value, "p", kind)
    found = dict(state.database.query("SELECT error_message, error_type FROM error_log"))
    assert found == {kind.value: DunlinError("", "", kind).category for kind in ErrorKind}
