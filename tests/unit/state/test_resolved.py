"""resolved: errors that no longer hold, or for which a newer one stands, are marked at the end of a run."""

from __future__ import annotations

from dunlin.errors import ErrorKind
from dunlin.state import DirectoryStatus, FileStatus, Pair, Run, State, Target
from dunlin.state.resolved import resolve_errors
from tests.unit.state.rows import row, synced


def open_errors(state: State) -> list[tuple[int | None, str | None]]:
    return [(event.run, event.path) for event in state.events() if not event.resolved]


def failed(name: str) -> tuple[object, ...]:
    return row(name, status=FileStatus.FAILED, error="x", error_kind="denied")


def test_what_becomes_of_errors(state: State, pair: Pair, run: Run) -> None:
    root, sub = state.add_directories(run.id, [("", Target.UNKNOWN), ("sub", Target.UNKNOWN)])
    for path in ("mended", "again", "gone", "unseen", "sub/mended", "sub/unseen"):
        state.put_event(run.id, 40, "file.failed", "x", path, ErrorKind.DENIED)
    state.put_event(run.id, 40, "directory.failed", "x", "sub", ErrorKind.DENIED)
    state.put_event(run.id, 40, "directory.failed", "x", "closed", ErrorKind.DENIED)
    state.put_event(run.id, 40, "state.lost", "about no file")
    state.put_files(run.id, root, [failed(name) for name in ("mended", "again", "unseen")])
    state.put_files(run.id, sub, [failed("unseen")])

    later = state.begin_run(pair, {}, "boot-1", 1)
    (closed,) = state.add_directories(later.id, [("closed", Target.UNKNOWN)])
    state.finish_directory(later.id, closed, DirectoryStatus.FAILED)
    state.finish_directory(later.id, sub, DirectoryStatus.DONE)
    state.put_files(later.id, root, [synced("mended"), failed("again")])
    state.put_files(later.id, sub, [synced("mended")])
    state.put_event(later.id, 40, "file.failed", "x", "again", ErrorKind.DENIED)
    assert resolve_errors(state, pair.id, later.id) == 5
    assert open_errors(state) == [
        (run.id, "unseen"), (run.id, "sub/unseen"), (run.id, "closed"), (run.id, None), (later.id, "again"),
    ]  # fmt: skip
    assert resolve_errors(state, pair.id, later.id) == 0


def test_errors_of_another_pair_and_of_this_run_are_left_alone(state: State, pair: Pair, run: Run) -> None:
    other = state.begin_run(state.pair("file:///x", "file:///y", "all"), {}, "boot-1", 1)
    state.put_event(run.id, 40, "file.failed", "x", "p")
    state.put_event(other.id, 40, "file.failed", "x", "p")
    assert resolve_errors(state, other.pair, other.id) == 0
    assert len(open_errors(state)) == 2
