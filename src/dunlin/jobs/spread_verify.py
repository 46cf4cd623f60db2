"""A verification whose packs go to workers through a queue (`dunlin verify --queue`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dunlin import __version__
from dunlin.backup.repository import Repository
from dunlin.jobs.groups import all_groups, place_groups
from dunlin.jobs.options import Spread
from dunlin.jobs.repo import Place
from dunlin.jobs.spread import along, how_to, refuse_memory
from dunlin.jobs.vaults import GivenVault, as_told
from dunlin.pace.bucket import Bucket
from dunlin.queue.open import open_queue
from dunlin.report import Report
from dunlin.stores.open import is_far
from dunlin.workers.agents import Agents
from dunlin.workers.remote import RemotePool, Sending
from dunlin.workers.savers import FAR
from dunlin.workers.verify_remote import SPEECH, RemoteLooks
from dunlin.workers.verify_wire import FORMAT, VerifySetup

SLOTS = 2
"""Units under way for each process that works along."""


@contextmanager
def looking(
    how: Spread, place: Place, opened: Repository, tenant: str, look: Callable[[], None], report: Report
) -> Iterator[RemoteLooks]:
    """Workers that look at the packs of a tenant. Raises USAGE for what cannot be spread, and what the queue raises.

    Args:
        place: of the repository. look: called again and again; what it raises ends it.
    """
    refuse_memory(place.url)
    token = os.urandom(4).hex()
    setup = VerifySetup(
        FORMAT, __version__, as_told(how.source, place), opened.id, tenant, place.timeout, place.request_timeout,
        all_groups(how.tenant),
    )  # fmt: skip
    groups = all_groups(how.tenant, place_groups(how.source, place.url, place.login, how.capped))
    sending = Sending(how.host, how_to(how), priority=how.priority, groups=groups, speech=SPEECH)
    crew = _crew(how, place, opened, tenant, token) if how.work else None
    bucket = Bucket.create()
    try:
        looks = RemoteLooks(RemotePool(open_queue(how.queue), token, setup, bucket, sending, crew, report), look)
        try:
            yield looks
        finally:
            looks.close()
    finally:
        bucket.close()


def _crew(how: Spread, place: Place, opened: Repository, tenant: str, token: str) -> Agents:
    """The processes of this machine that work along."""
    processes = min(os.cpu_count() or 1, 8)
    slots = FAR if is_far(place.url) else SLOTS * processes
    return along(how, token, processes, slots, {}, GivenVault(place, opened.told(tenant)))
