"""The news of a run, passed on."""

from __future__ import annotations

from dunlin.report import NullReport, Task
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
