"""A run whose units go to workers through a queue: what it tells them, what it asks of them, who else may not run.

The run itself is the same one: this process lists nothing and copies nothing, but it decides what is handed out, takes
in what became of it, and is the one writer of the state. So `dunlin status`, `control` and `dashboard` see it as any
other.

What stands on the queue's board holds no secret: places are named, and each worker has its own logins. The workers that
the run brings along are told those of this process, through a pipe.

One run per destination: on this machine its lock says so (`workers.lock`), over all machines an office in the queue
(`jobs.office`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice

from dunlin import __version__
from dunlin.errors import usage
from dunlin.jobs.budget import crew_size
from dunlin.jobs.groups import all_groups, place_groups
from dunlin.jobs.office import take
from dunlin.jobs.options import Spread, SyncOptions
from dunlin.jobs.pair import PairOfStores
from dunlin.jobs.split import split
from dunlin.jobs.within import stay_with_lock
from dunlin.pace.bucket import Bucket
from dunlin.queue.base import Queue
from dunlin.queue.open import open_queue, shown
from dunlin.report import Event, Level, Report
from dunlin.state.files import KnownFile
from dunlin.state.store import State
from dunlin.stores.login import Login
from dunlin.stores.open import Far, local_path, shown_place
from dunlin.workers.agents import Agents, AgentSetup, spawned
from dunlin.workers.doers import Doers
from dunlin.workers.packing import FORMAT, RunSetup, Side
from dunlin.workers.part import Vaults
from dunlin.workers.remote import PREFIX, RemotePool, Sending, forget, queue_of
from dunlin.workers.root import marks, prove, retract
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
) -> Doers:
    """The workers of a run. Raises USAGE for what cannot be spread, LOCKED, and what the queue raises."""
    how = options.spread
    assert how is not None
    _check(options, pair, how)
    token = setup.rules.run
    queue = open_queue(how.queue)
    try:
        dead = setup.rules.dead - {token}
        _clean(queue, dead, report)
        shown_target = shown_place(pair.target)
        office = take(queue, pair.target, shown_target, token, dead, options.lock_wait, home=options.home)
        stay_with_lock(options, pair)
    except BaseException:
        queue.close()
        raise
    far = setup.source_far is not None or setup.target_far is not None
    target = local_path(setup.target)
    proof = prove(target, run=token) if target is not None else ""
    told = RunSetup(
        FORMAT,
        __version__,
        _source(options, how, setup),
        side_of(how.target, setup.target, setup.target_far, proof),
        setup.options,
        setup.rules,
        setup.target_caps or pair.caps,
        setup.backup,
        setup.backup_prefix,
        remembered=far,
        accounts=all_groups(how.tenant),
        snapshot=options.opens.elsewhere(how.source) if options.opens is not None else None,
    )
    rows = _rows(state, setup.pair) if far else None
    crew = _crew(options, how, pair, token) if how.work else None

    def renew() -> RunSetup:
        again = prove(target, proof) if target is not None and proof else ""
        source = _source(options, how, setup)
        return told._replace(source=source, target=side_of(how.target, setup.target, setup.target_far, again))

    def leave() -> None:
        if target is not None and proof:
            retract(target, proof)

    sending = Sending(how.host, how_to(how), rows, office, how.priority, _groups(how, options), renew, leave)
    return split(RemotePool(queue, token, told, bucket, sending, crew, report), options, pair, token, report)


def _check(options: SyncOptions, pair: PairOfStores, how: Spread) -> None:
    refuse_memory(pair.source, pair.target)
    if options.transfer.in_place:
        raise usage("--queue: a worker that lost touch could go on writing into files --in-place", "leave it out")
    if pair.backup and not how.host:
        raise usage("--queue: workers on other machines do not have this --backup-dir", "choose one in the destination")


def _source(options: SyncOptions, how: Spread, setup: Setup) -> Side:
    """The source as workers are told it; of a snapshot only what is shown."""
    return Side(setup.source) if options.opens is not None else side_of(how.source, setup.source, setup.source_far)


def _groups(how: Spread, options: SyncOptions) -> tuple[str, ...]:
    place = options.opens.lies if options.opens is not None else (options.source, options.login_source)
    source = place_groups(how.source, *place, how.capped)
    target = place_groups(how.target, options.destination, options.login_target, how.capped)
    return all_groups(how.tenant, source, target)


def side_of(name: str, place: str, far: Far | None, proof: str = "") -> Side:
    """A place as workers are told it. `name`: as it was written, if that is a location; `proof`: see `Side`."""
    if far is None:
        path = local_path(place)
        if path is None:
            return Side(name or place)
        return Side(name or place, os.stat(path).st_ino, marks=() if proof else marks(path), proof=proof)
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
    slots = max(movers, options.crew.workers or SLOTS * movers)
    return along(how, token, movers, slots, places, options.opens.vault if options.opens is not None else None)


def how_to(how: Spread) -> str:
    """How a worker is started that takes the units of a run, for people."""
    label = f" on {how.host}, or with --host-label {how.host}" if how.host else ""
    return f"start one with: dunlin worker --queue {shown(how.queue)}{label}"


def refuse_memory(*urls: str) -> None:
    """Raises USAGE where a tree is in the memory of this process."""
    if any(url.startswith("memory:") for url in urls):
        raise usage("--queue: a tree in the memory of this process is in that of no worker")


def along(
    how: Spread, token: str, processes: int, slots: int, places: dict[str, tuple[str, Login]],
    vaults: Vaults | None = None,
) -> Agents:  # fmt: skip
    """The processes of this machine that work along on a run.

    Args:
        token: of the run. slots: units, or files, under way at a time in all of them.
        places: see `Given`. vaults: opens the repository of the run; None: it has none.
    """
    labels = (how.label, how.host) if how.host else (how.label,)
    setup = AgentSetup(
        how.queue, how.label, slots, labels, Given(places), (queue_of(token),), GRACE, vaults=vaults
    )  # fmt: skip
    return Agents(spawned(setup, processes), processes, GRACE)


def _clean(queue: Queue, dead: frozenset[str], report: Report) -> None:
    """Forget what runs left in the queue that are known to be over: their workers stop at the next heartbeat."""
    for stats in queue.stats() if dead else ():
        token = stats.queue.removeprefix(PREFIX)
        if stats.queue.startswith(PREFIX) and token in dead:
            forget(queue, token)
            message = f"took {stats.waiting + stats.leased} units of an interrupted run out of the queue"
            report.event(Event(Level.INFO, "queue.cleaned", message, {"run": token}))


def _rows(state: State, pair: int) -> Callable[[str], list[KnownFile]]:
    def rows(directory: str) -> list[KnownFile]:
        known = state.digests(pair, [directory]).get(directory)
        return list(islice(state.known_rows(known.id), MOST_ROWS)) if known is not None else []

    return rows
