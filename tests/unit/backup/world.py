"""Two tenants, of which one has two shares, in memory; a test chooses clocks, deaths and coincidences."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from dataclasses import replace

from dunlin.backup import prune, repository
from dunlin.backup.objects import Found, Objects
from dunlin.backup.repository import Area, Settings
from dunlin.backup.snapshot import SnapshotStore
from dunlin.backup.verified import Subset
from dunlin.backup.verify import verify
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import MODE, join
from dunlin.pace.stop import Stop
from dunlin.report import NullReport
from dunlin.stores.base import Body, Meta
from dunlin.stores.memory import CAPS, MemoryStore
from dunlin.workers.savers import Asked
from dunlin.workers.saving import back_up

SHARES = ("docs", "pictures")
TENANTS = {"docs": "acme", "pictures": "acme", "elsewhere": "beta"}
"""Whose a share is."""

NAMES = ("a", "b", "d/a", "d/b", "d/e/a", "f/a")
CONTENTS = [bytes([number]) * size for number in range(5) for size in (40, 150)]
FAR = replace(CAPS, far=True)
TROUBLE = (ErrorKind.BUSY, ErrorKind.LOCKED, ErrorKind.IO, ErrorKind.NETWORK)
"""What a process may end with on a bad day."""

Hook = Callable[[], None]


class Client(Objects):
    """Objects as one process sees them: before one of its writings something happens, or it dies.

    `lost`: the answer to the next writing does not come, though it was done.
    """

    def __init__(self, store: MemoryStore, at: int = -1, hook: Hook | None = None) -> None:
        super().__init__(store)
        self._at, self._hook = at, hook
        self.dead = self.lost = False

    def put(self, key: str, data: bytes | bytearray | memoryview, *, if_absent: bool = False) -> Found:
        self._step()
        return self._answered(super().put(key, data, if_absent=if_absent))

    def put_file(self, key, path, **how):  # type: ignore[no-untyped-def]
        self._step()
        return self._answered(super().put_file(key, path, **how))

    def _answered(self, found: Found) -> Found:
        if self.lost:
            self.lost = False
            raise DunlinError("write", "", ErrorKind.NETWORK, "the connection broke")
        return found

    def remove(self, keys) -> None:  # type: ignore[no-untyped-def]
        if any("/snapshots/" not in key for key in keys):
            self._step()
        super().remove(keys)

    def close(self) -> None:
        pass

    def _step(self) -> None:
        self._at -= 1
        if self._at == -1 and self._hook is not None:
            self._hook()
        if self.dead:
            raise DunlinError("write", "", ErrorKind.IO, "the process is dead")


class World:
    def __init__(self) -> None:
        self.now, self.own = 10**18, 0.0
        self.store = MemoryStore(clock=self.tick)
        repository.init(Client(self.store), None, Settings(small=100))
        self.sources = {share: MemoryStore(share, clock=self.tick, caps=FAR) for share in TENANTS}
        for source in self.sources.values():
            for folder in ("d", "d/e", "f"):
                source.make_directory(folder)
        self.files: dict[str, dict[str, bytes]] = {share: {} for share in TENANTS}
        self.expected: dict[str, dict[str, bytes]] = {}
        self.lost = set[tuple[str, bytes]]()
        """Shares with content that was in packs that went bad, and that nobody has stored again."""

    def tick(self) -> int:
        self.now += 1_000_000
        return self.now

    def pass_time(self, seconds: float) -> None:
        self.now += int(seconds * 1e9)
        self.own += seconds

    def area(self, share: str, client: Objects | None = None) -> Area:
        opened = repository.open_repository(client or Client(self.store), lambda: None)
        return opened.area(TENANTS[share], share)

    def change(self, share: str, name: str, content: bytes | None) -> None:
        if content is not None:
            body = Body(len(content), lambda start: iter([content[start:]]))
            self.sources[share].write(name, body, meta=Meta(mtime=self.tick()))
            self.files[share][name] = content
        elif self.files[share].pop(name, None) is not None:
            self.sources[share].delete([name])

    def back_up(self, share: str, at: int = -1, hook: Callable[[Client], None] | None = None) -> None:
        client = Client(self.store, at, lambda: hook(client) if hook is not None else None)
        area = self.area(share, client)
        before = {name.id for name in self.area(share).snapshots()}
        try:
            back_up(
                Asked("memory://", movers=1), area, lambda: self.sources[share], lambda: area.repository, Stop(),
                NullReport(), clock=lambda: self.now, monotonic=lambda: self.own,
            )  # fmt: skip
        except DunlinError as error:
            if error.kind not in TROUBLE:
                raise
        for name in self.area(share).snapshots():
            if name.id not in before and name.id not in self.expected:
                self.expected[name.id] = dict(self.files[share])

    def prune(
        self, at: int = -1, hook: Callable[[Client], None] | None = None, unused: float = 0.0, share: str = "docs",
        small: int = 2,
    ) -> None:  # fmt: skip
        """Of the tenant whose `share` is."""
        client = Client(self.store, at, lambda: hook(client) if hook is not None else None)
        try:
            prune.prune(
                self.area(share, client).repository, TENANTS[share], "somebody", max_unused=unused, most_small=small,
                clock=lambda: self.own,
            )  # fmt: skip
        except DunlinError as error:
            if error.kind not in TROUBLE:
                raise

    def forget(self, share: str, number: int) -> None:
        area = self.area(share)
        names = area.snapshots()
        if names:
            area.objects.remove([names[number % len(names)].key])

    def rot(self, keys: Iterable[str]) -> None:
        """Let packs go bad that lie under these keys."""
        objects = Client(self.store)
        for key in keys:
            raw = bytearray(objects.get(key))
            raw[20:36] = bytes(letter ^ 0xFF for letter in raw[20:36])
            objects.put(key, raw)

    def verify(self, tenant: str = "acme") -> None:
        """See that a verification that reads everything tells what is lost, and nothing else; backups then know it."""
        areas = [self.area(share) for share, whose in TENANTS.items() if whose == tenant]
        told = {(each.snapshot, each.path): each.share for each in verify(areas, data=Subset()).lost}
        assert told == {(name, path): share for share, name, path in self._missed() if TENANTS[share] == tenant}
        self.lost |= {(share, self.expected[name][path]) for (name, path), share in told.items()}

    def restores(self) -> None:
        missed = {(share, self.expected[name][path]) for share, name, path in self._missed()}
        assert missed <= self.lost
        self.lost = missed

    def _missed(self) -> list[tuple[str, str, str]]:
        """The files (share, snapshot, path) that do not restore; all else does."""
        missed = []
        for share in TENANTS:
            area = self.area(share)
            for name in area.snapshots():
                paths: list[str] = []
                found = content(SnapshotStore(area, area.manifest(name)), "", paths)
                assert found == {path: data for path, data in self.expected[name.id].items() if path not in paths}
                missed += [(share, name.id, path) for path in paths]
        return missed


def content(store: SnapshotStore, directory: str = "", missed: list[str] | None = None) -> dict[str, bytes]:
    """All files of a snapshot; those that are damaged are added to `missed`; None: that is raised."""
    found: dict[str, bytes] = {}
    for batch in store.list(directory):
        for name, facts in batch:
            path = join(directory, name)
            if stat.S_ISDIR(facts[MODE]):
                found |= content(store, path, missed)
                continue
            try:
                found[path] = b"".join(map(bytes, store.read(store.stat(path))))
            except DunlinError as error:
                if missed is None or error.kind is not ErrorKind.IO:
                    raise
                missed.append(path)
    return found


def every(world: World) -> list[str]:
    """The keys of all objects."""
    found = []
    for batch in world.store.walk(""):
        found += [name for name, facts in batch if not stat.S_ISDIR(facts[MODE])]
    return found
