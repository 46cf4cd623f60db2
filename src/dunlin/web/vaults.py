"""The repositories of backups that the service looks into: opened when somebody asks, for one tenant at a time.

Theory. To open a repository costs a password's worth of scrypt and some requests, to open a snapshot a pass over its
directories; to look something up in it then takes microseconds. So what was opened is kept, a little of it, and let go
when nobody has asked for a while. Nothing that is kept can become wrong: snapshots, trees and manifests never change.
What does change is which snapshots there are, which is asked anew every few seconds, and where chunks lie, which a
prune may change: whoever meets a pack that is gone asks for the index again.

A `Vault` is what one tenant may see of a repository. It holds the keys of this tenant and no others, so that not even a
fault in the pages above could show what is another's; and for whom a repository is not there it cannot be told from one
that does not exist.

Everything here waits for stores, so it is called in threads of its own (`Vaults.ask`, a few at a time, and
`Vaults.reads` for contents, which each repository has for itself): a share whose server is gone holds up neither
logins nor jobs, nor downloads from others. numpy comes with the first repository that is opened.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

from dunlin.errors import DunlinError, ErrorKind
from dunlin.web.bounded import Bounded
from dunlin.web.problems import STATUS, Refused

if TYPE_CHECKING:
    from dunlin.backup.manifest import Manifest
    from dunlin.backup.repository import Area, Repository, SnapshotName
    from dunlin.backup.snapshot import SnapshotStore
    from dunlin.backup.tree.view import Tree
    from dunlin.stores.login import Login

P = ParamSpec("P")
T = TypeVar("T")

OPEN = 8
"""Repositories that stay open at most, beside those in use."""

IDLE = 300.0
"""Seconds after which one that nobody asked for is let go."""

WAIT = 15.0
"""Seconds that one waits for what another is about to find out. A store that is gone must not take all threads."""

LIFE = 600.0
"""Seconds after which one is opened anew: a disk may have been changed, or another repository made in its place."""

AGAIN = 5.0
"""Seconds before one that could not be opened is tried again."""

OTHER = frozenset({ErrorKind.CORRUPT, ErrorKind.AUTH, ErrorKind.CHANGED})
"""Kinds of errors that may mean that another repository lies there by now: it is opened anew for the next one."""

FRESH, FRESH_FAR = 2.0, 10.0
"""Seconds that the list of a share's snapshots is good, in a repository nearby and in one that costs a request."""

TOGETHER = 8
"""Manifests that are fetched at a time where each costs a request."""

TREES, STORES, MANIFESTS, NAMES, LARGE = 8, 4, 5_000, 64, 8
"""What is kept of a repository for a tenant: open trees, readers, manifests, lists of snapshots, large answers."""

ANSWERS, EACH = 64, 4
"""Small answers that are kept of a repository for a tenant, and for each of its shares: what a list of all shares asks
for must not be gone before the list is drawn again."""

READS, PART = 8, 300.0
"""Parts of files that are read from a repository at a time, and seconds that one waits for its turn and its store."""


class Known(Protocol):
    """A repository of the configuration (`config.repositories.Repository`)."""

    @property
    def name(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def login(self) -> Login: ...
    @property
    def tenants(self) -> tuple[str, ...]: ...
    @property
    def append_only(self) -> bool: ...
    @property
    def cache(self) -> str | None: ...
    def password(self) -> bytes | None: ...


def open_known(known: Known) -> Repository:
    """Open a repository of the configuration. Raises CONFIG, and as `jobs.repo.open_at`."""
    from dunlin.jobs.repo import Place, open_at

    return open_at(Place(known.url, known.login, known.cache), known.password)


# ---- what is kept ----


@contextmanager
def taking(turn: threading.Lock) -> Iterator[None]:
    """Hold a lock that somebody may hold for ever who waits for a store. Raises TIMEOUT."""
    if not turn.acquire(timeout=WAIT):
        raise DunlinError("look into the repository", "", ErrorKind.TIMEOUT, "somebody else still waits for its store")
    try:
        yield
    finally:
        turn.release()


class _Slot:
    __slots__ = ("at", "turn", "value")

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.at: float | None = None
        self.value: object = None


class Answers:
    """What was found out at some cost, by key; the last ones are kept. Safe from several threads.

    Whoever asks for what another is about to find out waits for that.
    """

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        """Args:
        most: answers that are kept. clock: seconds, monotonic.
        """
        self._most, self._clock = most, clock
        self._slots: OrderedDict[Hashable, _Slot] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T], seconds: float | None = None) -> T:
        """The answer, made now where there is none that is younger than so many seconds (None: of any age)."""
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
            while len(self._slots) > self._most:
                self._slots.popitem(last=False)
        with taking(slot.turn):
            if slot.at is None or (seconds is not None and self._clock() - slot.at > seconds):
                slot.value = make()
                slot.at = self._clock()
            return slot.value  # type: ignore[return-value]

    def hold(self, most: int) -> None:
        """Keep so many from now on."""
        with self._lock:
            self._most = most

    def there(self, key: Hashable) -> object | None:
        """The answer, if there is one already."""
        with self._lock:
            slot = self._slots.get(key)
            return slot.value if slot is not None else None

    def drop(self, key: Hashable) -> None:
        """Have an answer made anew."""
        with self._lock:
            self._slots.pop(key, None)


class Vault:
    """What a tenant may see of an open repository. Threads may share it.

    Attributes:
        name: as the configuration calls it. tenant: whose.
        append_only: nothing is removed from it.
        far: to look costs requests.
        answers, large: for what was found out in it, small and large.
    """

    def __init__(
        self, opened: Repository, name: str, tenant: str, append_only: bool, clock: Callable[[], float]
    ) -> None:
        from dunlin.backup.repository import Repository as Opened

        config, secrets, cache = opened.told(tenant)
        self._opened = Opened(opened.objects, config, secrets, cache)
        self.name, self.tenant = name, tenant
        self.append_only = append_only or opened.settings.append_only
        self.far = opened.objects.far
        self._fresh = FRESH_FAR if self.far else FRESH
        self._trees, self._stores = Answers(TREES, clock), Answers(STORES, clock)
        self._manifests, self._names = Answers(MANIFESTS, clock), Answers(NAMES, clock)
        self.answers = Answers(ANSWERS, clock)
        self.large = Answers(LARGE, clock)

    def shares(self) -> list[str]:
        """The names of the shares that hold anything."""
        found = self.answers.get("shares", lambda: self._opened.shares(self.tenant), self._fresh)
        self.answers.hold(ANSWERS + EACH * len(found))
        return found

    def area(self, share: str) -> Area:
        """What one share may reach. Raises USAGE for what is no name."""
        return self._opened.area(self.tenant, share)

    def names(self, share: str) -> list[SnapshotName]:
        """The snapshots of a share, oldest first. Raises USAGE, and NOT_FOUND where there is none."""
        area = self.area(share)
        found = self._names.get(share, area.snapshots, self._fresh)
        if not found:
            raise DunlinError("find a snapshot of", share, ErrorKind.NOT_FOUND, "there is none")
        return found

    def manifest(self, share: str, name: SnapshotName) -> Manifest:
        """What a snapshot is. Raises NOT_FOUND where it was forgotten in this moment, CORRUPT, NEWER."""
        return self._manifests.get(name.key, lambda: self.area(share).manifest(name))

    def manifests(self, share: str, names: list[SnapshotName]) -> list[Manifest]:
        """Those of some snapshots; what was forgotten meanwhile, or cannot be read, is left out."""

        def one(name: SnapshotName) -> Manifest | None:
            try:
                return self.manifest(share, name)
            except DunlinError as error:
                if error.kind not in (ErrorKind.NOT_FOUND, ErrorKind.CORRUPT, ErrorKind.NEWER):
                    raise
                return None

        if self.far and len(names) > TOGETHER:
            with ThreadPoolExecutor(TOGETHER, "manifests") as pool:
                found = list(pool.map(one, names))
        else:
            found = [one(name) for name in names]
        return [each for each in found if each is not None]

    def snapshot(self, share: str, text: str) -> Manifest:
        """The snapshot that is meant: ``latest``, the beginning of an id or of a time. Raises NOT_FOUND, USAGE."""
        from dunlin.backup.repository import meant

        hits = meant(self.names(share), text)
        if not hits:
            raise DunlinError("find the snapshot", text, ErrorKind.NOT_FOUND, "there is none, or no more")
        if len(hits) > 1:
            raise DunlinError("find the snapshot", text, ErrorKind.USAGE, f"it could be {len(hits)} of them")
        return self.manifest(share, hits[0])

    def tree(self, manifest: Manifest) -> Tree:
        """The tree of a snapshot, open. Raises NOT_FOUND, CORRUPT, NEWER."""
        from dunlin.backup.snapshot import open_tree

        return self._trees.get(manifest.id, lambda: open_tree(self.area(manifest.share), manifest))

    def glance(self, manifest: Manifest) -> Tree:
        """The tree of a snapshot for one look: of those that are kept none has to go for it."""
        from dunlin.backup.snapshot import open_tree

        found = self._trees.there(manifest.id)
        return found if found is not None else open_tree(self.area(manifest.share), manifest)  # type: ignore[return-value]

    def looking(self, manifest: Manifest) -> SnapshotStore:
        """A snapshot with the metadata of its files, but not where their content lies."""
        from dunlin.backup.chunks import ChunkIndex
        from dunlin.backup.snapshot import Index, SnapshotStore

        def make() -> SnapshotStore:
            nowhere = ChunkIndex([])
            index = Index(self.tree(manifest), nowhere, nowhere)
            return SnapshotStore(self.area(manifest.share), manifest, index=index)

        return self._stores.get(("looking", manifest.id), make)

    def reading(self, manifest: Manifest) -> SnapshotStore:
        """A snapshot with where the content of its files lies."""
        from dunlin.backup.chunks import ChunkIndex
        from dunlin.backup.marks import for_reading
        from dunlin.backup.snapshot import Index, SnapshotStore

        def make() -> SnapshotStore:
            area = self.area(manifest.share)
            indexes = (ChunkIndex(for_reading(area, small)) for small in (True, False))
            return SnapshotStore(area, manifest, index=Index(self.tree(manifest), *indexes))

        return self._stores.get(("reading", manifest.id), make)

    def moved(self, manifest: Manifest) -> None:
        """Chunks are not where they were: the next `reading` looks again."""
        self._stores.drop(("reading", manifest.id))


# ---- which are open ----


@dataclass(eq=False, repr=False, slots=True)
class _Open:
    """A repository: `opened` and `born`, or why it could not be (`error`), and when. `users`: those who are at it."""

    known: Known
    turn: threading.Lock = field(default_factory=threading.Lock)
    opened: Repository | None = None
    error: DunlinError | None = None
    failed: float = 0.0
    born: float = 0.0
    at: float = 0.0
    users: int = 0
    vaults: dict[str, Vault] = field(default_factory=dict)


class Vaults:
    """Opens the repositories of the configuration, and keeps them open while they are used.

    Args:
        known: those of the configuration, by name, as they are now.
        open: opens one of them; clock: seconds, monotonic.
    """

    def __init__(
        self,
        known: Callable[[], Mapping[str, Known]],
        open: Callable[[Known], Repository] = open_known,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._known, self._open, self._clock = known, open, clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Open] = OrderedDict()
        self._left: list[_Open] = []
        self._looks = Bounded(8, 64)
        self._reads: dict[str, Bounded] = {}

    def tenants(self, name: str) -> tuple[str, ...]:
        """Who may use a repository; nobody where there is none of that name."""
        known = self._known().get(name)
        return known.tenants if known is not None else ()

    async def ask(
        self, name: str, tenant: str, do: Callable[Concatenate[Vault, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What a question about a tenant's part of a repository is answered, in a thread. Raises as `use`, and it."""

        def asked() -> T:
            with self.use(name, tenant) as vault:
                return do(vault, *args, **kwargs)

        return await self._looks(asked)

    def reads(self, name: str) -> Bounded:
        """What makes calls that read contents of a repository. Raises `Refused` where there is none of that name."""
        if name not in self._known():
            raise Refused(404, "there is no such repository")
        with self._lock:
            if name not in self._reads:
                self._reads[name] = Bounded(READS, 64, PART)
            return self._reads[name]

    @contextmanager
    def use(self, name: str, tenant: str) -> Iterator[Vault]:
        """A tenant's part of a repository, open while it is used. Raises `Refused`: 404, and where it cannot be opened.

        What is wrong with its place or password is told without either.
        """
        known = self._known().get(name)
        if known is None or tenant not in known.tenants:
            raise Refused(404, "there is no such repository")
        held = self._hold(known)
        try:
            yield self._vault(held, tenant)
        except DunlinError as error:
            if error.kind in OTHER:
                self._drop(held)
            raise without_place(held.known, error) from error
        finally:
            with self._lock:
                held.users -= 1
                held.at = self._clock()
            self._let_go()

    def look(self) -> None:
        """Let go what nobody has asked for in a while."""
        self._let_go()

    def close(self) -> None:
        """Let go everything; what is in use, when that ends."""
        self._looks.close()
        with self._lock:
            for each in self._reads.values():
                each.close()
            self._left += self._kept.values()
            self._kept.clear()
        self._let_go()

    def _hold(self, known: Known) -> _Open:
        with self._lock:
            held = self._kept.get(known.name)
            old = held is not None and held.opened is not None and self._clock() - held.born > LIFE
            if held is not None and (old or held.known != known):
                self._left.append(self._kept.pop(known.name))
                held = None
            if held is None:
                held = self._kept[known.name] = _Open(known)
            self._kept.move_to_end(known.name)
            held.users += 1
        return held

    def _drop(self, held: _Open) -> None:
        with self._lock:
            if self._kept.get(held.known.name) is held:
                self._left.append(self._kept.pop(held.known.name))

    def _vault(self, held: _Open, tenant: str) -> Vault:
        with taking(held.turn):
            if held.error is not None and self._clock() - held.failed > AGAIN:
                held.error = None
            try:
                if held.error is not None:
                    raise held.error
                if held.opened is None:
                    held.opened, held.born = self._open(held.known), self._clock()
                found = held.vaults.get(tenant)
                if found is None:
                    known = held.known
                    found = held.vaults[tenant] = Vault(
                        held.opened, known.name, tenant, known.append_only, self._clock
                    )
                return found
            except ImportError:
                hint = "install it with its extra: pip install 'dunlin[backup]'"
                raise Refused(503, "this dunlin was installed without what backups need", hint) from None
            except DunlinError as error:
                if held.error is None:
                    held.error, held.failed = error, self._clock()
                raise unopened(held.known.name, error) from error

    def _let_go(self) -> None:
        now = self._clock()
        with self._lock:
            for name, held in list(self._kept.items()):
                if not held.users and (now - held.at > IDLE or len(self._kept) > OPEN):
                    self._left.append(self._kept.pop(name))
            gone = [held for held in self._left if not held.users]
            self._left = [held for held in self._left if held.users]
        for held in gone:
            if held.opened is not None:
                held.opened.close()


def without_place(known: Known, error: DunlinError) -> DunlinError:
    """An error in a repository, which is called by its name: where it lies is nobody's who only uses it."""
    from dunlin.stores.open import canonical_url, local_path

    spellings = {known.url, canonical_url(known.url, known.login), local_path(known.url) or ""} - {""}

    def hidden(words: str) -> str:
        for place in sorted(spellings, key=len, reverse=True):
            words = words.replace(place.rstrip("/") or place, known.name)
        return words

    return DunlinError(error.operation, hidden(error.where), error.kind, hidden(error.reason), hidden(error.hint))


def unopened(name: str, error: DunlinError) -> Refused:
    """Why a repository cannot be opened, for clients: they may be tenants, and places and logins are not theirs."""
    status = {404: 503, 400: 503, 403: 502}.get(STATUS.get(error.kind, 500), STATUS.get(error.kind, 500))
    reason = {
        ErrorKind.NOT_FOUND: "there is none at its place",
        ErrorKind.AUTH: "its password, or the login to its place, is refused",
        ErrorKind.CONFIG: "its password cannot be read",
    }.get(error.kind, error.kind.value)
    hint = "whoever runs the service can look: `dunlin repo stats` says more"
    return Refused(status, f"the repository {name} cannot be opened: {reason}", hint)
