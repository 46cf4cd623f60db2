"""What a share keeps beside content: SMB times and attributes, and metadata; from answers, to requests. Pure: no I/O.

**Times** have ticks of 100 ns, written with seven digits (``2019-04-10T17:35:06.1234567Z``). The last write is the
mtime of a file. A local file system counts in nanoseconds; so where the last two digits are not 0 the exact mtime goes
along as metadata, and counts as long as it agrees with the last write to the tick. Who writes to the file over SMB
thereby makes it void.

**POSIX.** mode, owner and atime are metadata under the names that objects use (`stores.objects.metadata`). A listing
tells no metadata: owner and atime are None there, `stat` and `fetch` know them.

**Extended attributes.** Four things that only a share has are extended attributes here, so that ``-X`` carries them
to wherever there are such, and back:

    user.dunlin.created      creation time          user.dunlin.attributes   ReadOnly|Hidden|…
    user.dunlin.changed      change time            user.dunlin.permission   SDDL, or binary: and base64

All others are metadata, ``xattr.`` and the name. A file that was written with the attributes of one that has none of
the four is marked (`PLAIN`), and shows none: else each comparison of the two would find them different.
"""

from __future__ import annotations

import calendar
import functools
import re
import time
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

from dunlin.model import DIRECTORY_BITS, PERMISSION_BITS, Facts
from dunlin.stores.base import Meta
from dunlin.stores.objects import azure_xml as xml
from dunlin.stores.objects import metadata as posix

TICK = 100
"""ns."""
OURS = "user.dunlin."
PLAIN = "dunlin-plain"
_XATTR = "xattr."
_NOT_PLAIN = re.compile(rb"[^a-z0-9._-]")


class Told(NamedTuple):
    """What an answer says of a file or directory. Times in ns since 1970, size in bytes."""

    directory: bool
    size: int
    etag: str
    created: int
    written: int
    changed: int
    attributes: str
    permission: str
    ident: str
    metadata: Mapping[str, str]

    @property
    def facts(self) -> Facts:
        """The facts of it."""
        ident = f"{self.ident} {self.etag}" if self.directory and self.ident else self.etag
        return facts(self.directory, self.size, self.written, self.changed, ident, self.metadata)


def facts(
    directory: bool, size: int, written: int, changed: int | None, ident: str, metadata: Mapping[str, str] | None
) -> Facts:
    """Facts from their parts; `ident`: a file's etag, a directory's FileId and etag; `metadata` None: not told."""
    if metadata is None:
        mode = DIRECTORY_BITS if directory else 0o100000
        return (mode, size, written, None, None, changed, 1, 0, ident, None, 0)
    mode, _, mtime, uid, gid, _, _, _, _, atime, _ = posix.facts(size, written, ident, metadata)
    if mtime is None or mtime // TICK != written // TICK:
        mtime = written
    if "atime" not in metadata:
        atime = mtime
    if directory:
        mode = DIRECTORY_BITS | (mode & PERMISSION_BITS)
    return (mode, size, mtime, uid, gid, changed, 1, 0, ident, atime, 0)


# ---- times ----


def read_time(text: str) -> int:
    """ns since 1970. Raises ValueError."""
    if len(text) != 28 or text[27] != "Z":
        whole, _, rest = text.removesuffix("Z").partition(".")
        return _second(whole) + int(f"{rest:0<9.9}") if rest else _second(whole)
    return _second(text[:19]) + int(text[20:27]) * TICK


@functools.lru_cache(65536)
def _second(text: str) -> int:
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%S")) * 1_000_000_000


def time_text(moment: int) -> str:
    """ns since 1970 as the service writes them, what is below a tick cut off."""
    second, rest = divmod(moment, 1_000_000_000)
    whole = time.gmtime(second)
    return f"{whole.tm_year:04}-{time.strftime('%m-%dT%H:%M:%S', whole)}.{rest // TICK:07d}Z"


# ---- answers ----


def told(headers: Mapping[str, str], directory: bool) -> Told:
    """What the headers of an answer say. Raises KeyError, ValueError for those that are not the service's."""
    _, _, whole = headers.get("content-range", "").rpartition("/")
    size = 0 if directory else int(whole or headers.get("x-ms-content-length") or headers["content-length"])
    begin = "x-ms-meta-"
    found = {name[len(begin) :]: value for name, value in headers.items() if name.startswith(begin)}
    return Told(
        directory,
        size,
        headers["etag"].strip('"'),
        read_time(headers["x-ms-file-creation-time"]),
        read_time(headers["x-ms-file-last-write-time"]),
        read_time(headers["x-ms-file-change-time"]),
        headers["x-ms-file-attributes"],
        headers["x-ms-file-permission-key"],
        headers.get("x-ms-file-id", ""),
        xml.metadata_of(found),
    )


# ---- requests ----


def metadata_of(meta: Meta, kept: Mapping[str, str], directory: bool) -> dict[str, str]:
    """The metadata for `meta` over what is `kept`."""
    made = posix.metadata_of(meta, kept)
    if directory and meta.mode is not None:
        made["mode"] = f"{DIRECTORY_BITS | meta.mode:o}"
    if meta.mtime is not None and meta.mtime % TICK == 0:
        del made["mtime"]
    if meta.xattrs is None:
        return made
    space = meta.xattr_space
    for name in [name for name in made if name.startswith(_XATTR) and xattr_name(name).startswith(space)]:
        del made[name]
    for name, value in meta.xattrs.items():
        if not name.startswith(OURS):
            made[xattr_key(name)] = value.decode("utf-8", "surrogateescape")
    made.pop(PLAIN, None)
    if OURS.startswith(space) and not any(name.startswith(OURS) for name in meta.xattrs):
        made[PLAIN] = "1"
    return made


def metadata_headers(metadata: Mapping[str, str]) -> dict[str, str]:
    """The headers that give metadata."""
    return {f"x-ms-meta-{name}": value for name, value in xml.stored_metadata(metadata).items()}


def xattr_key(name: str) -> str:
    """The name of metadata for an extended attribute: the case of letters does not count there, so %HH keeps it."""
    raw = _NOT_PLAIN.sub(lambda match: b"%%%02x" % match[0][0], name.encode("utf-8", "surrogateescape"))
    return _XATTR + raw.decode("ascii")


def xattr_name(key: str) -> str:
    """The extended attribute that a name of metadata stands for."""
    return unquote(key.removeprefix(_XATTR), errors="surrogateescape")


def xattrs_of(what: Told, permission: str, space: tuple[str, ...]) -> dict[str, bytes]:
    """The extended attributes of what was told, those that begin with one of `space`."""
    found = {
        xattr_name(name): value.encode("utf-8", "surrogateescape")
        for name, value in what.metadata.items()
        if name.startswith(_XATTR)
    }
    if PLAIN not in what.metadata:
        found[OURS + "created"] = time_text(what.created).encode()
        found[OURS + "changed"] = time_text(what.changed).encode()
        found[OURS + "attributes"] = words(what.attributes).encode()
        found[OURS + "permission"] = permission.encode()
    return {name: value for name, value in found.items() if name.startswith(space)}


def words(attributes: str) -> str:
    """Attributes as they are set, without the one that says what is a directory."""
    kept = [word.strip() for word in attributes.split("|") if word.strip() not in ("Directory", "None", "")]
    return "|".join(kept) or "None"


def smb_headers(meta: Meta, permission_key: str = "") -> dict[str, str]:
    """The headers that give times and attributes. What `meta` says nothing of is left out."""
    headers = {}
    if meta.mtime is not None:
        headers["x-ms-file-last-write-time"] = time_text(meta.mtime)
    given = meta.xattrs or {}
    for name, header in (("created", "creation"), ("changed", "change")):
        value = given.get(OURS + name, b"").decode("ascii", "replace")
        if value and _is_time(value):
            headers[f"x-ms-file-{header}-time"] = value
    value = given.get(OURS + "attributes", b"").decode("ascii", "replace")
    if re.fullmatch(r"[A-Za-z]+(?:\|[A-Za-z]+)*", value):
        headers["x-ms-file-attributes"] = value
        headers["x-ms-file-property-semantics"] = "Restore"
    if permission_key:
        headers["x-ms-file-permission-key"] = permission_key
    return headers


def _is_time(text: str) -> bool:
    try:
        return bool(time_text(read_time(text)))
    except ValueError:
        return False


def permission_of(meta: Meta) -> str:
    """The security descriptor that `meta` asks for; "" for none."""
    return (meta.xattrs or {}).get(OURS + "permission", b"").decode("utf-8", "replace")
