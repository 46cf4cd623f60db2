"""How transfers are made; nothing in here decides *whether* something is transferred."""

from __future__ import annotations

from typing import NamedTuple

from dunlin.filters import Selection
from dunlin.model import ATIME, GID, MODE, MTIME, PERMISSION_BITS, UID, Facts
from dunlin.stores.base import Meta

ACL_SPACE = ("system.posix_acl_access", "system.posix_acl_default")


class Options(NamedTuple):
    """How the bytes and the metadata of a run are moved. Sizes in bytes.

    Attributes:
        checksum: a name of `hashing.ALGORITHMS`; "none" for no checksum.
        block_size, queue_capacity: caps on one file's pipeline: bytes per block, blocks in flight.
        buffer_bytes: the budget for all pipelines of the process tree together.
        in_place: write into the final name instead of a temporary one.
        sparse: leave holes where blocks hold only zeros.
        fsync: "none", "checkpoint" (the destination is flushed in the background) or "file".
        perms, owner, group, groups: metadata applied beside the times (see `plan.Policy`).
        xattrs, acls: extended attributes, access control lists.
        hard_links: files with several names are left to the coordinator.
        attempts: how often a file that is corrupted or changes while it is read is tried.
        window: two mtimes that differ by no more than this many ns are equal.
        clear: a directory that is not empty may be removed where a file belongs, with the extras, unless it holds
            a name that `protected` keeps out of the transfer.
    """

    checksum: str = "blake3"
    block_size: int = 5 << 20
    queue_capacity: int = 20
    buffer_bytes: int = 64 << 20
    in_place: bool = False
    sparse: bool = False
    fsync: str = "checkpoint"
    perms: bool = False
    owner: bool = False
    group: bool = False
    groups: frozenset[int] | None = None
    xattrs: bool = False
    acls: bool = False
    hard_links: bool = False
    attempts: int = 3
    clear: bool = False
    window: int = 0
    protected: Selection | None = None

    @property
    def xattr_space(self) -> tuple[str, ...]:
        """Prefixes of the extended attributes that are kept."""
        spaces: tuple[str, ...] = ()
        if self.xattrs:
            spaces += ("user.", "trusted.", "security.")
        return spaces + ACL_SPACE if self.acls else spaces

    def meta(self, facts: Facts, xattrs: dict[str, bytes] | None = None) -> Meta:
        """The metadata to apply for a source entry with these facts. An owner of None: it has no POSIX attributes."""
        if facts[UID] is None:
            return Meta(
                mtime=facts[MTIME],
                atime=facts[ATIME] if facts[ATIME] is not None else facts[MTIME],
                xattrs=xattrs,
                xattr_space=self.xattr_space if xattrs is not None else (),
            )
        give_group = self.group and (self.groups is None or facts[GID] in self.groups)
        return Meta(
            mode=facts[MODE] & PERMISSION_BITS if self.perms and facts[MODE] is not None else None,
            uid=facts[UID] if self.owner else None,
            gid=facts[GID] if give_group else None,
            mtime=facts[MTIME],
            atime=facts[ATIME] if facts[ATIME] is not None else facts[MTIME],
            xattrs=xattrs,
            xattr_space=self.xattr_space if xattrs is not None else (),
            like=facts[MODE],
        )


BEST_BLOCK = 1 << 20
MOST_LARGE = 16
"""Large blocks of one file at most: each is a request to a store far away."""
ARRIVING = 2 << 20
"""Bytes of the blocks in which a large object arrives where any will do. A range fills several of them, so they need
not be worth a request, and the smaller they are, the less waits at each step of the pipeline; they are larger only
where `MOST_LARGE` of them would not be all that may be used."""


def pipeline_shape(options: Options, size: int, share: int, large: int = 0) -> tuple[int, int]:
    """(bytes per block, blocks) of one file's pipeline.

    Args:
        size: bytes of the file.
        share: bytes of the buffer budget that this pipeline may use.
        large: bytes of the blocks in which a store far away sends and receives best; 0: there is none.

    Blocks of 1 MiB are as fast as larger ones and keep what is in flight in the processor's cache. Each block
    that comes from far away is a request, and several are under way, so there they are larger, and as many as the
    share allows. `--block-size` and `--queue-capacity` are caps, and at least two blocks are needed for reading and
    writing to overlap; but a file of one block needs one.
    """
    whole = max(size, 4096)
    if large:
        block = max(4096, min(options.block_size, large, whole, max(share // 2, BEST_BLOCK)))
        return block, max(1, min(options.queue_capacity, MOST_LARGE, share // block, -(-whole // block)))
    block = max(4096, min(options.block_size, BEST_BLOCK, share // 2, whole))
    count = max(2, min(options.queue_capacity, 8, share // block))
    return block, count
