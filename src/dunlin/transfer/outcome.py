"""What became of the names of a unit, in a form that `marshal` can carry between processes."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dunlin.errors import DunlinError, ErrorClass, ErrorKind, class_of
from dunlin.model import Facts, Row, join
from dunlin.report import Level

Failure = tuple[str, str, str, int]
"""name ("" for the directory itself), `ErrorKind` value, one line on what went wrong, attempts made."""

Copied = tuple[str, int, int, int, int | None, int, int, int, bytes | None]
"""name, size, mtime, ctime, birth, mode, uid, gid, digest: a file that is in sync now."""

Joined = tuple[str, bool, Copied]
"""A name that is one inode with another at the destination: that one's path, whether it had to be joined just now, and
its row, which has its path for a name (no digest yet: it is the other one's)."""

READING = frozenset({"read", "list", "look at", "read the link", "read the attributes of"})
"""Operations of stores that only read."""

UNREADABLE = frozenset({ErrorKind.DENIED, ErrorKind.IO, ErrorKind.TIMEOUT, ErrorKind.NETWORK, ErrorKind.BUSY})
"""Kinds that mean: it is there, and we could not see it."""


class Range(NamedTuple):
    """A range of a file that was brought (`ranges`): where it begins, its bytes, their digest, the tags of its parts.

    `digest`: None where none is wanted.
    """

    start: int
    length: int
    digest: bytes | None
    tags: tuple[str, ...]


Brought = tuple[int, int, bytes | None, tuple[str, ...]]
"""The fields of a `Range`."""

BegunFields = tuple[str, int, int, tuple[str, ...], str, int | None, bool]
"""Those of a `stores.base.Begun`."""


class Presence(enum.IntEnum):
    """Where a directory of the pair is; the values are stored."""

    UNKNOWN = 0
    BOTH = 1
    SOURCE = 2  # the destination has none, or an empty one that was just made
    TARGET = 3  # an extra


Waiting = tuple[str, Facts, int, bool]
"""name, the source's facts, `Action` value, whether the destination has it: a file whose turn has not come."""

News = tuple[int, str, str, dict[str, Any]]
"""An event: level, name, message, fields."""


@dataclass(slots=True)
class Outcome:
    """What became of the names of one unit; only plain values.

    Attributes:
        counts: by the field names of `model.Stats`.
        copied: files that are in sync now because of this unit.
        etags: of copied and seen files, where a side is an object store: the source's, else the destination's.
        seen: files that were in sync already and are not yet on record.
        failed, vanished: files that could not be copied; files that were gone.
        waiting: files that are to be copied by another unit.
        linked: files with several names, to be joined after all transfers.
        joined: names that were, or are, joined.
        subdirectories: (name, `Presence` value).
        below, below_target: what lies below some of them, as flat listings of the two sides told.
        extras: (name, is a directory) of what only the destination has.
        blocked: names where the destination has a directory that is not empty, and the source something else.
        news: events, in order.
        refused: kinds of metadata that the destination would not take, with the reason.
        fatal: (kind, operation, where, reason, hint) of the error that must end the run.
        bookmark: where the listing may be taken up again once this outcome is on record.
        listed: the source listing ended cleanly: "missing" is known, deletes may follow.
        digest: fingerprint of the source listing, once all of it is in sync.
        recorded: the listing was found as state had recorded it, so no rows were sent.
        complete: every file of the directory that takes part was sent, by this unit, with a row of its own.
        unfinished: the directory's own metadata still has to be set, after its waiting files.
        begun: the version of a huge file that is copied in ranges, and what was begun of it.
        brought: a range of one.
    """

    counts: Counter[str] = field(default_factory=Counter)
    copied: list[Copied] = field(default_factory=list)
    etags: dict[str, str] = field(default_factory=dict)
    seen: list[Copied] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    linked: list[Row] = field(default_factory=list)
    joined: list[Joined] = field(default_factory=list)
    subdirectories: list[tuple[str, int]] = field(default_factory=list)
    below: dict[str, bytes] = field(default_factory=dict)
    below_target: dict[str, bytes] = field(default_factory=dict)
    extras: list[tuple[str, bool]] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    news: list[News] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    fatal: tuple[str, str, str, str, str] | None = None
    bookmark: tuple[str, bytes] | None = None
    listed: bool = False
    digest: bytes | None = None
    recorded: bool = False
    complete: bool = False
    unfinished: bool = False
    seconds: float = 0.0
    cpu: float = 0.0
    waited: float = 0.0
    begun: tuple[Facts, BegunFields] | None = None
    brought: Brought | None = None

    def fail(
        self,
        name: str,
        error: DunlinError,
        attempts: int = 1,
        count: str = "failed_files",
        source: bool | None = None,
        shown: str = "",
    ) -> None:
        """Put an error about one name on record, by its class (`errors.class_of`).

        An expected one is a vanished name, which is counted apart. A fatal one is the run's and not the name's: it
        ends the unit, and a file stays pending.

        Args:
            name: "" for the unit's directory itself.
            count: what it is counted as; "": it was counted before.
            source: whether it was the source that could not be read, which disables every delete of the run;
                None: told by the operation that failed.
            shown: the line about it, where the error's own does not say enough.
        """
        severity = class_of(error.kind)
        if severity is ErrorClass.EXPECTED:
            self.vanish(name)
            return
        if severity is ErrorClass.FATAL:
            self.end(error)
            return
        self.failed.append((name, error.kind.value, shown or str(error), attempts))
        if count:
            self.counts[count] += 1
        if source is None:
            source = error.operation in READING and error.kind in UNREADABLE
        if source:
            self.counts["source_errors"] += 1

    def vanish(self, name: str) -> None:
        """A file was listed and gone when it was read."""
        self.vanished.append(name)
        self.counts["vanished_files"] += 1

    def end(self, error: DunlinError) -> None:
        """An error that must end the run; the first one is kept."""
        if self.fatal is None:
            self.fatal = (error.kind.value, error.operation, error.where, error.reason, error.hint)

    def tell(self, level: Level, name: str, message: str, **fields: Any) -> None:
        """Put an event on record."""
        self.news.append((int(level), name, message, fields))

    def absorb(self, part: Outcome) -> None:
        """Add what became of some files of the same directory."""
        self.counts.update(part.counts)
        self.copied += part.copied
        self.etags.update(part.etags)
        self.seen += part.seen
        self.failed += part.failed
        self.vanished += part.vanished
        self.waiting += part.waiting
        self.news += part.news
        self.refused.update(part.refused)
        self.fatal = self.fatal or part.fatal

    def take_in(self, part: Outcome, directory: str) -> None:
        """Add what became of files of one directory, by their paths. What waits is left out."""
        self.counts.update(part.counts)
        self.copied += [(join(directory, row[0]), *row[1:]) for row in part.copied]
        self.seen += [(join(directory, row[0]), *row[1:]) for row in part.seen]
        self.failed += [(join(directory, name), *rest) for name, *rest in part.failed]  # type: ignore[misc]
        self.vanished += [join(directory, name) for name in part.vanished]
        self.news += part.news
        self.refused.update(part.refused)
        self.fatal = self.fatal or part.fatal

    def pack(self) -> tuple[Any, ...]:
        """Plain values, in the order of the fields."""
        return (dict(self.counts), *(getattr(self, name) for name in _FIELDS[1:]))

    @classmethod
    def unpack(cls, packed: tuple[Any, ...]) -> Outcome:
        """The reverse of `pack`."""
        return cls(Counter(packed[0]), *packed[1:])


_FIELDS = tuple(Outcome.__dataclass_fields__)


def fatal_error(packed: tuple[str, str, str, str, str]) -> DunlinError:
    """The error that `Outcome.end` recorded."""
    kind, operation, where, reason, hint = packed
    return DunlinError(operation, where, ErrorKind(kind), reason, hint)
