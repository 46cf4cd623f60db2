"""Keys and paths: every legal key has one path, every path that can be stored has one key. Reversible.

An object key is any string: ``a//b``, ``../x``, ``/lead``, ``dir/`` are keys. A path of a store consists of
names that a directory can hold. The two are the same text as long as every component of the key is such a
name; components that are not are written with the escape character U+201B, here shown as E:

    component          name
    ""                 E_          (a//b is a/E_/b, /lead is E_/lead)
    "."   ".."         E2e   E2e.
    NUL                E00         a byte in hexadecimal
    .dunlin-*.tmp      E2edunlin-*.tmp, likewise .part: files of such names are taken for dunlin's temporary ones
    what looks as if it were escaped already,     each E is doubled
    or holds both E and NUL

`name_of` escapes only where it must: a component that no rule touches, even with an E in it that begins no
escape, is its own name. Two keys never share a name: if `name_of(b) == a`, then undoing the escapes of `a`
gives `b`, so `a` looks escaped and its own name is another one.

A name that looks escaped but is not what `name_of` makes of any component (a person may have made it) has
no key: `key_of` raises NAME, and the file is reported. So does a name that is not valid UTF-8.

A key that ends in ``/`` and has no content is a *directory marker*: it stands for the directory itself.
"""

from __future__ import annotations

import re

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import is_unfinished

ESCAPE = "\u201b"
EMPTY = ESCAPE + "_"
"""The name of an empty component."""

_ESCAPED = re.compile(f"{ESCAPE}(?:{ESCAPE}|[0-9a-f]{{2}})")


def name_of(component: str) -> str:
    """The name in a directory for one component of a key."""
    if component == "":
        return EMPTY
    if ESCAPE in component and ("\0" in component or component == EMPTY or _ESCAPED.search(component)):
        component = component.replace(ESCAPE, ESCAPE + ESCAPE)
    if component in (".", "..") or is_unfinished(component):
        component = f"{ESCAPE}2e{component[1:]}"
    return component.replace("\0", f"{ESCAPE}00")


def component_of(name: str) -> str:
    """The reverse of `name_of`. Raises NAME for a name that it never makes."""
    component = name
    if ESCAPE in name:
        component = "" if name == EMPTY else _ESCAPED.sub(_undo, name)
    never = "\0" in name or name in ("", ".", "..") or is_unfinished(name)
    if never or (component != name and name_of(component) != name):
        raise DunlinError("store", name, ErrorKind.NAME, "the name looks like an escaped one and is none", "rename it")
    if not name.isascii():
        try:
            component.encode()
        except UnicodeEncodeError as error:
            reason = "the name is not valid UTF-8, and keys of objects must be"
            raise DunlinError("store", name, ErrorKind.NAME, reason, "rename it") from error
    return component


def _undo(match: re.Match[str]) -> str:
    text = match[0][1:]
    return ESCAPE if text == ESCAPE else chr(int(text, 16))


def path_of(key: str) -> str:
    """The path of a key that stands below the root; ``""`` for the empty key."""
    if not key or _is_plain(key):
        return key
    return "/".join(name_of(component) for component in key.split("/"))


def key_of(path: str) -> str:
    """The key of a path; ``""`` for the root. Raises NAME."""
    if not path or _is_plain(path):
        return path
    return "/".join(component_of(name) for name in path.split("/"))


_ODD = re.compile(rf"[{ESCAPE}\0\ud800-\udfff]|(?:^|/)(?:\.{{0,2}}|\.dunlin-[^/]*)(?:/|$)")


def _is_plain(text: str) -> bool:
    return _ODD.search(text) is None
