"""Google Cloud Storage, through its JSON API.

Everything goes through our own client (`wire`): obstore speaks the XML API, which hides what the JSON listing tells
(metadata with every name) and which no emulator serves. Tokens are google-auth's (`gcs_login`).

Versions. An object's *generation* is its version and stands for the etag: reads are pinned to it, and it stays when
only metadata changes. Content and metadata come from different requests, so a read that is not pinned asks twice:
for the object, then for the content of just that generation.

Uploads. A resumable upload takes its bytes in order, in multiples of 256 KiB; parts are therefore sent one after
the other (`Limits.parallel`), and what is left of a part over such a multiple waits for the next. After a lost
answer the service is asked how far it is. The upload's address is as good as a password; it is not kept beyond the
process, so an upload that was cut short begins anew.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.login import Login
from dunlin.stores.objects import gcs_login
from dunlin.stores.objects.answers import Answer, refusal
from dunlin.stores.objects.service import Data, Limits, Object, Page, Part, Service
from dunlin.stores.objects.wire import Client

ENDPOINT = "https://storage.googleapis.com"
LIMITS = Limits(put=5 << 40, least_part=256 << 10, most_part=1 << 30, parts=1_000_000, page=1000, deletes=1, parallel=1)
GRAIN = 256 << 10
"""Bytes of which every piece of a resumable upload but the last is a multiple."""

_FIELDS = "name,size,timeCreated,generation,md5Hash,metadata"
_OTHER = "it is another version than the listed one"
_RESUME = 308


def open_service(bucket: str, login: Login, *, connections: int = 64) -> Service:
    """The bucket as a `Service`; nothing is sent to it yet. Raises USAGE for a login that cannot be right."""
    return GcsService(bucket, login, connections)


class _Upload:
    """How far a resumable upload is: `sent` bytes are there for sure, `tail` waits for the next part."""

    def __init__(self) -> None:
        self.sent = 0
        self.tail = b""
        self.doubtful = False
        self.lock = threading.Lock()


class GcsService:
    """One bucket; see `Service`, and `open_service` for the arguments."""

    def __init__(self, bucket: str, login: Login, connections: int = 64) -> None:
        self._bucket = bucket
        self._endpoint = (login["endpoint"] or ENDPOINT).rstrip("/")
        self._token = gcs_login.provider(login)
        self._client = Client(self._endpoint, connections=connections)
        self._uploads: dict[str, _Upload] = {}
        self._objects = f"/storage/v1/b/{quote(bucket, safe='')}/o"

    @property
    def url(self) -> str:
        """``gs://bucket``."""
        return f"gs://{self._bucket}"

    @property
    def limits(self) -> Limits:
        """Those of Google Cloud Storage; parts go one after the other."""
        return LIMITS

    @property
    def ordered(self) -> bool:
        """Listings are documented to be in lexicographic order."""
        return True

    @property
    def metadata_listed(self) -> bool:
        """Listings tell metadata."""
        return True

    def close(self) -> None:
        """Give back connections."""
        self._client.close()

    # ---- looking ----

    def page(self, prefix: str, *, delimiter: str = "", token: str = "", after: str = "", most: int = 0) -> Page:
        """One page of keys; see `Service`."""
        query = {"fields": f"items({_FIELDS}),prefixes,nextPageToken", "maxResults": str(most or LIMITS.page)}
        given = {"prefix": prefix, "delimiter": delimiter, "pageToken": token, "startOffset": after}
        query.update({name: value for name, value in given.items() if value})
        found = self._json("list", self._ask("list", "GET", "", self._objects, query))
        objects = [_object(item) for item in found.get("items", ())]
        prefixes = list(found.get("prefixes", ()))
        if after:
            # The service begins *at* this name.
            objects = [one for one in objects if one.key > after]
            prefixes = [one for one in prefixes if one > after]
        return Page(objects, prefixes, found.get("nextPageToken", ""))

    def head(self, key: str) -> Object:
        """Everything about one object; see `Service`."""
        return _object(self._json("look at", self._ask("look at", "GET", key, self._at(key), {"fields": _FIELDS})))

    def get(
        self, key: str, start: int = 0, length: int | None = None, etag: str = ""
    ) -> tuple[Object, Iterator[Data]]:
        """The object and its content from `start`; see `Service`. Without `etag` in two requests."""
        found = self.head(key) if not etag else None
        generation = found.etag if found is not None else etag
        if found is not None and (start >= found.size or length == 0):
            return found, iter(())
        headers = self._headers()
        if start or length is not None:
            last = "" if length is None else str(start + max(length, 1) - 1)
            headers["range"] = f"bytes={start}-{last}"
        target = f"{self._at(key)}?{urlencode({'alt': 'media', 'ifGenerationMatch': generation})}"
        answer, pieces = self._client.stream("GET", target, headers)
        if answer.status == 416:
            return found or self._pinned(key, generation), iter(())
        if answer.status >= 300:
            raise self._refused("read", key, answer)
        if answer.headers.get("x-goog-generation", generation) != generation:
            pieces.close()
            raise DunlinError("read", self._where(key), ErrorKind.CHANGED, _OTHER)
        if length == 0:
            pieces.close()
            return found or self._pinned(key, generation), iter(())
        return found or _described(key, generation, answer.headers), pieces

    def _pinned(self, key: str, generation: str) -> Object:
        found = self.head(key)
        if found.etag != generation:
            raise DunlinError("read", self._where(key), ErrorKind.CHANGED, _OTHER)
        return found

    # ---- writing ----

    def put(
        self, key: str, data: Data, metadata: Mapping[str, str], *, md5: bytes | None = None, if_absent: bool = False
    ) -> str:
        """Store a whole object in one request; see `Service`."""
        about: dict[str, Any] = {"name": key, "metadata": dict(metadata)}
        if md5 is not None:
            about["md5Hash"] = base64.b64encode(md5).decode()
        boundary = b"dunlin-" + base64.b16encode(md5 or b"\0" * 16)
        while boundary in bytes(data):
            boundary += b"-"
        body = b"".join(
            (
                b"--%b\r\ncontent-type: application/json; charset=utf-8\r\n\r\n" % boundary,
                json.dumps(about).encode(),
                b"\r\n--%b\r\ncontent-type: application/octet-stream\r\n\r\n" % boundary,
                data,
                b"\r\n--%b--\r\n" % boundary,
            )
        )
        query = {"uploadType": "multipart", "fields": "generation", **_only_new(if_absent)}
        headers = {"content-type": f"multipart/related; boundary={boundary.decode()}"}
        answer = self._ask("write", "POST", key, self._upload_path, query, headers, body, if_absent)
        return str(self._json("write", answer)["generation"])

    def begin(self, key: str, metadata: Mapping[str, str]) -> str:
        """Begin a resumable upload; its id is the address to which the bytes go."""
        body = json.dumps({"name": key, "metadata": dict(metadata)}).encode()
        headers = {"content-type": "application/json; charset=utf-8"}
        answer = self._ask(
            "begin the upload of", "POST", key, self._upload_path, {"uploadType": "resumable"}, headers, body
        )
        upload = answer.headers.get("location", "")
        if not upload:
            reason = "the answer names no upload"
            raise DunlinError("begin the upload of", self._where(key), ErrorKind.NETWORK, reason)
        self._uploads[upload] = _Upload()
        return upload

    def unfinished(self, key: str) -> str:
        """Always "": the address of an upload is not kept."""
        return ""

    def parts(self, key: str, upload: str) -> list[Part]:
        """None that could be recognised."""
        return []

    def part_tag(self, number: int, digest: bytes) -> str:
        """Pieces of a resumable upload have no tags."""
        return ""

    def part(self, key: str, upload: str, number: int, data: Data, digest: bytes) -> Part:
        """Send the next bytes; what is over a multiple of 256 KiB waits for the next part."""
        state = self._uploads[upload]
        with state.lock:
            if state.doubtful:
                before, state.sent = state.sent, self._received(key, upload)
                taken = state.sent - before
                if not 0 <= taken <= len(state.tail) + len(data):
                    reason = "the service has lost a part of the upload"
                    raise DunlinError("write", self._where(key), ErrorKind.IO, reason)
            else:
                taken = 0
            content = b"".join((state.tail, data))
            whole = len(content) - len(content) % GRAIN
            if taken < whole:
                state.doubtful = True
                self._send(key, upload, content[taken:whole], state.sent, "*")
                state.sent += whole - taken
            state.doubtful = False
            state.tail = content[whole:]
        return Part(number, len(data), "")

    def complete(
        self, key: str, upload: str, parts: Sequence[Part], metadata: Mapping[str, str], *, if_absent: bool = False
    ) -> str:
        """Send the rest and the size, which makes the object."""
        state = self._uploads[upload]
        total = sum(part.size for part in parts)
        with state.lock:
            answer = self._send(key, upload, state.tail, state.sent, str(total))
            if answer.status == _RESUME:
                reason = f"the service has not got all of the {total} bytes"
                raise DunlinError("write", self._where(key), ErrorKind.NETWORK, reason)
        self._uploads.pop(upload, None)
        return str(self._json("write", answer)["generation"])

    def abort(self, key: str, upload: str) -> None:
        """Throw an unfinished upload away; absence is no error."""
        self._uploads.pop(upload, None)
        self._client.ask("DELETE", _target_of(upload), self._headers())

    def _send(self, key: str, upload: str, data: bytes, start: int, total: str) -> Answer:
        headers = self._headers()
        headers["content-range"] = f"bytes {start}-{start + len(data) - 1}/{total}" if data else f"bytes */{total}"
        answer = self._client.ask("PUT", _target_of(upload), headers, data)
        if answer.status >= 300 and answer.status != _RESUME:
            raise self._refused("write", key, answer)
        return answer

    def _received(self, key: str, upload: str) -> int:
        """Bytes of the upload that the service has."""
        answer = self._send(key, upload, b"", 0, "*")
        last = answer.headers.get("range", "").rpartition("-")[2]
        received = int(last) + 1 if last.isdigit() else 0
        return received - received % GRAIN  # the emulator says "0-0" for nothing

    # ---- copying, changing, deleting ----

    def copy(self, source: Service, origin: Object, key: str, metadata: Mapping[str, str]) -> str:
        """Copy within the service, however many requests the size takes; see `Service`."""
        if not isinstance(source, GcsService) or source._endpoint != self._endpoint:
            raise DunlinError("copy", self._where(key), ErrorKind.UNSUPPORTED, "the source is another service")
        path = f"{source._at(origin.key)}/rewriteTo/b/{quote(self._bucket, safe='')}/o/{_quoted(key)}"
        query = {"ifSourceGenerationMatch": origin.etag} if origin.etag else {}
        headers = {"content-type": "application/json; charset=utf-8"}
        body = json.dumps({"metadata": dict(metadata)}).encode()
        while True:
            found = self._json("copy to", self._ask("copy to", "POST", key, path, query, headers, body))
            if found.get("done", True):
                return str(found["resource"]["generation"])
            query["rewriteToken"] = found["rewriteToken"]

    def set_metadata(self, key: str, metadata: Mapping[str, str], etag: str = "") -> str:
        """Replace the metadata; the generation stays."""
        found = self.head(key)
        if etag and found.etag != etag:
            raise DunlinError("change", self._where(key), ErrorKind.CHANGED, _OTHER)
        # A patch keeps names that it does not mention: those that are to go are set to null.
        wanted = {**dict.fromkeys(found.metadata or ()), **metadata}
        query = {"ifGenerationMatch": found.etag, "fields": "generation"}
        headers = {"content-type": "application/json; charset=utf-8"}
        body = json.dumps({"metadata": wanted}).encode()
        answer = self._ask("change", "PATCH", key, self._at(key), query, headers, body)
        return str(self._json("change", answer).get("generation", found.etag))

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; all are tried before the first failure is raised."""
        first: DunlinError | None = None
        for key in keys:
            try:
                self._ask("delete", "DELETE", key, self._at(key), {})
            except DunlinError as error:
                if error.kind is not ErrorKind.NOT_FOUND or error.where == self.url:
                    first = first or error
        if first is not None:
            raise first

    # ---- requests ----

    @property
    def _upload_path(self) -> str:
        return f"/upload{self._objects}"

    def _at(self, key: str) -> str:
        return f"{self._objects}/{_quoted(key)}"

    def _headers(self) -> dict[str, str]:
        token = self._token()
        return {"authorization": f"Bearer {token}"} if token else {}

    def _ask(
        self, operation: str, method: str, key: str, path: str, query: Mapping[str, str],
        headers: Mapping[str, str] | None = None, body: bytes = b"", if_absent: bool = False,
    ) -> Answer:  # fmt: skip
        target = f"{path}?{urlencode(query)}" if query else path
        answer = self._client.ask(method, target, {**self._headers(), **(headers or {})}, body)
        if answer.status < 300:
            return answer
        if if_absent and answer.status == 412:
            raise DunlinError(operation, self._where(key), ErrorKind.EXISTS, "there is an object already")
        raise self._refused(operation, key, answer)

    def _refused(self, operation: str, key: str, answer: Answer) -> DunlinError:
        reason, why = f"HTTP status {answer.status}", ""
        try:
            error = json.loads(answer.body)["error"]
            reason, why = str(error["message"]), str((error.get("errors") or [{}])[0].get("reason", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            pass  # a proxy's page, or no text at all: the status says enough
        bucket = answer.status == 404 and ("bucket" in reason.lower() or not key)
        where = self.url if bucket else self._where(key)
        status = 429 if why in ("rateLimitExceeded", "userRateLimitExceeded") else answer.status
        return refusal(status, answer.headers, operation, where, reason.splitlines()[0][:300] if reason else "")

    def _json(self, operation: str, answer: Answer) -> Any:
        try:
            return json.loads(answer.body)
        except ValueError as error:
            reason = "the answer is not JSON"
            raise DunlinError(operation, self.url, ErrorKind.NETWORK, reason, "is this the JSON API?") from error

    def _where(self, key: str) -> str:
        return f"{self.url}/{key}" if key else self.url


def _only_new(if_absent: bool) -> dict[str, str]:
    return {"ifGenerationMatch": "0"} if if_absent else {}


def _quoted(key: str) -> str:
    """A key as one component of a path, which nobody takes for a relative one."""
    return key.replace(".", "%2E") if key in (".", "..") else quote(key, safe="")


def _target_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _object(item: Mapping[str, Any]) -> Object:
    return Object(
        key=str(item["name"]),
        size=int(item.get("size", 0)),
        modified=_moment(str(item.get("timeCreated", ""))),
        etag=str(item.get("generation", "")),
        metadata={str(name).lower(): str(value) for name, value in (item.get("metadata") or {}).items()},
        md5=_digest(str(item.get("md5Hash", ""))),
    )


def _described(key: str, generation: str, headers: Mapping[str, str]) -> Object:
    """What the headers of content tell: all but the metadata."""
    size = headers.get("content-range", "").rpartition("/")[2] or headers.get("content-length", "0")
    hashes = dict(part.strip().partition("=")[::2] for part in headers.get("x-goog-hash", "").split(","))
    return Object(key, int(size), 0, generation, None, _digest(hashes.get("md5", "")))


def _digest(text: str) -> bytes | None:
    return base64.b64decode(text) if text else None


def _moment(text: str) -> int:
    """ns since 1970 of an RFC 3339 time with a fraction of a second."""
    if not text:
        return 0
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000
