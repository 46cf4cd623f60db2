"""Which news becomes a message, and how many of them."""

from __future__ import annotations

from typing import Any

import pytest

from dunlin.report import Event, Level
from dunlin.report.notify import EVENTS, SHOWN, Notice, Notices


class Told:
    """Notices with a clock that a test moves, and what they posted."""

    def __init__(self, *events: str, **options: float) -> None:
        self.now = 1_000.0
        self.posted: list[Notice] = []
        wanted = frozenset(events or EVENTS)
        clocks = {"clock": lambda: self.now, "now": lambda: self.now}
        self.notices = Notices(self.posted.append, wanted, "host", **clocks, **options)  # type: ignore[arg-type]

    def begins(self, pair: int = 1, cycle: int = 0) -> None:
        fields = {"pair": pair, "cycle": cycle, "source": "/from", "destination": "/to"}
        self.notices.event(Event(Level.INFO, "run.begins", "", fields))

    def ends(self, status: str = "completed", code: int = 0, message: str = "Sync ended", **fields: Any) -> None:
        level = Level.ERROR if status == "failed" else Level.INFO if code in (0, 3, 24) else Level.WARN
        told = {"status": status, "exit_code": code, **fields}
        self.notices.event(Event(level, "run.ended", message, told))

    def run(self, status: str = "completed", code: int = 0, pair: int = 1, cycle: int = 0, **fields: Any) -> None:
        self.begins(pair, cycle)
        self.ends(status, code, **fields)

    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.notices.look()

    @property
    def kinds(self) -> list[str]:
        return [notice.kind for notice in self.posted]


def test_a_failed_run() -> None:
    told = Told()
    told.begins()
    for number in range(SHOWN + 3):
        told.notices.event(Event(Level.ERROR, "file.failed", f"reason {number}", {"path": f"a/{number}\n"}))
    told.ends("completed", 23, "Sync completed (failed=8)")
    [notice] = told.posted
    assert (notice.kind, notice.subject) == ("failure", "dunlin on host: some files failed: /from -> /to")
    assert notice.text[0] == "Sync completed (failed=8)"
    assert notice.text[1] == "a/0\\n: reason 0"
    assert len(notice.text) == len(notice.fields["errors"]) + 1 == SHOWN + 1
    assert (notice.fields["exit_code"], notice.fields["source"], notice.fields["suppressed"]) == (23, "/from", 0)


@pytest.mark.parametrize(("status", "code", "kind", "words"), [
    ("failed", 2, "failure", "failed: "), ("failed", 1, "failure", "failed: "), ("completed", 25, "failure", "files"),
    ("completed", 0, "finish", "done: "), ("completed", 24, "finish", "done: "),
    ("interrupted", 130, "finish", "interrupted: "), ("completed", 3, "finish", "differences found: "),
])  # fmt: skip
def test_how_a_run_ended(status: str, code: int, kind: str, words: str) -> None:
    told = Told()
    told.run(status, code)
    assert told.kinds == [kind]
    assert words in told.posted[0].subject


@pytest.mark.parametrize("event", ["failure", "finish", "recovery"])
def test_only_what_was_asked_for(event: str) -> None:
    told = Told(event)
    told.run()
    told.run("failed", 2)
    told.run()
    told.passes(10_000)
    assert set(told.kinds) == {event}


def test_recovery_takes_the_place_of_the_end() -> None:
    told = Told(interval=0)
    told.run("failed", 2)
    told.run("completed", 23)
    told.run()
    told.run()
    assert told.kinds == ["failure", "failure", "recovery", "finish"]
    assert "well again after 2 failed runs" in told.posted[2].subject


def test_an_interrupted_run_is_no_recovery() -> None:
    told = Told(interval=0)
    told.run("failed", 2)
    told.run("interrupted", 130)
    told.run()
    assert told.kinds == ["failure", "finish", "recovery"]


def test_each_pair_recovers_for_itself() -> None:
    told = Told("recovery", interval=0)
    told.run("failed", 2, pair=1)
    told.run(pair=2)
    assert told.kinds == []
    told.run(pair=1)
    assert told.kinds == ["recovery"]


def test_a_failure_of_another_process_is_recovered_from() -> None:
    told = Told()
    told.begins()
    told.notices.event(Event(Level.INFO, "run.started", "", {"failed_before": True, "run": 7}))
    told.ends()
    assert told.kinds == ["recovery"]
    assert "a failed run" in told.posted[0].subject


def test_cycles_of_a_watch_that_found_nothing_are_no_news() -> None:
    told = Told(interval=0)
    told.run(cycle=1, idle=True)
    told.run(cycle=2, idle=True)
    told.run(cycle=3, idle=False)
    assert [notice.fields["cycle"] for notice in told.posted] == [1, 3]


# ---- rate ----


def test_one_of_a_kind_per_interval_and_the_rest_is_counted() -> None:
    told = Told("failure", interval=100)
    for _ in range(4):
        told.run("failed", 2)
        told.now += 10
    assert told.kinds == ["failure"]
    told.now += 100
    told.run("failed", 2)
    assert len(told.posted) == 2
    assert told.posted[1].fields["suppressed"] == 3
    assert "3 more messages of this kind were not sent" in told.posted[1].text[-1]
    told.notices.close()
    assert len(told.posted) == 2


def test_kinds_do_not_hold_each_other_back() -> None:
    told = Told(interval=1000)
    told.run("failed", 2)
    told.run()
    assert told.kinds == ["failure", "recovery"]


def test_what_was_kept_back_last_goes_out_at_the_end() -> None:
    told = Told("failure", interval=1000)
    for number in range(3):
        told.run("failed", 2, message=f"failure {number}")
    told.notices.close()
    assert [notice.text[0] for notice in told.posted] == ["failure 0", "failure 2"]
    assert told.posted[1].fields["suppressed"] == 1
    told.notices.close()
    assert len(told.posted) == 2


def test_what_was_kept_back_goes_out_when_the_interval_is_over() -> None:
    told = Told("failure", interval=100)
    for number in range(3):
        told.run("failed", 2, message=f"failure {number}")
    told.passes(99)
    assert len(told.posted) == 1
    told.passes(1)
    assert [notice.text[0] for notice in told.posted] == ["failure 0", "failure 2"]
    assert told.posted[1].fields["suppressed"] == 1
    told.run("failed", 2, message="failure 3")
    told.passes(99)
    assert len(told.posted) == 2  # the one that was late counts as sent now
    told.passes(1)
    assert len(told.posted) == 3
    told.notices.close()
    assert len(told.posted) == 3


def test_pairs_do_not_hold_each_other_back() -> None:
    told = Told(interval=1000)
    for pair in (1, 2, 1, 2):
        told.run("failed", 2, pair=pair)
    assert [(notice.kind, notice.fields["pair"]) for notice in told.posted] == [("failure", 1), ("failure", 2)]
    told.run(pair=1)
    told.notices.close()
    rest = [(notice.kind, notice.fields["pair"]) for notice in told.posted[2:]]
    assert rest == [("recovery", 1), ("failure", 2)]


def test_a_recovery_makes_failures_that_were_kept_back_old() -> None:
    told = Told(interval=1000)
    for _ in range(3):
        told.run("failed", 2)
    told.run()
    told.notices.close()
    assert told.kinds == ["failure", "recovery"]
    assert "after 3 failed runs" in told.posted[1].subject


# ---- standing still ----


def test_no_progress_is_told_once_and_its_end() -> None:
    told = Told("stalled", stalled_after=600)
    told.begins()
    told.passes(599)
    assert told.kinds == []
    told.passes(1)
    told.passes(600)
    assert told.kinds == ["stalled"]
    assert told.posted[0].subject == "dunlin on host: no progress for 10 minutes: /from -> /to"
    told.notices.count("scanned_files")
    told.passes(1)
    assert told.kinds == ["stalled", "resumed"]
    assert "goes on after 20 minutes" in told.posted[1].subject
    told.passes(600)
    assert told.kinds == ["stalled", "resumed", "stalled"]


@pytest.mark.parametrize("move", ["count", "task", "granted"])
def test_what_counts_as_progress(move: str) -> None:
    told = Told("stalled", stalled_after=600)
    told.begins()
    task = told.notices.task("large", 1 << 40)
    for number in range(10):
        told.passes(300)
        if move == "count":
            told.notices.count("equal_files", 5)
        elif move == "granted":
            told.notices.gauge("flying_bytes", float(number + 1))
        else:
            task.advance(1)
    assert told.kinds == []
    task.advance(0)
    told.notices.count("equal_files", 0)
    told.notices.gauge("pending_files", 7)
    told.notices.gauge("flying_bytes", 10.0 if move == "granted" else 0.0)
    told.passes(300)
    told.passes(600)
    assert told.kinds == ["stalled"]


def test_a_paused_run_and_no_run_do_not_stand_still() -> None:
    told = Told("stalled", stalled_after=600)
    told.passes(10_000)
    told.begins()
    told.notices.gauge("paused", 1.0)
    told.passes(10_000)
    told.notices.gauge("paused", 0.0)
    told.passes(599)
    assert told.kinds == []
    told.ends()
    told.passes(10_000)
    assert told.kinds == []


def test_a_run_that_ends_while_it_stands_still() -> None:
    told = Told("stalled", "failure", stalled_after=600)
    told.begins()
    told.passes(600)
    told.ends("failed", 2)
    told.begins()
    told.notices.count("copied_files")
    told.passes(1)
    assert told.kinds == ["stalled", "failure"]
