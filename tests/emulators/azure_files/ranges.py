"""The bytes of a file: Get File, Put Range (also from a URL), List Ranges, from the reference pages of the same names.

`x-ms-range` wins over `Range`. A range that begins beyond the end is refused with 416 and the size; what it asks for
beyond the end is left out. A range to be written must lie within the size. List Ranges with `prevsharesnapshot` tells
pages that differ between the two, and as ClearRange those that were given up.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator

from tests.emulators.azure_files import smb, times
from tests.emulators.azure_files.content import PAGE, Content
from tests.emulators.azure_files.files import MOST_BYTES, changing, digest_of
from tests.emulators.azure_files.moving import source_of
from tests.emulators.azure_files.names import components
from tests.emulators.azure_files.shares import closed, opened, page_size
from tests.emulators.azure_files.tree import Account, Node, existing, find
from tests.emulators.azure_files.wire import Answer, Refused, Request, xml

BLOCK = 64 * 1024


def _asked(request: Request, header: str = "range") -> tuple[int, int | None] | None:
    """First byte and the one after the last (None: to the end) of a range header, None when there is none."""
    text = request.headers.get(f"x-ms-{header}") or request.headers.get(header)
    if text is None:
        return None
    match = re.fullmatch(r"bytes=(\d{1,19})-(\d{1,19})?", text)
    if match is None or (match[2] and int(match[2]) < int(match[1])):
        raise Refused("InvalidHeaderValue")
    return int(match[1]), int(match[2]) + 1 if match[2] else None


def _within(asked: tuple[int, int | None] | None, size: int) -> tuple[int, int]:
    start, end = asked or (0, None)
    if asked and start >= size:
        raise Refused("InvalidRange", headers={"Content-Range": f"bytes */{size}"})
    return start, size if end is None else min(end, size)


def get(account: Account, request: Request) -> Answer:
    """Get File."""
    if "x-ms-structured-body" in request.headers:
        raise Refused("UnsupportedHeader")
    node = existing(account.share(request), request, directory=False)
    assert node.content
    asked = _asked(request)
    start, end = _within(asked, node.content.size)
    headers = {**smb.told(node), "Accept-Ranges": "bytes"}
    if asked:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{node.content.size}"
        if whole := headers.pop("Content-MD5", ""):
            headers["x-ms-content-md5"] = whole
    if request.flag("x-ms-range-get-content-md5"):
        if not asked or end - start > MOST_BYTES:
            raise Refused("InvalidHeaderValue")
        headers["Content-MD5"] = _md5(node.content.read(start, end))
    return Answer(206 if asked else 200, headers, pieces=node.content.pieces(start, end), length=end - start)


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def put(account: Account, request: Request) -> Answer:
    """Put Range, Put Range From URL."""
    if "x-ms-structured-body" in request.headers:
        raise Refused("UnsupportedHeader")
    asked, mode = _asked(request), request.needed("x-ms-write").lower()
    if asked is None:
        raise Refused("MissingRequiredHeader")
    start, end = asked
    if end is None or mode not in ("update", "clear"):
        raise Refused("InvalidHeaderValue")
    if mode == "clear" and (request.body or "content-md5" in request.headers):
        raise Refused("InvalidHeaderValue")
    _, node = changing(account, request, bytes_too=True)
    assert node.content
    if end > node.content.size:
        raise Refused("InvalidRange")
    answer = Answer(201)
    if mode == "clear":
        node.content.clear(start, end)
    else:
        data = _data(account, request)
        if end - start > MOST_BYTES:
            raise Refused("RequestBodyTooLarge")
        if len(data) != end - start:
            raise Refused("InvalidHeaderValue")
        answer.headers["Content-MD5"] = _md5(data) if data is not request.body else digest_of(request)
        node.content.write(start, data)
    _noted(account, request, node)
    answer.headers |= {"ETag": node.etag, "Last-Modified": times.http(node.modified)}
    answer.headers |= {
        "x-ms-file-last-write-time": times.written(node.written),
        "x-ms-request-server-encrypted": "true",
    }
    return answer


def _data(account: Account, request: Request) -> bytes:
    if "x-ms-copy-source" not in request.headers:
        return request.body
    _, source = source_of(account, request, request.headers["x-ms-copy-source"])
    if source.content is None:
        raise Refused("InvalidHeaderValue")
    return source.content.read(*_within(_asked(request, "source-range"), source.content.size))


def _noted(account: Account, request: Request, node: Node) -> None:
    keep = request.headers.get("x-ms-file-last-write-time", "now").lower()
    if keep not in ("now", "preserve"):
        raise Refused("InvalidHeaderValue")
    account.touch(node, written=keep == "now")


def list_ranges(account: Account, request: Request) -> Answer:
    """List Ranges; in pages from 2026-10-06 on."""
    share = account.share(request)
    node = existing(share, request, directory=False)
    assert node.content
    start, end = _within(_asked(request), node.content.size)
    rows = [("Range", max(first, start), min(last, end)) for first, last in node.content.allocated()]
    if "prevsharesnapshot" in request.query:
        rows = [(tag, max(first, start), min(last, end)) for tag, first, last in _since(account, request, node)]
    rows = [row for row in rows if row[1] < row[2]]
    following = ""
    if request.version >= "2026-10-06":
        about = ("ranges", str(node.id), node.etag)
        at, most = int(opened(request.query.get("marker", ""), *about) or 0), page_size(request, account.page_limit)
        following = closed(*about, str(at + most)) if at + most < len(rows) else ""
        rows = rows[at : at + most]
    shown = "".join(f"<{tag}><Start>{first}</Start><End>{last - 1}</End></{tag}>" for tag, first, last in rows)
    end_tag = f"<NextMarker>{following}</NextMarker>" if following else ""
    answer = xml(f"<Ranges>{shown}{end_tag}</Ranges>")
    answer.headers |= {
        "ETag": node.etag, "Last-Modified": times.http(node.modified), "x-ms-content-length": str(node.content.size),
    }  # fmt: skip
    return answer


def _since(account: Account, request: Request, node: Node) -> list[tuple[str, int, int]]:
    assert node.content
    share = account.shares[request.path[0]].snapshots.get(request.query["prevsharesnapshot"])
    if share is None:
        raise Refused("ShareSnapshotNotFound")
    before = find(share, components(request.path[1:], request))
    if before is None or before.content is None:
        return [("Range", first, last) for first, last in node.content.allocated()]
    if before.id != node.id:
        raise Refused("FileGenerationMismatch", status=409)
    rows = [("Range", *pages) for pages in _joined(_changed(node.content, before.content))]
    rows += [("ClearRange", *pages) for pages in _joined(_given_up(node.content, before.content))]
    return sorted(rows, key=lambda row: row[1])


def _changed(new: Content, old: Content) -> Iterator[tuple[int, int]]:
    for first, last in new.allocated():
        for at in range(first, last, BLOCK):
            stop = min(at + BLOCK, last)
            mine, theirs = new.read(at, stop), old.read(at, stop)
            for page in range(0, stop - at, PAGE):
                if mine[page : page + PAGE] != theirs[page : page + PAGE]:
                    yield at + page, min(at + page + PAGE, stop)


def _given_up(new: Content, old: Content) -> Iterator[tuple[int, int]]:
    for first, last in old.allocated():
        for kept, upto in [*new.allocated(), (last, last)]:
            if first < min(kept, last, new.size):
                yield first, min(kept, last, new.size)
            first = max(first, upto)


def _joined(pages: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for first, last in pages:
        if found and found[-1][1] == first:
            found[-1] = found[-1][0], last
        else:
            found.append((first, last))
    return found
