"""Keeping the places of a run within directories: who asks a service for jobs may be allowed some of them only.

Places are opened by their paths, in several processes, so they are looked at twice: when the pair is opened, and when
the run has its lock, for which it may have waited long. `stores.local.paths` holds on to the directory that each
process found first. What is left is to put a link in place of a directory of the path between that look and the first
use in a process. The files that a run itself writes are opened without that gap (`state.within`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs.options import SyncOptions
from dunlin.state.within import OUTSIDE, root_of
from dunlin.stores.open import canonical_url, local_path

if TYPE_CHECKING:
    from dunlin.jobs.pair import PairOfStores


def stay(roots: Sequence[str] | None, *urls: str) -> None:
    """Refuse places of this machine that lead out of the roots, or elsewhere than when they were resolved.

    Args:
        roots: real paths; None: the run may go anywhere. urls: canonical, so that there was no link in their paths.

    Raises DENIED.
    """
    for url in urls if roots is not None else ():
        path = local_path(url)
        if path is not None and roots is not None and (os.path.realpath(path) != path or root_of(path, roots) is None):
            raise DunlinError("use", path, ErrorKind.DENIED, OUTSIDE)


def stay_with_lock(options: SyncOptions, pair: PairOfStores) -> None:
    """`stay` for the places of an opened pair and what lies beside it, before anything is written. Raises DENIED."""
    within = options.within
    named = [pair.source, pair.target]
    if within.has("backup_dir") and pair.backup:
        named.append(pair.backup)
    if within.has("state_db") and options.state_db:
        named.append(canonical_url(options.state_db))
    stay(within.roots, *named)
