"""What a worker does with a unit of a publish job: some files of one folder, each to its key, each by itself.

Theory. A unit is delivered at least once, by queues whose workers may die, sleep or be cut off at any step, and the
answer to "what became of this file" must still be exact, above all where files are deleted once they are uploaded.

* *Each file for itself.* Look at the file, look at the key, decide, upload, note. What goes wrong with one is that
  one's outcome. Only when the destination itself does not answer, or refuses everybody, are the rest of the unit's
  files not tried one after the other: they get that outcome, and are tried again with the next delivery.
* *Never more than one request per file beside the upload*, and one where it is deleted. Where the files of a unit go
  to one directory of keys, that is listed instead, as long as a listing needs fewer requests than looking at each key
  (`publish_look`).
* *On record before it is deleted.* A file may go only when its upload stands in the ledger, whatever happens to this
  process and to the queue: a part of the result is told first, and the publisher says when the ledger has it
  (`publish_record`); other files are done meanwhile. The queue takes it only from the holder of the lease, so a worker
  that slept through its lease deletes nothing. What was not put on record in `RECORDED` seconds is kept. A unit that
  the queue has lost is put again, and says that there may have been a delivery before (`PublishUnit.again`).
* *The version that was uploaded is deleted, no other.* Right before it is unlinked the file is looked at again: size,
  times and inode must be those of the version that was read. What was changed meanwhile is kept, and that is said. A
  skipped file goes only after its content was compared with the object's. And the key must still hold what was put or
  compared there: another file may have been put to the same key since, and then this is the only copy.
* *A delivery that comes after another one* finds keys that the first one wrote, and may find sources gone that the
  first one deleted. An object that is younger than the request and has the source's size and time is ours, and counts
  as uploaded; a source that is gone while the key has the size that was walked was uploaded as well.

Links. Paths begin at the root of the file system, which is opened name by name without following links
(`stores.local.paths`), so that a link that was planted in a path since the request was checked leads nowhere. A file
that is a link itself is resolved here, and what it leads to is read in the same way, if it lies where the request may
read; to delete it is to remove the link.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from dunlin.errors import FATAL, DunlinError, ErrorKind, printable
from dunlin.model import CTIME, DEV, IDENT, MTIME, SIZE, Entry, Facts, Kind, is_within, join
from dunlin.pace.bucket import Bucket, Paces
from dunlin.pace.retry import FILE, retry
from dunlin.queue.ledger.words import FileStatus
from dunlin.report import Event, Level, NullReport, Report
from dunlin.stores.base import Body, Data, Meta, Store, find_file, remove_directory
from dunlin.stores.buffers import Buffers
from dunlin.stores.local import LocalStore
from dunlin.transfer.hands import Hands
from dunlin.transfer.options import Options
from dunlin.transfer.stream import stream_file
from dunlin.workers.publish_hung import Looks, Watched
from dunlin.workers.publish_look import Keys, make_parents, same_content, still_there, store_path
from dunlin.workers.publish_record import Record
from dunlin.workers.publish_words import VERSION, FileOutcome, PublishFile, PublishUnit, UnitOutcome, pack, unpack_unit

WHOLE = 1 << 20
"""Bytes up to which a file is held in memory whole."""
SHARE = 16 << 20
"""Bytes of buffers of a larger file."""
LARGE_AT_A_TIME = 4
TELL_SECONDS = 2.0
"""How often parts of the result are told."""
TELL_FILES = 64
"""Files that wait to be told of before they are deleted, at most."""
RECORDED = 600.0
"""Seconds that a unit waits in the end for what it told to be on record; less where a file may not take that long."""
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
        bucket: bandwidth and stop of this process; None: `limits` has it.
        limits: from a unit's accounts to the limit that they have in common (`accounts.Limits`); None: there is none.
        parallel: files in flight where the destination is far away.
        recorded: reads the queue's board, where what is on record stands (`publish_record`): nothing else is deleted.
        looks: notes what is looked at of sources.
    """

    open: Callable[[str], Store]
    tell: Callable[[bytes], bool] = lambda body: True
    may: Callable[[], bool] = lambda: True
    attempt: int = 1
    notes: Notes | None = None
    bucket: Paces | None = None
    report: Report = NullReport()
    parallel: int = 8
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    limits: Callable[[Sequence[str]], Paces] | None = None
    recorded: Callable[[str], bytes | None] = lambda name: None
    looks: Looks = Looks()


def publish_unit(payload: bytes, tools: Tools) -> bytes:
    """Do a unit of the queue `publish` and return its packed outcome.

    Raises CONFIG for a payload of another version, what opening the destination raises, and INTERRUPTED once the
    lease is lost or the worker stops: nothing may be acknowledged then.
    """
    unit = unpack_unit(payload)
    source = Watched(LocalStore("/"), tools.looks)
    try:
        return pack(do_publish(unit, source, tools.open(unit.place), tools))
    finally:
        source.close()


def do_publish(unit: PublishUnit, source: Store, target: Store, tools: Tools) -> UnitOutcome:
    """Bring the files of a unit to their keys; see the module docstring.

    Args:
        source: the file system, from its root.
        target: the destination.

    Raises INTERRUPTED only; everything else is the outcome of a file.
    """
    own, bucket = None, _limit(unit, tools)
    if bucket is None:
        bucket = own = Bucket.create()
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
        if own is not None:
            own.close()


def _limit(unit: PublishUnit, tools: Tools) -> Paces | None:
    if tools.bucket is not None or tools.limits is None:
        return tools.bucket
    return tools.limits(unit.accounts)


_Doomed = tuple[PublishFile, Entry, Entry]
"""A file that is to be deleted, its name as it was read, and what stands at its key."""


class _Work:
    """A unit under way: outcomes, files to be deleted, and whether the destination answers. Many threads share it."""

    def __init__(self, unit: PublishUnit, source: Store, target: Store, tools: Tools, bucket: Paces) -> None:
        self.unit = unit
        self._source = source
        self._target = target
        self._tools = tools
        self._again = tools.attempt > 1 or unit.generation > 0 or unit.again
        self._bucket = bucket
        wanted = [store_path(target, file.key) for file in unit.files if not unit.roots[file.root].overwrite]
        self._keys = Keys(target, wanted)
        self._made: set[str] = set()
        self._lock = threading.Lock()
        self._telling = threading.Lock()
        self._large = threading.Semaphore(LARGE_AT_A_TIME)
        self._outcomes: dict[int, FileOutcome] = {}
        self._record = Record(unit.job, unit.unit, tools.recorded)
        self._doomed: list[_Doomed] = []
        self._asked: list[tuple[int, list[_Doomed]]] = []
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
        """Tell what is known, and delete what is on record; `wait` for all of it. Else only if nobody is at it."""
        if not self._telling.acquire(blocking=wait):
            return
        try:
            self._say(wait)
            while self._asked and self._on_record(self._asked[0][0], wait):
                for file, entry, kept in self._asked.pop(0)[1]:
                    self._delete(file, entry, kept)
            for _, lot in self._asked if wait else ():
                for file, *_ in lot:
                    self._keep(file, "not deleted: its upload was not put on record in time")
        finally:
            self._telling.release()

    def _say(self, last: bool) -> None:
        """Tell what is known. `last`: only where something is to be deleted then, since the result follows."""
        with self._lock:
            doomed, self._told = self._doomed, self._tools.clock()
            ready = [one for one in doomed if one[0].place in self._outcomes]
            # One whose outcome is about to be noted goes with the next lot.
            self._doomed = [one for one in doomed if one[0].place not in self._outcomes]
        if not ready and (last or not self._outcomes):
            return
        mark = self._record.mark() if ready else b""
        try:
            if not self._tools.tell(pack(self.outcome()._replace(mark=mark))):
                raise _lost()
        except DunlinError as error:
            if ready or error.kind is ErrorKind.INTERRUPTED:
                raise
            return  # it was only to show how far we are
        if ready:
            self._asked.append((self._record.told, ready))

    def _on_record(self, told: int, wait: bool) -> bool:
        """Whether what was told is in the ledger; `wait` for it, for as long as is good."""
        until = self._tools.clock() + min(RECORDED, self.unit.seconds)
        pause = 0.02
        while True:
            with contextlib.suppress(DunlinError):  # a queue that is away; without it the lease does not last
                if self._record.has(told):
                    return True
            if not wait or self._tools.clock() >= until:
                return False
            self._check()
            self._tools.sleep(pause)
            pause = min(1.0, 1.5 * pause)

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
        with self._tools.looks.at(full):
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
                self._doom(file, name, have)
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

        def bring() -> tuple[Entry, Entry, Entry]:
            now = versions.pop() if versions else self._look(name.path)
            return *now, self._write(now[1], there, deadline)

        name, brought, kept = retry(bring, FILE, sleep=self._tools.sleep, clock=self._tools.clock)
        self._note(file.key, brought.size)
        if self.unit.roots[file.root].delete:
            self._doom(file, name, kept)
        return FileOutcome(file.place, FileStatus.UPLOADED, brought.size, key=file.key)

    def _write(self, entry: Entry, there: str, deadline: float) -> Entry:
        make_parents(self._target, there, self._made)
        source = _Timed(self._source, deadline, self._tools.clock, self._check)
        meta = Meta(mtime=entry.facts[MTIME])
        if entry.size <= WHOLE:
            self._bucket.take(entry.size)
            data = b"".join(bytes(chunk) for chunk in source.read(entry))
            self._check()
            return self._target.write(there, Body(len(data), lambda start: iter((data[start:],))), meta=meta)
        large = self._target.caps.block
        with self._large:
            report = self._tools.report
            return stream_file(
                source, self._target, entry, there, meta, _HOW, SHARE, self._bucket, report, large
            ).entry  # fmt: skip

    def _note(self, key: str, size: int) -> None:
        if self._tools.notes is not None:
            self._tools.notes.uploaded(self.unit.bucket, key, size)

    # ---- deleting ----

    def _doom(self, file: PublishFile, name: Entry, kept: Entry) -> None:
        with self._lock:
            self._doomed.append((file, name, kept))

    def _delete(self, file: PublishFile, name: Entry, kept: Entry) -> None:
        """Unlink the name if it still is what was uploaded, and the key still holds that (`kept`)."""
        self._check()
        note = ""
        try:
            if _version(self._stat(name.path).facts) != _version(name.facts):
                note = "not deleted: it was changed meanwhile"
            elif not still_there(self._target, kept):
                note = "not deleted: the key holds something else by now"
            else:
                self._source.delete([name.path])
                self._gone(file)
        except DunlinError as error:
            if error.kind is not ErrorKind.VANISHED:
                note = f"not deleted: {error.reason or error.kind.value}"
        if note:
            self._keep(file, note)

    def _keep(self, file: PublishFile, note: str) -> None:
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
