"""What would be done, or differs, without doing anything: `--dry-run` and `dunlin check`."""

from __future__ import annotations

from dunlin import hashing
from dunlin.errors import DunlinError
from dunlin.model import DIRECTORY_BITS, MODE, SIZE, TYPE_BITS, Action, Entry, Operation, Row, join
from dunlin.report import Level
from dunlin.stores.base import MakesLinks, power
from dunlin.transfer.outcome import Outcome, Presence
from dunlin.transfer.stream import digest_of
from dunlin.workers.context import Context

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
    if action is Action.EXTRA:
        outcome.counts["extra_directories" if is_directory else "extra_files"] += 1
        outcome.extras.append((name, is_directory))
        _tell(outcome, "delete" if context.rules.mode == "plan" else "extra", path, facts[SIZE])
        return
    if action is Action.DIRECTORY:
        if target is None or operation.clear:
            outcome.counts["missing_directories"] += 1
            _tell(outcome, "make directory" if context.rules.mode == "plan" else "missing", path, 0)
        there = target is not None and not operation.clear
        outcome.subdirectories.append((name, int(Presence.BOTH if there else Presence.SOURCE)))
        return
    if action is Action.VERIFY and _verified(context, path, row):
        outcome.counts["verified_files"] += 1
        outcome.counts["equal_files"] += 1
        outcome.counts["equal_bytes"] += facts[SIZE]
        return
    if action is Action.LINK and target is not None and _same_link(context, path, row):
        outcome.counts["equal_files"] += 1
        return
    if action is Action.SPECIAL and target is not None and source is not None and source[MODE] == target[MODE]:
        outcome.counts["equal_files"] += 1
        return
    if action is Action.META and context.rules.mode == "check" and not context.rules.policy.perms:
        outcome.counts["equal_files"] += 1
        return
    outcome.counts["missing_files" if target is None else "differing_files"] += 1
    outcome.counts["pending_files"] += 1
    outcome.counts["pending_bytes"] += facts[SIZE] if action in (Action.COPY, Action.VERIFY) else 0
    if context.rules.mode == "plan":
        verb = "update" if action is Action.COPY and target is not None else _VERBS.get(action, "copy")
        _tell(outcome, verb, path, facts[SIZE])
    else:
        _tell(outcome, "missing" if target is None else "differ", path, facts[SIZE])


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
    return not (row[1][MODE] ^ row[2][MODE]) & TYPE_BITS and source.read_link(path) == target.read_link(path)


def _tell(outcome: Outcome, verb: str, path: str, size: int, reason: str = "") -> None:
    outcome.tell(Level.INFO, "plan", f"{verb} {path}", verb=verb, path=path, size=size, reason=reason)
