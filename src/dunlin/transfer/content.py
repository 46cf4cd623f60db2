"""One file's way from the source to the destination, in whatever form suits its size and the two stores.

    from object store to store     copied by the service, where both are of one service and login
    small, from an object store    fetched with its facts in one request, written in one
    small, otherwise               looked at, read, written
    large                          through the pipeline (`stream`)

A file that changes while it is read, or whose bytes are not what they should be, is tried again. What becomes of it
is put on record in the outcome of its unit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from dunlin import hashing
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import CTIME, GID, IDENT, MODE, MTIME, SIZE, UID, Action, Entry, Facts, Kind, Row, join
from dunlin.pace.retry import CORRUPTION
from dunlin.report import Level
from dunlin.stores.base import Body, Copies, Data, Fetches, HasSpace, KnowsBirths, Meta, SetsMeta, Store, power
from dunlin.transfer.options import ARRIVING, MOST_LARGE
from dunlin.transfer.outcome import Copied, Outcome
from dunlin.transfer.site import STREAM, Site
from dunlin.transfer.stream import Streamed, stream_file

ANY_SERVICE = 256 << 20
"""Bytes that any service copies in one request: if it refuses that many, it will not copy between these two at all."""

FETCHED = 1 << 20
"""Bytes of an object up to which it is held in memory whole; as many of them as there are hands may be."""


def copy_file(site: Site, directory: str, row: Row, outcome: Outcome) -> None:
    """Copy one regular file, trying again when it changed while it was read; what becomes of it is put on record.

    What a stop, or an error that ends the run, left undone waits: it is pending, not failed.
    """
    if site.bucket.stopped:
        wait(row, outcome)
        return
    path = join(directory, row[0])
    attempt = 1
    while True:
        try:
            # What was listed is the version that it cannot be any more, the second time.
            target = site.vacant if row[2] is None else site.target
            brought = _bring(site, target, path, row[1] if attempt == 1 else None)
            break
        except DunlinError as error:
            if error.fatal:
                wait(row, outcome)
                if error.kind is not ErrorKind.INTERRUPTED:
                    outcome.end(error)
                return
            # Requests to an object store have been made again already: only what was wrong with the content is left.
            again = error.kind in CORRUPTION if site.hands is not None else error.retryable
            if not again or attempt >= site.options.attempts:
                outcome.fail(row[0], error, attempt)
                return
            attempt += 1
            outcome.tell(
                Level.WARN,
                "file.retry",
                f"{path}: {error.reason or error.kind.value}; attempt {attempt}/{site.options.attempts}",
                path=path,
                attempt=attempt,
                error=str(error),
            )
    on_record(site, directory, row, brought, outcome)


Brought = tuple[Entry, Entry, bytes | None]
"""The file at the source, at the destination, and the digest of its content."""


def on_record(site: Site, directory: str, row: Row, brought: Brought, outcome: Outcome) -> None:
    """Put a file on record that is in sync now."""
    entry, written, digest = brought
    born = births(site, directory, [row[0]])[0]
    take_over([as_copied(row[0], entry.facts, digest, born)], [row], outcome)
    if site.hands is not None:
        versioned = entry if site.source.caps.far else written
        outcome.etags[row[0]] = str(versioned.facts[IDENT])


def _bring(site: Site, target: Store, path: str, listed: Facts | None) -> Brought:
    """Move one file's content and metadata, in as few requests as the two stores need."""
    if site.copies is not None and (brought := have_copied(site, site.copies, path, listed)) is not None:
        return brought
    size = listed[SIZE] if listed is not None else FETCHED + 1
    fetches = power(site.source, Fetches)
    if fetches is None or size > FETCHED or site.bucket.block_for(size) < size:
        entry = still_there(site, path)
        _check_size(path, listed, entry)
        return _move_content(site, target, entry)
    try:
        site.bucket.take(size)
        got = fetches.fetch(path, FETCHED)
    except DunlinError as error:
        if error.kind is ErrorKind.NOT_FOUND:
            raise DunlinError("read", path, ErrorKind.VANISHED, error.reason) from error
        raise
    if got is None:
        return _move_content(site, target, still_there(site, path))
    entry, data = got
    _check_size(path, listed, entry)
    if site.options.in_place:
        _make_way(site, path)
    one_shot = hashing.one_shot(site.options.checksum)
    meta = site.options.meta(entry.facts, xattrs_of(site, path))
    written = target.write(path, Body(len(data), lambda start: iter((data[start:],))), meta=meta)
    return entry, written, one_shot(data) if one_shot else None


def _check_size(path: str, listed: Facts | None, entry: Entry) -> None:
    """Raise IO where an object has another size than the listing told of that very version: one of the two is wrong."""
    if listed is None or not isinstance(listed[IDENT], str) or listed[IDENT] != entry.facts[IDENT]:
        return
    if listed[SIZE] != entry.size:
        reason = f"it has {entry.size} bytes, and this very version was listed with {listed[SIZE]}"
        raise DunlinError("read", path, ErrorKind.IO, reason)


def have_copied(site: Site, copies: Copies, path: str, listed: Facts | None) -> Brought | None:
    """Let the service copy an object; None where it cannot. No content passes here, so there is no digest of it."""
    pinned = listed is not None and isinstance(listed[IDENT], str)
    entry = Entry(path, listed) if pinned and listed is not None else still_there(site, path)
    try:
        made = copies.copy_into(entry, site.target, path, meta=Meta(), report=site.report)
    except DunlinError as error:
        if error.kind not in (ErrorKind.UNSUPPORTED, ErrorKind.DENIED):
            raise
        if entry.size <= ANY_SERVICE:
            site.copies = None
        return None
    # The metadata went along as it was; what the listing told of times may be what the state remembers.
    there = made.facts
    facts = (*there[:CTIME], *entry.facts[CTIME:])
    return Entry(path, facts), made, None


def wait(row: Row, outcome: Outcome) -> None:
    """Leave a file to another unit, or to another run."""
    if row[1] is not None:  # else it is one more name of an inode, which is joined again
        outcome.waiting.append((row[0], row[1], int(Action.COPY), row[2] is not None))


def still_there(site: Site, path: str) -> Entry:
    """The file as it is now. Raises VANISHED when the source has it no more (the destination may say NOT_FOUND)."""
    try:
        return site.source.stat(path)
    except DunlinError as error:
        if error.kind is ErrorKind.NOT_FOUND:
            raise DunlinError("read", path, ErrorKind.VANISHED, error.reason) from error
        raise


def _move_content(site: Site, target: Store, entry: Entry) -> Brought:
    options = site.options
    meta = options.meta(entry.facts, xattrs_of(site, entry.path))
    if options.in_place:
        _make_way(site, entry.path)
    large = max(site.source.caps.block, site.target.caps.block)
    if entry.size > (FETCHED if large else STREAM):
        need_space(site, entry)
        streamed = _stream(site, target, entry, meta, large)
        return entry, streamed.entry, streamed.digest
    far = site.source.caps.far
    data = memoryview(b"".join(_arriving(site, entry) if far else map(bytes, site.source.read(entry))))
    one_shot = hashing.one_shot(options.checksum)
    digest = one_shot(data) if one_shot else None
    body = Body(len(data), lambda start: iter((data[start:],)) if far else _paced(site, data[start:]))
    with site.turn if site.bucket.block_for(len(data)) < len(data) and not far else contextlib.nullcontext():
        written = target.write(entry.path, body, meta=meta)
    return entry, written, digest


def _arriving(site: Site, entry: Entry) -> Iterator[bytes]:
    """The content of an object at the pace of the limit: what is not taken in time is not sent either."""
    for chunk in site.source.read(entry):
        site.bucket.take(len(chunk))
        yield bytes(chunk)


def _stream(site: Site, target: Store, entry: Entry, meta: Meta, large: int) -> Streamed:
    """Through the pipeline; from and to far away with as many requests under way as the buffers allow."""
    found = None
    if site.source.caps.far:
        from dunlin.transfer.resume import resumable

        found = resumable(site.source, entry)
    least = large if site.target.caps.block else min(large, ARRIVING)
    block = min(least, site.options.block_size)
    with site.room(entry.size, block) if large else site.share() as share:
        return stream_file(
            site.source,
            target,
            entry,
            entry.path,
            meta,
            site.options,
            share,
            site.bucket,
            site.report,
            max(least, min(large, share // MOST_LARGE)),
            found,
        )


def _make_way(site: Site, path: str) -> None:
    """In place nothing is renamed over a FIFO or device that stands there, and none is written into: it goes first."""
    if site.target.caps.far:
        return  # objects are replaced whole, whatever is asked for
    try:
        kind = site.target.stat(path).kind
    except DunlinError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
        return
    if kind not in (Kind.FILE, Kind.DIRECTORY):
        site.target.delete([path])


def _paced(site: Site, data: memoryview) -> Iterator[Data]:
    step = site.bucket.block_for(len(data)) or 1
    for at in range(0, len(data), step):
        piece = data[at : at + step]
        site.bucket.take(len(piece))
        yield piece


def need_space(site: Site, entry: Entry) -> None:
    """Before a large file: fail at once instead of after hours, if it cannot fit. A sparse file may be smaller."""
    space = power(site.target, HasSpace)
    if space is None or site.options.sparse or entry.size <= (free := space.free_space()):
        return
    if entry.size > free + _there_already(site, entry):
        raise DunlinError(
            "write", entry.path, ErrorKind.NO_SPACE, f"it has {entry.size} bytes and {free} are free at the destination"
        )


def _there_already(site: Site, entry: Entry) -> int:
    """Bytes of the file that an interrupted run has left at the destination."""
    if not site.source.caps.far:
        return 0
    from dunlin.stores.local.partial import part_name
    from dunlin.transfer.resume import version_of

    version = version_of(site.source, entry.path, entry.facts)
    try:
        above = entry.path.rpartition("/")[0]
        return site.target.stat(join(above, part_name(version))).size if version else 0
    except DunlinError:
        return 0


def xattrs_of(site: Site, path: str) -> dict[str, bytes] | None:
    """The extended attributes of a file of the source that are kept; None when none are asked for."""
    space = site.options.xattr_space
    reader = power(site.source, SetsMeta) if space else None
    return reader.get_xattrs(path, space) if reader is not None else None


def as_copied(name: str, what: Facts, digest: bytes | None = None, birth: int | None = None) -> Copied:
    """The row that state records for a file with these facts at the source."""
    return (name, what[SIZE], what[MTIME], what[CTIME], birth, what[MODE], what[UID], what[GID], digest)


def births(site: Site, directory: str, names: Sequence[str]) -> list[int | None]:
    """When files of the source were made, for the record: no listing says it, and it costs a call per name."""
    store = power(site.source, KnowsBirths)
    try:
        return store.birth_times(directory, names) if store is not None else [None] * len(names)
    except DunlinError:
        return [None] * len(names)


def take_over(copied: list[Copied], rows: Sequence[Row], outcome: Outcome) -> None:
    """Put files on record that are in sync now; `rows` tell which of them replaced another."""
    outcome.copied += copied
    outcome.counts["copied_files"] += len(copied)
    outcome.counts["copied_bytes"] += sum(row[1] for row in copied)
    if any(row[2] is not None for row in rows):
        there = {row[0] for row in rows if row[2] is not None}
        outcome.counts["updated_files"] += sum(1 for row in copied if row[0] in there)
