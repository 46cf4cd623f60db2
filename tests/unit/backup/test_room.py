"""A repository that is full: what a prune must write finds room, and makes more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dunlin.backup import prune, repository, room
from dunlin.backup.objects import Objects
from dunlin.backup.repository import Settings
from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.memory import CAPS, MemoryStore
from tests.unit.backup.world import SHARES, World


class Full(World):
    """A repository with so many bytes of room left."""

    def fill(self, left: int = 0) -> None:
        objects = Objects(self.store)
        self.store._capacity = self.store._used() + left
        assert self.store.free_space() == left
        if not left:
            with pytest.raises(DunlinError) as error:
                objects.put("acme/leases/x.y", b"{}")
            assert error.value.kind is ErrorKind.NO_SPACE


def filled(left: int = 0) -> Full:
    world = Full()
    for number in range(4):
        for share in SHARES:
            world.change(share, "n", bytes([number]) * 90)
            world.change(share, "m", bytes([number + 9]) * 5000)
            world.change(share, f"k{number}", bytes([number + 99]) * 3000)
            world.back_up(share)
    for share in SHARES:
        for _ in range(3):
            world.forget(share, 0)
    world.fill(left)
    return world


@pytest.mark.parametrize("left", [0, 100, 1000])
def test_a_prune_of_a_full_repository_frees_what_nothing_needs(left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "SIZE", 8 << 10)
    world = filled(left)
    used = world.store._used()
    done = prune.prune(world.area("docs").repository, "acme", "me", max_unused=0.0)
    assert done.removed_objects >= 12
    assert done.copied_packs or done.unused_bytes == 0
    assert world.store._used() < used
    assert world.store.stat(room.RESERVE)
    world.restores()


def test_where_there_is_no_room_to_copy_the_rest_is_done() -> None:
    world = World()
    for number in range(8):
        world.change("docs", f"m{number}", bytes([number]) * 20_000)
    world.back_up("docs")
    for number in range(7):
        world.change("docs", f"m{number}", None)
    world.change("docs", "large", b"z" * 150)
    world.back_up("docs")
    world.forget("docs", 0)
    objects = world.area("docs").objects
    packs = set(world.area("docs").packs(False))
    world.store.delete([room.RESERVE])
    real, refused = Objects.put, []

    def put(self: Objects, key: str, data: bytes, **how: bool) -> object:
        if "/packs/" in key:
            refused.append(key)
            raise DunlinError("write", key, ErrorKind.NO_SPACE, "No space left on device")
        return real(self, key, data, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Objects, "put", put)
        done = prune.prune(world.area("docs").repository, "acme", "me", max_unused=0.0)
    assert refused
    assert (done.short, done.copied_packs) == (1, 0)
    assert packs <= set(world.area("docs").packs(False))
    world.restores()
    again = prune.prune(world.area("docs").repository, "acme", "me", max_unused=0.0)
    assert (again.short, again.copied_packs) == (0, 1)
    world.restores()
    assert objects.find(room.RESERVE) is not None


def test_only_what_may_become_full_and_be_emptied_has_a_reserve() -> None:
    assert repository.init(Objects(MemoryStore()), None, Settings()).objects.find(room.RESERVE)
    assert not repository.init(Objects(MemoryStore()), None, Settings(append_only=True)).objects.find(room.RESERVE)

    class Bucket(MemoryStore):
        def powers(self) -> frozenset[type]:
            return frozenset()

    endless = Bucket(caps=replace(CAPS, far=True))
    assert not repository.init(Objects(endless), None, Settings()).objects.find(room.RESERVE)


def test_another_error_than_want_of_room_leaves_the_reserve_alone() -> None:
    objects = Objects(MemoryStore())
    room.keep(objects)

    def fails() -> None:
        raise DunlinError("write", "x", ErrorKind.IO, "broken")

    with pytest.raises(DunlinError, match="broken"):
        room.made(objects, fails)
    assert objects.find(room.RESERVE)
