"""From an item of a publish job to units in the queue: the walk of a folder, in the background.

Theory. The first upload shall begin within a second although the folder has a million files, and memory shall not
grow with it. So files go out as they are found: the first unit has `FIRST` files, each one after it twice as many, up
to `FILES` or `BYTES`; whatever has waited for `HASTE` seconds goes out as it is, and units are put on record many at a
time (`Batcher`). A directory is read in batches, and the sub-directories of a batch are walked before the next batch is
read: what is held is a batch for each level. That costs an open directory per level, so from `DEEP` levels on a
directory is read to its end first.

A walk that was cut (the service was killed) is made again from the beginning: the ledger knows each file by its item
and path, keeps what it has, and gives units back only for the rest.

Where many units wait in the queue already the walk waits too (`put` does): tasks take memory in some queues.

Keys. Two files of a job with one key would overwrite each other, and where sources are deleted one content would be
lost. Within a folder keys differ as paths do. Where the prefixes of items overlap, each file is looked up under the
paths that would have its key in the others (`Rivals`), and fails if one of them has it already.

Links. A link to a file is published as the file it leads to, if that lies below the allowed roots; a link to a folder
is not followed. Sockets, FIFOs and devices are no files.
"""

from __future__ import annotations

import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from dunlin.errors import DunlinError, ErrorKind, printable
from dunlin.jobs.publish_keys import as_key, key_fault
from dunlin.jobs.publish_place import ELSEWHERE, Here, nested
from dunlin.model import MODE, SIZE, TYPE_BITS, Facts, Kind, is_directory, is_unfinished, is_within, join
from dunlin.queue.ledger.words import NewFile, OpenUnit
from dunlin.report import Event, Level, Report
from dunlin.stores.base import Listing, Lists
from dunlin.stores.local import LocalStore
from dunlin.workers.publishing import error_line

FIRST = 8
FILES = 250
BYTES = 256 << 20
"""Files of the first unit; most files and bytes of any."""
HASTE = 0.2
"""Seconds that a file waits for others at most."""
LOT = 20
"""Units that are put on record in one transaction."""
DEEP = 100
SAME_KEY = "another file of the job has the same key"


class Source(NamedTuple):
    """What is walked: an item of a job, as it was accepted.

    Attributes:
        number: of the item.
        root: the directory that its files lie below, absolute, without links. name: the only file; "": all.
        prefix: what the keys begin with; of a single file, its key.
    """

    number: int
    root: str
    name: str
    prefix: str


class Records(Protocol):
    """What is needed of the ledger's files; see `queue.ledger.files`."""

    def add_units(self, job: str, units: Sequence[Sequence[NewFile]]) -> list[OpenUnit]: ...
    def add_failed(self, job: str, failed: Sequence[tuple[NewFile, str]]) -> int: ...
    def given(self, job: str, places: Sequence[tuple[int, str]]) -> set[tuple[int, str]]: ...


class Rivals:
    """Items of a job by what their keys begin with."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._by_prefix: dict[str, list[Source]] = {}
        for source in sources:
            self._by_prefix.setdefault(source.prefix, []).append(source)

    def of(self, file: NewFile) -> list[tuple[int, str]]:
        """(item, path) in other items of files that would have the key of this one."""
        found: list[tuple[int, str]] = []
        at = 0 if self._by_prefix else -1
        while at >= 0:
            at = file.key.find("/", at) + 1 or -1
            for source in self._by_prefix.get(file.key[:at] if at > 0 else file.key, ()):
                if source.number != file.item:
                    found.append((source.number, source.name or file.key[at:]))
        return found


@dataclass(slots=True, eq=False, repr=False)
class Batcher:
    """Gathers files into units, puts them on record and hands them to the queue.

    Args:
        job: whose they are.
        records: the ledger's files.
        put: hands units to the queue; may wait while that is full.
        clock: seconds that never go back.
        rivals: the items of the job.

    Attributes:
        seen: how many files it was given, those that failed included.
    """

    job: str
    records: Records
    put: Callable[[Sequence[OpenUnit]], None]
    clock: Callable[[], float] = time.monotonic
    rivals: Rivals = field(default_factory=lambda: Rivals(()))
    seen: int = 0
    _most: int = FIRST
    _unit: list[NewFile] = field(default_factory=list)
    _bytes: int = 0
    _units: list[list[NewFile]] = field(default_factory=list)
    _failed: list[tuple[NewFile, str]] = field(default_factory=list)
    _since: float = 0.0

    def add(self, file: NewFile) -> None:
        """One more file."""
        self.seen += 1
        if self._unit and self._bytes + file.size > BYTES:
            self._close()
        if not self._unit and not self._units:
            self._since = self.clock()
        self._unit.append(file)
        self._bytes += file.size
        if len(self._unit) >= self._most:
            self._close()
            self._most = min(FILES, 2 * self._most)

    def fail(self, file: NewFile, error: str) -> None:
        """A file that cannot be published, and why."""
        self.seen += 1
        self._failed.append((file, error))
        if len(self._failed) >= FILES:
            self._flush_failed()

    def _close(self) -> None:
        self._units.append(self._unit)
        self._unit, self._bytes = [], 0
        # The first units are waited for; the later ones are put on record in lots.
        if self._most < FILES or len(self._units) >= LOT or self.clock() - self._since >= HASTE:
            self._flush_units()

    def flush(self) -> None:
        """Everything so far."""
        if self._unit:
            self._units.append(self._unit)
            self._unit, self._bytes = [], 0
        self._flush_units()
        self._flush_failed()

    def hurry(self) -> None:
        """Everything so far, if it has waited long enough."""
        if (self._unit or self._units) and self.clock() - self._since >= HASTE:
            self.flush()

    def _flush_units(self) -> None:
        if self._units:
            units, self._units = self._alone(self._units), []
            if made := self.records.add_units(self.job, units):
                self.put(made)

    def _alone(self, units: list[list[NewFile]]) -> list[list[NewFile]]:
        """The units without files whose key another item has given: those have failed."""
        among = {file: places for unit in units for file in unit if (places := self.rivals.of(file))}
        if not among:
            return units
        known = self.records.given(self.job, [place for places in among.values() for place in places])
        given: dict[str, int] = {}
        left: list[list[NewFile]] = []
        for unit in units:
            left.append([])
            for file in unit:
                if file in among and (given.setdefault(file.key, file.item) != file.item or known & set(among[file])):
                    self._failed.append((file._replace(key=""), SAME_KEY))
                else:
                    left[-1].append(file)
        return [unit for unit in left if unit]

    def _flush_failed(self) -> None:
        if self._failed:
            failed, self._failed = self._failed, []
            self.records.add_failed(self.job, failed)


def walk(
    source: Source,
    batcher: Batcher,
    within: Sequence[str],
    own: frozenset[str],
    going: Callable[[], None],
    report: Report,
    store: Lists | None = None,
    here: Here = ELSEWHERE,
) -> str:
    """Hand all files of an item to the batcher; "" or, in one line, why it could not be walked.

    Args:
        within: directories below which links may lead.
        own: absolute paths of files that are not published: the service's own.
        going: raises when the walk is to end.
        store: the file system from its root; None: this machine's.
        here: the destination, which is never entered.
    """
    if os.path.realpath(source.root) != source.root or not is_within(source.root, within):
        return "'from' leads elsewhere than when it was accepted"
    if fault := nested(full_path(source.root, source.name) if source.name else source.root, here):
        return f"'from' cannot be published: {fault}"
    if source.name:
        return _single(source, batcher)
    left_out: Counter[str] = Counter()
    opened = LocalStore("/")
    try:
        for directory, found in _batches(store or opened, source, here):
            going()
            if isinstance(found, DunlinError):
                if not directory:
                    return error_line(found)
                batcher.fail(NewFile(directory, "", 0, source.number), error_line(found))
                continue
            for name, facts in found:
                _take(source, join(directory, name), facts, batcher, within, own, left_out)
            batcher.hurry()
    finally:
        opened.close()
    if left_out:
        told = ", ".join(f"{count:,} {what}" for what, count in sorted(left_out.items()))
        shown = printable(source.root)
        report.event(Event(Level.WARN, "publish.left_out", f"{shown}: not published: {told}", {"path": shown}))
    return ""


def full_path(root: str, path: str) -> str:
    """The absolute path of what lies at `path` below `root`."""
    return f"{root.rstrip('/')}/{path}"


def _single(source: Source, batcher: Batcher) -> str:
    try:
        status = os.lstat(full_path(source.root, source.name))
    except OSError as error:
        return f"'from' cannot be looked at: {error.strerror}"
    if not stat.S_ISREG(status.st_mode):
        return "'from' is no regular file any more"
    batcher.add(NewFile(source.name, source.prefix, status.st_size, source.number))
    return ""


def _take(
    source: Source,
    path: str,
    facts: Facts,
    batcher: Batcher,
    within: Sequence[str],
    own: frozenset[str],
    left_out: Counter[str],
) -> None:
    kind = facts[MODE] & TYPE_BITS
    if kind == Kind.DIRECTORY:
        return
    if is_unfinished(path.rpartition("/")[2]):
        left_out["unfinished files of runs"] += 1
        return
    full = full_path(source.root, path)
    size = facts[SIZE]
    if full in own:
        left_out["of the service's own files"] += 1
        return
    key = source.prefix + (as_key(path) if "\\" in path else path)
    file = NewFile(path, key, size, source.number)
    if kind == Kind.LINK:
        real = os.path.realpath(full)
        if not is_within(real, within):
            batcher.fail(file, "the symbolic link leads outside the allowed roots")
            return
        try:
            status = os.lstat(real)
        except OSError:
            left_out["symbolic links that lead nowhere"] += 1
            return
        if stat.S_ISDIR(status.st_mode):
            left_out["symbolic links to folders"] += 1
            return
        kind, size = stat.S_IFMT(status.st_mode), status.st_size
        file = file._replace(size=size)
    if kind != Kind.FILE:
        left_out["sockets, FIFOs and devices"] += 1
    elif fault := key_fault(key):
        batcher.fail(file._replace(key=""), fault)
    elif "\\" in path and os.path.lexists(full_path(source.root, as_key(path))):
        batcher.fail(file, "another file has the same key, since a backslash becomes a slash")
    else:
        batcher.add(file)


def _batches(
    store: Lists, source: Source, here: Here
) -> Iterator[tuple[str, list[tuple[str, Facts]] | DunlinError]]:
    """(directory below the root, its next names or why there are none): all below the root but the destination."""
    root = source.root.strip("/")

    def begin(directory: str) -> _Level:
        return _Level(directory, store.list(join(root, directory) if directory else root), [])

    levels = [begin("")]
    while levels:
        level = levels[-1]
        if level.below and (level.listing is None or len(levels) < DEEP):
            levels.append(begin(level.below.pop()))
            continue
        if level.listing is None:
            levels.pop()
            continue
        try:
            batch = next(level.listing, None)
        except DunlinError as error:
            # One that is gone was removed by somebody, or by us when it was empty.
            if not level.directory or error.kind is not ErrorKind.NOT_FOUND:
                yield level.directory, error
            batch = None
        if batch is None:
            level.listing = None
            continue
        names = [name for name, facts in batch if is_directory(facts) and not here.shows(facts)]
        level.below += [join(level.directory, name) for name in names]
        yield level.directory, batch


@dataclass(slots=True, eq=False, repr=False)
class _Level:
    """A directory on the way down: the rest of its listing, None at its end, and what is to be walked below it."""

    directory: str
    listing: Listing | None
    below: list[str]
