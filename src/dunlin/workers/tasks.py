"""What a worker is asked to do: units, as plain values that `marshal` can carry.

Named tuples rather than dataclasses: ten times cheaper to define, and packing them is one step. (Those of huge files in
ranges hold others, which `marshal` does not take: they go through queues only.)
"""

from __future__ import annotations

from typing import Any, NamedTuple

from dunlin.model import Facts
from dunlin.stores.base import Begun
from dunlin.transfer.outcome import Presence, Range


class Scan(NamedTuple):
    """List one directory on both sides, decide, and carry out what is small enough.

    Attributes:
        directory: path below the roots.
        presence: where it is (`Presence`).
        files, size: how many files, and bytes, may be copied within this unit; the rest is handed back as waiting.
        digest: fingerprint of the source listing on record; None: not (completely) on record.
        suspect: the content at the destination may be lost (other boot): compare it.
        sweep: tokens of movers that died, whose temporary files are removed.
        listing, there: what lies below it on the source's and the destination's side, as a flat listing of a
            directory above it told (`flat`); None: list it.
        bookmark: (token, key) where the listing of the source is taken up again (`bookmark`).
    """

    directory: str
    presence: int = int(Presence.UNKNOWN)
    files: int = 1_000
    size: int = 16 << 20
    digest: bytes | None = None
    suspect: bool = False
    sweep: tuple[str, ...] = ()
    listing: bytes | None = None
    there: bytes | None = None
    bookmark: tuple[str, bytes] | None = None


Turn = tuple[str, int, int, bool]
"""name, size, `Action` value, whether the destination has it: a file whose turn has come."""


class Move(NamedTuple):
    """Transfer waiting files of one directory.

    `sweep`: first remove the temporary files there of dead runs, and of the movers with the tokens `dead`.
    """

    directory: str
    turns: tuple[Turn, ...]
    sweep: bool = False
    dead: tuple[str, ...] = ()


class Finish(NamedTuple):
    """Set a directory's own times, mode and owner, after all that is in it."""

    directory: str


class Delete(NamedTuple):
    """Remove extras of one directory after a live look at the source.

    `absent`: the directory itself is an extra, so looking at it covers all its names.
    """

    directory: str
    names: tuple[tuple[str, bool], ...]
    absent: bool


class Join(NamedTuple):
    """Make the names of one inode names of one inode again.

    `failed`: the content of `first` did not reach the destination, whatever stands there.
    """

    first: str
    others: tuple[str, ...]
    failed: bool = False


class Unblock(NamedTuple):
    """Bring names in sync where a directory stood until now, which the delete phase has removed."""

    directory: str
    names: tuple[str, ...]


class Again(NamedTuple):
    """Bring names in sync that failed in an earlier run, after a look at both sides."""

    directory: str
    names: tuple[str, ...]


class Begin(NamedTuple):
    """Make ready for a huge file that is copied in ranges (`transfer.ranges`, `ranged`).

    `exists`: the destination has it. `token`: names its temporary file; `gone`: those of others that died over it.
    `sweep`, `dead`: as in `Move`.
    """

    directory: str
    name: str
    exists: bool
    token: str
    gone: tuple[str, ...] = ()
    sweep: bool = False
    dead: tuple[str, ...] = ()


class Bring(NamedTuple):
    """Copy one range, `length` bytes from `start`, of the version with these facts."""

    directory: str
    name: str
    facts: Facts
    begun: Begun
    start: int
    length: int


class Complete(NamedTuple):
    """Make the file of its ranges."""

    directory: str
    name: str
    exists: bool
    facts: Facts
    begun: Begun
    ranges: tuple[Range, ...]


Task = Scan | Move | Finish | Delete | Join | Unblock | Again | Begin | Bring | Complete


def again(task: Task, token: str) -> Task:
    """The unit to be done after the mover with that token died over it: it looks at the destination, and sweeps."""
    if isinstance(task, Scan):
        presence = int(Presence.UNKNOWN if task.presence != Presence.TARGET else Presence.TARGET)
        return Scan(task.directory, presence, task.files, suspect=task.suspect, sweep=(*task.sweep, token))
    if isinstance(task, Move):
        return Move(task.directory, task.turns, sweep=True, dead=(*task.dead, token))
    return task


KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (Scan, Move, Finish, Delete, Join, Unblock, Again, Begin, Bring, Complete)
}


def pack(task: Task) -> tuple[Any, ...]:
    """Plain values; the kind's name first."""
    return (type(task).__name__, *task)


def unpack(packed: tuple[Any, ...]) -> Task:
    """The reverse of `pack`."""
    return KINDS[packed[0]](*packed[1:])  # type: ignore[no-any-return]
