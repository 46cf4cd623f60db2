"""What a worker does with a unit of a publish job: some files of one folder, each to its key, each by itself.

Theory. A unit is delivered at least once, by queues whose workers may die, sleep or be cut off at any step, and the
answer to "what became of this file" must still be exact, above all where files are deleted once they are uploaded.

* *Each file for itself.* Look at the file, look at the key, decide, upload, note. What goes wrong with one is that
  one's outcome. Only when the destination itself does not answer, or refuses everybody, are the rest of the unit's
  files not tried one after the other: they get that outcome, and are tried again with the next delivery.
* *Never more than one request per file beside the upload.* Where the files of a unit go to one directory of keys,
  that is listed instead, as long as a listing needs fewer requests than looking at each key (`publish_look`).
* *Told before it is deleted.* A file may go only when its upload stands where the unit's owner finds it, whatever
  happens to this process: a part of the result is told to the queue first. The queue takes it only from the holder
  of the lease, so a worker that slept through its lease deletes nothing.
* *The version that was uploaded is deleted, no other.* Right before it is unlinked the file is looked at again: size,
  times and inode must be those of the version that was read. What was changed meanwhile is kept, and that is said. A
  skipped file goes only after its content was compared with the object's.
* *A delivery that comes after another one* finds keys that the first one wrote, and may find sources gone that the
  first one deleted. An object that is younger than the request and has the source's size and time is ours, and counts
  as uploaded; a source that is gone while the key has the size that was walked was uploaded as well.

Links. Paths begin at the root of the file system, which is opened name by name without following links
(`stores.local.paths`), so that a link that was planted in a path since the request was checked leads nowhere. A file
that is a link itself is resolved here, and what it leads to is read in the same way, if it lies where the request may
read; to delete it is to remove the link.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import msgspec

from dunlin.errors import FATAL, DunlinError, ErrorKind, printable
from dunlin.model import CTIME, DEV, IDENT, MTIME, SIZE, Entry, Facts, Kind, join
from dunlin.pace.bucket import Bucket
from dunlin.pace.retry import FILE, retry
from dunlin.queue.ledger.words import FileStatus
from dunlin.report import Event, Level, NullReport, Report
from dunlin.stores.base import Body, Data, Meta, Store, find_file, remove_directory
from dunlin.stores.buffers import Buffers
from dunlin.stores.local import LocalStore
from dunlin.transfer.hands import Hands
from dunlin.transfer.options import Options
from dunlin.transfer.stream import stream_file
from dunlin.workers.publish_look import Keys, make_parents, same_content, store_path

VERSION = 1
WHOLE = 1 << 20
"""Bytes up to which a file is held in memory whole."""
SHARE = 16 << 20
"""Bytes of buffers of a larger file."""
LARGE_AT_A_TIME = 4
TELL_SECONDS = 2.0
"""How often parts of the result are told."""
TELL_FILES = 64
"""Files that wait to be deleted at most."""
GIVE_UP = 3
"""Files in a row that the destination did not answer for, after which the rest of a unit is not tried."""
SECOND = 1_000_000_000
SLACK_NS = 2 * SECOND
"""What the clock of a destination may be behind ours."""

AWAY = frozenset({ErrorKind.NETWORK, ErrorKind.TIMEOUT, ErrorKind.BUSY})
FOR_GOOD = frozenset(
    {
        *(ErrorKind.NOT_FOUND, ErrorKind.VANISHED, ErrorKind.DENIED, ErrorKind.EXISTS, ErrorKind.CLASH),
        *(ErrorKind.NAME, ErrorKind.UNSUPPORTED, ErrorKind.USAGE, ErrorKind.CONFIG),
    }
)
"""Kinds that another delivery would meet again."""

class Root(NamedTuple):
    """Where some files of a unit come from.

    Attributes:
        path: the directory that their paths are relative to, absolute, without links.
        delete: remove each file once it is uploaded. overwrite: upload also what has the same size.
    """

    path: str
    delete: bool
    overwrite: bool


class PublishFile(NamedTuple):
    """A file: its place in the unit, which of the unit's roots its path is below, its key, its size when walked."""

    place: int
    root: int
    path: str
    key: str
    size: int


class PublishUnit(NamedTuple):
    """The payload of a task of the queue `publish`, as msgpack.

    Attributes:
        version: of this form.
        job, unit: whose files they are.
        generation: how often the unit was put into the queue before.
        place: the destination: a location by name, or a URL without credentials.
        bucket: how the existence cache calls the destination.
        seconds: that each file may take.
        since: when the job was submitted, seconds since 1970.
        within: directories below which a link may lead, absolute, without links.
    """

    version: int
    job: str
    unit: int
    generation: int
    place: str
    bucket: str
    seconds: float
    since: float
    within: list[str]
    roots: list[Root]
    files: list[PublishFile]


class FileOutcome(NamedTuple):
    """What became of a file.

    Attributes:
        status: a `FileStatus`. note: one line, or "".
        again: another try may do better.
        key: of one that is there now, for the existence cache; else "".
    """

    place: int
    status: int
    size: int
    note: str = ""
    again: bool = False
    key: str = ""


class UnitOutcome(NamedTuple):
    """The result of a unit, or a part of it, as msgpack."""

    version: int
    job: str
    unit: int
    generation: int
    bucket: str
    files: list[FileOutcome]


class Notes(Protocol):
    """The existence cache, as far as uploads are concerned."""

    def uploaded(self, bucket: str, key: str, size: int) -> None:
        """The key exists now, with so many bytes. Must not raise."""


class Tools(NamedTuple):
    """What a unit is done with.

    Attributes:
        open: the store of a place; it stays open, and belongs to whoever gave the tools.
        tell: sends a part of the result; False: the lease is lost.
        may: whether the lease still has a margin.
        attempt: which hand-out of the task this is, from 1.
        notes: told of each key at once, where the service is in this process; it is told again by the results.
        bucket: bandwidth and stop of this process.
        parallel: files in flight where the destination is far away.
    """

    open: Callable[[str], Store]
    tell: Callable[[bytes], bool] = lambda body: True
    may: Callable[[], bool] = lambda: True
    attempt: int = 1
    notes: Notes | None = None
    bucket: Bucket | None = None
    report: Report = NullReport()
    parallel: int = 8
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep


def publish_unit(payload: bytes, tools: Tools) -> bytes:
    """Do a unit of the queue `publish` and return its packed outcome.

    Raises CONFIG for a payload of another version, what opening the destination raises, and INTERRUPTED once the
    lease is lost or the worker stops: nothing may be acknowledged then.
    """
    unit = unpack_unit(payload)
    source = LocalStore("/")
    try:
        return pack(do_publish(unit, source, tools.open(unit.place), tools))
    finally:
        source.close()


def pack(outcome: UnitOutcome | PublishUnit) -> bytes:
    """As it travels."""
    return msgspec.msgpack.encode(outcome)


def unpack_unit(payload: bytes) -> PublishUnit:
    """The unit of a payload. Raises CONFIG for what this version cannot read."""
    try:
        unit = msgspec.msgpack.decode(payload, type=PublishUnit)
    except msgspec.MsgspecError as error:
        reason = f"this version cannot read it ({error})"
        raise DunlinError("do the task", "", ErrorKind.CONFIG, reason, "service and workers must be alike") from error
    if unit.version != VERSION:
        reason = f"it is of version {unit.version}, this one knows {VERSION}"
        raise DunlinError("do the task", unit.job, ErrorKind.CONFIG, reason, "service and workers must be alike")
    return unit


def unpack_outcome(body: bytes) -> UnitOutcome:
    """A result or a part of one. Raises CONFIG for what this version cannot read."""
    try:
        return msgspec.msgpack.decode(body, type=UnitOutcome)
    except msgspec.MsgspecError as error:
        raise DunlinError("read the result", "", ErrorKind.CONFIG, str(error)) from error


def do_publish(unit: PublishUnit, source: Store, target: Store, tools: Tools) -> UnitOutcome:
    """Bring the files of a unit to their keys; see the module docstring.

    Args:
        source: the file system, from its root.
        target: the destination.

    Raises INTERRUPTED only; everything else is the outcome of a file.
    """
    bucket = tools.bucket or Bucket.create()
    try:
        work = _Work(unit, source, target, tools, bucket)
        parallel = tools.parallel if target.caps.far else min(2, tools.parallel)
        if len(unit.files) == 1 or parallel == 1:
            work.carry(iter(unit.files))
        else:
            hands = Hands(min(parallel, len(unit.files)))
            try:
                hands.share(unit.files, work.carry, len(unit.files))
            finally:
                hands.close()
        work.flush()
        work.tidy()
        return work.outcome()
    finally:
        if tools.bucket is None:
            bucket.close()


class _Work:
    """A unit under way: outcomes, files to be deleted, and whether the destination answers. Many threads share it."""

    def __init__(self, unit: PublishUnit, source: Store, target: Store, tools: Tools, bucket: Bucket) -> None:
        self.unit = unit
        self._source = source
        self._target = target
        self._tools = tools
        self._again = tools.attempt > 1 or unit.generation > 0
        self._bucket = bucket
        wanted = [store_path(target, file.key) for file in unit.files if not unit.roots[file.root].overwrite]
        self._keys = Keys(target, wanted)
        self._made: set[str] = set()
        self._lock = threading.Lock()
        self._telling = threading.Lock()
        self._large = threading.Semaphore(LARGE_AT_A_TIME)
        self._outcomes: dict[int, FileOutcome] = {}
        self._doomed: list[tuple[PublishFile, Entry]] = []
        self._emptied: set[tuple[str, str]] = set()
        self._told = tools.clock()
        self._silent = 0
        self._trouble: DunlinError | None = None

    def outcome(self) -> UnitOutcome:
        """What is known so far."""
        with self._lock:
            files = [self._outcomes[place] for place in sorted(self._outcomes)]
        unit = self.unit
        return UnitOutcome(VERSION, unit.job, unit.unit, unit.generation, unit.bucket, files)

    def carry(self, files: Iterator[PublishFile]) -> None:
        """Do one file after the other, until there are none left."""
        for file in files:
            self._check()
            outcome = self._one(file)
            with self._lock:
                self._outcomes[file.place] = outcome
                due = len(self._doomed) >= TELL_FILES or self._tools.clock() - self._told >= TELL_SECONDS
            if due:
                self.flush(wait=False)

    def flush(self, wait: bool = True) -> None:
        """Tell what is known, and delete what may go then. Without `wait` only if nobody else is at it."""
        if not self._telling.acquire(blocking=wait):
            return
        try:
            with self._lock:
                doomed, self._doomed = self._doomed, []
                self._told = self._tools.clock()
                ready = [one for one in doomed if one[0].place in self._outcomes]
                # One whose outcome is about to be noted goes with the next lot.
                self._doomed = [one for one in doomed if one[0].place not in self._outcomes]
            if not ready and (wait or not self._outcomes):
                return
            try:
                if not self._tools.tell(pack(self.outcome())):
                    raise _lost()
            except DunlinError as error:
                if ready or error.kind is ErrorKind.INTERRUPTED:
                    raise
                return  # it was only to show how far we are
            for file, entry in ready:
                self._delete(file, entry)
        finally:
            self._telling.release()

    def tidy(self) -> None:
        """Remove the directories below the root that the deletions have emptied; one that is not empty is kept."""
        for root, directory in sorted(self._emptied, key=lambda place: len(place[1]), reverse=True):
            at = directory
            while at:
                try:
                    remove_directory(self._source, join(root, at))
                except DunlinError:
                    break  # something lies in it, or came to lie in it
                at = at.rpartition("/")[0]

    # ---- one file ----

    def _check(self) -> None:
        if self._bucket.stopped or not self._tools.may():
            raise _lost()

    def _one(self, file: PublishFile) -> FileOutcome:
        if self._trouble is not None:
            return _failed(file, self._trouble)
        try:
            outcome = self._publish(file)
            with self._lock:
                self._silent = 0
            if outcome.note:
                self._tell(Level.INFO, "publish.kept", file, outcome.note)
            return outcome
        except DunlinError as error:
            if error.kind is ErrorKind.INTERRUPTED:
                raise
            self._note_trouble(error)
            self._tell(Level.WARN, "publish.failed", file, str(error))
            return _failed(file, error)

    def _tell(self, level: Level, name: str, file: PublishFile, text: str) -> None:
        shown = printable(f"/{self._full(file)}")
        self._tools.report.event(Event(level, name, f"{shown}: {text}", {"path": shown, "job": self.unit.job}))

    def _note_trouble(self, error: DunlinError) -> None:
        with self._lock:
            self._silent = self._silent + 1 if error.kind in AWAY else 0
            if error.kind in FATAL or self._silent >= GIVE_UP:
                self._trouble = error

    def _publish(self, file: PublishFile) -> FileOutcome:
        root = self.unit.roots[file.root]
        there = store_path(self._target, file.key)
        try:
            name, entry = self._look(self._full(file))
        except DunlinError as error:
            if error.kind is ErrorKind.VANISHED and root.delete and self._again and self._uploaded(there, file.size):
                self._gone(file)
                note = "uploaded and deleted by an earlier delivery"
                return FileOutcome(file.place, FileStatus.UPLOADED, file.size, note)
            raise
        have = self._keys.find(there) if not root.overwrite or not self._target.caps.far else None
        self._refuse_itself(entry, have)
        if have is not None and have.size == entry.size and not root.overwrite:
            return self._skip(file, name, entry, have)
        return self._upload(file, name, entry, there)

    def _full(self, file: PublishFile) -> str:
        return join(self.unit.roots[file.root].path.strip("/"), file.path)

    def _look(self, full: str) -> tuple[Entry, Entry]:
        """The name as it is now, and the file that it leads to: itself, unless it is a link.

        Raises VANISHED, DENIED for a link that leads where nothing may be read, NAME for what is no regular file.
        """
        name = self._stat(full)
        if name.kind is not Kind.LINK:
            return name, _regular(name)
        real = os.path.realpath("/" + full)
        if not is_within(real, self.unit.within):
            reason = "the symbolic link leads outside the allowed roots"
            raise DunlinError("read", "/" + full, ErrorKind.DENIED, reason)
        return name, _regular(self._stat(real.lstrip("/")))

    def _stat(self, full: str) -> Entry:
        try:
            return self._source.stat(full)
        except DunlinError as error:
            if error.kind is ErrorKind.NOT_FOUND:
                raise DunlinError("read", "/" + full, ErrorKind.VANISHED, "it is gone") from error
            raise

    def _uploaded(self, there: str, size: int) -> bool:
        have = find_file(self._target, there)
        return have is not None and have.size == size

    def _refuse_itself(self, entry: Entry, have: Entry | None) -> None:
        """Where the destination is a directory of this machine a file may be its own copy: it must not be deleted."""
        if have is None or self._target.caps.far or not isinstance(have.facts[IDENT], int):
            return
        if have.facts[IDENT] and (have.facts[DEV], have.facts[IDENT]) == (entry.facts[DEV], entry.facts[IDENT]):
            reason = "the file is its own destination"
            raise DunlinError("publish", "/" + entry.path, ErrorKind.CLASH, reason)

    def _skip(self, file: PublishFile, name: Entry, entry: Entry, have: Entry) -> FileOutcome:
        """It is there with the same size: left alone, unless an earlier delivery of this job has put it there."""
        self._note(file.key, entry.size)
        status = FileStatus.UPLOADED if self._again and self._is_ours(entry, have) else FileStatus.SKIPPED
        note = ""
        if self.unit.roots[file.root].delete:
            if same_content(self._source, entry, self._target, have, self._bucket):
                self._doom(file, name)
            else:
                note = "not deleted: the object has the same size and other content"
        return FileOutcome(file.place, status, entry.size, note, key=file.key)

    def _is_ours(self, entry: Entry, have: Entry) -> bool:
        made, mtime = have.facts[CTIME], entry.facts[MTIME]
        if made is None or have.facts[MTIME] not in (None, mtime):
            return False
        # Some servers tell the source's time as that of the upload. Nothing is known then, and likelier it is ours.
        return bool(made >= int(self.unit.since * 1e9) - SLACK_NS or made // SECOND == mtime // SECOND)

    def _upload(self, file: PublishFile, name: Entry, entry: Entry, there: str) -> FileOutcome:
        """Write it, again where it changed under way; then it may go."""
        deadline = self._tools.clock() + self.unit.seconds
        versions = [(name, entry)]

        def bring() -> tuple[Entry, Entry]:
            now = versions.pop() if versions else self._look(name.path)
            self._write(now[1], there, deadline)
            return now

        name, brought = retry(bring, FILE, sleep=self._tools.sleep, clock=self._tools.clock)
        self._note(file.key, brought.size)
        if self.unit.roots[file.root].delete:
            self._doom(file, name)
        return FileOutcome(file.place, FileStatus.UPLOADED, brought.size, key=file.key)

    def _write(self, entry: Entry, there: str, deadline: float) -> None:
        make_parents(self._target, there, self._made)
        source = _Timed(self._source, deadline, self._tools.clock, self._check)
        meta = Meta(mtime=entry.facts[MTIME])
        if entry.size <= WHOLE:
            self._bucket.take(entry.size)
            data = b"".join(bytes(chunk) for chunk in source.read(entry))
            self._check()
            self._target.write(there, Body(len(data), lambda start: iter((data[start:],))), meta=meta)
            return
        large = self._target.caps.block
        with self._large:
            stream_file(source, self._target, entry, there, meta, _HOW, SHARE, self._bucket, self._tools.report, large)

    def _note(self, key: str, size: int) -> None:
        if self._tools.notes is not None:
            self._tools.notes.uploaded(self.unit.bucket, key, size)

    # ---- deleting ----

    def _doom(self, file: PublishFile, name: Entry) -> None:
        with self._lock:
            self._doomed.append((file, name))

    def _delete(self, file: PublishFile, name: Entry) -> None:
        """Unlink the name if it still is what was uploaded."""
        self._check()
        note = ""
        try:
            if _version(self._stat(name.path).facts) != _version(name.facts):
                note = "not deleted: it was changed meanwhile"
            else:
                self._source.delete([name.path])
                self._gone(file)
        except DunlinError as error:
            if error.kind is not ErrorKind.VANISHED:
                note = f"not deleted: {error.reason or error.kind.value}"
        if note:
            self._tell(Level.WARN, "publish.kept", file, note)
            with self._lock:
                self._outcomes[file.place] = self._outcomes[file.place]._replace(note=note)

    def _gone(self, file: PublishFile) -> None:
        with self._lock:
            self._emptied.add((self.unit.roots[file.root].path.strip("/"), file.path.rpartition("/")[0]))


class _Timed:
    """Reads from a store until the time of a file is over or the lease is lost."""

    def __init__(self, store: Store, deadline: float, clock: Callable[[], float], check: Callable[[], None]) -> None:
        self._store = store
        self._deadline = deadline
        self._clock = clock
        self._check = check

    def read(
        self, entry: Entry, start: int = 0, length: int | None = None, into: Buffers | None = None
    ) -> Iterator[Data]:
        for data in self._store.read(entry, start, length, into):
            try:
                self._check()
                if self._clock() > self._deadline:
                    reason = "it took longer than a file may take"
                    raise DunlinError("publish", "/" + entry.path, ErrorKind.TIMEOUT, reason, "raise timeout_minutes")
            except BaseException:
                if into is not None:
                    into.give(data)
                raise
            yield data


_HOW = Options(checksum="none")


def is_within(path: str, roots: Sequence[str]) -> bool:
    """Whether an absolute path without links is one of the directories or lies below one."""
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)


def _regular(entry: Entry) -> Entry:
    if entry.kind is not Kind.FILE:
        raise DunlinError("read", "/" + entry.path, ErrorKind.NAME, "it is no regular file")
    return entry


def _version(facts: Facts) -> tuple[object, ...]:
    return (facts[SIZE], facts[MTIME], facts[CTIME], facts[DEV], facts[IDENT])


def _failed(file: PublishFile, error: DunlinError) -> FileOutcome:
    return FileOutcome(file.place, FileStatus.FAILED, file.size, error_line(error), error.kind not in FOR_GOOD)


def error_line(error: DunlinError) -> str:
    """What stands with a file that failed: one line without the file's own name."""
    line = f"cannot {error.operation}: {error.reason or error.kind.value}"
    return printable(f"{line}; {error.hint}" if error.hint else line)[:500]


def _lost() -> DunlinError:
    reason = "the lease is lost, or the worker stops"
    return DunlinError("go on", "", ErrorKind.INTERRUPTED, reason)
