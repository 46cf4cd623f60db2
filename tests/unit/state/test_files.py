"""files: rows go in fast, keep what must be kept, and come out in order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.errors import ErrorKind
from dunlin.model import sort_key
from dunlin.report import NullReport
from dunlin.state import SYNCED_ROW, DirectoryStatus, FileStatus, Pair, Run, State
from tests.unit.state.rows import Clock, row, synced


@pytest.fixture
def directory(state: State, run: Run) -> int:
    return state.add_directories(run.id, [("dir", 0)])[0]


def stored(state: State, directory: int, name: str = "x") -> dict[str, Any]:
    columns = [r[0] for r in state.database.query("SELECT name FROM pragma_table_info('file')")]
    found = state.database.query("SELECT * FROM file WHERE directory_id = ? AND name = ?", (directory, name))
    assert len(found) == 1
    return dict(zip(columns, found[0], strict=True))


def test_every_field_is_stored(state: State, run: Run, directory: int) -> None:
    full = row(
        "x",
        birth=9,
        uid=7,
        gid=8,
        etag="e",
        content_md5="m",
        hash_algorithm="md5",
        hash=b"\xaa",
        error="no",
        error_kind="io",
    )
    state.put_files(run.id, directory, [full])
    found = stored(state, directory)
    assert (found["size"], found["mtime"], found["ctime"], found["birth"]) == (4, 10, 11, 9)
    assert (found["mode"], found["uid"], found["gid"], found["etag"]) == (0o100644, 7, 8, "e")
    assert (found["content_md5"], found["hash_algorithm"], found["hash"]) == ("m", "md5", b"\xaa")
    assert (found["status"], found["run"], found["error"], found["error_kind"]) == (0, run.id, "no", "io")
    assert found["last_synced"] is None


def test_hash_and_first_seen_are_kept_while_size_and_mtime_are_the_same(
    state: State, pair: Pair, run: Run, directory: int, clock: Clock
) -> None:
    state.put_files(run.id, directory, [synced("x", content_md5="m")])
    before = stored(state, directory)
    second = state.begin_run(pair, {}, "boot-1", 1)
    clock.time += 1000
    state.put_files(second.id, directory, [row("x", mode=0o100600, ctime=99)])
    after = stored(state, directory)
    assert (after["hash"], after["hash_algorithm"], after["content_md5"]) == (b"\x01\x02", "blake3", "m")
    assert (after["first_seen"], after["last_synced"]) == (before["first_seen"], before["last_synced"])
    assert (after["status"], after["mode"], after["ctime"], after["run"]) == (0, 0o100600, 99, second.id)


@pytest.mark.parametrize("change", [{"size": 5}, {"mtime": 11}])
def test_hash_is_dropped_with_another_size_or_mtime(state: State, run: Run, directory: int, change: Any) -> None:
    state.put_files(run.id, directory, [synced("x", content_md5="m")])
    state.put_files(run.id, directory, [row("x", **change)])
    after = stored(state, directory)
    assert (after["hash"], after["hash_algorithm"], after["content_md5"]) == (None, None, None)


def test_new_hash_replaces_the_old(state: State, run: Run, directory: int, clock: Clock) -> None:
    state.put_files(run.id, directory, [synced("x")])
    clock.time += 1000
    state.put_files(run.id, directory, [synced("x", hash=b"\x09", hash_algorithm="md5")])
    after = stored(state, directory)
    assert (after["hash"], after["hash_algorithm"], after["last_synced"]) == (b"\x09", "md5", clock.time)


def test_put_synced_stores_what_put_files_would(state: State, run: Run, clock: Clock) -> None:
    assert SYNCED_ROW == ("name", "size", "mtime", "ctime", "birth", "mode", "uid", "gid", "hash")
    one, two = state.add_directories(run.id, [("one", 0), ("two", 0)])
    state.put_synced(run.id, one, [("x", 4, 10, 11, 9, 0o100644, 1, 2, b"\x01\x02")], "blake3")
    state.put_files(run.id, two, [synced("x", birth=9, uid=1, gid=2)])
    ignored = {"directory_id": 0, "first_seen": 0, "last_synced": 0}
    assert {**stored(state, one), **ignored} == {**stored(state, two), **ignored}
    first = stored(state, one)["first_seen"]
    clock.time += 1000
    state.put_synced(run.id, one, [("x", 5, 10, 11, 9, 0o100644, 1, 2, b"\x03")], "md5")
    again = stored(state, one)
    assert (again["size"], again["hash"], again["hash_algorithm"], again["first_seen"]) == (5, b"\x03", "md5", first)


@pytest.mark.parametrize("short", [False, True])
def test_odd_values_do_not_stop_a_batch(state: State, run: Run, directory: int, short: bool) -> None:
    if short:
        rows = [
            ("ok", 1, 2, 3, None, 4, 5, 6, b"h"),
            ("bad\udcff", 1, 2**70, 3, None, 4, 5, 6, b"h"),
            ("last", 1, 2, 3, None, 4, 5, 6, b"h"),
        ]
        state.put_synced(run.id, directory, rows, "blake3")
    else:
        state.put_files(run.id, directory, [row("ok"), row("bad\udcff", mtime=2**70, etag=2**64 - 1), row("last")])
    known = list(state.known_rows(directory))
    assert [k.name for k in known] == ["bad\udcff", "last", "ok"]
    assert known[0].mtime == 2**63 - 1
    assert known[0].etag == (None if short else -1)


def test_wrong_promise_of_freshness_costs_nothing_but_time(state: State, run: Run, directory: int) -> None:
    state.put_files(run.id, directory, [row("x"), row("y")])
    state.put_files(run.id, directory, [row("a"), row("y", size=9), row("z")], fresh=True)
    assert {k.name: k.size for k in state.known_rows(directory)} == {"a": 4, "x": 4, "y": 9, "z": 4}


file_names = st.binary(min_size=1, max_size=4).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@given(st.sets(file_names, max_size=30))
def test_known_rows_come_in_the_order_of_the_merge(names: set[str]) -> None:
    state = State.open(None, NullReport())
    run = state.begin_run(state.pair("s", "d", ""), {}, "", 1)
    (directory,) = state.add_directories(run.id, [("d", 0)])
    state.put_files(run.id, directory, [row(name) for name in names])
    found = [known.name for known in state.known_rows(directory)]
    some = state.known_names(directory, [*names, "not there"])
    state.close()
    assert found == sorted(names, key=lambda name: sort_key(name, False))
    assert set(some) == names


def test_known_rows_page_through_a_large_directory(state: State, run: Run, directory: int) -> None:
    names = [f"{n:05d}" for n in range(3000)]
    state.put_files(run.id, directory, [row(name) for name in [*names, "\udcff"]])
    assert [known.name for known in state.known_rows(directory)] == [*names, "\udcff"]


def test_names_gone_from_the_source_are_forgotten(state: State, run: Run, directory: int) -> None:
    state.put_files(run.id, directory, [row("x"), row("y"), row("\udcff")])
    state.forget_missing(directory, ["x", "\udcff", "never there"])
    assert [known.name for known in state.known_rows(directory)] == ["y"]


def test_pending_files_come_page_by_page_whatever_the_page(state: State, pair: Pair, run: Run) -> None:
    ids = state.add_directories(run.id, [(f"d{n}", 0) for n in range(4)])
    for number in ids:
        state.put_files(run.id, number, [row("a", size=1), row("b\udcff", size=2), row("c", size=3), synced("done")])
    for number in ids[:3]:  # the last one is still queued: it is listed again anyway
        state.finish_directory(run.id, number, DirectoryStatus.SCANNED)
    expected = [(i, name) for i in ids[:3] for name in ("a", "c", "b\udcff")]
    for limit in range(1, 11):
        found, after = [], None
        while page := state.pending(run.id, limit, after):
            assert len(page) <= limit
            found += [p.after for p in page]
            after = page[-1].after
        assert found == expected
    assert state.pending(run.id)[0].directory == "d0"
    assert state.pending_totals(run.id) == (9, 18)


def test_failed_files_come_page_by_page_with_their_reason(state: State, run: Run, directory: int) -> None:
    bad = {"status": FileStatus.FAILED, "error": "Permission denied", "error_kind": "denied"}
    state.put_files(run.id, directory, [row("a", **bad), row("b", **bad), row("c", **bad), row("fine")])
    first = state.failed(run.id, 2)
    rest = state.failed(run.id, 2, first[-1].after)
    assert [f.path for f in first + rest] == ["dir/a", "dir/b", "dir/c"]
    assert (first[0].kind, first[0].error) == (ErrorKind.DENIED, "Permission denied")
    state.put_files(run.id, directory, [synced("a"), synced("b"), synced("c")])
    assert state.failed(run.id) == []


@pytest.mark.parametrize("status", [FileStatus.FAILED, FileStatus.PENDING])
def test_what_is_not_synced_keeps_the_etag_that_was(
    state: State, run: Run, directory: int, status: FileStatus
) -> None:
    state.put_files(run.id, directory, [synced("x", etag="v1")])
    state.put_files(run.id, directory, [row("x", mtime=9, status=status, etag=None)], written=False)
    known = state.known_names(directory, ["x"])["x"]
    assert (known.etag, known.unfinished) == ("v1", True)
    state.put_files(run.id, directory, [synced("x", etag="v2")])
    known = state.known_names(directory, ["x"])["x"]
    assert (known.etag, known.unfinished) == ("v2", False)


@pytest.mark.parametrize(("change", "etag"), [({}, "v1"), ({"mode": 0o100600}, "v1"), ({"size": 5}, None),
                                              ({"mtime": 11}, None), ({"status": FileStatus.PENDING}, "v1"),
                                              ({"etag": "v2"}, "v2")])  # fmt: skip
def test_a_file_seen_in_sync_keeps_the_etag_of_its_version(
    state: State, run: Run, directory: int, change: dict[str, Any], etag: str | None
) -> None:
    state.put_files(run.id, directory, [synced("x", etag="v1")])
    state.put_files(run.id, directory, [row("x", **{"status": FileStatus.SYNCED, **change})], written=False)
    assert state.known_names(directory, ["x"])["x"].etag == etag
