"""Outcomes: what counts as what, and their way through a pipe."""

from __future__ import annotations

import marshal
from collections import Counter

import pytest

from dunlin.errors import FATAL, DunlinError, ErrorKind
from dunlin.model import Kind, Stats, facts
from dunlin.report import Level
from dunlin.transfer.outcome import Outcome, Presence, fatal_error


def full() -> Outcome:
    what = facts(Kind.FILE, 1, 2)
    outcome = Outcome(
        counts=Counter(copied_files=2),
        copied=[("a\udcff", 1, 2, 3, None, 4, 5, 6, b"\0")],
        etags={"a\udcff": "v1"},
        seen=[("b", 1, 2, 3, 4, 4, 5, 6, None)],
        waiting=[("c", what, 1, True)],
        linked=[("d", what, None)],
        joined=[("d", True, ("dd", 1, 2, 3, None, 4, 5, 6, None))],
        subdirectories=[("e", int(Presence.SOURCE))],
        below={"e": b"listing"},
        below_target={"e": b"other"},
        extras=[("f", True)],
        blocked=["ff"],
        refused={"owner": "no"},
        bookmark=("token", b"key"),
        listed=True,
        digest=b"digest",
        recorded=True,
        complete=True,
        unfinished=True,
        seconds=1.5,
        cpu=0.5,
        waited=0.25,
        begun=(what, ("id", 1, 1, ("tag",), "mark", None, False)),
        brought=(0, 1, b"digest", ("tag",)),
    )
    outcome.fail("g", DunlinError("read", "g", ErrorKind.IO, "bad"), 3)
    outcome.vanish("h")
    outcome.end(DunlinError("write", "i", ErrorKind.NO_SPACE, "full", "make room"))
    outcome.tell(Level.WARN, "file.retry", "again", path="i", attempt=2)
    return outcome


@pytest.mark.parametrize("outcome", [Outcome(), full()])
def test_an_outcome_survives_the_pipe(outcome: Outcome) -> None:
    packed = marshal.loads(marshal.dumps(outcome.pack(), 2))
    assert Outcome.unpack(packed) == outcome
    assert isinstance(Outcome.unpack(packed).counts, Counter)


def test_every_field_of_the_full_outcome_is_filled() -> None:
    empty = Outcome()
    assert [name for name in Outcome.__slots__ if getattr(full(), name) == getattr(empty, name)] == []


def test_what_became_of_one_directory_is_taken_in_by_path() -> None:
    outcome, part = Outcome(), full()
    outcome.take_in(part, "dir")
    assert [row[0] for row in outcome.copied + outcome.seen] == ["dir/a\udcff", "dir/b"]
    assert [row[1:] for row in outcome.copied] == [row[1:] for row in part.copied]
    assert [failure[0] for failure in outcome.failed] == ["dir/g"]
    assert outcome.vanished == ["dir/h"]
    assert (outcome.counts, outcome.news, outcome.refused, outcome.fatal) == (
        part.counts, part.news, part.refused, part.fatal
    )  # fmt: skip
    assert outcome.waiting == []


def test_a_fatal_error_survives_the_pipe() -> None:
    packed = full().fatal
    assert packed is not None
    error = fatal_error(packed)
    assert error.kind is ErrorKind.NO_SPACE
    assert str(error) == "cannot write i: full; make room"


def test_a_failure_is_counted_where_it_is_told_to_be() -> None:
    outcome = Outcome()
    outcome.fail("a", DunlinError("write", "a", ErrorKind.DENIED, "no"))
    outcome.fail("d", DunlinError("list", "d", ErrorKind.IO, "no"), count="failed_directories", source=True)
    assert outcome.counts == {"failed_files": 1, "failed_directories": 1, "source_errors": 1}
    assert outcome.failed == [("a", "denied", "cannot write a: no", 1), ("d", "io", "cannot list d: no", 1)]


@pytest.mark.parametrize(
    ("operation", "kind", "errors"),
    [
        ("read", ErrorKind.DENIED, 1),
        ("read", ErrorKind.IO, 1),
        ("look at", ErrorKind.TIMEOUT, 1),
        ("read", ErrorKind.CHANGED, 0),
        ("read", ErrorKind.VANISHED, 0),
        ("write", ErrorKind.DENIED, 0),
    ],
)
def test_what_could_not_be_seen_is_a_source_error(operation: str, kind: ErrorKind, errors: int) -> None:
    outcome = Outcome()
    outcome.fail("a", DunlinError(operation, "a", kind))
    assert outcome.counts["source_errors"] == errors


def test_a_vanished_file_is_no_failure() -> None:
    outcome = Outcome()
    outcome.fail("a", DunlinError("read", "a", ErrorKind.VANISHED))
    assert outcome.vanished == ["a"]
    assert outcome.failed == []
    assert outcome.counts == {"vanished_files": 1}


@pytest.mark.parametrize("kind", sorted(FATAL, key=lambda kind: kind.value))
def test_a_fatal_error_is_the_runs_and_the_first_is_kept(kind: ErrorKind) -> None:
    outcome = Outcome()
    outcome.fail("a", DunlinError("write", "a", kind, "first"))
    outcome.fail("b", DunlinError("write", "b", kind, "second"))
    assert outcome.fatal == (kind.value, "write", "a", "first", "")
    assert outcome.failed == []


def test_counts_are_fields_of_stats() -> None:
    outcome = full()
    stats = Stats()
    stats.add(outcome.counts)
    assert (stats.copied_files, stats.failed_files, stats.vanished_files, stats.source_errors) == (2, 1, 1, 1)
