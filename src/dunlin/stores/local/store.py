"""`LocalStore`: a directory of this machine, or of anything mounted on it, as a store.

Every call works relative to the open descriptor of a directory (see `paths`), so a symbolic link
planted below the root is never followed. Reading pins the listed version (`reading`), writing is
whole or not at all (`writing`), metadata that a share refuses costs a note and no file (`meta`).
"""

from __future__ import annotations

import builtins
import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice
from operator import attrgetter
from typing import Any, TypeVar

from dunlin.errors import DunlinError, ErrorKind, translate
from dunlin.model import Entry, Facts, Row, join
from dunlin.report import Report
from dunlin.stores.base import Begun, Body, Caps, Contents, Data, Gathered, Listing, MakesMeta, Meta
from dunlin.stores.buffers import Buffers
from dunlin.stores.local import gather, posix, quick, stage
from dunlin.stores.local.batch import BatchResult, copy_batch
from dunlin.stores.local.lending import lent_write_bit, permitted
from dunlin.stores.local.meta import Refusals, Target, apply, by_descriptor, handle, xattrs
from dunlin.stores.local.paths import DirFds, check_path, file_url, respelled, split, where
from dunlin.stores.local.reading import check_version, chunks, open_pinned
from dunlin.stores.local.writing import (
    Fill,
    Spot,
    WriteOptions,
    appear,
    fill_by_kernel,
    fill_from,
    temp_name,
    write_file,
)

T = TypeVar("T")

LIST_BATCH = 5_000
"""Names in one batch of a listing: few enough that work on a huge directory begins at once."""

facts_of: Callable[[os.stat_result], Facts] = attrgetter(
    "st_mode",
    "st_size",
    "st_mtime_ns",
    "st_uid",
    "st_gid",
    "st_ctime_ns",
    "st_nlink",
    "st_dev",
    "st_ino",
    "st_atime_ns",
    "st_rdev",
)
"""The facts (`model.FACTS`) of a `stat` result."""


class LocalStore:
    """The tree below one local directory. Safe to use from many threads.

    Args:
        root: the directory; links in this path are followed, none below it.
        options: how files are written.
        caps: what the file system can hold; see `caps.local_caps`.
        on_refused: called once per kind of metadata (owner, group, mode, times, xattrs) that the file
            system would not take, with the kind and the first error.
        batch: names in one batch of a listing, where they are to be fewer than usual.
    """

    def __init__(
        self,
        root: str,
        *,
        options: WriteOptions | None = None,
        caps: Caps | None = None,
        on_refused: Callable[[str, DunlinError], None] | None = None,
        batch: int = 0,
    ) -> None:
        self.root = os.path.abspath(root)
        self._batch = batch
        self.options = options or WriteOptions()
        self.dirs = DirFds(self.root)
        self._caps = caps or Caps(modes=True, owners=True, links=True, hard_links=True, specials=True, xattrs=True)
        self._refusals = Refusals(on_refused)
        self._stages = True

    @property
    def caps(self) -> Caps:
        """What the file system below the root can hold."""
        return self._caps

    @property
    def url(self) -> str:
        """``file://`` and the resolved path of the root."""
        return file_url(self.root)

    @property
    def refused(self) -> dict[str, DunlinError]:
        """The kinds of metadata that were refused so far, each with its first error."""
        return dict(self._refusals.first)

    def close(self) -> None:
        """Close the descriptors that are kept; see `Closes`."""
        self.dirs.close()

    # ---- looking ----

    def list(self, directory: str) -> Listing:
        """The entries of one directory, in the order of the file system; see `Lists`.

        A name that is gone by the time it is looked at is left out; any other failure ends the listing,
        because a name that could not be looked at must not seem to be absent.
        """
        shown = self._where(directory)
        with self.dirs.fresh(directory) as fd:
            try:
                names = os.scandir(fd)
            except OSError as error:
                raise translate(error, "list", shown) from error
            with names:
                more = True
                while more:
                    batch, more, failed = _next_batch(names, min(self._batch or LIST_BATCH, LIST_BATCH))
                    if batch:
                        yield batch  # also what came before a failure: it is there
                    if failed is not None:
                        raise translate(failed, "list", shown) from failed
            self._check_alive(fd, directory, shown)

    def _check_alive(self, fd: int, directory: str, shown: str) -> None:
        """The C library ends the listing of a removed directory as if it were empty; say that it is gone.

        Some file systems state no links for any directory, so the name decides.
        """
        try:
            status = os.fstat(fd)
        except OSError as error:  # network file systems ask their server, which has none any more
            raise translate(error, "list", shown) from error
        if status.st_nlink == 0:
            now = self.stat(directory).facts if directory else facts_of(os.stat(self.root))
            if now != facts_of(status):
                raise DunlinError("list", shown, ErrorKind.NOT_FOUND, "it was removed while it was listed")

    def stat(self, path: str) -> Entry:
        """The entry at `path`; see `Stats`."""
        try:
            if not path:
                with self.dirs.open("") as fd:
                    return Entry("", facts_of(os.fstat(fd)))
            directory, name = self._split(path)
            with self.dirs.open(directory) as fd:
                return Entry(path, facts_of(os.stat(name, dir_fd=fd, follow_symlinks=False)))
        except OSError as error:
            raise translate(error, "look at", self._where(path)) from error

    def birth_time(self, path: str) -> int | None:
        """When the file at `path` was made, ns since 1970; None where the file system does not know."""
        directory, name = self._split(path)
        with self.dirs.open(directory) as fd:
            try:
                return posix.birth_time(fd, name)
            except OSError as error:
                raise translate(error, "look at", self._where(path)) from error

    def birth_times(self, directory: str, names: Sequence[str]) -> builtins.list[int | None]:
        """When the names in `directory` were made; see `KnowsBirths`."""
        with self.dirs.open(directory) as fd:
            return quick.births(fd, names)

    # ---- content ----

    def read_batch(
        self, directory: str, rows: Sequence[tuple[str, Facts]], space: tuple[str, ...]
    ) -> Iterator[Gathered]:
        """The content of small files of one directory; see `ReadsBatch`."""
        with self.dirs.open(directory) as fd:
            yield from gather.read_batch(fd, directory, rows, space, self.root)

    def read(
        self, entry: Entry, start: int = 0, length: int | None = None, into: Buffers | None = None
    ) -> Iterator[Data]:
        """The content of that version of `entry`; see `Reads`."""
        shown = self._where(entry.path)
        fd, size = self._open_pinned(entry, shown)
        try:
            stop = size if length is None else min(size, start + length)
            yield from chunks(fd, entry.facts, shown, start, stop, into)
        finally:
            os.close(fd)

    def _open_pinned(self, entry: Entry, shown: str) -> tuple[int, int]:
        directory, name = self._split(entry.path)
        try:
            held = self.dirs.open(directory)
        except DunlinError as error:
            if error.kind is ErrorKind.NOT_FOUND:
                raise DunlinError("read", shown, ErrorKind.VANISHED, "its directory is gone") from error
            raise
        with held as fd:
            return open_pinned(fd, name, entry.facts, shown)

    def write(self, path: str, body: Body, *, meta: Meta, if_absent: bool = False) -> Entry:
        """Write `body` to `path` whole or not at all (unless `options.in_place`); see `Writes`.

        Without a mode in `meta` a new file is made as the umask says, and one that replaces another
        keeps that one's permission bits. Content with a version is continued where it was interrupted
        (`partial`), but not with `options.in_place` or `options.sparse`.
        """
        part = ""
        if body.version:
            from dunlin.stores.local.partial import part_name

            part = part_name(body.version)
        return self._write(path, fill_from(body, self.options, self._where(path)), meta, if_absent, part)

    def _write(self, path: str, fill: Fill, meta: Meta, if_absent: bool = False, part: str = "") -> Entry:
        directory, name = self._split(path)
        with self.dirs.open(directory) as fd:
            spot = Spot(fd, name, self._where(path))
            status = write_file(spot, fill, meta, self.options, self._refusals, if_absent, part)
            return Entry(path, facts_of(status))

    def copy_into(self, entry: Entry, target: Any, path: str, *, meta: Meta, report: Report) -> Entry:
        """Let the kernel copy one file into another local store; see `Copies`. Pinned like `read`.

        Raises UNSUPPORTED, before anything was written, where the kernel cannot, where `target` is no local
        store (or one whose wrapper must see the bytes), and for a target that wants holes left.
        """
        there = unwrapped(target, "inner_for_writing")
        if there is None or there.options.sparse or not hasattr(os, "copy_file_range"):
            raise DunlinError("copy", path, ErrorKind.UNSUPPORTED, "the bytes have to pass through dunlin")
        shown = self._where(entry.path)
        fd, size = self._open_pinned(entry, shown)
        task = report.task(entry.path, size)
        try:
            copy = fill_by_kernel(fd, size, there.options, there._where(path), task.advance)

            def fill(out: int) -> None:
                copy(out)
                check_version(os.fstat(fd), entry.facts, shown)

            return there._write(path, fill, meta)
        finally:
            task.end()
            os.close(fd)

    def copy_batch(
        self,
        source: object,
        source_directory: str,
        directory: str,
        rows: Sequence[Row],
        options: Any,
        bucket: Any,
        worker: Any,
        fresh: bool = False,
    ) -> Any:
        """Copy the small files of one directory from another local store; see `CopiesBatch`."""
        origin = unwrapped(source, "inner_for_reading")
        if origin is None:
            return None
        shown = (origin._where(source_directory), self._where(directory))

        def fill(fd: int, hidden: bool) -> BatchResult:
            with origin.dirs.open(source_directory) as source_fd:
                return copy_batch(source_fd, fd, rows, options, bucket, worker, shown, hidden)

        def follow(fd: int) -> None:
            if above := split(source_directory)[0]:
                with origin.dirs.open(above) as above_fd:
                    stage.follow_times(above_fd, fd)

        fresh = fresh and source_directory != ""
        return self._filled(directory, rows, options, bucket, worker, fill, follow if fresh else None)

    def write_batch(
        self, directory: str, rows: Sequence[Row], contents: Contents, meta: MakesMeta, options: Any, bucket: Any,
        worker: Any, above: Facts | None = None,
    ) -> Any:  # fmt: skip
        """Write the small files of one directory, whose content is at hand; see `WritesBatch`."""
        from dunlin.stores.local.pour import write_batch

        how = (meta, options, bucket, worker, self._refusals, self._where(directory))
        follow = None if above is None else lambda fd: stage.give_times(fd, above)
        fill: stage.Fill = lambda fd, hidden: write_batch(fd, rows, contents, *how, hidden)  # noqa: E731
        return self._filled(directory, rows, options, bucket, worker, fill, follow)

    def _filled(
        self, directory: str, rows: Sequence[Row], options: Any, bucket: Any, worker: Any, fill: stage.Fill,
        follow: stage.Follow | None,
    ) -> BatchResult:  # fmt: skip
        """Have a batch written into a directory, all at once where that is new (`follow` is there) and can be done."""
        if follow is not None and self._stages and directory and stage.worth(rows, options, bucket):
            try:
                result = stage.in_place_of(self.dirs, directory, rows, options, worker, fill, follow)
            except stage.UnableError:
                self._stages, result = False, None
            if result is not None:
                return result
        with self.dirs.open(directory) as fd, lent_write_bit(fd):
            return fill(fd, False)

    # ---- content from many hands: see `Parts`, and the functions of `parts` ----

    def begin_parts(self, path: str, body: Body, *, meta: Meta, token: str) -> Begun:
        """Make the temporary file. UNSUPPORTED in place, where there is none."""
        begun: Begun = self._at(path, lambda parts, spot: parts.begin(spot, token, body, meta, self.options))
        return begun

    def put_part(self, path: str, begun: Begun, start: int, body: Body) -> tuple[str, ...]:
        """Write a part into the temporary file; it has no tags."""
        self._at(path, lambda parts, spot: parts.put(spot, begun, start, body, self.options))
        return ()

    def completed_parts(self, path: str, begun: Begun, *, meta: Meta) -> Entry | None:
        """The file that was the temporary one."""
        status = self._at(path, lambda parts, spot: parts.completed(spot, begun))
        return None if status is None else Entry(path, facts_of(status))

    def complete_parts(self, path: str, begun: Begun, tags: Sequence[str], *, meta: Meta) -> Entry:
        """Give the temporary file its metadata and its final name."""
        status = self._at(path, lambda parts, spot: parts.complete(spot, begun, meta, self.options, self._refusals))
        return Entry(path, facts_of(status))

    def drop_parts(self, path: str, begun: Begun) -> None:
        """Remove the temporary file."""
        self._at(path, lambda parts, spot: parts.drop(spot, begun))

    def _at(self, path: str, act: Callable[[Any, Spot], Any]) -> Any:
        from dunlin.stores.local import parts  # only huge files need it

        directory, name = self._split(path)
        with self.dirs.open(directory) as fd:
            return act(parts, Spot(fd, name, self._where(path)))

    # ---- names ----

    def delete(self, paths: Sequence[str]) -> builtins.list[bool]:
        """Remove files, links, special files and empty directories; see `Deletes`."""
        there: builtins.list[bool] = []
        for directory, group in groupby((self._split(path) for path in paths), lambda pair: pair[0]):
            names = [name for _, name in group]
            try:
                held = self.dirs.open(directory)
            except DunlinError as error:
                if error.kind is not ErrorKind.NOT_FOUND:
                    raise
                there += [False] * len(names)
                continue
            with held as fd:
                there += [self._remove(fd, directory, name) for name in names]
        return there

    def _remove(self, fd: int, directory: str, name: str) -> bool:
        path = join(directory, name)
        try:
            try:
                permitted(fd, lambda: os.unlink(name, dir_fd=fd))
            except (IsADirectoryError, PermissionError) as error:
                # POSIX says EPERM for a directory, Linux EISDIR.
                if error.errno != errno.EISDIR and not _is_directory(fd, name):
                    raise
                permitted(fd, lambda: os.rmdir(name, dir_fd=fd))
                self.dirs.forget(path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise translate(error, "delete", self._where(path)) from error
        return True

    def remove_directory(self, path: str) -> bool:
        """Remove an empty directory and nothing else; see `RemovesDirs`."""
        directory, name = self._split(path)
        try:
            with self.dirs.open(directory) as fd:
                permitted(fd, lambda: os.rmdir(name, dir_fd=fd))
        except FileNotFoundError:
            return False
        except NotADirectoryError as error:
            reason = "it is no directory any more"
            raise DunlinError("remove the directory", self._where(path), ErrorKind.CHANGED, reason) from error
        except OSError as error:
            raise translate(error, "remove the directory", self._where(path)) from error
        except DunlinError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
            return False
        self.dirs.forget(path)
        return True

    def move(self, path: str, new: str) -> None:
        """Rename within the store; see `Moves`. Raises UNSUPPORTED across file systems."""
        (old_directory, old), (new_directory, name) = self._split(path), self._split(new)
        with self.dirs.open(old_directory) as here, self.dirs.open(new_directory) as there:
            try:

                def rename(old: str, name: str) -> None:
                    permitted(there, lambda: os.rename(old, name, src_dir_fd=here, dst_dir_fd=there))

                if old_directory == new_directory and respelled(here, old, name):
                    # The kernel takes both for one name, and renaming that to itself does nothing.
                    between = temp_name(self.options.run_id)
                    permitted(here, lambda: rename(old, between))
                    old = between
                permitted(here, lambda: rename(old, name))
            except OSError as error:
                if error.errno == errno.EXDEV:
                    reason = "the two places are on different file systems"
                    raise DunlinError("move", self._where(path), ErrorKind.UNSUPPORTED, reason) from error
                raise translate(error, "move", self._where(path)) from error
        self.dirs.forget(path)
        self.dirs.forget(new)

    def make_directory(self, path: str, mode: int | None = None, like: int | None = None) -> bool:
        """Make one directory; see `MakesDirs`. For ``""`` it makes the root, whose parent must exist."""
        try:
            if not path:
                return self._make_root(mode)
            directory, name = self._split(path)
            with self.dirs.open(directory) as fd:
                made = _make_directory(fd, name, mode, like)
                if made and mode is not None:
                    with handle(fd, name) as target:
                        apply(target, Meta(mode=mode | 0o700), self._refusals, self._where(path))
                return made
        except OSError as error:
            raise translate(error, "make the directory", self._where(path)) from error

    def _make_root(self, mode: int | None) -> bool:
        try:
            os.mkdir(self.root)
        except FileExistsError:
            if not os.path.isdir(self.root):
                raise
            return False
        if mode is not None:
            os.chmod(self.root, mode | 0o700)
        return True

    def read_link(self, path: str) -> str:
        """The target of a symbolic link, as stored; see `MakesLinks`."""
        directory, name = self._split(path)
        with self.dirs.open(directory) as fd:
            try:
                return os.readlink(name, dir_fd=fd)
            except OSError as error:
                if error.errno == errno.EINVAL:
                    reason = "it is no symbolic link any more"
                    raise DunlinError("read the link", self._where(path), ErrorKind.CHANGED, reason) from error
                raise translate(error, "read the link", self._where(path)) from error

    def make_link(self, path: str, target: str, meta: Meta) -> None:
        """Make (or atomically replace) a symbolic link; see `MakesLinks`."""
        if not target or "\0" in target:
            raise DunlinError("make the link", self._where(path), ErrorKind.NAME, "no link can have such a target")
        self._appear(path, lambda temp, fd: os.symlink(target, temp, dir_fd=fd), meta)

    def make_hard_link(self, existing: str, path: str) -> None:
        """Make (or atomically replace) another name of a file; see `MakesLinks`."""
        directory, name = self._split(existing)
        with self.dirs.open(directory) as source:
            self._appear(
                path,
                lambda temp, fd: os.link(name, temp, src_dir_fd=source, dst_dir_fd=fd, follow_symlinks=False),
                None,
            )

    def make_special(self, path: str, mode: int, rdev: int, meta: Meta) -> None:
        """Make (or atomically replace) a FIFO, socket or device; see `MakesLinks`."""
        # Without a mode in `meta` the umask has its say, as for files.
        first = mode & ~0o7000 if meta.mode is None else stat.S_IFMT(mode) | 0o600
        self._appear(path, lambda temp, fd: os.mknod(temp, first, rdev, dir_fd=fd), meta)

    def _appear(self, path: str, make: Callable[[str, int], None], meta: Meta | None) -> None:
        directory, name = self._split(path)
        shown = self._where(path)
        with self.dirs.open(directory) as fd:

            def dressed(temp: str) -> None:
                make(temp, fd)
                if meta is None:
                    return
                try:
                    with handle(fd, temp) as target:
                        apply(target, meta, self._refusals, shown)
                except BaseException:
                    os.unlink(temp, dir_fd=fd)
                    raise

            appear(Spot(fd, name, shown), self.options.run_id, dressed)

    # ---- metadata ----

    def get_xattrs(self, path: str, space: tuple[str, ...]) -> dict[str, bytes]:
        """The extended attributes in `space`, ACLs among them; see `SetsMeta`."""
        return self._on(path, "read the attributes of", lambda target: xattrs(target, space))

    def set_meta(self, path: str, meta: Meta) -> None:
        """Give metadata to what stands at `path`; see `SetsMeta`. What is refused is noted in `refused`."""
        self._on(path, "set the metadata of", lambda target: apply(target, meta, self._refusals, self._where(path)))

    def _on(self, path: str, operation: str, act: Callable[[Target], T]) -> T:
        try:
            if not path:
                with self.dirs.open("") as fd:
                    return act(by_descriptor(fd))
            directory, name = self._split(path)
            with self.dirs.open(directory) as fd, handle(fd, name) as target:
                return act(target)
        except OSError as error:
            raise translate(error, operation, self._where(path)) from error

    # ---- the file system ----

    def free_space(self) -> int:
        """Bytes that may still be written by us; see `HasSpace`."""
        with self.dirs.open("") as fd:
            try:
                status = os.fstatvfs(fd)
            except OSError as error:
                raise translate(error, "look at the free space of", self.root) from error
        return status.f_bavail * status.f_frsize

    def checkpoint(self) -> None:
        """Flush every file system that this store has come across below its root; see `Syncs`."""
        for path in tuple(self.dirs.devices.values()):
            try:
                with self.dirs.fresh(path) as fd:
                    posix.sync_file_system(fd)
            except DunlinError as error:
                if error.kind is not ErrorKind.NOT_FOUND:
                    raise
                os.sync()  # the directory by which we knew that file system is gone
            except OSError as error:
                raise translate(error, "flush", self._where(path)) from error

    def _split(self, path: str) -> tuple[str, str]:
        """The directory and name of a path that is not the root. Raises NAME."""
        if not path:
            raise DunlinError("use the name", self.root, ErrorKind.NAME, "this is the root itself")
        return split(check_path(path, self.root))

    def _where(self, path: str) -> str:
        return where(self.root, path)


def unwrapped(store: object, way: str) -> LocalStore | None:
    """The local store inside wrappers that allow to be passed by; None when there is none.

    `way` is ``inner_for_reading`` or ``inner_for_writing``: a wrapper has these where nothing is lost
    when its store is used directly.
    """
    while store is not None and not isinstance(store, LocalStore):
        store = getattr(store, way, None)
    return store


def _next_batch(names: Iterator[os.DirEntry[str]], most: int) -> tuple[list[tuple[str, Facts]], bool, OSError | None]:
    """The next names with their facts, whether there may be more, and what ended the listing before its end."""
    batch: list[tuple[str, Facts]] = []
    add = batch.append
    facts = facts_of
    gone = 0
    try:
        for entry in islice(names, most):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                gone += 1
                continue
            add((entry.name, facts(status)))
    except OSError as error:
        return batch, False, error
    return batch, len(batch) + gone == most, None


def _is_directory(fd: int, name: str) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)


def _make_directory(fd: int, name: str, mode: int | None, like: int | None) -> bool:
    first = 0o700 if mode is not None else 0o777 if like is None else like & 0o777 | 0o700
    try:
        permitted(fd, lambda: os.mkdir(name, first, dir_fd=fd))
    except FileExistsError:
        if not _is_directory(fd, name):
            raise
        return False
    return True
