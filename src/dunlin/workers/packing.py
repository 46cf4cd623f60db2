"""What travels through the queue between a coordinator and its workers: units, outcomes, the setup of a run.

Format: MessagePack (msgpack.org), decoded into the types of `tasks` and `transfer.outcome` and nothing else, so that
whatever else may write into the queue cannot make a worker run code, as `pickle` or `marshal` would let it.
A body begins with one byte that tells what it is (`BEGUN` and its like), then one that tells how names are spelled:
names that are not UTF-8 hold lone surrogates, which MessagePack has no place for. Where there is one, every text of the
body stands in the spelling of its bytes in Latin-1, which is valid text and can be taken back.

No body is larger than the queue takes: what is, is cut into pieces, the last of which has the first byte of the whole.
Nothing here is a secret: places are named, logins are each worker's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import fields
from types import GenericAlias
from typing import Any, NamedTuple, get_type_hints

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

FORMAT = 1
"""Of everything here; a worker leaves runs of another one alone."""

OUTCOME, FAULT, BEGUN, PIECE, PROGRESS = b"O", b"F", b"B", b"+", b"P"
"""What a body is: (a part of) an outcome, an exception that nobody expected, word that a unit is begun, a piece of a
larger body, how far large files are."""

UNIT, SETUP, ORDERS = b"U", b"S", b"o"
_STATUS = KnownFile._fields.index("status")
_PLAIN, _SPELLED = b"\0", b"\1"
_ROOM = PAYLOAD - 1024


class Side(NamedTuple):
    """One side of a pair, for workers. `place`: a URL without login, or ``loc://NAME/PATH``.

    `inode`: of a local root, as the coordinator sees it; 0: of none. The others as in `stores.open.Far`, where the side
    is an object store.
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


class RunSetup(NamedTuple):
    """What a worker needs to know of a run before its first unit; stands on the queue's board.

    Attributes:
        version: `FORMAT`. dunlin: the version that coordinates.
        source, target: the two sides; backup, backup_prefix: as in `setup.Setup`.
        options, rules, target_caps: as there.
        remembered: rows that the state remembers travel with the units.
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
_texts = msgspec.msgpack.Decoder(list[str]).decode
_progress = msgspec.msgpack.Decoder(list[tuple[int, str, int, int]]).decode


def _packed(kind: bytes, value: Any) -> bytes:
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


def _read(body: bytes, kinds: bytes, decode: Any) -> Any:
    """The value in a body of one of those kinds. Raises INTERNAL for what is none of ours."""
    try:
        if not body or body[0] not in kinds:
            raise TypeError("it is of another kind")
        value = decode(memoryview(body)[2:])
        return _spelled(value, _from_latin) if body[1:2] == _SPELLED else value
    except (msgspec.MsgspecError, UnicodeError, KeyError, TypeError, ValueError) as error:
        raise DunlinError("read from the queue", "", ErrorKind.INTERNAL, f"this is not ours: {error}") from error


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


def pack_unit(packed: tuple[Any, ...], announce: bool, known: list[KnownFile]) -> bytes:
    """A unit as `tasks.pack` gives it. What makes it too large for the queue and can be had otherwise is left out."""
    body = _packed(UNIT, (packed[0], packed[1:], announce, known))
    if len(body) > PAYLOAD:
        body = _packed(UNIT, (packed[0], packed[1:], announce, []))
    if len(body) > PAYLOAD and packed[0] == "Scan":
        task = tasks.Scan(*packed[1:])._replace(listing=None, there=None)
        body = _packed(UNIT, (packed[0], tuple(task), announce, []))
    return body


def unpack_unit(body: bytes) -> Unit:
    """The reverse. Raises INTERNAL."""

    def decode(data: Any) -> Unit:
        name, raw, announce, rows = _unit(data)
        known = [KnownFile(*row)._replace(status=FileStatus(row[_STATUS])) for row in rows]
        return Unit(_tasks[name](raw), announce, known)

    unit: Unit = _read(body, UNIT, decode)
    return unit


def pack_outcome(outcome: Outcome) -> bytes:
    """What became of a unit, or of a part of it."""
    return _packed(OUTCOME, outcome.pack())


def unpack_outcome(body: bytes) -> Outcome:
    """The reverse. Raises INTERNAL."""
    return Outcome.unpack(_read(body, OUTCOME, _outcome))


def pack_texts(kind: bytes, *texts: str) -> bytes:
    """Some words: for `FAULT` the error and where it came from."""
    return _packed(kind, list(texts))


def unpack_texts(body: bytes) -> list[str]:
    """The reverse. Raises INTERNAL."""
    found: list[str] = _read(body, FAULT + BEGUN, _texts)
    return found


def pack_progress(told: list[tuple[int, str, int, int]]) -> bytes:
    """(thread, path, bytes in all, bytes done; -1: it is through) of large files."""
    return _packed(PROGRESS, told)


def unpack_progress(body: bytes) -> list[tuple[int, str, int, int]]:
    """The reverse. Raises INTERNAL."""
    found: list[tuple[int, str, int, int]] = _read(body, PROGRESS, _progress)
    return found


def pack_setup(setup: RunSetup) -> bytes:
    """For the board."""
    return _packed(SETUP, setup)


def unpack_setup(body: bytes) -> RunSetup:
    """The reverse. Raises USAGE for another `FORMAT`, INTERNAL for what is none of ours."""

    def decode(data: Any) -> RunSetup:
        head = msgspec.msgpack.decode(data)
        if head[0] != FORMAT:
            reason = f"it is coordinated by dunlin {head[1]}, which speaks another format"
            raise DunlinError("take part in a run", "", ErrorKind.USAGE, reason, "use one version of dunlin everywhere")
        return msgspec.msgpack.decode(data, type=RunSetup)

    setup: RunSetup = _read(body, SETUP, decode)
    return setup


def pack_orders(orders: Orders) -> bytes:
    """For the board."""
    return _packed(ORDERS, orders)


def unpack_orders(body: bytes) -> Orders:
    """The reverse. Raises INTERNAL."""
    orders: Orders = _read(body, ORDERS, msgspec.msgpack.Decoder(Orders).decode)
    return orders
