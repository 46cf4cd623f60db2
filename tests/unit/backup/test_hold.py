"""Backups whose process slept for longer than their lease lives."""

from __future__ import annotations

import pytest

from dunlin.backup import hold
from dunlin.backup.lease import EXPIRES, GIVES_UP, Lease
from dunlin.backup.manifest import Manifest
from dunlin.backup.marks import put
from dunlin.backup.repository import Area
from dunlin.errors import DunlinError, ErrorKind
from tests.unit.backup.world import Client, World

LARGE = b"y" * 150


@pytest.fixture
def world() -> World:
    world = World()
    world.change("docs", "a", LARGE)
    return world


def test_who_slept_and_lost_nothing_goes_on(world: World) -> None:
    world.back_up("docs", 4, lambda client: world.pass_time(EXPIRES + 60))
    assert len(world.area("docs").snapshots()) == 1
    world.restores()


def test_who_slept_while_another_made_a_snapshot_commits_none(world: World) -> None:
    def sleeps(client: Client) -> None:
        world.pass_time(EXPIRES + 60)
        world.back_up("docs")

    world.back_up("docs", 4, sleeps)
    assert len(world.area("docs").snapshots()) == 1
    world.restores()


def test_who_slept_while_its_packs_went_commits_none(world: World) -> None:
    def sleeps(client: Client) -> None:
        world.pass_time(EXPIRES + 60)
        world.prune()

    world.back_up("docs", 5, sleeps)
    assert world.area("docs").snapshots() == []


def test_a_lease_that_is_lost_while_the_manifest_is_written_withdraws_it(world: World) -> None:
    def sleeps(client: Client) -> None:
        world.pass_time(EXPIRES + 60)
        world.prune()

    world.back_up("docs", 6, sleeps)  # before the manifest is written, behind the look at the lease
    assert world.area("docs").snapshots() == []


def test_what_is_marked_or_missing_is_no_part_of_a_snapshot(world: World) -> None:
    world.back_up("docs")
    area = world.area("docs")
    manifest = area.manifest(area.snapshots()[0])
    hold.check(area, manifest)
    (pack,) = area.packs(False).values()
    put(area, [pack.key])
    with pytest.raises(DunlinError, match="1 chunks") as error:
        hold.check(area, manifest)
    assert error.value.kind is ErrorKind.BUSY


def test_who_is_late_but_alone_is_not_refused_by_its_own_lease(world: World) -> None:
    world.back_up("docs")
    area, now = world.area("docs"), [0.0]
    held = hold.Hold(area, "me", lambda: now[0])
    held.pin(area.snapshots()[-1].id)
    now[0] += GIVES_UP + 60
    held.renew()
    assert held.lost
    held.release()
    assert area.objects.list("acme/leases") == []


def test_a_commit_without_a_lease_is_looked_at_with_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody goes on from a snapshot that may be withdrawn."""
    real, held = hold.check, []

    def check(area: Area, manifest: Manifest) -> None:
        if area.snapshots():
            with pytest.raises(DunlinError) as error:
                Lease(area.objects, "acme", "docs", "another", lambda: world.own)
            held.append(error.value.kind)
        real(area, manifest)

    monkeypatch.setattr(hold, "check", check)
    world.back_up("docs", 6, lambda client: world.pass_time(EXPIRES + 60))
    assert held == [ErrorKind.LOCKED]
    assert len(world.area("docs").snapshots()) == 1
    world.restores()


def test_who_goes_on_from_a_snapshot_that_is_withdrawn_looks_whether_all_is_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.back_up("docs")
    area, looked = world.area("docs"), []
    monkeypatch.setattr(hold, "check", lambda area, manifest: looked.append(manifest.parent))

    def withdrawn(client: Client) -> None:
        area.objects.remove([area.snapshots()[0].key])

    world.change("docs", "b", LARGE)
    parent = area.snapshots()[0].id
    world.back_up("docs", 3, withdrawn)
    assert looked == [parent]


def test_a_snapshot_that_nobody_could_look_at_is_withdrawn(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network goes between the manifest and the look whether the lease was held to the end."""
    real = Lease.alive
    there: list[bool] = []

    def alive(self: Lease) -> bool:
        there.append(bool(world.area("docs").snapshots()))
        if there[-1]:
            raise DunlinError("look", "lease", ErrorKind.NETWORK, "the connection broke")
        return real(self)

    monkeypatch.setattr(Lease, "alive", alive)
    world.back_up("docs")
    assert there[-1] is True
    assert world.area("docs").snapshots() == []
