"""What travels through the queue in a verification: packs to be looked at, and what is wrong with them.

The form is that of `packing`. A unit brings along what the index says of its packs, so a worker needs no index: 28
bytes for a chunk, a quarter of a megabyte for a pack of small files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from dunlin.backup.chunks import Segment, from_buffer, to_bytes
from dunlin.backup.objects import Found
from dunlin.errors import DunlinError
from dunlin.workers import packing

FORMAT = 1
"""Of everything here; a worker leaves verifications of another one alone."""

UNIT, RESULT = b"p", b"q"


class VerifySetup(NamedTuple):
    """What a worker needs to know before its first unit; stands on the queue's board.

    Attributes:
        version: `FORMAT`. dunlin: the version that coordinates.
        repository: its place, without login; idle, total: see `stores.open.Far`. id: of the repository.
        tenant: whose packs they are.
        accounts: of `queue.caps`, from which its bytes are drawn besides its own.
    """

    version: int
    dunlin: str
    repository: str
    id: str
    tenant: str
    idle: float = 30.0
    total: float = 300.0
    accounts: tuple[str, ...] = ()


class Pack(NamedTuple):
    """A pack to be looked at: its id (16 bytes), its object, and whether its content is read."""

    name: bytes
    found: Found
    read: bool


class Packs(NamedTuple):
    """A unit: packs of one share (`small`), or of its tenant, and what the index says of them."""

    share: str
    small: bool
    packs: list[Pack]
    known: Segment


class Seen(NamedTuple):
    """What became of a pack.

    Attributes:
        name: see `Pack`. reasons: what is wrong with it. read: its content was read.
        bad: chunks that cannot be read: their places among those that the index names in this pack, counted from 0.
    """

    name: bytes
    reasons: list[str]
    read: bool
    bad: list[int]


class Result(NamedTuple):
    """What became of a unit; packs of which nothing is said are to be handed out again. `error`: what ended it."""

    seen: list[Seen]
    error: DunlinError | None = None
    seconds: float = 0.0


class _Unit(NamedTuple):
    share: str
    small: bool
    packs: list[Pack]
    known: bytes


class _Result(NamedTuple):
    seen: list[Seen]
    error: packing.PlainError | None
    seconds: float


_setup = msgspec.msgpack.Decoder(VerifySetup).decode
_unit = msgspec.msgpack.Decoder(_Unit).decode
_result = msgspec.msgpack.Decoder(_Result).decode


def pack_setup(setup: VerifySetup) -> bytes:
    """For the board."""
    return packing.packed(packing.VERIFY, setup)


def unpack_setup(body: bytes) -> VerifySetup:
    """The reverse. Raises USAGE for another `FORMAT`, INTERNAL for what is none of ours."""
    return packing.unpacked_setup(body, packing.VERIFY, _setup, FORMAT, "a verification")


def pack_unit(unit: Packs) -> bytes:
    """On its way to a worker."""
    return packing.packed(UNIT, _Unit(unit.share, unit.small, unit.packs, to_bytes(unit.known)))


def unpack_unit(body: bytes) -> Packs:
    """The reverse. Raises INTERNAL, and CORRUPT for an index that is none."""
    told: _Unit = packing.unpacked(body, UNIT, _unit)
    return Packs(told.share, told.small, told.packs, from_buffer(told.known, "from the coordinator"))


def pack_result(seen: Sequence[Seen], error: DunlinError | None, seconds: float) -> bytes:
    """On its way back."""
    plain = packing.plain_error(error) if error is not None else None
    return packing.packed(RESULT, _Result(list(seen), plain, seconds))


def unpack_result(body: bytes) -> Result:
    """The reverse. Raises INTERNAL."""
    told: _Result = packing.unpacked(body, RESULT, _result)
    return Result(told.seen, packing.told_error(told.error) if told.error is not None else None, told.seconds)
