"""Times for listings that do not tell them: what the state recorded of the same version. Pure.

A file's own mtime is part of what is compared. An object store keeps it as metadata, and not every listing shows
metadata; asking for each object would cost a request per object. But an etag names a version, and the state knows
which mtime the version had when it was synced. So before two listings are merged:

* with another etag than the recorded one an object has changed, on either side, whatever its size and metadata say, and
  gets the mtime `CHANGED`, which equals no other. So has a file whose transfer failed, or still waits: the etag on
  record is that of the version that was synced before, if any was;
* an object of the *source* whose etag is the recorded one has the recorded mtime. What is not on record has
  the mtime of its metadata. Where that is not listed, a sync takes the time of the upload for it (which differs, so
  the object is fetched and then on record); a check leaves it unknown;
* an object of the *destination* whose etag is the recorded one has the recorded mtime. With none on record, its
  mtime is unknown (None) unless its metadata told it: then it counts as in sync if it was written after the source's
  last change (`plan.same_time`). Mode and owner of the recorded version are the recorded ones too where its metadata
  does not tell them, so that a change of them alone is noticed.

**Where extended attributes are kept** and one side is a share of Azure Files, to look at those of a file takes a
request, and equal sizes and times say nothing about them. What is on record saves it (`SURE`), for both sides of it:

* a side with etags, of the etag on record: nothing has changed there;
* a local source with the change time on record: likewise;
* a destination of which the record has no etag, because it is the source's: it has not changed since the file was
  synced, by its change time (that of a share is the source's own, or that of the moment in which it was written).

Here another etag is not another content: whoever hides a file makes one. A share tells the time of the last write by
itself, so such a file is looked at; only what shows no other difference is copied (`transfer.directory`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from dunlin.model import CHANGED, CTIME, GID, IDENT, MODE, MTIME, PERMISSION_BITS, RDEV, TYPE_BITS, UID, Facts

Named = tuple[str, Facts]


class Recorded(Protocol):
    """What is remembered of a file."""

    @property
    def mtime(self) -> int | None: ...
    @property
    def etag(self) -> str | int | None: ...
    @property
    def ctime(self) -> int | None: ...
    @property
    def last_synced(self) -> int | None: ...
    @property
    def mode(self) -> int | None: ...
    @property
    def uid(self) -> int | None: ...
    @property
    def gid(self) -> int | None: ...
    @property
    def unfinished(self) -> bool: ...


def source_times(batch: list[Named], known: Mapping[str, Recorded], guess: bool = True) -> list[Named]:
    """A batch of the source's listing with times as recorded; `guess`: else with that of the upload."""
    return [_source(named, known.get(named[0]), guess) for named in batch]


def target_times(batch: list[Named], known: Mapping[str, Recorded]) -> list[Named]:
    """The same for the destination. A time that is only that of the upload is no mtime."""
    return [_target(named, known.get(named[0])) for named in batch]


def surely(batch: list[Named], known: Mapping[str, Recorded], *, is_source: bool, etags: bool) -> list[Named]:
    """A batch of either side with the fact `SURE`, and with times as recorded.

    `etags`: the etags on record are those of this side, else it has none there.
    """
    return [_surely(named, known.get(named[0]), is_source, etags) for named in batch]


def _surely(named: Named, row: Recorded | None, is_source: bool, etags: bool) -> Named:
    name, facts = named
    if row is None:
        return named
    if row.unfinished:
        return _with(named, CHANGED) if etags else named
    if etags and row.etag is not None:
        if row.etag != facts[IDENT]:
            return name, (*facts[: RDEV + 1], False)
        # The time on record is exact, where a listing tells steps of 100 ns.
        named = _with(named, row.mtime)
        return name, (*(named[1] if is_source else _dressed(named[1], row))[: RDEV + 1], True)
    moment = row.ctime if is_source else row.last_synced
    if etags or moment is None or facts[CTIME] is None:
        return named
    alike = facts[CTIME] == moment if is_source else facts[CTIME] <= moment
    return name, (*facts[: RDEV + 1], alike or None)


def _source(named: Named, row: Recorded | None, guess: bool) -> Named:
    facts = named[1]
    if row is not None and _has_changed(facts, row):
        return _with(named, CHANGED)
    if row is not None and row.etag is not None:
        return _with(named, row.mtime)
    return _with(named, facts[CTIME]) if guess and facts[MTIME] is None else named


def _target(named: Named, row: Recorded | None) -> Named:
    facts = named[1]
    if row is not None and _has_changed(facts, row):
        return _with(named, CHANGED)
    if facts[MTIME] is not None and facts[MTIME] != facts[CTIME]:
        return named
    if row is None or row.etag is None:
        return _with(named, None)
    name, facts = _with(named, row.mtime)
    return name, _dressed(facts, row)


def _has_changed(facts: Facts, row: Recorded) -> bool:
    """Whether it is not the version that was synced last, or one that should have been synced and was not."""
    return row.unfinished or (row.etag is not None and row.etag != facts[IDENT])


def _dressed(facts: Facts, row: Recorded) -> Facts:
    """Facts with the mode and owner of the same version, where the listing tells none."""
    told = facts[UID] is not None or facts[MODE] & PERMISSION_BITS
    if told or row.mode is None or (row.mode ^ facts[MODE]) & TYPE_BITS:
        return facts
    mode = facts[MODE] | (row.mode & PERMISSION_BITS)
    return (mode, *facts[MODE + 1 : UID], row.uid, row.gid, *facts[GID + 1 :])


def _with(named: Named, mtime: int | None) -> Named:
    name, facts = named
    return name, (*facts[:MTIME], mtime, *facts[MTIME + 1 :])
