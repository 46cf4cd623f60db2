"""Requests to one share: signed, made again by the one retry policy, their answers checked and translated.

**Versions.** From 2026-02-06 on a file can be created with up to 4 MiB of content. A service that does not know that
version says so of the first request, and is asked as of 2024-11-04 from then on (binary security descriptors; dots at
the end of names are of 2022).

**A request whose answer got lost** may have been carried out. `tried` tells an act how often it was tried, so that it
can recognise its own work: a rename by the file's id, which moves with it.

**Somebody else has it open.** An SMB client that holds a file keeps others from changing it, or reading it: 409 with
SharingViolation and its like. That is over in a moment or not for hours, so it is tried a few times (`HELD`) and is
the failure of that file then.

**The version that was listed.** Get File takes no conditions. But the answer to each range names the etag, so a range
of another version is seen before its first byte is used, and a file of several is looked at again at its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.retry import Retry as Policy
from dunlin.pace.retry import retry
from dunlin.stores.azfiles import listing, smb
from dunlin.stores.azfiles.names import stored_path
from dunlin.stores.objects.answers import FOREIGN, TIMEOUTS, Answer, Timeouts, stranger
from dunlin.stores.objects.azure_errors import checked, refused
from dunlin.stores.objects.azure_login import Access
from dunlin.stores.objects.azure_sign import Unsigned
from dunlin.stores.objects.service import Data, Object
from dunlin.stores.objects.wire import Client, Reply
from dunlin.stores.wrap import Retry

T = TypeVar("T")
Query = Sequence[tuple[str, str]]

NEWEST, OLDER = "2026-02-06", "2024-11-04"
MOST = 4 << 20
"""Most bytes of content in one request that writes."""
DIRECTORY = (("restype", "directory"),)
_ACCOUNT = "/"
"""In place of a path below the share: the account itself. No path begins with a slash."""

HELD = Policy(attempts=4, deadline=20.0, base=0.4, kinds=frozenset({ErrorKind.IO}))
"""Around each request: what an SMB client has open may be closed in a moment."""
_OPEN = "an SMB client has it open; --share-snapshot reads such files all the same"
_ROLE = "the login needs the role Storage File Data Privileged Contributor (or Reader, to read)"
_CODES: dict[str, tuple[ErrorKind, str]] = {
    "AuthorizationPermissionMismatch": (ErrorKind.DENIED, _ROLE),
    "InsufficientAccountPermissions": (ErrorKind.DENIED, _ROLE),
    "SharingViolation": (ErrorKind.IO, _OPEN),
    "FileLockConflict": (ErrorKind.IO, _OPEN),
    "DeletePending": (ErrorKind.IO, _OPEN),
    "CannotDeleteFileOrDirectory": (ErrorKind.IO, _OPEN),
    "ClientCacheFlushDelay": (ErrorKind.TIMEOUT, ""),
    # A token may read the source, and yet the service not on its behalf.
    "CannotVerifyCopySource": (ErrorKind.UNSUPPORTED, ""),
    "ShareSnapshotInProgress": (ErrorKind.BUSY, ""),
    "ShareSnapshotCountExceeded": (ErrorKind.DENIED, "a share has up to 200 snapshots: delete some"),
    "ShareSnapshotNotFound": (ErrorKind.NOT_FOUND, "somebody has deleted the share snapshot of this run"),
    "ShareNotFound": (ErrorKind.NOT_FOUND, ""),
    "ShareBeingDeleted": (ErrorKind.NOT_FOUND, "try again in a minute"),
    "ParentNotFound": (ErrorKind.NOT_FOUND, ""),
    "ResourceAlreadyExists": (ErrorKind.EXISTS, ""),
    "ResourceTypeMismatch": (ErrorKind.EXISTS, ""),
    "DirectoryNotEmpty": (ErrorKind.EXISTS, ""),
    "ReadOnlyAttribute": (ErrorKind.DENIED, ""),
    "InvalidFileOrDirectoryPathName": (ErrorKind.NAME, "rename it"),
    "InvalidResourceName": (ErrorKind.NAME, "rename it"),
    "ShareSizeLimitReached": (ErrorKind.NO_SPACE, "raise the share's quota"),
}


class Version(NamedTuple):
    """What the first answers showed: whether the newest version of the interface is known there. None: not yet."""

    newest: bool | None = None


class Share:
    """One share, or one snapshot of it. Safe to use from many threads.

    Args:
        name: the share. found: endpoint and signer. again: the retry policy.
        snapshot: the id of a share snapshot that everything is read from; "" for the share itself.
        connections: how many are kept open. timeouts: of requests.
        sleep: for waiting until an SMB client lets go; seconds.
    """

    def __init__(
        self,
        name: str,
        found: Access,
        again: Retry,
        *,
        snapshot: str = "",
        connections: int = 64,
        timeouts: Timeouts = TIMEOUTS,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        parts = urlsplit(found.endpoint)
        self.url = f"{found.endpoint}/{name}"
        self._name = name
        self.found = found
        self.again = again
        self.snapshot = snapshot
        self._path = f"{parts.path.rstrip('/')}/{name}"
        self._client = Client(f"{parts.scheme}://{parts.netloc}", connections=connections, **timeouts._asdict())
        self._sleep = sleep
        self._version = Version()

    def close(self) -> None:
        """Give back connections."""
        self._client.close()
        self.found.close()

    # ---- any request ----

    def tried(self, act: Callable[[int], T]) -> T:
        """What `act` returns, after as many attempts as the policy allows; it is given their number, from 1."""
        attempts = 0

        def step() -> T:
            nonlocal attempts
            attempts += 1
            return act(attempts)

        return self.again(lambda: retry(step, HELD, sleep=self._sleep))

    def ask(
        self,
        method: str,
        path: str,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        data: Data = b"",
        *,
        operation: str,
        expects: int = 200,
    ) -> Answer:
        """Make a request until it is answered; see `once`."""
        return self.tried(lambda _: self.once(method, path, query, headers, data, operation=operation, expects=expects))

    def once(
        self,
        method: str,
        path: str,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        data: Data = b"",
        *,
        operation: str,
        expects: int = 200,
    ) -> Answer:
        """Make one request about a path below the share ("" for the share or its root).

        `expects`: the status that is documented for success. Raises what the service refuses, NETWORK where not the
        service has answered.
        """
        where = self.where(path)
        while True:
            target, signed = self._signed(method, path, query, headers or {}, len(data))
            answer = self._client.ask(method, target, signed, data)
            if not self._unknown_version(answer, signed):
                break
        return checked(answer, operation, where, self.url, "Azure Files", expects, _CODES)

    def _signed(
        self, method: str, path: str, query: Query, headers: Mapping[str, str], length: int = 0
    ) -> tuple[str, dict[str, str]]:
        common = {
            "x-ms-version": OLDER if self._version.newest is False else NEWEST,
            "x-ms-allow-trailing-dot": "true",
        }
        whole = path == _ACCOUNT or ("restype", "share") in query
        if self.snapshot and not whole and ("comp", "snapshot") not in query:
            query = (*query, ("sharesnapshot", self.snapshot))
        target, signed = self.found.sign(Unsigned(method, self.target(path), query, {**common, **headers}, length))
        if signed.get("authorization", "").startswith("Bearer "):
            # Keys and SAS read past access control lists anyhow; a token's role lets it, if it says so.
            signed["x-ms-file-request-intent"] = "backup"
        return target, signed

    def _unknown_version(self, answer: Answer, signed: Mapping[str, str]) -> bool:
        """Whether a request has to be made as of an older version; notes what the answer shows."""
        if signed["x-ms-version"] != NEWEST:
            return False
        if answer.status == 400 and b"x-ms-version" in answer.body:
            self._version = Version(False)
            return True
        if self._version.newest is None and answer.status < 300 and "x-ms-request-id" in answer.headers:
            self._version = Version(True)
        return False

    def creates_whole(self) -> bool:
        """Whether a small file is created with its content in one request.

        Found out before: a service that does not know of it might take no notice of the content.
        """
        if self._version.newest is None:
            try:
                self.ask("HEAD", "", DIRECTORY, operation="look at")
            except DunlinError as error:
                if error.kind not in (ErrorKind.DENIED, ErrorKind.AUTH):
                    raise
                self._version = Version(False)  # who may write, but not look, need not know
        return self._version.newest is True

    def target(self, path: str) -> str:
        """The escaped path of a URL. Raises NAME."""
        if not path:
            return self._path
        if path == _ACCOUNT:
            return self._path.rpartition("/")[0] + "/"
        return self._path + "/" + "/".join(quote(name, safe="") for name in stored_path(path).split("/"))

    def source(self, path: str) -> str:
        """The whole URL by which one request names the file of another (a copy's or a rename's source)."""
        target, _ = self.found.sign(Unsigned("GET", self.target(path), (), {}))
        return self._client.endpoint + target

    def where(self, path: str) -> str:
        """A path for messages."""
        return f"{self.url}/{path}" if path and path != _ACCOUNT else self.url

    # ---- looking ----

    def page(self, path: str, token: str = "", most: int = 0) -> listing.Page:
        """One page of a directory: attributes, times, etags and permission keys of everything in it."""
        query = [("restype", "directory"), ("comp", "list"), ("include", listing.INCLUDE)]
        if token:
            query.append(("marker", token))
        if most:
            query.append(("maxresults", str(min(most, 5000))))
        headers = {"x-ms-file-extended-info": "true"}
        answer = self.ask("GET", path, query, headers, operation="list")
        return listing.page(answer.body, self.where(path))

    def look(self, path: str, directory: bool) -> smb.Told:
        """All about a file, or a directory. Raises NOT_FOUND, also for what is the other."""
        query = DIRECTORY if directory else ()
        try:
            answer = self.ask("HEAD", path, query, operation="look at")
        except DunlinError as error:
            if error.kind is ErrorKind.EXISTS:
                raise DunlinError("look at", error.where, ErrorKind.NOT_FOUND, error.reason) from error
            raise
        return self.told(path, answer.headers, directory, "look at")

    def told(self, path: str, headers: Mapping[str, str], directory: bool, operation: str) -> smb.Told:
        """What the headers of an answer say. Raises NETWORK for those that are not the service's."""
        try:
            return smb.told(headers, directory)
        except FOREIGN as error:
            raise stranger(operation, self.where(path), f"Azure Files ({type(error).__name__}: {error})") from error

    def ranges(self, path: str, etag: str) -> list[tuple[int, int]]:
        """What is allocated of a file, as first and behind last byte. Raises CHANGED for another version."""
        answer = self.ask("GET", path, (("comp", "rangelist"),), operation="read")
        self._pinned(path, answer.headers, etag)
        return listing.ranges(answer.body, self.where(path))

    def _pinned(self, path: str, headers: Mapping[str, str], etag: str) -> None:
        if etag and headers.get("etag", "").strip('"') != etag:
            raise DunlinError("read", self.where(path), ErrorKind.CHANGED, "another version stands there")

    # ---- content: what `objects.reading` asks of a service ----

    def get(self, key: str, start: int = 0, length: int | None = None, etag: str = "") -> tuple[Object, Iterator[Data]]:
        """A file and its content from `start`, of the version `etag`; see `Service.get`. `key`: its path."""
        found, body = self.content(key, start, length, etag)
        return Object(key, found.size, found.written, found.etag), body

    def content(
        self, path: str, start: int = 0, length: int | None = None, etag: str = ""
    ) -> tuple[smb.Told, Iterator[Data]]:
        """All about a file, and its content from `start`. Raises CHANGED where a directory stands there by now."""
        if length == 0:
            return self._nothing(path, etag)
        headers = {}
        if start or length is not None:
            headers["x-ms-range"] = f"bytes={start}-{'' if length is None else start + length - 1}"
        try:
            answer, body = self.tried(lambda _: self._stream(path, headers))
        except DunlinError as error:
            if error.kind is ErrorKind.CHANGED and error.reason.startswith("InvalidRange"):
                return self._nothing(path, etag)
            if etag and error.kind in (ErrorKind.NOT_FOUND, ErrorKind.EXISTS) and self.is_directory(path):
                raise DunlinError("read", error.where, ErrorKind.CHANGED, "a directory stands there") from error
            if error.kind is ErrorKind.EXISTS:
                raise DunlinError("read", error.where, ErrorKind.NOT_FOUND, error.reason) from error
            raise
        try:
            self._pinned(path, answer.headers, etag)
            return self.told(path, answer.headers, False, "read"), body
        except DunlinError:
            body.close()
            raise

    def _stream(self, path: str, headers: Mapping[str, str]) -> tuple[Answer, Reply]:
        target, signed = self._signed("GET", path, (), headers)
        answer, body = self._client.stream("GET", target, signed)
        if self._unknown_version(answer, signed):
            return self._stream(path, headers)
        if answer.status >= 300:
            raise refused(answer, "read", self.where(path), self.url, _CODES)
        if "x-ms-request-id" not in answer.headers:
            body.close()
            raise stranger("read", self.where(path), "Azure Files")
        return answer, body

    def _nothing(self, path: str, etag: str) -> tuple[smb.Told, Iterator[Data]]:
        found = self.look(path, False)
        self._pinned(path, {"etag": found.etag}, etag)
        return found, iter(())

    def stated(self, key: str) -> Object:
        """The file: nobody states a checksum of one, since SMB clients write to it at any place."""
        found = self.look(key, False)
        return Object(key, found.size, found.written, found.etag)

    def is_directory(self, path: str) -> bool:
        """Whether a directory stands at a path."""
        try:
            self.look(path, True)
        except DunlinError as error:
            if error.kind is ErrorKind.NOT_FOUND:
                return False
            raise
        return True

    # ---- the share ----

    def free_space(self) -> int:
        """Bytes that the quota leaves, by what the service thinks is used."""
        quota = self.ask("GET", "", (("restype", "share"),), operation="ask about")
        stats = self.ask("GET", "", (("restype", "share"), ("comp", "stats")), operation="ask about")
        try:
            used = int(stats.body.partition(b"<ShareUsageBytes>")[2].partition(b"<")[0])
            return max(0, (int(quota.headers["x-ms-share-quota"]) << 30) - used)
        except FOREIGN as error:
            raise stranger("ask about", self.url, "Azure Files") from error

    def take_snapshot(self, mark: str = "") -> str:
        """Make a share snapshot with a mark, and return its id."""
        headers = {"x-ms-meta-made_by": "dunlin", **({"x-ms-meta-run": mark} if mark else {})}
        query = (("restype", "share"), ("comp", "snapshot"))
        answer = self.ask("PUT", "", query, headers, operation="make a snapshot of", expects=201)
        if not answer.headers.get("x-ms-snapshot"):
            raise stranger("make a snapshot of", self.url, "Azure Files")
        return answer.headers["x-ms-snapshot"]

    def snapshots(self) -> list[tuple[str, str]]:
        """The snapshots that dunlin made of the share, and the mark of each.

        They are in the list of all shares only, which the login of a single share may not see: DENIED, AUTH.
        """
        found: list[tuple[str, str]] = []
        token = ""
        while True:
            query = [("comp", "list"), ("include", "snapshots,metadata"), ("prefix", self._name)]
            query += [("marker", token)] if token else []
            answer = self.ask("GET", _ACCOUNT, query, operation="list the snapshots of")
            marks, token = listing.snapshots(answer.body, self._name, self.url)
            found += marks
            if not token:
                return found

    def drop_snapshot(self, snapshot: str) -> None:
        """Delete a share snapshot; absence is no error."""
        query = (("restype", "share"), ("sharesnapshot", snapshot))
        try:
            self.ask("DELETE", "", query, operation="delete the snapshot of", expects=202)
        except DunlinError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
