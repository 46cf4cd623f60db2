"""Carrying out the operations of one directory, in an order that is safe at every instant.

    1. renames       names that the destination spells otherwise
    2. clearing      what stands where another kind belongs; a directory that is not empty waits, like extras
    3. directories   made, so that their own units can start
    4. files         small ones in one batch; larger ones, and whatever the batch leaves, one by one
    5. links, FIFOs, devices
    6. metadata      of names whose content is in sync

Extras and hard links are only put on record: they wait for all transfers of the run. So does a name
where a directory stands that is not empty: what is in that goes with the extras, if they may go, and
the name is made after them. The directory's own times and mode are set by the caller, last, because
each step above changes them.

One bad file is news, not the end: its error goes into the outcome and the next one is begun.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import (
    DIRECTORY_BITS,
    GID,
    IDENT,
    MODE,
    MTIME,
    PERMISSION_BITS,
    RDEV,
    SIZE,
    SKIP_REASONS,
    SURE,
    TYPE_BITS,
    UID,
    Action,
    Entry,
    Facts,
    Operation,
    Row,
    join,
)
from dunlin.report import Level
from dunlin.stores.base import (
    CHANGE_TIME,
    CopiesBatch,
    Gathered,
    LooksAt,
    MakesDirs,
    MakesLinks,
    Moves,
    ReadsBatch,
    SetsMeta,
    WritesBatch,
    power,
    remove_directory,
)
from dunlin.stores.local.batch import BatchResult
from dunlin.transfer import keep
from dunlin.transfer.content import as_copied, births, copy_file, still_there, take_over, wait, xattrs_of
from dunlin.transfer.outcome import Outcome, Presence
from dunlin.transfer.site import STREAM, Site
from dunlin.transfer.stream import digest_of

T = TypeVar("T")


def carry_out(
    site: Site, directory: str, operations: Sequence[Operation], outcome: Outcome, fresh: bool = False
) -> None:
    """Do what the plan wants in one directory and put on record what became of each name.

    Args:
        directory: path below both roots; it exists at the destination.
        operations: those of one window; VERIFY, COPY and META rows are done here, whatever their size.
        outcome: filled in.
        fresh: this run has just made the directory, and no other unit works in it.
    """
    for action, step in _STEPS:
        for operation in operations:
            if operation.action is action and outcome.fatal is None:
                if operation.clear:
                    # Nothing stands there any more: it must not be kept, looked at or replaced a second time.
                    rows: list[Row] = [
                        (row[0], row[1], None) for row in operation.rows if make_way(site, directory, row, outcome)
                    ]
                    operation = Operation(action, rows, reason=operation.reason)
                if fresh and action is Action.COPY:
                    _copy(site, directory, operation, outcome, fresh)
                else:
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


def make_way(site: Site, directory: str, row: Row, outcome: Outcome) -> bool:
    """Make way for a name of another kind; False when it has to wait or could not be done, which is on record then."""
    path = join(directory, row[0])
    target = row[2]
    assert target is not None
    try:
        if target[MODE] & TYPE_BITS != DIRECTORY_BITS:
            if site.backup is not None:
                keep.keep(site, path)
            else:
                site.target.delete([path])
        elif not _remove_empty(site, path):
            keep.check_clear(site, path)
            outcome.blocked.append(row[0])
            return False
    except DunlinError as error:
        outcome.fail(row[0], error)
        return False
    return True


def _remove_empty(site: Site, path: str) -> bool:
    """Remove a directory with nothing in it; False when there is something."""
    try:
        remove_directory(site.target, path)
    except DunlinError as error:
        if error.kind is not ErrorKind.EXISTS:
            raise
        return False
    return True


def _directories(site: Site, directory: str, operation: Operation, outcome: Outcome) -> None:
    dirs = power(site.target, MakesDirs)

    def do(row: Row) -> None:
        name, source, target = row
        assert source is not None
        there = target is not None and target[MODE] & TYPE_BITS == DIRECTORY_BITS
        if not there and dirs is not None:
            known = source[UID] is not None  # else the source has no modes
            mode = source[MODE] & PERMISSION_BITS if site.options.perms and known else None
            if not dirs.make_directory(join(directory, name), mode, source[MODE] if known else None):
                there = True
            elif site.target.caps.directories:
                outcome.counts["created_directories"] += 1
        outcome.subdirectories.append((name, int(Presence.BOTH if there else Presence.SOURCE)))

    _each(operation.rows, outcome, do, "failed_directories")


def _copy(site: Site, directory: str, operation: Operation, outcome: Outcome, fresh: bool = False) -> None:
    rows = operation.rows
    if site.backup is not None:
        rows = [row for row in rows if row[2] is None or _keep(site, directory, row, outcome)]
    batch = power(site.target, CopiesBatch)
    if batch is not None and not (site.options.sparse or site.options.xattr_space):
        result = batch.copy_batch(site.source, directory, directory, rows, site.batch, site.bucket, site.worker, fresh)
        if result is not None:
            rows = _after_batch(result, rows, outcome)
    rows = _poured(site, directory, rows, outcome, fresh)
    if site.hands is not None and rows:
        _copy_many(site, directory, rows, outcome)
    else:
        _each(rows, outcome, lambda row: copy_file(site, directory, row, outcome))


def _poured(site: Site, directory: str, rows: list[Row], outcome: Outcome, fresh: bool) -> list[Row]:
    """Write the small files whose content the source hands over many at a time; those that are left.

    File systems do (`ReadsBatch`), too, but what they hold may change meanwhile: there each file is looked at.
    """
    reads, writes = power(site.source, ReadsBatch), power(site.target, WritesBatch)
    options = site.options
    if not rows or reads is None or writes is None or options.sparse or options.in_place:
        return rows
    if power(site.source, CopiesBatch) is not None:
        return rows
    if outcome.fatal is not None:
        return rows
    small: list[Row] = [row for row in rows if row[1] is not None and row[1][SIZE] <= STREAM]
    if any(facts is None or facts[UID] is None for _, facts, _ in small):
        listed, small = small, []
        _each(listed, outcome, lambda row: small.append(_with_facts(site, directory, row)))

    def contents(wanted: Sequence[Row]) -> Iterator[Gathered]:
        return reads.read_batch(directory, [(row[0], row[1]) for row in wanted if row[1]], options.xattr_space)

    above = site.source.stat(directory.rpartition("/")[0]).facts if fresh and directory else None
    how = (options.meta, site.batch, site.bucket, site.worker)
    result = writes.write_batch(directory, small, contents, *how, above)
    large = [row for row in rows if row[1] is None or row[1][SIZE] > STREAM]
    return [*_after_batch(result, small, outcome), *large]


def _with_facts(site: Site, directory: str, row: Row) -> Row:
    """A row with all facts of the source: of a file that waited for its turn only the size was kept."""
    name, facts, there = row
    if facts is None or facts[UID] is not None:
        return row
    return name, still_there(site, join(directory, name)).facts, there


def _after_batch(result: BatchResult, rows: Sequence[Row], outcome: Outcome) -> list[Row]:
    """Put on record what became of a batch; the rows that it left to others."""
    take_over(result.rows, rows, outcome)
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
    return result.large


def _copy_many(site: Site, directory: str, rows: Sequence[Row], outcome: Outcome) -> None:
    """Copy files to or from a store that is far away, many at a time."""
    assert site.hands is not None
    assert site.gate is not None
    gate = site.gate

    def carry(mine: Iterator[Row]) -> Outcome:
        part = Outcome()
        for row in mine:
            if over:
                wait(row, part)
                continue
            try:
                with gate:
                    copy_file(site, directory, row, part)
                    gate.moved(row[1][SIZE] if row[1] is not None else 0)
            except DunlinError as error:
                if error.kind is not ErrorKind.INTERRUPTED:
                    raise
                wait(row, part)
            if part.fatal is not None:
                over.append(True)
        return part

    over = [True] if outcome.fatal is not None else []
    # One file alone needs no other thread, but it counts among those under way like any other.
    parts = [carry(iter(rows))] if len(rows) == 1 else site.hands.share(rows, carry, len(rows))
    for part in parts:
        outcome.absorb(part)


def _keep(site: Site, directory: str, row: Row, outcome: Outcome) -> bool:
    try:
        keep.keep_copy(site, join(directory, row[0]))
    except DunlinError as error:
        outcome.fail(row[0], error)
        return False
    return True


def _links(site: Site, directory: str, operation: Operation, outcome: Outcome) -> None:
    source = _need(site.source, MakesLinks, "read links from")
    target = _need(site.target, MakesLinks, "make links at")

    def do(row: Row) -> None:
        path = join(directory, row[0])
        facts = row[1]
        assert facts is not None
        text = source.read_link(path)
        xattrs = xattrs_of(site, path)
        there = row[2] is not None and row[2][MODE] & TYPE_BITS == facts[MODE] & TYPE_BITS
        if there and target.read_link(path) == text and dressed(site, row, links=True) and _marked(site, path, xattrs):
            outcome.counts["equal_files"] += 1
            return
        if site.backup is not None and row[2] is not None:
            keep.keep(site, path)
        target.make_link(path, text, site.options.meta(facts, xattrs))
        outcome.counts["created_links"] += 1
        outcome.tell(Level.INFO, "file.created", path, path=path)

    _each(operation.rows, outcome, do)


def _specials(site: Site, directory: str, operation: Operation, outcome: Outcome) -> None:
    target = _need(site.target, MakesLinks, "make special files at")

    def do(row: Row) -> None:
        path = join(directory, row[0])
        facts, old = row[1], row[2]
        assert facts is not None
        alike = old is not None and not (old[MODE] ^ facts[MODE]) & TYPE_BITS and old[RDEV] == facts[RDEV]
        xattrs = xattrs_of(site, path)
        if alike and dressed(site, row) and _marked(site, path, xattrs):
            outcome.counts["equal_files"] += 1
        elif alike:
            _set_meta(site, path, facts, outcome)
        else:
            if site.backup is not None and old is not None:
                keep.keep(site, path)
            target.make_special(path, facts[MODE], facts[RDEV], site.options.meta(facts, xattrs))
            outcome.counts["created_specials"] += 1
            outcome.tell(Level.INFO, "file.created", path, path=path)

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
    timed = source[MTIME] is not None and target[MTIME] is not None
    if timed and abs(source[MTIME] - target[MTIME]) > options.window:
        return False
    if source[UID] is None or target[UID] is None:
        return True  # one side has no POSIX attributes, or does not tell them
    if options.perms and not links and (source[MODE] ^ target[MODE]) & PERMISSION_BITS:
        return False
    if options.owner and source[UID] != target[UID]:
        return False
    return not (options.group and source[GID] != target[GID] and options.meta(source).gid is not None)


def _as_it_is(site: Site, path: str, row: Row) -> tuple[Row, Facts]:
    """The row with the source's own facts: the times that an object store lists may be what the state remembers."""
    facts = still_there(site, path).facts if site.source.caps.far else row[1]
    assert facts is not None
    return (row[0], facts, row[2]), facts


def _meta(site: Site, directory: str, operation: Operation, outcome: Outcome) -> None:
    def do(row: Row) -> None:
        path = join(directory, row[0])
        row, facts = _as_it_is(site, path, row)
        _set_meta(site, path, facts, outcome)
        _put_version(site, path, outcome)
        outcome.seen.append(as_copied(row[0], facts, None, births(site, directory, [row[0]])[0]))

    if site.options.xattr_space:
        _look_closely(site, directory, operation, outcome)
    else:
        _each(operation.rows, outcome, do)


def _look_closely(site: Site, directory: str, operation: Operation, outcome: Outcome) -> None:
    """Compare the extended attributes of files whose facts agree, and set what differs.

    Where a share has another version than the one on record (`SURE`), something of it was changed. If that shows in
    its metadata, it was the metadata; if not, it must have been the content, whatever size and time say.
    """
    space = site.options.xattr_space
    source, target = _need(site.source, SetsMeta, "look at"), power(site.target, SetsMeta)

    def do(row: Row) -> None:
        name, listed, old = row
        assert listed is not None
        assert old is not None
        path = join(directory, name)
        try:
            facts, xattrs = _look_at(source, path, space, listed)
        except DunlinError as error:
            if error.kind is ErrorKind.NOT_FOUND:
                raise DunlinError("read", path, ErrorKind.VANISHED, error.reason) from error
            raise
        there, theirs = _look_at(target, path, space, old) if target is not None else (old, xattrs)
        looks = dressed(site, (name, facts, there))
        if looks and False in (*listed[SURE:], *old[SURE:]) and _plainly(xattrs) == _plainly(theirs):
            _copy(site, directory, Operation(Action.COPY, [row]), outcome)
            return
        if site.hands is not None:
            outcome.etags[name] = str((facts if site.source.caps.far else there)[IDENT])
        if looks and xattrs == theirs:
            outcome.counts["equal_files"] += 1
            outcome.counts["equal_bytes"] += facts[SIZE]
        elif target is not None:
            target.set_meta(path, site.options.meta(facts, xattrs))
            _count_meta(path, outcome)
            _put_version(site, path, outcome)
        outcome.seen.append(as_copied(name, facts, None, births(site, directory, [name])[0]))

    _each(operation.rows, outcome, do)


def _look_at(store: SetsMeta, path: str, space: tuple[str, ...], listed: Facts) -> tuple[Facts, dict[str, bytes]]:
    """What stands at a path now, as far as that costs no request more than its extended attributes."""
    looks = power(store, LooksAt)
    if looks is None:
        return listed, store.get_xattrs(path, space)
    entry, xattrs = looks.look_at(path, space)
    return entry.facts, xattrs


def _plainly(xattrs: dict[str, bytes]) -> dict[str, bytes]:
    return {name: value for name, value in xattrs.items() if name != CHANGE_TIME}


def _put_version(site: Site, path: str, outcome: Outcome) -> None:
    """Put the version on record that an object of the destination is now that its metadata was set."""
    if site.target.caps.far and not site.source.caps.far:
        # Some services make another version of it, with another etag; what is on record names this one.
        outcome.etags[path.rpartition("/")[2]] = str(site.target.stat(path).facts[IDENT])


def _set_meta(site: Site, path: str, facts: Facts, outcome: Outcome) -> None:
    setter = power(site.target, SetsMeta)
    if setter is not None:
        setter.set_meta(path, site.options.meta(facts, xattrs_of(site, path)))
        _count_meta(path, outcome)


def _count_meta(path: str, outcome: Outcome) -> None:
    outcome.counts["metadata_entries"] += 1
    outcome.tell(Level.INFO, "file.metadata", path, path=path)


def dress_directory(site: Site, path: str, source: Facts, target: Facts | None, outcome: Outcome) -> None:
    """Give a directory its own times, mode and owner, if they are not right already.

    Where one side has directories only as parts of names there is nothing to give, or nobody to take it.
    """
    if source[MTIME] is None or not site.target.caps.directories:
        return
    row = (path, source, target)
    if target is not None and dressed(site, row) and not site.options.xattr_space:
        return
    setter = power(site.target, SetsMeta)
    if setter is None:
        return
    xattrs = xattrs_of(site, path)
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
        if site.hands is not None:
            outcome.etags[row[0]] = str((facts if site.source.caps.far else old)[IDENT])
        row, facts = _as_it_is(site, path, row)
        outcome.seen.append(as_copied(row[0], facts, kept, births(site, directory, [row[0]])[0]))
        if dressed(site, row):
            outcome.counts["equal_files"] += 1
            outcome.counts["equal_bytes"] += facts[SIZE]
        else:
            _set_meta(site, path, facts, outcome)
            _put_version(site, path, outcome)

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
    if reason in ("special", "no-special"):
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
