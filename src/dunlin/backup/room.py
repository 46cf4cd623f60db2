"""Room in a repository that is full: a prune must write a little before it may remove anything.

What it writes (its lease, its mark, the index without what goes) is what keeps backups that begin meanwhile from
counting on what is about to go, so nothing can be removed before. A repository on a disk therefore holds an object that
means nothing, `RESERVE`: where there is no room for the little, it is removed, and it is put back at the end. Buckets
are never full and have none; from an append-only repository nothing may be removed, so it has none either.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from dunlin.backup.objects import Objects
from dunlin.errors import DunlinError, ErrorKind

RESERVE = "dunlin-reserve"
SIZE = 256 << 10
"""Bytes of the reserve: a mark of some thousands of objects. By chance, since some file systems store no zeros."""

T = TypeVar("T")


def keep(objects: Objects) -> None:
    """See that there is a reserve, if there is room for one."""
    if objects.limited and not objects.append_only:
        with suppress(DunlinError):
            if objects.find(RESERVE) is None:
                objects.put(RESERVE, secrets.token_bytes(SIZE))


def made(objects: Objects, call: Callable[[], T]) -> T:
    """What `call`, which writes, returns; it is called again without the reserve where there is no room for it."""
    try:
        return call()
    except DunlinError as error:
        if error.kind is not ErrorKind.NO_SPACE or objects.find(RESERVE) is None:
            raise
    objects.remove([RESERVE])
    return call()
