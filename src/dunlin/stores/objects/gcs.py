"""Google Cloud Storage, through its JSON API.

Everything goes through our own client (`wire`): obstore speaks the XML API, which hides what the JSON listing tells
(metadata with every name) and which no emulator serves. Tokens are google-auth's (`gcs_login`).

Versions. An object's *generation* is its version and stands for the etag: reads are pinned to it, and it stays when
only metadata changes. Content and metadata come from different requests (the JSON API sends no custom metadata with
content), so a read that is not pinned asks twice: for the object, then for the content of just that generation.

Encodings. An object stored with ``contentEncoding: gzip`` is decompressed on its way to whoever does not accept gzip,
and then neither its size, nor ranges, nor its MD5 fit what arrives. We accept gzip, never undo it, and refuse an answer
whose encoding is not the stored one.

Uploads. A resumable upload takes its bytes in order, in multiples of 256 KiB; parts are therefore sent one after
the other (`Limits.parallel`), and what is left of a part over such a multiple waits for the next. The service may keep
less than it was sent and tells how much; after a lost answer it is asked. Bytes that it has already are ignored when
they come again. Nothing checks the parts on their way, so the CRC32C of all of them (a thirtieth of MD5's cost) is
compared with the one that the service states of the object, which is deleted if they differ. The last request always
carries at least one byte, so that it is never taken for a question. The upload's address is as good as a password; it
is not kept beyond the process, so an upload that was cut short begins anew.
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from dunlin import hashing
from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.login import Login
from dunlin.stores.objects import gcs_login
from dunlin.stores.objects.answers import FOREIGN, TIMEOUTS, Answer, Timeouts, count, refusal, stranger
from dunlin.stores.objects.gcs_json import (
    ALL,
    FIELDS,
    described,
    digest_of,
    object_of,
    quoted,
    said,
    target_of,
    wants_payer,
)
from dunlin.stores.objects.service import Data, Limits, Object, Page, Part, Service
from dunlin.stores.objects.wire import Client, Reply

ENDPOINT = "https://storage.googleapis.com"
LIMITS = Limits(put=5 << 40, least_part=256 << 10, most_part=1 << 30, parts=1_000_000, page=1000, deletes=1, parallel=1)
GRAIN = 256 << 10
"""Bytes of which every piece of a resumable upload but the last is a multiple."""

LONGEST_KEY = 1024
"""Bytes of a name."""

_THERE = "there is an object already"
_OTHER = "it is another version than the listed one"
_RESUME = 308
_JSON = {"content-type": "application/json; charset=utf-8"}
_DRESS = ("contentType", "contentEncoding", "contentLanguage", "contentDisposition", "cacheControl", "customTime")
"""What a copy loses when it gets metadata of its own, unless it is said again."""
_BY_REASON = {"rateLimitExceeded": 429, "userRateLimitExceeded": 429, "orgPolicyConstraintFailed": 403}
"""Reasons that tell more than the status they come with."""
_ANONYMOUS = "name a key file with --gcs-service-account, or log in with gcloud"
_PAYS = "name the project that pays with --gcs-project"


def open_service(
    bucket: str,
    login: Login,
    *,
    connections: int = 64,
    on_login: Callable[[str], object] | None = None,
    timeouts: Timeouts = TIMEOUTS,
) -> Service:
    """The bucket as a `Service`; nothing is sent to it yet. Raises USAGE for a login that cannot be right."""
    return GcsService(bucket, login, connections, timeouts, on_login)


class _Upload:
    """How far a resumable upload is: the service has all bytes before `tail`, which waits for the next part."""

    def __init__(self) -> None:
        self.begun = 0
        """Where `tail` begins in the object."""
        self.tail = b""
        self.doubtful = False
        """An answer got lost: the service may have more than is known."""
        self.digest = hashing.stated("crc32c")
        """Of all bytes before the end of `tail`."""
        self.lock = threading.Lock()


class GcsService:
    """One bucket; see `Service`, and `open_service` for the arguments."""

    def __init__(
        self,
        bucket: str,
        login: Login,
        connections: int = 64,
        timeouts: Timeouts = TIMEOUTS,
        on_login: Callable[[str], object] | None = None,
    ) -> None:
        self._bucket = bucket
        self._login = login
        self._endpoint = (login["endpoint"] or ENDPOINT).rstrip("/")
        self._tokens = gcs_login.tokens(login, on_login)
        self._payer = ""
        self._client = Client(self._endpoint, connections=connections, **timeouts._asdict())
        self._uploads: dict[str, _Upload] = {}
        # Those that nobody goes on with are never told of: the ones used longest ago are forgotten.
        self._most_uploads = 2 * connections
        self._lock = threading.Lock()
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
        self._tokens.close()

    # ---- looking ----

    def page(self, prefix: str, *, delimiter: str = "", token: str = "", after: str = "", most: int = 0) -> Page:
        """One page of keys; see `Service`."""
        query = {"fields": f"kind,items({FIELDS}),prefixes,nextPageToken", "maxResults": str(most or LIMITS.page)}
        given = {"prefix": prefix, "delimiter": delimiter, "pageToken": token, "startOffset": after}
        query.update({name: value for name, value in given.items() if value})
        found = self._json("list", self._ask("list", "GET", "", self._objects, query))
        try:
            if found["kind"] != "storage#objects":
                raise ValueError(f"it is {found['kind']!r}")
            objects = [object_of(item) for item in found.get("items", ())]
            prefixes = ["".join((prefix, "")) for prefix in found.get("prefixes", ())]
            follows = "".join((found.get("nextPageToken", ""), ""))
        except FOREIGN as error:
            raise self._foreign("list", "", error) from error
        if after:
            # The service begins *at* this name.
            objects = [one for one in objects if one.key > after]
            prefixes = [one for one in prefixes if one > after]
        return Page(objects, prefixes, follows)

    def head(self, key: str) -> Object:
        """Everything about one object; see `Service`."""
        item = self._json("look at", self._ask("look at", "GET", key, self._at(key), {"fields": ALL}))
        try:
            found = object_of(item)
            if found.key != key:
                raise ValueError("it is about another object")
            return found
        except FOREIGN as error:
            raise self._foreign("look at", key, error) from error

    def stated(self, key: str) -> Object:
        """The same: the service tells all checksums with every answer."""
        return self.head(key)

    def get(
        self, key: str, start: int = 0, length: int | None = None, etag: str = ""
    ) -> tuple[Object, Iterator[Data]]:
        """The object and its content from `start`; see `Service`. Without `etag` in two requests."""
        found = self.head(key) if not etag else None
        generation = found.etag if found is not None else etag
        if length == 0 or (found is not None and start >= found.size):
            return self._ended(key, generation, start, found), iter(())
        headers = {"accept-encoding": "gzip"}
        if start or length is not None:
            headers["range"] = f"bytes={start}-{'' if length is None else start + length - 1}"
        target = f"{self._at(key)}?{urlencode({'alt': 'media', 'ifGenerationMatch': generation})}"
        answer, pieces = self._stream(target, headers)
        if answer.status == 416:
            return self._ended(key, generation, start, found), iter(())
        if answer.status >= 300:
            raise self._refused("read", key, answer)
        try:
            self._check(key, generation, start, answer.headers)
            told = described(key, generation, answer.headers)
        except DunlinError:
            pieces.close()
            raise
        except FOREIGN as error:
            pieces.close()
            raise self._foreign("read", key, error) from error
        return found or told, pieces

    def _stream(self, target: str, headers: Mapping[str, str]) -> tuple[Answer, Reply]:
        while True:
            sent = {**self._headers(), **headers}
            answer, pieces = self._client.stream("GET", target, sent)
            if not self._pays(answer, sent):
                return answer, pieces

    def _check(self, key: str, generation: str, start: int, headers: Mapping[str, str]) -> None:
        """Raise unless an answer holds the bytes that were asked for, as they are stored."""
        if not any(name.startswith("x-goog-") for name in headers):
            raise stranger("read", self._where(key), "Google Cloud Storage")
        if headers.get("x-goog-generation", generation) != generation:
            raise DunlinError("read", self._where(key), ErrorKind.CHANGED, _OTHER)
        stored, sent = headers.get("x-goog-stored-content-encoding"), headers.get("content-encoding", "")
        if stored is not None and ("gzip" in stored) != ("gzip" in sent):
            reason = "the service does not send the content as it is stored (gzip was added or undone on the way)"
            raise DunlinError("read", self._where(key), ErrorKind.IO, reason)
        if start and not headers.get("content-range", "").startswith(f"bytes {start}-"):
            raise DunlinError("read", self._where(key), ErrorKind.IO, "the service does not send the range asked for")

    def _ended(self, key: str, generation: str, start: int, found: Object | None) -> Object:
        """The object, of which nothing is to be read from `start`."""
        found = found or self.head(key)
        if found.etag != generation or start > found.size:
            raise DunlinError("read", self._where(key), ErrorKind.CHANGED, _OTHER)
        return found

    # ---- writing ----

    def put(
        self, key: str, data: Data, metadata: Mapping[str, str], *, md5: bytes | None = None, if_absent: bool = False
    ) -> str:
        """Store a whole object in one request; see `Service`."""
        self._need_storable(key)
        about: dict[str, Any] = {"name": key, "metadata": dict(metadata)}
        if md5 is not None:
            about["md5Hash"] = base64.b64encode(md5).decode()
        # Drawn at random, it stands in no content that was made before.
        boundary = b"dunlin-" + secrets.token_hex(16).encode()
        body = b"".join(
            (
                b"--%b\r\ncontent-type: application/json; charset=utf-8\r\n\r\n" % boundary,
                json.dumps(about).encode(),
                b"\r\n--%b\r\ncontent-type: application/octet-stream\r\n\r\n" % boundary,
                data,
                b"\r\n--%b--\r\n" % boundary,
            )
        )
        query = {"uploadType": "multipart", "fields": "generation"}
        if if_absent:
            query["ifGenerationMatch"] = "0"
        headers = {"content-type": f"multipart/related; boundary={boundary.decode()}"}
        answer = self._ask("write", "POST", key, self._upload_path, query, headers, body, if_absent)
        return self._generation("write", key, answer)

    def begin(self, key: str, metadata: Mapping[str, str]) -> str:
        """Begin a resumable upload; its id is the address to which the bytes go."""
        self._need_storable(key)
        body = json.dumps({"name": key, "metadata": dict(metadata)}).encode()
        query = {"uploadType": "resumable", "fields": "generation,crc32c"}
        answer = self._ask("begin the upload of", "POST", key, self._upload_path, query, _JSON, body)
        upload = answer.headers.get("location", "")
        if not upload:
            reason = "the answer names no upload"
            raise DunlinError("begin the upload of", self._where(key), ErrorKind.NETWORK, reason)
        with self._lock:
            self._uploads[upload] = _Upload()
            while len(self._uploads) > self._most_uploads:
                del self._uploads[next(iter(self._uploads))]
        return upload

    def unfinished(self, key: str) -> str:
        """Always "": the address of an upload is not kept."""
        return ""

    def parts(self, key: str, upload: str) -> list[Part]:
        """None that could be recognised."""
        return []

    def part_digest(self, data: Data) -> bytes:
        """None: pieces are not recognised, and only all of them together are checked."""
        return b""

    def part_tag(self, number: int, digest: bytes) -> str:
        """Pieces of a resumable upload have no tags."""
        return ""

    def part(self, key: str, upload: str, number: int, data: Data, digest: bytes) -> Part:
        """Send the next bytes; what is over a multiple of 256 KiB waits for the next part.

        Raises CHANGED when the service has dropped the upload, or bytes of it: it has to begin anew.
        """
        state = self._state(key, upload)
        with state.lock:
            content = memoryview(b"".join((state.tail, data)) if state.tail else data)
            whole = max(len(content) - 1, 0) // GRAIN * GRAIN
            there = self._resumed(key, upload, state, whole) if state.doubtful else 0
            while there < whole:
                state.doubtful = True
                answer = self._send(key, upload, content[there:whole], state.begun + there, "*")
                before, there = there, self._taken(key, answer, state, whole)
                if there <= before:
                    raise DunlinError("write", self._where(key), ErrorKind.NETWORK, "the service took nothing")
            state.doubtful = False
            state.begun += whole
            state.tail = bytes(content[whole:])
            state.digest.update(data)
        return Part(number, len(data), "")

    def complete(
        self, key: str, upload: str, parts: Sequence[Part], metadata: Mapping[str, str], *, if_absent: bool = False
    ) -> str:
        """Send the rest and the size, which makes the object; see `Service`.

        Only the request that begins an upload can have a condition, and whether it wants one is not known
        then: `if_absent` is a look right before the last bytes are sent.

        Raises CHECKSUM when the object does not have the CRC32C of what was sent; it is deleted then.
        """
        state = self._state(key, upload)
        with state.lock:
            answer = self._completed(key, upload, state, sum(part.size for part in parts), if_absent)
            etag = self._generation("write", key, answer)
            stated = digest_of(self._json("write", answer).get("crc32c"))
            if stated not in (None, state.digest.digest()):
                self._forget(upload)
                with contextlib.suppress(DunlinError):
                    self._ask("delete", "DELETE", key, self._at(key), {"ifGenerationMatch": etag})
                reason = f"what was sent has the CRC32C {state.digest.hexdigest()}, the service has another content"
                raise DunlinError("write", self._where(key), ErrorKind.CHECKSUM, reason)
        self._forget(upload)
        return etag

    def _completed(self, key: str, upload: str, state: _Upload, total: int, if_absent: bool) -> Answer:
        """The answer that describes the finished object."""
        there = 0
        try:
            if state.doubtful:
                answer = self._send(key, upload, b"", 0, str(total), asks=True)
                if answer.status != _RESUME:
                    return answer
                there = self._taken(key, answer, state, len(state.tail))
            if if_absent:
                self._refuse_existing(key)
            state.doubtful = True
            answer = self._send(key, upload, state.tail[there:], state.begun + there, str(total), asks=True)
        except DunlinError as error:
            if if_absent and error.kind is ErrorKind.NOT_FOUND:
                self._refuse_existing(key)
            raise
        if answer.status == _RESUME:
            reason = f"the service has not got all of the {total} bytes"
            raise DunlinError("write", self._where(key), ErrorKind.NETWORK, reason)
        return answer

    def _refuse_existing(self, key: str) -> None:
        try:
            self.head(key)
        except DunlinError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
        else:
            raise DunlinError("write", self._where(key), ErrorKind.EXISTS, _THERE)

    def abort(self, key: str, upload: str) -> None:
        """Throw an unfinished upload away; absence is no error."""
        self._forget(upload)
        answer = self._client.ask("DELETE", target_of(upload), self._headers())
        # 499, "client closed request", is how the service says that it is done.
        if answer.status >= 300 and answer.status not in (404, 410, 499):
            raise self._refused("abort the upload of", key, answer)

    def _state(self, key: str, upload: str) -> _Upload:
        with self._lock:
            state = self._uploads.pop(upload, None)
            if state is None:
                raise DunlinError("write", self._where(key), ErrorKind.NOT_FOUND, "no such upload")
            self._uploads[upload] = state
        return state

    def _forget(self, upload: str) -> None:
        with self._lock:
            self._uploads.pop(upload, None)

    def _send(self, key: str, upload: str, data: Data, start: int, total: str, asks: bool = False) -> Answer:
        """Send bytes of an upload, or none to learn how far it is.

        One that the service has dropped is CHANGED, as it has to begin anew; for who `asks`, because it may be
        complete, NOT_FOUND.
        """
        headers = self._headers()
        headers["content-range"] = f"bytes {start}-{start + len(data) - 1}/{total}" if data else f"bytes */{total}"
        answer = self._client.ask("PUT", target_of(upload), headers, data)
        if answer.status < 300 or answer.status == _RESUME:
            return answer
        if answer.status in (404, 410):
            kind = ErrorKind.NOT_FOUND if asks else ErrorKind.CHANGED
            raise DunlinError("write", self._where(key), kind, "the service has dropped the upload")
        raise self._refused("write", key, answer)

    def _resumed(self, key: str, upload: str, state: _Upload, most: int) -> int:
        return self._taken(key, self._send(key, upload, b"", 0, "*"), state, most)

    def _taken(self, key: str, answer: Answer, state: _Upload, most: int) -> int:
        """Bytes that the service has of those behind `state.begun`, of which there are `most`."""
        last = count(answer.headers.get("range", "").rpartition("-")[2])
        received = last + 1 if answer.status == _RESUME and last is not None else 0
        taken = received - received % GRAIN - state.begun  # the emulator says "0-0" for nothing
        if not 0 <= taken <= most:
            raise DunlinError("write", self._where(key), ErrorKind.CHANGED, "the service has lost bytes of the upload")
        return taken

    # ---- copying, changing, deleting ----

    def copy(self, source: Service, origin: Object, key: str, metadata: Mapping[str, str]) -> str:
        """Copy within the service, however many requests the size takes; see `Service`."""
        if not isinstance(source, GcsService) or source._login != self._login:
            raise DunlinError("copy", self._where(key), ErrorKind.UNSUPPORTED, "the source is another service or login")
        self._need_storable(key)
        path = f"{source._at(origin.key)}/rewriteTo/b/{quote(self._bucket, safe='')}/o/{quoted(key)}"
        query = {"fields": "done,rewriteToken,resource(generation)"}
        if origin.etag:
            query["ifSourceGenerationMatch"] = origin.etag
        body = b""
        if origin.metadata is None or dict(origin.metadata) != dict(metadata):
            body = json.dumps({**source._dress(origin.key), "metadata": dict(metadata)}).encode()
        while True:
            answer = self._ask("copy to", "POST", key, path, query, _JSON if body else {}, body)
            found = self._json("copy to", answer)
            if found.get("rewriteToken") and not found.get("done"):
                query["rewriteToken"] = str(found["rewriteToken"])
                continue
            return self._generation("copy to", key, answer, found.get("resource"))

    def _dress(self, key: str) -> dict[str, Any]:
        """What is said of an object's content, in the words of the service."""
        found = self._json("look at", self._ask("look at", "GET", key, self._at(key), {"fields": ",".join(_DRESS)}))
        return {name: found[name] for name in _DRESS if found.get(name)}

    def set_metadata(self, key: str, metadata: Mapping[str, str], etag: str = "") -> str:
        """Replace the metadata; the generation stays."""
        query = {"fields": "generation,metadata"}
        answer = self._ask("look at", "GET", key, self._at(key), query)
        generation = self._generation("look at", key, answer)
        if etag and generation != etag:
            raise DunlinError("change", self._where(key), ErrorKind.CHANGED, _OTHER)
        # A patch keeps names that it does not mention: those that are to go are set to null. They have cases.
        there: Mapping[str, Any] = self._json("look at", answer).get("metadata") or {}
        names = {name.lower(): name for name in there}
        wanted = {**dict.fromkeys(there), **{names.get(name, name): value for name, value in metadata.items()}}
        query = {"ifGenerationMatch": generation, "fields": "generation"}
        body = json.dumps({"metadata": wanted}).encode()
        answer = self._ask("change", "PATCH", key, self._at(key), query, _JSON, body)
        return self._generation("change", key, answer)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; all are tried before the first failure is raised."""
        first: DunlinError | None = None
        for key in keys:
            try:
                answer = self._ask("delete", "DELETE", key, self._at(key), {})
                if answer.status != 204 and answer.body:
                    raise stranger("delete", self._where(key), "Google Cloud Storage")
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
        return f"{self._objects}/{quoted(key)}"

    def storable(self, key: str) -> bool:
        """Whether an object of this name can be made."""
        return (
            "\n" not in key and "\r" not in key and key not in (".", "..")
            and not key.startswith(".well-known/acme-challenge/") and len(key.encode()) <= LONGEST_KEY
        )  # fmt: skip

    def _need_storable(self, key: str) -> None:
        if not self.storable(key):
            reason = "Google Cloud Storage takes no line ends in names, no . and .. and no .well-known/acme-challenge/"
            if len(key.encode()) > LONGEST_KEY:
                reason = f"Google Cloud Storage takes names of up to {LONGEST_KEY} bytes"
            raise DunlinError("write", self._where(key), ErrorKind.NAME, reason, "rename it")

    def _headers(self) -> dict[str, str]:
        token = self._tokens.current()
        headers = {"authorization": f"Bearer {token}"} if token else {}
        if self._payer:
            headers["x-goog-user-project"] = self._payer
        return headers

    def _pays(self, answer: Answer, sent: Mapping[str, str]) -> bool:
        """Whether a request is to be made again with the name of the project that pays for it.

        It is not named to buckets that pay themselves: that needs a permission, and the environment names a project
        to many who do not have it.
        """
        project = self._login["project"]
        if answer.status != 400 or not project or "x-goog-user-project" in sent or not wants_payer(answer):
            return False
        self._payer = project
        return True

    def _ask(
        self, operation: str, method: str, key: str, path: str, query: Mapping[str, str],
        headers: Mapping[str, str] | None = None, body: bytes = b"", if_absent: bool = False,
    ) -> Answer:  # fmt: skip
        target = f"{path}?{urlencode(query)}" if query else path
        while True:
            sent = {**self._headers(), **(headers or {})}
            answer = self._client.ask(method, target, sent, body)
            if answer.status < 300:
                return answer
            if not self._pays(answer, sent):
                break
        if if_absent and answer.status == 412:
            raise DunlinError(operation, self._where(key), ErrorKind.EXISTS, _THERE)
        raise self._refused(operation, key, answer)

    def _refused(self, operation: str, key: str, answer: Answer) -> DunlinError:
        reason, why = said(answer)
        gone = answer.status == 404 and not reason.startswith("No such object")
        where = self.url if not key or (gone and "bucket" in reason.lower()) else self._where(key)
        status = _BY_REASON.get(why.rpartition(".")[2], answer.status)
        hint = ""
        if status == 401 and not self._tokens.given:
            hint = _ANONYMOUS
        elif status == 400 and wants_payer(answer):
            hint = _PAYS
        if answer.status == 404 and not reason:
            reason = "no such object or bucket" if key else "no such bucket"
        error = refusal(status, answer.headers, operation, where, reason, hint)
        if status == 400 and "md5 hash" in reason.lower():
            error.kind = ErrorKind.CHECKSUM
        return error

    def _generation(self, operation: str, key: str, answer: Answer, item: Any = None) -> str:
        """The generation of the object that an answer describes, all of it or its part `item`."""
        try:
            return str((item or self._json(operation, answer))["generation"])
        except (KeyError, TypeError) as error:
            reason = "the answer tells no generation"
            raise DunlinError(operation, self._where(key), ErrorKind.NETWORK, reason) from error

    def _json(self, operation: str, answer: Answer) -> Any:
        try:
            found = json.loads(answer.body)
            return found if isinstance(found, dict) else {}
        except (ValueError, RecursionError) as error:
            reason = "the answer is not JSON"
            raise DunlinError(operation, self.url, ErrorKind.NETWORK, reason, "is this the JSON API?") from error

    def _foreign(self, operation: str, key: str, error: Exception) -> DunlinError:
        reason = f"the answer is not what Google Cloud Storage sends ({type(error).__name__}: {error})"
        return DunlinError(operation, self._where(key), ErrorKind.NETWORK, reason, "is this the JSON API?")

    def _where(self, key: str) -> str:
        return f"{self.url}/{key}" if key else self.url
