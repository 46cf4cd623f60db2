"""Where the files that a run itself writes lie below the roots of its pair."""

from __future__ import annotations

import os
from collections.abc import Iterable

from dunlin.jobs.options import SyncOptions
from dunlin.jobs.record import own_paths
from dunlin.state.location import locate
from dunlin.stores.open import local_path


def own_files_of(options: SyncOptions, opened: str | None) -> tuple[str, ...]:
    """Absolute paths of those files; `opened` is the state that is in use.

    A dry run and a check use none that lasts, and that of a sync may have been reached through a link: where it is
    looked for counts as well.
    """
    located = locate(options.state_db, os.getcwd(), options.user_state).path
    return tuple(sorted({*own_paths(options, opened), *own_paths(options, located)}))


def own_below(paths: Iterable[str], url: str) -> frozenset[str]:
    """Those of the absolute `paths` that lie below a local root, relative to it; none where the root is not local.

    A link counts as well as what it leads to: replacing either would end the use of the file.
    """
    root = local_path(url)
    if root is None:
        return frozenset()
    prefix = os.path.realpath(root).rstrip("/") + "/"
    places = set()
    for path in paths:
        above, name = os.path.split(path)
        places |= {os.path.realpath(path), os.path.join(os.path.realpath(above), name)}
    return frozenset(place[len(prefix) :] for place in places if place.startswith(prefix))
