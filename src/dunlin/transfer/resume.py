"""Large objects that are fetched over many runs: which version is continued, and how the whole is still proved.

What arrived of an interrupted download is kept under a name made of the version: the place and path it comes from, its
etag and its size (`stores.local.partial`). The bytes that are there are read once more when the download goes on,
since a digest has to begin at the first byte. Where the service states a checksum, that of the whole is compared with
it before the last bytes are written, so that a beginning that was damaged meanwhile is never taken for good.
"""

from __future__ import annotations

from typing import NamedTuple

from dunlin import hashing
from dunlin.errors import DunlinError, ErrorKind
from dunlin.hashing import blake2b
from dunlin.model import IDENT, SIZE, Entry, Facts, join
from dunlin.pace.bucket import Paces
from dunlin.stores.base import Data, StatesDigests, Store, power

CONTINUED = 100 * 1000 * 1000
"""Bytes; downloads of more are continued where they were interrupted."""


class Resumable(NamedTuple):
    """A version that may be continued; name and value of the checksum that is stated of it, None where none is."""

    version: str
    stated: tuple[str, bytes] | None


def version_of(source: Store, path: str, facts: Facts) -> str:
    """16 hexadecimal digits for the content of a large object; "" for what is not worth it, or has no etag."""
    if not source.caps.far or facts[SIZE] <= CONTINUED or not facts[IDENT]:
        return ""
    told = "\0".join((join(source.url, path), str(facts[IDENT]), str(facts[SIZE])))
    return blake2b(told.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def resumable(source: Store, entry: Entry) -> Resumable | None:
    """What is needed to continue the download of `entry`; None: it is not continued. One request, for large ones."""
    version = version_of(source, entry.path, entry.facts)
    if not version:
        return None
    states = power(source, StatesDigests)
    return Resumable(version, states.stated_digest(entry) if states is not None else None)


class Witness:
    """The digest of a whole whose beginning was there already.

    Args:
        checksum: the algorithm wanted; "none" for none.
        stated: the name of a checksum, and what that of the whole must be; None: nobody knows.
        bucket: when it is stopped, so is the reading of what is there.
    """

    def __init__(self, checksum: str, stated: tuple[str, bytes] | None, where: str, bucket: Paces) -> None:
        self.seen_bytes = 0
        self._hasher = hashing.new(checksum)
        self._other: hashing.Hasher | None = None
        self._wanted: bytes | None = None
        if stated is not None:
            name, self._wanted = stated
            self._other = self._hasher if name == checksum else hashing.stated(name)
        self._where = where
        self._bucket = bucket

    def see(self, data: Data) -> None:
        """Take in bytes that are there already. Raises INTERRUPTED."""
        if self._bucket.stopped:
            raise DunlinError("copy", self._where, ErrorKind.INTERRUPTED, "the run was stopped")
        self.seen_bytes += len(data)
        self.update(data)

    def update(self, data: Data) -> None:
        """Take in the next bytes."""
        if self._hasher is not None:
            self._hasher.update(data)
        if self._other is not None and self._other is not self._hasher:
            self._other.update(data)

    def digest(self) -> bytes | None:
        """The digest that is wanted. Raises CHECKSUM when the content is not what its service says it is."""
        if self._other is not None and self._other.digest() != self._wanted:
            reason = "what an interrupted run left is damaged, so the file is fetched anew"
            raise DunlinError("read", self._where, ErrorKind.CHECKSUM, reason)
        return self._hasher.digest() if self._hasher is not None else None
