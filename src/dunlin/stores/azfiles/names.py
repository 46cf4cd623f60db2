"""Names of files and names in a share: every name has one spelling there, and comes back from it. Reversible.

A share takes 255 UTF-16 units per name and 2,048 per path, but not ``" \\ : | < > * ?``, control characters, U+0081, a
name of dots only, or the names of DOS devices; and nothing that is no Unicode text. Such names are written with the
escape character U+201B, here shown as E:

    refused character       E and its two hexadecimal digits       a:b is aE3ab
    first of dots only      likewise                               ...  is E2e..
    first of a device       likewise                               NUL is E4eUL
    undecodable byte        Ex and its two hexadecimal digits
    what looks as if it were escaped already, or holds both E and something to escape:    each E is doubled

`stored` escapes only where it must. A name in the share that `stored` makes of no other name is its own name, so what
people gave an E is found as it is. That two names never meet in one: what is escaped has an E that begins an escape,
and a name that looks so by itself has its own E doubled.
"""

from __future__ import annotations

import re

from dunlin.errors import DunlinError, ErrorKind

ESCAPE = "\u201b"
LONGEST_NAME = 255
LONGEST_PATH = 2048

_REFUSED = re.compile(r'["\\:|<>*?\x01-\x1f\x81]|[\udc80-\udcff]')
_WHOLE = re.compile(r"\.+|CON|PRN|AUX|NUL|CLOCK\$|(?:LPT|COM)[1-9]", re.IGNORECASE)
_ESCAPED = re.compile(f"{ESCAPE}(?:{ESCAPE}|(x?)([0-9a-f]{{2}}))")
_ODD = re.compile(
    rf'["\\:|<>*?\x00-\x1f\x81{ESCAPE}\ud800-\udfff]|(?:^|/)(?:\.*|CON|PRN|AUX|NUL|CLOCK\$|(?:LPT|COM)[1-9])(?:/|$)',
    re.IGNORECASE,
)


def stored(name: str) -> str:
    """The name in a share for one component of a path. Raises NAME for what is no name, or too long there."""
    if name in ("", ".", "..") or "\0" in name or "/" in name:
        raise _refused(name, "this is no name")
    if ESCAPE in name and (_needs(name) or _is_image(name)):
        name = name.replace(ESCAPE, ESCAPE + ESCAPE)
    if _WHOLE.fullmatch(name):
        name = f"{ESCAPE}{ord(name[0]):02x}{name[1:]}"
    name = _REFUSED.sub(_hexadecimal, name)
    try:
        units = len(name.encode("utf-16-le")) // 2
    except UnicodeEncodeError as error:
        raise _refused(name, "the name is no Unicode text") from error
    if units > LONGEST_NAME:
        raise _refused(name, f"a name in a share has up to {LONGEST_NAME} characters, with what is escaped in it")
    return name


def name_of(found: str) -> str:
    """The reverse of `stored`; what it makes of no name is its own name."""
    if ESCAPE not in found:
        return found
    return _undone(found) if _is_image(found) else found


def stored_path(path: str) -> str:
    """A path, "" for the root, as a share has it. Raises NAME."""
    if path and (len(path) > 60 or _ODD.search(path)):
        path = "/".join(map(stored, path.split("/")))
        if len(path) > LONGEST_PATH // 2 and len(path.encode("utf-16-le")) // 2 > LONGEST_PATH:
            raise _refused(path, f"a path in a share has up to {LONGEST_PATH} characters")
    return path


def _needs(name: str) -> bool:
    return _WHOLE.fullmatch(name) is not None or _REFUSED.search(name) is not None


def _is_image(name: str) -> bool:
    """Whether `stored` makes this name of another one."""
    other = _undone(name)
    try:
        return other != name and stored(other) == name
    except DunlinError:
        return False


def _undone(name: str) -> str:
    return _ESCAPED.sub(_undo, name)


def _undo(match: re.Match[str]) -> str:
    if match[2] is None:
        return ESCAPE
    return chr(int(match[2], 16) + (0xDC00 if match[1] else 0))


def _hexadecimal(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"{ESCAPE}x{code - 0xDC00:02x}" if code >= 0xDC00 else f"{ESCAPE}{code:02x}"


def _refused(name: str, reason: str) -> DunlinError:
    return DunlinError("store", name, ErrorKind.NAME, reason, "rename it")
