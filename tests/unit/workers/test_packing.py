"""What travels through the queue comes out as it went in, and nothing else is let in."""

from __future__ import annotations

import marshal
import pickle

import pytest

from dunlin import transfer
from dunlin.errors import DunlinError, ErrorKind
from dunlin.filters import Selection
from dunlin.filters.rules import Rule
from dunlin.model import Kind, facts
from dunlin.report import Level
from dunlin.state.codec import FileStatus
from dunlin.state.files import KnownFile
from dunlin.stores.base import Begun, Caps
from dunlin.transfer.outcome import Outcome, Range
from dunlin.workers import packing, tasks
from dunlin.workers.context import Rules
from dunlin.workers.packing import FAULT, FORMAT, PIECE, Joiner, Orders, RunSetup, Side
from dunlin.workers.tasks import Again, Begin, Bring, Complete, Delete, Finish, Join, Move, Scan, Unblock

ODD = "not UTF-8 \udce9\udcff, and ü"
KNOWN = KnownFile(ODD, 1, 2, None, 4, 5, 6, "etag", "blake3", b"\xff", FileStatus.SYNCED, 9)

BEGUN = Begun(ODD, 1 << 50, 5 << 20, ("tag",), "mark", 0o640, True)

UNITS = [
    Scan(ODD, 2, digest=b"\0\xff", sweep=("x",), listing=b"l", bookmark=(ODD, b"k")),
    Move("d", ((ODD, 1 << 60, 1, True), ("b", 0, 2, False)), True, ("dead",)),
    Finish(""),
    Delete("d", ((ODD, True), ("b", False)), True),
    Join("a", (ODD,), True),
    Unblock("d", ("a",)),
    Again("d", ("a", ODD)),
    Begin("d", ODD, True, "0badc0de-r1", ("0badc0de-r0",), True, ("dead",)),
    Bring("d", ODD, facts(Kind.FILE, 1 << 50, ident="etag"), BEGUN, 1 << 40, 1 << 26),
    Complete("d", ODD, True, facts(Kind.FILE, 7), BEGUN, (Range(0, 7, b"\xff", ("a", "b")), Range(7, 0, None, ()))),
]


def outcome() -> Outcome:
    made = Outcome()
    made.counts.update(copied_files=2, copied_bytes=1 << 50)
    made.copied.append((ODD, 1, -2, 3, None, 4, 5, 6, b"\xfe" * 32))
    made.seen.append(("an object", 1, None, 3, None, None, None, None, None))
    made.linked.append(("l", facts(Kind.FILE, 5), None))
    made.waiting.append((ODD, facts(Kind.FILE, 7), 1, True))
    made.subdirectories.append((ODD, 2))
    made.failed.append((ODD, "io", "broken", 3))
    made.joined.append(("a", True, ("b", 1, 2, 3, 4, 5, 6, 7, None)))
    made.bookmark = (ODD, b"\0")
    made.tell(Level.WARN, "n", "m", path=ODD, size=3)
    made.seconds = 0.25
    made.begun = facts(Kind.FILE, 9), (*BEGUN,)
    made.brought = (0, 1 << 26, b"\xfe", ("a", "b"))
    return made


def test_what_is_remembered_of_objects_lacks_what_they_lack() -> None:
    known = KnownFile("o", 1, 2, None, None, None, None, None, None, None, FileStatus.FAILED)
    packed = packing.pack_unit(tasks.pack(Finish("d")), False, [known])
    (found,) = packing.unpack_unit(packed).known
    assert found == known
    assert found.unfinished


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: type(unit).__name__)
def test_a_unit_comes_out_as_it_went_in(unit: tasks.Task) -> None:
    packed = packing.pack_unit(tasks.pack(unit), True, [KNOWN])
    assert packing.unpack_unit(packed) == (unit, True, [KNOWN])


def test_an_outcome_comes_out_as_it_went_in() -> None:
    made = outcome()
    found = packing.unpack_outcome(packing.pack_outcome(made))
    assert found == made
    assert isinstance(found.copied[0], tuple)  # rows are compared, and sliced, as tuples


def test_a_setup_comes_out_as_it_went_in() -> None:
    chosen = Selection(rules=(Rule(True, f"*{ODD}"),), files=frozenset({ODD}))
    setup = RunSetup(
        FORMAT,
        "1.0",
        Side("loc://nas/x", inode=1 << 63),
        Side("s3://bucket", begin="p", verify=False),
        transfer.Options(perms=True, groups=frozenset({1}), protected=chosen),
        Rules(selection=chosen, own=(f"/{ODD}",), roots=frozenset({(1, 2)}), run="0badc0de"),
        Caps(hashes=frozenset({"md5"})),
        remembered=True,
    )
    assert packing.unpack_setup(packing.pack_setup(setup)) == setup
    assert packing.unpack_orders(packing.pack_orders(Orders(5, True, False))) == Orders(5, True, False)


def test_another_format_is_refused_with_the_version_that_speaks_it() -> None:
    setup = RunSetup(FORMAT + 1, "9.9", Side("/a"), Side("/b"), transfer.Options(), Rules(), Caps())
    with pytest.raises(DunlinError) as raised:
        packing.unpack_setup(packing.pack_setup(setup))
    assert raised.value.kind is ErrorKind.USAGE
    assert "9.9" in str(raised.value)


@pytest.mark.parametrize(
    "body",
    [b"", b"O", b"O\0", b"O\0\xc1", b"U\0\x94\xa1X\x90\xc3\x90", pickle.dumps(1), marshal.dumps(1)],
)
def test_what_is_not_ours_is_an_error_and_nothing_else(body: bytes) -> None:
    for unpack in (packing.unpack_unit, packing.unpack_outcome, packing.unpack_setup, packing.unpack_texts):
        with pytest.raises(DunlinError) as raised:
            unpack(body)
        assert raised.value.kind is ErrorKind.INTERNAL


def test_a_large_body_travels_in_pieces_and_is_put_together() -> None:
    body = packing.pack_texts(FAULT, "x" * 5_000, ODD)
    sent = list(packing.pieces(body, 1_000))
    assert len(sent) == 6
    assert all(len(piece) <= 1_002 and piece[:1] == PIECE for piece in sent[:-1])
    joiner = Joiner()
    got = [joiner.put(1, piece) for piece in sent]
    assert got[:-1] == [None] * 5
    assert got[-1] == body
    assert packing.unpack_texts(got[-1]) == ["x" * 5_000, ODD]


def test_pieces_of_a_lost_unit_are_forgotten() -> None:
    joiner = Joiner()
    first, *_, last = packing.pieces(packing.pack_texts(FAULT, "x" * 500), 100)
    joiner.put(1, first)
    joiner.forget(1)
    assert joiner.put(1, last) == last


def test_what_makes_a_unit_too_large_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "PAYLOAD", 1_000)
    scan = Scan("d", listing=b"l" * 500, there=b"t" * 100)
    rows = [KNOWN] * 20
    assert packing.unpack_unit(packing.pack_unit(tasks.pack(scan), False, rows)) == (scan, False, [])
    large = scan._replace(listing=b"l" * 2_000)
    assert packing.unpack_unit(packing.pack_unit(tasks.pack(large), False, rows)).task == Scan("d")
