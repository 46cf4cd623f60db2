"""A backup whose units go to workers through a queue: what it tells them, and who of this machine works along.

What `jobs.spread` says of a sync holds here: this process decides, and is the only one that writes the tree, the index
and the manifest; places are named, and each worker has its own logins, and its own password for the repository. The
workers that the run brings along are told this process's, through a pipe. Only one backup of a share goes on at a
time, wherever it runs: its lease in the repository says so.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dunlin import __version__
from dunlin.backup.manifest import Manifest, to_bytes
from dunlin.backup.repository import Area, Repository
from dunlin.jobs.groups import all_groups, place_groups
from dunlin.jobs.options import Spread
from dunlin.jobs.spread import along, how_to, refuse_memory, side_of
from dunlin.jobs.vaults import GivenVault, as_told
from dunlin.pace.bucket import Bucket
from dunlin.queue.open import open_queue
from dunlin.report import Report
from dunlin.stores.login import Login
from dunlin.stores.open import Far
from dunlin.workers.agents import Agents
from dunlin.workers.backup_remote import SPEECH, RemoteMovers, take_over
from dunlin.workers.backup_task import disk_of
from dunlin.workers.backup_wire import FORMAT, BackupSetup
from dunlin.workers.remote import RemotePool, Sending
from dunlin.workers.savers import FAR, Asked
from dunlin.workers.saving import Hire

if TYPE_CHECKING:
    from dunlin.jobs.backup import Options

SLOTS = 2
"""Units under way for each process that works along: while one stores, the other reads."""


def hiring(
    options: Options, opened: Repository, area: Area, asked: Asked, far: Far | None, bucket: Bucket, report: Report
) -> Hire:
    """Who does the units of a backup over a queue. Raises USAGE for what cannot be spread.

    Args:
        asked: what movers of this process would be told. far: of the source, None where it is local.
        bucket: limit and stop of the run.
    """
    how = options.spread
    assert how is not None
    refuse_memory(asked.source, options.repository.url)
    token = os.urandom(4).hex()

    def hire(parent: Manifest | None) -> RemoteMovers:
        queue = open_queue(how.queue)
        try:
            setup = _setup(options, how, opened, area, asked, far, parent)
            leave = take_over(queue, opened.id, area.tenant, area.share, token)
            crew = _crew(options, how, opened, area, asked, far, token) if how.work else None
            sending = Sending(
                how.host, how_to(how), priority=how.priority, groups=_groups(options, how), leave=leave, speech=SPEECH,
                renew=lambda: setup._replace(source=side_of(how.source, _source(options, asked, far), far)),
            )  # fmt: skip
            return RemoteMovers(RemotePool(queue, token, setup, bucket, sending, crew, report), area)
        except BaseException:
            queue.close()
            raise

    return hire


def _setup(
    options: Options, how: Spread, opened: Repository, area: Area, asked: Asked, far: Far | None,
    parent: Manifest | None,
) -> BackupSetup:  # fmt: skip
    place = options.repository
    return BackupSetup(
        FORMAT,
        __version__,
        side_of(how.source, _source(options, asked, far), far),
        as_told(how.target, place),
        opened.id,
        area.tenant,
        area.share,
        to_bytes(parent) if parent is not None else b"",
        disk_of(area) or "",
        place.timeout,
        place.request_timeout,
        all_groups(how.tenant),
        asked.selection,
        asked.content,
        asked.force,
        asked.xattrs,
        asked.attempts,
    )


def _source(options: Options, asked: Asked, far: Far | None) -> str:
    """The source's place: as it was written where it is far away, since its canonical URL names a server's address."""
    return options.source if far is not None else asked.source


def _groups(options: Options, how: Spread) -> tuple[str, ...]:
    source = place_groups(how.source, options.source, options.login, how.capped)
    target = place_groups(how.target, options.repository.url, options.repository.login, how.capped)
    return all_groups(how.tenant, source, target)


def _crew(
    options: Options, how: Spread, opened: Repository, area: Area, asked: Asked, far: Far | None, token: str
) -> Agents:
    """The processes of this machine that work along."""
    movers = options.movers or min(os.cpu_count() or 1, 8)
    places: dict[str, tuple[str, Login]] = {"source": (_source(options, asked, far), options.login)}
    vault = GivenVault(options.repository, opened.told(area.tenant))
    return along(how, token, movers, FAR if far is not None else SLOTS * movers, places, vault)
