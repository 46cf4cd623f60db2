"""What travels in a backup over a queue: it comes out as it went in, and what is not ours is refused."""

from __future__ import annotations

import pytest

from dunlin.backup.chunks import Segment, build
from dunlin.backup.rows import Kept, Outcome
from dunlin.backup.save import Child, Saved
from dunlin.backup.words import Location
from dunlin.errors import DunlinError, ErrorKind
from dunlin.filters import Rule, Selection
from dunlin.model import Facts
from dunlin.workers import backup_wire as wire
from dunlin.workers import packing
from dunlin.workers.backup_wire import FORMAT, BackupSetup, Result
from dunlin.workers.packing import Side
from dunlin.workers.savers import Member, Reply

ODD = "d/not UTF-8 \udce9\n"
FACTS: Facts = (0o40755, 4096, 10**18 + 1, 0, 0, 10**18, 2, 64768, 2**63 + 5, 10**18, 0)
LATE: Facts = (*FACTS[:2], 2**63 * 50, *FACTS[3:8], "etag \udce9", None, None)
LARGEST = 2**64 - 1


def setup(**changes: object) -> BackupSetup:
    made = BackupSetup(
        FORMAT, "1", Side("loc://nas/x", 7, marks=(("", 7, 8), (ODD, 1, 2))), "loc://vault", "ab" * 16, "acme", "docs",
        b"manifest", selection=Selection((Rule(False, "/a\udce9*"),), frozenset({"x"}), max_depth=3),
    )  # fmt: skip
    return made._replace(**changes)  # type: ignore[arg-type]


def segment(*chunks: bytes) -> Segment:
    return build((chunk, Location(b"p" * 16, 512 * at, 100, 512)) for at, chunk in enumerate(chunks))


def test_a_setup_arrives_as_it_was_told() -> None:
    body = wire.pack_setup(setup())
    assert body[:1] == packing.BACKUP
    assert wire.unpack_setup(body) == setup()


def test_a_setup_of_another_version_is_refused_with_both_versions() -> None:
    with pytest.raises(DunlinError) as raised:
        wire.unpack_setup(wire.pack_setup(setup(version=FORMAT + 1, dunlin="9.9")))
    assert (raised.value.kind, "dunlin 9.9" in raised.value.reason) == (ErrorKind.USAGE, True)


@pytest.mark.parametrize("facts", [FACTS, LATE])
def test_a_group_arrives_with_any_name_and_any_time(facts: Facts) -> None:
    group: list[Member] = [(7, ODD, 0, facts, LARGEST), (8, "", 5, FACTS, 0)]
    assert wire.unpack_unit(wire.pack_unit(group)) == group


def test_a_result_arrives_whole() -> None:
    lost = DunlinError("read", ODD, ErrorKind.DENIED, "no", "ask")
    outcome = Outcome((b"ab", b"\1\0\0\0", b""), [Kept(0, 3, 4), (2, {"mode": b"1234", "chunks": b""})], {"files": 2},
                      [lost])  # fmt: skip
    saved = Saved(False, outcome, [Child(b"x\xe9", LATE, LARGEST, 9)], [4, 5])
    replies: list[Reply] = [
        (1, saved, {"mode": b"\0\1"}),
        (2, Saved(True, None, [], []), None),
        (3, Saved(error=DunlinError("list", "d", ErrorKind.NOT_FOUND, "gone")), None),
        (4, Saved(unread=lost, more=True, place=7), None),
    ]
    places = (segment(b"a" * 32, b"b" * 32), None)
    found = wire.unpack_result(wire.pack_result(Result(replies, places, 5, 4, 3, None, 1.5)))
    told = [(number, part) for number, _, part in found.replies]
    assert told == [(1, {"mode": b"\0\1"}), (2, None), (3, None), (4, None)]
    first, second, third, fourth = (reply[1] for reply in found.replies)
    assert first.outcome is not None
    assert first.outcome[:3] == outcome[:3]
    assert [str(error) for error in first.outcome.errors] == [str(lost)]
    assert (first.children, first.gone, first.same) == (saved.children, [4, 5], False)
    assert second.same
    assert second.outcome is None
    assert (str(fourth.unread), fourth.more, fourth.place) == (str(lost), True, 7)
    assert third.error is not None
    assert (third.error.kind, third.error.where) == (ErrorKind.NOT_FOUND, "d")
    assert found.places[0] is not None
    half = int.from_bytes(b"b" * 8)
    assert found.places[0].find(half, half) == Location(b"p" * 16, 512, 100, 512)
    assert (found.places[1], found[2:]) == (None, (5, 4, 3, None, 1.5))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"R",
        wire.pack_unit([]),
        packing.packed(wire.RESULT, [[], b"", b"", 0, 0, 0, ["read", "x", "no kind", "", ""], 0.0]),
        packing.packed(wire.RESULT, [[], b"", b"", 0, 0, 0]),
        packing.packed(wire.RESULT, [[[1, False, [[b"x", [1, 2], 0, 0]], [], None, None, [], {}, [], None, None, False,
                                       0]], b"", b"", 0, 0, 0, None, 0.0]),
    ],
)  # fmt: skip
def test_what_is_none_of_ours_is_refused(body: bytes) -> None:
    with pytest.raises(DunlinError) as raised:
        wire.unpack_result(body)
    assert raised.value.kind is ErrorKind.INTERNAL


def test_an_index_that_is_none_is_refused() -> None:
    with pytest.raises(DunlinError) as raised:
        wire.unpack_result(packing.packed(wire.RESULT, [[], b"no index", b"", 0, 0, 0, None, 0.0]))
    assert raised.value.kind is ErrorKind.CORRUPT
