"""One huge file in ranges of bytes, which any number of processes bring at the same time.

    begin      one looks at the file and makes ready a temporary file of its size, or an upload (`stores.base.Parts`)
    bring      many read a range each, of that version, and write it in its place
    complete   one looks at the source again, proves the whole, gives it times, mode and its name

Theory. Every range is of *one version* of the source, the one that was seen at the beginning: each reader pins it
(inode, change time, size and time; an etag), and so does the last step. So a range may be brought twice, by whomever,
in any order: the bytes are the same. What is left to show is that a *zombie*, who was stopped in the middle of a range
and goes on when its lease has run out, spoils nothing either.

* It finds what was begun gone (the temporary file has its final name, the upload is over): it writes nothing.
* It had the temporary file open, which has the final name by now. Each block is read, then the lease is looked at, then
  the block is written (`wrap.Guarded`). If the lease was still good then, the block was read before anybody else had
  begun that range, so before the last step looked at the version: the bytes are those of this version, and they stand
  there already. If it was not, nothing is written. The one thing that may show is the time of the file, which a late
  write of the same bytes changes: the next run copies it again.
* The file changed and was begun anew: that is another temporary file, or another upload, or parts that do not have the
  tags with which it is completed.

The digest of the whole depends on the order of the bytes (`hashing`), and nobody saw them all. crc64 is put together
from those of the ranges. Any other is made by a second pass in the last step: over the temporary file where that is on
a disk, compared on the way with the crc64 that each range had when it was read, so that it proves what *arrived*;
over the source where the destination is an object store, which has checked every part itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from dunlin import hashing
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import CTIME, IDENT, MTIME, SIZE, Entry, Facts, Kind, join
from dunlin.stores.base import Begun, Body, Data, Meta, Parts, Reads, StatesDigests, power
from dunlin.stores.buffers import Buffers
from dunlin.transfer import keep
from dunlin.transfer.content import need_space, on_record, still_there, xattrs_of
from dunlin.transfer.options import ARRIVING, BEST_BLOCK, MOST_LARGE
from dunlin.transfer.outcome import Outcome, Range
from dunlin.transfer.resume import Witness
from dunlin.transfer.site import Site
from dunlin.transfer.stream import digest_of, pipeline, stream_file

RANGE = 64 << 20
"""Bytes of a range, as far as parts allow."""

MOST = 4_096
"""Ranges of one file; where they would be more, they are larger."""

PROOF = "crc64"
"""The checksum of a range: the one that can be put together, and so cheap that it may be made beside another."""

Span = tuple[int, int]
"""Where a range begins, and its bytes."""


def spans(size: int, part: int) -> list[Span]:
    """How a file of `size` bytes is cut, where ranges begin at multiples of `part` bytes."""
    step = max(RANGE, -(-size // MOST))
    step = -(-step // part) * part
    return [(start, min(step, size - start)) for start in range(0, size, step)]


def begin(site: Site, path: str, token: str) -> tuple[Facts, Begun]:
    """Make ready for the file: the facts of its version, and what everybody needs to know who brings some of it.

    `token`: names the temporary file (`Parts.begin_parts`).
    Raises UNSUPPORTED where the file has to go as a whole, VANISHED, CHANGED when it is none any more, NO_SPACE.
    """
    entry = still_there(site, path)
    if entry.kind is not Kind.FILE:
        raise DunlinError("read", path, ErrorKind.CHANGED, "it is no regular file any more")
    need_space(site, entry)

    def first(start: int) -> Iterator[Data]:
        for data in site.source.read(entry, start, None if entry.size > MOST * RANGE else RANGE):
            site.bucket.take(len(data))
            yield data

    begun = _parts(site).begin_parts(path, Body(entry.size, first), meta=_meta(site, entry), token=token)
    return entry.facts, begun


def bring(site: Site, path: str, facts: Facts, begun: Begun, span: Span) -> Range:
    """Copy one range of that version; done again where what came was damaged on the way.

    Raises CHANGED, VANISHED when the source has another version, NOT_FOUND when what was begun is there no more.
    """
    attempt = 1
    while True:
        try:
            with site.gate or contextlib.nullcontext():
                brought = _bring(site, Entry(path, facts), begun, *span)
                if site.gate is not None:
                    site.gate.moved(span[1])
            return brought
        except DunlinError as error:
            # Requests to an object store have been made again already.
            again = error.kind is ErrorKind.CHECKSUM or (error.retryable and site.hands is None)
            if not again or error.kind is ErrorKind.CHANGED or attempt >= site.options.attempts:
                raise
            attempt += 1


def _bring(site: Site, entry: Entry, begun: Begun, start: int, length: int) -> Range:
    # Where nobody reads what arrived, nothing is compared with the digest of a range.
    checksum = site.options.checksum
    wanted = checksum != "none" and (checksum == PROOF or not site.target.caps.far)
    options = site.options._replace(checksum=PROOF if wanted else "none")
    source = _Slice(site.source, entry, start, length)
    target = _Place(_parts(site), begun, start)
    shown = Entry(entry.path, (*entry.facts[:SIZE], length, *entry.facts[SIZE + 1 :]))
    far = site.target.caps.far
    large = max(site.source.caps.block, begun.part if far else 0)
    least = large if far else min(large, ARRIVING)
    with site.room(length, min(least, options.block_size)) if large else site.share() as share:
        best = max(least, min(large, share // MOST_LARGE))
        done = stream_file(
            source, target, shown, entry.path, Meta(), options, share, site.bucket, site.report, best, None
        )
    return Range(start, length, done.digest, target.tags)


class _Slice:
    """A range of one version of a file, as if it were the file."""

    def __init__(self, source: Reads, entry: Entry, start: int, length: int) -> None:
        self._source = source
        self._entry = entry
        self._start = start
        self._length = length

    def read(
        self, entry: Entry, start: int = 0, length: int | None = None, into: Buffers | None = None
    ) -> Iterator[Data]:
        return self._source.read(self._entry, self._start + start, self._length - start, into)


class _Place:
    """Where a range goes, as if it were a file; its `tags` are there once it was written."""

    def __init__(self, parts: Parts, begun: Begun, start: int) -> None:
        self.tags: tuple[str, ...] = ()
        self._parts = parts
        self._begun = begun
        self._start = start

    def write(self, path: str, body: Body, *, meta: Meta, if_absent: bool = False) -> Entry:
        self.tags = self._parts.put_part(path, self._begun, self._start, body)
        return Entry(path, ())


def complete(
    site: Site, path: str, exists: bool, facts: Facts, begun: Begun, ranges: Sequence[Range], outcome: Outcome
) -> None:
    """Make the file of its ranges and put it on record; where that was done already, only the latter.

    `exists`: something stood there when the file was listed. `ranges`: all of them, in order.
    Raises CHANGED, VANISHED when the source has another version by now, CHECKSUM when what arrived is not what was
    read, NOT_FOUND when what was begun is there no more.
    """
    directory, _, name = path.rpartition("/")
    entry = Entry(path, facts)
    parts, meta = _parts(site), _meta(site, entry)
    written = parts.completed_parts(path, begun, meta=meta)
    digest = _whole(site, entry, ranges, path if written is not None else join(directory, begun.id))
    if written is None:
        _check_version(entry, still_there(site, path))
        if site.backup is not None and _stands(site, path):
            keep.keep_copy(site, path)
        written = parts.complete_parts(path, begun, [tag for each in ranges for tag in each.tags], meta=meta)
    on_record(site, directory, (name, facts, facts if exists else None), (entry, written, digest), outcome)


def _stands(site: Site, path: str) -> bool:
    try:
        return site.target.stat(path).kind is Kind.FILE
    except DunlinError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
        return False


def _check_version(entry: Entry, now: Entry) -> None:
    for at in (SIZE, MTIME, CTIME, IDENT):
        wanted = entry.facts[at]
        if wanted is not None and wanted != now.facts[at]:
            reason = "it has changed since it was begun"
            raise DunlinError("read", entry.path, ErrorKind.CHANGED, reason, "it is in use")


def _whole(site: Site, entry: Entry, ranges: Sequence[Range], there: str) -> bytes | None:
    """The digest of the whole; `there`: where it stands at the destination, if that is a disk."""
    checksum = site.options.checksum
    stated = None
    if site.source.caps.far and not site.target.caps.far:
        states = power(site.source, StatesDigests)
        stated = states.stated_digest(entry) if states is not None else None
    if stated is None and checksum == "none":
        return None
    if stated is None and checksum == PROOF:
        return _joined(ranges)
    if site.target.caps.far:
        return digest_of(site.source, entry, checksum, site.bucket)
    witness = Witness(checksum, stated, entry.path, site.bucket)
    try:
        return _read_back(site, site.target.stat(there), ranges, witness)
    except DunlinError as error:
        if error.kind is ErrorKind.INTERRUPTED:
            raise
        # It was not the source that could not be read.
        raise DunlinError("verify", entry.path, error.kind, error.reason, error.hint) from error


def _joined(ranges: Sequence[Range]) -> bytes:
    digests = [each.digest for each in ranges if each.digest is not None]
    whole = digests[0]
    for each, digest in zip(ranges[1:], digests[1:], strict=True):
        whole = hashing.combine_crc64(whole, digest, each.length)
    return whole


def _read_back(site: Site, there: Entry, ranges: Sequence[Range], witness: Witness) -> bytes | None:
    """Read what arrived: every range must be what was read of it. The digest of the whole is that of `witness`."""
    pool = Buffers(BEST_BLOCK, 4)
    compared = _Compared(ranges, there.path)
    digest: bytes | None = None
    with contextlib.closing(pipeline(site.target, there, there.path, "none", pool, 0, witness)) as blocks:
        for block in blocks:
            if site.bucket.stopped:
                raise DunlinError("copy", there.path, ErrorKind.INTERRUPTED, "the run was stopped")
            compared.see(memoryview(block.data))
            pool.give(block.data)
            digest = block.file_hash if block.is_last else digest
    compared.end()
    return digest


class _Compared:
    """Compares what is seen of a file, from its first byte to its last, with the digests of its ranges."""

    def __init__(self, ranges: Sequence[Range], where: str) -> None:
        self._left = iter(ranges)
        self._where = where
        self._missing = 0
        self._range: Range | None = None
        self._hasher: hashing.Hasher | None = None

    def see(self, data: memoryview) -> None:
        """Take in the next bytes. Raises CHECKSUM."""
        while len(data):
            if not self._missing:
                self._next()
            piece = data[: self._missing]
            if self._hasher is not None:
                self._hasher.update(piece)
            self._missing -= len(piece)
            data = data[len(piece) :]
            if not self._missing:
                self._check()

    def end(self) -> None:
        """All was seen. Raises CHECKSUM when that is not all there should be."""
        if self._missing or next(self._left, None) is not None:
            raise self._damaged()

    def _next(self) -> None:
        self._range = next(self._left, None)
        if self._range is None:
            raise self._damaged()
        self._missing = self._range.length
        self._hasher = hashing.new(PROOF) if self._range.digest is not None else None

    def _check(self) -> None:
        assert self._range is not None
        if self._hasher is not None and self._range.digest != self._hasher.digest():
            raise self._damaged()

    def _damaged(self) -> DunlinError:
        reason = "what arrived is not what was read"
        return DunlinError("verify", self._where, ErrorKind.CHECKSUM, reason, "the file is copied anew")


def _parts(site: Site) -> Parts:
    parts = power(site.target, Parts)
    if parts is None:
        raise DunlinError("write in parts", site.target.url, ErrorKind.UNSUPPORTED, "the store has no such power")
    return parts


def _meta(site: Site, entry: Entry) -> Meta:
    return site.options.meta(entry.facts, xattrs_of(site, entry.path))
