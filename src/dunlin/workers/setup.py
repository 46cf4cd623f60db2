"""What a mover is told once, and how it makes itself ready with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from dunlin.pace.bucket import Paces
from dunlin.pace.window import Window, WindowLimits, run_length
from dunlin.report import Report
from dunlin.stores.base import Caps, Store
from dunlin.stores.local.writing import WriteOptions
from dunlin.stores.open import Far, open_store
from dunlin.stores.wrap import Guarded, UnlessThere, refuses
from dunlin.transfer import Options
from dunlin.transfer.site import Site
from dunlin.workers.context import Context, Remembers, Rules

if TYPE_CHECKING:  # loaded only where a store is far away
    from dunlin.pace.gate import Gate
    from dunlin.stores.login import Login
    from dunlin.transfer.hands import Hands
    from dunlin.workers.packing import SnapshotSide
    from dunlin.workers.part import Vaults
    from dunlin.workers.profiles import Profiles

MOVER_DIGITS = 2
"""Hexadecimal digits by which a mover's number follows the run in the names of its temporary files."""


class Opens(Protocol):
    """Opens the source of a run in any of its processes; plain, so that a spawned one can receive it.

    Attributes:
        url: what is shown and put on record, without secrets.
        forks: nothing that it loads forbids to fork the process.
        beside: canonical URLs of what the run must leave alone, wherever it lies: the repository, its cache.
        lies: the URL of the repository that it is in, and what lets us in there.
        vault: opens that repository in a worker that the run brings along (`part.Vaults`).
    """

    @property
    def url(self) -> str: ...

    @property
    def forks(self) -> bool: ...

    @property
    def beside(self) -> tuple[str, ...]: ...

    @property
    def lies(self) -> tuple[str, Login]: ...

    @property
    def vault(self) -> Vaults: ...

    def __call__(self) -> Store:
        """The source, opened for this process."""
        ...

    def elsewhere(self, named: str) -> SnapshotSide:
        """What workers are told to open it by. `named`: the repository's place where that is ``loc://NAME/PATH``."""
        ...


class Setup(NamedTuple):
    """Everything but the units: plain, so that a spawned process can receive it.

    Attributes:
        source, target: URLs.
        backup: URL of the store that receives what is overwritten or deleted; "" for none.
        backup_prefix: its directory below the target's root, when it lies there (`backup` is "" then).
        options, rules: how to transfer, look and decide.
        budget: bytes of buffers for all pipelines of one mover.
        target_caps: what was found out about the destination.
        source_far, target_far: what a side is told that is an object store; None for others.
        hands: files under way at a time, where a side is an object store: in the whole run, and in what a mover is
            told (`for_mover`) its share. begin: as many of them at the beginning; 0: all.
        profile: directory where each process leaves its part of a profile; "" for none.
        window: what listing may take: in the whole run, and in what a mover is told its share.
        known, pair: the state file, for what it remembers of the pair's objects; "" for nothing.
        opens: opens the source where it is no place that `open_store` knows (a snapshot); None: `source` says all.
    """

    source: str
    target: str
    options: Options
    rules: Rules
    backup: str = ""
    backup_prefix: str = ""
    budget: int = 32 << 20
    target_caps: Caps | None = None
    source_far: Far | None = None
    target_far: Far | None = None
    hands: int = 16
    begin: int = 0
    known: str = ""
    pair: int = 0
    profile: str = ""
    window: WindowLimits = WindowLimits()
    opens: Callable[[], Store] | None = None


def share(whole: int, parts: int, place: int) -> int:
    """What the part at `place`, counted from 0, gets of a whole: all of it is given out, and nobody goes empty."""
    return max(1, whole // parts + (place < whole % parts))


def for_mover(setup: Setup, movers: int, place: int) -> Setup:
    """What one of so many movers is told. (The process that leads has all hands: it has none to share with.)"""
    begin = setup.begin and share(setup.begin, movers, place)
    hands, window = share(setup.hands, movers, place), window_share(setup.window, movers, place)
    return setup._replace(hands=hands, begin=begin, window=window)


def window_share(limits: WindowLimits, movers: int, place: int) -> WindowLimits:
    """What one of so many movers may take of the window. Where directories are fewer, the last ones list nothing."""
    directories, files, threads = (each and share(each, movers, place) for each in limits[:3])
    if limits.directories:
        # The files of those that list nothing would be lost to the others.
        files = limits.files and share(limits.files, min(movers, limits.directories), place)
    return WindowLimits(directories, files, threads, limits.marks)


def token(rules: Rules, number: int) -> str:
    """The token of mover `number` in the names of its temporary files."""
    return f"{rules.run}{number:0{MOVER_DIGITS}x}"


def build(
    setup: Setup,
    bucket: Paces,
    number: int,
    report: Report,
    guard: Callable[[], None] | None = None,
    known: Remembers | None = None,
) -> Context:
    """Open the stores and make the rules ready, in the process that will do the units.

    `guard`: called before anything is changed at the destination; what it raises is in its way. `known`: remembers
    files, in place of the state file.
    """
    options = setup.options
    write = WriteOptions(
        run_id=token(setup.rules, number),
        fsync_file=options.fsync == "file",
        in_place=options.in_place,
        sparse=options.sparse,
        limited=lambda: bucket.rate > 0,
        commit=guard,
    )
    profiles = None
    if setup.profile:
        from dunlin.workers.profiles import Profiles

        profiles = Profiles(setup.profile)
    gate, hands = _far_reaching(setup, bucket, profiles, guard)
    # A batch is in memory as a whole before it is cut into runs.
    batch = run_length(setup.window.files, setup.window.directories)
    listings = setup.window.directories
    source = (
        setup.opens()
        if setup.opens is not None
        else open_store(setup.source, batch=batch, far=_told(setup.source_far, gate, listings))
    )
    refused: dict[str, str] = {}
    target = open_store(
        setup.target,
        options=write,
        caps=setup.target_caps,
        on_refused=lambda what, error: refused.update({what: error.reason}),
        batch=batch,
        far=_told(setup.target_far, gate, setup.window.directories),
    )
    backup = open_store(setup.backup, options=write) if setup.backup else None
    if guard is not None:
        target = Guarded(target, guard)
    # Objects only: elsewhere content gets its name by a rename, right after the guard was asked.
    vacant = UnlessThere(target) if guard is not None and setup.target_far and not target.caps.directories else None
    if setup.backup_prefix:
        backup = target
    site = Site(
        source=source,
        target=target,
        options=options,
        bucket=bucket,
        token=write.run_id,
        budget=setup.budget,
        report=report,
        backup=backup,
        backup_prefix=setup.backup_prefix,
        hands=hands,
        gate=gate,
        commit=guard,
        vacant=vacant,
    )
    if known is None and gate is not None and setup.known:
        from dunlin.state.known import KnownFiles

        known = KnownFiles(setup.known, setup.pair)
    return Context(site, setup.rules, time.time_ns, refused, known, profiles, Window(setup.window))


def _far_reaching(
    setup: Setup, bucket: Paces, profiles: Profiles | None, guard: Callable[[], None] | None
) -> tuple[Gate | None, Hands | None]:
    """What carries many files at a time, where a side is an object store.

    Before a request is made again the guard is asked, too: else one that broke while the process was stopped would put
    old content over what somebody else wrote meanwhile.
    """
    if setup.source_far is None and setup.target_far is None:
        return None, None
    from dunlin.pace.gate import Gate
    from dunlin.transfer.hands import Hands

    gate = Gate(setup.hands, lambda: bucket.stopped or (guard is not None and refuses(guard)))
    if setup.begin:
        gate.cap(setup.begin)
    return gate, Hands(setup.hands, profiles.run if profiles else None, lambda: gate.limit)


def _told(far: Far | None, gate: Gate | None, listings: int) -> Far | None:
    if far is None:
        return None
    kept = max(far.connections, gate.most if gate is not None else 0)
    return far._replace(gate=gate, listings=listings, connections=kept)
