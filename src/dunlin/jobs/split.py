"""Which files of a run over a queue are copied in ranges by several workers, and what becomes of those given up."""

from __future__ import annotations

from dunlin.errors import ErrorKind
from dunlin.jobs.options import SyncOptions
from dunlin.jobs.pair import PairOfStores
from dunlin.report import Report
from dunlin.stores.base import Begun, Parts, power
from dunlin.stores.objects.writing import CONTINUED
from dunlin.workers.doers import Doers
from dunlin.workers.ranged import Ranged


def split(pool: Doers, options: SyncOptions, pair: PairOfStores, run: str, report: Report) -> Doers:
    """The workers of a run, who bring huge files together where the destination can take them so.

    `run`: names the run's temporary files.
    """
    how = options.spread
    parts = power(pair.target_store, Parts)
    if how is None or not how.split_above or parts is None:
        return pool
    far = pair.target_store.caps.far

    def drop(path: str, begun: Begun, kind: ErrorKind) -> None:
        # What an object store has of an upload is not sent again by the next run.
        if not (far and kind in CONTINUED):
            parts.drop_parts(path, begun)

    return Ranged(pool, run, how.split_above, options.transfer.attempts, drop, report)
