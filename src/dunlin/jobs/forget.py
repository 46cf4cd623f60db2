"""Forgetting snapshots by a policy: their manifests go, nothing else; `prune` frees what no snapshot needs any more.

Scans hold no content, so they never stand for a backup: the policy judges each kind by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import NamedTuple

from dunlin.backup.manifest import Manifest
from dunlin.backup.repository import Area, Repository, SnapshotName
from dunlin.backup.retention import Candidate, Policy, decide
from dunlin.backup.words import check_name
from dunlin.errors import DunlinError, usage


class Options(NamedTuple):
    """What is to be forgotten.

    Attributes:
        policy: what is kept; one without a rule is refused.
        tenant: whose; share: one share, "": each share of the tenant by itself.
        dry: only tell. zone: whose days and weeks are meant; None: those of this machine.
        damaged: snapshots that cannot be read go; else they stay.
    """

    policy: Policy
    tenant: str
    share: str = ""
    dry: bool = False
    zone: tzinfo | None = None
    damaged: bool = False


class Fate(NamedTuple):
    """What becomes of a snapshot: the rules that keep it; none: it goes, or would."""

    snapshot: Manifest
    reasons: tuple[str, ...]

    @property
    def kept(self) -> bool:
        """Whether it stays."""
        return bool(self.reasons)


def forget(opened: Repository, options: Options) -> list[Fate]:
    """Decide about each snapshot, newest first within its share, and remove the manifests of those that go.

    Raises USAGE without any rule, DENIED where the repository is append-only.
    """
    if not any(options.policy) and not options.damaged:
        raise usage("no rule says what is kept", "give --keep-last, --keep-daily and their like; -n shows what they do")
    shares = opened.shares(check_name("tenant", options.tenant))
    if options.share:
        shares = [check_name("share", options.share)]
    areas = [opened.area(options.tenant, share) for share in shares]
    fates = [fate for area in areas for fate in _of(area, options)]
    gone = [fate.snapshot.key for fate in fates if not fate.kept]
    if gone and not options.dry:
        opened.objects.remove(gone)
        opened.objects.sync()
    return fates


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
