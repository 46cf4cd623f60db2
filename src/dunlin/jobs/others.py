"""What other pairs have brought into the destination of this one: no extras of ours, whatever our source has.

`sync --container a --container b` fills ./data/a and ./data/b, and `sync --container a --delete-extras` a month later
has ./data itself for its destination: to a comparison of two listings all of a and b are extras then. Within one
command `cli.asking` refuses such pairs; between commands only the state knows. It holds the destination of every pair
that was ever synced with it, and one that lies in this run's, with extras in it, speaks against every delete of the
run.

A pair that is a part of this one is none of that kind: with SRC to DST and SRC/sub to DST/sub both agree on what
is an extra. Nor is one that the filters keep out, since what they leave out is no extra.
"""

from __future__ import annotations

import os

from dunlin.errors import DunlinError, ErrorKind, printable
from dunlin.jobs.options import SyncOptions
from dunlin.jobs.pair import PairOfStores, below
from dunlin.report import NullReport
from dunlin.state.location import locate
from dunlin.state.store import State
from dunlin.stores.base import Stats


def claimed(options: SyncOptions, pair: PairOfStores, state: State, number: int) -> str:
    """Why nothing may be deleted in this run: names the pair that has brought what would go; "" if there is none.

    Args:
        state: of a sync; it has the extras of pair `number` on record. A dry run reads the file that a sync would have.
    """
    for source, target in _others(options, pair, state):
        inner = below(target, pair.target)
        if not inner or below(source, pair.source) == inner:
            continue
        gone = _on_record(state, number, inner) if options.mode == "sync" else _is_extra(options, pair, inner)
        if gone:
            return f"{printable(target)} was brought by the pair with the source {printable(source)}"
    return ""


def _others(options: SyncOptions, pair: PairOfStores, state: State) -> list[tuple[str, str]]:
    known = state.pairs() if options.mode == "sync" else _recorded(options)
    return [(source, target) for _, source, target in known if (source, target) != (pair.source, pair.target)]


def _recorded(options: SyncOptions) -> list[tuple[int, str, str]]:
    path = locate(options.state_db, os.getcwd(), options.user_state).path
    if path is None or not os.path.exists(path):
        return []
    try:
        state = State.open(path, NullReport(), create=False, write=False)
    except DunlinError:
        return []  # a state that cannot be read is a matter of the next sync
    try:
        return state.pairs()
    finally:
        state.close()


def _on_record(state: State, number: int, inner: str) -> bool:
    """Whether a directory, or anything in it, is on record as an extra."""
    # Extras come by falling path: the first before the end of what begins with "inner/", then that before inner's end.
    for end in ("0", "\x01"):
        for extra in state.extras(number, 1, inner + end):
            if extra.path == inner or extra.path.startswith(inner + "/"):
                return True
    return False


def _is_extra(options: SyncOptions, pair: PairOfStores, inner: str) -> bool:
    """The same for a dry run, which keeps no record: the directory is there, takes part, and the source lacks it."""
    if not (options.delete_excluded or options.selection.explain(inner, True).takes_part):
        return False
    return _stands(pair.target_store, inner) and not _stands(pair.source_store, inner)


def _stands(store: Stats, path: str) -> bool:
    try:
        store.stat(path)
    except DunlinError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
        return False
    return True
