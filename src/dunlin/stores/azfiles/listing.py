"""What List Directories and Files answers, and List Ranges.

A page is cut up by one regular expression that is a whole entry as the service writes it: elements in the documented
order, nothing between them, plain text in them (in names also the five entities that XML has by itself). The values of
all entries are then converted column by column, since calls are the cost: that is four times as fast as a parser that
calls into Python for each element. *Nothing is lost between two finds*: there has to be nothing between them, else (an
encoded name, another entity, an element in another place) expat reads the page as a whole.

Names with characters that XML cannot hold come escaped as in a URL, and say so (``Encoded="true"``). Content-Length may
be behind while an SMB client has the file open; ``x-ms-file-extended-info`` makes the service look, and tell FileIds,
by which a directory is known wherever it is moved: its identity is FileId and etag (a file's is its etag alone).

From the reference pages of the same names; the form of entries as in recorded answers of the service.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import unquote
from xml.parsers import expat

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import DIRECTORY_BITS, FILE_BITS, Facts
from dunlin.stores.azfiles.names import ESCAPE, name_of
from dunlin.stores.azfiles.smb import read_time
from dunlin.stores.objects.answers import stranger

INCLUDE = "Timestamps,ETag,Attributes,PermissionKey"
Named = tuple[str, Facts]


class Page(NamedTuple):
    """One page: names with facts, the attributes and permission key of each, and the marker of the next ("": last)."""

    rows: list[Named]
    attributes: list[str]
    permissions: list[str]
    token: str


_TEXT = r"[^<>&\x00-\x1f]"
_ENTRY = re.compile(
    (
        rf"<(File|Directory)><Name>((?!<){_TEXT}*+(?:&(?:amp|lt|gt|quot|apos);{_TEXT}*+)*+)</Name>(?:<FileId>([0-9]*+)</FileId>)?<Properties>"
        r"(?:<Content-Length>([0-9]{1,18}+)</Content-Length>)?"
        rf"<CreationTime>{_TEXT}++</CreationTime><LastAccessTime>{_TEXT}++</LastAccessTime>"
        rf"<LastWriteTime>({_TEXT}++)</LastWriteTime><ChangeTime>({_TEXT}++)</ChangeTime>"
        rf'<Last-Modified>{_TEXT}++</Last-Modified><Etag>"?+((?:(?!"){_TEXT})++)"?+</Etag></Properties>'
        rf"<Attributes>({_TEXT}*+)</Attributes><PermissionKey>({_TEXT}*+)</PermissionKey></\1>"
    ).encode()
)
_GROUPS = 9
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&"))
"""In the order in which they are undone: what stands behind an ampersand may look like another."""
_BEGIN = re.compile(rb"<EnumerationResults[ >](?:(?!<!)[\x01-\xff])*<Entries>\Z")
_END = re.compile(rb"\A</Entries><NextMarker(?: ?/>|>([^<>&]*)</NextMarker>)</EnumerationResults>\s*\Z")
_RANGE = re.compile(rb"<Range>\s*<Start>([0-9]+)</Start>\s*<End>([0-9]+)</End>\s*</Range>")


def page(body: bytes, where: str) -> Page:
    """The page of an answer. `where`: the directory, for errors. Raises NETWORK for what is none."""
    return _cut(body) or parsed(body, where)


def _cut(body: bytes) -> Page | None:
    pieces = _ENTRY.split(body)
    step = _GROUPS + 1
    gaps = pieces[::step]
    end = _END.match(gaps[-1]) if len(gaps) > 1 and not any(gaps[1:-1]) else None
    if end is None or _BEGIN.search(gaps[0]) is None:
        return None
    kinds, raw, ids, sizes, written, changed, etags, attributes, permissions = (
        pieces[at::step] for at in range(1, step)
    )
    try:
        names = _texts(raw)
        if b"&" in b"".join(raw):
            names = [_unescaped(name) if "&" in name else name for name in names]
        if any(ESCAPE in name for name in names):
            names = [name_of(name) for name in names]
        modes = [FILE_BITS if kind == b"File" else DIRECTORY_BITS for kind in kinds]
        idents = [
            b"%b %b" % (own, tag) if own and kind != b"File" else tag
            for kind, own, tag in zip(kinds, ids, etags, strict=True)
        ]
        rows: list[Named] = [
            (name, (mode, int(size or 0), mtime, None, None, ctime, 1, 0, tag, None, 0))
            for name, mode, size, mtime, ctime, tag in zip(
                names, modes, sizes, map(read_time, _texts(written)), map(read_time, _texts(changed)), _texts(idents),
                strict=True,
            )
        ]  # fmt: skip
        if any(mode == FILE_BITS and size is None for mode, size in zip(modes, sizes, strict=True)):
            return None
        return Page(rows, _texts(attributes), _texts(permissions), (end[1] or b"").decode())
    except ValueError:
        return None


def _unescaped(name: str) -> str:
    for entity, character in _ENTITIES:
        name = name.replace(entity, character)
    return name


def _texts(column: list[bytes]) -> list[str]:
    return b"\0".join(column).decode().split("\0")


def parsed(body: bytes, where: str) -> Page:
    """The page by expat."""
    found = Page([], [], [], "")
    fields: dict[str, str] = {}
    words: list[str] = []
    state = {"encoded": "", "token": "", "root": ""}

    def start(name: str, attributes: dict[str, str]) -> None:
        words.clear()
        if name == "Name":
            state["encoded"] = attributes.get("Encoded", "")

    def end(name: str) -> None:
        state["root"] = name
        text = "".join(words)
        words.clear()
        if name in ("File", "Directory"):
            _add(found, fields, name == "Directory")
            fields.clear()
        elif name == "NextMarker":
            state["token"] = text.strip()
        else:
            fields[name] = unquote(text) if name == "Name" and state["encoded"] == "true" else text

    parser: Any = expat.ParserCreate("utf-8")
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, words.append
    try:
        parser.Parse(body, True)
        if state["root"] != "EnumerationResults" or "Entries" not in fields:
            raise ValueError(f"a page of a directory was expected, and {state['root'][:40]} came")
    except (expat.ExpatError, KeyError, ValueError, OverflowError) as error:
        reason = f"the answer is not what Azure Files sends ({type(error).__name__}: {error})"
        hint = "is the endpoint that of a file service, and the share one of SMB?"
        raise DunlinError("list", where, ErrorKind.NETWORK, reason, hint) from error
    return found._replace(token=state["token"])


def _add(found: Page, fields: dict[str, str], directory: bool) -> None:
    size = 0 if directory else int(fields["Content-Length"])
    written, changed = read_time(fields["LastWriteTime"]), read_time(fields["ChangeTime"])
    mode = DIRECTORY_BITS if directory else FILE_BITS
    etag = fields["Etag"].strip('"')
    number = fields.get("FileId") if directory else ""
    ident = f"{number} {etag}" if number else etag
    found.rows.append((name_of(fields["Name"]), (mode, size, written, None, None, changed, 1, 0, ident, None, 0)))
    found.attributes.append(fields.get("Attributes", ""))
    found.permissions.append(fields.get("PermissionKey", ""))


def snapshots(body: bytes, share: str, where: str) -> tuple[list[tuple[str, str]], str]:
    """From a page of List Shares with metadata: id and mark of each snapshot that dunlin made of a share; the marker.

    Raises NETWORK for what is no such page.
    """
    from xml.etree import ElementTree

    try:
        tree = ElementTree.fromstring(body)
        if tree.tag != "EnumerationResults" or tree.find("Shares") is None:
            raise ValueError(tree.tag)
    except (ElementTree.ParseError, ValueError) as error:
        raise stranger("list the snapshots of", where, "Azure Files") from error
    found = [
        (each.findtext("Snapshot", ""), each.findtext("Metadata/run", ""))
        for each in tree.iterfind("Shares/Share")
        if each.findtext("Name") == share and each.findtext("Metadata/made_by") == "dunlin"
    ]
    return [(snapshot, mark) for snapshot, mark in found if snapshot], tree.findtext("NextMarker", "") or ""


def ranges(body: bytes, where: str) -> list[tuple[int, int]]:
    """(first byte, byte after the last) of what is allocated of a file. Raises NETWORK for what is no such answer."""
    if b"<Ranges" not in body[:200]:
        raise DunlinError("read", where, ErrorKind.NETWORK, "the answer is not what Azure Files sends (no Ranges)")
    return [(int(first), int(last) + 1) for first, last in _RANGE.findall(body)]
