"""Messages to people about jobs of the service that failed, and that went well again: those of `report.notify`.

Jobs go on side by side and end when they like, so each is told in one piece when it has ended for good: it begins, what
failed in it, it ends. What a pair is to `dunlin sync`, here is what a job is called in lists: its tenant, kind and
label. One that is paused, or queued again because the service stops, has not ended. Whether the job before it failed is
asked of the ledger where this process cannot know.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dunlin.jobs.outward import TICK, ways_of
from dunlin.report import Event, Level
from dunlin.report.notify import SHOWN, Notices
from dunlin.report.outbox import WAIT, Outboxes, Way
from dunlin.web.outcome import Done

if TYPE_CHECKING:
    from dunlin.jobs.outward import Options
    from dunlin.queue.ledger.words import Job


class Messages:
    """Sends them, from now until `close`. Safe from several threads.

    Args:
        options: where to, and about what. host: name of this machine.
        failed: whether the job before this one, of the same name, failed. log: takes what goes wrong with messages.
        ways: of sending; None: those of the options.
    """

    def __init__(
        self,
        options: Options,
        host: str,
        failed: Callable[[Job], bool],
        log: Callable[[Event], None],
        ways: Sequence[Way] | None = None,
    ) -> None:
        self._failed, self._log = failed, log
        self._boxes = Outboxes(ways_of(options) if ways is None else ways, TICK)
        self._notices = Notices(self._boxes.put, options.events, host, interval=options.interval)
        self._lock = threading.Lock()
        self._numbers: dict[tuple[str, str, str], int] = {}
        self._boxes.watch(self.look)

    def ended(self, job: Job, done: Done) -> None:
        """A job has ended."""
        label = f"{job.kind} {job.label}"
        failed = done.good and self._new(job) and self._failed(job)
        status = "interrupted" if done.status == "interrupted" else "completed" if done.good else "failed"
        with self._lock:
            number = self._numbers.setdefault((job.tenant, job.kind, job.label), len(self._numbers) + 1)
            about = {"pair": number, "label": label, "job": job.id, "tenant": job.tenant}
            self._notices.event(Event(Level.INFO, "run.begins", label, about))
            if failed:
                self._notices.event(Event(Level.INFO, "run.started", label, {**about, "failed_before": True}))
            for line in failures(done.result):
                self._notices.event(Event(Level.ERROR, "file.failed", line))
            level = Level.INFO if done.good else Level.WARN
            words = f"{label}: {done.message or status}"
            fields = {**about, "status": status, "exit_code": done.result.get("exit_code", 0 if done.good else 1)}
            self._notices.event(Event(level, "run.ended", words, fields))

    def _new(self, job: Job) -> bool:
        with self._lock:
            return (job.tenant, job.kind, job.label) not in self._numbers

    def look(self) -> None:
        """Send what was kept back long enough, and tell the log what could not be sent."""
        self._notices.look()
        for event in self._boxes.troubles():
            self._log(event)

    def close(self) -> None:
        """Send the last messages, within a few seconds."""
        self._boxes.rest()
        self._notices.close()
        for event in self._boxes.close(WAIT):
            self._log(event)


def failures(result: Mapping[str, Any]) -> list[str]:
    """What failed in a job, a line for each, the first few."""
    lines = [str(each.get("error", "")) for each in result.get("errors", ())]
    lines += [f"lost: {each.get('path')} (share {each.get('share')})" for each in result.get("lost", ())]
    return lines[:SHOWN]
