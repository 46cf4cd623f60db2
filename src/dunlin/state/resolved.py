"""Which errors on record still hold, once a run has looked at the files that they are about.

Each run that meets the same trouble puts it on record again, and a run that does not meet it any more says nothing of
it. So at its end the errors of earlier runs are compared with what is on record of their files now:

    synced, or not known any more          it no longer holds
    failed in this run                     the newer error stands for it
    failed in an earlier run               it holds: this run did not look at it

Directories are told in the same way. Only so many errors are looked at that this takes no time that anybody notices.
"""

from __future__ import annotations

from itertools import groupby

from dunlin.state.codec import DirectoryStatus, FileStatus, decode_name
from dunlin.state.files import KnownFile
from dunlin.state.store import State

MOST = 2_000
"""Errors, the newest first, that are looked at."""


def resolve_errors(state: State, pair: int, run: int) -> int:
    """Mark what no longer holds of the pair's errors from before `run`; returns how many those are."""
    rows = state.database.query(state.statements["event_unresolved"], (pair, run, MOST))
    if not rows:
        return 0
    again = {decode_name(path) for (path,) in state.database.query(state.statements["event_paths"], (run,))}
    gone: list[tuple[int]] = []
    found = sorted((decode_name(path), number, name) for number, path, name in rows)
    for directory, group in groupby(found, key=lambda each: each[0].rpartition("/")[0]):
        errors = list(group)
        names = sorted({path.rpartition("/")[2] for path, _, name in errors if name != "directory.failed"})
        known = state.digests(pair, [directory, *(path for path, _, name in errors if name == "directory.failed")])
        there = known.get(directory)
        files = state.known_names(there.id, names) if there is not None else {}
        for path, number, name in errors:
            if name == "directory.failed":
                what = known.get(path)
                holds = what is not None and what.status is DirectoryStatus.FAILED
            else:
                holds = _holds(files.get(path.rpartition("/")[2]))
            if path in again or not holds:
                gone.append((number,))
    with state.transaction():
        state.database.many(state.statements["event_resolved"], gone)
    return len(gone)


def _holds(file: KnownFile | None) -> bool:
    return file is not None and file.status in (FileStatus.FAILED, FileStatus.PENDING)
