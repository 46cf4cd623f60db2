"""What the file systems of this machine can hold, by the type that the kernel states."""

from __future__ import annotations

import os
from dataclasses import replace

from dunlin.stores.base import Caps, Order
from dunlin.stores.local.posix import file_system

_POSIX = Caps(
    order=Order.NONE, modes=True, owners=True, links=True, hard_links=True, specials=True, xattrs=True
)
_PLAIN = Caps(order=Order.NONE, case_sensitive=False)

# Coarsest step between two mtimes, in ns: FAT counts in 2 s, exFAT in 10 ms, NTFS and SMB in 100 ns.
_BY_TYPE = {
    "vfat": replace(_PLAIN, mtime_precision=2_000_000_000),
    "msdos": replace(_PLAIN, mtime_precision=2_000_000_000),
    "exfat": replace(_PLAIN, mtime_precision=10_000_000),
    "ntfs3": replace(_POSIX, mtime_precision=100),
    "ntfs": replace(_POSIX, mtime_precision=100),
    "fuseblk": replace(_POSIX, mtime_precision=100),
    "cifs": replace(_POSIX, mtime_precision=100),
    "smb3": replace(_POSIX, mtime_precision=100),
    "hfsplus": replace(_POSIX, mtime_precision=1_000_000_000, case_sensitive=False, preserves_form=False),
    "ext2": replace(_POSIX, mtime_precision=1_000_000_000),
}


def local_caps(root: str, in_place: bool = False) -> Caps:
    """The caps of the file system that holds `root`, or will hold it: of its nearest existing parent.

    Case and spelling of shares depend on their server: `probe.probe_case` asks the share itself.
    """
    path = os.path.abspath(root)
    while not os.path.lexists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    caps = _BY_TYPE.get(file_system(path), _POSIX)
    try:
        longest = os.statvfs(path).f_namemax
    except (OSError, AttributeError):
        longest = 0
    return replace(caps, max_name=longest or 255, atomic_replace=not in_place)
