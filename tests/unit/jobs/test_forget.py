"""Forgetting removes manifests, by a policy or by name, and nothing else."""

from __future__ import annotations

from datetime import UTC

import pytest

from dunlin.backup.manifest import Manifest
from dunlin.backup.objects import Objects
from dunlin.backup.repository import Repository, Settings, init
from dunlin.backup.retention import Policy
from dunlin.backup.words import new_id
from dunlin.errors import DunlinError
from dunlin.jobs.forget import Fate, Options, forget
from dunlin.stores.memory import MemoryStore

_DAY = 86_400 * 10**9


def made(append_only: bool = False) -> Repository:
    """A repository with three snapshots, a day apart, in each of two shares."""
    opened = init(Objects(MemoryStore()), None, Settings(append_only=append_only))
    for share in ("a", "b"):
        for day in (1, 2, 3):
            area = opened.area("default", share)
            area.put_manifest(Manifest(new_id(), day * _DAY, "default", share, tags=(f"day{day}",)))
    return opened


def left(opened: Repository) -> dict[str, int]:
    return {share: len(opened.area("default", share).snapshots()) for share in ("a", "b")}


def days(fates: list[Fate]) -> list[tuple[str, int, bool]]:
    return [(fate.snapshot.share, fate.snapshot.time // _DAY, fate.kept) for fate in fates]


def test_each_share_is_judged_by_itself() -> None:
    opened = made()
    fates = forget(opened, Options(Policy(last=2), "default", zone=UTC))
    assert days(fates) == [(share, day, day > 1) for share in ("a", "b") for day in (3, 2, 1)]
    assert left(opened) == {"a": 2, "b": 2}


def test_one_share_alone() -> None:
    opened = made()
    forget(opened, Options(Policy(tags=("day1",)), "default", "b"))
    assert left(opened) == {"a": 3, "b": 2}


def test_a_dry_run_removes_nothing() -> None:
    opened = made()
    fates = forget(opened, Options(Policy(last=1), "default", dry=True))
    assert sum(not fate.kept for fate in fates) == 4
    assert left(opened) == {"a": 3, "b": 3}


def test_no_rule_is_refused() -> None:
    opened = made()
    with pytest.raises(DunlinError, match="no rule"):
        forget(opened, Options(Policy(), "default"))
    assert left(opened) == {"a": 3, "b": 3}


def test_those_that_are_named_go_also_the_newest_and_one_that_cannot_be_read() -> None:
    opened = made()
    area = opened.area("default", "a")
    first, second, third = area.snapshots()
    opened.objects.put(second.key, b"nonsense")
    names = (third.id, second.id, third.id[:12])
    dry = forget(opened, Options(Policy(), "default", dry=True, snapshots=names))
    assert left(opened) == {"a": 3, "b": 3}
    fates = forget(opened, Options(Policy(), "default", snapshots=names))
    assert fates == dry
    assert forget(opened, Options(Policy(), "default", snapshots=(third.id,))) == []  # somebody tries again
    assert [(fate.snapshot.id, fate.kept) for fate in fates] == [(third.id, False), (second.id, False)]
    assert area.snapshots() == [first]
    assert left(opened) == {"a": 1, "b": 3}


def test_nothing_goes_unless_all_that_are_named_are_found_and_clear() -> None:
    opened = made()
    one = opened.area("default", "b").snapshots()[0]
    for names, words in (
        ((one.id, "nothing there"), "there is none"),
        ((one.id, "1970"), "too short for a name"),
        ((one.id, "19700103T"), "could be 2 snapshots of a, b"),
        ((one.id, "latest"), "which snapshot is the latest changes"),
    ):
        with pytest.raises(DunlinError, match=words):
            forget(opened, Options(Policy(), "default", snapshots=names))
    with pytest.raises(DunlinError, match="there is none"):
        forget(opened, Options(Policy(), "default", "a", snapshots=(one.id[:8],)))
    assert forget(opened, Options(Policy(), "default", "a", snapshots=(one.id,))) == []  # may have been there before
    with pytest.raises(DunlinError, match="do not go together"):
        forget(opened, Options(Policy(last=1), "default", snapshots=(one.id,)))
    assert left(opened) == {"a": 3, "b": 3}
    assert len(forget(opened, Options(Policy(), "default", "b", snapshots=("19700103T",)))) == 1
    assert left(opened) == {"a": 3, "b": 2}


def test_where_nothing_may_be_removed_nothing_is() -> None:
    opened = made(append_only=True)
    with pytest.raises(DunlinError, match="append-only"):
        forget(opened, Options(Policy(last=1), "default"))
    assert left(opened) == {"a": 3, "b": 3}
    assert len(forget(opened, Options(Policy(last=5), "default"))) == 6


def test_what_cannot_be_read_stays_until_somebody_says_that_it_may_go() -> None:
    opened = made()
    area = opened.area("default", "a")
    damaged = area.snapshots()[1]
    opened.objects.put(damaged.key, b"nonsense")
    fates = forget(opened, Options(Policy(last=1), "default", "a", dry=True, zone=UTC))
    assert days(fates) == [("a", 3, True), ("a", 1, False), ("a", 2, True)]
    assert (fates[-1].snapshot.id, fates[-1].reasons) == (damaged.id, ("damaged",))
    fates = forget(opened, Options(Policy(), "default", damaged=True, zone=UTC))
    assert [fate.snapshot.id for fate in fates if not fate.kept] == [damaged.id]
    assert left(opened) == {"a": 2, "b": 3}
    assert opened.objects.find(damaged.key) is None


def test_a_scan_never_stands_for_a_backup() -> None:
    opened = made()
    area = opened.area("default", "a")
    area.put_manifest(Manifest(new_id(), 4 * _DAY, "default", "a", content=False))
    fates = forget(opened, Options(Policy(last=1), "default", "a"))
    assert days(fates) == [("a", 4, True), ("a", 3, True), ("a", 2, False), ("a", 1, False)]
    assert [each.content for each in area.manifests()] == [True, False]


def test_the_newest_that_is_complete_stays() -> None:
    opened = made()
    area = opened.area("default", "a")
    for day in (4, 5):
        area.put_manifest(Manifest(new_id(), day * _DAY, "default", "a", complete=False))
    fates = forget(opened, Options(Policy(last=1), "default", "a"))
    assert [(fate.snapshot.time // _DAY, fate.reasons) for fate in fates if fate.kept] == [
        (5, ("last",)),
        (3, ("newest complete",)),
    ]


def test_one_snapshot_from_the_future_does_not_spoil_the_calendar() -> None:
    """Those behind it are stamped a moment later than it, each; when they were begun says which day they are of."""
    opened = init(Objects(MemoryStore()), None, Settings())
    area = opened.area("default", "a")
    for day in range(1, 6):
        future = 500 * _DAY + (day - 3) * 1000
        area.put_manifest(
            Manifest(new_id(), day * _DAY if day < 3 else future, "default", "a", started=day * _DAY - 1000)
        )
    fates = forget(opened, Options(Policy(daily=4), "default", zone=UTC))
    assert [fate.snapshot.started // _DAY + 1 for fate in fates if fate.kept] == [5, 4, 3, 2]
