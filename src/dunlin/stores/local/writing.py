"""Writing a file whole or not at all.

The new content goes into a temporary file in the same directory, with a short name of its own; when
every byte, its metadata and (if wanted) `fsync` are done, one `rename` gives it the final name.
Whatever goes wrong before that moment, `discard` removes the temporary file: there is no other
cleanup. What a killed process leaves behind is recognised by its name. Content that names its version
is kept where it can be continued: see `partial`.

`close` comes before `rename`, because network file systems report a full disk or an exceeded
quota only when the descriptor is closed.

In place (`WriteOptions.in_place`) the promise is weaker by intention: the final name is written into,
hard links and the inode stay, and a failure leaves a mixture, which has a new mtime and is
therefore written again by the next run.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from dunlin.errors import DunlinError, ErrorKind, translate
from dunlin.stores.base import Body, Data, Meta
from dunlin.stores.local import posix
from dunlin.stores.local.lending import permitted
from dunlin.stores.local.meta import Refusals, apply
from dunlin.stores.local.paths import CLOEXEC, NOFOLLOW

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How a local store writes files.

    Attributes:
        run_id: letters and digits, part of every temporary name of this run.
        fsync_file: a file is on stable storage before it gets its name.
        in_place: write into the final name instead of a temporary one.
        sparse: leave holes where pages hold only zeros; not together with `in_place`, where old bytes would show.
        push: send written data to the device as it goes, so that few dirty pages wait in memory.
        limited: asked for every block: whether to `push` from here on, because there is a bandwidth limit now.
        commit: called right before a file gets its name; what it raises leaves the name alone.
    """

    run_id: str = "0"
    fsync_file: bool = False
    in_place: bool = False
    sparse: bool = False
    push: bool = False
    limited: Callable[[], bool] | None = None
    commit: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9A-Za-z]{1,40}", self.run_id):
            raise ValueError(f"a run id is 1 to 40 letters and digits, not {self.run_id!r}")


_numbers = itertools.count(1)


def temp_name(run_id: str) -> str:
    """A name for a temporary file that this process has not used yet.

    Process id and count make it unlikely that another process of the run has it; creation is exclusive anyway.
    """
    return f".dunlin-{run_id}-w{os.getpid():x}x{next(_numbers):x}.tmp"


class Spot(NamedTuple):
    """Where a name is to appear: an open directory, the name in it, and the path for messages."""

    directory: int
    name: str
    where: str


# ---- appearing under the final name ----


def make_temp(spot: Spot, run_id: str, make: Callable[[str], T]) -> tuple[str, T]:
    """Let `make` create something exclusively under a temporary name; the name and what `make` returned."""
    while True:
        temp = temp_name(run_id)
        try:
            return temp, permitted(spot.directory, lambda temp=temp: make(temp))  # type: ignore[misc]
        except FileExistsError:
            continue


def publish(spot: Spot, temp: str, if_absent: bool = False) -> None:
    """Give what stands at `temp` its final name, atomically. Raises `OSError`."""
    directory, name = spot.directory, spot.name
    if not if_absent:
        permitted(directory, lambda: os.rename(temp, name, src_dir_fd=directory, dst_dir_fd=directory))
    elif not permitted(directory, lambda: posix.rename_no_replace(temp, name, directory)):
        permitted(directory, lambda: _link_absent(directory, temp, name))


def _link_absent(directory: int, temp: str, name: str) -> None:
    """The older way not to replace anything: `link` refuses an existing name."""
    try:
        os.link(temp, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
    else:
        os.unlink(temp, dir_fd=directory)
        return
    # A file system with neither: between this look and the rename somebody may be faster.
    with contextlib.suppress(FileNotFoundError):
        os.stat(name, dir_fd=directory, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.rename(temp, name, src_dir_fd=directory, dst_dir_fd=directory)


def discard(spot: Spot, temp: str) -> None:
    """Remove a temporary file on the way out of a failure, which is what gets reported."""
    with contextlib.suppress(OSError):
        permitted(spot.directory, lambda: os.unlink(temp, dir_fd=spot.directory))


def appear(spot: Spot, run_id: str, make: Callable[[str], None]) -> None:
    """Make something by `make(temporary name)` and give it its final name: links and special files.

    Raises `DunlinError`.
    """
    try:
        temp, _ = make_temp(spot, run_id, make)
        try:
            publish(spot, temp)
        finally:
            # Renaming one of two names of an inode to the other does nothing, and leaves both.
            discard(spot, temp)
    except OSError as error:
        raise translate(error, "make", spot.where) from error


# ---- regular files ----

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOFOLLOW | CLOEXEC
_INTO = os.O_WRONLY | NOFOLLOW | CLOEXEC | getattr(os, "O_NONBLOCK", 0)

Fill = Callable[[int], None]
"""Puts the content into an open file of size 0 (in place: of any size), and leaves it at its final size."""


def write_file(
    spot: Spot,
    fill: Fill,
    meta: Meta,
    options: WriteOptions,
    refusals: Refusals,
    if_absent: bool = False,
    kept: str = "",
) -> os.stat_result:
    """Write one regular file; see the module docstring. The status of what stands there now.

    Args:
        kept: the name of a file that `fill` may find begun (see `partial`), "" for none.

    Raises `DunlinError`; errors of `fill` that are no `OSError` pass through.
    """
    try:
        if options.in_place:
            _write_in_place(spot, fill, meta, options, refusals, if_absent)
        else:
            _write_whole(spot, fill, meta, options, refusals, if_absent, "" if options.sparse else kept)
        return os.stat(spot.name, dir_fd=spot.directory, follow_symlinks=False)
    except OSError as error:
        raise translate(error, "write", spot.where) from error


def _write_whole(
    spot: Spot, fill: Fill, meta: Meta, options: WriteOptions, refusals: Refusals, if_absent: bool, part: str
) -> None:
    try:
        there = os.stat(spot.name, dir_fd=spot.directory, follow_symlinks=False)
    except FileNotFoundError:
        there = None
    if there is not None:
        if if_absent:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        if stat.S_ISDIR(there.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    # Nobody but us may read the content before owner and mode are right. Without a wanted mode a
    # new file is made as the umask says, and one that replaces another keeps that one's mode.
    mode = first_mode(meta)
    keeps = meta.mode is None and there is not None and stat.S_ISREG(there.st_mode)
    kept = stat.S_IMODE(there.st_mode) & 0o777 if there is not None and keeps else None
    temp, fd = _begun(spot, options.run_id, part, mode if kept is None else 0o600)
    try:
        try:
            fill(fd)
            if kept is not None:
                apply(fd, Meta(mode=kept), refusals, spot.where)
            apply(fd, meta, refusals, spot.where)
            if options.fsync_file:
                os.fsync(fd)
        finally:
            empty = temp == part and not os.fstat(fd).st_size
            os.close(fd)
        if options.commit is not None:
            options.commit()
        publish(spot, temp, if_absent)
    except BaseException as error:
        if temp != part or empty or not _is_kept(error):
            discard(spot, temp)
        raise


def _is_kept(error: BaseException) -> bool:
    from dunlin.stores.local.partial import is_kept

    return is_kept(error)


def _begun(spot: Spot, run_id: str, part: str, mode: int) -> tuple[str, int]:
    """A name and an open file for new content: the one that may be continued, if it can be had."""

    def make(temp: str) -> int:
        return os.open(temp, _CREATE, mode, dir_fd=spot.directory)

    if not part:
        return make_temp(spot, run_id, make)
    from dunlin.stores.local.partial import open_part

    fd = permitted(spot.directory, lambda: open_part(spot.directory, part, mode))
    if fd is None:
        return make_temp(spot, run_id, make)
    try:
        if os.fstat(fd).st_size:
            # It was made for another run, which may have wanted other permissions: a file made now shows the umask.
            temp, like = make_temp(spot, run_id, make)
            try:
                os.fchmod(fd, stat.S_IMODE(os.fstat(like).st_mode))
            finally:
                os.close(like)
                discard(spot, temp)
    except BaseException:
        os.close(fd)
        raise
    return part, fd


def first_mode(meta: Meta) -> int:
    """The permission bits with which a file is made, before the umask."""
    if meta.mode is not None:
        return 0o600
    return 0o666 if meta.like is None else meta.like & 0o777


def _write_in_place(
    spot: Spot, fill: Fill, meta: Meta, options: WriteOptions, refusals: Refusals, if_absent: bool
) -> None:
    mode = first_mode(meta)
    made, fd = _open_in_place(spot, mode, if_absent)
    try:
        try:
            fill(fd)
            apply(fd, meta, refusals, spot.where)
            if options.fsync_file:
                os.fsync(fd)
        finally:
            os.close(fd)
    except BaseException:
        if made:
            discard(spot, spot.name)
        raise


def _open_in_place(spot: Spot, mode: int, if_absent: bool) -> tuple[bool, int]:
    """Whether the file was made just now, and its descriptor. A link that stands there goes first."""

    def make() -> int:
        return permitted(spot.directory, lambda: os.open(spot.name, _CREATE, mode, dir_fd=spot.directory))

    try:
        return True, make()
    except FileExistsError:
        if if_absent:
            raise
    try:
        fd = os.open(spot.name, _INTO, dir_fd=spot.directory)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        permitted(spot.directory, lambda: os.unlink(spot.name, dir_fd=spot.directory))
        return True, make()
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileExistsError(errno.EEXIST, "something that is no regular file stands there")
    return False, fd


# ---- content ----

PAGE = 4096
_ZEROS = bytes(1 << 20)
_SETTLE = 8 << 20
"""Bytes that may be on their way to the device while we go on."""


class Sink:
    """An open file that blocks are appended to: the only place that knows about holes and pushing out.

    Pushing out: write-back of each block is started as soon as it is written, and waited for when the
    next one has been started. So at most two blocks are dirty, and the device is never idle.
    """

    __slots__ = ("_fd", "_limited", "_pushes", "_since_wait", "_sparse", "_started", "position")

    def __init__(self, fd: int, options: WriteOptions) -> None:
        self.position = 0
        self._fd = fd
        self._sparse = options.sparse and not options.in_place
        self._pushes = options.push
        self._limited = options.limited
        self._started: tuple[int, int] | None = None
        self._since_wait = 0

    def put(self, data: Data) -> None:
        """Append `data`."""
        begin = self.position
        if self._sparse:
            self._put_sparse(memoryview(data))
        else:
            write_all(self._fd, data, begin)
        self.position += len(data)
        self.pushed(begin, len(data))

    def pushed(self, begin: int, length: int) -> None:
        """`length` bytes from `begin` were written: if that is wanted, send them on, and wait for the block before."""
        if not length or not (self._pushes or (self._limited is not None and self._limited())):
            return
        if not posix.push_start(self._fd, begin, length):
            self._since_wait += length
            if self._since_wait >= _SETTLE:
                posix.sync_data(self._fd)
                self._since_wait = 0
            return
        if self._started is not None:
            posix.push_wait(self._fd, *self._started)
        self._started = (begin, length)

    @property
    def pushing(self) -> bool:
        """Whether anything was sent on, so that its end may have to be waited for."""
        return self._started is not None

    def end(self) -> None:
        """All is written: give the file its size, which holes at its end or old content may hide."""
        os.ftruncate(self._fd, self.position)
        # Waiting at the end of each small file would make the device seek for every one of them.
        if self._started is not None and self.position >= _SETTLE:
            posix.push_wait(self._fd, *self._started)

    def _put_sparse(self, data: memoryview) -> None:
        """Write the pages (aligned in the file) that hold anything but zeros, neighbours together."""
        # Not ==, which goes through a view byte by byte; this compares memory, seventy times as fast.
        if _ZEROS.startswith(data):
            return
        begin = None
        at = 0
        while at < len(data):
            size = min(PAGE - (self.position + at) % PAGE, len(data) - at)
            if _ZEROS.startswith(data[at : at + size]):
                if begin is not None:
                    write_all(self._fd, data[begin:at], self.position + begin)
                    begin = None
            elif begin is None:
                begin = at
            at += size
        if begin is not None:
            write_all(self._fd, data[begin:], self.position + begin)


def write_all(fd: int, data: Data, position: int) -> None:
    """Write every byte of `data` at `position`; one system call may take less. Raises `OSError`."""
    n = os.pwrite(fd, data, position)
    while n < len(data):
        more = os.pwrite(fd, memoryview(data)[n:], position + n)
        if more == 0:
            raise OSError(errno.EIO, "the file system takes no more bytes")
        n += more


def pour(body: Body, start: int, sink: Sink) -> None:
    """Put the blocks of a body from byte `start` on into a sink, and give each of them back. Raises as these do."""
    blocks = body.open(start)
    try:
        for data in blocks:
            try:
                sink.put(data)
            finally:
                body.release(data)
    finally:
        close = getattr(blocks, "close", None)
        if close is not None:
            close()


def fill_from(body: Body, options: WriteOptions, where: str) -> Fill:
    """The `Fill` that writes a `Body`, gives each of its blocks back, and checks the number of bytes."""

    def fill(fd: int) -> None:
        sink = Sink(fd, options)
        if body.version and not (options.in_place or options.sparse):
            from dunlin.stores.local.partial import taken_up

            sink.position = taken_up(fd, body)
        pour(body, sink.position, sink)
        if body.size is not None and sink.position != body.size:
            reason = f"{sink.position:,} bytes came instead of {body.size:,}"
            raise DunlinError("write", where, ErrorKind.CHANGED, reason)
        if options.in_place or options.sparse or sink.pushing:
            sink.end()

    return fill


COPY_STEP = 8 << 20
_NOT_HERE = frozenset({errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EPERM})


def fill_by_kernel(source: int, size: int, options: WriteOptions, where: str, advance: Callable[[int], None]) -> Fill:
    """The `Fill` that lets the kernel copy `size` bytes of the open file `source` (or share its extents).

    It raises UNSUPPORTED before anything was written when the two file systems cannot do that.
    `advance` is told the bytes of each step.
    """

    def fill(fd: int) -> None:
        sink = Sink(fd, options)
        while sink.position < size:
            at = sink.position
            try:
                n = os.copy_file_range(source, fd, min(COPY_STEP, size - at), at, at)
            except OSError as error:
                if at == 0 and error.errno in _NOT_HERE:
                    raise DunlinError("copy", where, ErrorKind.UNSUPPORTED, "the kernel cannot copy here") from error
                raise
            if n == 0:
                # Some file systems answer 0 where they mean "not supported"; after a start it means "cut off".
                kind = ErrorKind.CHANGED if at else ErrorKind.UNSUPPORTED
                raise DunlinError("copy", where, kind, f"the kernel copied {at:,} of {size:,} bytes")
            sink.position += n
            sink.pushed(at, n)
            advance(n)
        if options.in_place or sink.pushing:
            sink.end()

    return fill
