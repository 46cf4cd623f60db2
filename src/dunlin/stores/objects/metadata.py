"""What a file carries beside its content, as metadata of an object. Pure: no I/O.

An object has no owner, no mode and no time but that of its upload. They travel as user metadata, under the names
and in the forms that rclone uses, so that either program restores what the other stored:

    mtime, atime   seconds since 1970 with nine decimals, as in 1700000000.123456789
    mode           st_mode in octal, as in 100644
    uid, gid       decimal

RFC 3339 times are read as well (2023-11-14T22:13:20.123456789Z). A value that is none of this, or that no file
could have, is taken for absent: other programs may use the same names for something else.

Not told and not there are two things. `Object.metadata` is None where an answer does not tell metadata (the
listing of S3): the mtime is unknown then, and None. It is {} where the object has none: the mtime is the time of
the upload then, the best there is. An owner of None says that the object carries no POSIX attributes, and that the
mode bits, 0, mean nothing.
"""

from __future__ import annotations

import functools
import re
import stat
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from dunlin.model import DIRECTORY_BITS, FILE_BITS, PERMISSION_BITS, Facts
from dunlin.stores.base import Meta
from dunlin.stores.objects.service import Object

DIRECTORY: Facts = (DIRECTORY_BITS, 0, None, None, None, None, 1, 0, 0, None, 0)
"""The facts of every directory: a common prefix of keys has no times and no owner."""

_SECONDS = re.compile(r"(-?)(\d{1,11})(?:\.(\d*))?", re.ASCII)
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_NONE: Mapping[str, str] = MappingProxyType({})


def facts_of(what: Object) -> Facts:
    """The facts of an object as a file."""
    return facts(what.size, what.modified, what.etag, what.metadata)


def facts(size: int, modified: int | None, etag: str, metadata: Mapping[str, str] | None) -> Facts:
    """The same from its parts; `modified` in ns since 1970, None where it is not known."""
    if not metadata:
        mtime = None if metadata is None else modified
        return (FILE_BITS, size, mtime, None, None, modified, 1, 0, etag, mtime, 0)
    mtime = read_time(metadata.get("mtime", ""))
    if mtime is None:
        mtime = modified
    atime = read_time(metadata.get("atime", ""))
    return (
        FILE_BITS | _read_mode(metadata.get("mode", "")),
        size,
        mtime,
        _read_owner(metadata.get("uid", "")),
        _read_owner(metadata.get("gid", "")),
        modified,
        1,
        0,
        etag,
        mtime if atime is None else atime,
        0,
    )


def metadata_of(meta: Meta, kept: Mapping[str, str] = _NONE) -> dict[str, str]:
    """The metadata for `meta`, over what is `kept`: names that `meta` says nothing about stay as they are."""
    made = dict(kept)
    if meta.mtime is not None:
        made["mtime"] = time_text(meta.mtime)
    if meta.atime is not None:
        made["atime"] = time_text(meta.atime)
    if meta.mode is not None:
        made["mode"] = f"{stat.S_IFREG | meta.mode:o}"
    if meta.uid is not None:
        made["uid"] = str(meta.uid)
    if meta.gid is not None:
        made["gid"] = str(meta.gid)
    return made


def time_text(moment: int) -> str:
    """`moment`, ns since 1970, as seconds with nine decimals."""
    seconds, nanoseconds = divmod(abs(moment), 1_000_000_000)
    return f"{'-' if moment < 0 else ''}{seconds}.{nanoseconds:09d}"


def read_time(text: str) -> int | None:
    """ns since 1970 of a time in decimal seconds or RFC 3339; digits beyond the ninth are dropped. None: neither."""
    if len(text) == 20 and text[10] == ".":
        # The usual form, twice for each object of a listing: no pattern is needed for it.
        digits = text[:10] + text[11:]
        if digits.isascii() and digits.isdigit():
            return int(digits)
    if match := _SECONDS.fullmatch(text):
        sign, whole, fraction = match.groups()
        moment = int(whole) * 1_000_000_000 + _nanoseconds(fraction)
        moment = -moment if sign else moment
    elif match := _RFC3339.fullmatch(text):
        day, clock, fraction, zone = match.groups()
        try:
            whole_seconds = int(datetime.fromisoformat(f"{day}T{clock}{zone.upper()}").timestamp())
        except (ValueError, OverflowError):
            return None
        moment = whole_seconds * 1_000_000_000 + _nanoseconds(fraction)
    else:
        return None
    # What does not fit 64 bits can be neither set on a file nor kept in the state.
    return moment if -(1 << 63) <= moment < 1 << 63 else None


def _nanoseconds(fraction: str | None) -> int:
    return int(f"{fraction or '':0<9.9}")


@functools.lru_cache(1024)
def _read_mode(text: str) -> int:
    return int(text, 8) & PERMISSION_BITS if re.fullmatch("[0-7]{1,7}", text) else 0


@functools.lru_cache(1024)
def _read_owner(text: str) -> int | None:
    # 2 ** 32 - 1 is chown's way of saying "leave it".
    return owner if re.fullmatch(r"[0-9]{1,10}", text) and (owner := int(text)) < 0xFFFFFFFF else None
