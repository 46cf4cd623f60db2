"""The XML of S3's answers: listings, parts, uploads, errors, results of deletes.

Listings are read with expat's callbacks and no tree, because a run reads millions of their elements: what is in
``<Contents>`` is a flat set of fields, so one dictionary per object is enough. Where the objects of a page follow each
other as Amazon writes them, one regular expression cuts all of them out (a third of the time), and only the rest is
parsed. Names of elements count without their prefix, since servers differ in the namespace they declare. The text of a
key may be anything but what XML cannot hold (most control characters), so listings are asked for with
``encoding-type=url``, and a server that did so says it; one that did not is taken by its word. A document type
declaration is refused: no answer has one, and entities could be made to grow without end.

Elements and encodings are those of the Amazon S3 API reference: ListObjectsV2, ListParts, ListMultipartUploads,
DeleteObjects, CopyObject, Error.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote_plus
from xml.parsers import expat

from dunlin.stores.objects.service import Object, Page, Part

ARCHIVED = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""Storage classes whose content has to be brought back before it can be read. (GLACIER_IR is read at once.)"""


class Upload(NamedTuple):
    """An unfinished upload: its key, its id, and when it was begun (ns since 1970)."""

    key: str
    ident: str
    begun: int


class Malformed(ValueError):
    """An answer is not the XML that it should be."""


Fields = dict[str, str]


def page(body: bytes) -> Page:
    """The answer of ListObjectsV2. Raises Malformed."""
    rest, columns = _cut(body) or (body, None)
    top, objects, folded = _listed(rest)
    if columns is not None and objects:
        # Some are written otherwise, and may stand before or behind the others.
        columns = None
        top, objects, folded = _listed(body)
    encoded = top.get("EncodingType", "").lower() == "url"
    prefixes = [fields.get("Prefix", "") for fields in folded]
    if encoded:
        prefixes = [unquote_plus(prefix) if "%" in prefix or "+" in prefix else prefix for prefix in prefixes]
    try:
        found = [_object(fields, encoded) for fields in objects] if columns is None else _plain(columns, encoded)
    except (KeyError, ValueError) as error:
        raise Malformed(f"a listed object is not complete: {error}") from error
    more = top.get("IsTruncated", "").lower() == "true"
    token = top.get("NextContinuationToken", "") if more else ""
    if more and not token:
        raise Malformed("there is more to list, but no token to go on with")
    return Page(found, prefixes, token)


def _listed(body: bytes) -> tuple[Fields, list[Fields], list[Fields]]:
    return _compact(body) or _read(body, "Contents", "CommonPrefixes", root="ListBucketResult")


def _cut(body: bytes) -> tuple[bytes, list[list[str]]] | None:
    """A page without its objects, and the columns of `_CONTENTS`; None where not all of them are plain.

    That something was cut out of a comment or the like cannot be known from it; but these begin outside of it.
    """
    step = _CONTENTS.groups + 1
    pieces = _CONTENTS.split(body)
    gaps = pieces[::step]
    rest = b"<cut-out/>".join((gaps[0], gaps[-1]))
    if len(gaps) == 1 or any(gaps[1:-1]) or b"<!" in rest or rest.find(b"<?", 4) >= 0:
        return None
    # No value holds NUL; joined they are decoded at once.
    columns = [b"\0".join([value or b"" for value in pieces[at::step]]) for at in range(1, step)]
    if not all(map(bytes.isascii, columns)):
        return None
    return rest, [column.decode().split("\0") for column in columns]


def _plain(columns: list[list[str]], encoded: bool) -> list[Object]:
    keys, times, tags, sizes, classes = columns
    if encoded:
        keys = [unquote_plus(key) if "%" in key or "+" in key else key for key in keys]
    moments = {time: moment(time) for time in set(times)}
    none = itertools.repeat(None)  # neither metadata, nor MD5, nor other checksums are told
    cold = map(ARCHIVED.__contains__, classes)
    modified = map(moments.__getitem__, times)
    rows = zip(keys, map(int, sizes), modified, tags, none, none, cold, none, strict=False)
    return list(itertools.starmap(Object, rows))


_TEXT = r"[^<>&\x00-\x1f]*+"
_QUOTE = '(?:"|&quot;|&#34;)?+'
_CONTENTS = re.compile(
    (
        f"<Contents><Key>({_TEXT})</Key><LastModified>({_TEXT})</LastModified>"
        f"<ETag>{_QUOTE}([A-Za-z0-9-]*+){_QUOTE}</ETag>"
        "(?:<ChecksumAlgorithm>[^<]*+</ChecksumAlgorithm>|)(?:<ChecksumType>[^<]*+</ChecksumType>|)"
        "<Size>([0-9]{1,18}+)</Size>"
        "(?:<Owner>(?:<ID>[^<]*+</ID>|)(?:<DisplayName>[^<]*+</DisplayName>|)</Owner>|)"
        f"(?:<StorageClass>({_TEXT})</StorageClass>|)</Contents>"
    ).encode()
)


def _object(fields: Fields, encoded: bool) -> Object:
    key = fields["Key"]
    if encoded and ("%" in key or "+" in key):
        key = unquote_plus(key)
    # RestoreStatus tells of a copy that can be read for some days; its date is there when the copy is.
    cold = fields.get("StorageClass") in ARCHIVED and "RestoreExpiryDate" not in fields
    return Object(
        key,
        _size(fields),
        moment(fields["LastModified"]),
        fields.get("ETag", "").strip('"'),
        None,
        None,
        cold,
        None,
    )


def _size(fields: Fields) -> int:
    size = int(fields["Size"])
    if size < 0:
        raise ValueError(f"its size is {size}")
    return size


def uploads(body: bytes) -> tuple[list[Upload], tuple[str, str]]:
    """The answer of ListMultipartUploads, and both markers of the next page, "" on the last. Raises Malformed."""
    top, found, _ = _read(body, "Upload", root="ListMultipartUploadsResult")
    decode: Callable[[str], str] = unquote_plus if top.get("EncodingType", "").lower() == "url" else str
    listed = [
        Upload(decode(fields.get("Key", "")), fields.get("UploadId", ""), moment(fields.get("Initiated", "")))
        for fields in found
    ]
    if top.get("IsTruncated", "").lower() != "true":
        return listed, ("", "")
    return listed, (decode(top.get("NextKeyMarker", "")), top.get("NextUploadIdMarker", ""))


def parts(body: bytes) -> tuple[list[Part], str]:
    """The answer of ListParts, and the marker of the next page, "" on the last. Raises Malformed."""
    top, found, _ = _read(body, "Part", root="ListPartsResult")
    try:
        listed = [
            Part(int(fields["PartNumber"]), _size(fields), fields["ETag"].strip('"')) for fields in found
        ]
    except (KeyError, ValueError) as error:
        raise Malformed(f"a listed part is not complete: {error}") from error
    more = top.get("IsTruncated", "").lower() == "true"
    return listed, top.get("NextPartNumberMarker", "") if more else ""


def undeleted(body: bytes) -> list[Fields]:
    """The errors in an answer of DeleteObjects: Key, Code and Message of each. Raises Malformed."""
    return _read(body, "Error", root="DeleteResult")[1]


def fields(body: bytes) -> Fields:
    """The texts of a small answer by the names of their elements, the root's as ``""``; {} for what is no XML."""
    try:
        return _read(body)[0]
    except Malformed:
        return {}


def completion(tags: Sequence[tuple[int, str]]) -> bytes:
    """The body of CompleteMultipartUpload: numbers and tags of the parts."""
    listed = "".join(
        f'<Part><PartNumber>{number}</PartNumber><ETag>"{_quoted(tag)}"</ETag></Part>' for number, tag in tags
    )
    return f'<CompleteMultipartUpload xmlns="{_SPACE}">{listed}</CompleteMultipartUpload>'.encode()


def deletion(keys: Sequence[str]) -> bytes:
    """The body of DeleteObjects, which then tells of failures only; for keys that `speakable` accepts."""
    listed = "".join(f"<Object><Key>{_quoted(key)}</Key></Object>" for key in keys)
    return f'<Delete xmlns="{_SPACE}"><Quiet>true</Quiet>{listed}</Delete>'.encode()


def speakable(key: str) -> bool:
    """Whether XML 1.0 can hold the key: not most control characters, nor two at the end of the plane."""
    return _UNSPEAKABLE.search(key) is None


_SPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_UNSPEAKABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MARKUP = re.compile("[&<>\"\t\n\r\x7f-\x9f\u2028]")


def _quoted(text: str) -> str:
    # White space is written as a number, or a reader would turn a carriage return into a newline.
    return _MARKUP.sub(lambda match: f"&#{ord(match[0])};", text)


def moment(text: str) -> int:
    """ns since 1970 of an ISO 8601 time, 0 for ""; whole seconds, which is what the headers of objects tell."""
    return _seconds(text) * 1_000_000_000 if text else 0


@lru_cache(maxsize=4096)
def _seconds(text: str) -> int:
    when = datetime.fromisoformat(text)
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())


def _read(body: bytes, one: str = "", other: str = "", root: str = "") -> tuple[Fields, list[Fields], list[Fields]]:
    """The fields of the document outside of elements named `one` and `other`, and those of each of these."""
    top: Fields = {}
    ones: list[Fields] = []
    others: list[Fields] = []
    inside: Fields = top
    text: list[str] = []
    forget = text.clear

    def begin(name: str, attributes: Any) -> None:
        nonlocal inside
        forget()
        if name in (one, other):
            inside = {}
            (ones if name == one else others).append(inside)

    def end(name: str) -> None:
        nonlocal inside
        if name in (one, other):
            inside = top
        else:
            inside[name] = text[0] if len(text) == 1 else "".join(text)
        forget()

    first = _root(body)
    plain = ":" not in first
    local = str if plain else _local
    # moto's is a ListPartsResponse.
    if root and local(first).removesuffix("Response") + "Result" != root and local(first) != root:
        raise Malformed(f"a {root} was expected, and a {local(first)[:40] or 'text'} came")
    parser = expat.ParserCreate()
    parser.StartElementHandler = begin if plain else lambda name, attributes: begin(_local(name), attributes)
    parser.EndElementHandler = end if plain else lambda name: end(_local(name))
    _parse(parser, body, text)
    top.pop(local(first), None)
    top[""] = local(first)
    return top, ones, others


def _compact(body: bytes) -> tuple[Fields, list[Fields], list[Fields]] | None:
    """As `_read` of a listing without prefixes nor white space between its elements; None for another.

    That is how Amazon writes them, and then no callback is needed where an element begins: what came since the
    end of the last ``<Contents>`` belongs to this one. What stands before the first is the listing's own; the
    names of what we want differ, or (Prefix) the later one is the right one.
    """
    root = _ROOT.match(body)
    if root is None or root[1] != b"ListBucketResult" or _GAP.search(body, root.end()):
        return None
    objects: list[Fields] = []
    folded: list[Fields] = []
    now: Fields = {}
    text: list[str] = []
    forget = text.clear

    def end(name: str) -> None:
        nonlocal now
        if name in _LISTED:
            (objects if name == "Contents" else folded).append(now)
            now = {}
        else:
            now[name] = text[0] if len(text) == 1 else "".join(text)
        forget()

    parser = expat.ParserCreate()
    parser.EndElementHandler = end
    _parse(parser, body, text)
    top: Fields = {}
    for part in (*objects[:1], *folded[:1], now):
        top.update(part)
    return top, objects, folded


_LISTED = frozenset({"Contents", "CommonPrefixes"})
_GAP = re.compile(rb">\s+<")


def _parse(parser: expat.XMLParserType, body: bytes, text: list[str]) -> None:
    """Let the handlers of `parser` see `body`; its text is added to `text`. Raises Malformed."""
    parser.buffer_text = True
    parser.buffer_size = 65_536
    parser.CharacterDataHandler = text.append
    parser.StartDoctypeDeclHandler = _refuse
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # the last two: of encodings
        raise Malformed(f"the answer is not XML: {error}") from error


_ROOT = re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*(?:<\?.*?\?>\s*|<!--.*?-->\s*)*<([^\s/>]+)", re.DOTALL)


def _root(body: bytes) -> str:
    match = _ROOT.match(body)
    return match[1].decode("utf-8", "replace") if match else ""


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def _refuse(*anything: Any) -> None:
    raise Malformed("the answer has a document type declaration")
