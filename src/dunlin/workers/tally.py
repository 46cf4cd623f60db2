"""What would be done, or differs, without doing anything: `--dry-run` and `dunlin check`."""

from __future__ import annotations

from dunlin import hashing
from dunlin.errors import DunlinError
from dunlin.model import (
    DEV,
    DIRECTORY_BITS,
    IDENT,
    MODE,
    NLINK,
    RDEV,
    SIZE,
    TYPE_BITS,
    Action,
    Entry,
    Kind,
    Operation,
    Row,
    is_file,
    join,
)
from dunlin.plan import decide_content, same_meta
from dunlin.report import Level
from dunlin.stores.base import MakesLinks, SetsMeta, power
from dunlin.transfer import keep
from dunlin.transfer.directory import dressed
from dunlin.transfer.outcome import Outcome, Presence
from dunlin.transfer.stream import digest_of
from dunlin.workers.context import Context
from dunlin.workers.tasks import Join

_VERBS = {
    Action.COPY: "copy",
    Action.META: "set metadata of",
    Action.DIRECTORY: "make directory",
    Action.LINK: "make link",
    Action.SPECIAL: "make special file",
    Action.HARD: "hard-link or copy",
    Action.EXTRA: "delete",
    Action.RENAME: "rename to",
}


def tally(context: Context, directory: str, operations: list[Operation], outcome: Outcome) -> None:
    """Count and tell what the operations say; only VERIFY reads anything."""
    for operation in operations:
        for row in operation.rows:
            try:
                _one(context, directory, operation, row, outcome)
            except DunlinError as error:
                outcome.fail(row[0], error)


def _one(context: Context, directory: str, operation: Operation, row: Row, outcome: Outcome) -> None:
    name, source, target = row
    path = join(directory, name)
    facts = source or target
    assert facts is not None
    is_directory = facts[MODE] & TYPE_BITS == DIRECTORY_BITS
    action = operation.action
    if action is Action.SKIP:
        outcome.counts["skipped_files"] += 1
        _tell(outcome, "skip", path, facts[SIZE], operation.reason)
        return
    if action is Action.EXTRA and is_directory and _keeps(context, path):
        outcome.extras.append((name, True))
        _tell(outcome, "skip", path, 0, "not empty")
        return
    if is_directory and not context.site.target.caps.directories:
        # What is in it decides: it comes and goes with that.
        if action is Action.EXTRA:
            outcome.extras.append((name, True))
        else:
            outcome.subdirectories.append((name, int(Presence.BOTH if target is not None else Presence.SOURCE)))
        return
    if action is Action.EXTRA:
        outcome.counts["extra_directories" if is_directory else "extra_files"] += 1
        outcome.extras.append((name, is_directory))
        _tell(outcome, "delete" if context.rules.mode == "plan" else "extra", path, facts[SIZE])
        return
    if operation.clear and target is not None and target[MODE] & TYPE_BITS == DIRECTORY_BITS:
        _cleared(context, path, outcome)
    if action is Action.DIRECTORY:
        if context.rules.mode == "check" and operation.clear:
            outcome.counts["differing_files"] += 1
            _tell(outcome, "differ", path, 0)
        elif target is None or operation.clear:
            outcome.counts["missing_directories"] += 1
            _tell(outcome, "make directory" if context.rules.mode == "plan" else "missing", path, 0)
        elif source is not None and not same_meta(context.rules.policy, source, target):
            if context.rules.mode == "check":
                outcome.counts["differing_files"] += 1
            _tell(outcome, "set metadata of" if context.rules.mode == "plan" else "differ", path, 0)
        there = target is not None and not operation.clear
        outcome.subdirectories.append((name, int(Presence.BOTH if there else Presence.SOURCE)))
        return
    policy = context.rules.policy
    several = source is not None and policy.hard_links and source[NLINK] > 1
    if action is Action.HARD and source is not None:
        if is_file(source):
            action, _ = decide_content(policy, source, target)
        else:
            # Whether the link or special file itself agrees is told by an operation of its own.
            action = Action.LINK if source[MODE] & TYPE_BITS == Kind.LINK else Action.SPECIAL
            if target is None or not _alike(context, action, path, row):
                return
    if action is Action.VERIFY and _verified(context, path, row):
        outcome.counts["verified_files"] += 1
        action = Action.META
    if target is not None and not operation.clear and _alike(context, action, path, row):
        if several:
            # It counts when all names of the file have been seen.
            outcome.linked += [row] if operation.action is Action.HARD else []
            return
        outcome.counts["equal_files"] += 1
        outcome.counts["equal_bytes"] += facts[SIZE] if action is Action.META else 0
        return
    outcome.counts["missing_files" if target is None else "differing_files"] += 1
    outcome.counts["pending_files"] += 1
    outcome.counts["pending_bytes"] += facts[SIZE] if action in (Action.COPY, Action.VERIFY) else 0
    if context.rules.mode == "plan":
        verb = "update" if action is Action.COPY and target is not None else _VERBS.get(action, "copy")
        _tell(outcome, verb, path, facts[SIZE])
    else:
        _tell(outcome, "missing" if target is None else "differ", path, facts[SIZE])


def compare_links(context: Context, task: Join, outcome: Outcome) -> None:
    """Tell which names of one file of the source are not one file at the destination; all agree otherwise."""
    first: tuple[str, tuple[object, object]] | None = None
    for path in (task.first, *task.others):
        try:
            there = context.site.target.stat(path).facts
        except DunlinError as error:
            outcome.fail(path, error)
            continue
        inode = (there[DEV], there[IDENT])
        if first is None:
            first = (path, inode)
        elif inode == first[1]:
            outcome.counts["equal_files"] += 1
            outcome.counts["equal_bytes"] += there[SIZE] if is_file(there) else 0
        else:
            outcome.counts["differing_files"] += 1
            outcome.counts["pending_files"] += 1
            _tell(outcome, "differ", path, 0, f"no hard link of {first[0]}")


def _cleared(context: Context, path: str, outcome: Outcome) -> None:
    """What goes with a directory that stands where a file belongs; raises what would keep it from going."""
    site = context.site
    rules = context.rules
    planned = rules.mode == "plan"
    if planned and not site.options.clear:
        if any(True for _ in keep.contents(site.target, path)):
            raise keep.not_empty(path)
        return
    if not rules.policy.delete:
        return
    if planned:
        keep.check_clear(site, path)
    full = False
    for entry in keep.contents(site.target, path):
        full = True
        if not (planned or keep.takes(rules.selection, entry)):
            continue
        is_directory = entry.kind is Kind.DIRECTORY
        outcome.counts["extra_directories" if is_directory else "extra_files"] += 1
        _tell(outcome, "delete" if planned else "extra", entry.path, entry.size)
    if planned and full:
        # It is deleted with what is in it, and counts like that.
        outcome.counts["extra_directories"] += 1


def _keeps(context: Context, path: str) -> bool:
    """Whether a directory that is to be deleted stays, because the filters, or --prefix, protect something in it."""
    rules = context.rules
    if rules.mode != "plan" or rules.delete_excluded or (rules.selection.everything and not rules.begin):
        return False
    return any(
        not (context.begins(entry.path, entry.kind is Kind.DIRECTORY) and keep.takes(rules.selection, entry))
        for entry in keep.contents(context.site.target, path)
    )


def _alike(context: Context, action: Action, path: str, row: Row) -> bool:
    """Whether nothing is to be done to a name that both sides have, although the merge could not tell."""
    policy = context.rules.policy
    _, source, target = row
    assert source is not None
    assert target is not None
    kind = not (source[MODE] ^ target[MODE]) & TYPE_BITS
    meta = same_meta(policy, source, target)
    if action is Action.LINK:
        if not kind or not _same_link(context, path, row):
            return False
        # Links have no mode of their own.
        return context.rules.mode == "check" or dressed(context.site, row, links=True)
    if action is Action.SPECIAL:
        return kind and source[RDEV] == target[RDEV] and meta
    return action is Action.META and meta and _same_attributes(context, path)


def _same_attributes(context: Context, path: str) -> bool:
    space = context.site.options.xattr_space
    source, target = power(context.site.source, SetsMeta), power(context.site.target, SetsMeta)
    if not space or source is None or target is None:
        return True
    return source.get_xattrs(path, space) == target.get_xattrs(path, space)


def _verified(context: Context, path: str, row: Row) -> bool:
    checksum = context.site.options.checksum
    checksum = checksum if hashing.new(checksum) is not None else "blake3"
    source, target = row[1], row[2]
    assert source is not None
    assert target is not None
    bucket = context.site.bucket
    return digest_of(context.site.source, Entry(path, source), checksum, bucket) == digest_of(
        context.site.target, Entry(path, target), checksum, bucket
    )


def _same_link(context: Context, path: str, row: Row) -> bool:
    source, target = power(context.site.source, MakesLinks), power(context.site.target, MakesLinks)
    if source is None or target is None or row[1] is None or row[2] is None:
        return False
    return source.read_link(path) == target.read_link(path)


def _tell(outcome: Outcome, verb: str, path: str, size: int, reason: str = "") -> None:
    outcome.tell(Level.INFO, "plan", f"{verb} {path}", verb=verb, path=path, size=size, reason=reason)
