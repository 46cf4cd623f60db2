"""What a cloud service does for `ObjectStore`: requests on keys, nothing about directories.

One class per service (`s3.S3Service`, `azure.AzureService`, `gcs.GcsService`) has these methods. Each is
one request, or one page of requests, and is made once: what failed is raised as `DunlinError`, and the
retry policy around the service decides. A server that says how long to wait is quoted in the error's
attribute `retry_after` (seconds). Keys are passed and returned verbatim, whatever they hold; metadata
names are lower case.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

Data = bytes | memoryview


class Object(NamedTuple):
    """What a service says of one object.

    Attributes:
        key: its whole key, as stored.
        size: bytes. modified: Last-Modified, ns since 1970. etag: the version, without quotes.
        metadata: the user's metadata; None where the answer does not tell (an S3 listing), {} for none.
        md5: digest of the content, where the service states one; else None.
        archived: the content must be brought back from an archive tier before it can be read.
        sums: other checksums of the whole content that the service states, by the names of `hashing.stated`; None
            where this answer does not tell, and `Service.stated` may.
    """

    key: str
    size: int
    modified: int
    etag: str
    metadata: Mapping[str, str] | None = None
    md5: bytes | None = None
    archived: bool = False
    sums: tuple[tuple[str, bytes], ...] | None = ()


class Page(NamedTuple):
    """One page of a listing, in the service's order.

    Attributes:
        objects: those listed. prefixes: with a delimiter, the common prefixes, each ending in it.
        token: where the next page begins; "" on the last one.
    """

    objects: list[Object]
    prefixes: list[str]
    token: str


class Part(NamedTuple):
    """A part that the service has of an unfinished upload: its number from 1, bytes, and its tag."""

    number: int
    size: int
    tag: str


class Limits(NamedTuple):
    """Limits of a service: bytes of a single put, bytes per part, parts of an object, keys per page and delete, parts
    of one object under way at a time. `marked`: its parts have names of our own, so that no other program's are taken
    for them."""

    put: int
    least_part: int
    most_part: int
    parts: int
    page: int
    deletes: int
    parallel: int = 64
    marked: bool = False


class Gets(Protocol):
    """What reading needs of a service; see `Service`."""

    def get(
        self, key: str, start: int = 0, length: int | None = None, etag: str = ""
    ) -> tuple[Object, Iterator[Data]]: ...

    def stated(self, key: str) -> Object: ...


class Service(Protocol):
    """One bucket or container. Safe to use from many threads."""

    @property
    def url(self) -> str:
        """Scheme and bucket, as in ``s3://bucket``: for messages and the state, never with credentials."""

    @property
    def limits(self) -> Limits: ...

    @property
    def ordered(self) -> bool:
        """Whether the service documents that listings come in the order of the keys' UTF-8 bytes."""

    @property
    def metadata_listed(self) -> bool:
        """Whether a listing tells metadata; where it does not, nobody asks for each object."""

    def page(self, prefix: str, *, delimiter: str = "", token: str = "", after: str = "", most: int = 0) -> Page:
        """One page of the keys that begin with `prefix`, a plain string.

        Args:
            delimiter: "/" to fold what lies deeper into `prefixes`; "" for a flat listing.
            token: the `Page.token` of the page before.
            after: only keys behind this one, where the service can; else UNSUPPORTED. Not with `token`.
            most: keys per page; 0: as many as the service gives.

        Raises NOT_FOUND when there is no such bucket, AUTH, DENIED, BUSY, NETWORK, TIMEOUT.
        """

    def head(self, key: str) -> Object:
        """Everything about one object, metadata included; `sums` perhaps not. Raises NOT_FOUND."""

    def stated(self, key: str) -> Object:
        """As `head`, with all `sums`; DENIED may be raised where the content cannot be read."""

    def get(
        self, key: str, start: int = 0, length: int | None = None, etag: str = ""
    ) -> tuple[Object, Iterator[Data]]:
        """The object and its content from `start`, in one request.

        The `Object` describes the whole object (size, metadata, etag), whatever part of it is asked for.
        `etag` pins the version: another one raises CHANGED. The iterator raises NETWORK or TIMEOUT when the
        body breaks off, also where the connection ends early without an error. A `start` at the end gives nothing.
        Raises NOT_FOUND; DENIED with a hint for archived objects.
        """

    def put(
        self, key: str, data: Data, metadata: Mapping[str, str], *, md5: bytes | None = None, if_absent: bool = False
    ) -> str:
        """Store a whole object in one request; returns its etag.

        `md5`: the service checks the content against it (CHECKSUM when it differs) and keeps it where it can.
        `if_absent`: EXISTS is raised when there is an object already.
        """

    def begin(self, key: str, metadata: Mapping[str, str]) -> str:
        """Begin an upload in parts; returns its id."""

    def unfinished(self, key: str) -> str:
        """The id of the newest unfinished upload of `key`, or ""."""

    def parts(self, key: str, upload: str) -> list[Part]:
        """The parts that the service has of an unfinished upload."""

    def part(self, key: str, upload: str, number: int, data: Data, digest: bytes) -> Part:
        """Send one part with a checksum that the service checks; `digest` is its `part_digest`."""

    def part_digest(self, data: Data) -> bytes:
        """What tells a part from any other content, by accident at least; as cheap as the service allows."""

    def part_tag(self, number: int, digest: bytes) -> str:
        """The tag that a part with this digest has, by which parts that are there already are recognised."""

    def complete(
        self, key: str, upload: str, parts: Sequence[Part], metadata: Mapping[str, str], *, if_absent: bool = False
    ) -> str:
        """Make the object from its parts; returns its etag."""

    def abort(self, key: str, upload: str) -> None:
        """Throw an unfinished upload away; absence is no error."""

    def copy(self, source: Service, origin: Object, key: str, metadata: Mapping[str, str]) -> str:
        """Copy `origin` of `source` to `key` within the service, without its bytes passing here; returns the etag.

        Raises UNSUPPORTED when `source` is another service, account or endpoint, or the object is too large
        for one request; CHANGED when `origin` has another etag by now.
        """

    def set_metadata(self, key: str, metadata: Mapping[str, str], etag: str = "") -> str:
        """Replace the metadata of an object; returns the etag it has then."""

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects, at most `limits.deletes`; absence is no error."""

    def close(self) -> None:
        """Give back connections."""
