"""The rows of names that were joined."""

from __future__ import annotations

from typing import Any

from dunlin.errors import DunlinError, ErrorKind
from dunlin.state.codec import FileStatus
from dunlin.state.store import State
from dunlin.transfer.outcome import Outcome
from dunlin.workers.joined import put_joined

FILE, LINK = 0o100644, 0o120777


def copied(path: str, mode: int = FILE, digest: bytes | None = None) -> Any:
    return (path, 7, 8, 9, None, mode, 1, 2, digest)


class Run:
    def __init__(self, state: State) -> None:
        self.state = state
        self.pair = state.pair("file:///s", "file:///t", "x")
        self.run = state.begin_run(self.pair, {}, "boot", 1).id
        paths = ("", "d", "e")
        self.ids = dict(zip(paths, state.add_directories(self.run, [(path, 1) for path in paths]), strict=True))

    def put(self, outcome: Outcome, checksum: str | None = "blake3") -> Outcome:
        put_joined(self.state, self.pair.id, self.run, outcome, checksum)
        return outcome

    def rows(self, directory: str) -> dict[str, tuple[FileStatus, str | None, bytes | None]]:
        known = self.state.known_rows(self.ids[directory])
        return {row.name: (row.status, row.hash_algorithm, row.hash) for row in known}


def test_they_have_the_digest_of_the_first(state: State) -> None:
    run = Run(state)
    state.put_synced(run.run, run.ids["d"], [copied("a", digest=b"h")], "blake3")
    joined = [("d/a", True, copied("e/b")), ("d/a", False, copied("d/c")), ("x", True, copied("c"))]
    outcome = run.put(Outcome(joined=joined))
    assert run.rows("d") == dict.fromkeys("ac", (FileStatus.SYNCED, "blake3", b"h"))
    assert run.rows("e") == {"b": (FileStatus.SYNCED, "blake3", b"h")}
    assert run.rows("") == {"c": (FileStatus.SYNCED, None, None)}  # of a first that nobody knows
    assert [row[8] for _, _, row in outcome.joined] == [b"h", b"h", None]


def test_a_digest_of_another_kind_is_kept_but_not_told_as_this_one(state: State) -> None:
    run = Run(state)
    state.put_synced(run.run, run.ids["d"], [copied("a", digest=b"h")], "sha1")
    outcome = run.put(Outcome(joined=[("d/a", True, copied("d/b"))]))
    assert run.rows("d")["b"] == (FileStatus.SYNCED, "sha1", b"h")
    assert outcome.joined[0][2][8] is None


def test_a_copy_that_was_made_first_gives_its_digest(state: State) -> None:
    run = Run(state)
    run.put(Outcome(copied=[copied("d/b", digest=b"h")], joined=[("d/b", True, copied("e/c"))]))
    assert run.rows("d")["b"] == run.rows("e")["c"] == (FileStatus.SYNCED, "blake3", b"h")


def test_links_have_no_rows(state: State) -> None:
    run = Run(state)
    run.put(Outcome(joined=[("d/a", True, copied("d/l", LINK))]))
    assert run.rows("d") == {}


def test_what_failed_or_vanished_is_on_record_in_its_directory(state: State) -> None:
    run = Run(state)
    state.put_synced(run.run, run.ids["e"], [copied("gone")], None)
    outcome = Outcome(vanished=["e/gone"])
    outcome.fail("d/x", DunlinError("link", "d/x", ErrorKind.DENIED))
    outcome.fail("", DunlinError("link", "", ErrorKind.DENIED))
    run.put(outcome)
    assert {name: row[0] for name, row in run.rows("d").items()} == {"x": FileStatus.FAILED}
    assert run.rows("e") == run.rows("") == {}
