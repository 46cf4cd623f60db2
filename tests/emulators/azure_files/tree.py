"""What the account holds: shares, their snapshots, and in each a tree of nodes.

A share snapshot is a share of its own whose tree was copied when it was taken (nodes are copied, content is shared:
see content.py). The account's lock is held while a request is carried out, never while bytes are sent or received.
"""

from __future__ import annotations

import itertools
import threading
import uuid
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime

from tests.emulators.azure_files import times
from tests.emulators.azure_files.content import Arena, Content
from tests.emulators.azure_files.names import ORDERS, Order, components, folded
from tests.emulators.azure_files.security import DEFAULT_DESCRIPTOR, key_of
from tests.emulators.azure_files.wire import Refused, Request

FIRST_ID = 13_835_058_055_282_163_712
"""File ids are 64 bits without a sign; the service's have the highest ones set."""
ROOT_ID = 0
YEAR_ONE = 504_911_232_000_000_000
"""Ticks from the year 1, where entity tags begin, to 1601."""
READ_ONLY = 1
DIRECTORY = 16
ARCHIVE = 32


@dataclass(slots=True, eq=False)
class Lease:
    """The lease on a file or a share: `state` is available, leased or broken; "" as id when there was none."""

    id: str = ""
    state: str = "available"
    duration: str = ""

    def check(self, request: Request, *, header: str = "x-ms-lease-id") -> None:
        """Let a change pass. Raises Refused when the lease forbids it."""
        given = request.headers.get(header, "")
        if self.state == "leased" and not given:
            raise Refused("LeaseIdMissing")
        if self.state == "leased" and given.lower() != self.id:
            raise Refused("LeaseIdMismatchWithFileOperation")
        if self.state != "leased" and given:
            raise Refused("LeaseNotPresentWithFileOperation")

    def headers(self) -> dict[str, str]:
        """As properties tell it."""
        found = {"x-ms-lease-state": self.state, "x-ms-lease-status": "unlocked"}
        if self.state == "leased":
            found |= {"x-ms-lease-status": "locked", "x-ms-lease-duration": self.duration}
        return found


@dataclass(slots=True, eq=False)
class Node:
    """A file or a directory. Times are ticks; `content` is None for a directory, `children` None for a file."""

    name: str
    id: int
    parent: Node | None
    attributes: int
    permission: str
    created: int
    written: int
    changed: int
    accessed: int
    modified: int
    etag: str
    metadata: dict[str, str] = field(default_factory=dict)
    children: dict[str, Node] | None = None
    content: Content | None = None
    headers: dict[str, str] = field(default_factory=dict)
    """Content-Type, Content-MD5 and their like; the copy headers too."""
    lease: Lease | None = None
    handle: str = ""
    """The error that a change of this file meets, as when an SMB client holds it open."""
    sorted: tuple[str, list[bytes], list[Node]] | None = None

    def is_directory(self) -> bool:
        """Whether it can have children."""
        return self.children is not None

    def path(self) -> str:
        """Names below the share, with slashes between them."""
        names: list[str] = []
        node: Node | None = self
        while node and node.parent:
            names.append(node.name)
            node = node.parent
        return "/".join(reversed(names))

    def listed(self, order: str, first: str) -> tuple[list[Node], int]:
        """The children in an order, and the index of the one with a name, or of what follows it."""
        assert self.children is not None
        if self.sorted is None or self.sorted[0] != order:
            key: Order = ORDERS[order]
            nodes = sorted(self.children.values(), key=lambda node: key(node.name))
            self.sorted = order, [key(node.name) for node in nodes], nodes
        _, keys, nodes = self.sorted
        return nodes, bisect_left(keys, ORDERS[order](first)) if first else 0


@dataclass(slots=True, eq=False)
class Share:
    """A share, or with `snapshot` (a time) one of its snapshots."""

    name: str
    root: Node
    quota: int
    etag: str
    modified: int
    metadata: dict[str, str]
    permissions: dict[str, bytes]
    """Security descriptors by key; shared with the snapshots."""
    tier: str = "TransactionOptimized"
    root_squash: str = ""
    policies: bytes = b""
    snapshot: str = ""
    snapshots: dict[str, Share] = field(default_factory=dict)
    lease: Lease = field(default_factory=Lease)

    def keep(self, descriptor: bytes) -> str:
        """The key of a security descriptor, the same one each time."""
        key = key_of(self.name, descriptor)
        self.permissions[key] = descriptor
        return key

    def used(self) -> int:
        """Bytes that its files hold."""
        total, waiting = 0, [self.root]
        while waiting:
            node = waiting.pop()
            total += node.content.used() if node.content else 0
            waiting += node.children.values() if node.children else ()
        return total


@dataclass(slots=True, eq=False)
class Account:
    """All that one emulator keeps."""

    name: str
    keys: tuple[bytes, ...]
    token: str
    order: str
    page_limit: int
    deleting_s: float
    arena: Arena = field(default_factory=Arena)
    shares: dict[str, Share] = field(default_factory=dict)
    leaving: dict[str, int] = field(default_factory=dict)
    """Deleted shares whose names are free again at a time."""
    properties: bytes = b""
    lock: threading.RLock = field(default_factory=threading.RLock)
    ids: itertools.count[int] = field(default_factory=lambda: itertools.count(FIRST_ID))
    clock: Callable[[], int] = times.now
    tick: int = 0

    def now(self) -> int:
        """This moment, never the same one twice."""
        self.tick = max(self.tick + 1, self.clock())
        return self.tick

    def share(self, request: Request, *, change: bool = False) -> Share:
        """The share, or snapshot, that a request names. Raises Refused; a snapshot is not to be changed."""
        share = self.shares.get(request.path[0])
        if share is None:
            raise Refused("ShareNotFound")
        when = request.query.get("sharesnapshot")
        if when is None:
            return share
        if change:
            raise Refused("ShareSnapshotOperationNotSupported")
        try:
            return share.snapshots[when]
        except KeyError:
            raise Refused("ShareSnapshotNotFound") from None

    def touch(self, node: Node, *, written: bool = False) -> None:
        """Note that a node was changed, with its content when `written`."""
        node.changed = node.modified = self.now()
        node.etag = etag(node.modified)
        if written:
            node.written = node.modified

    def new(self, name: str, parent: Node | None, permission: str, *, directory: bool) -> Node:
        """A node made now, not yet in its directory."""
        now = self.now()
        return Node(
            name, next(self.ids) if parent else ROOT_ID, parent, DIRECTORY if directory else ARCHIVE, permission,
            now, now, now, now, now, etag(now), children={} if directory else None,
            content=None if directory else Content(self.arena),
        )  # fmt: skip

    def new_share(self, name: str, quota: int) -> Share:
        """An empty share, not yet in the account."""
        now = self.now()
        key = key_of(name, DEFAULT_DESCRIPTOR)
        root = self.new("", None, key, directory=True)
        return Share(name, root, quota, etag(now), now, {}, {key: DEFAULT_DESCRIPTOR})

    def put(self, node: Node) -> None:
        """Add a node to its directory, in place of one with the same name; the directory's own times follow (SMB)."""
        assert node.parent is not None
        assert node.parent.children is not None
        node.parent.children[folded(node.name)] = node
        self.entered(node.parent)

    def drop(self, node: Node) -> None:
        """Take a node out of its directory."""
        assert node.parent is not None
        assert node.parent.children is not None
        del node.parent.children[folded(node.name)]
        self.entered(node.parent)

    def entered(self, directory: Node) -> None:
        """Note that a directory's entries changed: its SMB times do, Last-Modified and ETag do not."""
        directory.written = directory.changed = self.now()
        directory.sorted = None


def etag(ticks: int) -> str:
    """An entity tag for the state that a thing has since a time."""
    return f'"0x{ticks + YEAR_ONE:X}"'


def find(share: Share, names: Sequence[str]) -> Node | None:
    """The node at a path."""
    node: Node | None = share.root
    for name in names:
        if node is None or node.children is None:
            return None
        node = node.children.get(folded(name))
    return node


def parent_of(share: Share, names: Sequence[str]) -> Node:
    """The directory that holds, or would hold, a path. Raises Refused."""
    parent = find(share, names[:-1])
    if parent is None or parent.children is None:
        raise Refused("ParentNotFound")
    return parent


def existing(share: Share, request: Request, *, directory: bool) -> Node:
    """The file or directory that a request names. Raises Refused."""
    names = components(request.path[1:], request)
    parent_of(share, names)
    node = find(share, names)
    if node is None or node.is_directory() != directory:
        raise Refused("ResourceNotFound")
    return node


def copied(node: Node, parent: Node | None) -> Node:
    """A copy of a tree that shares only immutable things with it."""
    twin = replace(
        node, parent=parent, metadata=dict(node.metadata), headers=dict(node.headers), lease=None, handle="",
        sorted=None, content=node.content.copy() if node.content else None, children=None,
    )  # fmt: skip
    if node.children is not None:
        twin.children = {key: copied(child, twin) for key, child in node.children.items()}
    return twin


def new_id() -> str:
    """An id for a lease, a request or a copy."""
    return str(uuid.uuid4())


def skew(request: Request, now: int) -> float:
    """How many seconds a request's date is off. Raises Refused when it has none that can be read."""
    text = request.headers.get("x-ms-date") or request.headers.get("date", "")
    try:
        sent = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError):
        raise Refused("AuthenticationFailed") from None
    return abs(sent + times.UNIX_EPOCH - now / times.TICKS)
