"""What travels through the queue in a backup: how it is set up, groups of directories, and what became of them.

The form is that of `packing`: MessagePack into these types and nothing else. What a worker saved comes back as the
columns it was built in, so a directory of ten thousand files is some buffers and not ten thousand values.

Names, sizes, times and modes of files pass through the queue as they are, and so do ids of chunks. Content does not,
nor does any key: each worker opens the repository with a password of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from dunlin.backup.chunks import Segment, from_buffer, to_bytes
from dunlin.backup.pages import Part
from dunlin.backup.rows import Kept, Outcome
from dunlin.backup.save import Child, Saved
from dunlin.errors import DunlinError, ErrorKind
from dunlin.filters import Selection
from dunlin.model import FACTS, MTIME, Facts
from dunlin.workers import packing
from dunlin.workers.packing import PlainError, Side, plain_error, told_error
from dunlin.workers.savers import Member, Reply

FORMAT = 2
"""Of everything here; a worker leaves backups of another one alone."""

UNIT, RESULT = b"G", b"R"
_LARGEST = 1 << 63


class BackupSetup(NamedTuple):
    """What a worker needs to know of a backup before its first unit; stands on the queue's board.

    Attributes:
        version: `FORMAT`. dunlin: the version that coordinates.
        source: see `packing.Side`. repository: its place, without login; idle, total: see `stores.open.Far`.
        id: of the repository. tenant, share: whose snapshot it is.
        parent: manifest of the snapshot that it goes on from; empty: there is none.
        disk: where the coordinator's own `sync` reaches (`backup_task.disk_of`).
        accounts: of `queue.caps`, from which its bytes are drawn besides its own.
        selection, content, force, xattrs, attempts: see `savers.Asked`.
    """

    version: int
    dunlin: str
    source: Side
    repository: str
    id: str
    tenant: str
    share: str
    parent: bytes = b""
    disk: str = ""
    idle: float = 30.0
    total: float = 300.0
    accounts: tuple[str, ...] = ()
    selection: Selection = Selection()
    content: bool = True
    force: bool = False
    xattrs: bool = True
    attempts: int = 3


class Result(NamedTuple):
    """What became of a group.

    Attributes:
        replies: one for each directory that was saved; the others are to be handed out again. Parts of huge
            directories (`Saved.more`) are told before, in results of their own.
        places: of bundles and of packs, where the chunks lie that it counts on and that no stored index names.
        new_bytes, stored_bytes: of content, and of what was stored for it. packs: that were stored.
        error: what ended it before its time.
        seconds: that it took.
    """

    replies: list[Reply]
    places: tuple[Segment | None, Segment | None] = (None, None)
    new_bytes: int = 0
    stored_bytes: int = 0
    packs: int = 0
    error: DunlinError | None = None
    seconds: float = 0.0


_Fact = int | str | None
_Facts = tuple[_Fact, ...]
_Columns = dict[str, bytes]


class _Reply(NamedTuple):
    number: int
    same: bool
    children: list[tuple[bytes, _Facts, int, int]]
    gone: list[int]
    error: PlainError | None
    columns: tuple[bytes, ...] | None
    parts: list[tuple[int, int, int, _Columns | None]]
    counts: dict[str, int]
    errors: list[PlainError]
    part: _Columns | None
    unread: PlainError | None
    more: bool
    place: int


class _Result(NamedTuple):
    replies: list[_Reply]
    bundles: bytes
    packs: bytes
    new_bytes: int
    stored_bytes: int
    stored_packs: int
    error: PlainError | None
    seconds: float


_setup = msgspec.msgpack.Decoder(BackupSetup).decode
_members = msgspec.msgpack.Decoder(list[tuple[int, str, int, _Facts, int]]).decode
_result = msgspec.msgpack.Decoder(_Result).decode


def pack_setup(setup: BackupSetup) -> bytes:
    """For the board."""
    return packing.packed(packing.BACKUP, setup)


def unpack_setup(body: bytes) -> BackupSetup:
    """The reverse. Raises USAGE for another `FORMAT`, INTERNAL for what is none of ours."""
    return packing.unpacked_setup(body, packing.BACKUP, _setup, FORMAT, "a backup")


def pack_unit(group: Sequence[Member]) -> bytes:
    """A group of directories on its way to a worker."""
    return packing.packed(UNIT, [(*each[:3], _told(each[3]), each[4]) for each in group])


def unpack_unit(body: bytes) -> list[Member]:
    """The reverse. Raises INTERNAL."""

    def decode(data: Any) -> list[Member]:
        return [(number, path, node, _facts(facts), print_) for number, path, node, facts, print_ in _members(data)]

    found: list[Member] = packing.unpacked(body, UNIT, decode)
    return found


def pack_result(result: Result) -> bytes:
    """What became of a group, on its way back."""
    bundles, packs = (to_bytes(each) if each is not None else b"" for each in result.places)
    replies = [_of_reply(each) for each in result.replies]
    told = _Result(
        replies, bundles, packs, result.new_bytes, result.stored_bytes, result.packs, _of_error(result.error),
        result.seconds,
    )  # fmt: skip
    return packing.packed(RESULT, told)


def unpack_result(body: bytes) -> Result:
    """The reverse. Raises INTERNAL, and CORRUPT for an index that is none."""
    told: _Result = packing.unpacked(body, RESULT, _result)
    bundles, packs = (from_buffer(each, "from a worker") if each else None for each in (told.bundles, told.packs))
    try:
        replies, error = [_to_reply(each) for each in told.replies], _to_error(told.error)
    except ValueError as wrong:
        raise DunlinError("read from the queue", "", ErrorKind.INTERNAL, f"this is not ours: {wrong}") from wrong
    return Result(
        replies, (bundles, packs), told.new_bytes, told.stored_bytes, told.stored_packs, error, told.seconds
    )  # fmt: skip


def _of_reply(reply: Reply) -> _Reply:
    number, saved, part = reply
    outcome = saved.outcome
    children = [(each.name, _told(each.facts), each.print, each.node) for each in saved.children]
    return _Reply(
        number,
        saved.same,
        children,
        saved.gone,
        _of_error(saved.error),
        outcome.columns if outcome is not None else None,
        [_of_part(each) for each in outcome.parts] if outcome is not None else [],
        outcome.counts if outcome is not None else {},
        [plain_error(each) for each in outcome.errors] if outcome is not None else [],
        dict(part) if part is not None else None,
        _of_error(saved.unread),
        saved.more,
        saved.place,
    )


def _to_reply(told: _Reply) -> Reply:
    outcome = None
    if told.columns is not None:
        parts = [_to_part(*each) for each in told.parts]
        outcome = Outcome(told.columns, parts, told.counts, [told_error(each) for each in told.errors])
    children = [Child(name, _facts(facts), print_, node) for name, facts, print_, node in told.children]
    unread = _to_error(told.unread)
    saved = Saved(told.same, outcome, children, told.gone, _to_error(told.error), unread, told.more, told.place)
    return told.number, saved, told.part


def _of_part(part: Kept | tuple[int, Part]) -> tuple[int, int, int, _Columns | None]:
    return (*part, None) if isinstance(part, Kept) else (0, 0, part[0], dict(part[1]))


def _to_part(segment: int, row: int, rows: int, part: _Columns | None) -> Kept | tuple[int, Part]:
    return Kept(segment, row, rows) if part is None else (rows, part)


def _told(facts: Facts) -> Facts:
    """Facts that MessagePack can hold: a time beyond the year 2262 has more than 64 bits of nanoseconds."""
    time = facts[MTIME]
    if time is None or -_LARGEST <= time < _LARGEST:
        return facts
    return (*facts[:MTIME], str(time), *facts[MTIME + 1 :])


def _facts(told: _Facts) -> Facts:
    if len(told) < len(FACTS):
        raise ValueError("facts are missing")
    time = told[MTIME]
    return told if not isinstance(time, str) else (*told[:MTIME], int(time), *told[MTIME + 1 :])


def _of_error(error: DunlinError | None) -> PlainError | None:
    return None if error is None else plain_error(error)


def _to_error(told: PlainError | None) -> DunlinError | None:
    return None if told is None else told_error(told)
