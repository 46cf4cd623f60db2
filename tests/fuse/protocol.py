"""The wire format between the kernel and a FUSE server (``linux/fuse.h``, protocol 7.38).

The kernel writes one request per ``read(2)`` of ``/dev/fuse`` and takes one reply per ``write(2)``: a fixed
header, a fixed structure per operation, then names or data. Speaking it directly instead of through libfuse
buys three things the tests need: listings *with attributes* (``READDIRPLUS``, which is how NFS and SMB answer),
requests of 1 MiB whose data is never copied inside Python, and no library that must be installed first.
All numbers are in the machine's byte order.
"""

from __future__ import annotations

import enum
import os
import stat
from struct import Struct


class Op(enum.IntEnum):
    """Operation codes; only those that the server answers (every other one is answered with ENOSYS)."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    SETXATTR = 21
    GETXATTR = 22
    LISTXATTR = 23
    REMOVEXATTR = 24
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42
    FALLOCATE = 43
    READDIRPLUS = 44
    RENAME2 = 45
    LSEEK = 46


# Local to a client of a network file system, or sent without anybody waiting: never delayed.
NO_ROUND_TRIP = frozenset(
    {Op.FORGET, Op.BATCH_FORGET, Op.RELEASE, Op.RELEASEDIR, Op.OPENDIR, Op.FLUSH, Op.INIT, Op.INTERRUPT, Op.DESTROY}
)
# Not answered at all.
NO_REPLY = frozenset({Op.FORGET, Op.BATCH_FORGET, Op.INTERRUPT})

IN_HEADER = Struct("=IIQQIIIHH")  # len, opcode, unique, node, uid, gid, pid, extension length, padding
OUT_HEADER = Struct("=IiQ")  # len, negative errno, unique
ATTR = Struct("=QQQQQQIIIIIIIIII")
ENTRY = Struct("=QQQQII")  # node, generation, entry seconds, attr seconds, entry ns, attr ns; then ATTR
ATTR_OUT = Struct("=QII")  # attr seconds, attr ns, padding; then ATTR
DIRENT = Struct("=QQII")  # inode, offset of the next one, name length, type; then the name, padded to 8
INIT_IN = Struct("=IIII")
INIT_OUT = Struct("=IIIIHHIIHHI28x")
FORGET_IN = Struct("=Q")
FORGET_ONE = Struct("=QQ")
BATCH_FORGET_IN = Struct("=II")
GETATTR_IN = Struct("=IIQ")
SETATTR_IN = Struct("=IIQQQQQQIIIIIIII")
MKNOD_IN = Struct("=IIII")
MKDIR_IN = Struct("=II")
RENAME_IN = Struct("=Q")
RENAME2_IN = Struct("=QII")
LINK_IN = Struct("=Q")
OPEN_IN = Struct("=II")
CREATE_IN = Struct("=IIII")
OPEN_OUT = Struct("=QII")
RELEASE_IN = Struct("=QIIQ")
READ_IN = Struct("=QQIIQII")
WRITE_IN = READ_IN
WRITE_OUT = Struct("=II")
STATFS_OUT = Struct("=QQQQQIIII24x")
FSYNC_IN = Struct("=QII")
SETXATTR_IN = Struct("=II")
GETXATTR_IN = Struct("=II")
GETXATTR_OUT = Struct("=II")
FALLOCATE_IN = Struct("=QQQII")
LSEEK_IN = Struct("=QQII")
LSEEK_OUT = Struct("=Q")
INVAL_INODE_OUT = Struct("=Qqq")
INVAL_ENTRY_OUT = Struct("=QII")

NOTIFY_INVAL_INODE = 2
NOTIFY_INVAL_ENTRY = 3

GETATTR_FH = 1
FATTR_MODE, FATTR_UID, FATTR_GID, FATTR_SIZE, FATTR_ATIME, FATTR_MTIME, FATTR_FH = (1 << bit for bit in range(7))
FATTR_ATIME_NOW, FATTR_MTIME_NOW = 1 << 7, 1 << 8
FOPEN_DIRECT_IO = 1

ASYNC_READ = 1 << 0
ATOMIC_O_TRUNC = 1 << 3
BIG_WRITES = 1 << 5
AUTO_INVAL_DATA = 1 << 12
DO_READDIRPLUS = 1 << 13
ASYNC_DIO = 1 << 15
WRITEBACK_CACHE = 1 << 16
PARALLEL_DIROPS = 1 << 18
MAX_PAGES = 1 << 22
# Without it the kernel asks for the xattr security.capability before every single write.
HANDLE_KILLPRIV_V2 = 1 << 28

MAX_REQUEST = 1 << 20
"""Bytes of data in one read or write: 256 pages, the most a kernel gives without its sysctl being raised."""
REQUEST_BUFFER = MAX_REQUEST + 4096


def pack_attr(st: os.stat_result, granularity_ns: int = 0) -> bytes:
    """``struct fuse_attr`` of ``st``; the modification time is cut down to a multiple of ``granularity_ns``."""
    asec, ans = divmod(st.st_atime_ns, 1_000_000_000)
    mtime = st.st_mtime_ns
    if granularity_ns:
        mtime -= mtime % granularity_ns
    msec, mns = divmod(mtime, 1_000_000_000)
    csec, cns = divmod(st.st_ctime_ns, 1_000_000_000)
    mask = 0xFFFFFFFFFFFFFFFF  # times before 1970 travel as unsigned
    rdev = st.st_rdev
    packed_rdev = (os.minor(rdev) & 0xFF) | (os.major(rdev) << 8) | ((os.minor(rdev) & ~0xFF) << 12) if rdev else 0
    return ATTR.pack(
        st.st_ino, st.st_size, st.st_blocks, asec & mask, msec & mask, csec & mask, ans, mns, cns,
        st.st_mode, st.st_nlink, st.st_uid, st.st_gid, packed_rdev, 4096, 0,
    )  # fmt: skip


def unpack_rdev(rdev: int) -> int:
    """The device number of a ``mknod`` request."""
    return os.makedev((rdev & 0xFFF00) >> 8, (rdev & 0xFF) | ((rdev >> 12) & 0xFFF00))


def pack_dirent(inode: int, offset: int, mode: int, name: bytes) -> bytes:
    """One entry of a listing, padded to eight bytes."""
    record = DIRENT.pack(inode, offset, len(name), stat.S_IFMT(mode) >> 12) + name
    return record + b"\0" * (-len(record) % 8)


def split_timeout(seconds: float) -> tuple[int, int]:
    """Whole seconds and nanoseconds."""
    return int(seconds), int(seconds % 1 * 1_000_000_000)
