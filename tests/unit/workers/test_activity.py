"""activity: some files by name, all of them by number."""

from __future__ import annotations

from typing import Any

from dunlin.report import Level
from dunlin.transfer.outcome import Outcome
from dunlin.workers.activity import Activity, Done


def copied(*names: str, size: int = 3) -> Outcome:
    outcome = Outcome()
    outcome.copied = [(name, size, 0, 0, None, 0, 0, 0, None) for name in names]
    outcome.counts.update({"copied_files": len(names), "copied_bytes": size * len(names)})
    return outcome


def test_few_files_are_named_and_nothing_is_left_over() -> None:
    activity = Activity()
    activity.take("d", copied("a", "b\udcff"))
    assert activity.give() == [Done("file.copied", "d/a", 3), Done("file.copied", "d/b\udcff", 3)]
    assert activity.give() == []


def test_many_files_are_counted_to_the_last() -> None:
    activity = Activity(most=4)
    for n in range(50):
        activity.take(f"d{n}", copied(*(f"f{i:03}" for i in range(100))))
    rows = activity.give()
    assert len(rows) == 5
    assert rows[0] == Done("files.more", "", (5000 - 4) * 3, 5000 - 4)
    assert {row.name for row in rows[1:]} == {"file.copied"}
    activity.take("", copied("later"))
    assert activity.give() == [Done("file.copied", "later", 3)]


def test_deletions_are_named_and_counted_apart() -> None:
    activity = Activity(most=2)
    outcome = copied("a")
    outcome.counts["deleted_files"] = 3
    for path in ("x", "y", "z"):
        outcome.tell(Level.INFO, "file.deleted", path, path=path)
    activity.take("", outcome)
    rows = activity.give()
    assert [row for row in rows if row.path] == [Done("file.deleted", "y", None), Done("file.deleted", "z", None)]
    assert rows[:2] == [Done("files.more", "", 3, 1), Done("files.more_deleted", "", None, 1)]


def test_files_that_are_only_looked_at_are_no_activity() -> None:
    activity = Activity()
    outcome = Outcome()
    outcome.counts.update({"scanned_files": 5, "equal_files": 5})
    activity.take("d", outcome)
    assert activity.give() == []


def test_once_there_is_no_room_names_are_not_even_read() -> None:
    class Unread(list[Any]):
        def __getitem__(self, at: Any) -> Any:
            raise AssertionError("read")

    activity = Activity(most=1)
    activity.take("d", copied("a"))
    outcome = copied("b")
    outcome.copied = Unread(outcome.copied)
    activity.take("d", outcome)
    assert [row.number for row in activity.give()] == [1, 1]
