"""A backup as it is asked for: source and repository are opened, the run is made, news of it is put into its words.

    scan      content=False: the tree without content, for `du`, `find` and comparing
    dry run   dry=True: what a backup would find; nothing is written, not even a lease

The share keeps its name from the last part of the source unless another one is given. Two sources whose names end
alike would then take turns in one share, each snapshot telling that everything changed: where the name was not given,
a share that holds snapshots of another source is refused.
"""

from __future__ import annotations

import mmap
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import NamedTuple

from dunlin import __version__
from dunlin.backup.manifest import Manifest, Totals
from dunlin.backup.repository import Area, Repository
from dunlin.backup.words import TENANT, check_name
from dunlin.errors import DunlinError, ErrorKind, printable, usage
from dunlin.filters import Rule, Selection
from dunlin.jobs import repo
from dunlin.jobs.options import Spread
from dunlin.jobs.pair import check_source, forget_snapshot, is_empty
from dunlin.jobs.repo import Place
from dunlin.pace.bucket import Bucket
from dunlin.pace.schedule import Schedule
from dunlin.pace.sizes import format_number
from dunlin.pace.stop import Stop
from dunlin.report import Event, Level, Report, Task
from dunlin.stores.base import Store
from dunlin.stores.login import Login
from dunlin.stores.open import Far, canonical_url, is_far, local_path, open_store, shown_place, take_snapshot
from dunlin.workers.savers import Asked
from dunlin.workers.saving import Outcome, back_up

POLL = 0.2
"""Seconds between two looks at the timetable."""


class Options(NamedTuple):
    """What a backup or scan is asked to do.

    Attributes:
        source: a place, as people write it; login: what lets us in there.
        repository: where that lies to which it goes.
        tenant: whose it is; share: its name there, "" for the last name of the source.
        tags: words that the snapshot gets.
        selection: what takes part.
        content: files are read; else only the tree is made. force: what has not changed is read, too.
        dry: nothing is written.
        accept_source: it may be empty although the last snapshot is not.
        xattrs: extended attributes and access control lists are kept.
        attempts: times that a file is read which changes meanwhile.
        movers: processes or threads; 0: automatic.
        bandwidth: bytes per second, by the time of day.
        share_snapshot: a share of Azure Files is read from a snapshot that is made for the run.
        host: name of this machine.
        timeout, request_timeout: see `jobs.options.SyncOptions`.
        spread: the work is done by workers, wherever they are; None: by movers of this process.
    """

    source: str
    repository: Place
    login: Login = Login()
    tenant: str = TENANT
    share: str = ""
    tags: tuple[str, ...] = ()
    selection: Selection = Selection()
    content: bool = True
    force: bool = False
    dry: bool = False
    accept_source: bool = False
    xattrs: bool = True
    attempts: int = 3
    movers: int = 0
    bandwidth: Schedule | None = None
    share_snapshot: bool = False
    host: str = ""
    timeout: float = 30.0
    request_timeout: float = 300.0
    spread: Spread | None = None


class Result(NamedTuple):
    """How it ended.

    Attributes:
        status: completed, failed, interrupted.
        snapshot: what was made; None: nothing was.
        totals: what it holds and what it cost; of an interrupted one what had been seen.
        seconds: that it took.
        errors: what could not be read, the first of it (totals say how much).
        vanished: names that were gone before they were read.
        message: why it did not complete.
    """

    status: str
    exit_code: int
    snapshot: Manifest | None
    totals: Totals
    seconds: float
    errors: tuple[DunlinError, ...] = ()
    vanished: int = 0
    message: str = ""


def run(options: Options, opened: Repository, stop: Stop, report: Report) -> Result:
    """Make a snapshot of the source in the repository, if nothing is in the way.

    Raises USAGE, NOT_FOUND, AUTH, LOCKED and what else makes a backup pointless from the start, and what ends it;
    who is asked to stop returns.
    """
    begun = time.monotonic()
    told = Told(report)
    try:
        area = opened.area(options.tenant, options.share or name_of(options.source))
        _same_source(options, area, report)
        outcome = _run(options, opened, area, stop, told)
    except DunlinError as error:
        if error.kind is not ErrorKind.INTERRUPTED or not stop.requested:
            error.hint = error.hint or _HINTS.get(error.kind, "")
            raise
        seconds = time.monotonic() - begun
        return Result("interrupted", 130, None, told.totals(), seconds, message=stop.reason)
    totals = outcome.manifest.totals
    code = 23 if outcome.errors else 24 if outcome.vanished else 0
    seconds = time.monotonic() - begun
    return Result("completed", code, outcome.manifest, totals, seconds, tuple(outcome.errors), outcome.vanished)


_HINTS = {
    ErrorKind.NO_SPACE: "make room there: dunlin forget and dunlin prune free what is not needed",
    ErrorKind.READ_ONLY: "make it writable: check the mount options",
}
"""What can be done about a repository that nothing can be written to."""


def name_of(source: str) -> str:
    """The share of a source that is given none: its last name, in the letters that a share may have. Raises USAGE."""
    path = local_path(source)
    last = os.path.basename(path) if path is not None else shown_place(source).rstrip("/").rpartition("/")[2]
    name = re.sub(r"[^a-z0-9._]+", "-", last.lower()).strip("-._")[:63].strip("-._")
    try:
        return check_name("share", re.sub(r"\.{2,}", ".", name))
    except DunlinError:
        raise usage(f"the source {shown_place(source)} gives the share no name", "write --share NAME") from None


def _same_source(options: Options, area: Area, report: Report) -> None:
    """Refuse to mix two sources by accident; tell when it is done on purpose."""
    last = _last(area)
    if last is None:
        return
    here = canonical_url(options.source, options.login)
    if last.source == here and (is_far(options.source) or last.host in ("", options.host)):
        return
    before = printable(local_path(last.source) or shown_place(last.source))
    before += f" on {printable(last.host)}" if last.source == here else ""
    if not options.share and last.source != here:
        raise usage(
            f"the share {area.share} holds snapshots of {before}",
            f"write --share with another name, or --share {area.share} to go on there",
        )
    report.event(Event(Level.WARN, "backup.source", f"the last snapshot of {area.root} is of {before}"))


def _run(options: Options, opened: Repository, area: Area, stop: Stop, told: Told) -> Outcome:
    far = _far(options) if is_far(options.source) else None
    if options.share_snapshot and not options.dry:
        taken = take_snapshot(options.source, far or Far(), "")
        far = (far or Far())._replace(snapshot=taken)
    source_url = canonical_url(options.source, options.login)

    def open_source() -> Store:
        return open_store(options.source if far else source_url, far=far, read_only=True)

    bucket = Bucket.create()
    stop.tell(bucket.stop)
    seen = _Seen(bucket)
    try:
        _look(open_source, options, area)
        asked = Asked(
            source=source_url,
            host=options.host,
            tags=options.tags,
            selection=_without(options.selection, source_url, opened, options),
            content=options.content and not options.dry,
            force=options.force,
            xattrs=options.xattrs,
            attempts=options.attempts,
            movers=options.movers,
            program=__version__,
            dry=options.dry,
            accept_source=options.accept_source,
        )
        news = _Often(told, bucket, seen, options.bandwidth)
        hire = None
        if options.spread is not None and not options.dry:
            from dunlin.jobs.spread_backup import hiring

            hire = hiring(options, opened, area, asked, far, bucket, news)
        again = partial(repo.again, options.repository, opened)
        return back_up(asked, area, open_source, again, stop, news, seen, hire=hire)
    finally:
        bucket.close()
        forget_snapshot(options.source, far, told)


def _far(options: Options) -> Far:
    return Far(login=options.login, idle=options.timeout, total=options.request_timeout)


def _look(open_source: Callable[[], Store], options: Options, area: Area) -> None:
    """See that there is something to back up: an empty source of which files are known is an unmounted one."""
    source, shown = open_source(), shown_place(options.source)
    try:
        check_source(source, shown)
        if options.accept_source or options.dry or not is_empty(source):
            return
    finally:
        source.close()
    last = _last(area)
    if last is not None and last.totals.files and last.source == canonical_url(options.source, options.login):
        reason = f"it is empty, although the last snapshot holds {format_number(last.totals.files, 'file')}"
        hint = "is it mounted? --accept-source says that this is right"
        raise DunlinError("back up", shown, ErrorKind.NOT_FOUND, reason, hint)


def _last(area: Area) -> Manifest | None:
    """The newest snapshot; None: there is none, or nobody can read it."""
    names = area.snapshots()
    try:
        return area.manifest(names[-1]) if names else None
    except DunlinError as error:
        if error.kind not in (ErrorKind.CORRUPT, ErrorKind.NOT_FOUND):
            raise
        return None


def _without(selection: Selection, source_url: str, opened: Repository, options: Options) -> Selection:
    """What takes part, but for the repository and its cache where they lie within the source."""
    place, rules = options.repository, []
    if is_far(options.source):
        inner = _far_within(source_url, canonical_url(place.url, place.login) if is_far(place.url) else "")
    else:
        inner = _near_within(source_url, "" if is_far(place.url) else opened.objects.url, place.cache)
    for below in inner:
        if below in (".", ""):
            raise usage("the source is the repository itself", "name two places")
        literal = re.sub(r"([\\*?\[\]{}])", r"\\\1", below)
        rules.append(Rule(False, f"/{literal}", "the repository itself"))
    return replace(selection, rules=(*rules, *selection.rules)) if rules else selection


def _near_within(source_url: str, repository: str, cache: str | None) -> Iterator[str]:
    """Where the repository and its cache lie below a source of this machine."""
    root = os.path.realpath(local_path(source_url) or "")
    for place in (local_path(repository) if repository else "", cache):
        below = os.path.relpath(os.path.realpath(place), root) if place else ".."
        if below.partition(os.sep)[0] != "..":
            yield below


def _far_within(source_url: str, repository: str) -> Iterator[str]:
    """Where the repository lies below a bucket or share."""
    where, above = repository.rstrip("/"), source_url.rstrip("/")
    if where == above or where.startswith(above + "/"):
        yield where[len(above) :].strip("/")


class Told:
    """A report that hands on the news of a backup under the names that every view of a run knows."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._counts: dict[str, int] = {}

    def totals(self) -> Totals:
        """What has been counted so far."""
        known = {name: n for name, n in self._counts.items() if name in Totals.__dataclass_fields__}
        return Totals(**known)

    def count(self, name: str, n: int = 1) -> None:
        """See `Report`."""
        short = name.removeprefix("backup.")
        self._counts[short] = self._counts.get(short, 0) + n
        for each in _NAMES.get(short, ()):
            self._report.count(each, n)

    def gauge(self, name: str, value: float) -> None:
        """See `Report`."""
        self._report.gauge(name, value)

    def event(self, event: Event) -> None:
        """See `Report`."""
        if event.name == "backup.failed":
            event = event._replace(name="file.failed")
        self._report.event(event)

    def task(self, name: str, total: int | None) -> Task:
        """See `Report`."""
        return self._report.task(name, total)


_NAMES = {
    "files": ("scanned_files",),
    "bytes": ("scanned_bytes",),
    "directories": ("scanned_directories",),
    "new_files": ("copied_files",),
    "changed_files": ("copied_files",),
    "read_bytes": ("copied_bytes",),
    "failed_entries": ("failed_files",),
    "vanished_files": ("vanished_files",),
}
"""Counts of a backup, and those of `model.Stats` that say the same."""


class _Seen:
    """The limit, with a count of the bytes that pass: movers tell of a file when it is done, which may take hours.

    Each process has a word of its own in memory that all share, so nobody waits for anybody. Two may fall on one word;
    then bytes are missing in what is shown, and nowhere else.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._words = memoryview(mmap.mmap(-1, 8 * _WORDS)).cast("q")

    @property
    def rate(self) -> int:
        """See `Paces`."""
        return self._bucket.rate

    @property
    def stopped(self) -> bool:
        """See `Paces`."""
        return self._bucket.stopped

    @property
    def bytes(self) -> int:
        """How many have passed."""
        return sum(self._words)

    def take(self, n: int) -> None:
        """See `Paces`."""
        self._words[os.getpid() % _WORDS] += n
        self._bucket.take(n)

    def block_for(self, block_size: int) -> int:
        """See `Paces`."""
        return self._bucket.block_for(block_size)


_WORDS = 512


class _Often:
    """A report that sees to the limit and to the bytes under way whenever news passes by: about once a second."""

    def __init__(self, told: Told, bucket: Bucket, seen: _Seen, schedule: Schedule | None) -> None:
        self._told, self._bucket, self._seen, self._schedule = told, bucket, seen, schedule
        self._next = 0.0
        self._poll()

    def count(self, name: str, n: int = 1) -> None:
        """See `Report`."""
        self._told.count(name, n)

    def gauge(self, name: str, value: float) -> None:
        """See `Report`."""
        self._told.gauge(name, value)
        self._poll()

    def event(self, event: Event) -> None:
        """See `Report`."""
        self._told.event(event)

    def task(self, name: str, total: int | None) -> Task:
        """See `Report`."""
        return self._told.task(name, total)

    def _poll(self) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + POLL
        rate = self._schedule.rate_at(datetime.now()) if self._schedule is not None else 0
        if rate != self._bucket.rate:
            self._bucket.set_rate(rate)
        self._told.gauge("limit", rate)
        self._told.gauge("flying_bytes", max(0, self._seen.bytes - self._told.totals().read_bytes))
