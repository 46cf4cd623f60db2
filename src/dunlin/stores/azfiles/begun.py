"""Uploads of large files that go on where a killed run stopped.

A file of more than `CONTINUED` bytes is written under a temporary name, like any large one. As it grows its metadata
tells how much of it is there: after each `STEP` bytes sent, the end of what has arrived without a gap, and a digest of
that. When the transfer is interrupted in a way after which it makes sense to go on, the file gets a name made of its
path and size (``.dunlin-<16 digits>-0.part``, as unfinished downloads on a disk); what a killed run left under a
temporary name gets that name by whoever would otherwise remove it, because the run is known to be dead (`keep`).

Whoever writes the file next takes it by renaming it to a temporary name of its own. Of two only one can, and a zombie
that still sends to the old name finds nothing there: its pieces are refused. Pieces up to the mark are read, but not
sent. *Nothing is trusted but the content*: the digest is over the MD5s of the pieces, each of which the service has
compared, and has to be that of what is read now; if it is not, the source is another version, and all is sent anew.
Whatever had arrived behind the mark is cleared, since zeros are not sent, and have to be holes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dunlin.errors import DunlinError, ErrorKind
from dunlin.hashing import blake2b
from dunlin.model import join
from dunlin.stores.azfiles import smb
from dunlin.stores.azfiles.moving import rename
from dunlin.stores.azfiles.share import Share
from dunlin.stores.local.partial import part_name

CONTINUED = 100 * 1000 * 1000
"""Bytes; uploads of more are continued."""

STEP = 64 << 20
"""Bytes sent between two marks: each is a request."""

MARK = "dunlin-begun"


class Begun(NamedTuple):
    """What the metadata of a file that is being written tells: which it is, how many bytes are there, their digest."""

    version: str
    done: int
    chain: str


def version_of(path: str, size: int) -> str:
    """16 hexadecimal digits for a file of that size at a path of the share."""
    return blake2b(f"{size}\0{path}".encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def begun(metadata: Mapping[str, str]) -> Begun | None:
    """The mark in metadata; None where there is none that is worth anything."""
    version, _, rest = metadata.get(MARK, "").partition(" ")
    done, _, chain = rest.partition(" ")
    try:
        part_name(version)
        return Begun(version, int(done), chain) if int(done) > 0 else None
    except ValueError:
        return None


def keep(share: Share, path: str) -> bool:
    """Keep what a dead run has left at a temporary name, if it can be continued; whether it was kept."""
    found = share.look(path, False)
    mark = begun(found.metadata)
    if mark is None or found.size <= CONTINUED:
        return False
    rename(share, path, _part(path, mark.version), found.ident, {}, replace=True)
    return True


def _part(path: str, version: str) -> str:
    return join(path.rpartition("/")[0], part_name(version))


class Upload:
    """One large file on its way.

    Args:
        path, temporary: where it is to be, and its name until then. size: bytes.
        metadata: the headers that give the metadata it is to have.

    Attributes:
        done: bytes at its beginning that are there already, and need not be sent. ident: the id of what was taken.
    """

    def __init__(self, share: Share, path: str, temporary: str, size: int, metadata: Mapping[str, str]) -> None:
        self._share = share
        self._where = share.where(path)
        self._temporary = temporary
        self._metadata = metadata
        self._version = version_of(path, size)
        self._expected = ""
        self._chain = ""
        self._at = 0
        self._unmarked = 0
        self._proved = True
        self.done = 0
        self.ident = ""
        self._take(size)

    def _take(self, size: int) -> None:
        """Take over what was begun, if anything was."""
        try:
            rename(self._share, _part(self._temporary, self._version), self._temporary, "", {}, replace=False)
        except DunlinError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
            return
        found = self._share.look(self._temporary, False)
        mark = begun(found.metadata)
        if mark is not None and (mark.version, found.size) == (self._version, size):
            self.ident, self.done, self._expected = found.ident, mark.done, mark.chain
            self._proved = False
            if self.done < size:
                clear = {"x-ms-write": "clear", "x-ms-range": f"bytes={self.done}-{size - 1}"}
                query = (("comp", "range"),)
                self._share.ask("PUT", self._temporary, query, clear, operation="write", expects=201)

    def marked(self) -> dict[str, str]:
        """The headers that give the metadata while it is written."""
        mark = f"{self._version} {self._at} {self._chain}"
        return {**self._metadata, **smb.metadata_headers({MARK: mark})}

    def took(self, size: int, digest: str, sent: bool) -> None:
        """Note the next piece, of `size` bytes: all before it are there. `digest`: its MD5; "" for zeros.

        Raises CHECKSUM where what was taken over is of another content.
        """
        self._at += size
        self._chain = blake2b(f"{self._chain} {size} {digest}".encode(), digest_size=16).hexdigest()
        if not self._proved and self._at >= self.done:
            if (self._at, self._chain) != (self.done, self._expected):
                raise self._other()
            self._proved = True
        self._unmarked += size if sent else 0
        if self._unmarked >= STEP:
            self._unmarked = 0
            self._set(self.marked())

    def end(self) -> None:
        """All is there: the mark goes. Raises CHECKSUM."""
        if not self._proved:
            raise self._other()
        self._set(self._metadata)

    @property
    def worthwhile(self) -> bool:
        """Whether anything of it is there."""
        return self.done > 0 or self._at > 0

    def keep(self) -> None:
        """Leave it to the next one who writes the file. What was taken over and not proved keeps its old mark."""
        if self._proved:
            self._set(self.marked())
        part = _part(self._temporary, self._version)
        rename(self._share, self._temporary, part, self.ident, {}, replace=True)

    def _set(self, headers: Mapping[str, str]) -> None:
        self._share.ask("PUT", self._temporary, (("comp", "metadata"),), headers, operation="write")

    def _other(self) -> DunlinError:
        reason = "what an interrupted run left is of other content, so the file is sent anew"
        return DunlinError("write", self._where, ErrorKind.CHECKSUM, reason)
