"""S3: Amazon's own, and every server that speaks its protocol.

Everything goes through our own client (`wire.Client`) with our own signature: one client for all keys, so no key
is routed by its looks, metadata, etag and `Retry-After` come from the one answer, and Content-MD5 and upload ids
can be sent. obstore was measured beside it and left out; docs/stores/s3.md has the figures.

Addresses. At Amazon a bucket is a host (``bucket.s3.region.amazonaws.com``), or, where its name has a dot that
the certificate does not cover, a directory. Other servers (`endpoint`) have it as a directory: names of hosts
would have to be set up there.

Regions. A request has to be signed for the bucket's region. Who asks in another one is told the right one: in
the header ``x-amz-bucket-region`` of a redirect (301), or in the element Region of AuthorizationHeaderMalformed
(400). The service then goes over to it, once, and asks again; what was sent meanwhile by other threads is
told the same and follows.

Answers. CopyObject and CompleteMultipartUpload may begin with status 200 and end in an error, so their bodies
decide.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.login import Login
from dunlin.stores.objects import s3_errors, s3_headers, s3_login, s3_sign, s3_xml
from dunlin.stores.objects.answers import FOREIGN, TIMEOUTS, Answer, Timeouts, stranger
from dunlin.stores.objects.s3_sign import Query, escaped
from dunlin.stores.objects.service import Data, Limits, Object, Page, Part, Service
from dunlin.stores.objects.wire import Client, Reply

GIB = 1 << 30
LIMITS = Limits(put=5 * GIB, least_part=5 << 20, most_part=5 * GIB, parts=10_000, page=1000, deletes=1000)
"""Of Amazon S3, "Multipart upload limits"; other servers give the same or more."""

MOST_COPIED = 5 * GIB
"""Bytes of an object that one CopyObject takes."""

REGION = "us-east-1"
"""Signed for where no region is known: every other one tells what it is instead."""

_DIRECTORY_BUCKET = "--x-s3"
_OTHER = "it is another version than the listed one"


T = TypeVar("T")


class _Route(NamedTuple):
    """Where requests go: the region they are signed for, a client of the host, the bucket's path there."""

    region: str
    client: Client
    host: str
    base: str
    secure: bool


def open_service(
    bucket: str,
    login: Login,
    *,
    connections: int = 64,
    on_login: Callable[[str], object] | None = None,
    timeouts: Timeouts = TIMEOUTS,
) -> Service:
    """The bucket as a `Service`; nothing is sent to it yet.

    Args:
        bucket: its name. login: the S3 values of `stores.login`.
        connections: how many are kept open. timeouts: of requests.
        on_login: told which login answered, where boto3 looked for one.

    Raises USAGE for values that cannot be right, AUTH when no credentials were found or a role was refused.
    """
    s3_login.check(bucket, login)
    identity = s3_login.identity(login, f"s3://{bucket}", on_login)
    return S3Service(bucket, login, identity, connections, timeouts)


class S3Service:
    """One bucket; see `Service`, and `open_service` for the arguments."""

    def __init__(
        self,
        bucket: str,
        login: Login,
        identity: s3_login.Identity,
        connections: int = 64,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        self._bucket = bucket
        self._login = login
        self._provider = identity.provider
        self._connections = connections
        self._timeouts = timeouts
        self._endpoint = login["endpoint"].rstrip("/")
        self._lock = threading.Lock()
        self._clients: list[Client] = []
        self._moved = False
        self._deletes_many = True
        self._route = self._at(login["region"] or identity.region or REGION)

    @property
    def url(self) -> str:
        """``s3://bucket``."""
        return f"s3://{self._bucket}"

    @property
    def limits(self) -> Limits:
        """Those of Amazon S3."""
        return LIMITS

    @property
    def ordered(self) -> bool:
        """All but directory buckets are said to list in order; whoever relies on it looks (`shards`, `compare`)."""
        return not self._bucket.endswith(_DIRECTORY_BUCKET)

    @property
    def metadata_listed(self) -> bool:
        """S3 lists none."""
        return False

    def close(self) -> None:
        """Give back connections."""
        for client in self._clients:
            client.close()

    # ---- looking ----

    def page(self, prefix: str, *, delimiter: str = "", token: str = "", after: str = "", most: int = 0) -> Page:
        """One page of keys; see `Service`. Where Amazon archives, it is asked which copies are restored."""
        query: list[tuple[str, str | None]] = [("encoding-type", "url"), ("list-type", "2"), ("prefix", prefix)]
        query += [("delimiter", delimiter)] if delimiter else []
        query += [("continuation-token", token)] if token else []
        query += [("start-after", after)] if after else []
        query += [("max-keys", str(most))] if most else []
        headers = {} if self._endpoint else {"x-amz-optional-object-attributes": "RestoreStatus"}
        return self._read(s3_xml.page, self._ask("list", "GET", "", tuple(query), headers))

    def head(self, key: str) -> Object:
        """Everything about one object; see `Service`."""
        try:
            return self._described(key, self._ask("look at", "HEAD", key).headers)
        except DunlinError as error:
            if error.kind is ErrorKind.NOT_FOUND or error.retryable:
                raise
            # An answer to HEAD has no body: the same question as GET tells why, or in which region to ask.
            self._stream("look at", key, {"range": "bytes=0-0"})[1].close()
        return self._described(key, self._ask("look at", "HEAD", key).headers)

    def stated(self, key: str) -> Object:
        """The same with its checksums. Of content under a key of KMS they are told to who may decrypt it only."""
        return self._described(key, self._ask("look at", "HEAD", key, (), s3_headers.SUMS).headers)

    def get(
        self, key: str, start: int = 0, length: int | None = None, etag: str = ""
    ) -> tuple[Object, Iterator[Data]]:
        """The object and its content from `start`; see `Service`.

        One request, but two where nothing is wanted of it or `start` is its end: a range cannot say that.
        """
        if length is not None and length <= 0:
            return self._nothing(key, start, etag)
        headers = {"if-match": f'"{etag}"'} if etag else {}
        ranged = start > 0 or length is not None
        if ranged:
            headers["range"] = f"bytes={start}-{'' if length is None else start + length - 1}"
        else:
            headers |= s3_headers.SUMS
        answer, pieces = self._stream("read", key, headers)
        if answer.status == 416:
            return self._nothing(key, start, etag, end=True)
        try:
            found = self._described(key, answer.headers)
        except DunlinError:
            pieces.close()
            raise
        # A server that does not know If-Match answers with whatever version there is.
        if etag and found.etag != etag:
            pieces.close()
            raise DunlinError("read", self._where(key), ErrorKind.CHANGED, _OTHER)
        if ranged and not answer.headers.get("content-range", "").startswith(f"bytes {start}-"):
            pieces.close()
            reason = "the server does not give parts of objects"
            raise DunlinError("read", self._where(key), ErrorKind.UNSUPPORTED, reason)
        return found, pieces

    def _nothing(self, key: str, start: int, etag: str, end: bool = False) -> tuple[Object, Iterator[Data]]:
        found = self.head(key)
        if (etag and found.etag != etag) or start > found.size or (end and start < found.size):
            raise DunlinError("read", self._where(key), ErrorKind.CHANGED, _OTHER)
        return found, iter(())

    # ---- writing ----

    def put(
        self, key: str, data: Data, metadata: Mapping[str, str], *, md5: bytes | None = None, if_absent: bool = False
    ) -> str:
        """Store a whole object in one request; see `Service`."""
        headers = s3_headers.metadata_headers(metadata, self._where(key))
        if md5 is not None:
            headers["content-md5"] = base64.b64encode(md5).decode()
        answer = self._write(key, (), headers, data, if_absent, "PUT")
        return s3_headers.etag_of(answer.headers, "write", self._where(key))

    def _write(
        self, key: str, query: Query, headers: dict[str, str], data: Data, if_absent: bool, method: str
    ) -> Answer:
        if not if_absent:
            return self._ask("write", method, key, query, headers, data)
        try:
            return self._ask("write", method, key, query, {**headers, "if-none-match": "*"}, data)
        except DunlinError as error:
            if error.kind is not ErrorKind.CHANGED:
                raise
            raise DunlinError("write", error.where, ErrorKind.EXISTS, "there is an object already") from error

    def begin(self, key: str, metadata: Mapping[str, str]) -> str:
        """Begin an upload in parts; see `Service`."""
        headers = s3_headers.metadata_headers(metadata, self._where(key))
        fields = s3_xml.fields(self._ask("begin the upload of", "POST", key, (("uploads", None),), headers).body)
        if not fields.get("UploadId"):
            raise self._malformed("begin the upload of", "the answer names no upload")
        return fields["UploadId"]

    def unfinished(self, key: str) -> str:
        """The id of the newest unfinished upload of `key`, or "", also where a server cannot tell."""
        newest = s3_xml.Upload(key, "", -1)
        markers = ("", "")
        while True:
            query: Query = (("encoding-type", "url"), ("prefix", key), ("uploads", None))
            if markers[0]:
                query = (*query, ("key-marker", markers[0]), ("upload-id-marker", markers[1]))
            try:
                answer = self._ask("look for uploads of", "GET", "", query)
            except DunlinError as error:
                # rclone says "no such upload" when there is none at all.
                if error.kind is ErrorKind.UNSUPPORTED or "NoSuchUpload" in error.reason:
                    return ""
                raise
            listed, markers = self._read(s3_xml.uploads, answer)
            newest = max((newest, *(u for u in listed if u.key == key)), key=lambda upload: upload.begun)
            # In the order of keys, those that only begin like `key` come behind it.
            if not markers[0] or markers[0] != key:
                return newest.ident

    def parts(self, key: str, upload: str) -> list[Part]:
        """The parts that the service has of an unfinished upload."""
        found: list[Part] = []
        marker = ""
        while True:
            query: Query = (("part-number-marker", marker), ("uploadId", upload)) if marker else (("uploadId", upload),)
            listed, marker = self._read(s3_xml.parts, self._ask("look at the upload of", "GET", key, query))
            found += listed
            if not marker:
                return found

    def part(self, key: str, upload: str, number: int, data: Data, digest: bytes) -> Part:
        """Send one part; see `Service`."""
        headers = {"content-md5": base64.b64encode(digest).decode()}
        query = (("partNumber", str(number)), ("uploadId", upload))
        answer = self._ask("write", "PUT", key, query, headers, data)
        return Part(number, len(data), s3_headers.etag_of(answer.headers, "write", self._where(key)))

    def part_digest(self, data: Data) -> bytes:
        """The MD5: the tag that S3 gives a part, which nothing else tells beforehand."""
        return hashlib.md5(data, usedforsecurity=False).digest()

    def part_tag(self, number: int, digest: bytes) -> str:
        """The MD5 in hexadecimal."""
        return digest.hex()

    def complete(
        self, key: str, upload: str, parts: Sequence[Part], metadata: Mapping[str, str], *, if_absent: bool = False
    ) -> str:
        """Make the object from its parts; `metadata` was given to `begin`."""
        body = s3_xml.completion([(part.number, part.tag) for part in parts])
        headers = {"content-type": "application/xml"}
        return self._result("write", key, self._write(key, (("uploadId", upload),), headers, body, if_absent, "POST"))

    def abort(self, key: str, upload: str) -> None:
        """Throw an unfinished upload away; absence is no error."""
        try:
            self._drop("give up the upload of", key, (("uploadId", upload),))
        except DunlinError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise

    # ---- copying ----

    def copy(self, source: Service, origin: Object, key: str, metadata: Mapping[str, str]) -> str:
        """Copy within the service; see `Service`.

        Content type and its like stay. That costs one more request, to learn them, when `metadata` is not
        what `origin` has: S3 replaces all or nothing.
        """
        if not isinstance(source, S3Service) or not source._is_akin(self):
            raise DunlinError("copy", self._where(key), ErrorKind.UNSUPPORTED, "the source is another service or login")
        if origin.metadata is not None and dict(origin.metadata) == dict(metadata):
            return self._copy(source, origin, key, {"x-amz-metadata-directive": "COPY"})
        return self._copy(source, origin, key, source._dressed(origin.key, metadata))

    def set_metadata(self, key: str, metadata: Mapping[str, str], etag: str = "") -> str:
        """Replace the metadata of an object, which is copied onto itself; its storage class and key stay."""
        headers = self._ask("look at", "HEAD", key).headers
        origin = self._described(key, headers)
        if etag and origin.etag != etag:
            raise DunlinError("change", self._where(key), ErrorKind.CHANGED, _OTHER)
        if origin.archived:
            reason = "its content is archived, and metadata cannot be changed without it"
            raise DunlinError("change", self._where(key), ErrorKind.DENIED, reason, s3_errors.ARCHIVE_HINT)
        kept = {name: headers[name] for name in _KEPT_IN_PLACE if name in headers}
        return self._copy(self, origin, key, {**self._dressed(key, metadata, headers), **kept})

    def _dressed(
        self, key: str, metadata: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """Headers of a copy of `key` that has `metadata` and what else was said of the content."""
        if headers is None:
            headers = self._ask("look at", "HEAD", key).headers
        return {
            "x-amz-metadata-directive": "REPLACE",
            **{name: headers[name] for name in s3_headers.KEPT if name in headers},
            **s3_headers.metadata_headers(metadata, self._where(key)),
        }

    def _copy(self, source: S3Service, origin: Object, key: str, headers: dict[str, str]) -> str:
        if origin.size > MOST_COPIED:
            reason = "S3 copies no more than 5 GiB in one request"
            raise DunlinError("copy", self._where(key), ErrorKind.UNSUPPORTED, reason)
        headers["x-amz-copy-source"] = f"/{source._bucket}/{escaped(origin.key, '/')}"
        if origin.etag:
            headers["x-amz-copy-source-if-match"] = f'"{origin.etag}"'
        return self._result("copy to", key, self._ask("copy to", "PUT", key, (), headers))

    def _is_akin(self, other: S3Service) -> bool:
        return self._endpoint == other._endpoint and all(
            self._login[name] == other._login[name] for name in ("access_key_id", "profile", "role_arn", "anonymous")
        )

    # ---- deleting ----

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; all are tried before the first failure is raised."""
        together = [key for key in keys if s3_xml.speakable(key)]
        if len(together) < 2 or not self._deletes_many:
            together = []
        elif not self._delete_many(together):
            self._deletes_many = False
            together = []
        named = set(together)
        first: DunlinError | None = None
        for key in keys:
            if key in named:
                continue
            try:
                self._drop("delete", key)
            except DunlinError as error:
                if error.kind is not ErrorKind.NOT_FOUND or error.where == self.url:
                    first = first or error
        if first is not None:
            raise first

    def _delete_many(self, keys: Sequence[str]) -> bool:
        """Delete in one request; False when the server knows no such request."""
        body = s3_xml.deletion(keys)
        digest = hashlib.md5(body, usedforsecurity=False).digest()
        headers = {"content-md5": base64.b64encode(digest).decode(), "content-type": "application/xml"}
        try:
            answer = self._ask("delete", "POST", "", (("delete", None),), headers, body)
        except DunlinError as error:
            if error.kind is ErrorKind.UNSUPPORTED:
                return False
            raise
        for failure in self._read(s3_xml.undeleted, answer):
            if failure.get("Code") != "NoSuchKey":
                where = self._where(failure.get("Key", ""))
                raise s3_errors.error(500, answer.headers, failure, "delete", self.url, where)
        return True

    def _drop(self, operation: str, key: str, query: Query = ()) -> None:
        """A request that deletes; the answer to it is 204, or at least says nothing."""
        answer = self._ask(operation, "DELETE", key, query)
        if answer.status != 204 and answer.body:
            raise stranger(operation, self._where(key), "an S3 server")

    # ---- requests ----

    def _ask(
        self, operation: str, method: str, key: str, query: Query = (), headers: Mapping[str, str] | None = None,
        body: Data = b"",
    ) -> Answer:  # fmt: skip
        """Make a signed request, in the bucket's region; `key` "" for the bucket itself. Raises what S3 refuses."""
        while True:
            route = self._route
            target, signed = self._signed(route, method, key, query, headers or {}, body)
            answer = route.client.ask(method, target, signed, body)
            if answer.status < 300:
                return answer
            if not self._follows(route, answer):
                raise self._refused(operation, key, answer)

    def _stream(self, operation: str, key: str, headers: Mapping[str, str]) -> tuple[Answer, Reply]:
        """As `_ask`, with the answer in pieces; also one of status 416."""
        while True:
            route = self._route
            target, signed = self._signed(route, "GET", key, (), headers, b"")
            answer, pieces = route.client.stream("GET", target, signed)
            if answer.status < 300 or answer.status == 416:
                return answer, pieces
            if not self._follows(route, answer):
                raise self._refused(operation, key, answer)

    def _signed(
        self, route: _Route, method: str, key: str, query: Query, headers: Mapping[str, str], body: Data
    ) -> tuple[str, Mapping[str, str]]:
        path = f"{route.base}/{escaped(key, '/')}" if key else route.base or "/"
        credentials = self._provider()
        if credentials is None:
            return s3_sign.target(path, query), headers
        payload = s3_sign.digest(body, route.secure)
        return s3_sign.target(path, query), s3_sign.signed(
            method, route.host, path, query, headers, credentials, route.region, payload
        )

    def _described(self, key: str, headers: Mapping[str, str]) -> Object:
        try:
            return s3_headers.described(key, headers, digests=self.ordered)
        except DunlinError as error:
            error.where = self._where(key)
            raise

    def _result(self, operation: str, key: str, answer: Answer) -> str:
        """The etag in the body of an answer that may hold an error in spite of its status.

        Where a server tells none there (rclone, of an object copied onto itself) the object is asked.
        """
        fields = s3_xml.fields(answer.body)
        if fields.get("") == "Error":
            raise s3_errors.error(500, answer.headers, fields, operation, self.url, self._where(key))
        if not fields.get("", "").startswith(_RESULTS):
            raise stranger(operation, self._where(key), "an S3 server")
        return fields.get("ETag", "").strip('"') or self.head(key).etag

    def _refused(self, operation: str, key: str, answer: Answer) -> DunlinError:
        fields = s3_xml.fields(answer.body)
        if "Message" in fields:
            fields["Message"] = s3_login.masked(fields["Message"], self._login)
        return s3_errors.error(answer.status, answer.headers, fields, operation, self.url, self._where(key))

    def _read(self, read: Callable[[bytes], T], answer: Answer) -> T:
        try:
            return read(answer.body)
        except FOREIGN as error:
            raise self._malformed("list", str(error)) from error

    def _malformed(self, operation: str, reason: str) -> DunlinError:
        return DunlinError(operation, self.url, ErrorKind.NETWORK, reason, "is this an S3 server?")

    def _where(self, key: str) -> str:
        return f"{self.url}/{key}" if key else self.url

    # ---- regions ----

    def _follows(self, asked: _Route, answer: Answer) -> bool:
        """Whether the answer only says that another region is to be asked, and this has been arranged."""
        region = answer.headers.get("x-amz-bucket-region", "")
        if answer.status == 400:
            region = s3_xml.fields(answer.body).get("Region", "") or region
        if answer.status not in (301, 307, 400) or not region or region == asked.region:
            return False
        with self._lock:
            if self._route is asked and not self._moved:
                self._moved = True
                self._route = self._at(region)
            return self._route.region == region

    def _at(self, region: str) -> _Route:
        endpoint = self._endpoint
        domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        base = ""
        if endpoint or "." in self._bucket:
            endpoint = endpoint or f"https://s3.{region}.{domain}"
            base = f"/{self._bucket}"
        else:
            endpoint = f"https://{self._bucket}.s3.{region}.{domain}"
        client = Client(endpoint, connections=self._connections, **self._timeouts._asdict())
        self._clients.append(client)
        parts = urlsplit(endpoint)
        return _Route(region, client, parts.netloc, base, parts.scheme == "https")


_RESULTS = ("CompleteMultipartUpload", "CopyObject")
"""How the roots of results begin: Amazon's end in Result, those of others in Response or Output."""
_KEPT_IN_PLACE = (
    "x-amz-storage-class",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
)
