"""The news of a run: to the report, to the audit log, and, what a person should know of, on record."""

from __future__ import annotations

from collections.abc import Callable

from dunlin.errors import ErrorKind, printable
from dunlin.model import join
from dunlin.report import Event, Level, Report, Task
from dunlin.state.store import State
from dunlin.transfer.outcome import Outcome
from dunlin.workers.pool import Arrival


class Telling:
    """Passes news on.

    Args:
        report: gets every event, and a task for each large file that is being moved.
        audit: gets the outcome of every unit, with the unit's directory.
        state, run: where warnings and errors are put on record; None: nowhere.
    """

    def __init__(
        self, report: Report, audit: Callable[[str, Outcome], None], state: State | None = None, run: int = 0
    ) -> None:
        self.report = report
        self._audit = audit
        self._state = state
        self._run = run
        self._operation = 0
        self._refused: set[str] = set()
        self._tasks: dict[tuple[int, int], tuple[Task, int]] = {}

    def outcome(self, directory: str, outcome: Outcome) -> None:
        """Tell what became of the files of one unit; `operation` ties its lines together, in the audit log as well."""
        self._operation += 1
        self._audit(directory, outcome)
        for level, name, message, fields in outcome.news:
            if name == "metadata.refused":
                if fields["what"] in self._refused:
                    continue  # another mover told it
                self._refused.add(fields["what"])
            self.event(Level(level), name, message, **fields, operation=self._operation)
        for name, kind, message, attempts in outcome.failed:
            path = join(directory, name) if name else directory
            told = {"path": path, "kind": kind, "attempt": attempts, "operation": self._operation}
            self.event(Level.ERROR, "file.failed", message, **told)

    def event(self, level: Level, name: str, message: str, **fields: object) -> None:
        """Tell one thing."""
        self.report.event(Event(level, name, message, dict(fields)))
        if level < Level.WARN or self._state is None:
            return
        path, kind, attempt = fields.get("path"), fields.get("kind"), fields.get("attempt")
        self._state.put_event(
            self._run,
            int(level),
            name,
            printable(message),
            str(path) if path is not None else None,
            ErrorKind(kind) if kind else None,
            attempt if isinstance(attempt, int) else 0,
        )

    def progress(self, arrival: Arrival) -> None:
        """How far a mover is with a large file ("task"), that it is through ("end"), or that the mover is "gone"."""
        if arrival.kind == "gone":
            for key in [key for key in self._tasks if key[0] == arrival.unit]:
                self._tasks.pop(key)[0].end()
            return
        if arrival.kind == "end":
            shown = self._tasks.pop((arrival.unit, arrival.body[0]), None)
            if shown:
                shown[0].end()
            return
        thread, path, total, done = arrival.body
        key = (arrival.unit, thread)
        if key not in self._tasks:
            self._tasks[key] = (self.report.task(path, total), 0)
        task, before = self._tasks[key]
        task.advance(done - before)
        self._tasks[key] = (task, done)
