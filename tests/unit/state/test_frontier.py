"""frontier: what is queued, handed out, finished, forgotten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.report import NullReport
from dunlin.state import DirectoryStatus, FileStatus, Pair, Queued, Run, State, Target
from tests.unit.state.rows import row, synced

DONE = DirectoryStatus.DONE


def test_directories_get_ids_in_order_and_keep_them(state: State, pair: Pair, run: Run) -> None:
    ids = state.add_directories(run.id, [("b", 1), ("a", 2), ("bad\udcff", 0)])
    assert len(set(ids)) == 3
    later = state.begin_run(pair, {}, "boot", 1)
    assert state.add_directories(later.id, [("bad\udcff", 0), ("a", 0), ("new", 0)])[:2] == [ids[2], ids[1]]
    assert state.directory_path(ids[2]) == "bad\udcff"
    with pytest.raises(KeyError):
        state.directory_path(12345)


def test_what_the_run_has_already_is_not_queued_once_more(state: State, run: Run) -> None:
    _, scanned, done, failed = state.add_directories(run.id, [(name, Target.PRESENT) for name in "abcd"])
    for number, status in ((scanned, DirectoryStatus.SCANNED), (done, DONE), (failed, DirectoryStatus.FAILED)):
        state.finish_directory(run.id, number, status)
    assert state.add_directories(run.id, [(name, Target.PRESENT) for name in "xabcd"])[1:] == [0, 0, 0, 0]
    assert [each.path for each in state.next_directories(run.id, 9)] == ["a", "x"]
    # What was through and is missing at the destination has been removed since.
    assert state.add_directories(run.id, [(name, Target.ABSENT) for name in "abcd"]) == [0, 0, done, failed]
    assert [each.path for each in state.next_directories(run.id, 9)] == ["a", "c", "d", "x"]


def test_next_directories_oldest_or_newest_without_those_held(state: State, run: Run) -> None:
    ids = state.add_directories(run.id, [(f"d{n}", Target.ABSENT) for n in range(10)])
    assert state.next_directories(run.id, 2) == [Queued(ids[n], f"d{n}", Target.ABSENT) for n in (0, 1)]
    held = set(ids[:7])
    assert [d.id for d in state.next_directories(run.id, 2, held)] == ids[7:9]
    assert [d.id for d in state.next_directories(run.id, 3, {ids[9]}, newest=True)] == [ids[8], ids[7], ids[6]]
    assert [d.id for d in state.next_directories(run.id, 99, held)] == ids[7:]
    assert state.next_directories(run.id, 5, set(ids)) == []


def test_handed_out_directories_stay_queued_until_they_are_finished(state: State, run: Run) -> None:
    root = state.start_frontier(run.id)
    assert [d.id for d in state.next_directories(run.id, 1)] == [root]
    assert [d.id for d in state.next_directories(run.id, 1)] == [root]
    state.finish_directory(run.id, root, DirectoryStatus.SCANNED)
    assert state.next_directories(run.id, 1) == []
    assert not state.finished(run.id)
    state.finish_directory(run.id, root, DONE)
    assert state.finished(run.id)


def test_digest_is_kept_over_runs_and_void_once_rows_change(state: State, pair: Pair, run: Run) -> None:
    (number,) = state.add_directories(run.id, [("a", 0)])
    state.put_files(run.id, number, [synced("x")])
    state.finish_directory(run.id, number, DONE, 99, b"digest")
    second = state.begin_run(pair, {}, "boot-1", 1)
    state.add_directories(second.id, [("a", 0)])
    known = state.digests(pair.id, ["nowhere", "a"])
    assert list(known) == ["a"]
    assert (known["a"].id, known["a"].digest, known["a"].ctime) == (number, b"digest", 99)
    state.put_files(second.id, number, [row("x", size=5)])
    assert state.digests(pair.id, ["a"])["a"].digest is None
    state.finish_directory(second.id, number, DONE, 99, b"digest")
    state.forget_missing(number, ["x"])
    assert state.digests(pair.id, ["a"])["a"].digest is None


def test_failed_directories_are_listed(state: State, run: Run) -> None:
    ids = state.add_directories(run.id, [("a", 0), ("b", 0)])
    state.finish_directory(run.id, ids[1], DirectoryStatus.FAILED)
    assert state.failed_directories(run.id) == [(ids[1], "b")]
    assert state.failed_directories(run.id, after=ids[1]) == []


def test_directories_that_no_run_of_the_chain_saw_are_forgotten(state: State, pair: Pair, run: Run) -> None:
    gone, stays = state.add_directories(run.id, [("gone", 0), ("stays", 0)])
    for number in (gone, stays):
        state.put_files(run.id, number, [synced("x")])
        state.finish_directory(run.id, number, DONE)
    first = state.begin_run(pair, {}, "boot-1", 1)
    state.add_directories(first.id, [("stays", 0)])
    state.finish_directory(first.id, stays, DONE)
    second = state.begin_run(pair, {}, "boot-1", 1, continues=first.id)
    assert state.forget_gone(pair.id, second.origin, batch=1) == 1
    assert list(state.digests(pair.id, ["gone", "stays"])) == ["stays"]
    assert list(state.known_rows(gone)) == []
    assert len(list(state.known_rows(stays))) == 1


def test_pairs_do_not_see_each_other(state: State, pair: Pair, run: Run) -> None:
    other = state.begin_run(state.pair("x", "y", ""), {}, "boot-1", 1)
    mine = state.add_directories(run.id, [("a", 0)])
    theirs = state.add_directories(other.id, [("a", 0)])
    assert mine != theirs
    assert [d.id for d in state.next_directories(run.id, 9)] == mine
    assert state.digests(pair.id, ["a"])["a"].id == mine[0]


part = st.sampled_from(["a", "a-b", "a.txt", "a0", "b", "é", "\udcff", "a\udc80"])


@given(st.sets(st.lists(part, min_size=1, max_size=3).map("/".join)), st.lists(part, max_size=2).map("/".join))
def test_subdirectories_are_the_direct_ones(paths: set[str], top: str) -> None:
    whole = {"/".join(path.split("/")[:n]) for path in paths for n in range(1, 4)} | {"", top}
    state = State.open(None, NullReport())
    run = state.begin_run(state.pair("s", "d", ""), {}, "", 1)
    state.add_directories(run.id, [(path, 0) for path in sorted(whole)])
    expected = {p.rpartition("/")[2] for p in whole if p and p.rpartition("/")[0] == top}
    found = [name for _, name in state.subdirectories(run.pair, top)]
    state.close()
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_scanned_directory_with_pending_files_is_not_finished(state: State, run: Run) -> None:
    (number,) = state.add_directories(run.id, [("a", 0)])
    state.put_files(run.id, number, [row("x", status=FileStatus.PENDING)])
    state.finish_directory(run.id, number, DirectoryStatus.SCANNED)
    assert not state.finished(run.id)
