"""What travels through the queue between a coordinator and its workers: units, outcomes, the setup of a run.

Format: MessagePack (msgpack.org), decoded into the types of `tasks` and `transfer.outcome` and nothing else, so that
whatever else may write into the queue cannot make a worker run code, as `pickle` or `marshal` would let it.
A body begins with one byte that tells what it is (`BEGUN` and its like), then one that tells how names are spelled:
names that are not UTF-8 hold lone surrogates, which MessagePack has no place for. Where there is one, every text of the
body stands in the spelling of its bytes in Latin-1, which is valid text and can be taken back.

No body is larger than the queue takes: what is, is cut into pieces, the last of which has the first byte of the whole.
Before whatever a worker tells of a unit stand a zero, eight bytes of chance, which tell one doing of the unit from
another, and its place in all that this doing tells, four bytes, so that nothing is missed, mixed or counted twice
whatever becomes of the queue; only word of how far it is has neither (`PROGRESS`).
Nothing here is a secret: places are named, logins are each worker's own.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from dataclasses import fields
from types import GenericAlias
from typing import Any, NamedTuple, TypeVar, get_type_hints

import msgspec

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.window import WindowLimits
from dunlin.queue.base import PAYLOAD
from dunlin.state.codec import FileStatus
from dunlin.state.files import KnownFile
from dunlin.stores.base import Caps
from dunlin.transfer import Options
from dunlin.transfer.outcome import Outcome
from dunlin.workers import tasks
from dunlin.workers.context import Rules

FORMAT = 4
"""Of everything here; a worker leaves runs of another one alone."""

OUTCOME, FAULT, BEGUN, PIECE, PROGRESS = b"O", b"F", b"B", b"+", b"P"
"""What a body is: (a part of) an outcome, an exception that nobody expected, word that a unit is begun, a piece of a
larger body, how far large files are."""

UNIT, SETUP, ORDERS = b"U", b"S", b"o"
BACKUP, VERIFY = b"K", b"V"
"""The setup of a backup (`backup_wire`) and of a verification (`verify_wire`) begin with these."""

S = TypeVar("S", bound=NamedTuple)

PlainError = tuple[str, str, str, str, str]
"""An error as it travels: operation, where, kind, reason, hint."""

_STATUS = KnownFile._fields.index("status")
_PLAIN, _SPELLED = b"\0", b"\1"
_PLACED = b"\0"  # bytes of chance could begin like any body
_DOING, _PLACE = 8, 4
_ROOM = PAYLOAD - 1024


class Side(NamedTuple):
    """One side of a pair, for workers. `place`: a URL without login, or ``loc://NAME/PATH``.

    `inode`: of a local root, as the coordinator sees it; 0: of none. `marks`, `proof`: what it is known by besides
    (`workers.root`). The others as in `stores.open.Far`, where the side is an object store.
    """

    place: str
    inode: int = 0
    begin: str = ""
    markers: bool = False
    verify: bool = True
    page: int = 0
    idle: float = 30.0
    total: float = 300.0
    snapshot: str = ""
    marks: tuple[tuple[str, int, int], ...] = ()
    proof: str = ""


class SnapshotSide(NamedTuple):
    """The tree of a snapshot as the source of a run (`jobs.restore`), for workers, which open it themselves.

    Attributes:
        repository: its place, without login; idle, total: see `stores.open.Far`.
        id: of the repository. tenant, share: whose snapshot it is.
        manifest: of the snapshot, as it is stored; path: in it.
    """

    repository: str
    id: str
    tenant: str
    share: str
    manifest: bytes
    path: str = ""
    idle: float = 30.0
    total: float = 300.0


class RunSetup(NamedTuple):
    """What a worker needs to know of a run before its first unit; stands on the queue's board.

    Attributes:
        version: `FORMAT`. dunlin: the version that coordinates.
        source, target: the two sides; backup, backup_prefix: as in `setup.Setup`.
        options, rules, target_caps: as there.
        remembered: rows that the state remembers travel with the units.
        accounts: of `queue.caps`, from which its bytes are drawn besides its own.
        snapshot: the source, where that is the tree of one; None: `source` says all.
    """

    version: int
    dunlin: str
    source: Side
    target: Side
    options: Options
    rules: Rules
    target_caps: Caps
    backup: str = ""
    backup_prefix: str = ""
    remembered: bool = False
    window: WindowLimits = WindowLimits()
    accounts: tuple[str, ...] = ()
    snapshot: SnapshotSide | None = None


class Orders(NamedTuple):
    """What a run is told while it goes on. `rate`: bytes per second over all workers; 0: no limit."""

    rate: int = 0
    paused: bool = False
    stopped: bool = False


class Unit(NamedTuple):
    """A unit on its way. `announce`: tell before it is begun; `known`: what the state remembers of its directory."""

    task: tasks.Task
    announce: bool
    known: list[KnownFile]


_ROW: Any = GenericAlias(tuple, (str, *[int | None] * 7, bytes | None))
"""`transfer.outcome.Copied`; what a store does not tell of a file is None."""

_ROWS: Any = GenericAlias(list, (_ROW,))
_KNOWN: Any = GenericAlias(list, (GenericAlias(tuple, (str, *[Any] * 11)),))
_OUTCOME: Any = {
    **get_type_hints(Outcome),
    "counts": dict[str, int],
    "copied": _ROWS,
    "seen": _ROWS,
    "joined": GenericAlias(list, (GenericAlias(tuple, (str, bool, _ROW)),)),
}
_encode = msgspec.msgpack.Encoder().encode
_outcome = msgspec.msgpack.Decoder(GenericAlias(tuple, tuple(_OUTCOME.values()))).decode
_unit = msgspec.msgpack.Decoder(GenericAlias(tuple, (str, msgspec.Raw, bool, _KNOWN))).decode
_tasks = {name: msgspec.msgpack.Decoder(kind).decode for name, kind in tasks.KINDS.items()}
_setup = msgspec.msgpack.Decoder(RunSetup).decode
_orders = msgspec.msgpack.Decoder(Orders).decode
_texts = msgspec.msgpack.Decoder(list[str]).decode
_progress = msgspec.msgpack.Decoder(list[tuple[int, str, int, int]]).decode


def packed(kind: bytes, value: Any) -> bytes:
    """Plain values, named tuples and data classes as a body of that kind (one byte)."""
    try:
        return kind + _PLAIN + _encode(value)
    except UnicodeEncodeError:
        return kind + _SPELLED + _encode(_spelled(value, _to_latin))


def _spelled(value: Any, change: Any) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {_spelled(key, change): _spelled(each, change) for key, each in value.items()}
    if isinstance(value, tuple):
        parts = (_spelled(each, change) for each in value)
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return [_spelled(each, change) for each in value]
    if isinstance(value, frozenset):
        return frozenset(_spelled(each, change) for each in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(value, **{f.name: _spelled(getattr(value, f.name), change) for f in fields(value)})
    return value


def _to_latin(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _from_latin(text: str) -> str:
    return text.encode("latin-1").decode("utf-8", "surrogateescape")


def unpacked(body: bytes, kinds: bytes, decode: Any) -> Any:
    """The value in a body of one of those kinds. `decode`: makes it of MessagePack.

    Raises INTERNAL for what is none of ours.
    """
    try:
        if not body or body[0] not in kinds:
            raise TypeError("it is of another kind")
        value = decode(memoryview(body)[2:])
        return _spelled(value, _from_latin) if body[1:2] == _SPELLED else value
    except (msgspec.MsgspecError, UnicodeError, KeyError, TypeError, ValueError) as error:
        raise DunlinError("read from the queue", "", ErrorKind.INTERNAL, f"this is not ours: {error}") from error


def unpacked_setup(body: bytes, kind: bytes, read: Callable[[bytes], S], form: int, what: str) -> S:
    """The setup of a run: a named tuple that begins with the number of its form and the version that coordinates.

    Args:
        kind: its first byte. read: what decodes the rest. form: that this version speaks. what: the run, for people.

    Raises USAGE for another form, INTERNAL for what is none of ours.
    """

    def decode(data: Any) -> S:
        head = msgspec.msgpack.decode(data)
        if head[0] != form:
            reason = f"it is coordinated by dunlin {head[1]}, which speaks another format"
            hint = "use one version of dunlin everywhere"
            raise DunlinError(f"take part in {what}", "", ErrorKind.USAGE, reason, hint)
        return read(data)

    setup: S = unpacked(body, kind, decode)
    return setup


def plain_error(error: DunlinError) -> PlainError:
    """An error on its way."""
    return error.operation, error.where, error.kind.value, error.reason, error.hint


def told_error(told: PlainError) -> DunlinError:
    """The reverse. Raises INTERNAL for a kind that is none."""
    operation, where, kind, reason, hint = told
    try:
        return DunlinError(operation, where, ErrorKind(kind), reason, hint)
    except ValueError as wrong:
        raise DunlinError("read from the queue", "", ErrorKind.INTERNAL, f"this is not ours: {wrong}") from wrong


def new_doing() -> bytes:
    """What tells a doing of a unit from all others of it, also from those by the same worker."""
    return os.urandom(_DOING)


def placed(doing: bytes, place: int, body: bytes) -> bytes:
    """A body with its place, from 0, in what one doing (`new_doing`) of its unit tells."""
    return _PLACED + doing + place.to_bytes(_PLACE, "big") + body


def unplaced(body: bytes) -> tuple[bytes, int, bytes]:
    """The reverse: doing, place, body."""
    at = len(_PLACED) + _DOING
    start = at + _PLACE
    return body[len(_PLACED) : at], int.from_bytes(body[at:start], "big"), body[start:]


def pieces(body: bytes, most: int = _ROOM) -> Iterator[bytes]:
    """The body as the queue takes it: whole, or in pieces before its end."""
    while len(body) > most:
        yield PIECE + body[2 : most + 2]
        body = body[:2] + body[most + 2 :]
    yield body


class Joiner:
    """Puts bodies together again that came in pieces."""

    def __init__(self) -> None:
        self._begun: dict[object, list[bytes]] = {}

    def put(self, sender: object, body: bytes) -> bytes | None:
        """The whole body, once its end has come; None before."""
        if body[:1] == PIECE:
            self._begun.setdefault(sender, []).append(body[1:])
            return None
        begun = self._begun.pop(sender, None)
        return body if begun is None else body[:2] + b"".join(begun) + body[2:]

    def forget(self, sender: object) -> None:
        """Nothing more will come."""
        self._begun.pop(sender, None)


def pack_unit(unit: tuple[Any, ...], announce: bool, known: list[KnownFile]) -> bytes:
    """A unit as `tasks.pack` gives it. What makes it too large for the queue and can be had otherwise is left out."""
    body = packed(UNIT, (unit[0], unit[1:], announce, known))
    if len(body) > PAYLOAD:
        body = packed(UNIT, (unit[0], unit[1:], announce, []))
    if len(body) > PAYLOAD and unit[0] == "Scan":
        task = tasks.Scan(*unit[1:])._replace(listing=None, there=None)
        body = packed(UNIT, (unit[0], tuple(task), announce, []))
    return body


def unpack_unit(body: bytes) -> Unit:
    """The reverse. Raises INTERNAL."""

    def decode(data: Any) -> Unit:
        name, raw, announce, rows = _unit(data)
        known = [KnownFile(*row)._replace(status=FileStatus(row[_STATUS])) for row in rows]
        return Unit(_tasks[name](raw), announce, known)

    unit: Unit = unpacked(body, UNIT, decode)
    return unit


def pack_outcome(outcome: Outcome) -> bytes:
    """What became of a unit, or of a part of it."""
    return packed(OUTCOME, outcome.pack())


def unpack_outcome(body: bytes) -> Outcome:
    """The reverse. Raises INTERNAL."""
    return Outcome.unpack(unpacked(body, OUTCOME, _outcome))


def pack_texts(kind: bytes, *texts: str) -> bytes:
    """Some words: for `FAULT` the error and where it came from."""
    return packed(kind, list(texts))


def unpack_texts(body: bytes) -> list[str]:
    """The reverse. Raises INTERNAL."""
    found: list[str] = unpacked(body, FAULT + BEGUN, _texts)
    return found


def pack_progress(told: list[tuple[int, str, int, int]]) -> bytes:
    """(thread, path, bytes in all, bytes done; -1: it is through) of large files."""
    return packed(PROGRESS, told)


def unpack_progress(body: bytes) -> list[tuple[int, str, int, int]]:
    """The reverse. Raises INTERNAL."""
    found: list[tuple[int, str, int, int]] = unpacked(body, PROGRESS, _progress)
    return found


def pack_setup(setup: RunSetup) -> bytes:
    """For the board."""
    return packed(SETUP, setup)


def unpack_setup(body: bytes) -> RunSetup:
    """The reverse. Raises USAGE for another `FORMAT`, INTERNAL for what is none of ours."""
    return unpacked_setup(body, SETUP, _setup, FORMAT, "a run")


def pack_orders(orders: Orders) -> bytes:
    """For the board."""
    return packed(ORDERS, orders)


def unpack_orders(body: bytes) -> Orders:
    """The reverse. Raises INTERNAL."""
    orders: Orders = unpacked(body, ORDERS, _orders)
    return orders
