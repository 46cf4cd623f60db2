"""The groups that tasks belong to: their tenant's, and those of the places that they touch (`queue.caps`).

A place of an object store belongs to its bucket, container or share, by whatever name it is called; one that was named
``loc://NAME`` to that location as well. So a cap on either holds for all that is put, before and after the cap was.
A directory of a machine belongs to no store of its own: it has the groups of those directories that have a cap, and
which these are is told by the configuration.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Sequence

from dunlin.model import is_below
from dunlin.queue.caps import tenant_group
from dunlin.stores.login import Login
from dunlin.stores.open import beginning, canonical_url, is_far, is_share, local_path

_LOCATION = re.compile(r"loc://([^/]+)", re.IGNORECASE)


def store_group(place: str) -> str:
    """The group of a store: ``loc://NAME``, the canonical URL of a bucket, a directory."""
    return f"store:{place}"


def place_groups(named: str, url: str, login: Login | None = None, capped: Sequence[str] = ()) -> list[str]:
    """The groups of a place.

    Args:
        named: as it was written, where that is ``loc://NAME/PATH``; anything else is not looked at.
        url: where it lies. login: what lets us in: it may name the server.
        capped: directories with a cap, absolute, without links.

    Raises USAGE for what is no place.
    """
    location = _LOCATION.match(named)
    groups = [store_group(f"loc://{location[1]}")] if location is not None else []
    path = local_path(url) if not is_far(url) else None
    if path is not None:
        return groups + directory_groups([os.path.realpath(path)], capped)
    return [*groups, store_group(whole_store(url, login))]


def whole_store(url: str, login: Login | None = None) -> str:
    """The canonical URL of the bucket, container or share that a place lies in. Raises USAGE."""
    whole = canonical_url(url, login)
    begin = beginning(url, login).rstrip("/")
    if begin:
        return whole.removesuffix(begin).rstrip("/")
    if is_share(url):
        scheme, _, rest = whole.partition("://")
        return f"{scheme}://" + "/".join(rest.split("/")[:2])
    return whole


def directory_groups(paths: Collection[str], capped: Sequence[str]) -> list[str]:
    """The groups of directories that hold some paths, absolute and without links; nothing is looked at."""
    return [store_group(each) for each in capped if any(is_below(path, each) for path in paths)]


def all_groups(tenant: str, *places: Iterable[str]) -> tuple[str, ...]:
    """The groups of a task: its tenant's, if it has one, and those of its places, each once; so are accounts called."""
    own = [tenant_group(tenant)] if tenant else []
    return tuple(dict.fromkeys([*own, *(group for place in places for group in place)]))
