"""Azure Blob Storage: one container as a `Service`.

**Which client does what.** Everything goes through our own client (`wire.Client`) with our own signatures: one client
for all keys, and metadata, etag, MD5 and ``Retry-After`` come from the one answer. obstore carries less than `Service`
promises (its answers lack the MD5 that the service states, its put cannot send one, its errors hide ``Retry-After``,
keys with empty or dot components are refused); docs/stores/azure-blob.md has the figures. azure-identity is used for
tokens; azure-storage-blob, which takes ten times as long to read a listing, is not.

**Keys** are one segment of the URL: slashes are escaped too (%2F, as Microsoft's libraries for Go and JavaScript do),
so that neither client nor service takes ``a//b`` or ``../x`` for a path that wants tidying. The service makes a slash
of every backslash, so a key with one would silently be another key: NAME. Control characters that XML cannot hold are
not written either (NAME), because a listing may break at such a name.

**Uploads in parts.** A blob is put together from blocks that were sent before under ids of the client's choice. Ours
hold the part's number and half a blake3 of its content (``dunlin`` + 5 digits + 16 bytes, in base64), so an id says
what the block is, and whoever goes on with an upload, even another machine, sees what is there already; nothing has to
be remembered, and the id of an upload is always the same. Blocks that are never used are thrown away by the service
after a week; it offers no way to do so earlier that leaves the blob alone, so `abort` does nothing.

**Checksums.** A block is sent with its CRC-64 (``x-ms-content-crc64``: CRC-64/NVME, the least byte first), which the
service checks; together with the blake3 it costs a fifth of MD5. Content in one request is sent with its MD5, because
the service keeps that and states it. A blob of blocks states nothing. Of a range of up to 4 MiB the service would make
a CRC-64 on the spot (``x-ms-range-get-content-crc64``). It is not asked to: that proves the way from the service to
here, as TLS does, and not the content, since nothing was kept when it was written; and our ranges have 5 MiB.

**Order.** The service lists names "in lexicographical order". With a hierarchical namespace it lists directory by
directory, which is another order; whether there is one is asked once.

API as documented under "Blob service REST API"; error codes under "Blob service error codes".
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from urllib.parse import quote, unquote, urlsplit

from dunlin import hashing
from dunlin.errors import DunlinError, ErrorKind, usage
from dunlin.stores.login import Login
from dunlin.stores.objects import azure_xml as xml
from dunlin.stores.objects.address import http_address
from dunlin.stores.objects.answers import FOREIGN, TIMEOUTS, Answer, Timeouts, count, stranger
from dunlin.stores.objects.azure_errors import checked, refused
from dunlin.stores.objects.azure_login import Access, access, checked_sas, endpoint_of, is_path_style
from dunlin.stores.objects.azure_sign import Unsigned
from dunlin.stores.objects.service import Data, Limits, Object, Page, Part, Service
from dunlin.stores.objects.wire import Client

__all__ = ["AzureService", "endpoint_of", "open_service", "parse_url"]

LIMITS = Limits(put=256 << 20, least_part=1, most_part=4000 << 20, parts=50_000, page=5_000, deletes=1, marked=True)
UPLOAD = "blocks"
"""The id of every unfinished upload: a blob has one set of unused blocks."""

_CONTAINER = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,62}|\$root|\$web|\$logs|\$blobchangefeed")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_COPY_S = 300.0
"""Longest wait for a copy, seconds."""
Query = Sequence[tuple[str, str]]


def parse_url(url: str) -> tuple[str, str, str, str, str]:
    """A place in Azure Blob as (endpoint, account, container, prefix, SAS), "" for what it does not say.

        az://CONTAINER/PREFIX                                   the prefix is taken as it is
        https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX?SAS      %-escapes are undone
        http://127.0.0.1:10000/ACCOUNT/CONTAINER/PREFIX?SAS     addresses, and hosts that are not ACCOUNT.blob.…

    Raises USAGE, without quoting the query.
    """
    scheme, _, rest = url.partition("://")
    if scheme.lower() in ("az", "azure"):
        container, _, prefix = rest.partition("/")
        return "", "", container, prefix, ""
    rest, _, query = rest.partition("?")
    host, _, path = rest.partition("/")
    if "@" in host or http_address(f"{scheme.lower()}://{host}") is None:
        raise usage(
            f"{url.partition('?')[0]} is no address of blobs", "az://CONTAINER/PREFIX or https://ACCOUNT.blob.…"
        )
    endpoint, account = f"{scheme.lower()}://{host}", ""
    if is_path_style(urlsplit(endpoint).hostname or ""):
        account, _, path = path.partition("/")
        endpoint += f"/{account}"
    else:
        account = host.partition(".")[0].lower()
    container, _, prefix = path.partition("/")
    return endpoint, account, container, unquote(prefix), checked_sas(query) if query else ""


def open_service(
    container: str,
    login: Login,
    *,
    connections: int = 64,
    on_login: Callable[[str], object] | None = None,
    timeouts: Timeouts = TIMEOUTS,
) -> Service:
    """One container of the account that `login` means. Nothing is sent yet.

    Args:
        container: its name.
        connections: how many are kept open.
        on_login: told which login answered ("Azure CLI"), when the first token is there.
        timeouts: of requests.

    Raises USAGE for names, keys and SAS that cannot be right.
    """
    if not _CONTAINER.fullmatch(container):
        hint = "a container's name has 3 to 63 lower-case letters, digits and single hyphens"
        raise usage(f"{container!r} is no name of a container", hint)
    return AzureService(container, access(login, on_login), connections=connections, timeouts=timeouts)


class AzureService:
    """One container. Safe to use from many threads.

    Args:
        container: its name. found: endpoint and signer. connections: how many are kept open.
        timeouts: of requests.
        sleep, clock: for waiting until a copy is done; seconds.
    """

    metadata_listed = True
    limits = LIMITS

    def __init__(
        self,
        container: str,
        found: Access,
        *,
        connections: int = 64,
        timeouts: Timeouts = TIMEOUTS,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = urlsplit(found.endpoint)
        self.url = f"{found.endpoint}/{container}"
        self._found = found
        self._path = f"{parts.path.rstrip('/')}/{container}"
        origin = f"{parts.scheme}://{parts.netloc}"
        self._client = Client(origin, connections=connections, **timeouts._asdict())
        self._sleep = sleep
        self._clock = clock

    @functools.cached_property
    def ordered(self) -> bool:
        """Whether listings are in the order of names: unless the account says that its namespace has directories.

        Who may not ask is taken to have a flat one: listings are checked as they come. Raises NETWORK, TIMEOUT and
        BUSY, and is asked again then.
        """
        try:
            query = (("restype", "account"), ("comp", "properties"))
            answer = self._ask("GET", self._path, query, operation="ask about", where=self.url)
        except DunlinError as error:
            if error.retryable:
                raise
            # Not everybody may ask. Most accounts are flat, and the merge sees it where one is not.
            return error.kind in (ErrorKind.DENIED, ErrorKind.AUTH)
        return answer.headers.get("x-ms-is-hns-enabled", "false") == "false"

    # ---- listing and reading ----

    def page(self, prefix: str, *, delimiter: str = "", token: str = "", after: str = "", most: int = 0) -> Page:
        if after:
            reason = "Azure Blob cannot begin a listing behind a name"
            raise DunlinError("list", self.url, ErrorKind.UNSUPPORTED, reason)
        query = [("restype", "container"), ("comp", "list"), ("include", "metadata")]
        for name, value in (("prefix", prefix), ("delimiter", delimiter), ("marker", token)):
            if value:
                query.append((name, value))
        if most:
            query.append(("maxresults", str(min(most, LIMITS.page))))
        answer = self._ask("GET", self._path, query, operation="list", where=self.url)
        return xml.listing(answer.body, self.url)

    def head(self, key: str) -> Object:
        answer = self._ask("HEAD", self._blob(key), operation="look at", where=self._where(key))
        return self._object(key, answer.headers, "look at")

    def stated(self, key: str) -> Object:
        return self.head(key)

    def get(self, key: str, start: int = 0, length: int | None = None, etag: str = "") -> tuple[Object, Iterator[Data]]:
        if length == 0:
            return self._nothing(key, start, etag)
        headers = {"if-match": f'"{etag}"'} if etag else {}
        if start or length is not None:
            headers["x-ms-range"] = f"bytes={start}-{'' if length is None else start + length - 1}"
        target, signed = self._found.sign(Unsigned("GET", self._blob(key), (), headers))
        answer, body = self._client.stream("GET", target, signed)
        if answer.status < 300:
            try:
                return self._object(key, answer.headers, "read"), body
            except DunlinError:
                body.close()
                raise
        if answer.status == 416:
            return self._nothing(key, start, etag)
        if answer.status == 412:
            # Said of a blob that is gone, too; a look at it tells, by raising NOT_FOUND.
            self.head(key)
        raise refused(answer, "read", self._where(key), self.url)

    def _nothing(self, key: str, start: int, etag: str) -> tuple[Object, Iterator[Data]]:
        """The answer to a range without bytes, which the service calls an error."""
        found = self.head(key)
        if etag and found.etag != etag:
            raise DunlinError("read", self._where(key), ErrorKind.CHANGED, "another version has been written")
        if start > found.size:
            reason = f"byte {start} lies behind the end, {found.size}"
            raise DunlinError("read", self._where(key), ErrorKind.CHANGED, reason)
        return found, iter(())

    # ---- writing ----

    def put(
        self, key: str, data: Data, metadata: Mapping[str, str], *, md5: bytes | None = None, if_absent: bool = False
    ) -> str:
        headers = {"x-ms-blob-type": "BlockBlob", **_metadata(metadata), **_absent(if_absent)}
        if md5 is not None:
            headers["content-md5"] = _base64(md5)
        return self._written(key, (), headers, data, absent=if_absent)

    def begin(self, key: str, metadata: Mapping[str, str]) -> str:
        """The id of every upload; nothing is asked, since blocks need no beginning."""
        return UPLOAD

    def unfinished(self, key: str) -> str:
        return UPLOAD if self._blocks(key) else ""

    def parts(self, key: str, upload: str) -> list[Part]:
        return self._blocks(key)

    def _blocks(self, key: str) -> list[Part]:
        query = (("comp", "blocklist"), ("blocklisttype", "uncommitted"))
        where = self._where(key)
        try:
            answer = self._ask("GET", self._blob(key), query, operation="list the blocks of", where=where)
        except DunlinError as error:
            if error.kind is ErrorKind.NOT_FOUND and error.where == where:
                return []
            raise
        found = [Part(number, size, tag) for tag, size in xml.blocks(answer.body, where) if (number := _number(tag))]
        return sorted(found)

    def part(self, key: str, upload: str, number: int, data: Data, digest: bytes) -> Part:
        tag = self.part_tag(number, digest)
        query = (("comp", "block"), ("blockid", tag))
        where = self._where(key)
        crc = hashing.stated("crc64")
        crc.update(data)
        headers = {"x-ms-content-crc64": _base64(crc.digest()[::-1])}
        path = self._blob(key, True)
        self._ask("PUT", path, query, headers, data, operation="write a block of", where=where, expects=201)
        return Part(number, len(data), tag)

    def part_digest(self, data: Data) -> bytes:
        hasher = hashing.stated("blake3")
        hasher.update(data)
        return hasher.digest()[:16]

    def part_tag(self, number: int, digest: bytes) -> str:
        return _base64(b"dunlin%05d" % number + digest)

    def complete(
        self,
        key: str,
        upload: str,
        parts: Sequence[Part],
        metadata: Mapping[str, str],
        *,
        if_absent: bool = False,
        md5: bytes | None = None,
    ) -> str:
        """Make the blob of its blocks. `md5`: of the whole content; kept, not checked, by the service."""
        body = xml.block_list(part.tag for part in parts)
        digest = hashlib.md5(body, usedforsecurity=False).digest()
        headers = {"content-md5": _base64(digest), **_metadata(metadata), **_absent(if_absent)}
        if md5 is not None:
            headers["x-ms-blob-content-md5"] = _base64(md5)
        return self._written(key, (("comp", "blocklist"),), headers, body, absent=if_absent)

    def abort(self, key: str, upload: str) -> None:
        """Nothing: the service throws unused blocks away after a week, and offers nothing earlier."""

    def copy(self, source: Service, origin: Object, key: str, metadata: Mapping[str, str]) -> str:
        where = self._where(key)
        if not isinstance(source, AzureService) or source._found.endpoint != self._found.endpoint:
            raise DunlinError("copy to", where, ErrorKind.UNSUPPORTED, "the source is not in the same account")
        target, _ = source._found.sign(Unsigned("GET", source._blob(origin.key), (), {}))
        headers = {"x-ms-copy-source": source._client.endpoint + target, **_metadata(metadata)}
        headers["x-ms-source-if-match"] = f'"{origin.etag}"'
        answer = self._ask("PUT", self._blob(key, True), (), headers, operation="copy to", where=where, expects=202)
        etag = _etag(answer.headers, "copy to", where)
        if answer.headers.get("x-ms-copy-status", "success") != "success":
            etag = self._copied(key, answer.headers.get("x-ms-copy-id", ""))
        # Without any metadata in the request, the service copies the source's.
        return etag if metadata or origin.metadata == {} else self.set_metadata(key, {}, etag)

    def _copied(self, key: str, ident: str) -> str:
        """Wait for a copy; the etag then. Within an account it is a matter of moments."""
        where = self._where(key)
        began, pause = self._clock(), 0.05
        while self._clock() < began + _COPY_S:
            self._sleep(pause)
            pause = min(pause * 2, 2.0)
            headers = self._ask("HEAD", self._blob(key), operation="copy to", where=where).headers
            status = headers.get("x-ms-copy-status", "")
            if headers.get("x-ms-copy-id", ident) != ident:
                raise DunlinError("copy to", where, ErrorKind.CHANGED, "another version has been written")
            if status == "success":
                return _etag(headers, "copy to", where)
            if status != "pending":
                reason = headers.get("x-ms-copy-status-description") or f"the service says {status or 'nothing'}"
                raise DunlinError("copy to", where, ErrorKind.IO, reason)
        raise DunlinError("copy to", where, ErrorKind.TIMEOUT, f"the service has not copied it within {_COPY_S:.0f} s")

    def set_metadata(self, key: str, metadata: Mapping[str, str], etag: str = "") -> str:
        headers = _metadata(metadata)
        if etag:
            headers["if-match"] = f'"{etag}"'
        return self._written(key, (("comp", "metadata"),), headers, b"", "set the metadata of", expects=200)

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            where = self._where(key)
            try:
                self._ask("DELETE", self._blob(key), operation="delete", where=where, expects=202)
            except DunlinError as error:
                if error.kind is not ErrorKind.NOT_FOUND or error.where != where:
                    raise

    def close(self) -> None:
        self._client.close()
        self._found.close()

    # ---- requests ----

    def storable(self, key: str) -> bool:
        """Whether a blob of this name can be made."""
        return "\\" not in key and _CONTROL.search(key) is None

    def _blob(self, key: str, new: bool = False) -> str:
        """The path of a blob's URL. `new`: it may be made by the request. Raises NAME."""
        if "\\" in key or (new and not self.storable(key)):
            reason = "Azure Blob takes no backslashes or control characters in names"
            raise DunlinError("use", self._where(key), ErrorKind.NAME, reason, "rename it")
        # As a segment of its own, . or .. would be tidied away.
        return f"{self._path}/{_DOTS.get(key) or quote(key, safe='')}"

    def _where(self, key: str) -> str:
        return f"{self.url}/{key}"

    def _object(self, key: str, headers: Mapping[str, str], operation: str) -> Object:
        """What the headers of an answer say of a blob. Raises NETWORK for one that is not the service's."""
        where = self._where(key)
        if "x-ms-request-id" not in headers:
            raise stranger(operation, where, "Azure Blob")
        try:
            return self._read_object(key, headers, operation)
        except FOREIGN as error:
            reason = f"the answer is not what Azure Blob sends ({type(error).__name__}: {error})"
            raise DunlinError(operation, where, ErrorKind.NETWORK, reason) from error

    def _read_object(self, key: str, headers: Mapping[str, str], operation: str) -> Object:
        begin = "x-ms-meta-"
        stored = {name[len(begin) :]: value for name, value in headers.items() if name.startswith(begin)}
        metadata = xml.metadata_of(stored)
        if metadata.get(xml.FOLDER) == "true":
            raise DunlinError(operation, self._where(key), ErrorKind.NOT_FOUND, "it stands for a directory")
        _, _, whole = headers.get("content-range", "").rpartition("/")
        partial = bool(whole)
        size = count(whole or headers.get("content-length"))
        if size is None:
            raise DunlinError(operation, self._where(key), ErrorKind.NETWORK, "the answer tells no size")
        digest = headers.get("x-ms-blob-content-md5") or ("" if partial else headers.get("content-md5", ""))
        return Object(
            key,
            size,
            xml.time_of(headers["last-modified"]),
            _etag(headers, operation, self._where(key)),
            metadata,
            xml.md5_of(digest),
            headers.get("x-ms-access-tier") == "Archive",
        )

    def _written(
        self,
        key: str,
        query: Query,
        headers: dict[str, str],
        data: Data,
        operation: str = "write",
        absent: bool = False,
        expects: int = 201,
    ) -> str:
        where = self._where(key)
        path = self._blob(key, True)
        try:
            answer = self._ask("PUT", path, query, headers, data, operation=operation, where=where, expects=expects)
        except DunlinError as error:
            if absent and error.kind is ErrorKind.CHANGED:
                raise DunlinError(operation, where, ErrorKind.EXISTS, "there is a blob already") from error
            raise
        return _etag(answer.headers, operation, where)

    def _ask(
        self,
        method: str,
        path: str,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        data: Data = b"",
        *,
        operation: str,
        where: str,
        expects: int = 200,
    ) -> Answer:
        """Make a signed request. Raises what the service refuses, NETWORK where not the service has answered.

        `expects`: the status that is documented for success.
        """
        target, signed = self._found.sign(Unsigned(method, path, query, headers or {}, len(data)))
        answer = self._client.ask(method, target, signed, data)
        return checked(answer, operation, where, self.url, "Azure Blob", expects)


_DOTS = {".": "%2E", "..": "%2E%2E"}


def _metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    return {f"x-ms-meta-{name}": value for name, value in xml.stored_metadata(metadata).items()}


def _absent(if_absent: bool) -> dict[str, str]:
    return {"if-none-match": "*"} if if_absent else {}


def _etag(headers: Mapping[str, str], operation: str, where: str) -> str:
    etag = headers.get("etag", "").removeprefix("W/").strip('"')
    if not etag:
        raise stranger(operation, where, "Azure Blob: it has no etag")
    return etag


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _number(tag: str) -> int:
    """The part's number that a block id of ours holds, else 0."""
    try:
        raw = base64.b64decode(tag, validate=True)
    except ValueError:
        return 0
    return int(raw[6:11]) if len(raw) == 27 and raw[:6] == b"dunlin" and raw[6:11].isdigit() else 0
