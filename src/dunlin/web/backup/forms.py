"""The shapes of the API of backups: what is answered about repositories. Times, sizes and pages as in `web.forms`.

A name that JSON cannot hold (bytes that are no UTF-8) is shown escaped; `exact` is then the true one, as the address of
the next request has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from dunlin.web.backup.changes import Change, Compared
from dunlin.web.backup.looks import Checked, Details, Folder, Hits, Kept, Name, Share, Usage
from dunlin.web.backup.versions import History
from dunlin.web.backup.words import escaped, holds
from dunlin.web.check_api import stamp
from dunlin.web.forms import legible

if TYPE_CHECKING:
    from dunlin.backup.manifest import Manifest
    from dunlin.jobs.forget import Fate

KindWord = Literal["directory", "file", "link", "fifo", "socket", "device", "other"]
OrderWord = Literal["name", "size", "time"]
ChangeWord = Literal["added", "removed", "changed", "moved", "metadata"]


class RepositoryShown(msgspec.Struct):
    """A repository that may be used, and by whom. `append_only`: the service removes nothing from it."""

    name: str
    tenants: list[str]
    append_only: bool


class CheckedShown(msgspec.Struct, omit_defaults=True):
    """How much of the content was read by verifications and found whole.

    `oldest`: when the pack was read that was not read for longest; missing where one never was.
    """

    packs: int
    bytes: int
    whole_packs: int
    whole_bytes: int
    oldest: str | None = None
    newest: str | None = None


class SnapshotShown(msgspec.Struct, omit_defaults=True):
    """A snapshot. `new_bytes`: content that had to be stored; `stored_bytes`: what that took."""

    id: str
    time: str
    started: str
    share: str
    source: str
    host: str
    tags: list[str]
    files: int
    directories: int
    bytes: int
    new_files: int
    changed_files: int
    removed_files: int
    read_bytes: int
    new_bytes: int
    stored_bytes: int
    failed_entries: int
    torn_files: int
    content: bool
    complete: bool
    parent: str = ""


class ShareShown(msgspec.Struct, omit_defaults=True):
    """A share: `newest` of its snapshots; `verified` is about its bundles of small files."""

    name: str
    snapshots: int
    verified: CheckedShown
    newest: SnapshotShown | None = None


class KeptShown(msgspec.Struct):
    """Objects of one kind, and their bytes."""

    objects: int
    bytes: int


class UsageShown(msgspec.Struct):
    """What a share takes, and what it stands for.

    `packs` are those of the tenant, used by all of its shares. `ratio`: bytes of the files in all snapshots for each
    byte that their backups stored.
    """

    share: str
    bundles: KeptShown
    indexes: KeptShown
    trees: KeptShown
    manifests: KeptShown
    packs: KeptShown
    snapshots: int
    source_bytes: int
    newest_bytes: int
    new_bytes: int
    stored_bytes: int
    ratio: float
    verified: CheckedShown


class BelowShown(msgspec.Struct):
    """All that lies in a directory and below; `directories` counts itself."""

    directories: int
    files: int
    bytes: int


class NameShown(msgspec.Struct, omit_defaults=True):
    """A name in a snapshot. `below`: of a directory, where it was summed up. `exact`: see above."""

    name: str
    path: str
    kind: KindWord
    size: int
    mtime: str
    below: BelowShown | None = None
    exact: str = ""


class FolderShown(msgspec.Struct, omit_defaults=True):
    """A part of a directory, directories first. `next`: `after` of the following part."""

    snapshot: str
    path: str
    directories: int
    files: int
    items: list[NameShown]
    below: BelowShown | None = None
    next: str | None = None


class DetailsShown(msgspec.Struct, omit_defaults=True):
    """A name with all that is known of it. `mode`: type and permissions, as numbers; `torn`: it changed while read."""

    snapshot: str
    name: NameShown
    mode: int
    links: int
    content: bool
    uid: int | None = None
    gid: int | None = None
    target: str = ""
    torn: bool = False


class VersionShown(msgspec.Struct, omit_defaults=True):
    """Snapshots one after the other in which the same stood at a path. `entry`: what; missing: nothing."""

    newest: str
    oldest: str
    newest_time: str
    oldest_time: str
    snapshots: int
    entry: NameShown | None = None


class HistoryShown(msgspec.Struct):
    """What stood at a path, the newest first. `complete`: all snapshots were looked at."""

    path: str
    versions: list[VersionShown]
    complete: bool


class HitsShown(msgspec.Struct):
    """Names that fit. `complete`: false where there may be more than were looked for."""

    snapshot: str
    items: list[NameShown]
    complete: bool


class ChangeShown(msgspec.Struct, omit_defaults=True):
    """A name that differs. `before`, `after`: bytes; `source`: where it was moved from. `exact`: see above."""

    path: str
    what: ChangeWord
    directory: bool
    before: int | None = None
    after: int | None = None
    source: str = ""
    exact: str = ""


class ComparedShown(msgspec.Struct, omit_defaults=True):
    """A part of what differs between two snapshots. `complete`: false where there is more than was looked at."""

    old: str
    new: str
    counts: dict[str, int]
    complete: bool
    items: list[ChangeShown]
    next: str | None = None


class FateShown(msgspec.Struct):
    """What would become of a snapshot, and by which rules it stays."""

    id: str
    time: str
    kept: bool
    reasons: list[str]
    tags: list[str]
    bytes: int


class PreviewShown(msgspec.Struct):
    """What a policy would keep and remove, newest first. Nothing was removed."""

    share: str
    kept: int
    removed: int
    snapshots: list[FateShown]


def when(nanoseconds: int) -> str:
    """A point in time; what a calendar cannot hold is the nearest that it can."""
    return stamp(min(max(nanoseconds / 1e9, -62_135_596_800), 253_402_300_799))


def _perhaps(nanoseconds: int | None) -> str | None:
    return None if nanoseconds is None else when(nanoseconds)


def checked_shown(checked: Checked) -> CheckedShown:
    """What was verified, as it is answered."""
    return CheckedShown(
        checked.packs, checked.bytes, checked.whole, checked.whole_bytes, _perhaps(checked.oldest),
        _perhaps(checked.newest),
    )  # fmt: skip


def snapshot_shown(found: Manifest) -> SnapshotShown:
    """A snapshot as it is answered."""
    totals = found.totals
    return SnapshotShown(
        found.id, when(found.time), when(found.started), found.share, legible(found.source), legible(found.host),
        [legible(tag) for tag in found.tags], totals.files, totals.directories, totals.bytes, totals.new_files,
        totals.changed_files, totals.removed_files, totals.read_bytes, totals.new_bytes, totals.stored_bytes,
        totals.failed_entries, totals.torn_files, found.content, found.complete, found.parent,
    )  # fmt: skip


def share_shown(share: Share) -> ShareShown:
    """A share as it is answered."""
    newest = None if share.newest is None else snapshot_shown(share.newest)
    return ShareShown(share.name, share.snapshots, checked_shown(share.checked), newest)


def usage_shown(usage: Usage) -> UsageShown:
    """What a share takes, as it is answered."""

    def kept(found: Kept) -> KeptShown:
        return KeptShown(*found)

    return UsageShown(
        usage.share, kept(usage.bundles), kept(usage.indexes), kept(usage.trees), kept(usage.manifests),
        kept(usage.packs), usage.snapshots, usage.source_bytes, usage.newest_bytes, usage.new_bytes,
        usage.stored_bytes, round(usage.ratio, 3), checked_shown(usage.checked),
    )  # fmt: skip


def name_shown(name: Name) -> NameShown:
    """A name as it is answered."""
    below = None if name.below is None else BelowShown(*name.below)
    exact = "" if holds(name.path) else escaped(name.path)
    return NameShown(
        legible(name.name), legible(name.path), name.kind, name.size, when(name.mtime), below, exact  # type: ignore[arg-type]
    )  # fmt: skip


def folder_shown(folder: Folder) -> FolderShown:
    """A part of a directory as it is answered."""
    return FolderShown(
        folder.snapshot.id, legible(folder.path), folder.directories, folder.files,
        [name_shown(each) for each in folder.names], None if folder.below is None else BelowShown(*folder.below),
        None if folder.more is None else str(folder.more),
    )  # fmt: skip


def details_shown(found: Details) -> DetailsShown:
    """A name with everything about it, as it is answered."""
    return DetailsShown(
        found.snapshot.id, name_shown(found.name), found.mode, found.links, found.content, found.uid, found.gid,
        legible(found.target), found.torn,
    )  # fmt: skip


def history_shown(found: History) -> HistoryShown:
    """The versions of a name, as they are answered."""
    versions = [
        VersionShown(
            each.newest.id, each.oldest.id, when(each.newest.time), when(each.oldest.time), each.snapshots,
            None if each.name is None else name_shown(each.name),
        )
        for each in found.versions
    ]  # fmt: skip
    return HistoryShown(legible(found.path), versions, found.whole)


def hits_shown(hits: Hits) -> HitsShown:
    """What a search found, as it is answered."""
    return HitsShown(hits.snapshot.id, [name_shown(each) for each in hits.names], hits.whole)


def change_shown(change: Change) -> ChangeShown:
    """A difference as it is answered."""
    exact = "" if holds(change.path) else escaped(change.path)
    return ChangeShown(
        legible(change.path), change.what, change.directory, change.before, change.after,  # type: ignore[arg-type]
        legible(change.source), exact,
    )  # fmt: skip


def compared_shown(found: Compared, changes: list[Change], more: int | None) -> ComparedShown:
    """A part of a comparison as it is answered."""
    return ComparedShown(
        found.old.id, found.new.id, found.counts, found.whole, [change_shown(each) for each in changes],
        None if more is None else str(more),
    )  # fmt: skip


def preview_shown(share: str, fates: list[Fate]) -> PreviewShown:
    """What a policy would do, as it is answered."""
    shown = [
        FateShown(
            each.snapshot.id, when(each.snapshot.time), bool(each.reasons), [legible(word) for word in each.reasons],
            [legible(tag) for tag in each.snapshot.tags], each.snapshot.totals.bytes,
        )
        for each in fates
    ]  # fmt: skip
    kept = sum(each.kept for each in shown)
    return PreviewShown(share, kept, len(shown) - kept, shown)
