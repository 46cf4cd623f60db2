"""Which names the service takes, when two are the same, and in which order a directory lists them.

From the reference page "Naming and referencing shares, directories, files, and metadata": names keep their case and
are found in any; a component has up to 255 characters, a path 2,048 and 250 components; `" \\ / : | < > * ?`, control
characters and the names of DOS devices are refused; dots at the end of a component are dropped unless the request
says `x-ms-allow-trailing-dot: true` (2022-11-02 and later). Characters count as UTF-16 code units. Two names are the
same when NTFS says so: character by character in upper case, no normal forms (é in NFC and in NFD are two names).

**Order.** The page of List Directories and Files says "intermingled in lexically sorted order" and not which collation.
Three can be had here: `folded` (upper case, UTF-16 code units: what NTFS does; the default), `bytes` (UTF-8), and
`shuffled` (neither; a client that trusts any order fails with it).
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Iterable
from urllib.parse import quote
from xml.sax.saxutils import escape

from tests.emulators.azure_files.wire import Refused, Request

LONGEST_NAME = 255
LONGEST_PATH = 2048
DEEPEST = 250
_REFUSED = re.compile(r'["\\/:|<>*?\x00-\x1f\x81]')
_DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CLOCK$", *(f"LPT{n}" for n in range(1, 10)), *(f"COM{n}" for n in range(1, 10))]
)
_SHARE = re.compile(r"[a-z0-9](-?[a-z0-9])+")
_NOT_XML = re.compile("[\ufffe\uffff]")

Order = Callable[[str], bytes]


@functools.lru_cache(65536)
def folded(name: str) -> str:
    """What two names have in common when they are the same name. Characters whose upper case is longer stay."""
    upper = name.upper()
    if len(upper) == len(name):
        return upper
    return "".join(c.upper() if len(c.upper()) == 1 else c for c in name)


ORDERS: dict[str, Order] = {
    "folded": lambda name: folded(name).encode("utf-16-be"),
    "bytes": lambda name: name.encode(),
    "shuffled": lambda name: hashlib.blake2b(name.encode(), digest_size=12).digest(),
}


def units(text: str) -> int:
    """Length in UTF-16 code units."""
    return len(text.encode("utf-16-le")) // 2


def share_name(name: str) -> str:
    """A share's name. Raises Refused when it may not be one."""
    if not 3 <= len(name) <= 63:
        raise Refused("OutOfRangeInput")
    if not _SHARE.fullmatch(name):
        raise Refused("InvalidResourceName")
    return name


def components(names: Iterable[str], request: Request, *, dots: str = "x-ms-allow-trailing-dot") -> tuple[str, ...]:
    """The components of a path in a share as the service uses them. Raises Refused."""
    keep = request.version >= "2022-11-02" and request.flag(dots)
    found = tuple(name if keep else name.rstrip(".") for name in names)
    if sum(map(units, found)) + len(found) - 1 > LONGEST_PATH or len(found) > DEEPEST:
        raise Refused("InvalidFileOrDirectoryPathName")
    for name in found:
        if units(name) > LONGEST_NAME:
            raise Refused("InvalidFileOrDirectoryPathName")
        if not name.strip(".") or _REFUSED.search(name) or name.upper() in _DEVICES:
            raise Refused("InvalidResourceName")
    return found


def element(tag: str, text: str) -> str:
    """A name in XML; one with U+FFFE or U+FFFF is escaped as in a URL and says so (2021-12-02 and later)."""
    if _NOT_XML.search(text):
        return f'<{tag} Encoded="true">{quote(text, safe="")}</{tag}>'
    return f"<{tag}>{escape(text)}</{tag}>"


def attribute(text: str) -> tuple[str, bool]:
    """A name as an attribute's value, and whether it had to be escaped as in a URL."""
    if _NOT_XML.search(text):
        return quote(text, safe=""), True
    return escape(text, {'"': "&quot;", "\n": "&#10;"}), False
