"""A large object that several processes send the parts of: one begins the upload, all send, one completes it.

What goes on in one process is `writing`, and the same holds here: a part is known by its size and tag, an upload that
is there already is continued only if it has our first part. So whoever begins sends the first part at once: from then
on another that begins the same content, because the first was killed before it could tell, finds that upload.

Somebody who was slow may send a part of a version that is not wanted any more into an upload that was continued. The
upload is completed by the tags of the parts that were told, so such a part is refused there and never mixed in.

Google's uploads in pieces have one sender, who knows what was sent: there is nothing to share (`Limits.parallel`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.base import Begun, Body
from dunlin.stores.objects.service import Object, Part, Service
from dunlin.stores.objects.writing import CONTINUED, Target, Written, cut_up, dressed, part_size, send, unfinished


def begin(service: Service, target: Target, body: Body, *, part: int) -> Begun:
    """Begin, or find, the upload of `body`, and send its first part; see `Parts.begin_parts`."""
    if service.limits.parallel < 2 or body.size is None:
        raise DunlinError("write in parts", target.where, ErrorKind.UNSUPPORTED, "one process sends it")
    size = part_size(body.size, part, service.limits, target.where)
    if body.size <= size:
        raise DunlinError("write in parts", target.where, ErrorKind.UNSUPPORTED, "it is but one part")
    before = _head(service, target.key)
    with contextlib.closing(cut_up(body, size, target.where)) as cut:
        first = next(cut)
        upload, have = unfinished(service, target.key, first)
        found = bool(upload)
        upload = upload or service.begin(target.key, target.metadata)
        try:
            sent = send(service, target, upload, have, first, iter(()), 1)
        except BaseException as error:
            if not found and not (isinstance(error, DunlinError) and error.kind in CONTINUED):
                with contextlib.suppress(DunlinError):
                    service.abort(target.key, upload)
            raise
    tags = tuple(each.tag for each in sent)
    return Begun(upload, body.size, size, tags, before.etag if before is not None else "", found=found)


def put(service: Service, target: Target, begun: Begun, start: int, body: Body, *, parallel: int) -> tuple[str, ...]:
    """Send the parts from `start`; their tags. What is there already is not sent again; see `Parts.put_part`."""
    number = start // begun.part + 1
    if number > 1 and not begun.found:
        have = frozenset[Part]()
    elif begun.found:
        have = frozenset(service.parts(target.key, begun.id))
    else:
        have = frozenset(Part(n, begun.part, tag) for n, tag in enumerate(begun.tags, 1))
    most = min(parallel, service.limits.parallel)
    with contextlib.closing(cut_up(body, begun.part, target.where)) as cut:
        sent = send(service, target, begun.id, have, next(cut), cut, most, number)
    return tuple(each.tag for each in sent)


def completed(service: Service, target: Target, begun: Begun) -> Written | None:
    """The object, if the upload has become one: of that size and metadata, and none that stood there before."""
    there = _head(service, target.key)
    if there is None or there.etag == begun.mark or there.size != begun.size:
        return None
    metadata = dict(there.metadata or {})
    return Written(there.size, there.etag, metadata) if metadata == dict(target.metadata) else None


def complete(service: Service, target: Target, begun: Begun, tags: Sequence[str]) -> Written:
    """Make the object of its parts; see `Parts.complete_parts`."""
    parts = [
        Part(number, min(begun.part, begun.size - at), tag)
        for number, (at, tag) in enumerate(zip(range(0, begun.size, begun.part), tags, strict=True), 1)
    ]
    etag = service.complete(target.key, begun.id, parts, target.metadata)
    if begun.found:
        return dressed(service, target, begun.size)
    return Written(begun.size, etag, target.metadata)


def drop(service: Service, key: str, begun: Begun) -> None:
    """Throw the upload away, unless somebody else may have begun it."""
    if not begun.found:
        service.abort(key, begun.id)


def _head(service: Service, key: str) -> Object | None:
    try:
        return service.head(key)
    except DunlinError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
        return None
