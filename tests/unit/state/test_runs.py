"""runs: pairs, runs, continuing, what a power cut left in doubt."""

from __future__ import annotations

import pytest

from dunlin.model import Stats
from dunlin.report import NullReport
from dunlin.state import DirectoryStatus, FileStatus, Pair, Run, State, Target
from tests.unit.state.rows import row, synced


def again(state: State, selection: str = "all") -> Pair:
    return state.pair("file:///source", "file:///destination", selection)


def test_pair_is_found_again_and_others_share_the_file(state: State, pair: Pair) -> None:
    other = state.pair("file:///source", "file:///elsewhere", "all")
    assert again(state).id == pair.id != other.id


def test_changed_selection_is_told_until_a_run_begins(state: State, pair: Pair, run: Run) -> None:
    assert not again(state).changed
    assert again(state, "*.c").changed
    assert again(state, "*.c").changed, "asking must not change the answer"
    state.begin_run(again(state, "*.c"), {}, "boot-1", 1)
    assert not again(state, "*.c").changed
    assert again(state).changed


def test_run_is_kept_with_its_options_counts_and_message(state: State, pair: Pair, clock: object) -> None:
    run = state.begin_run(pair, {"delete": True, "where": object}, "boot-1", 77)
    assert (run.status, run.pid, run.boot_id, run.options["delete"], run.ended) == ("running", 77, "boot-1", True, None)
    state.update_run(run.id, Stats(copied_files=1))
    assert state.run(run.id).stats == Stats(copied_files=1)
    assert [r.id for r in state.running()] == [run.id]
    state.finish_run(run.id, "failed", Stats(copied_files=3, seconds=1.5), "the disk is full")
    last = state.last_run(pair.id)
    assert last is not None
    assert (last.status, last.stats, last.message) == ("failed", Stats(copied_files=3, seconds=1.5), "the disk is full")
    assert last.ended is not None
    assert last.started < last.ended
    assert state.running() == []


def test_unknown_end_and_unknown_run(state: State, run: Run) -> None:
    with pytest.raises(ValueError, match="finished"):
        state.finish_run(run.id, "finished", Stats())
    with pytest.raises(KeyError):
        state.run(999)


def test_run_whose_process_died_becomes_interrupted_and_others_do_not(state: State, pair: Pair, run: Run) -> None:
    other = state.pair("file:///other", "file:///destination", "all")
    alive = state.begin_run(other, {}, "boot-1", 2)
    state.begin_run(pair, {}, "boot-1", 3)
    assert state.run(run.id).status == "interrupted"
    assert state.run(run.id).ended == state.run(run.id).updated
    assert state.run(alive.id).status == "running"


def test_run_numbers_are_never_used_twice(state: State, pair: Pair, run: Run) -> None:
    state.database.execute("DELETE FROM run")
    assert state.begin_run(pair, {}, "boot-1", 1).id == run.id + 1


def test_completed_run_counts_the_files_of_its_whole_chain(state: State, pair: Pair, run: Run) -> None:
    state.finish_run(run.id, "interrupted", Stats(scanned_files=30))
    unrelated = state.begin_run(state.pair("a", "b", ""), {}, "boot-1", 1)
    state.finish_run(unrelated.id, "completed", Stats(scanned_files=1000))
    second = state.begin_run(pair, {}, "boot-1", 1, continues=run.id)
    assert (second.origin, second.continued_from) == (run.id, run.id)
    assert again(state).known_files == 0
    state.finish_run(second.id, "completed", Stats(scanned_files=12))
    assert again(state).known_files == 42
    third = state.begin_run(pair, {}, "boot-1", 1)
    state.finish_run(third.id, "completed", Stats(scanned_files=7))
    assert again(state).known_files == 7


def test_unfinished_work_is_counted_and_taken_over(state: State, pair: Pair, run: Run) -> None:
    assert state.unfinished(pair.id) is not None
    root = state.start_frontier(run.id)
    listed, waiting, done = state.add_directories(run.id, [("a", 0), ("b", 0), ("c", 0)])
    state.put_files(run.id, listed, [row("x", size=10, status=FileStatus.PENDING), synced("y")])
    state.finish_directory(run.id, listed, DirectoryStatus.SCANNED)
    state.finish_directory(run.id, root, DirectoryStatus.DONE)
    state.finish_directory(run.id, done, DirectoryStatus.DONE)
    left = state.unfinished(pair.id)
    assert left is not None
    assert left.any
    assert (left.run, left.queued, left.scanned, left.pending_files, left.pending_bytes) == (run.id, 1, 1, 1, 10)

    second = state.begin_run(pair, {}, "boot-1", 1, continues=run.id)
    assert [d.id for d in state.next_directories(second.id, 10)] == [waiting]
    assert [p.name for p in state.pending(second.id)] == ["x"]
    assert state.pending(run.id) == []
    assert state.next_directories(run.id, 10) == []


def test_nothing_is_unfinished_without_a_run_or_after_a_completed_one(state: State, pair: Pair) -> None:
    assert state.unfinished(pair.id) is None
    run = state.begin_run(pair, {}, "boot-1", 1)
    state.finish_run(run.id, "completed", Stats())
    assert state.unfinished(pair.id) is None


def test_what_no_flush_covers_is_doubted_after_a_reboot(state: State, pair: Pair, run: Run) -> None:
    safe, lost, equal = state.add_directories(run.id, [("safe", 0), ("lost", 0), ("equal", 0)])
    state.put_files(run.id, safe, [synced("a")])
    state.finish_directory(run.id, safe, DirectoryStatus.DONE, 1, b"digest")
    early = state.now()
    state.put_files(run.id, lost, [synced("old")])
    state.set_durable(pair.id, early)
    state.put_files(run.id, lost, [synced("new"), row("waits", status=FileStatus.PENDING)])
    state.put_files(run.id, equal, [synced("same")], written=False)
    state.finish_directory(run.id, lost, DirectoryStatus.DONE, 1, b"digest")
    assert state.suspects(pair.id) == []

    same = state.begin_run(pair, {}, "boot-1", 1, continues=run.id)
    assert state.suspects(pair.id) == []
    state.begin_run(pair, {}, "boot-2", 1, continues=same.id)
    assert state.suspects(pair.id) == [(lost, "lost")]
    assert list(state.suspect_files(lost)) == ["new", "old"]
    known = state.digests(pair.id, ["safe", "lost"])
    assert known["safe"].digest == b"digest"
    assert (known["lost"].digest, known["lost"].doubtful) == (None, True)


def test_doubt_survives_a_second_run_and_its_flush_until_the_directory_is_done(
    state: State, pair: Pair, run: Run
) -> None:
    (lost,) = state.add_directories(run.id, [("lost", 0)])
    state.put_files(run.id, lost, [synced("a")])
    second = state.begin_run(pair, {}, "boot-2", 1)
    state.set_durable(pair.id, state.now())  # a flush of this boot does not bring back what the other lost
    third = state.begin_run(pair, {}, "boot-2", 1)
    state.add_directories(third.id, [("lost", 0)])
    assert state.suspects(pair.id) == [(lost, "lost")]
    state.finish_directory(second.id, lost, DirectoryStatus.FAILED)
    assert state.suspects(pair.id) == [(lost, "lost")]
    state.finish_directory(third.id, lost, DirectoryStatus.DONE)
    assert state.suspects(pair.id) == []


def test_flush_never_becomes_less_durable(state: State, pair: Pair) -> None:
    state.set_durable(pair.id, 50)
    state.set_durable(pair.id, 20)
    assert again(state).durable_before == 50


def test_suspects_come_in_pages(state: State, pair: Pair, run: Run) -> None:
    ids = state.add_directories(run.id, [(f"d{n}", Target.UNKNOWN) for n in range(5)])
    for number in ids:
        state.put_files(run.id, number, [synced("a")])
    state.begin_run(pair, {}, "boot-2", 1)
    first = state.suspects(pair.id, limit=3)
    assert [*first, *state.suspects(pair.id, after=first[-1][0], limit=3)] == [(i, f"d{n}") for n, i in enumerate(ids)]


def test_root_and_token(state: State, pair: Pair) -> None:
    assert pair.root is None
    state.set_root(pair.id, "8:1")
    assert again(state).root == "8:1"
    assert state.token(pair.id, "p/") is None
    state.set_token(pair.id, "p/", "next-page", 5000)
    state.set_token(pair.id, "p/", None, 9000)
    found = state.token(pair.id, "p/")
    assert found is not None
    assert (found[0], found[2]) == (None, 9000)


def test_clock_set_back_never_reorders(path: str) -> None:
    times = iter([100, 200, 50, 60])
    state = State.open(path, NullReport(), clock=lambda: next(times))
    given = [state.now() for _ in range(3)]
    assert given == [100, 200, 201]
    with state.transaction():
        pass
    state.close()
    state = State.open(path, NullReport(), clock=lambda: 60)
    assert state.now() == 202
    state.close()
