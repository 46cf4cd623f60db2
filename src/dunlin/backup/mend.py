"""Mends trees: a segment that is lost or damaged is written again from its metadata pages.

Pages hold every value of the segment's rows (`pages`, `rowpages`). They go through the same writer as in the backup,
in the same order, so the file that comes out is the same to the last byte; whether it is, tells its BLAKE3, which
manifests name. Nothing else is stored in the place of a damaged object. So snapshots stay what they were, under their
ids, and nobody has to be told: the object is there again.

What only manifests and pages know cannot be made from anything else. Where they are damaged, too, the snapshots that
need the segment are named. One thing can be mended of pages: an end that is damaged or missing, with the index by which
pages are found. They are looked for from the beginning then, and if all of them are there they are written again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from dunlin.backup.frames import Codec, seal_file
from dunlin.backup.lease import PRUNE, Lease
from dunlin.backup.manifest import SegmentRef
from dunlin.backup.pages import PagesReader, PagesWriter
from dunlin.backup.repository import Area, Repository
from dunlin.backup.rowpages import RowPage
from dunlin.backup.scratch import scratch
from dunlin.backup.snapshot import open_pages
from dunlin.backup.stages import Stages
from dunlin.backup.tree import columns
from dunlin.backup.tree.build import BATCH, SegmentWriter
from dunlin.backup.tree.columns import NO_RUN
from dunlin.backup.tree.segment import Segment
from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.clock import passed

Ints = NDArray[np.int64]

_DAMAGE = (ErrorKind.CORRUPT, ErrorKind.NOT_FOUND)
_FILES = ("length", "node", "size", "mtime", "hash", "flags", "fingerprint")
"""Columns of files in the order in which the writer of segments takes them."""


class Fate(NamedTuple):
    """What became of an object that was damaged.

    Attributes:
        share: whose it is; key: of the object, a tree segment, its pages, or a manifest.
        snapshots: ids of those that need it.
        why: it had to be mended.
        error: why it could not be; None: it is whole again.
    """

    share: str
    key: str
    snapshots: tuple[str, ...]
    why: DunlinError
    error: DunlinError | None


def trees(
    repository: Repository,
    tenant: str,
    who: str,
    *,
    clock: Callable[[], float] = passed,
    stages: Stages | None = None,
) -> list[Fate]:
    """Mend the trees of all snapshots of a tenant; what was damaged, and what became of it.

    Args:
        who: shown to others who want to prune, which has to wait: host and process.
        clock: seconds; see `Lease`.
        stages: told of segments that were looked at.

    Raises LOCKED while a prune is going on, BUSY when this process stood still for too long, INTERRUPTED, and what a
    store raises that cannot be reached or written to.
    """
    stages = stages or Stages("mend the trees")
    lease = Lease(repository.objects, tenant, PRUNE, who, clock)
    try:
        lease.pin("")
        found: list[Fate] = []
        for share in repository.shares(tenant):
            found += _share(repository.area(tenant, share), lease, stages)
        repository.objects.sync()
        return found
    finally:
        with suppress(DunlinError):
            lease.release()


def _share(area: Area, lease: Lease, stages: Stages) -> Iterator[Fate]:
    refs: dict[str, SegmentRef] = {}
    users: dict[str, list[str]] = {}
    for name in area.snapshots():
        try:
            found = area.manifest(name, stored=True)
        except DunlinError as error:
            if error.kind not in _DAMAGE:
                raise
            if error.kind is not ErrorKind.NOT_FOUND:  # else it was forgotten in this moment
                yield Fate(area.share, name.key, (name.id,), error, error)
            continue
        for ref in found.segments:
            refs.setdefault(ref.id, ref)
            users.setdefault(ref.id, []).append(found.id)
    stages.begin(f"looking at the trees of {area.root}", "tree", len(refs))
    for ref in refs.values():
        if not lease.renew():
            raise DunlinError("mend the trees", area.tenant, ErrorKind.BUSY, "the lease was lost")
        why = _damage(area, ref)
        if why is not None:
            stages.bad(1)
            yield Fate(area.share, _key(area, ref), tuple(users[ref.id]), why, _mended(area, ref))
        why = _pages_damage(area, ref)
        if why is not None:
            stages.bad(1)
            key = f"{_key(area, ref)}.pages"
            yield Fate(area.share, key, tuple(users[ref.id]), why, _pages_mended(area, ref))
        cached = area.repository.cached(_key(area, ref))
        if cached is not None and blake3().update_mmap(cached).digest() != ref.digest:
            cached.unlink()  # it is fetched again
        stages.done()


def _key(area: Area, ref: SegmentRef) -> str:
    return f"{area.root}/tree/{ref.id}"


def _damage(area: Area, ref: SegmentRef) -> DunlinError | None:
    """What is wrong with a stored segment."""
    try:
        deque(area.tree(ref), 0)
    except DunlinError as error:
        if error.kind not in _DAMAGE:
            raise
        return error
    return None


def _mended(area: Area, ref: SegmentRef) -> DunlinError | None:
    """Put a segment in its place again; why that was not possible."""
    key = _key(area, ref)
    with scratch(area.repository.beside) as folder:
        made, sealed = folder / "segment", folder / "sealed"
        try:
            remake(open_pages(area, ref.id), made)
            if (made.stat().st_size, blake3().update_mmap(made).digest()) != (ref.size, ref.digest):
                reason = "its pages make another one than its snapshots name"
                raise DunlinError("mend the tree", key, ErrorKind.CORRUPT, reason)
        except DunlinError as error:
            if error.kind not in (*_DAMAGE, ErrorKind.NEWER):
                raise
            return error
        seal_file(Codec(area.keys, key, again=True), made, sealed)
        area.objects.put_file(key, sealed, replace=True)
        area.repository.adopt(key, made)
    return _damage(area, ref)


def _pages_damage(area: Area, ref: SegmentRef) -> DunlinError | None:
    """What is wrong with the pages of a segment, as far as one sees without reading them."""
    try:
        return open_pages(area, ref.id).damage
    except DunlinError as error:
        if error.kind not in _DAMAGE:
            raise
        return error


def _pages_mended(area: Area, ref: SegmentRef) -> DunlinError | None:
    """Write pages again whose index is lost; why that was not possible."""
    key = f"{_key(area, ref)}.pages"
    with scratch(area.repository.beside) as folder:
        plain, made = folder / "segment", folder / "pages"
        try:
            pages = open_pages(area, ref.id)
            with open(plain, "wb") as file:
                file.writelines(area.tree(ref))
            with open(made, "wb") as file:
                writer = PagesWriter(Codec(area.keys, key, again=True), file.write, folder)
                for space, add in enumerate((writer.add_directories, writer.add_files)):
                    for number in range(pages.counts()[space]):
                        page = pages.page(space, number)
                        add(page.count, page.part(0, page.count))
                writer.finish(Segment.open(plain))
        except ValueError as error:
            return DunlinError("mend the pages", key, ErrorKind.CORRUPT, f"some of them are lost: {error}")
        except DunlinError as error:
            if error.kind not in _DAMAGE:
                raise
            return error
        area.objects.put_file(key, made, replace=True)
    return _pages_damage(area, ref)


def remake(pages: PagesReader, path: Path) -> None:
    """Write the segment that pages speak of, as the file `path`. Raises CORRUPT when they do not say all of it."""
    if not pages.remade:
        raise _contradiction(pages, "the object holds no rows of the tree")
    hashes = {number: name for name, number in columns.HASHES.items()}
    try:
        with SegmentWriter(path, hashes=hashes[pages.hashes], names=pages.names) as writer:
            _put_files(pages, writer, *_put_directories(pages, writer))
            for nodes in pages.removed():
                for node in nodes.tolist():
                    writer.remove(node)
            writer.finish()
    except (ValueError, KeyError) as error:
        raise _contradiction(pages, f"its rows do not fit together: {error}") from error


def _put_directories(pages: PagesReader, writer: SegmentWriter) -> tuple[Ints, Ints]:
    """Give all directories to the writer; nodes of those that have a run here, and rows of these, as runs stand."""
    owners, starts, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for number in range(pages.counts()[0]):
        rows = pages.row_page(0, number)
        writer.add_directories(
            rows["node"], rows["parent"], rows.name, rows["length"], rows["mtime"], rows["fingerprint"],
            rows["flags"], rows["files"], rows["run_size"], rows["check"],
        )  # fmt: skip
        own = rows["start"] != NO_RUN
        for column, name in ((owners, "node"), (starts, "start"), (counts, "files")):
            column.append(rows[name][own].astype(np.int64))
    owner, start, count = (np.concatenate(column) for column in (owners, starts, counts))
    order = np.lexsort((count, start))  # an empty run begins where the next one does
    owner, start, count = owner[order], start[order], count[order]
    if not np.array_equal(np.cumsum(count) - count, start):
        raise ValueError("runs that do not follow each other")
    return owner, count


def _put_files(pages: PagesReader, writer: SegmentWriter, owner: Ints, count: Ints) -> None:
    """Give all runs to the writer, whole ones, some ten thousands of rows at a time."""
    ends = np.cumsum(count)
    waiting: list[RowPage] = []
    rows = done = begun = 0  # rows that were read, rows and runs that were given away
    many = pages.counts()[1]
    rest: tuple[bytes, list[NDArray[np.generic]]] = b"", []
    for number in range(many):
        waiting.append(pages.row_page(1, number))
        rows += waiting[-1].count
        last = number == many - 1
        whole = int(ends.searchsorted(rows, "right"))
        if not last and (rows - done < BATCH or whole == begun):
            continue
        name, parts = _joined(rest, waiting)
        waiting = []
        here = int(ends[whole - 1]) - done if whole else 0
        cut = int(parts[0][:here].sum(dtype=np.int64))
        writer.add_runs(owner[begun:whole], count[begun:whole], name[:cut], [part[:here] for part in parts])
        rest = name[cut:], [part[here:] for part in parts]
        begun, done = whole, done + here
    if not many:
        writer.add_runs(owner, count, b"", [b""] * len(_FILES))
    elif done != rows or begun != len(owner):
        raise ValueError("files of no directory")


def _joined(
    rest: tuple[bytes, list[NDArray[np.generic]]], waiting: list[RowPage]
) -> tuple[bytes, list[NDArray[np.generic]]]:
    name = b"".join([rest[0], *(page.name for page in waiting)])
    return name, [
        np.concatenate([*rest[1][at : at + 1], *(page[column] for page in waiting)])
        for at, column in enumerate(_FILES)
    ]


def _contradiction(pages: PagesReader, reason: str) -> DunlinError:
    return DunlinError("mend the tree", pages.key, ErrorKind.CORRUPT, reason)
