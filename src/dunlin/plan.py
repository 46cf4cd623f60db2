"""DECIDE: differences and a policy become operations. Pure: no I/O, no clock; a dry run prints its output.

This is the only place where anything is decided about a name:

* `same` tells the merge which pairs of regular files are in sync, so that they are counted there
  and never built up; it is compiled once per run from the policy;
* `decide` gives every row that the merge did yield to exactly one operation (and, for a
  destination that spells the name otherwise, to one rename before it).

What is compared, for two regular files (``--compare``):

    size+mtime   kind, size, mtime within the window            differing mtime alone: copied again
    size         kind and size                                  times are left alone
    mtime        kind and mtime within the window
    checksum     sizes differ: copied; else both are read       the only mode that reads equal files

and in every mode those of mode, owner and group that the policy is asked to keep; where only they
differ, metadata is set and no content moves. Directories, links and special files are always
yielded by the merge (there are few of them, and looking at them needs more than facts).
"""

from __future__ import annotations

from typing import NamedTuple

from dunlin.model import (
    CHANGED,
    CTIME,
    DIRECTORY_BITS,
    FILE_BITS,
    GID,
    MODE,
    MTIME,
    NLINK,
    PERMISSION_BITS,
    SIZE,
    SURE,
    TYPE_BITS,
    UID,
    Action,
    Difference,
    Facts,
    Kind,
    Operation,
    Row,
    Same,
)

COMPARE = ("size+mtime", "size", "mtime", "checksum")

SECOND = 1_000_000_000
"""ns: services tell the time of an upload in whole seconds, the rest cut off."""

_SURELY = (True,)

class Policy(NamedTuple):
    """What the person asked for, as far as it decides about names.

    Attributes:
        compare: one of `COMPARE`.
        window: two mtimes that differ by no more than this many ns are equal.
        update: leave a destination alone that is newer than the source.
        skip_existing: leave any file alone that exists at the destination.
        force: copy every file, in sync or not.
        links, specials, devices: take part of symbolic links; sockets and FIFOs; device files.
        perms, owner, group: keep permission bits, user and group (resolved: False where this
            process may not set them).
        groups: the only groups this process may give to a file; None: any.
        hard_links: names of one inode stay names of one inode.
        attributes: extended attributes or ACLs are kept, so equal facts do not mean equal metadata.
        delete: names only at the destination are extras (else they are left unmentioned).
        clear: a non-empty directory that stands where a file belongs may be removed.
        partial: one side is an object store: some of its facts may be unknown (None).
        plain: the destination holds directories and regular files only, whatever `links` and the like would say.
    """

    compare: str = "size+mtime"
    window: int = 0
    update: bool = False
    skip_existing: bool = False
    force: bool = False
    links: bool = False
    specials: bool = False
    devices: bool = False
    perms: bool = False
    owner: bool = False
    group: bool = False
    groups: frozenset[int] | None = None
    hard_links: bool = False
    attributes: bool = False
    delete: bool = False
    clear: bool = False
    partial: bool = False
    plain: bool = False

    def wants(self, kind: int) -> bool:
        """Whether names of this kind (type bits) take part at all."""
        if self.plain:
            return kind in (FILE_BITS, DIRECTORY_BITS)
        if kind == Kind.LINK:
            return self.links
        if kind in (Kind.FIFO, Kind.SOCKET):
            return self.specials
        if kind in (Kind.BLOCK, Kind.CHARACTER):
            return self.devices
        return True


def same(policy: Policy) -> Same:
    """The test by which the merge counts a pair of regular files as in sync without yielding it."""
    if policy.force or policy.compare == "checksum":
        return lambda a, b: False
    if policy.attributes:
        # Equal facts do not mean equal attributes: only what the state is sure of on both sides is not looked at.
        facts = same_facts(policy)
        return lambda a, b: (
            a[SURE:] == _SURELY and b[SURE:] == _SURELY and not (policy.hard_links and a[NLINK] > 1) and facts(a, b)
        )
    if policy.hard_links:
        # Of several names of one inode each must be looked at, whatever its facts.
        inner = same_facts(policy)
        return lambda a, b: a[NLINK] == 1 and inner(a, b)
    return same_facts(policy)


def same_facts(policy: Policy) -> Same:
    """Whether two regular files are in sync by their facts: content by the compare rule, and kept metadata."""
    if policy.compare == "size+mtime" and policy.window == 0 and policy.groups is None and not policy.partial:
        # The three usual cases compare slices in C: this runs once for every file of every run.
        if policy.perms and policy.owner and policy.group:
            return lambda a, b: a[:5] == b[:5] and a[MODE] & TYPE_BITS == FILE_BITS
        if policy.perms and not policy.owner and not policy.group:
            return lambda a, b: a[:3] == b[:3] and a[MODE] & TYPE_BITS == FILE_BITS
        if not (policy.perms or policy.owner or policy.group):
            return (
                lambda a, b: a[1:3] == b[1:3]
                and a[MODE] & TYPE_BITS == FILE_BITS
                and b[MODE] & TYPE_BITS == FILE_BITS
            )
    return lambda a, b: (
        a[MODE] & TYPE_BITS == FILE_BITS
        and b[MODE] & TYPE_BITS == FILE_BITS
        and same_content(policy, a, b)
        and same_meta(policy, a, b)
    )


def same_content(policy: Policy, source: Facts, target: Facts) -> bool:
    """Whether two regular files count as having the same content, by their facts alone."""
    sized = source[SIZE] == target[SIZE]
    if policy.compare in ("size", "checksum"):
        return bool(sized)
    timed = same_time(policy, source, target)
    return timed if policy.compare == "mtime" else bool(sized and timed)


def same_time(policy: Policy, source: Facts, target: Facts) -> bool:
    """Whether two mtimes are equal within the window.

    A side whose mtime is unknown agrees if it was written after the other's last change.
    """
    if source[MTIME] is None and target[MTIME] is None:
        return True
    if source[MTIME] is None:
        return bool(source[CTIME] is None or target[MTIME] < source[CTIME] + max(policy.window, SECOND))
    if target[MTIME] is None:
        return bool(target[CTIME] is None or source[MTIME] < target[CTIME] + max(policy.window, SECOND))
    return bool(abs(source[MTIME] - target[MTIME]) <= policy.window)


def same_meta(policy: Policy, source: Facts, target: Facts) -> bool:
    """Whether mode, owner and group agree as far as the policy keeps them and both sides know them."""
    if source[UID] is None or target[UID] is None:
        return True
    if policy.perms and (source[MODE] ^ target[MODE]) & PERMISSION_BITS:
        return False
    if policy.owner and source[UID] != target[UID]:
        return False
    if policy.group and source[GID] != target[GID]:
        return policy.groups is not None and source[GID] not in policy.groups
    return True


def decide(difference: Difference, policy: Policy) -> list[Operation]:
    """The operations for one window of one directory, each with the rows that share the decision."""
    operations: dict[tuple[Action, bool, str], Operation] = {}
    # In a directory that the destination lacks every file of one name is one decision: it is taken once.
    plain = not policy.hard_links
    new: list[Row] = []
    for row in difference.rows:
        _, source, target = row
        if target is None and source is not None and source[MODE] & TYPE_BITS == FILE_BITS and (
            plain or source[NLINK] == 1
        ):
            new.append(row)
            continue
        for action, clear, reason in _decide_row(policy, difference, row):
            key = (action, clear, reason)
            if key not in operations:
                operations[key] = Operation(action, [], clear, reason)
            operations[key].rows.append(row)
    if new:
        copy = operations.setdefault((Action.COPY, False, ""), Operation(Action.COPY, []))
        copy.rows = new + copy.rows if copy.rows else new
    return list(operations.values())


def _decide_row(policy: Policy, difference: Difference, row: Row) -> list[tuple[Action, bool, str]]:
    """What is to be done with one row, as (action, clear, reason)."""
    name, source, target = row
    if source is None:
        return [(Action.EXTRA, False, "")] if policy.delete else []
    decisions = []
    if name in difference.renames:
        decisions.append((Action.RENAME, False, difference.renames[name]))
    kind = source[MODE] & TYPE_BITS
    if not policy.wants(kind):
        reason = "link" if kind == Kind.LINK else "special"
        decisions.append((Action.SKIP, False, f"no-{reason}" if policy.plain else reason))
    elif kind == DIRECTORY_BITS:
        clear = target is not None and target[MODE] & TYPE_BITS != DIRECTORY_BITS
        decisions.append((Action.DIRECTORY, clear, ""))
    else:
        # A rename replaces anything but a directory, so only a directory has to go first.
        clear = target is not None and target[MODE] & TYPE_BITS == DIRECTORY_BITS
        action, reason = Action.LINK if kind == Kind.LINK else Action.SPECIAL, ""
        if kind == FILE_BITS:
            action, reason = _decide_file(policy, source, target)
        # What is left alone makes no way either.
        decisions.append((action, clear and action is not Action.SKIP, reason))
        if kind != FILE_BITS and policy.hard_links and source[NLINK] > 1:
            # Each of its names is made like any other, and they become one after the transfers.
            decisions.append((Action.HARD, False, ""))
    return decisions


def _decide_file(policy: Policy, source: Facts, target: Facts | None) -> tuple[Action, str]:
    if target is not None and policy.skip_existing:
        return Action.SKIP, "exists"
    if policy.hard_links and source[NLINK] > 1:
        return Action.HARD, ""
    return decide_content(policy, source, target)


def decide_content(policy: Policy, source: Facts, target: Facts | None) -> tuple[Action, str]:
    """COPY, META, VERIFY or SKIP (with its reason) for one regular file of the source."""
    if target is None or target[MODE] & TYPE_BITS != FILE_BITS:
        return Action.COPY, ""
    if policy.force:
        return Action.COPY, ""
    if same_content(policy, source, target):
        return (Action.VERIFY if policy.compare == "checksum" else Action.META), ""
    if policy.update and _newer(policy, source, target):
        return Action.SKIP, "newer"
    return Action.COPY, ""


def _newer(policy: Policy, source: Facts, target: Facts) -> bool:
    """Whether the destination is newer; where an mtime is unknown, by the time at which the object was written."""
    here = source[MTIME] if source[MTIME] not in (None, CHANGED) else source[CTIME]
    there = target[MTIME] if target[MTIME] not in (None, CHANGED) else target[CTIME]
    return bool(here is not None and there is not None and there > here + policy.window)
