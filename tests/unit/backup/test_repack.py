"""Which packs are put together anew."""

from __future__ import annotations

import pytest

from dunlin.backup import prune, repack
from dunlin.backup.repack import MOST_JOINED, MOST_SMALL, Used, choose
from dunlin.backup.words import BUNDLE, PACK
from dunlin.report import RecordingReport
from tests.unit.backup.world import Client, World, every


def pack(number: int, size: int, waste: int = 0) -> Used:
    return Used(number.to_bytes(16), size, waste)


def test_the_worst_are_copied_until_little_is_unused() -> None:
    packs = [pack(1, 1000, 900), pack(2, 1000, 100), pack(3, 8000, 0), pack(4, 1000, 300)]
    assert [each.name[-1] for each in choose(packs, True, 0.05).wasteful] == [1]
    assert [each.name[-1] for each in choose(packs, True, 0.02).wasteful] == [1, 4]
    assert [each.name[-1] for each in choose(packs, True, 0.0).wasteful] == [1, 4, 2]
    assert choose(packs, True, 0.2) == ([], [])


@pytest.mark.parametrize(("small", "full"), [(True, BUNDLE), (False, PACK)])
def test_small_packs_are_joined_once_there_are_more_than_a_few(small: bool, full: int) -> None:
    little = [pack(number, 1000 + number) for number in range(MOST_SMALL)]
    large = [pack(100, full // 8), pack(101, full)]
    assert choose([*little, *large], small, 0.05) == ([], [])
    assert choose([*little, *large, pack(50, full // 8 - 1)], small, 0.05).small == [*little, pack(50, full // 8 - 1)]


def test_one_that_is_copied_as_wasteful_is_not_counted_as_small() -> None:
    packs = [pack(0, 1000, 999), *(pack(number, 1000) for number in range(1, MOST_SMALL + 1))]
    assert choose(packs, True, 0.05) == ([packs[0]], [])


def test_no_more_is_joined_at_a_time_than_is_bearable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_JOINED >= 16 * PACK
    monkeypatch.setattr(repack, "MOST_JOINED", 5_000)
    packs = [pack(number, 1000 + number) for number in range(20)]
    assert choose(packs, True, 0.05).small == packs[:4]


def test_many_little_backups_leave_few_packs_and_a_dry_run_says_so() -> None:
    world = World()
    for number in range(MOST_SMALL + 2):
        world.change("docs", f"n{number}", bytes([number]) * 50)  # a bundle
        world.change("docs", f"m{number}", bytes([number]) * 150)  # a pack
        world.back_up("docs")
    area = world.area("docs")
    assert [len(area.packs(small)) for small in (True, False)] == [MOST_SMALL + 2] * 2
    before = every(world)
    told = prune.prune(world.area("docs").repository, "acme", "me", dry=True)
    assert (told.copied_packs, told.joined_packs) == (0, 2 * (MOST_SMALL + 2))
    assert every(world) == before
    done = prune.prune(world.area("docs").repository, "acme", "me")
    assert (done.joined_packs, done.joined_bytes) == (told.joined_packs, told.joined_bytes)
    assert [len(world.area("docs").packs(small)) for small in (True, False)] == [1, 1]
    world.restores()
    again = prune.prune(world.area("docs").repository, "acme", "me")
    assert (again.joined_packs, again.marked_objects) == (0, 0)


def test_a_backup_that_goes_on_keeps_the_small_packs_that_it_counts_on() -> None:
    world = World()
    for number in range(MOST_SMALL + 1):
        world.change("docs", f"n{number}", bytes([number]) * 150)
        world.back_up("docs")
    world.change("pictures", "same", bytes([3]) * 150)

    def meanwhile(client: Client) -> None:
        world.prune()
        assert len(world.area("docs").packs(False)) == MOST_SMALL + 2

    world.back_up("pictures", 3, meanwhile)
    world.restores()
    world.prune()
    assert len(world.area("docs").packs(False)) == 1
    world.restores()


def test_a_prune_tells_in_stages_how_far_it_is() -> None:
    from dunlin.backup.stages import Stages

    world = World()
    for number in range(MOST_SMALL + 1):
        world.change("docs", f"n{number}", bytes([number]) * 150)
        world.back_up("docs")
    report = RecordingReport()
    prune.prune(world.area("docs").repository, "acme", "me", stages=Stages("prune", report))
    words = [(each.message, each.fields["unit"], each.fields["items"]) for each in report.named("stage.begins")]
    assert ("seeing what the snapshots of docs need", "tree", 9) in words
    assert ("copying packs that are mostly unused, or small", "pack", MOST_SMALL + 1) in words
    assert any(each[0] == "removing what nothing needs" for each in words)
    assert report.gauges["pending_files"] == 0
