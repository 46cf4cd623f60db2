"""What a file says of work that is shared: tasks of a store at a time, and what each tenant may have.

A store is named as people name places: ``s3://BUCKET``, ``loc://NAME``, a directory. The queue knows groups, so names
become those of `jobs.groups`. An object store is reached by logins that may name its server, one for each side of a
pair: where they do, both are meant.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from dunlin.config import schema
from dunlin.config.credentials import SIDES
from dunlin.config.logins import place
from dunlin.config.settings import Settings
from dunlin.errors import DunlinError, ErrorKind
from dunlin.jobs.groups import store_group, whole_store
from dunlin.queue.caps import PUBLISHING, Shared, tenant_group
from dunlin.stores.open import canonical_url, is_far

if TYPE_CHECKING:
    from dunlin.config.service import Tenant


class StoreCaps(NamedTuple):
    """`groups`: tasks at a time by group. `directories`: those of them that are directories, without links."""

    groups: Mapping[str, int] = {}
    directories: tuple[str, ...] = ()


def store_caps(settings: Settings) -> StoreCaps:
    """What `queue.caps` says. Raises CONFIG, and USAGE for places that are none."""
    found = settings.find("--queue-caps")
    groups: dict[str, int] = {}
    directories = []
    for text, most in (schema.caps(found.value) if found is not None else {}).items():
        if "://" not in text:
            directories.append(os.path.realpath(text))
            groups[store_group(directories[-1])] = most
            continue
        for name in _stores(text, settings):
            groups[store_group(name)] = most
    return StoreCaps(groups, tuple(directories))


def _stores(text: str, settings: Settings) -> Iterable[str]:
    """A store as groups have it: a location by its name, a bucket by its canonical URL."""
    if text.lower().startswith("loc://"):
        place(text, "source", {}, settings)  # whether there is one
        name = text[len("loc://") :].strip("/")
        if "/" in name:
            raise _wrong(text, f"a cap is for a whole location: loc://{name.partition('/')[0]}")
        return [f"loc://{name}"]
    found: dict[str, None] = {}
    for side in SIDES:
        url, login, _ = place(text, side, {}, settings)
        if not is_far(url):
            raise _wrong(text, "write a directory as a path: /mnt/nas")
        whole = whole_store(url, login)
        if canonical_url(url, login).rstrip("/") != whole:
            raise _wrong(text, f"a cap is for a whole store: {whole}")
        found[whole] = None
    return found


def _wrong(where: str, reason: str) -> DunlinError:
    return DunlinError("read the configuration", "queue.caps", ErrorKind.CONFIG, f"{where}: {reason}")


def shared(stores: StoreCaps, tenants: Iterable[Tenant], publishing: int) -> Shared:
    """What all who share the queue hold to. `publishing`: bytes per second of all that is published; 0: no limit."""
    caps, rates = dict(stores.groups), {PUBLISHING: publishing} if publishing else {}
    for each in tenants:
        if each.tasks:
            caps[tenant_group(each.name)] = each.tasks
        if each.bandwidth:
            rates[tenant_group(each.name)] = each.bandwidth
    return Shared(caps, rates)


def speed(value: Any) -> int:
    """Bytes per second of a value that `schema.speed` let through."""
    from dunlin.pace.sizes import parse_rate

    return parse_rate(value) if value else 0
