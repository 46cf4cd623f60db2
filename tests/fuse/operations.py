"""What each request does to the backing directory.

Every method of ``Operations`` takes a ``Request`` and returns the body of the reply, or raises OSError. Files are
reached by path (a descriptor per node would exceed the limit of open files long before 100,000 files), open ones
by their descriptor, which is the file handle the kernel holds. Paths longer than PATH_MAX are out of reach.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.fuse import protocol as p
from tests.fuse.nodes import ROOT, Node, Nodes
from tests.fuse.protocol import Op
from tests.fuse.shape import Capacity, Counters, Options, Rules, WriteLog, links

Body = bytes | memoryview
CONTROL = b"user.slowfs."
BY_DESCRIPTOR = frozenset({Op.READ, Op.WRITE, Op.FALLOCATE, Op.LSEEK, Op.FSYNC, Op.FSYNCDIR, Op.STATFS})
STRIPPED = os.O_NOFOLLOW | os.O_APPEND | os.O_DIRECT | os.O_CREAT | os.O_EXCL


@dataclass(slots=True)
class Request:
    """One request, and the buffer in which a read may be answered."""

    node_id: int
    uid: int
    gid: int
    body: memoryview
    out: memoryview
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Listing:
    """An open directory: its names as they were when reading began."""

    node: Node
    entries: list[tuple[bytes, int]] | None = None


def names_in(body: memoryview) -> list[bytes]:
    """The NUL-terminated names at the end of a request."""
    return bytes(body).split(b"\0")[:-1]


class Operations:
    """The loopback file system; ``handlers`` maps operation codes to methods."""

    def __init__(self, backing: str, options: Options, notify: Callable[[int, bytes], None]) -> None:
        root = os.fsencode(os.path.realpath(backing))
        self.options = options
        self.nodes = Nodes(root)
        self.counters = Counters()
        self.rules = Rules(options)
        self.write_log = WriteLog(options.write_log) if options.write_log else None
        self._root = root
        self._notify = notify
        self._reading, self._writing = links(options)
        self._capacity = Capacity(options.capacity, content_size(root)) if options.capacity else None
        self._listings: dict[int, Listing] = {}
        self._next_listing = 1 << 40
        self._changing: dict[int, tuple[Node, str]] = {}
        self._entry_times = p.split_timeout(options.entry_timeout)
        self._attr_times = p.split_timeout(options.attr_timeout)
        handlers: dict[int, Callable[[Request], Body]] = {
            Op.LOOKUP: self.lookup, Op.FORGET: self.forget, Op.BATCH_FORGET: self.batch_forget,
            Op.GETATTR: self.getattr, Op.SETATTR: self.setattr, Op.READLINK: self.readlink,
            Op.SYMLINK: self.symlink, Op.MKNOD: self.mknod, Op.MKDIR: self.mkdir, Op.UNLINK: self.unlink,
            Op.RMDIR: self.rmdir, Op.RENAME: self.rename, Op.RENAME2: self.rename2, Op.LINK: self.link,
            Op.OPEN: self.open, Op.READ: self.read, Op.WRITE: self.write, Op.STATFS: self.statfs,
            Op.RELEASE: self.release, Op.FSYNC: self.fsync, Op.SETXATTR: self.setxattr,
            Op.GETXATTR: self.getxattr, Op.LISTXATTR: self.listxattr, Op.REMOVEXATTR: self.removexattr,
            Op.OPENDIR: self.opendir, Op.READDIR: self.readdir, Op.READDIRPLUS: self.readdirplus,
            Op.RELEASEDIR: self.releasedir, Op.FSYNCDIR: self.fsyncdir, Op.ACCESS: self.access,
            Op.CREATE: self.create, Op.FALLOCATE: self.fallocate, Op.LSEEK: self.lseek,
        }  # fmt: skip
        self.handlers = {
            code: handler if code in BY_DESCRIPTOR else self._steadily(handler) for code, handler in handlers.items()
        }

    def _steadily(self, handler: Callable[[Request], Body]) -> Callable[[Request], Body]:
        """The handler, with no other one changing names meanwhile."""

        def alone(request: Request) -> Body:
            with self.nodes.steady:
                return handler(request)

        return alone

    # Names

    def _place(self, node: Node, name: bytes) -> bytes:
        """The backing path of ``name``, in the spelling that exists when case is ignored."""
        path = self.nodes.path(node, name)
        if not self.options.case_insensitive or os.path.lexists(path):
            return path
        wanted = os.fsdecode(name).casefold()
        parent = os.path.dirname(path)
        for other in os.listdir(parent):
            if os.fsdecode(other).casefold() == wanted:
                return parent + b"/" + other
        return path

    def _refused(self, word: str, number: int = errno.EPERM) -> None:
        if word in self.options.refuse:
            raise OSError(number, "refused")

    def _rule(self, operation: str, path: bytes) -> None:
        if self.rules.watching:
            self.rules.check(operation, self.nodes.relative(path))

    def _attr(self, st: os.stat_result) -> bytes:
        return p.pack_attr(st, self.options.mtime_granularity_ns)

    def _entry(self, parent: Node, name: bytes, st: os.stat_result) -> bytes:
        node = self.nodes.seen(parent, name, st)
        (es, en), (as_, an) = self._entry_times, self._attr_times
        return p.ENTRY.pack(node.id, 0, es, as_, en, an) + self._attr(st)

    def _made(self, request: Request, parent: Node, path: bytes) -> bytes:
        """The reply for a new file: owned by the caller, like on any file system."""
        if request.uid or request.gid:
            os.lchown(path, request.uid, request.gid)
        return self._entry(parent, os.path.basename(path), os.lstat(path))

    def _stat(self, node: Node) -> os.stat_result:
        try:
            return os.lstat(self.nodes.path(node))
        except FileNotFoundError:
            if node.fds:  # open but unlinked
                return os.fstat(node.fds[-1])
            raise

    def lookup(self, request: Request) -> Body:
        parent = self.nodes.get(request.node_id)
        path = self._place(parent, names_in(request.body)[0])
        self._rule("stat", path)
        return self._entry(parent, os.path.basename(path), os.lstat(path))

    def forget(self, request: Request) -> Body:
        self.nodes.forget(request.node_id, p.FORGET_IN.unpack_from(request.body)[0])
        return b""

    def batch_forget(self, request: Request) -> Body:
        count, _ = p.BATCH_FORGET_IN.unpack_from(request.body)
        for index in range(count):
            at = p.BATCH_FORGET_IN.size + index * p.FORGET_ONE.size
            self.nodes.forget(*p.FORGET_ONE.unpack_from(request.body, at))
        return b""

    # Attributes

    def _attr_reply(self, st: os.stat_result) -> bytes:
        return p.ATTR_OUT.pack(*self._attr_times, 0) + self._attr(st)

    def getattr(self, request: Request) -> Body:
        flags, _, fh = p.GETATTR_IN.unpack_from(request.body)
        if flags & p.GETATTR_FH:
            return self._attr_reply(os.fstat(fh))
        node = self.nodes.get(request.node_id)
        st = self._stat(node)
        if self.rules.watching and node.id != ROOT and node.names:
            self._rule("stat", self.nodes.path(node))
        return self._attr_reply(st)

    def setattr(self, request: Request) -> Body:
        (valid, _, fh, size, _, atime, mtime, _, ans, mns, _, mode, _, uid, gid, _) = p.SETATTR_IN.unpack_from(
            request.body
        )
        node = self.nodes.get(request.node_id)
        if node.names or node.id == ROOT:
            path = self.nodes.path(node)
        elif node.fds:
            path = os.fsencode(f"/proc/self/fd/{node.fds[-1]}")
        else:  # unlinked and closed: write-back comes too late
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if valid & (p.FATTR_UID | p.FATTR_GID):
            self._refused("chown")
            os.lchown(path, uid if valid & p.FATTR_UID else -1, gid if valid & p.FATTR_GID else -1)
        if valid & p.FATTR_MODE:
            self._refused("chmod")
            os.chmod(path, stat.S_IMODE(mode))
        if valid & p.FATTR_SIZE:
            self._account(path, size)
            os.truncate(fh if valid & p.FATTR_FH else path, size)
        if valid & (p.FATTR_ATIME | p.FATTR_MTIME):
            # The kernel sets a time of its own after truncating; only an explicit utimens can be refused.
            if not valid & p.FATTR_SIZE:
                self._refused("utimens")
            self._set_times(path, valid, signed(atime) * 10**9 + ans, signed(mtime) * 10**9 + mns)
        return self._attr_reply(self._stat(node))

    def _set_times(self, path: bytes, valid: int, atime: int, mtime: int) -> None:
        st = os.lstat(path)
        if not valid & p.FATTR_ATIME:
            atime = st.st_atime_ns
        elif valid & p.FATTR_ATIME_NOW:
            atime = time.time_ns()
        if not valid & p.FATTR_MTIME:
            mtime = st.st_mtime_ns
        elif valid & p.FATTR_MTIME_NOW:
            mtime = time.time_ns()
        if self.options.mtime_granularity_ns:
            mtime -= mtime % self.options.mtime_granularity_ns
        os.utime(path, ns=(atime, mtime), follow_symlinks=False)

    def access(self, request: Request) -> Body:
        mask, _ = p.GETXATTR_IN.unpack_from(request.body)
        if not os.access(self.nodes.path(self.nodes.get(request.node_id)), mask):
            raise OSError(errno.EACCES, "access")
        return b""

    def statfs(self, request: Request) -> Body:
        vfs = os.statvfs(self._root)
        blocks, free, available = vfs.f_blocks, vfs.f_bfree, vfs.f_bavail
        if self._capacity:
            blocks = self._capacity.capacity // vfs.f_frsize
            free = available = max(0, self._capacity.capacity - self._capacity.used) // vfs.f_frsize
        return p.STATFS_OUT.pack(
            blocks, free, available, vfs.f_files, vfs.f_ffree, vfs.f_bsize, vfs.f_namemax, vfs.f_frsize, 0
        )

    # Making and removing names

    def _account(self, path: bytes, new_size: int) -> None:
        if self._capacity:
            self._capacity.grow(new_size - os.stat(path).st_size)

    def symlink(self, request: Request) -> Body:
        self._refused("symlink")
        name, target = names_in(request.body)
        parent = self.nodes.get(request.node_id)
        path = self._place(parent, name)
        os.symlink(target, path)
        return self._made(request, parent, path)

    def readlink(self, request: Request) -> Body:
        return os.readlink(self.nodes.path(self.nodes.get(request.node_id)))

    def mknod(self, request: Request) -> Body:
        mode, rdev, _, _ = p.MKNOD_IN.unpack_from(request.body)
        if not stat.S_ISREG(mode):
            self._refused("mknod")
        parent = self.nodes.get(request.node_id)
        path = self._place(parent, names_in(request.body[p.MKNOD_IN.size :])[0])
        os.mknod(path, mode, p.unpack_rdev(rdev))
        return self._made(request, parent, path)

    def mkdir(self, request: Request) -> Body:
        self._refused("mkdir")
        mode, _ = p.MKDIR_IN.unpack_from(request.body)
        parent = self.nodes.get(request.node_id)
        path = self._place(parent, names_in(request.body[p.MKDIR_IN.size :])[0])
        os.mkdir(path, stat.S_IMODE(mode))
        if mode & 0o7000:  # mkdir(2) drops them
            os.chmod(path, stat.S_IMODE(mode))
        return self._made(request, parent, path)

    def link(self, request: Request) -> Body:
        self._refused("link")
        (old,) = p.LINK_IN.unpack_from(request.body)
        parent = self.nodes.get(request.node_id)
        path = self._place(parent, names_in(request.body[p.LINK_IN.size :])[0])
        os.link(self.nodes.path(self.nodes.get(old)), path, follow_symlinks=False)
        return self._entry(parent, os.path.basename(path), os.lstat(path))

    def unlink(self, request: Request) -> Body:
        parent = self.nodes.get(request.node_id)
        path = self._place(parent, names_in(request.body)[0])
        st = os.lstat(path)
        os.unlink(path)
        self._gone(st)
        self.nodes.removed(parent, os.path.basename(path), last=st.st_nlink == 1)
        return b""

    def _gone(self, st: os.stat_result) -> None:
        if self._capacity and st.st_nlink == 1 and stat.S_ISREG(st.st_mode):
            self._capacity.grow(-st.st_size)

    def rmdir(self, request: Request) -> Body:
        parent = self.nodes.get(request.node_id)
        path = self._place(parent, names_in(request.body)[0])
        os.rmdir(path)
        self.nodes.removed(parent, os.path.basename(path), last=True)
        return b""

    def rename(self, request: Request) -> Body:
        (target,) = p.RENAME_IN.unpack_from(request.body)
        return self._rename(request, target, *names_in(request.body[p.RENAME_IN.size :]))

    def rename2(self, request: Request) -> Body:
        target, flags, _ = p.RENAME2_IN.unpack_from(request.body)
        old, new = names_in(request.body[p.RENAME2_IN.size :])
        if flags & ~1:
            raise OSError(errno.EINVAL, "only RENAME_NOREPLACE")
        if flags & 1 and os.path.lexists(self._place(self.nodes.get(target), new)):
            raise OSError(errno.EEXIST, "exists")
        return self._rename(request, target, old, new)

    def _rename(self, request: Request, target: int, old: bytes, new: bytes) -> Body:
        self._refused("rename")
        parent, new_parent = self.nodes.get(request.node_id), self.nodes.get(target)
        source, wanted = self._place(parent, old), self.nodes.path(new_parent, new)
        place = self._place(new_parent, new)
        replaced = os.lstat(place) if os.path.lexists(place) else None
        gone = replaced is not None and (replaced.st_nlink == 1 or stat.S_ISDIR(replaced.st_mode))
        os.rename(source, place)
        if place != wanted:  # as a server that ignores case does: the new spelling stays
            os.rename(place, wanted)
            self.nodes.removed(new_parent, os.path.basename(place), last=False)
        if replaced:
            self._gone(replaced)
        self.nodes.renamed(parent, os.path.basename(source), new_parent, new, last=gone)
        return b""

    # Content

    def _opened(self, node: Node, fd: int, path: bytes) -> bytes:
        node.fds.append(fd)
        name = self.nodes.relative(path)
        if self.rules.changing(name):
            # The kernel's cached size would hide the change from the reader.
            self._changing[fd] = (node, name)
            return p.OPEN_OUT.pack(fd, p.FOPEN_DIRECT_IO, 0)
        return p.OPEN_OUT.pack(fd, p.FOPEN_DIRECT_IO if self.options.direct_io else 0, 0)

    def _open_flags(self, flags: int) -> int:
        flags &= ~STRIPPED
        if self.options.writeback and flags & os.O_ACCMODE == os.O_WRONLY:
            flags = flags & ~os.O_ACCMODE | os.O_RDWR  # the kernel reads the rest of a page it changes
        return flags

    def open(self, request: Request) -> Body:
        flags, _ = p.OPEN_IN.unpack_from(request.body)
        node = self.nodes.get(request.node_id)
        path = self.nodes.path(node)
        self._rule("open", path)
        if flags & os.O_TRUNC:
            self._account(path, 0)
        return self._opened(node, os.open(path, self._open_flags(flags)), path)

    def create(self, request: Request) -> Body:
        flags, mode, _, _ = p.CREATE_IN.unpack_from(request.body)
        parent = self.nodes.get(request.node_id)
        path = self._place(parent, names_in(request.body[p.CREATE_IN.size :])[0])
        self._rule("open", path)
        exclusive = flags & os.O_EXCL
        fd = os.open(path, self._open_flags(flags) | os.O_CREAT | exclusive, stat.S_IMODE(mode))
        entry = self._made(request, parent, path)
        node = self.nodes.get(p.ENTRY.unpack_from(entry)[0])
        return entry + self._opened(node, fd, path)

    def read(self, request: Request) -> Body:
        fh, offset, size, _, _, _, _ = p.READ_IN.unpack_from(request.body)
        if self.rules.watching or self._changing:
            self._before_read(fh, request.node_id)
        count = os.preadv(fh, [request.out[:size]], offset)
        for link in self._reading:
            link.carry(count)
        request.counts["bytes_read"] += count
        return request.out[:count]

    def _before_read(self, fh: int, node_id: int) -> None:
        node = self.nodes.get(node_id)
        if node.names:
            self._rule("read", self.nodes.path(node))
        if fh in self._changing:
            node, name = self._changing.pop(fh)
            change = self.rules.take_change(name)
            if change:
                self._change(node, change)

    def _change(self, node: Node, change: str) -> None:
        path = self.nodes.path(node)
        if change == "vanish":
            parent, name = node.names[-1]
            with self.nodes.steady:
                os.unlink(path)
                self.nodes.removed(parent, name, last=True)
            # Not within: the kernel holds the directory for a lookup that may be waiting for us.
            self._notify(p.NOTIFY_INVAL_ENTRY, p.INVAL_ENTRY_OUT.pack(parent.id, len(name), 0) + name + b"\0")
            return
        size = os.stat(path).st_size
        if change == "grow":
            with open(path, "ab") as file:
                file.write(b"grown while read " * 256)
        else:
            os.truncate(path, size // 2)
        self._notify(p.NOTIFY_INVAL_INODE, p.INVAL_INODE_OUT.pack(node.id, -1, 0))

    def write(self, request: Request) -> Body:
        fh, offset, size, _, _, _, _ = p.WRITE_IN.unpack_from(request.body)
        if self.rules.watching:
            node = self.nodes.get(request.node_id)
            if node.names:
                self._rule("write", self.nodes.path(node))
        if self._capacity:
            self._capacity.grow(max(0, offset + size - os.fstat(fh).st_size))
        for link in self._writing:
            link.carry(size)
        count = os.pwrite(fh, request.body[p.WRITE_IN.size : p.WRITE_IN.size + size], offset)
        request.counts["bytes_written"] += count
        if self.write_log:
            self.write_log.add(count)
        return p.WRITE_OUT.pack(count, 0)

    def fallocate(self, request: Request) -> Body:
        fh, offset, length, mode, _ = p.FALLOCATE_IN.unpack_from(request.body)
        if mode:
            raise OSError(errno.EOPNOTSUPP, "mode")
        if self._capacity:
            self._capacity.grow(max(0, offset + length - os.fstat(fh).st_size))
        os.posix_fallocate(fh, offset, length)
        return b""

    def lseek(self, request: Request) -> Body:
        fh, offset, whence, _ = p.LSEEK_IN.unpack_from(request.body)
        return p.LSEEK_OUT.pack(os.lseek(fh, offset, whence))

    def fsync(self, request: Request) -> Body:
        fh, flags, _ = p.FSYNC_IN.unpack_from(request.body)
        (os.fdatasync if flags & 1 else os.fsync)(fh)
        return b""

    def release(self, request: Request) -> Body:
        fh = p.RELEASE_IN.unpack_from(request.body)[0]
        with contextlib.suppress(KeyError, ValueError):
            self.nodes.get(request.node_id).fds.remove(fh)
        self._changing.pop(fh, None)
        os.close(fh)
        return b""

    # Directories

    def opendir(self, request: Request) -> Body:
        node = self.nodes.get(request.node_id)
        self._rule("open", self.nodes.path(node))
        self._next_listing += 1
        handle = self._next_listing
        self._listings[handle] = Listing(node)
        return p.OPEN_OUT.pack(handle, 0, 0)

    def _entries(self, handle: int, offset: int) -> list[tuple[bytes, int]]:
        listing = self._listings[handle]
        if listing.entries is None or offset == 0:
            path = self.nodes.path(listing.node)
            self._rule("readdir", path)
            with os.scandir(path) as names:
                found = [(entry.name, kind_of(entry)) for entry in names]
            listing.entries = [(b".", stat.S_IFDIR), (b"..", stat.S_IFDIR), *found]
        return listing.entries

    def readdir(self, request: Request) -> Body:
        handle, offset, size, _, _, _, _ = p.READ_IN.unpack_from(request.body)
        entries = self._entries(handle, offset)
        reply = bytearray()
        for index in range(offset, len(entries)):
            name, kind = entries[index]
            record = p.pack_dirent(index + 1, index + 1, kind, name)
            if len(reply) + len(record) > size:
                break
            reply += record
        return bytes(reply)

    def readdirplus(self, request: Request) -> Body:
        handle, offset, size, _, _, _, _ = p.READ_IN.unpack_from(request.body)
        entries = self._entries(handle, offset)
        node = self._listings[handle].node
        base = self.nodes.path(node) + b"/"
        none = bytes(p.ENTRY.size + p.ATTR.size)
        reply = bytearray()
        for index in range(offset, len(entries)):
            name, kind = entries[index]
            record = p.pack_dirent(index + 1, index + 1, kind, name)
            if len(reply) + len(none) + len(record) > size:
                break
            reply += none if name in (b".", b"..") else self._plus(node, base + name, none)
            reply += record
        return bytes(reply)

    def _plus(self, node: Node, path: bytes, none: bytes) -> bytes:
        """The attributes of a listed name; without them (node 0) the kernel will look it up by itself."""
        try:
            self._rule("stat", path)
            return self._entry(node, os.path.basename(path), os.lstat(path))
        except OSError:
            return none

    def releasedir(self, request: Request) -> Body:
        self._listings.pop(p.RELEASE_IN.unpack_from(request.body)[0], None)
        return b""

    def fsyncdir(self, request: Request) -> Body:
        return b""

    # Extended attributes; those of the root that start with CONTROL talk to this server

    def setxattr(self, request: Request) -> Body:
        size, flags = p.SETXATTR_IN.unpack_from(request.body)
        rest = bytes(request.body[p.SETXATTR_IN.size :])
        name, _, value = rest.partition(b"\0")
        if request.node_id == ROOT and name == CONTROL + b"reset":
            self.counters.reset()
            return b""
        self._refused("setxattr", errno.ENOTSUP)
        path = self.nodes.path(self.nodes.get(request.node_id))
        os.setxattr(path, name, value[:size], flags, follow_symlinks=False)
        return b""

    def getxattr(self, request: Request) -> Body:
        size, _ = p.GETXATTR_IN.unpack_from(request.body)
        name = names_in(request.body[p.GETXATTR_IN.size :])[0]
        if request.node_id == ROOT and name.startswith(CONTROL):
            return sized(self._control(name), size)
        path = self.nodes.path(self.nodes.get(request.node_id))
        return sized(os.getxattr(path, name, follow_symlinks=False), size)

    def _control(self, name: bytes) -> bytes:
        if name == CONTROL + b"counters":
            return self.counters.as_json()
        if name == CONTROL + b"flush" and self.write_log:
            self.write_log.flush()
            return b"ok"
        raise OSError(errno.ENODATA, "no such control")

    def listxattr(self, request: Request) -> Body:
        size, _ = p.GETXATTR_IN.unpack_from(request.body)
        path = self.nodes.path(self.nodes.get(request.node_id))
        names = os.listxattr(path, follow_symlinks=False)
        return sized(b"".join(os.fsencode(name) + b"\0" for name in names), size)

    def removexattr(self, request: Request) -> Body:
        self._refused("setxattr", errno.ENOTSUP)
        path = self.nodes.path(self.nodes.get(request.node_id))
        os.removexattr(path, names_in(request.body)[0], follow_symlinks=False)
        return b""


def sized(value: bytes, size: int) -> bytes:
    """The answer to a question for an attribute: its length when ``size`` is 0, else the value."""
    if not size:
        return p.GETXATTR_OUT.pack(len(value), 0)
    if len(value) > size:
        raise OSError(errno.ERANGE, "buffer too small")
    return value


def signed(seconds: int) -> int:
    """Seconds as the kernel sent them: two's complement in an unsigned field."""
    return seconds - (1 << 64) if seconds >> 63 else seconds


def kind_of(entry: os.DirEntry[bytes]) -> int:
    """The file type bits of a listed name, without asking the file system where it can be avoided."""
    if entry.is_symlink():
        return stat.S_IFLNK
    if entry.is_dir(follow_symlinks=False):
        return stat.S_IFDIR
    if entry.is_file(follow_symlinks=False):
        return stat.S_IFREG
    return stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)


def content_size(root: bytes) -> int:
    """The bytes of file content below ``root``."""
    return sum(os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(root) for name in names)
