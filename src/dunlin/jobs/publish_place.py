"""A destination that is a directory of this machine, seen from what is published.

Theory. Where files are published into a directory of the same machine, `from` and the destination may lie in each
other. Then a job would find what it has just written, publish that as well (`pub/store/pub/store/…`, until names are
too long), and, where sources are deleted, remove what was published. So neither may lie below the other, by their
paths without links, or by device and inode, since one directory may be mounted in two places. What is found out at the
request may be otherwise a moment later, so the walk looks once more, and does not enter the destination wherever it
meets it.

What a run of dunlin, of any kind, has begun to write (`model.is_unfinished`) is no file yet, and is never published.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from dunlin.model import DEV, IDENT, Facts, is_within

Identity = tuple[int, int]
"""Device and inode."""


class Here(NamedTuple):
    """A destination on this machine.

    Attributes:
        path: absolute, without links; "": the destination is elsewhere.
        identity: of the directory; None: it is not there yet.
        above: of all directories above it that are there, and of itself.
    """

    path: str = ""
    identity: Identity | None = None
    above: frozenset[Identity] = frozenset()

    def shows(self, facts: Facts) -> bool:
        """Whether a directory that was listed is the destination."""
        return self.identity is not None and (facts[DEV], facts[IDENT]) == self.identity


ELSEWHERE = Here()


def look_here(path: str) -> Here:
    """The destination as it is now; `path`: "" where it is elsewhere."""
    if not path:
        return ELSEWHERE
    real = os.path.realpath(path)
    return Here(real, _identity(real), frozenset(_identities(real)))


def nested(real: str, here: Here) -> str:
    """What is wrong with publishing a path (absolute, without links) into a destination; "" where nothing is."""
    if not here.path:
        return ""
    own = _identity(real)
    if is_within(here.path, [real]) or (own is not None and own in here.above):
        return "the destination lies in it"
    if is_within(real, [here.path]) or (here.identity is not None and here.identity in _identities(real)):
        return "it lies in the destination"
    return ""


def _identity(path: str) -> Identity | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _identities(path: str) -> set[Identity]:
    found = set()
    while True:
        if (identity := _identity(path)) is not None:
            found.add(identity)
        above = os.path.dirname(path)
        if above == path:
            return found
        path = above
