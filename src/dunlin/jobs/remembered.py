"""What a dry run or a check may know of the objects of a pair: what the state of its syncs remembers. Only reads.

A sync has its own state open; the other two keep none. But a listing may not tell the mtime of an object, and
without the recorded one a dry run would announce copies that no sync makes.
"""

from __future__ import annotations

import os

from dunlin.errors import DunlinError
from dunlin.jobs.options import SyncOptions
from dunlin.jobs.pair import PairOfStores
from dunlin.report import NullReport
from dunlin.state.location import locate
from dunlin.state.store import State


def remembered(options: SyncOptions, pair: PairOfStores) -> tuple[str, int]:
    """The state file in which the pair is on record and its number there; ("", 0) where nothing is remembered."""
    if pair.source_far is None and pair.target_far is None:
        return "", 0
    path = locate(options.state_db, os.getcwd(), options.user_state).path
    if path is None or not os.path.exists(path):
        return "", 0
    try:
        state = State.open(path, NullReport(), create=False, write=False)
    except DunlinError:
        return "", 0  # a state that cannot be read is a matter of the next sync; here it only means to know less
    try:
        found = [each.id for each in state.status() if (each.source, each.destination) == (pair.source, pair.target)]
    finally:
        state.close()
    return (path, found[0]) if found else ("", 0)
