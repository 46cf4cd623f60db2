"""Every object of a repository in turn, damaged in every way: it is found, named, and nobody gets wrong bytes."""

from __future__ import annotations

import random
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from dunlin.backup import keys, marks, prune, repository
from dunlin.backup.objects import Objects
from dunlin.backup.repository import Area, Settings
from dunlin.backup.snapshot import SnapshotStore
from dunlin.backup.verified import Subset
from dunlin.backup.verify import Verified, verify
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import MODE, MTIME, SIZE, join
from dunlin.pace.stop import Stop
from dunlin.report import NullReport
from dunlin.stores.base import Body, Meta
from dunlin.stores.memory import CAPS, MemoryStore
from dunlin.workers.savers import Asked
from dunlin.workers.saving import back_up

SNAPSHOTS = {"docs": 2, "photos": 1}
SHARES = tuple(SNAPSHOTS)
Tree = dict[str, tuple[int, int, int, bytes]]
"""What a snapshot holds: kind and mode, size, time, content, by path."""


class Vault:
    """A share with two snapshots and one with one, a mark that waits, packs that were removed, a ledger."""

    def __init__(self, password: bytes | None) -> None:
        self.password = password
        self.store = MemoryStore()
        repository.init(Objects(self.store), password, Settings(small=3000))
        rng = random.Random(4)
        self.expected: dict[str, Tree] = {}
        for share in SHARES:
            source = MemoryStore(share, caps=replace(CAPS, far=True))
            for folder in ("d", "d/e", "f"):
                source.make_directory(folder)
            for step in range(SNAPSHOTS[share]):
                for number in range(4):
                    self.write(source, f"{('d', 'd/e', 'f')[number % 3]}/n{number + step}", rng.randbytes(700))
                self.write(source, f"large{step}", rng.randbytes(9_000))
                self.back_up(share, source)
        area = self.area("docs")
        verify([self.area(share) for share in SHARES], data=Subset())
        marks.put_gone(area, ["acme/docs/" + "a" * 32])
        marks.put_bad(area, ["acme/docs/" + "b" * 32], [])
        mark = marks.put(area, ["acme/docs/" + "c" * 32])
        marks.put_leases(area, mark, ["acme/leases/docs.1"])
        self.objects = dict(self.read())

    @staticmethod
    def write(source: MemoryStore, name: str, data: bytes) -> None:
        source.write(name, Body(len(data), lambda start: iter([data[start:]])), meta=Meta(mtime=10**18 + len(data)))

    def back_up(self, share: str, source: MemoryStore) -> None:
        area = self.area(share)
        asked = Asked(f"memory://{share}", movers=1)
        done = back_up(asked, area, lambda: source, lambda: area.repository, Stop(), NullReport())
        self.expected[done.manifest.id] = tree(source)

    def area(self, share: str) -> Area:
        return repository.open_repository(Objects(self.store), lambda: self.password).area("acme", share)

    def read(self) -> Iterator[tuple[str, bytes]]:
        objects = Objects(self.store)
        for batch in self.store.walk(""):
            for name, facts in batch:
                if stat.S_ISREG(facts[MODE]) and not name.startswith("dunlin-"):
                    yield name, objects.get(name)

    def damage(self, key: str, how: str) -> None:
        """Damage one object of the whole repository."""
        data = DAMAGES[how](self.objects[key])
        kept = {name: each for name, each in self.objects.items() if name != key}
        self.put(kept if data is None else {**kept, key: data})

    def put(self, found: dict[str, bytes]) -> None:
        """Let the repository hold these objects."""
        objects = Objects(self.store)
        now = dict(self.read())
        self.store.delete([key for key in now if key not in found])
        for key, data in found.items():
            if now.get(key) != data:
                objects.put(key, data)

    def verify(self) -> Verified:
        return verify([self.area(share) for share in SHARES], data=Subset())

    def restores(self, told: Verified) -> int:
        """See that whatever comes back is right, and that what was not told to be lost does; how much is lost."""
        lost = {(each.snapshot, each.path) for each in told.lost}
        gone = {each.snapshot for each in told.lost_snapshots}
        missed = 0
        for share in SHARES:
            area = self.area(share)
            for name in area.snapshots():
                try:
                    found = tree(SnapshotStore(area, area.manifest(name)))
                except DunlinError as error:
                    told_of = name.id in gone or (name.id, ".") in lost
                    foreseen(error, ErrorKind.CORRUPT, ErrorKind.IO, ErrorKind.NOT_FOUND, told=told_of)
                    missed += 1
                    continue
                expected = self.expected[name.id]
                for path, facts in found.items():
                    assert expected[path] == facts, (share, name.id, path)
                for path in expected.keys() - found.keys():
                    above = [path[:at] for at, letter in enumerate(path) if letter == "/"]
                    assert name.id in gone or lost & {(name.id, each) for each in (path, *above, ".")}, (share, path)
                    missed += 1
        return missed


def tree(store: MemoryStore | SnapshotStore, directory: str = "") -> Tree:
    """All that can be had of a tree; what is wrong with a file or a directory leaves out that one."""
    found: Tree = {}
    listed = [each for batch in store.list(directory) for each in batch]
    for name, facts in listed:
        path, content = join(directory, name), b""
        try:
            if stat.S_ISDIR(facts[MODE]):
                found |= tree(store, path)
            else:
                content = b"".join(map(bytes, store.read(store.stat(path))))
                found[path] = (facts[MODE], facts[SIZE], facts[MTIME], content)
        except DunlinError as error:
            foreseen(error, ErrorKind.IO)
    return found


def foreseen(error: DunlinError, *kinds: ErrorKind, told: bool = True) -> None:
    """Only errors that damage explains, and that a verification has told of."""
    assert error.kind in kinds, error
    assert told, error


@pytest.fixture(scope="module", params=[b"word", None], ids=["sealed", "plain"])
def whole(request: pytest.FixtureRequest) -> Iterator[Vault]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "SCRYPT", {"n": 2, "r": 8, "p": 1})
        yield Vault(request.param)


@pytest.fixture
def vault(whole: Vault) -> Iterator[Vault]:
    yield whole
    whole.put(whole.objects)


KINDS: dict[str, Callable[[str], bool]] = {
    "pack": lambda key: "/packs/" in key,
    "bundle": lambda key: key.count("/") == 2 and key.split("/")[1] in SHARES,
    "index of packs": lambda key: key.startswith("acme/chunks/"),
    "index of bundles": lambda key: "/chunks/" in key and key.count("/") == 3,
    "tree": lambda key: "/tree/" in key and not key.endswith(".pages"),
    "pages": lambda key: key.endswith(".pages"),
    "snapshot": lambda key: "/snapshots/" in key,
    "mark": lambda key: "/marks/" in key,
    "ledger": lambda key: "/verified/" in key,
}
ADVISORY = {"ledger"}
"""What nothing that is stored depends on."""


def flip(part: float) -> Callable[[bytes], bytes]:
    def damage(data: bytes) -> bytes:
        at = min(len(data) - 1, int(part * len(data)))
        return data[:at] + bytes([data[at] ^ 0x20]) + data[at + 1 :]

    return damage


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "flipped at the head": flip(0),
    "flipped in the middle": flip(0.5),
    "flipped near the tail": flip(0.93),
    "flipped at the tail": flip(1),
    "cut in half": lambda data: data[: len(data) // 2],
    "cut at the end": lambda data: data[:-1],
    "longer": lambda data: data + b"more",
    "missing": lambda data: None,
}


def test_each_object_is_of_a_kind(vault: Vault) -> None:
    found = {key: [kind for kind, is_it in KINDS.items() if is_it(key)] for key in vault.objects}
    assert all(len(each) == 1 for each in found.values()), found
    assert {kind for each in found.values() for kind in each} == set(KINDS)


def test_what_is_whole_is_told_to_be(vault: Vault) -> None:
    told = vault.verify()
    assert told.whole
    assert vault.restores(told) == 0
    assert sum(map(len, vault.expected.values())) > 15


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_found_and_all_else_restores(vault: Vault, kind: str, damage: str) -> None:
    for key in filter(KINDS[kind], vault.objects):
        vault.damage(key, damage)
        told = vault.verify()
        missed = vault.restores(told)
        forgotten = damage == "missing" and kind in ("snapshot", "mark")  # that is what being over is
        if told.whole and vault.password is None and damage.startswith("flipped") and not missed:
            continue  # some bits of zstd mean nothing
        assert told.whole is (kind in ADVISORY or forgotten), (key, told)
        if kind in ("pack", "bundle", "index of packs", "index of bundles", "pages") and missed:
            assert told.lost, key
        if kind in ("mark", "ledger"):
            assert not missed
            assert not told.lost


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ADVISORY])
def test_two_objects_that_changed_places_are_found(vault: Vault, kind: str) -> None:
    names = [key for key in vault.objects if KINDS[kind](key)]
    pairs = [(one, two) for one in names for two in names if one < two]
    for one, two in random.Random(1).sample(pairs, min(len(pairs), 6)):
        vault.put({**vault.objects, one: vault.objects[two], two: vault.objects[one]})
        told = vault.verify()
        missed = vault.restores(told)
        if vault.password is None and kind in ("mark", "index of packs", "index of bundles") and not missed:
            continue  # a piece of the index says the same under any name, and a mark that is not sealed anybody writes
        assert not told.whole, (one, two)


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_that_is_there_twice_harms_nothing(vault: Vault, kind: str) -> None:
    for key in filter(KINDS[kind], vault.objects):
        head, _, name = key.rpartition("/")
        twin = f"{head}/{name[:2]}{'0' * 30}{name[32:]}" if kind != "snapshot" else f"{head}/{name[:-4]}0000"
        vault.put({**vault.objects, twin: vault.objects[key]})
        told = vault.verify()
        assert not told.lost
        assert not {each.snapshot for each in told.lost_snapshots} & vault.expected.keys()
        for share in SHARES:
            area = vault.area(share)
            for each in area.snapshots():
                if each.id in vault.expected:
                    assert tree(SnapshotStore(area, area.manifest(each))) == vault.expected[each.id]
        if vault.password is not None and kind in ("pack", "bundle", "index of packs", "index of bundles", "snapshot"):
            assert told.damages, key


@pytest.mark.parametrize("damage", ["flipped in the middle", "cut in half", "missing"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_repository_takes_backups_and_a_prune_removes_nothing_that_is_needed(
    vault: Vault, kind: str, damage: str
) -> None:
    """Whatever is damaged: what a new backup reads comes back whole, and pruning makes nothing worse."""
    source = MemoryStore("docs", caps=replace(CAPS, far=True))
    source.make_directory("d")
    for number in range(5):
        vault.write(source, f"d/new{number}", random.Random(number).randbytes(900))
    for key in list(filter(KINDS[kind], vault.objects))[:1]:
        vault.damage(key, damage)
        if kind == "mark" and damage != "missing":
            prune.prune(vault.area("docs").repository, "acme", "me")  # it is told that this mends it
        told = vault.verify()
        before = vault.restores(told)
        vault.back_up("docs", source)
        try:
            prune.prune(vault.area("docs").repository, "acme", "me", max_unused=0.0)
        except DunlinError as error:
            foreseen(error, ErrorKind.CORRUPT, ErrorKind.NOT_FOUND)
        area = vault.area("docs")
        assert tree(SnapshotStore(area, area.manifest(area.resolve("latest")))) == tree(source)
        after = vault.restores(vault.verify())
        assert after == before, (key, before, after)


def test_what_was_lost_is_stored_anew_by_a_backup_that_reads_everything(vault: Vault) -> None:
    """A verification says which packs are damaged; from then on backups do not count on them."""
    source = MemoryStore("docs", caps=replace(CAPS, far=True))
    source.make_directory("d")
    content = {f"d/n{number}": random.Random(number + 50).randbytes(900) for number in range(4)}
    content["large"] = random.Random(60).randbytes(9_000)
    for name, data in content.items():
        vault.write(source, name, data)
    vault.back_up("docs", source)
    area = vault.area("docs")
    kinds = (KINDS["pack"], KINDS["bundle"])
    fresh = [key for key in dict(vault.read()) if key not in vault.objects and any(is_it(key) for is_it in kinds)]
    assert len(fresh) == 2
    now = dict(vault.read())
    vault.put({**now, fresh[0]: flip(0.1)(now[fresh[0]]), fresh[1]: flip(0.1)(now[fresh[1]])})
    assert {each.path for each in vault.verify().lost} == set(content)
    asked = Asked("memory://docs", movers=1, force=True)
    done = back_up(asked, vault.area("docs"), lambda: source, lambda: area.repository, Stop(), NullReport())
    vault.expected[done.manifest.id] = tree(source)
    told = vault.verify()
    assert not told.lost
    assert len(told.damages) == 2  # they lie there still
    assert vault.restores(told) == 0
    prune.prune(vault.area("docs").repository, "acme", "me")
    assert vault.verify().whole
    assert vault.restores(vault.verify()) == 0


@pytest.mark.parametrize("kind", ["pack", "bundle", "index of packs", "tree", "snapshot"])
def test_what_the_disk_cannot_read_is_damage_and_ends_no_verification(vault: Vault, kind: str) -> None:
    key = next(filter(KINDS[kind], vault.objects))
    fault = DunlinError("read", key, ErrorKind.IO, "Input/output error")
    vault.store.faults["read", key] = fault
    try:
        told = vault.verify()
        assert key in {each.key for each in told.damages}
        assert any("Input/output error" in each.reason for each in told.damages)
        if kind in ("pack", "bundle"):
            assert vault.restores(told) > 0
    finally:
        vault.store.faults.clear()
    assert vault.verify().whole
