"""A run whose units go to workers through a queue: what it tells them, what it asks of them, who else may not run.

The run itself is the same one: this process lists nothing and copies nothing, but it decides what is handed out, takes
in what became of it, and is the one writer of the state. So `dunlin status`, `control` and `dashboard` see it as any
other.

What stands on the queue's board holds no secret: places are named, and each worker has its own logins. The workers that
the run brings along are told those of this process, through a pipe.

One run per destination: on this machine its lock says so (`workers.lock`), over all machines an office in the queue.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import islice

from dunlin import __version__
from dunlin.errors import DunlinError, ErrorKind, usage
from dunlin.hashing import blake2b
from dunlin.jobs.budget import crew_size
from dunlin.jobs.options import Spread, SyncOptions
from dunlin.jobs.pair import PairOfStores
from dunlin.pace.bucket import Bucket
from dunlin.queue.base import Queue
from dunlin.queue.open import open_queue, shown
from dunlin.report import Event, Level, Report
from dunlin.state.files import KnownFile
from dunlin.state.store import State
from dunlin.stores.login import Login
from dunlin.stores.open import Far, local_path, shown_place
from dunlin.workers.agents import Agents, AgentSetup, spawned
from dunlin.workers.packing import FORMAT, RunSetup, Side
from dunlin.workers.remote import ORDERS_LAST, PREFIX, RemotePool, Sending, forget, queue_of
from dunlin.workers.setup import Setup

MOST_ROWS = 20_000
"""Rows that go along with one directory; beyond them its files are looked at as if nothing were remembered."""

SLOTS = 4
"""Files in flight for each process that works along, unless `--workers` says otherwise."""

GRACE = 10.0
"""Seconds that processes working along get to end with the run."""


class Given:
    """The places of one run, as this process knows them (`workers.part.Resolve`); can be sent to a process."""

    def __init__(self, places: dict[str, tuple[str, Login]]) -> None:
        self._places = places

    def __call__(self, text: str, side: str) -> tuple[str, Login]:
        return self._places[side]


def spread(
    options: SyncOptions, pair: PairOfStores, setup: Setup, bucket: Bucket, state: State, report: Report
) -> RemotePool:
    """The workers of a run. Raises USAGE for what cannot be spread, LOCKED, and what the queue raises."""
    how = options.spread
    assert how is not None
    _check(options, pair, how)
    token = setup.rules.run
    queue = open_queue(how.queue)
    try:
        dead = setup.rules.dead - {token}
        _clean(queue, dead, report)
        office = _take_office(queue, pair, token, dead, options.lock_wait)
    except BaseException:
        queue.close()
        raise
    far = setup.source_far is not None or setup.target_far is not None
    told = RunSetup(
        FORMAT,
        __version__,
        _side(how.source, setup.source, setup.source_far),
        _side(how.target, setup.target, setup.target_far),
        setup.options,
        setup.rules,
        setup.target_caps or pair.caps,
        setup.backup,
        setup.backup_prefix,
        remembered=far,
    )
    label = f" on {how.host}, or with --host-label {how.host}" if how.host else ""
    how_to = f"start one with: dunlin worker --queue {shown(how.queue)}{label}"
    rows = _rows(state, setup.pair) if far else None
    crew = _crew(options, how, pair, token) if how.work else None
    return RemotePool(queue, token, told, bucket, Sending(how.host, how_to, rows, office), crew, report)


def _check(options: SyncOptions, pair: PairOfStores, how: Spread) -> None:
    if any(url.startswith("memory:") for url in (pair.source, pair.target)):
        raise usage("--queue: a tree in the memory of this process is in that of no worker")
    if options.transfer.in_place:
        raise usage("--queue: a worker that lost touch could go on writing into files --in-place", "leave it out")
    if pair.backup and not how.host:
        raise usage("--queue: workers on other machines do not have this --backup-dir", "choose one in the destination")


def _side(name: str, place: str, far: Far | None) -> Side:
    if far is None:
        path = local_path(place)
        return Side(name or place, inode=os.stat(path).st_ino if path is not None else 0)
    return Side(
        name or shown_place(place),
        begin=far.begin,
        markers=far.markers,
        verify=far.verify,
        page=far.page,
        idle=far.idle,
        total=far.total,
        snapshot=far.snapshot,
    )


def _crew(options: SyncOptions, how: Spread, pair: PairOfStores, token: str) -> Agents:
    """The processes of this machine that work along."""
    movers, _ = crew_size(options)
    places = {
        "source": (pair.source_place, options.login_source),
        "dest": (pair.target_place, options.login_target),
    }
    setup = AgentSetup(
        how.queue,
        how.label,
        max(movers, options.crew.workers or SLOTS * movers),
        (how.label, how.host) if how.host else (how.label,),
        Given(places),
        (queue_of(token),),
        GRACE,
    )
    return Agents(spawned(setup, movers), movers, GRACE)


def _clean(queue: Queue, dead: frozenset[str], report: Report) -> None:
    """Forget what runs left in the queue that are known to be over: their workers stop at the next heartbeat."""
    for stats in queue.stats() if dead else ():
        token = stats.queue.removeprefix(PREFIX)
        if stats.queue.startswith(PREFIX) and token in dead:
            forget(queue, token)
            message = f"took {stats.waiting + stats.leased} units of an interrupted run out of the queue"
            report.event(Event(Level.INFO, "queue.cleaned", message, {"run": token}))


def _take_office(queue: Queue, pair: PairOfStores, token: str, dead: frozenset[str], patience: float) -> str:
    office = "destination/" + blake2b(pair.target.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    if queue.hold(office, token, ORDERS_LAST):
        return office
    for each in dead:
        queue.leave(office, each)  # its run was killed, and cannot
    until = time.monotonic() + patience
    while not queue.hold(office, token, ORDERS_LAST):
        if time.monotonic() > until:
            reason = "another run writes there, from another machine, or one was killed there just now"
            raise DunlinError("sync to", shown_place(pair.target), ErrorKind.LOCKED, reason, "wait, or stop that run")
        time.sleep(0.2)
    return office


def _rows(state: State, pair: int) -> Callable[[str], list[KnownFile]]:
    def rows(directory: str) -> list[KnownFile]:
        known = state.digests(pair, [directory]).get(directory)
        return list(islice(state.known_rows(known.id), MOST_ROWS)) if known is not None else []

    return rows
