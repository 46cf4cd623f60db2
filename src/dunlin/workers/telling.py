"""The news of a run: to the report, to the audit log, and, what a person should know of, on record.

Errors come through a bounded channel (`report.channel`), and every one of them makes a line of the log. On record are
the first `DETAILED` of each name, in the order they came, and at the end one line that counts all of them by kind:
the events of other runs must not be pushed out by one bad disk. What failed stays on record with its file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from dunlin.errors import DunlinError, ErrorClass, ErrorKind, class_of, printable
from dunlin.model import join
from dunlin.report import Event, Level, Report, Task
from dunlin.report.channel import Channel, Trouble
from dunlin.state.store import State
from dunlin.transfer.outcome import Outcome
from dunlin.workers.doers import Arrival

DETAILED = 1_000
"""Rows that one run puts on record of events of one name."""


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
        self._rows: Counter[str] = Counter()
        self._fatal = False
        self.channel = Channel(self._at_once)
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
            elif name == "target.absent":
                self.channel.count(ErrorClass.EXPECTED, ErrorKind.NOT_FOUND, 1)
            self.event(Level(level), name, message, **fields, operation=self._operation)
        for name, value, message, attempts in outcome.failed:
            kind = ErrorKind(value)
            path = join(directory, name) if name else directory
            self.channel.offer(Trouble(class_of(kind), kind, path, message, attempts, self._operation, not name))
        if outcome.vanished:
            self.channel.count(ErrorClass.EXPECTED, ErrorKind.VANISHED, len(outcome.vanished))
        if outcome.fatal is not None and not self._fatal and outcome.fatal[0] != ErrorKind.INTERRUPTED.value:
            # Every unit that is under way meets it, and it is one error.
            self._fatal = True
            self.channel.count(ErrorClass.FATAL, ErrorKind(outcome.fatal[0]), 1)
        if outcome.failed:
            self._tell_kept()

    def _tell_kept(self) -> None:
        for trouble in self.channel.take():
            self._tell_one(trouble)

    def _at_once(self, trouble: Trouble) -> None:
        """One that found no room: those that came before it are told first, which makes room for those after it."""
        self._tell_kept()
        self._tell_one(trouble)

    def _tell_one(self, trouble: Trouble) -> None:
        event = _event_of(trouble)
        self.event(event.level, event.name, event.message, **event.fields)

    def end(self) -> None:
        """Tell how many errors of which kind there were, if there was more than one. Raises nothing."""
        total = self.channel.total()
        if total < 2:
            return
        kinds: Counter[str] = Counter()
        for (severity, kind), n in self.channel.counts.items():
            if severity is not ErrorClass.EXPECTED:
                kinds[kind.value] += n
        with suppress(DunlinError):  # a state that failed is told by others
            self.event(Level.WARN, "errors.counted", self.channel.summary(), errors=total, kinds=dict(kinds))

    def event(self, level: Level, name: str, message: str, **fields: object) -> None:
        """Tell one thing."""
        self.report.event(Event(level, name, message, dict(fields)))
        if level < Level.WARN or self._state is None:
            return
        self._rows[name] += 1
        if self._rows[name] > DETAILED:
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

    @property
    def flying(self) -> int:
        """Bytes of large files that are under way."""
        return sum(done for _, done in self._tasks.values())

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


def _event_of(trouble: Trouble) -> Event:
    name = "directory.failed" if trouble.directory else "file.failed"
    fields = {"path": trouble.path, "kind": trouble.kind.value, "attempt": trouble.attempt}
    return Event(Level.ERROR, name, trouble.message, fields | {"operation": trouble.operation})
