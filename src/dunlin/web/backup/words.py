"""Names as addresses and JSON have them, and patience that ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from litestar import Request

from dunlin.web.problems import Refused

LONGEST = 64 << 10
"""Bytes of a path that is asked for."""


class Late(Exception):
    """There was no more time for it."""


def patience(seconds: float, clock: Callable[[], float] = time.monotonic) -> Callable[[], None]:
    """What raises `Late` when it is called after so many seconds."""
    end = clock() + seconds

    def look() -> None:
        if clock() > end:
            raise Late

    return look


def exact(request: Request[Any, Any, Any], name: str) -> str:
    """An argument of the address as the bytes that stand there, those that are no UTF-8 as surrogates. "": none."""
    raw: bytes = request.scope["query_string"]
    for part in raw.split(b"&"):
        key, _, value = part.partition(b"=")
        if unquote_to_bytes(key.replace(b"+", b" ")) == name.encode():
            if len(value) > LONGEST:
                raise Refused(400, f"`{name}` is too long")
            return unquote_to_bytes(value.replace(b"+", b" ")).decode("utf-8", "surrogateescape")
    return ""


def place_of(request: Request[Any, Any, Any]) -> str:
    """The path that a page is asked for: `path` of a link, or `place` of a form, escaped once more.

    What a browser does to the fields of a form (line breaks, bytes that are no text) it cannot do to that.
    """
    return exact(request, "path") or unescaped(exact(request, "place"))


def unescaped(place: str) -> str:
    """The path that `escaped` made this of."""
    return unquote_to_bytes(raw(place)).decode("utf-8", "surrogateescape")


def tidy(path: str) -> str:
    """A path in a snapshot without slashes around it."""
    return path.strip("/")


def text(name: bytes) -> str:
    """A name of the tree, bytes that are no UTF-8 as surrogates."""
    return name.decode("utf-8", "surrogateescape")


def raw(path: str) -> bytes:
    """A path as the tree has it."""
    return path.encode("utf-8", "surrogateescape")


def escaped(path: str) -> str:
    """A path as an address has it, with its slashes."""
    return quote(raw(path), safe="/")


def holds(name: str) -> bool:
    """Whether JSON can hold a name as it is."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
