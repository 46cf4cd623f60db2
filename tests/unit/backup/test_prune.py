"""Pruning in chosen orders: each of these loses data when one rule of the theory is left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dunlin.backup import marks, pieces, prune, rebuild
from dunlin.backup.buckets import Buckets
from dunlin.backup.chunks import ChunkIndex
from dunlin.backup.lease import EXPIRES, Lease, Unwritten
from dunlin.backup.objects import Objects
from dunlin.backup.packing import Shelf
from dunlin.backup.repository import Area, Settings, init, open_repository
from dunlin.backup.stages import Stages
from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.base import Body, Meta
from dunlin.stores.memory import MemoryStore
from tests.unit.backup.world import Client, World, every

X, Y, Z = b"x" * 50, b"y" * 150, b"z" * 150


@pytest.fixture
def world() -> World:
    return World()


def forget(world: World, share: str = "docs") -> None:
    world.forget(share, 0)


def keys(world: World, what: str) -> list[str]:
    return [key for key in every(world) if what in key]


def test_a_backup_that_began_before_the_mark_keeps_what_it_counts_on(world: World) -> None:
    world.change("docs", "a", Y)
    world.back_up("docs")

    def meanwhile(client: Client) -> None:
        forget(world)
        world.prune()
        world.prune()

    world.back_up("docs", 2, meanwhile)  # nothing has changed: all it writes is a lease and a manifest
    world.restores()
    world.prune()
    world.restores()
    assert len(world.area("docs").packs(False)) == 1


def test_a_backup_that_begins_after_the_mark_stores_anew_what_is_marked(world: World) -> None:
    world.change("docs", "a", Y)
    world.back_up("docs")
    forget(world)
    before = set(world.area("docs").packs(False))

    def marked(client: Client) -> None:
        world.prune()  # the other share's backup is going on: only marks
        assert set(world.area("docs").packs(False)) == before
        world.change("docs", "b", Y)

    world.change("pictures", "p", Z)
    world.back_up("pictures", 2, marked)
    world.back_up("docs", 5, lambda client: world.prune())  # the mark is ripe, and the pack goes now
    world.restores()
    assert not before & set(world.area("docs").packs(False))


def test_the_snapshot_that_a_backup_goes_on_from_is_pinned(world: World) -> None:
    world.change("docs", "a", Y)
    world.back_up("docs")
    world.change("pictures", "p", Z)

    def marked_and_needed_again(client: Client) -> None:
        def mark(inner: Client) -> None:
            forget(world)
            world.prune()

        world.back_up("docs", 2, mark)  # counts on the marked pack

    world.back_up("pictures", 2, marked_and_needed_again)
    world.restores()
    world.change("docs", "n", X)

    def parent_forgotten(client: Client) -> None:
        forget(world)
        world.prune()

    world.back_up("docs", 4, parent_forgotten)
    world.restores()


@pytest.mark.parametrize("at", range(2, 6))
def test_a_backup_whose_parent_is_forgotten_and_pruned_is_made_all_the_same(world: World, at: int) -> None:
    """From its lease on, whatever it writes next: nothing that it counts on is marked."""
    world.change("docs", "a", Y)
    world.back_up("docs")
    world.change("docs", "b", X)
    waiting = []

    def meanwhile(client: Client) -> None:
        forget(world)
        told = prune.prune(world.area("docs").repository, "acme", "somebody", max_unused=0.0)
        waiting.append((told.marked_objects, told.waiting > 0))

    world.back_up("docs", at, meanwhile)
    assert waiting == [(0, True)]
    assert len(world.area("docs").snapshots()) == 1
    world.restores()
    world.prune()
    world.prune()
    world.restores()


def test_an_index_that_a_sleeper_writes_later_deceives_nobody(world: World) -> None:
    world.change("docs", "a", Y)

    def sleeps(client: Client) -> None:
        world.pass_time(EXPIRES + 60)
        world.prune()
        assert not world.area("docs").packs(False)

    world.back_up("docs", 3, sleeps)  # its pack is stored and removed; its index comes now
    assert world.area("docs").snapshots() == []
    assert keys(world, "acme/chunks/")
    world.back_up("docs")
    world.restores()
    world.prune()
    world.restores()


def test_packs_that_are_mostly_unused_are_copied_and_the_index_follows(world: World) -> None:
    for name in ("a", "b", "d/a"):
        world.change("docs", name, name.encode() * 100)
    world.back_up("docs")
    before = set(world.area("docs").packs(False))
    for name in ("a", "b"):
        world.change("docs", name, None)
    world.back_up("docs")
    forget(world)
    world.prune(unused=0.9)
    assert set(world.area("docs").packs(False)) == before
    world.prune(unused=0.05)
    after = set(world.area("docs").packs(False))
    assert len(after) == 1
    assert not before & after
    area = world.area("docs")
    assert {bytes(pack) for _, segment in area.chunk_segments(False) for pack in segment.packs} == after
    world.restores()


def test_a_pack_that_is_wholly_used_is_left_alone(world: World) -> None:
    world.change("docs", "a", Y)
    world.change("docs", "b", X)
    world.back_up("docs")
    before = every(world)
    world.prune(unused=0.0)
    assert every(world) == before


def test_many_segments_of_the_index_become_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "tidy", lambda area: None)  # as backups that never came to that
    for number in range(prune.MOST_SEGMENTS + 1):
        world.change("docs", "a", bytes([number]) * 150)
        world.back_up("docs")
    assert len(keys(world, "acme/chunks/")) == prune.MOST_SEGMENTS + 1
    world.prune()
    assert len(keys(world, "acme/chunks/")) == 1
    world.restores()


def test_what_the_index_lacks_is_never_taken_for_garbage(world: World) -> None:
    world.change("docs", "a", Y)
    world.back_up("docs")
    world.store.delete(keys(world, "acme/chunks/"))
    repository = world.area("docs").repository
    with pytest.raises(DunlinError, match="rebuild-index"):
        prune.prune(repository, "acme", "me")
    done = rebuild.chunk_index(repository, "acme", "me")
    assert (done.packs, done.chunks) == (1, 1)
    prune.prune(repository, "acme", "me")
    world.restores()


def test_a_dry_run_tells_and_writes_nothing(world: World) -> None:
    world.change("docs", "a", Y)
    world.back_up("docs")
    forget(world)
    Objects(world.store).put("acme/leases/docs.0", b"{}")  # of a backup that died
    world.store.delete(["dunlin-reserve"])
    before, login = every(world), Client(world.store)
    login.dead = True  # as one that may only read
    told = prune.prune(open_repository(login, lambda: None), "acme", "me", dry=True)
    assert told.marked_objects == 4  # a pack, its index, a segment and its pages
    assert every(world) == before
    world.pass_time(EXPIRES + 1)
    done = prune.prune(world.area("docs").repository, "acme", "me")
    assert (done.removed_objects, done.removed_bytes) == (told.marked_objects, told.marked_bytes)


def test_one_prune_at_a_time_and_none_of_an_append_only_repository(world: World) -> None:
    world.change("docs", "a", Y)
    refused: list[ErrorKind] = []

    def again(client: Client) -> None:
        with pytest.raises(DunlinError, match="another prune") as error:
            prune.prune(world.area("docs").repository, "acme", "me", clock=lambda: world.own)
        refused.append(error.value.kind)

    world.prune(2, again)
    assert refused == [ErrorKind.LOCKED]
    kept = init(Objects(MemoryStore()), None, Settings(append_only=True))
    with pytest.raises(DunlinError, match="append-only") as error:
        prune.prune(kept, "acme", "me")
    assert error.value.kind is ErrorKind.READ_ONLY


def test_what_was_removed_stays_marked_for_a_week(world: World) -> None:
    world.change("docs", "a", Y)
    world.back_up("docs")
    forget(world)
    world.prune()
    assert marks.absent(world.area("docs"))
    world.pass_time(marks.GHOSTS + 60)
    world.prune()
    assert not marks.absent(world.area("docs"))


def test_a_damaged_pack_is_not_copied_and_not_removed(world: World) -> None:
    for name in ("a", "b"):
        world.change("docs", name, name.encode() * 150)
    world.back_up("docs")
    world.change("docs", "a", None)
    world.back_up("docs")
    forget(world)
    (found,) = world.area("docs").packs(False).values()
    raw = bytearray(world.area("docs").objects.get(found.key))
    raw[30] ^= 1
    world.area("docs").objects.put(found.key, raw)
    done = prune.prune(open_repository(Client(world.store), lambda: None), "acme", "me", max_unused=0.0)
    assert done.damaged_packs == 1
    assert next(iter(world.area("docs").packs(False).values())).key == found.key


def copied(world: World, small: bool) -> tuple[Lease, list[str]]:
    """A pack that is marked and waits, since its one needed chunk was copied; the lease that it waits for, the copy."""
    for name, data in (("a", X), ("b", b"b" * 50), ("d/a", Y), ("d/b", Z)):
        world.change("docs", name, data)
    world.back_up("docs")
    for name in ("b", "d/b"):
        world.change("docs", name, None)
    world.back_up("docs")
    forget(world)
    before = world.area("docs").packs(small)
    other = Lease(Client(world.store), "acme", "pictures", "somebody", lambda: world.own)
    other.pin("")
    world.prune()
    fresh = [each.key for name, each in world.area("docs").packs(small).items() if name not in before]
    assert (len(before), len(fresh)) == (1, 1)
    return other, fresh


@pytest.mark.parametrize("small", [True, False])
def test_a_marked_pack_stays_when_the_copy_of_what_it_holds_went_bad(world: World, small: bool) -> None:
    other, fresh = copied(world, small)
    world.rot(fresh)
    world.verify()
    assert not world.lost  # readers find it in the marked one
    area = world.area("docs")
    index = ChunkIndex(marks.for_reading(area, small))
    keys = [area.pack_key(place.pack.hex(), small) for place in index.places(area.identify(X if small else Y))]
    assert keys[-1:] == fresh
    assert len(keys) == 2
    world.prune()
    assert set(fresh) <= marks.read(area).wanted
    other.release()
    for _ in range(3):
        world.prune()
        world.restores()
        assert not world.lost
    assert not {each.key for each in world.area("docs").packs(small).values()} & set(fresh)
    world.verify()


@pytest.mark.parametrize("small", [True, False])
def test_a_copy_that_goes_bad_while_it_is_counted_on_is_seen(
    world: World, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, fresh = copied(world, small)
    other.release()
    real, told = prune.gather, []

    def meanwhile(*words: Any) -> Any:
        if not told:
            told.append(True)
            world.rot(fresh)
            world.verify()
        return real(*words)

    monkeypatch.setattr(prune, "gather", meanwhile)
    for _ in range(3):
        world.prune()
        world.restores()
        assert not world.lost
    assert told


def test_one_piece_of_the_index_names_the_whole_place_of_a_chunk(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.change("docs", "a", X)
    world.change("docs", "b", b"b" * 50)
    world.back_up("docs")
    (first,) = world.area("docs").packs(True).values()
    world.rot([first.key])
    world.verify()
    world.change("docs", "d/a", X)
    world.back_up("docs")
    world.restores()
    assert world.lost == {("docs", b"b" * 50)}
    monkeypatch.setattr(prune, "MOST_SEGMENTS", 0)
    world.prune()
    world.prune()
    area = world.area("docs")
    assert first.key in {each.key for each in area.packs(True).values()}  # nothing else holds the other one
    (place,) = ChunkIndex(marks.for_reading(area, True)).places(area.identify(X))
    assert area.pack_key(place.pack.hex(), True) != first.key
    world.restores()


def test_what_is_damaged_in_a_bundle_is_not_taken_from_the_packs(world: World) -> None:
    """A large file's last chunk may be a small file, too."""
    world.change("docs", "a", X)
    world.back_up("docs")
    (bundle,) = world.area("docs").packs(True).values()
    area = world.area("docs")
    shelf = Shelf(area, False, ChunkIndex())
    shelf.put(X)
    shelf.finish()
    world.rot([bundle.key])
    world.verify()
    assert not world.lost
    for _ in range(2):
        world.prune()
        world.restores()
        assert not world.lost


def test_what_stands_in_for_something_is_safe_before_that_goes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, fresh = copied(world, False)
    world.rot(fresh)
    world.verify()
    other.release()
    done: list[str] = []
    put, remove = Objects.put, Objects.remove

    def putting(self: Objects, key: str, *words: Any, **how: Any) -> Any:
        done.append(f"put {key}")
        return put(self, key, *words, **how)

    def removing(self: Objects, keys: Sequence[str]) -> None:
        done.extend(f"remove {key}" for key in keys)
        remove(self, keys)

    monkeypatch.setattr(Objects, "put", putting)
    monkeypatch.setattr(Objects, "remove", removing)
    monkeypatch.setattr(Objects, "sync", lambda self: done.append("sync"))
    world.prune()
    index = next(at for at, what in enumerate(done) if what.startswith("put acme/chunks/"))
    gone = next(at for at, what in enumerate(done) if what.startswith("put") and what.endswith(".gone"))
    for written, removed in ((index, "remove acme/chunks/"), (gone, "remove acme/")):
        first = next(at for at, what in enumerate(done) if what.startswith(removed) and at > written)
        assert "sync" in done[written:first], done[written:first]


def test_what_writings_left_that_were_cut_short_goes_after_a_day(world: World) -> None:
    world.change("docs", "a", Y)
    world.back_up("docs")
    (pack,) = world.area("docs").packs(False).values()
    folders = ["", "acme/docs", "acme/docs/tree", "acme/chunks", pack.key.rpartition("/")[0]]
    left = [f"{folder}/.dunlin-0-w1fx2.tmp".lstrip("/") for folder in folders]
    for name in left:
        world.store.write(name, Body(3, lambda start: iter([b"cut"[start:]])), meta=Meta())
    world.pass_time(prune.LEFT - 60)
    world.prune()
    assert [key for key in every(world) if key.endswith(".tmp")] == sorted(left)
    world.pass_time(120)
    done = prune.prune(world.area("docs").repository, "acme", "me")
    assert (done.removed_objects, done.removed_bytes) == (len(left), 3 * len(left))
    assert [key for key in every(world) if key.endswith(".tmp")] == []
    world.restores()


def test_what_is_needed_is_remembered_only_when_all_of_it_was_seen(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        world.change("docs", name, name.encode() * 150)
        world.back_up("docs")
    area, real = world.area("docs"), prune.gather
    share = prune.Share(area, tuple(area.manifests()))
    run = prune._Prune(area.repository, "acme", Unwritten(), prune._Asked(0, 2, 100, tmp_path), Stages("prune"))

    def breaks(area: Area, manifests: Sequence[Any], into: Buckets, *told: Any) -> None:
        real(area, manifests[:1], into, *told)
        raise DunlinError("read", "", ErrorKind.NETWORK, "the connection broke")

    with monkeypatch.context() as patch:
        patch.setattr(prune, "gather", breaks)
        with pytest.raises(DunlinError, match="connection broke"):
            run._needed(share)
    assert len(run._needed(share).part(0)[0]) == 2


def test_a_piece_that_goes_while_a_prune_looks_ends_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.change("docs", "a", Y)
    world.back_up("docs")
    real, asked = pieces.superfluous, [0]

    def superfluous(*told: Any) -> dict[str, int]:
        asked[0] += 1
        if asked[0] == 1:
            raise DunlinError("read", "", ErrorKind.NOT_FOUND, "it is gone")
        return real(*told)

    monkeypatch.setattr(pieces, "superfluous", superfluous)
    world.prune()
    assert asked[0] > 1
    world.restores()
