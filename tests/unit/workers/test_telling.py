"""The news of a run, passed on."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from dunlin.errors import DunlinError, ErrorClass, ErrorKind
from dunlin.report import Level, NullReport, RecordingReport, Task
from dunlin.report.channel import ROOM
from dunlin.state.store import State
from dunlin.transfer.outcome import Outcome
from dunlin.workers import telling as tellings
from dunlin.workers.pool import Arrival
from dunlin.workers.telling import Telling


class Shown:
    """A task that remembers how far it is, and whether it ended."""

    def __init__(self) -> None:
        self.done = 0
        self.ended = 0

    def advance(self, amount: int) -> None:
        self.done += amount

    def end(self) -> None:
        self.ended += 1


class Showing(NullReport):
    def __init__(self) -> None:
        self.tasks: list[tuple[str, Shown]] = []

    def task(self, name: str, total: int | None) -> Task:
        shown = Shown()
        self.tasks.append((name, shown))
        return shown


def telling() -> tuple[Telling, Showing]:
    report = Showing()
    return Telling(report, lambda directory, outcome: None), report


def moving(mover: int, thread: int, name: str, done: int) -> Arrival:
    return Arrival("task", mover, (thread, name, 100, done))


def test_a_large_file_is_a_task_until_it_is_through() -> None:
    told, report = telling()
    for arrival in (moving(1, 7, "a", 0), moving(1, 7, "a", 30), moving(1, 8, "b", 5), moving(1, 7, "a", 90)):
        told.progress(arrival)
    told.progress(Arrival("end", 1, (7,)))
    told.progress(Arrival("end", 1, (9,)))  # shorter than the first message about it
    assert [(name, shown.done, shown.ended) for name, shown in report.tasks] == [("a", 90, 1), ("b", 5, 0)]


def test_the_files_of_a_mover_that_died_are_shown_no_longer() -> None:
    told, report = telling()
    for arrival in (moving(1, 7, "a", 10), moving(1, 8, "b", 10), moving(2, 7, "c", 10), Arrival("gone", 1, ())):
        told.progress(arrival)
    assert [(name, shown.ended) for name, shown in report.tasks] == [("a", 1), ("b", 1), ("c", 0)]
    told.progress(moving(3, 7, "a", 20))
    assert (report.tasks[3][0], report.tasks[3][1].done) == ("a", 20)


# ---- errors ----


def failing(kind: ErrorKind, names: Iterable[str], operation: str = "read") -> Outcome:
    outcome = Outcome()
    for name in names:
        outcome.fail(name, DunlinError(operation, f"d/{name}", kind, "no"), 2)
    return outcome


def recorded(state: State) -> tuple[Telling, RecordingReport, int]:
    run = state.begin_run(state.pair("file:///s", "file:///t", "x"), {}, "boot", 1).id
    report = RecordingReport()
    return Telling(report, lambda directory, outcome: None, state, run), report, run


def test_a_failure_is_told_once_and_put_on_record(state: State) -> None:
    told, report, run = recorded(state)
    told.outcome("d", failing(ErrorKind.DENIED, ["a"]))
    (event,) = report.events
    assert (event.level, event.name, event.message) == (Level.ERROR, "file.failed", "cannot read d/a: no")
    assert event.fields == {"path": "d/a", "kind": "denied", "attempt": 2, "operation": 1}
    (row,) = state.events()
    assert (row.run, row.name, row.path, row.kind, row.attempt) == (run, "file.failed", "d/a", ErrorKind.DENIED, 2)


def test_a_directory_that_failed_is_told_as_one(state: State) -> None:
    told, report, _ = recorded(state)
    told.outcome("d", failing(ErrorKind.IO, [""]))
    (event,) = report.events
    assert (event.name, event.fields["path"]) == ("directory.failed", "d")


@pytest.mark.parametrize("units", [1, 50])
def test_a_million_errors_make_as_many_lines_and_a_bounded_number_of_rows(
    state: State, monkeypatch: pytest.MonkeyPatch, units: int
) -> None:
    """Whether they come in one unit, for which the channel is too small, or in many."""
    monkeypatch.setattr(tellings, "DETAILED", 40)
    told, report, _ = recorded(state)
    total = 2_000
    for unit in range(units):
        told.outcome(f"d{unit}", failing(ErrorKind.DENIED, [f"f{n}" for n in range(total // units)]))
    told.outcome("e", failing(ErrorKind.TIMEOUT, ["x"]))
    told.event(Level.WARN, "other", "news of another name has room of its own")
    told.end()
    paths = {event.fields["path"] for event in report.named("file.failed")}
    assert len(paths) == len(report.named("file.failed")) == total + 1
    rows = state.events(limit=5_000)
    assert len(rows) == 42
    assert rows[-2].name == "other"
    assert rows[-1].name == "errors.counted"
    assert rows[-1].message.startswith("2,001 errors: 2,000 denied (d0/f0, d0/f1, d0/f2, ...), 1 timeout (e/x)")


def test_errors_of_one_unit_are_told_in_their_order_when_there_is_no_room_for_all(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tellings, "DETAILED", 2 * ROOM)
    told, report, _ = recorded(state)
    names = [f"f{n}" for n in range(ROOM + 5)]
    told.outcome("d", failing(ErrorKind.DENIED, names))
    assert [event.fields["path"] for event in report.named("file.failed")] == [f"d/{name}" for name in names]
    assert [row.path for row in state.events(limit=5_000)] == [f"d/{name}" for name in names]


def test_what_vanished_and_what_ended_the_run_is_counted(state: State) -> None:
    told, report, _ = recorded(state)
    for name in "ab":
        told.outcome("d", failing(ErrorKind.VANISHED, [name]))
        told.outcome("d", failing(ErrorKind.NO_SPACE, [name]))  # each unit under way meets it
    absent = Outcome()
    absent.tell(Level.DEBUG, "target.absent", "Expected error (404): d", path="d")
    told.outcome("d", absent)
    assert told.channel.counts == {
        (ErrorClass.EXPECTED, ErrorKind.NOT_FOUND): 1,
        (ErrorClass.EXPECTED, ErrorKind.VANISHED): 2,
        (ErrorClass.FATAL, ErrorKind.NO_SPACE): 1,
    }
    told.end()
    assert [event.name for event in report.events] == ["target.absent"]  # one error needs no sum


def test_a_state_that_fails_does_not_hide_the_sum(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    told, report, _ = recorded(state)
    told.outcome("d", failing(ErrorKind.DENIED, "ab"))

    def broken(*args: object) -> None:
        raise DunlinError("write", "state", ErrorKind.CORRUPT)

    monkeypatch.setattr(state, "put_event", broken)
    told.end()
    assert [event.message for event in report.named("errors.counted")] == ["2 errors: 2 denied (d/a, d/b)"]
