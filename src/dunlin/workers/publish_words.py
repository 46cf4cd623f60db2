"""What travels between the publisher and the workers: a unit of a publish job, and what became of its files (msgpack).

Service and workers must be of one version: what another one has made is refused, and another worker may have it.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from dunlin.errors import DunlinError, ErrorKind

VERSION = 3


class Root(NamedTuple):
    """Where some files of a unit come from.

    Attributes:
        path: the directory that their paths are relative to, absolute, without links.
        delete: remove each file once it is uploaded. overwrite: upload also what has the same size.
    """

    path: str
    delete: bool
    overwrite: bool


class PublishFile(NamedTuple):
    """A file: its place in the unit, which of the unit's roots its path is below, its key, its size when walked."""

    place: int
    root: int
    path: str
    key: str
    size: int


class PublishUnit(NamedTuple):
    """The payload of a task of the queue `publish`, as msgpack.

    Attributes:
        version: of this form.
        job, unit: whose files they are.
        generation: how often the unit was put into the queue before.
        place: the destination: a location by name, or a URL without credentials.
        bucket: how the existence cache calls the destination.
        seconds: that each file may take.
        since: when the job was submitted, seconds since 1970.
        within: directories below which a link may lead, absolute, without links.
        again: there may have been a delivery of which nobody heard: the queue lost the unit, or somebody wants what
            failed to be tried once more.
        accounts: of `queue.caps`, from which its bytes are drawn.
    """

    version: int
    job: str
    unit: int
    generation: int
    place: str
    bucket: str
    seconds: float
    since: float
    within: list[str]
    roots: list[Root]
    files: list[PublishFile]
    again: bool = False
    accounts: tuple[str, ...] = ()


class FileOutcome(NamedTuple):
    """What became of a file.

    Attributes:
        status: a `FileStatus`. note: one line, or "".
        again: another try may do better.
        key: of one that is there now, for the existence cache; else "".
    """

    place: int
    status: int
    size: int
    note: str = ""
    again: bool = False
    key: str = ""


class UnitOutcome(NamedTuple):
    """The result of a unit, or a part of it, as msgpack. `mark`: to be put on the board when it is on record."""

    version: int
    job: str
    unit: int
    generation: int
    bucket: str
    files: list[FileOutcome]
    mark: bytes = b""


_unit = msgspec.msgpack.Decoder(PublishUnit).decode
_outcome = msgspec.msgpack.Decoder(UnitOutcome).decode


def pack(outcome: UnitOutcome | PublishUnit) -> bytes:
    """As it travels."""
    return msgspec.msgpack.encode(outcome)


def unpack_unit(payload: bytes) -> PublishUnit:
    """The unit of a payload. Raises CONFIG for what this version cannot read."""
    try:
        unit = _unit(payload)
    except msgspec.MsgspecError as error:
        reason = f"this version cannot read it ({error})"
        raise DunlinError("do the task", "", ErrorKind.CONFIG, reason, "service and workers must be alike") from error
    if unit.version != VERSION:
        reason = f"it is of version {unit.version}, this one knows {VERSION}"
        raise DunlinError("do the task", unit.job, ErrorKind.CONFIG, reason, "service and workers must be alike")
    return unit


def unpack_outcome(body: bytes) -> UnitOutcome:
    """A result or a part of one. Raises CONFIG for what this version cannot read."""
    try:
        return _outcome(body)
    except msgspec.MsgspecError as error:
        raise DunlinError("read the result", "", ErrorKind.CONFIG, str(error)) from error
