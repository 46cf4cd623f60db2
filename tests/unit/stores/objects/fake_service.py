"""A service in memory: keys as a bucket has them, pages, parts, etags, and faults on request.

    service.faults["head"] = [error, None, error]    one outcome per call; None lets the call through
    service.breaks = [100, 0]                        the first get breaks off after 100 bytes, the next at once
    service.lost["put"] = [error]                    the request is carried out, and its answer is this error
    service.requests["page"]                         how many there were; `service.calls` has them in order
"""

from __future__ import annotations

import bisect
import hashlib
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.objects.service import Data, Limits, Object, Page, Part, Service

LIMITS = Limits(put=5 << 30, least_part=5 << 20, most_part=5 << 30, parts=10_000, page=1000, deletes=1000)
SMALL = Limits(put=1000, least_part=10, most_part=10_000, parts=100, page=3, deletes=2)
"""Limits that a test of a few kilobytes and a handful of keys reaches."""


def network(reason: str = "connection lost") -> DunlinError:
    return DunlinError("reach", "fake", ErrorKind.NETWORK, reason)


@dataclass
class Stored:
    data: bytes
    metadata: dict[str, str]
    modified: int
    etag: str


@dataclass
class Upload:
    key: str
    metadata: dict[str, str]
    parts: dict[int, tuple[bytes, str]] = field(default_factory=dict)


class FakeService:
    """A bucket in memory. Safe to use from many threads.

    Args:
        limits: `limits.page` keys are listed per page.
        metadata_listed, ordered: as `Service` says; unordered listings come backwards within a page.
        chunk: bytes per piece of a body.
        states_md5: the service tells the MD5 of objects that came in one piece.
        clock: ns since 1970.
    """

    def __init__(
        self,
        limits: Limits = LIMITS,
        *,
        metadata_listed: bool = True,
        ordered: bool = True,
        chunk: int = 65_536,
        states_md5: bool = True,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, Upload] = {}
        self.archived: set[str] = set()
        self.wrong_md5: set[str] = set()
        self.faults: dict[str, list[DunlinError | None]] = defaultdict(list)
        self.lost: dict[str, list[DunlinError | None]] = defaultdict(list)
        self.breaks: list[int] = []
        self.requests: Counter[str] = Counter()
        self.calls: list[tuple[Any, ...]] = []
        self.sent_bytes = 0
        self.open_bodies = 0
        self.missing = False
        self._keys: list[str] = []
        self._limits = limits
        self._metadata_listed = metadata_listed
        self._ordered = ordered
        self._chunk = chunk
        self._states_md5 = states_md5
        self._clock = clock
        self._lock = threading.RLock()
        self._numbers = 0

    url = "fake://bucket"

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def ordered(self) -> bool:
        return self._ordered

    @property
    def metadata_listed(self) -> bool:
        return self._metadata_listed

    def _request(self, name: str, *details: Any) -> None:
        self.requests[name] += 1
        self.calls.append((name, *details))
        if self.faults[name] and (error := self.faults[name].pop(0)) is not None:
            raise error
        if self.missing:
            raise DunlinError(name, self.url, ErrorKind.NOT_FOUND, "no such bucket")

    def _answer(self, name: str) -> None:
        if self.lost[name] and (error := self.lost[name].pop(0)) is not None:
            raise error

    def _find(self, key: str) -> Stored:
        if key not in self.objects:
            raise DunlinError("read", f"{self.url}/{key}", ErrorKind.NOT_FOUND, "NoSuchKey")
        return self.objects[key]

    def _said(self, key: str, metadata: bool = True) -> Object:
        stored = self.objects[key]
        digest = hashlib.md5(stored.data).digest() if self._states_md5 and "-" not in stored.etag else None
        if key in self.wrong_md5:
            digest = bytes(16)
        there = dict(stored.metadata) if metadata else None
        return Object(key, len(stored.data), stored.modified, stored.etag, there, digest, key in self.archived)

    def _store(self, key: str, data: bytes, metadata: Mapping[str, str], etag: str = "") -> str:
        if key not in self.objects:
            bisect.insort(self._keys, key)
        etag = etag or hashlib.md5(data).hexdigest()
        self.objects[key] = Stored(data, dict(metadata), self._clock(), etag)
        return etag

    def fill(self, *keys: str, data: bytes = b"x") -> None:
        """Put objects there without a request."""
        for key in keys:
            self._store(key, data, {})

    # ---- looking ----

    def page(self, prefix: str, *, delimiter: str = "", token: str = "", after: str = "", most: int = 0) -> Page:
        with self._lock:
            self._request("page", prefix, delimiter, token)
            assert not (token and after)
            most = min(most or self._limits.page, self._limits.page)
            objects: list[Object] = []
            prefixes: list[str] = []
            bound = token or after
            at = max(bisect.bisect_left(self._keys, prefix), bisect.bisect_right(self._keys, bound) if bound else 0)
            while at < len(self._keys) and self._keys[at].startswith(prefix):
                key = self._keys[at]
                end = key.find(delimiter, len(prefix)) if delimiter else -1
                folded = key[: end + 1] if end >= 0 else ""
                if folded and folded <= bound:
                    at += 1
                    continue
                if len(objects) + len(prefixes) == most:
                    last = max([*(listed.key for listed in objects), *prefixes])
                    return self._page(objects, prefixes, last)
                if folded:
                    prefixes.append(folded)
                    while at < len(self._keys) and self._keys[at].startswith(folded):
                        at += 1
                else:
                    objects.append(self._said(key, self._metadata_listed))
                    at += 1
            return self._page(objects, prefixes, "")

    def _page(self, objects: list[Object], prefixes: list[str], token: str) -> Page:
        way = 1 if self._ordered else -1
        return Page(objects[::way], prefixes[::way], token)

    def head(self, key: str) -> Object:
        with self._lock:
            self._request("head", key)
            self._find(key)
            return self._said(key)

    def stated(self, key: str) -> Object:
        with self._lock:
            self._request("stated", key)
            self._find(key)
            return self._said(key)

    # ---- content ----

    def get(
        self, key: str, start: int = 0, length: int | None = None, etag: str = ""
    ) -> tuple[Object, Iterator[Data]]:
        with self._lock:
            self._request("get", key, start, length)
            stored = self._find(key)
            if etag and stored.etag != etag:
                raise DunlinError("read", f"{self.url}/{key}", ErrorKind.CHANGED, "PreconditionFailed")
            if key in self.archived:
                hint = "bring it back from the archive first"
                raise DunlinError("read", f"{self.url}/{key}", ErrorKind.DENIED, "InvalidObjectState", hint)
            stop = len(stored.data) if length is None else start + length
            broken = self.breaks.pop(0) if self.breaks else None
            self.open_bodies += 1
            return self._said(key), _Body(self, stored.data[start:stop], self._chunk, broken)

    def put(
        self, key: str, data: Data, metadata: Mapping[str, str], *, md5: bytes | None = None, if_absent: bool = False
    ) -> str:
        with self._lock:
            self._request("put", key, len(data))
            assert len(data) <= self._limits.put
            self._absent(key, if_absent)
            self._check(data, md5)
            etag = self._store(key, bytes(data), metadata)
            self._answer("put")
            return etag

    def _absent(self, key: str, if_absent: bool) -> None:
        if if_absent and key in self.objects:
            raise DunlinError("write", f"{self.url}/{key}", ErrorKind.EXISTS, "PreconditionFailed")

    def _check(self, data: Data, md5: bytes | None) -> None:
        self.sent_bytes += len(data)
        if md5 is not None and hashlib.md5(data).digest() != md5:
            raise DunlinError("write", self.url, ErrorKind.CHECKSUM, "BadDigest")

    # ---- parts ----

    def _upload(self, key: str, upload: str) -> Upload:
        if upload not in self.uploads or self.uploads[upload].key != key:
            raise DunlinError("write", f"{self.url}/{key}", ErrorKind.NOT_FOUND, "NoSuchUpload")
        return self.uploads[upload]

    def begin(self, key: str, metadata: Mapping[str, str]) -> str:
        with self._lock:
            self._request("begin", key)
            self._numbers += 1
            self.uploads[f"u{self._numbers:06d}"] = Upload(key, dict(metadata))
            return f"u{self._numbers:06d}"

    def unfinished(self, key: str) -> str:
        with self._lock:
            self._request("unfinished", key)
            return max((name for name, upload in self.uploads.items() if upload.key == key), default="")

    def parts(self, key: str, upload: str) -> list[Part]:
        with self._lock:
            self._request("parts", key)
            have = self._upload(key, upload).parts
            return [Part(number, len(data), tag) for number, (data, tag) in sorted(have.items())]

    def part(self, key: str, upload: str, number: int, data: Data, digest: bytes) -> Part:
        with self._lock:
            self._request("part", key, number)
            self._check(data, digest)
            made = Part(number, len(data), self.part_tag(number, digest))
            self._upload(key, upload).parts[number] = (bytes(data), made.tag)
            return made

    def part_digest(self, data: Data) -> bytes:
        return hashlib.md5(data).digest()

    def part_tag(self, number: int, digest: bytes) -> str:
        return digest.hex()

    def complete(
        self, key: str, upload: str, parts: Sequence[Part], metadata: Mapping[str, str], *, if_absent: bool = False
    ) -> str:
        with self._lock:
            self._request("complete", key)
            self._absent(key, if_absent)
            there = self._upload(key, upload)
            assert [part.number for part in parts] == list(range(1, len(parts) + 1))
            for part in parts:
                data, tag = there.parts[part.number]
                assert (len(data), tag) == (part.size, part.tag)
                last = part.number == len(parts)
                assert last or self._limits.least_part <= part.size <= self._limits.most_part
            del self.uploads[upload]
            data = b"".join(there.parts[part.number][0] for part in parts)
            # As at S3: the metadata is that of the beginning, and the etag no MD5 of the content.
            etag = self._store(key, data, there.metadata, f"{hashlib.md5(data).hexdigest()}-{len(parts)}")
            self._answer("complete")
            return etag

    def abort(self, key: str, upload: str) -> None:
        with self._lock:
            self._request("abort", key)
            self.uploads.pop(upload, None)

    # ---- the rest ----

    def copy(self, source: Service, origin: Object, key: str, metadata: Mapping[str, str]) -> str:
        with self._lock:
            self._request("copy", origin.key, key)
            if not isinstance(source, FakeService):
                raise DunlinError("copy", f"{self.url}/{key}", ErrorKind.UNSUPPORTED, "another service")
            stored = source._find(origin.key)
            if stored.etag != origin.etag:
                raise DunlinError("copy", f"{self.url}/{origin.key}", ErrorKind.CHANGED, "PreconditionFailed")
            return self._store(key, stored.data, metadata)

    def set_metadata(self, key: str, metadata: Mapping[str, str], etag: str = "") -> str:
        with self._lock:
            self._request("set_metadata", key)
            stored = self._find(key)
            if etag and stored.etag != etag:
                raise DunlinError("write", f"{self.url}/{key}", ErrorKind.CHANGED, "PreconditionFailed")
            stored.metadata = dict(metadata)
            stored.modified = self._clock()
            return stored.etag

    def delete(self, keys: Sequence[str]) -> None:
        with self._lock:
            self._request("delete", *keys)
            assert len(keys) <= self._limits.deletes
            for key in keys:
                if self.objects.pop(key, None) is not None:
                    self._keys.remove(key)

    def close(self) -> None:
        self.calls.append(("close",))


class _Body:
    """The body of a get: pieces, and where it was asked for, a break; counted as open until its end or `close`."""

    def __init__(self, service: FakeService, data: bytes, chunk: int, broken: int | None) -> None:
        self._service = service
        self._data = data
        self._chunk = chunk
        self._broken = broken
        self._at = 0
        self._open = True

    def __iter__(self) -> Iterator[Data]:
        return self

    def __next__(self) -> Data:
        if self._broken is not None and self._at >= min(self._broken, len(self._data)):
            self.close()
            raise network(f"broke off after {self._at} bytes")
        if not self._open or self._at >= len(self._data):
            self.close()
            raise StopIteration
        stop = min(len(self._data), self._at + self._chunk)
        if self._broken is not None:
            stop = min(stop, self._broken)
        piece = self._data[self._at : stop]
        self._at = stop
        return piece

    def close(self) -> None:
        if self._open:
            self._open = False
            with self._service._lock:
                self._service.open_bodies -= 1
