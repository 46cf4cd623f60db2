"""How names, numbers and codes are written into the state file.

Names are `str` with ``surrogateescape`` (see `model`). SQLite's TEXT must be valid UTF-8, so a name that
is not goes in as a BLOB of its raw bytes. A BLOB sorts after every TEXT, and UTF-8 bytes compare as
code points do, so TEXT rows alone come in the order of `model.sort_key`.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

Name = str | bytes
"""A name or path as SQLite holds it."""


class FileStatus(enum.IntEnum):
    """What became of a file; the words are those of the views."""

    PENDING = 0
    SYNCED = 1
    FAILED = 2
    SKIPPED = 3


class DirectoryStatus(enum.IntEnum):
    """How far a directory is: to be listed, listed with files pending, finished, not finished for an error."""

    QUEUED = 0
    SCANNED = 1
    DONE = 2
    FAILED = 3


class Target(enum.IntEnum):
    """What is known of a directory at the destination."""

    UNKNOWN = 0
    PRESENT = 1
    ABSENT = 2
    EXTRA = 3


RUN_STATUS = ("running", "completed", "failed", "interrupted")

MAX = (1 << 63) - 1
MIN = -(1 << 63)


def encode_name(name: str) -> Name:
    """The name as TEXT, or as the BLOB of its raw bytes when it is not valid UTF-8."""
    if name.isascii():
        return name
    try:
        name.encode()
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogateescape")
    return name


def decode_name(stored: Name) -> str:
    """The inverse of `encode_name`."""
    return stored if isinstance(stored, str) else stored.decode("utf-8", "surrogateescape")


def signed(number: int) -> int:
    """An unsigned 64-bit number (inode, device) as SQLite's signed one; keeps equality, not order."""
    return number if -MAX <= number <= MAX else (number & (2 * MAX + 1)) - 2 * MAX - 2


def fit(values: Sequence[Any]) -> tuple[Any, ...]:
    """Values that SQLite refused, made to fit: text with lone surrogates as raw bytes, integers clamped.

    Times beyond the year 2262 exist (a corrupt inode is enough): one such file must not end a run.
    """
    return tuple(
        encode_name(v) if isinstance(v, str) else max(MIN, min(MAX, v)) if isinstance(v, int) else v for v in values
    )
