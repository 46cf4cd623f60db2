"""Carrying out the operations of one directory, in an order that is safe at every instant.

    1. renames       names that the destination spells otherwise
    2. clearing      what stands where another kind belongs
    3. directories   made, so that their own units can start
    4. files         small ones in one batch; larger ones, and whatever the batch leaves, one by one
    5. links, FIFOs, devices
    6. metadata      of names whose content is in sync

Extras and hard links are only put on record: they wait for all transfers of the run. The
directory's own times and mode are set by the caller, last, because each step above changes them.

One bad file is news, not the end: its error goes into the outcome and the next one is begun.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from dunlin import hashing
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import (
    CTIME,
    DIRECTORY_BITS,
    GID,
    MODE,
    MTIME,
    PERMISSION_BITS,
    RDEV,
    SIZE,
    SKIP_REASONS,
    TYPE_BITS,
    UID,
    Action,
    Entry,
    Facts,
    Kind,
    Operation,
    Row,
    join,
)
from dunlin.report import Level
from dunlin.stores.base import (
    Body,
    CopiesBatch,
    Data,
    HasSpace,
    KnowsBirths,
    MakesDirs,
    MakesLinks,
    Moves,
    SetsMeta,
    power,
)
from dunlin.stores.local import quick
from dunlin.transfer import keep
from dunlin.transfer.outcome import Copied, Outcome, Presence
from dunlin.transfer.site import STREAM, Site
from dunlin.transfer.stream import digest_of, stream_file

T = TypeVar("T")


def carry_out(site: Site, directory: str, operations: Sequence[Operation], outcome: Outcome) -> None:
    """Do what the plan wants in one directory and put on record what became of each name.

    Args:
        directory: path below both roots; it exists at the destination.
        operations: those of one window; VERIFY, COPY and META rows are done here, whatever their size.
        outcome: filled in.
    """
    for action, step in _STEPS:
        for operation in operations:
            if operation.action is action and outcome.fatal is None:
                if operation.clear:
                    # Nothing stands there any more: it must not be kept, looked at or replaced a second time.
                    rows: list[Row] = [
                        (row[0], row[1], None) for row in operation.rows if _clear(site, directory, row, outcome)
                    ]
                    operation = Operation(action, rows, reason=operation.reason)
                step(site, directory, operation, outcome)


def _each(
    rows: Sequence[Row], outcome: Outcome, do: Callable[[Row], None], count: str = "failed_files"
) -> None:
    for row in rows:
        if outcome.fatal is not None:
            return
        try:
            do(row)
        except DunlinError as error:
            outcome.fail(row[0], error, count=count)


def _rename(site: Site, directory: str, operation: Operation, outcome: Outcome) -> None:
    moves = _need(site.target, Moves, "rename")

    def do(row: Row) -> None:
        moves.move(join(directory, operation.reason), join(directory, row[0]))

    _each(operation.rows, outcome, do)


def _clear(site: Site, directory: str, row: Row, outcome: Outcome) -> bool:
    """Make way for a name of another kind; False when it could not be done, which is on record then."""
    path = join(directory, row[0])
    target = row[2]
    assert target is not None
    try:
        if target[MODE] & TYPE_BITS != DIRECTORY_BITS:
            if site.backup is not None:
                keep.keep(site, path)
            else:
                site.target.delete([path])
        elif site.options.clear:
            _clear_directory(site, path, outcome)
        else:
            site.target.delete([path])
    except DunlinError as error:
        if error.kind is ErrorKind.EXISTS and not error.hint:
            error = keep.not_empty(path)
        outcome.fail(row[0], error)
        return False
    return True


def _clear_directory(site: Site, path: str, outcome: Outcome) -> None:
    gone = keep.to_clear(site, path)
    most = site.options.clear_most
    if most is not None and not site.bucket.spend(len(gone), most):
        reason = f"clearing the way for all files of this run would delete more than --max-delete {most} names"
        raise DunlinError("replace", path, ErrorKind.EXISTS, reason, "remove it, or give another limit")
    if site.backup is not None:
        keep.keep(site, path)
    else:
        keep.remove_tree(site.target, path, Outcome())
    files = [entry.path for entry in gone if entry.kind is not Kind.DIRECTORY]
    outcome.counts["deleted_files"] += len(files)
    outcome.counts["deleted_directories"] += 1 + len(gone) - len(files)
    for file in files:
        outcome.tell(Level.INFO, "file.deleted", file, path=file)


def _directories(site: Site, directory: str, operation: Operation, outcome: Outcome) -> None:
    dirs = power(site.target, MakesDirs)

    def do(row: Row) -> None:
        name, source, target = row
        assert source is not None
        there = target is not None and target[MODE] & TYPE_BITS == DIRECTORY_BITS
        if not there and dirs is not None:
            mode = source[MODE] & PERMISSION_BITS if site.options.perms else None
            if dirs.make_directory(join(directory, name), mode, source[MODE]):
                outcome.counts["created_directories"] += 1
            else:
                there = True
        outcome.subdirectories.append((name, int(Presence.BOTH if there else Presence.SOURCE)))

    _each(operation.rows, outcome, do, "failed_directories")


def _copy(site: Site, directory: str, operation: Operation, outcome: Outcome) -> None:
    rows = operation.rows
    if site.backup is not None:
        rows = [row for row in rows if row[2] is None or _keep(site, directory, row, outcome)]
    batch = power(site.target, CopiesBatch)
    if batch is not None and not (site.options.sparse or site.options.xattr_space):
        result = batch.copy_batch(site.source, directory, directory, rows, site.batch, site.bucket, site.worker)
        if result is not None:
            _take_over(result.rows, rows, outcome)
            outcome.refused.update(result.refused)
            for name, error, attempts in result.failed:
                outcome.fail(name, error, attempts)
            for name in result.vanished:
                outcome.vanish(name)
            outcome.waiting += [
                (row[0], row[1], int(Action.COPY), row[2] is not None) for row in result.rest if row[1] is not None
            ]
            if result.fatal is not None:
                outcome.end(result.fatal)
            rows = result.large
    _each(rows, outcome, lambda row: copy_file(site, directory, row, outcome))


def _take_over(copied: list[Copied], rows: Sequence[Row], outcome: Outcome) -> None:
    outcome.copied += copied
    outcome.counts["copied_files"] += len(copied)
    outcome.counts["copied_bytes"] += sum(row[1] for row in copied)
    if any(row[2] is not None for row in rows):
        there = {row[0] for row in rows if row[2] is not None}
        outcome.counts["updated_files"] += sum(1 for row in copied if row[0] in there)


def _keep(site: Site, directory: str, row: Row, outcome: Outcome) -> bool:
    try:
        keep.keep_copy(site, join(directory, row[0]))
    except DunlinError as error:
        outcome.fail(row[0], error)
        return False
    return True


def copy_file(site: Site, directory: str, row: Row, outcome: Outcome) -> None:
    """Copy one regular file, trying again when it changed while it was read; what becomes of it is put on record.

    What a stop, or an error that ends the run, left undone waits: it is pending, not failed.
    """
    if site.bucket.stopped:
        _wait(row, outcome)
        return
    path = join(directory, row[0])
    attempt = 1
    while True:
        try:
            entry = still_there(site, path)
            digest = _move_content(site, entry, row[2])
            break
        except DunlinError as error:
            if error.fatal:
                _wait(row, outcome)
                if error.kind is not ErrorKind.INTERRUPTED:
                    outcome.end(error)
                return
            if not error.retryable or attempt >= site.options.attempts:
                outcome.fail(row[0], error, attempt)
                return
            attempt += 1
            outcome.tell(
                Level.WARN,
                "file.retry",
                f"{path}: {error.reason or error.kind.value}; attempt {attempt}/{site.options.attempts}",
                path=path,
                attempt=attempt,
            )
    born = births(site, directory, [row[0]])[0]
    _take_over([as_copied(row[0], entry.facts, digest, born)], [row], outcome)


def _wait(row: Row, outcome: Outcome) -> None:
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


def _move_content(site: Site, entry: Entry, there: Facts | None) -> bytes | None:
    options = site.options
    meta = options.meta(entry.facts, _xattrs(site, entry.path))
    if meta.mode is None and there is None and entry.facts[MODE] is not None:
        # A new file without -p: what the umask leaves of the source's permissions, as for small files.
        meta = replace(meta, mode=entry.facts[MODE] & 0o777 & ~quick.umask())
    if options.in_place:
        _make_way(site, entry.path)
    if entry.size > STREAM:
        _need_space(site, entry)
        with site.share() as share:
            return stream_file(
                site.source, site.target, entry, entry.path, meta, options, share, site.bucket, site.report
            ).digest
    data = memoryview(b"".join(bytes(chunk) for chunk in site.source.read(entry)))
    one_shot = hashing.one_shot(options.checksum)
    digest = one_shot(data) if one_shot else None
    site.target.write(entry.path, Body(len(data), lambda start: _paced(site, data[start:])), meta=meta)
    return digest


def _make_way(site: Site, path: str) -> None:
    """In place nothing is renamed over a FIFO or device that stands there, and none is written into: it goes first."""
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


def _need_space(site: Site, entry: Entry) -> None:
    """Before a large file: fail at once instead of after hours, if it cannot fit. A sparse file may be smaller."""
    space = power(site.target, HasSpace)
    if space is not None and not site.options.sparse and entry.size > (free := space.free_space()):
        raise DunlinError(
            "write", entry.path, ErrorKind.NO_SPACE, f"it has {entry.size} bytes and {free} are free at the destination"
        )


def _xattrs(site: Site, path: str) -> dict[str, bytes] | None:
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


def _links(site: Site, directory: str, operation: Operation, outcome: Outcome) -> None:
    source = _need(site.source, MakesLinks, "read links from")
    target = _need(site.target, MakesLinks, "make links at")

    def do(row: Row) -> None:
        path = join(directory, row[0])
        facts = row[1]
        assert facts is not None
        text = source.read_link(path)
        xattrs = _xattrs(site, path)
        there = row[2] is not None and row[2][MODE] & TYPE_BITS == facts[MODE] & TYPE_BITS
        if there and target.read_link(path) == text and dressed(site, row, links=True) and _marked(site, path, xattrs):
            outcome.counts["equal_files"] += 1
            return
        if site.backup is not None and row[2] is not None:
            keep.keep(site, path)
        target.make_link(path, text, site.options.meta(facts, xattrs))
        outcome.counts["created_links"] += 1

    _each(operation.rows, outcome, do)


def _specials(site: Site, directory: str, operation: Operation, outcome: Outcome) -> None:
    target = _need(site.target, MakesLinks, "make special files at")

    def do(row: Row) -> None:
        path = join(directory, row[0])
        facts, old = row[1], row[2]
        assert facts is not None
        alike = old is not None and not (old[MODE] ^ facts[MODE]) & TYPE_BITS and old[RDEV] == facts[RDEV]
        xattrs = _xattrs(site, path)
        if alike and dressed(site, row) and _marked(site, path, xattrs):
            outcome.counts["equal_files"] += 1
        elif alike:
            _set_meta(site, path, facts, outcome)
        else:
            if site.backup is not None and old is not None:
                keep.keep(site, path)
            target.make_special(path, facts[MODE], facts[RDEV], site.options.meta(facts, xattrs))
            outcome.counts["created_specials"] += 1

    _each(operation.rows, outcome, do)


def _marked(site: Site, path: str, xattrs: dict[str, bytes] | None) -> bool:
    """Whether the destination has exactly these extended attributes; None are not asked for."""
    target = power(site.target, SetsMeta) if xattrs is not None else None
    return target is None or xattrs == target.get_xattrs(path, site.options.xattr_space)


def dressed(site: Site, row: Row, links: bool = False) -> bool:
    """Whether the metadata at the destination is what it should be, as far as facts tell."""
    _, source, target = row
    assert source is not None
    assert target is not None
    options = site.options
    if abs(source[MTIME] - target[MTIME]) > options.window:
        return False
    if options.perms and not links and (source[MODE] ^ target[MODE]) & PERMISSION_BITS:
        return False
    if options.owner and source[UID] != target[UID]:
        return False
    return not (options.group and source[GID] != target[GID] and options.meta(source).gid is not None)


def _meta(site: Site, directory: str, operation: Operation, outcome: Outcome) -> None:
    def do(row: Row) -> None:
        facts = row[1]
        assert facts is not None
        path = join(directory, row[0])
        if site.options.xattr_space and dressed(site, row) and _marked(site, path, _xattrs(site, path)):
            outcome.counts["equal_files"] += 1
            outcome.counts["equal_bytes"] += facts[SIZE]
        else:
            _set_meta(site, path, facts, outcome)
        outcome.seen.append(as_copied(row[0], facts, None, births(site, directory, [row[0]])[0]))

    _each(operation.rows, outcome, do)


def _set_meta(site: Site, path: str, facts: Facts, outcome: Outcome) -> None:
    setter = power(site.target, SetsMeta)
    if setter is not None:
        setter.set_meta(path, site.options.meta(facts, _xattrs(site, path)))
        outcome.counts["metadata_entries"] += 1


def dress_directory(site: Site, path: str, source: Facts, target: Facts | None, outcome: Outcome) -> None:
    """Give a directory its own times, mode and owner, if they are not right already."""
    row = (path, source, target)
    if target is not None and dressed(site, row) and not site.options.xattr_space:
        return
    setter = power(site.target, SetsMeta)
    if setter is None:
        return
    xattrs = _xattrs(site, path)
    if target is not None and dressed(site, row) and xattrs == setter.get_xattrs(path, site.options.xattr_space):
        return
    setter.set_meta(path, site.options.meta(source, xattrs))


def _verify(site: Site, directory: str, operation: Operation, outcome: Outcome) -> None:
    """Read both sides of files that look alike; copy those whose content differs."""
    checksum = site.options.checksum if site.options.checksum != "none" else "blake3"

    def do(row: Row) -> None:
        facts, old = row[1], row[2]
        assert facts is not None
        assert old is not None
        path = join(directory, row[0])
        digest = digest_of(site.source, Entry(path, facts), checksum, site.bucket)
        outcome.counts["verified_files"] += 1
        if digest != digest_of(site.target, Entry(path, old), checksum, site.bucket):
            outcome.tell(Level.INFO, "file.differs", f"{path}: same size and time, other content", path=path)
            _copy(site, directory, Operation(Action.COPY, [row]), outcome)
            return
        kept = digest if checksum == site.options.checksum else None
        outcome.seen.append(as_copied(row[0], facts, kept, births(site, directory, [row[0]])[0]))
        if dressed(site, row):
            outcome.counts["equal_files"] += 1
            outcome.counts["equal_bytes"] += facts[SIZE]
        else:
            _set_meta(site, path, facts, outcome)

    _each(operation.rows, outcome, do)


def _hard(site: Site, directory: str, operation: Operation, outcome: Outcome) -> None:
    outcome.linked += operation.rows


def _extra(site: Site, directory: str, operation: Operation, outcome: Outcome) -> None:
    for name, _, facts in operation.rows:
        assert facts is not None
        outcome.extras.append((name, facts[MODE] & TYPE_BITS == DIRECTORY_BITS))


def _skip(site: Site, directory: str, operation: Operation, outcome: Outcome) -> None:
    rows, reason = operation.rows, operation.reason
    outcome.counts["skipped_files"] += len(rows)
    for row in rows:
        path = join(directory, row[0])
        outcome.tell(Level.DEBUG, "file.skipped", path, reason=reason, files=1, path=path)
    if reason == "special":
        first = join(directory, rows[0][0])
        which = first if len(rows) == 1 else f"{first} and {len(rows) - 1} more there"
        outcome.tell(Level.WARN, "special.skipped", f"{which}: {SKIP_REASONS[reason]}", path=first)


def _need(store: object, wanted: type[T], what: str) -> T:
    found = power(store, wanted)
    if found is None:
        raise DunlinError(what, getattr(store, "url", ""), ErrorKind.UNSUPPORTED, "the store has no such power")
    return found


Step = Callable[[Site, str, Operation, Outcome], None]

_STEPS: tuple[tuple[Action, Step], ...] = (
    (Action.RENAME, _rename),
    (Action.DIRECTORY, _directories),
    (Action.COPY, _copy),
    (Action.VERIFY, _verify),
    (Action.LINK, _links),
    (Action.SPECIAL, _specials),
    (Action.META, _meta),
    (Action.HARD, _hard),
    (Action.EXTRA, _extra),
    (Action.SKIP, _skip),
)
