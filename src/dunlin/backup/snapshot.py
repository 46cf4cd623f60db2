"""A snapshot as a store: what was backed up can be listed, looked at and read like any other tree.

So restoring is a sync whose source is a snapshot, and browsing, searching, comparing need nothing of their own:
filters, overwriting rules, retries, pacing, hard links and metadata are those of every sync. Nothing can be written.

A sync lists a directory, and then wants the content of what it has listed. So the last directories are kept as they
were looked at (`looked`), and the files of one are read together: their chunks are found in the index at once, and the
frames that hold them are read in the order in which they lie (`fetching`). Each chunk is checked against its id before
a byte of it is handed on; where it is not what it should be, another place is tried that the index may know.

What is damaged or missing is an error of the file that needs it, and of no other: the kind is IO, as with a disk that
cannot read a block. Only what a snapshot cannot do without, its manifest and its tree, is CORRUPT.
"""

from __future__ import annotations

import builtins
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice, pairwise
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from dunlin.backup import attributes, looked, marks
from dunlin.backup.chunks import ChunkIndex
from dunlin.backup.fetching import Frames, Place
from dunlin.backup.looked import Files, Folder, Named
from dunlin.backup.manifest import Manifest
from dunlin.backup.pages import Page, PagesReader
from dunlin.backup.repository import Area
from dunlin.backup.tree.columns import NO_CONTENT
from dunlin.backup.tree.segment import Segment
from dunlin.backup.tree.view import ROOT, Directory, File, Tree
from dunlin.backup.words import CHUNK_ID, ChunkId, Location
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import BARE_DIRECTORY, MODE, SIZE, Entry, Facts, join
from dunlin.stores.base import Body, Caps, Data, Gathered, Listing, Meta, Order
from dunlin.stores.buffers import Buffers

CAPS = Caps(order=Order.PROVEN, modes=True, owners=True, links=True, hard_links=True, specials=True, xattrs=True)

_BATCH = 5_000
_DIRECTORIES = 8
_MOST_KEPT = 20_000
"""Directories that are kept as they were looked at, and names that one of them may have at most."""

_ELSEWHERE = (*looked.DAMAGE, ErrorKind.IO)
"""What may be wrong with one place of a chunk; another may be whole."""

_WINDOW = 8 << 20
_WINDOW_FILES = 1_000
"""Bytes, and number, of the files that are read together."""


class Index(NamedTuple):
    """What can be shared by everybody who reads one snapshot: its tree, and where chunks lie in bundles and packs."""

    tree: Tree
    bundles: ChunkIndex
    packs: ChunkIndex


class Found(NamedTuple):
    """A node with the page that says the rest of it."""

    node: Directory | File
    page: Page
    entry: int


class SnapshotStore:
    """The tree of a snapshot below one of its directories, or one file of it alone. Threads may share it.

    Args:
        area: of the share.
        manifest: of the snapshot.
        path: the directory in it that is the root here. Of anything else it is the one name in a root that has no
            times, mode or owner, for nobody asked for those of the directory that it lies in.
        index: what another store of that snapshot has read; None: it is read now.
        closes: called when this is closed.

    Raises NOT_FOUND when there is no such path, CORRUPT, NEWER.
    """

    def __init__(
        self, area: Area, manifest: Manifest, path: str = "", index: Index | None = None,
        closes: Callable[[], object] = lambda: None,
    ) -> None:  # fmt: skip
        self._area, self.manifest, self._closes = area, manifest, closes
        self.path = path.strip("/")
        self.index = index or open_index(area, manifest)
        self.tree = self.index.tree
        self._pages: dict[int, PagesReader] = {}
        self._kept: OrderedDict[str, Folder] = OrderedDict()
        self._missed: str | None = None
        self._contents = looked.Contents()
        self._frames = Frames(area)
        self._lock = threading.Lock()
        self._prefix, self._only = self.path, ""
        if isinstance(self._node(self.path, ""), File):
            self._prefix, _, self._only = self.path.rpartition("/")

    @property
    def caps(self) -> Caps:
        """Everything that a file system can hold."""
        return CAPS

    @property
    def url(self) -> str:
        """The repository, the share, the snapshot and the path in it; no password is part of it."""
        area, manifest = self._area, self.manifest
        return f"snapshot://{area.objects.url}#{area.root}/{manifest.id[:8]}/{self.path}"

    def close(self) -> None:
        """Give back what was opened for this store alone."""
        self._closes()

    # ---- looking ----

    def list(self, directory: str) -> Listing:
        """The entries of one directory, in the proven order; see `Lists`."""
        if self._only:
            if directory:
                raise self._absent(directory)
            yield [(self._only, self.stat(self._only).facts)]
            return
        node = self._node(self._whole(directory), directory)
        if not isinstance(node, Directory):
            raise self._absent(directory)
        kept = Folder() if node.files <= _MOST_KEPT else None
        for batch in self._listed(node, directory, kept):
            for start in range(0, len(batch), _BATCH):
                yield batch[start : start + _BATCH] if len(batch) > _BATCH else batch
        if kept is not None:
            self._keep(directory, kept)

    def stat(self, path: str) -> Entry:
        """The entry at `path`; see `Stats`."""
        return Entry(path, self._facts(path))

    def read_link(self, path: str) -> str:
        """The target of a symbolic link, as it was."""
        with _Told("read the link", path):
            found = self._find(path)
            return found.page.target(found.entry)

    def get_xattrs(self, path: str, space: tuple[str, ...]) -> dict[str, bytes]:
        """The attributes that `path` had, those whose names begin with one of `space`."""
        known = self._known(path)
        if self._only and not path:
            return {}
        with _Told("read the attributes of", path):
            if known is None or known.flags & looked.LOST:
                found = self._find(path)
                chunk = found.page.attributes(found.entry)
            else:
                chunk = known.attributes
            return self._attributes(chunk, path, space)

    # ---- reading ----

    def read(
        self, entry: Entry, start: int = 0, length: int | None = None, into: Buffers | None = None
    ) -> Iterator[Data]:
        """The content of a file; see `Reads`. Chunks are checked. Raises IO for what is damaged or lost."""
        end = entry.size if length is None else min(entry.size, start + length)
        content = self._contents.get(entry.path) or self._contents.add(entry.path, self._readable(entry.path))
        for chunk, low, high in content.between(start, end):
            with _Told("read", entry.path):
                data = self._chunk(chunk)
            yield from _handed(data[low:high], into)

    def read_batch(
        self, directory: str, rows: Sequence[tuple[str, Facts]], space: tuple[str, ...]
    ) -> Iterator[Gathered]:
        """The content of small files of one directory; see `ReadsBatch`."""
        with self._lock:
            kept = self._kept.get(directory)
        for window in _windows(rows):
            names = [name for name, _ in window]
            places = kept.contents(names) if kept is not None else None
            if kept is None or places is None:
                yield from self._apart(directory, names, space)
            else:
                yield from self._together(directory, names, kept.files, places, space)

    def chunks(self, path: str) -> builtins.list[tuple[ChunkId, int]]:
        """The chunks of a file's content, in order, each with its bytes. Raises UNSUPPORTED for a scan."""
        known = self._readable(path)
        return builtins.list(zip(_ids(known.chunks), known.lengths, strict=True))

    def places(self, chunk: ChunkId) -> Iterator[Place]:
        """Everywhere that a chunk lies, the best place first, each with whether it is in a bundle."""
        for index, small in ((self.index.bundles, True), (self.index.packs, False)):
            for place in index.places(chunk):
                yield place, small

    # ---- what only stores that are written to can do ----

    def write(self, path: str, body: Body, *, meta: Meta, if_absent: bool = False) -> Entry:
        """Snapshots are never changed."""
        raise self._read_only("write", path)

    def delete(self, paths: Sequence[str]) -> builtins.list[bool]:
        """Snapshots are never changed."""
        raise self._read_only("delete", paths[0] if paths else "")

    def make_link(self, path: str, target: str, meta: Meta) -> None:
        """Snapshots are never changed."""
        raise self._read_only("make the link", path)

    def make_hard_link(self, existing: str, path: str) -> None:
        """Snapshots are never changed."""
        raise self._read_only("make the link", path)

    def make_special(self, path: str, mode: int, rdev: int, meta: Meta) -> None:
        """Snapshots are never changed."""
        raise self._read_only("make the special file", path)

    def set_meta(self, path: str, meta: Meta) -> None:
        """Snapshots are never changed."""
        raise self._read_only("set the metadata of", path)

    def _read_only(self, what: str, path: str) -> DunlinError:
        return DunlinError(what, path, ErrorKind.READ_ONLY, "snapshots are never changed")

    # ---- nodes ----

    def _whole(self, path: str) -> str:
        return join(self._prefix, path) if path and self._prefix else path or self._prefix

    def _node(self, whole: str, path: str) -> Directory | File:
        node = self.tree.lookup(_raw(whole))
        if node is None:
            raise self._absent(path)
        return node

    def _find(self, path: str) -> Found:
        if self._only and path != self._only:
            raise self._absent(path)
        node = self._node(self._whole(path), path)
        return Found(node, *self._page(node))

    def _page(self, node: Directory | File) -> tuple[Page, int]:
        if isinstance(node, File):
            return self._file_page(node.segment, node.row)
        with self._lock:
            row = int(self.tree.segments[node.segment].cells("d.page")[node.row])
            return self._reader(node.segment).directory(row)

    def _file_page(self, segment: int, row: int) -> tuple[Page, int]:
        with self._lock:
            return self._reader(segment).file(row)

    def _reader(self, segment: int) -> PagesReader:
        pages = self._pages.get(segment)
        if pages is None:
            pages = self._pages[segment] = open_pages(self._area, self.manifest.segments[segment].id)
        return pages

    # ---- names and facts ----

    def _listed(
        self, node: Directory, directory: str, kept: Folder | None
    ) -> Iterator[builtins.list[tuple[str, Facts]]]:
        """The names of a directory in order, some thousands at a time; `kept` takes them in."""
        with _Told("list", directory):
            below, run = self.tree.children(node.node)
            pending = sorted(((each.name + b"/", each) for each in below), reverse=True)
            for files in looked.files(run, self._file_page):
                if kept is not None:
                    kept.add(files)
                batch = builtins.list(zip(files.names, files.facts, strict=True))
                if pending and pending[-1][0] < _raw(files.names[-1]):
                    keyed = builtins.list(zip(map(_raw, files.names), batch, strict=True))
                    while pending and pending[-1][0] < keyed[len(batch) - 1][0]:
                        key, each = pending.pop()
                        keyed.append((key, self._directory(key, each, kept)))
                    batch = [each for _, each in sorted(keyed, key=itemgetter(0))]
                yield batch
            if pending:
                yield [self._directory(key, each, kept) for key, each in reversed(pending)]

    def _directory(self, key: bytes, node: Directory, kept: Folder | None) -> tuple[str, Facts]:
        """A directory in the listing of another."""
        name, what = key[:-1].decode("utf-8", "surrogateescape"), self._of_directory(node)
        if kept is not None:
            kept.add_directory(name, what)
        return name, what.facts

    def _of_directory(self, node: Directory) -> Named:
        try:
            page, entry = self._page(node)
        except DunlinError as error:
            if error.kind not in looked.DAMAGE:
                raise
            return looked.lost_directory(node)
        return Named(looked.directory(node, page, entry), b"", [], node.flags, page.attributes(entry))

    def _facts(self, path: str) -> Facts:
        known = self._known(path)
        if known is not None:
            return known.facts
        if self._only and not path:
            return BARE_DIRECTORY
        with _Told("look at", path):
            return self._looked_at(path).facts

    def _looked_at(self, path: str) -> Named:
        """A name by itself."""
        found = self._find(path)
        node = found.node
        if isinstance(node, Directory):
            return self._of_directory(node)
        run = self.tree.run(node.parent)
        index = node.row - run.start
        one = type(run)(self.tree.segments[node.segment], node.segment, node.row, 1, node.parent)
        assert 0 <= index < run.count
        return next(looked.files(one, self._file_page)).named(0)

    def _known(self, path: str) -> Named | None:
        directory, _, name = path.rpartition("/")
        with self._lock:
            kept = self._kept.get(directory) if path else None
            if kept is not None:
                self._kept.move_to_end(directory)  # that of a directory is asked for with each that lies in it
            again = kept is None and self._missed == directory
            self._missed = directory if kept is None else None
        if again:
            kept = self._looked_into(directory)
        return kept.get(name) if kept is not None else None

    def _looked_into(self, directory: str) -> Folder | None:
        """All names of a directory of which one after the other is asked for, though nobody has listed it."""
        node = None if self._only else self.tree.lookup(_raw(self._whole(directory)))
        if not isinstance(node, Directory) or node.files > _MOST_KEPT:
            return None
        kept = Folder()
        try:
            for _ in self._listed(node, directory, kept):
                pass
        except DunlinError:
            return None  # each name by itself then: a page that is damaged speaks of some of them only
        self._keep(directory, kept)
        return kept

    def _keep(self, directory: str, kept: Folder) -> None:
        with self._lock:
            self._kept[directory] = kept
            self._kept.move_to_end(directory)
            if len(self._kept) > _DIRECTORIES:
                self._kept.popitem(last=False)

    # ---- content ----

    def _readable(self, path: str) -> Named:
        known = self._wanted(path)
        if isinstance(known, DunlinError):
            raise known
        return known

    def _wanted(self, path: str) -> Named | DunlinError:
        """A file whose content is wanted, or why there is none."""
        try:
            with _Told("read", path):
                known = self._known(path) or self._looked_at(path)
        except DunlinError as error:
            return error
        if stat.S_ISDIR(known.facts[MODE]):
            return self._absent(path)
        if known.flags & looked.LOST:
            reason = "what is known of it is damaged"
            return DunlinError("read", path, ErrorKind.IO, reason, "dunlin verify tells what else is")
        if known.flags & NO_CONTENT:
            reason = "this snapshot is a scan: it holds the tree without content"
            return DunlinError("read", path, ErrorKind.UNSUPPORTED, reason)
        return known

    def _together(
        self, directory: str, names: Sequence[str], files: Files, places: Sequence[int], space: tuple[str, ...]
    ) -> Iterator[Gathered]:
        """The content of files that are kept, by their places in `files`."""
        first, many = places[0], len(places)
        if places == builtins.list(range(first, first + many)):
            begin, end = files.chunks(first, first + many)
            ids, lengths = files.ids[begin * CHUNK_ID : end * CHUNK_ID], files.lengths[begin:end]
            plain = not files.attributes and files.ends[first : first + many] == builtins.list(
                range(begin + 1, begin + 1 + many)
            )
        else:
            spans = [files.chunks(place, place + 1) for place in places]
            ids = b"".join([files.ids[begin * CHUNK_ID : end * CHUNK_ID] for begin, end in spans])
            lengths = [length for begin, end in spans for length in files.lengths[begin:end]]
            plain = False
        raws, insides = self._opened(ids)
        if not plain:
            known = [files.named(place) for place in places]
            yield from self._several(directory, names, known, raws, insides, space)
            return
        # Nearly every file is one chunk, without attributes: what it takes is written out, for there are many of them.
        none: dict[str, bytes] | None = {} if space else None
        identify = self._area.identifier()
        at = 0
        for name, place, raw, inside, length in zip(names, places, raws, insides, lengths, strict=True):
            chunk = ids[at : at + CHUNK_ID]
            at += CHUNK_ID
            if type(raw) is bytes:
                data = raw[inside : inside + length]
                if identify(data) == chunk:
                    yield Gathered(data, none, None)
                    continue
            yield self._one(join(directory, name), files.named(place), [raw], [inside], space)

    def _apart(self, directory: str, names: Sequence[str], space: tuple[str, ...]) -> Iterator[Gathered]:
        """The content of files of which nothing is kept, or of which one is no file."""
        known = [self._wanted(join(directory, name)) for name in names]
        raws, insides = self._opened(b"".join(each.chunks for each in known if not isinstance(each, DunlinError)))
        yield from self._several(directory, names, known, raws, insides, space)

    def _several(
        self, directory: str, names: Sequence[str], known: Sequence[Named | DunlinError],
        raws: Sequence[bytes | DunlinError | None], insides: Sequence[int], space: tuple[str, ...],
    ) -> Iterator[Gathered]:  # fmt: skip
        """Files of any number of chunks, whose frames are open."""
        at = 0
        for name, each in zip(names, known, strict=True):
            if isinstance(each, DunlinError):
                yield Gathered(b"", None, each)
                continue
            end = at + len(each.lengths)
            yield self._one(join(directory, name), each, raws[at:end], insides[at:end], space)
            at = end

    def _one(
        self, path: str, each: Named, raws: Sequence[bytes | DunlinError | None], insides: Sequence[int],
        space: tuple[str, ...],
    ) -> Gathered:  # fmt: skip
        """One of the files that are read together, or what is wrong with it."""
        identify = self._area.identify
        parts: builtins.list[bytes | memoryview] = []
        try:
            with _Told("read", path):
                for chunk, length, raw, inside in zip(_ids(each.chunks), each.lengths, raws, insides, strict=True):
                    there = isinstance(raw, bytes)
                    data = raw[inside : inside + length] if isinstance(raw, bytes) else b""
                    # What is wrong with one that is another finds out who looks at it alone.
                    parts.append(data if there and identify(data) == chunk else self._chunk(chunk, raw))
                xattrs = self._attributes(each.attributes, path, space) if space else None
        except DunlinError as error:
            return Gathered(b"", None, error)
        return Gathered(b"".join(parts), xattrs, None)

    def _attributes(self, chunk: ChunkId | None, path: str, space: tuple[str, ...]) -> dict[str, bytes]:
        if chunk is None:
            return {}
        blob = self._chunk(chunk)
        return {name: value for name, value in attributes.unpack(blob, path).items() if name.startswith(space)}

    def _chunk(self, chunk: ChunkId, tried: object = None) -> memoryview:
        """A chunk, from the first place at which it is whole; `tried`: what is wrong with the best place."""
        wrong = tried if isinstance(tried, DunlinError) else None
        if wrong is not None and wrong.kind not in _ELSEWHERE:
            raise wrong
        for place in islice(self.places(chunk), int(wrong is not None), None):
            try:
                return self._frames.chunk(chunk, place)
            except DunlinError as error:
                if error.kind not in _ELSEWHERE:
                    raise
                wrong = wrong or error
        raise wrong or _lost(chunk)

    def _opened(
        self, ids: bytes
    ) -> tuple[builtins.list[bytes | DunlinError | None], builtins.list[int]]:
        """For each of some chunks, whose ids stand one behind the other, its opened frame, and where it begins in that.

        In place of a frame stands what is wrong with it; None where nobody knows one.
        """
        bundles = self.index.bundles.find_many(ids)
        _, pack, offset, length, inside = bundles
        names, of_bundles = bundles.names, len(bundles.names)
        left = np.flatnonzero(pack < 0)
        if len(left):
            rest = b"".join(ids[at * CHUNK_ID : (at + 1) * CHUNK_ID] for at in left.tolist())
            packs = self.index.packs.find_many(rest)
            pack[left] = np.where(packs.pack < 0, -1, packs.pack + of_bundles)
            offset[left], length[left], inside[left] = packs.offset, packs.length, packs.inside
            names = [*names, *packs.names]
        # Files that were saved together lie together: those in one frame mostly follow each other.
        other = np.flatnonzero((pack[1:] != pack[:-1]) | (offset[1:] != offset[:-1])) + 1
        starts = [0, *other.tolist()] if len(pack) else []
        spans = zip(pack[starts].tolist(), offset[starts].tolist(), length[starts].tolist(), strict=True)
        wanted = [(Location(names[at], start, size, 0), at < of_bundles) if at >= 0 else None
                  for at, start, size in spans]  # fmt: skip
        frames = self._frames.fetch(place for place in wanted if place is not None)
        raws: builtins.list[bytes | DunlinError | None] = []
        for (begin, end), place in zip(pairwise([*starts, len(pack)]), wanted, strict=True):
            raws += [frames[place[0].pack, place[0].offset] if place is not None else None] * (end - begin)
        return raws, inside.tolist()

    def _absent(self, path: str) -> DunlinError:
        reason = f"snapshot {self.manifest.id[:8]} holds no such thing"
        return DunlinError("find", self._whole(path) if path else self.path, ErrorKind.NOT_FOUND, reason)


class _Told:
    """What is wrong with the repository, told as an error of the file or directory that needs what is wrong."""

    __slots__ = ("_operation", "_path")

    def __init__(self, operation: str, path: str) -> None:
        self._operation, self._path = operation, path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, DunlinError) or error.operation == "find":
            return
        if error.kind in (ErrorKind.CORRUPT, ErrorKind.NOT_FOUND):
            reason = f"{error.where}: {error.reason}" if error.where else error.reason
            hint = "dunlin verify tells what else is damaged"
            raise DunlinError(self._operation, self._path, ErrorKind.IO, reason, hint) from error


def _lost(chunk: ChunkId) -> DunlinError:
    return DunlinError("", "", ErrorKind.CORRUPT, f"chunk {chunk.hex()} of it is not in the repository")


def _ids(together: bytes) -> Iterator[ChunkId]:
    return (together[at : at + CHUNK_ID] for at in range(0, len(together), CHUNK_ID))


def _raw(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _windows(rows: Sequence[tuple[str, Facts]]) -> Iterator[Sequence[tuple[str, Facts]]]:
    """The files that are read together: so many, or of so many bytes."""
    begin = size = 0
    for at, (_, facts) in enumerate(rows, 1):
        size += facts[SIZE]
        if size >= _WINDOW or at - begin >= _WINDOW_FILES:
            yield rows[begin:at]
            begin, size = at, 0
    if begin < len(rows):
        yield rows[begin:]


def open_index(area: Area, manifest: Manifest) -> Index:
    """What a snapshot is read by. Raises NOT_FOUND, CORRUPT, NEWER."""
    indexes = (ChunkIndex(marks.for_reading(area, small)) for small in (True, False))
    return Index(open_tree(area, manifest), *indexes)


def open_tree(area: Area, manifest: Manifest) -> Tree:
    """The tree of a snapshot. Raises CORRUPT, NEWER."""
    segments = []
    for ref in manifest.segments:
        key = f"{area.root}/tree/{ref.id}"
        try:
            parse = partial(Segment, where=key)
            segments.append(area.repository.parsed(key, area.codec(key), parse, ref.size, ref.digest))
        except DunlinError as error:
            if error.kind not in (ErrorKind.NOT_FOUND, ErrorKind.CORRUPT):
                raise
            hint = "dunlin repo rebuild-index makes it anew from its pages"
            raise DunlinError("read the tree", key, ErrorKind.CORRUPT, error.reason, hint) from error
    tree = Tree(segments)
    if tree.handle(ROOT) < 0:
        raise DunlinError("read the tree of", manifest.key, ErrorKind.CORRUPT, "it has no root")
    return tree


def open_pages(area: Area, segment: str) -> PagesReader:
    """The metadata pages of a segment. Raises NOT_FOUND, CORRUPT, NEWER."""
    key = f"{area.root}/tree/{segment}.pages"
    size, read = area.objects.reader(key)
    return PagesReader(area.codec(key), read, size)


def _handed(data: memoryview, into: Buffers | None) -> Iterator[Data]:
    """A chunk in the pieces that a receiver wants."""
    if into is None:
        yield bytes(data)
        return
    while data:
        block = into.take()
        count = min(len(block), len(data))
        block[:count] = data[:count]
        yield block[:count]
        data = data[count:]
