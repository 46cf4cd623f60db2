"""Which of the checksums that a service states of an object is compared, and how.

One is enough, so it is the cheapest. CRC-64/NVME and CRC32C run at 24 GB/s, crc32 at 4, SHA at 1.8 and MD5 at 0.8: MD5
alone costs more than receiving the bytes. All of them see the faults that wires and disks make, those of 32 bits all
but one in four billion; against somebody who changes content on purpose none helps, since what is stated would change
with it. The library for the CRCs takes 70 ms to load, so small objects are compared by MD5 where there is one.

What is not compared, because it is no checksum of the content: the composite checksums and etags of S3's objects of
parts (checksums of the parts' checksums, marked ``-N``). An object that states nothing else is checked by its length
only.
"""

from __future__ import annotations

from typing import NamedTuple

from dunlin import hashing
from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.base import Data
from dunlin.stores.objects.service import Object

SMALL = 64 << 10
"""Bytes up to which an object is compared by what needs no library."""

_CHEAP = ("crc64", "crc32c", "crc32", "sha1", "sha256", "md5")
_LIGHT = ("md5", "crc32", "sha1", "sha256", "crc64", "crc32c")
_BYTES = {"crc64": 8, "crc32c": 4, "crc32": 4, "sha1": 20, "sha256": 32, "md5": 16}


def cheapest(found: Object) -> tuple[str, bytes] | None:
    """The name of the checksum to compare (`hashing.stated`) and what it should be; None where nothing is stated."""
    told = dict(found.sums or ())
    if found.md5 is not None:
        told["md5"] = found.md5
    for name in _LIGHT if found.size <= SMALL else _CHEAP:
        # A digest of another length is a server's mistake (or another algorithm under that name).
        if len(told.get(name, b"")) == _BYTES[name]:
            return name, told[name]
    return None


class Proof(NamedTuple):
    """The checksum of a content while it arrives, and what the service says that it is."""

    name: str
    wanted: bytes
    hasher: hashing.Hasher

    def update(self, data: Data) -> None:
        """Take in the next bytes."""
        self.hasher.update(data)

    def check(self, where: str) -> None:
        """Raise CHECKSUM unless the content is what the service says it is."""
        if (digest := self.hasher.digest()) != self.wanted:
            name = self.name.upper()
            reason = f"the content has the {name} {digest.hex()}, the service states {self.wanted.hex()}"
            raise DunlinError("read", where, ErrorKind.CHECKSUM, reason)


def proof(found: Object) -> Proof | None:
    """What compares the whole content of an object; None where the service states nothing to compare it with."""
    told = cheapest(found)
    return None if told is None else Proof(*told, hashing.stated(told[0]))
