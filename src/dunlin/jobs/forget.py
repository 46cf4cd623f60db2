"""Forgetting snapshots, by a policy or by name: their manifests go, nothing else; `prune` frees what none needs.

A policy keeps the newest of each share. What is named goes, also the newest: somebody says so who has a reason, like a
password that should never have been in it. A backup that goes on from it meanwhile loses nothing: until it is over,
nothing is marked and nothing removed (`backup.prune`).

Its content lies in packs with that of others, and packs that are mostly needed stay as they are: only a prune that
leaves nothing unused (`freeing`) takes it out of the store.

Scans hold no content, so they never stand for a backup: the policy judges each kind by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING, NamedTuple

from dunlin.backup.manifest import Manifest
from dunlin.backup.repository import LATEST, Area, Repository, SnapshotName
from dunlin.backup.retention import Candidate, Policy, decide
from dunlin.backup.words import check_name, is_id
from dunlin.errors import DunlinError, ErrorKind, printable, usage
from dunlin.jobs.browse import only

if TYPE_CHECKING:  # numpy comes with it
    from dunlin.jobs import prune

LEAST = 8
"""Characters by which a snapshot is named at least: so many are shown of an id, and are the day of a time."""


class Options(NamedTuple):
    """What is to be forgotten.

    Attributes:
        policy: what is kept; one without a rule is refused, unless `snapshots` are named.
        tenant: whose; share: one share, "": each share of the tenant by itself.
        dry: only tell. zone: whose days and weeks are meant; None: those of this machine.
        damaged: snapshots that cannot be read go; else they stay.
        snapshots: ids, or beginnings of ids or times of `LEAST` characters: these go, and no other ones. One whose
            whole id is given may be gone already: whoever tries again after half of the work finds that so.
    """

    policy: Policy
    tenant: str
    share: str = ""
    dry: bool = False
    zone: tzinfo | None = None
    damaged: bool = False
    snapshots: tuple[str, ...] = ()


class Fate(NamedTuple):
    """What becomes of a snapshot: the rules that keep it; none: it goes, or would."""

    snapshot: Manifest
    reasons: tuple[str, ...]

    @property
    def kept(self) -> bool:
        """Whether it stays."""
        return bool(self.reasons)


def check(options: Options) -> None:
    """Raises USAGE where nothing says what goes, rules and names do, or a name is too short or will mean another."""
    ruled = any(options.policy) or options.damaged
    if ruled and options.snapshots:
        raise usage("rules and named snapshots do not go together", "forget by the ones, then by the others")
    if not ruled and not options.snapshots:
        hint = "give --keep-last, --keep-daily and their like, or name snapshots; -n shows what they do"
        raise usage("no rule says what is kept", hint)
    for text in options.snapshots:
        if text == LATEST:
            raise usage("which snapshot is the latest changes", "name it by its id; dunlin snapshots tells it")
        if len(text) < LEAST:
            raise usage(f"{printable(text)!r} is too short for a name", f"give {LEAST} characters of the id at least")


def freeing(options: Options) -> prune.Options:
    """How what nobody needs is freed afterwards: what was named is to be gone from the store, whatever that costs."""
    from dunlin.jobs import prune

    return prune.Options(options.tenant, 0.0) if options.snapshots else prune.Options(options.tenant)


def forget(opened: Repository, options: Options) -> list[Fate]:
    """Decide about each snapshot, newest first within its share, and remove the manifests of those that go.

    Of `snapshots` nothing is removed unless all are found. Raises USAGE without any rule, or where it is not clear
    which snapshot is meant; NOT_FOUND; DENIED where the repository is append-only.
    """
    check(options)
    shares = opened.shares(check_name("tenant", options.tenant))
    if options.share:
        shares = [check_name("share", options.share)]
    areas = [opened.area(options.tenant, share) for share in shares]
    if options.snapshots:
        fates = _named(areas, options.snapshots)
    else:
        fates = [fate for area in areas for fate in _of(area, options)]
    gone = [fate.snapshot.key for fate in fates if not fate.kept]
    if gone and not options.dry:
        opened.objects.remove(gone)
        opened.objects.sync()
    return fates


def _named(areas: Sequence[Area], texts: Sequence[str]) -> list[Fate]:
    listed = [(area, area.snapshots()) for area in areas]
    found: dict[str, Fate] = {}
    for text in texts:
        if is_id(text) and not any(name.id == text for _, names in listed for name in names):
            continue
        area, name = only(listed, text)
        found[name.key] = Fate(_read(area, name), ())
    return sorted(found.values(), key=lambda fate: (fate.snapshot.time, fate.snapshot.id), reverse=True)


def _read(area: Area, name: SnapshotName) -> Manifest:
    try:
        return area.manifest(name)
    except DunlinError as error:
        if error.kind is not ErrorKind.CORRUPT:
            raise
        return _unknown(area, name)


def _of(area: Area, options: Options) -> list[Fate]:
    damaged: list[tuple[SnapshotName, DunlinError]] = []
    fates = judge(area.manifests(damaged), options.policy, options.zone)
    reasons = () if options.damaged else ("damaged",)
    return fates + [Fate(_unknown(area, name), reasons) for name, _ in damaged]


def judge(snapshots: Sequence[Manifest], policy: Policy, zone: tzinfo | None = None) -> list[Fate]:
    """What a policy means for the snapshots of a share, given oldest first; newest first comes back.

    Scans and backups are judged apart, or a scan would take the place of the last backup.
    """
    manifests = {each.id: each for each in snapshots}
    ordered = list(manifests.values())
    candidates = [_candidate(each, before) for before, each in zip([None, *ordered], ordered, strict=False)]
    fates = []
    for content in (True, False):
        mine = [each for each in candidates if manifests[each.id].content is content]
        fates += [Fate(manifests[each.snapshot.id], each.reasons) for each in decide(mine, policy, zone)]
    return sorted(fates, key=lambda fate: (fate.snapshot.time, fate.snapshot.id), reverse=True)


def _candidate(each: Manifest, before: Manifest | None) -> Candidate:
    # Stamped behind one that came from the future: when it was begun tells more of when it was made.
    late = before is not None and each.time - before.time <= _STEP
    made = each.started if late and 0 < each.started < each.time else each.time
    return Candidate(each.id, each.time, each.tags, each.complete, made)


_STEP = 10**6
"""ns by which a snapshot is later than the one before where no clock said more."""


def _unknown(area: Area, name: SnapshotName) -> Manifest:
    """What is known of a snapshot that cannot be read."""
    return Manifest(name.id, name.moment, area.tenant, area.share, complete=False)
