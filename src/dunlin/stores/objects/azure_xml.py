"""What Azure Blob answers in XML: listings, block lists, errors; and the one list that we send.

A listing has some 25 elements per blob, most of them of no use here, and expat calls into Python for each. So a page
is cut up by one regular expression that is a whole ``<Blob>`` as the service writes it: elements in the documented
order, nothing between them, plain text in them. What it finds needs no other parser; values are converted column by
column, as the calls that stay are the cost. *Nothing is lost between two finds*: what is left over (the frame of the
page, prefixes, each blob with an entity, an encoded name, an element in another place or anything else that is not
plain) is a small page of its own, a ``<cut-out/>`` (no metadata has a hyphen) where blobs stood, and goes to expat.
Its blobs are then put between the others where they stood. What looks like a blob inside of a comment, a CDATA section
or a processing instruction is none; but these begin outside of it, so a page that has one is read by expat as a whole,
and so is one of another shape or with white space between its elements: nothing in it is found.

*With expat* there is one handler, for the end of an element, as calls are the cost here too. It notes every element
with its text, and what they belong to is known when the group around them ends; the service documents their order
(name, properties, metadata). Half of all elements are cut out of the text before, by a search for what can be nothing
else (text holds no ``<``), which costs a tenth of parsing them. Starts are looked at only where a name is encoded, or
where there is white space between elements, which the service does not send: a start cuts it off from the text that
follows.

Names are taken verbatim. Characters that XML cannot hold (U+FFFE, U+FFFF) make the service escape the whole name and
say so (``<Name Encoded="true">``, since version 2021-02-12).

A blob with the metadata ``hdi_isfolder`` is no object but stands for a directory: so do all directories of accounts
with a hierarchical namespace look. It is given the key of a directory marker, its name and a slash.

**Metadata.** The service takes names that are identifiers (ASCII letters, digits and ``_``, no digit first) and values
of printable ASCII. Whatever else there is to be stored is escaped, and undone when it is read:

    name     each other character, and a leading digit, is _xHHHH_ (UTF-16 in hexadecimal, as .NET's XmlConvert does)
    value    each byte of UTF-8 outside printable ASCII, and spaces at the ends or in runs, is %HH; so is % itself then

Text that needs no escape is stored as it is, also with a ``%`` in it, as long as it does not look escaped. Text that is
not exactly what the rule makes of some text was written by others, and is returned as it is.
"""

from __future__ import annotations

import binascii
import calendar
import functools
import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import unquote
from xml.parsers import expat

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.objects.service import Object, Page

FOLDER = "hdi_isfolder"
_MONTHS = {"JanFebMarAprMayJunJulAugSepOctNovDec"[at : at + 3]: at // 3 + 1 for at in range(0, 36, 3)}


def listing(body: bytes, where: str) -> Page:
    """The page of a List Blobs answer. `where`: the container's URL, for errors. Raises NETWORK for what is none."""
    return _cut(body, where) or parsed(body, where)[0]


# ---- by one regular expression ----


def _cut(body: bytes, where: str) -> Page | None:
    """The page, its plain blobs cut out of it and only the rest parsed; None where all of it has to be parsed."""
    pieces = _BLOB.split(body)
    gaps = pieces[:: _BLOB.groups + 1]
    filled = [at for at, gap in enumerate(gaps) if gap]
    rest = b"<cut-out/>".join([gaps[at] for at in filled])
    head = _HEAD.match(gaps[0])
    # Without a gap at both ends it is no page; comments and the like could hold what looks as if it were a blob.
    if len(filled) < 2 or head is None or b"<!" in rest or rest.find(b"<?", head.end()) >= 0:
        return None
    try:
        plain = _plain(pieces)
    except ValueError:
        return None
    page, runs = parsed(rest, where)
    if len(runs) != len(filled) - 1:
        return None
    objects: list[Object] = []
    done = 0
    for (first, behind), before in zip(itertools.pairwise(filled), runs, strict=True):
        objects += page.objects[done:before]
        objects += plain[first:behind]
        done = before
    objects += page.objects[done:]
    return page._replace(objects=objects)


def _plain(pieces: list[bytes]) -> list[Object]:
    """The objects of all blobs that `_BLOB` has found. Raises ValueError where a value is none after all."""
    step = _BLOB.groups + 1
    names, times, etags, sizes, digests, tiers, _, first, values, more = (pieces[at::step] for at in range(1, 11))
    moments = {time: time_of(time.decode()) for time in set(times)}
    keys = _texts(names)
    metadata = _stored(first, values, more)
    if any(FOLDER in stored for stored in metadata):
        keys = [f"{key}/" if stored.get(FOLDER) == "true" else key for key, stored in zip(keys, metadata, strict=True)]
    rows = zip(
        keys,
        map(int, sizes),
        map(moments.__getitem__, times),
        _texts(etags),
        metadata,
        [binascii.a2b_base64(digest) if digest else None for digest in digests],
        [tier == b"Archive" for tier in tiers],
        strict=True,
    )
    return list(itertools.starmap(Object, rows))


def _stored(names: list[bytes], values: list[bytes], more: list[bytes]) -> list[dict[str, str]]:
    """Metadata of blobs from the name and the value of their first, and the elements of all others."""
    # There is no name where there is no metadata: the service has none without.
    found = [
        {_name(name): value_of(value) if "%" in value else value} if name else {}
        for name, value in zip(names, _texts([value or b"" for value in values]), strict=True)
    ]
    for at, elements in enumerate(more):
        if elements:
            stored = {names[at].decode(): values[at].decode()}
            stored.update(_ITEM.findall(_texts([elements])[0]))
            found[at] = metadata_of(stored)
    return found


def _texts(column: list[bytes]) -> list[str]:
    """The texts of at least one value without NUL. Raises ValueError for what XML cannot hold."""
    joined = b"\0".join(column)
    if not joined.isascii() and _NO_TEXT.search(joined):
        raise ValueError("no character")
    return joined.decode().split("\0")


@functools.lru_cache(1024)
def _name(stored: bytes) -> str:
    """The name for one of metadata: many blobs, few names."""
    return name_of(stored.decode().lower())


def _maybe(*names: str) -> str:
    """Elements whose text is of no use, each of which may be there. (An empty alternative is cheaper than a ``?``.)"""
    return "".join(f"(?:<{name}(?: ?/>|>[^<]*+</{name}>)|)" for name in names)


_TEXT = r"[^<>&\x00-\x1f]"
_WORD = "[A-Za-z_][A-Za-z0-9_]*+"
_UNREAD = (
    "AccessTierChangeTime|AccessTierInferred|ArchiveStatus|CustomerProvidedKeySha256|EncryptionContext|EncryptionScope"
    "|Expiry-Time|IncrementalCopy|LastAccessTime|LeaseDuration|LeaseState|LeaseStatus|LegalHold|RehydratePriority"
    "|Sealed|ServerEncrypted|TagCount"
)
_HEAD = re.compile(rb"(?:\xef\xbb\xbf)?(?:<\?xml [^<>]*\?>)?\s*<EnumerationResults[^<>]*>")
_NO_TEXT = re.compile(rb"\xef\xbf[\xbe\xbf]")
_ITEM = re.compile(f"<({_WORD})>([^<]*)")
_BLOB = re.compile(
    (
        f"<Blob><Name>({_TEXT}++)</Name><Properties>{_maybe('Creation-Time')}"
        f"<Last-Modified>({_TEXT}++)</Last-Modified>"
        rf'<Etag>"?+((?:(?!"){_TEXT})++)"?+</Etag>'
        "(?:<ResourceType>file</ResourceType>|)<Content-Length>([0-9]{1,18}+)</Content-Length>"
        f"{_maybe('Content-Type', 'Content-Encoding', 'Content-Language', 'Content-CRC64')}"
        "(?:<Content-MD5(?: ?/>|>([A-Za-z0-9+/]{22}==)</Content-MD5>)|)"
        f"{_maybe('Cache-Control', 'Content-Disposition', 'x-ms-blob-sequence-number', 'BlobType')}"
        "(?:<AccessTier>([A-Za-z0-9]*+)</AccessTier>|)"
        f"{_maybe('AccessTierInferred', 'LeaseStatus', 'LeaseState', 'ServerEncrypted')}"
        rf"(?:<({_UNREAD})>[^<]*+</\7>)*+</Properties>"
        rf"(?:<Metadata(?: ?/>|>(?:<({_WORD})>({_TEXT}*+)</\8>((?:<({_WORD})>{_TEXT}*+</\11>)*+)|)</Metadata>)|)"
        "(?:<OrMetadata ?/>|)</Blob>"
    ).encode()
)


# ---- by expat ----


def parsed(body: bytes, where: str) -> tuple[Page, list[int]]:
    """The page without any short cut, and before how many of its objects each ``<cut-out/>`` stands."""
    objects: list[Object] = []
    prefixes: list[str] = []
    tokens: list[str] = []
    runs: list[int] = []
    fields: dict[str, str] = {}
    properties: dict[str, str] = {}
    metadata: dict[str, str] = {}
    words: list[str] = []

    def end(name: str) -> None:
        nonlocal fields, properties, metadata
        if name not in _GROUPS:
            # White space between elements, where there is any, is a piece of its own and stays behind.
            fields[name] = words.pop() if words else ""
        elif name == "Properties":
            properties, fields = fields, {}
        elif name == "Metadata":
            metadata, fields = fields, {}
        elif name == "Blob":
            objects.append(_object(properties, metadata))
            fields, properties, metadata = {}, {}, {}
        elif name == "BlobPrefix":
            prefixes.append((properties or fields)["Name"])
            fields, properties = {}, {}
        elif name == "cut-out":
            runs.append(len(objects))
        else:
            tokens.append(words.pop().strip() if words else "")

    def start(name: str, attributes: dict[str, str]) -> None:
        encoded[0] = name == "Name" and attributes.get("Encoded") == "true"

    def text(piece: str) -> None:
        words.append(unquote(piece) if encoded[0] else piece)

    encoded = [False]
    if b"<!" not in body:
        body = _LEASE.sub(b"", _UNUSED.sub(b"", body)).replace(b"<OrMetadata /></Blob>", b"</Blob>")
    if b" Encoded=" in body or _INDENTED.search(body, 0, 4096):
        _parse(body, start, end, text, "list", where)
    else:
        _parse(body, None, end, words.append, "list", where)
    # What ended last is the root. Another document may be well-formed, too, and an empty container has its <Blobs />.
    if "Blobs" not in fields or next(reversed(fields)) != "EnumerationResults":
        came = next(reversed(fields), "nothing")[:40]
        raise _foreign("list", where, f"a page of blobs was expected, and {came} came")
    return Page(objects, prefixes, tokens[-1] if tokens else ""), runs


_UNUSED = re.compile(
    rb"<(C(?:reation-Time|ontent-(?:Type|Encoding|Language|CRC64|Disposition)|ache-Control))(?: ?/>|>[^<]*</\1>)"
)
_LEASE = re.compile(
    rb"<LeaseStatus>[^<]*</LeaseStatus><LeaseState>[^<]*</LeaseState>"
    rb"(?:<ServerEncrypted>[^<]*</ServerEncrypted>)?(?=</Properties>)"
)
"""Elements that can be nothing but properties: by a hyphen, which no metadata has, or by what follows.
Both begin with letters that are found fast."""

_INDENTED = re.compile(rb"[^?]>\s+<")
_GROUPS = frozenset({"Properties", "Metadata", "Blob", "BlobPrefix", "NextMarker", "cut-out"})


def _object(blob: Mapping[str, str], stored: Mapping[str, str]) -> Object:
    """The object for a blob's properties (its name among them) and metadata."""
    metadata = metadata_of(stored) if stored else {}
    key = blob["Name"]
    if metadata.get(FOLDER) == "true" or blob.get("ResourceType") == "directory":
        key += "/"
    return Object(
        key,
        int(blob["Content-Length"]),
        time_of(blob["Last-Modified"]),
        blob["Etag"].strip('"'),
        metadata,
        md5_of(blob["Content-MD5"]) if "Content-MD5" in blob else None,
        blob.get("AccessTier") == "Archive",
    )


def blocks(body: bytes, where: str) -> list[tuple[str, int]]:
    """(id, bytes) of the uncommitted blocks in a Get Block List answer. Raises NETWORK for what is none."""
    found: list[tuple[str, int]] = []
    words: list[str] = []
    block = [""]
    inside = [False]
    last = [""]

    def start(name: str, attributes: dict[str, str]) -> None:
        words.clear()
        if name == "UncommittedBlocks":
            inside[0] = True

    def end(name: str) -> None:
        last[0] = name
        if name == "UncommittedBlocks":
            inside[0] = False
        elif name == "Name":
            block[0] = "".join(words)
        elif name == "Size" and inside[0]:
            found.append((block[0], int("".join(words))))

    _parse(body, start, end, words.append, "list the blocks of", where)
    if last[0] != "BlockList":
        raise _foreign("list the blocks of", where, f"a BlockList was expected, and {last[0][:40]} came")
    return found


def block_list(ids: Iterable[str]) -> bytes:
    """The body of Put Block List. "Latest": also finds blocks that an earlier attempt has committed already."""
    lines = "".join(f"<Latest>{block}</Latest>" for block in ids)
    return f'<?xml version="1.0" encoding="utf-8"?><BlockList>{lines}</BlockList>'.encode()


def error(body: bytes) -> tuple[str, str]:
    """Code and message of an error's body, ("", "") where there is none.

    Only the message's first line: the others are ids; and none of the further elements, which quote the request.
    """
    found = {"Code": "", "Message": ""}
    words: list[str] = []

    def end(name: str) -> None:
        if name in found and not found[name]:
            found[name] = "".join(words)

    try:
        _parse(body, lambda name, attributes: words.clear(), end, words.append, "read", "")
    except DunlinError:
        return "", ""
    message = found["Message"].strip().partition("\n")[0].strip()
    # Emulators and proxies may quote the request's address, and with it a SAS.
    return found["Code"], re.sub(r"(?i)\bsig=[^&\s]+", "sig=***", message)


def _parse(
    body: bytes,
    start: Callable[[str, dict[str, str]], object] | None,
    end: Callable[[str], object],
    text: Callable[[str], object],
    operation: str,
    where: str,
) -> None:
    parser: Any = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.buffer_size = 65_536
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, LookupError, ValueError, OverflowError) as error:
        raise _foreign(operation, where, f"{type(error).__name__}: {error}") from error


def _foreign(operation: str, where: str, why: str) -> DunlinError:
    hint = "is the endpoint a blob service? a name with control characters cannot be listed"
    return DunlinError(operation, where, ErrorKind.NETWORK, f"the answer is not what Azure Blob sends ({why})", hint)


# ---- values ----


def time_of(text: str) -> int:
    """ns since 1970 of a date as HTTP has it (``Wed, 09 Sep 2009 09:20:02 GMT``). Raises ValueError."""
    day = _day(text[5:16])
    return (day + int(text[17:19]) * 3600 + int(text[20:22]) * 60 + int(text[23:25])) * 1_000_000_000


@functools.lru_cache(4096)
def _day(text: str) -> int:
    """Seconds since 1970 of midnight: many blobs, few days."""
    month = _MONTHS.get(text[3:6], 0)
    if not month:
        raise ValueError(f"no date: {text}")
    return calendar.timegm((int(text[7:11]), month, int(text[:2]), 0, 0, 0))


def md5_of(text: str) -> bytes | None:
    """The digest that a Content-MD5 states; None for none, and for what is no MD5."""
    if not text:
        return None
    try:
        digest = binascii.a2b_base64(text)
    except binascii.Error:
        return None
    return digest if len(digest) == 16 else None


# ---- metadata ----

_NO_NAME = re.compile(r"[^a-z0-9_]|^[0-9]")
_ESCAPED_NAME = re.compile(r"_x([0-9a-f]{4})_")
_NO_VALUE = re.compile(r"[^ -~]|%|^ +| +$| {2,}")


def stored_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Names and values as the service can hold them; names are made lower case."""
    return {stored_name(name): stored_value(value) for name, value in metadata.items()}


def metadata_of(stored: Mapping[str, str]) -> dict[str, str]:
    """The reverse of `stored_metadata`; what was not made by it is kept."""
    made = {}
    for name, value in stored.items():
        name = name.lower()
        made[name_of(name) if "_x" in name else name] = value_of(value) if "%" in value else value
    return made


def stored_name(name: str) -> str:
    """The identifier for a name of metadata."""
    name = name.lower()
    return name if _NO_NAME.search(name) is None and name_of(name) == name else _escaped_name(name)


def name_of(stored: str) -> str:
    """The name that an identifier stands for."""
    name = _ESCAPED_NAME.sub(lambda match: chr(int(match[1], 16)), stored)
    if name == stored:
        return stored
    name = name.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return name if _escaped_name(name) == stored else stored


def _escaped_name(name: str) -> str:
    name = re.sub(r"_(?=x[0-9a-f]{4}_)", "_x005f_", name)
    return _NO_NAME.sub(lambda match: "".join(f"_x{unit:04x}_" for unit in _units(match[0])), name)


def _units(text: str) -> list[int]:
    raw = text.encode("utf-16-le", "surrogatepass")
    return [int.from_bytes(raw[at : at + 2], "little") for at in range(0, len(raw), 2)]


def stored_value(value: str) -> str:
    """A value of metadata in printable ASCII."""
    if _NO_VALUE.search(value) is None or ("%" in value and _only_percent(value) and value_of(value) == value):
        return value
    return _escaped_value(value)


def value_of(stored: str) -> str:
    """The value that was stored."""
    value = unquote(stored, errors="surrogateescape")
    return value if value != stored and _escaped_value(value) == stored else stored


def _only_percent(value: str) -> bool:
    return all(found == "%" for found in _NO_VALUE.findall(value))


def _escaped_value(value: str) -> str:
    return _NO_VALUE.sub(
        lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape")), value
    )
