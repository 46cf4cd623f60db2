"""Which keys may be published to and asked for: the rules of `/publish` and `/check`. Pure: no I/O.

A key is what a file is called in the destination of the service: 1 to 1,024 bytes of UTF-8, names with ``/`` between
them. Refused is what could mean two things to two programs: empty names (``a//b``, a slash in front or at the end),
``.`` and ``..``, control characters, a backslash. Separators of Windows are turned into ``/`` before a key is checked,
where it is made of a path (`as_key`). A key must begin with one of the allowed prefixes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from dunlin.errors import DunlinError, ErrorKind, printable

LONGEST = 1024
"""Bytes of a key: what S3 allows."""

NOT_ALLOWED = "key not allowed: must start with allowed prefix"


def as_key(text: str) -> str:
    """A path or prefix as part of a key: the separators of Windows become ``/``."""
    return text.replace("\\", "/")


def key_fault(key: str) -> str:
    """What is wrong with a key, in words; "" where nothing is."""
    if not key:
        return "the key is empty"
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return "the key is not valid UTF-8"
    if size > LONGEST:
        return f"the key has {size} bytes, {LONGEST} are allowed"
    if "\\" in key:
        return "the key holds a backslash"
    if not key.isprintable() and any(unicodedata.category(character) == "Cc" for character in key):
        return "the key holds a control character"
    if "//" in key or key[0] == "/" or key[-1] == "/":
        return "the key has an empty name: a slash in front, at the end, or two in a row"
    if "." in key and not {".", ".."}.isdisjoint(key.split("/")):
        return "the key holds a '.' or '..' component"
    return ""


def is_allowed(key: str, prefixes: Sequence[str]) -> bool:
    """Whether a key, or the prefix of many keys, begins with one of the prefixes."""
    return key.startswith(tuple(prefixes))


def check_key(key: str, prefixes: Sequence[str]) -> None:
    """Raise USAGE for what can be no key, DENIED for one outside the prefixes."""
    if fault := key_fault(key):
        raise DunlinError("check the key", printable(key[:LONGEST]), ErrorKind.USAGE, fault)
    if not is_allowed(key, prefixes):
        # No place: the store's own refusal has one.
        raise DunlinError("check the key", "", ErrorKind.DENIED, NOT_ALLOWED)
