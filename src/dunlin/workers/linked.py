"""Files with several names, as scans find them: which name is copied, and which wait to be linked to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dunlin.model import DEV, IDENT, SIZE, Action, is_file, join
from dunlin.plan import decide_content, same_meta
from dunlin.transfer.outcome import Outcome
from dunlin.workers.rows import as_row

if TYPE_CHECKING:
    from dunlin.workers.coordinator import Coordinator, Flight


def follow_links(crew: Coordinator, flight: Flight, outcome: Outcome) -> None:
    """Files with several names: the first name of each inode is treated like any file, the others wait."""
    directory = str(getattr(flight.task, "directory", ""))
    rows = [row for row in outcome.linked if row[1] is not None]
    names = [(facts[DEV], facts[IDENT], join(directory, name), False) for name, facts, _ in rows if facts]
    firsts = crew.state.add_links(crew.pair, names)
    if crew.rules.mode == "check":
        # Each of these names is in sync; the others of an inode are counted when they are compared with the first.
        counted = [facts for (_, facts, _), first in zip(rows, firsts, strict=True) if first is None and facts]
        crew.count("equal_files", len(counted))
        crew.count("equal_bytes", sum(facts[SIZE] for facts in counted if is_file(facts)))
        return
    # The name that is copied stands first in its group, whatever its path: the others are linked to it.
    leaders = [(*name[:3], True) for name, first in zip(names, firsts, strict=True) if first is None]
    crew.state.add_links(crew.pair, leaders)
    policy = crew.rules.policy
    for (name, facts, target), first in zip(rows, firsts, strict=True):
        if first is not None or facts is None or not is_file(facts):
            continue
        action, _ = decide_content(policy, facts, target)
        if action is Action.SKIP:
            crew.count("skipped_files", 1)
        elif target and action is Action.META and not policy.attributes and same_meta(policy, facts, target):
            crew.count("equal_files", 1)
            crew.count("equal_bytes", facts[SIZE])
            outcome.seen.append(as_row(name, facts))
        else:
            outcome.waiting.append((name, facts, int(action), target is not None))
    crew.record_rows(flight.directory, Outcome(waiting=outcome.waiting, seen=outcome.seen))
    outcome.unfinished = outcome.unfinished or bool(outcome.waiting)
