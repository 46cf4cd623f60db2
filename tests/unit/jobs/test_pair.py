"""A pair before its run: what cannot be one, and what both sides can hold."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.filters import read
from dunlin.filters.selection import Selection
from dunlin.jobs.pair import probe_target, resolve_policy, root_identity, selection_hash
from dunlin.plan import Policy
from dunlin.stores.base import Caps
from tests.unit.jobs.conftest import Places

FULL = Caps(modes=True, owners=True, links=True)


def refused(places: Places, **fields: object) -> DunlinError:
    with pytest.raises(DunlinError) as caught:
        places.open(**fields)
    return caught.value


def test_a_missing_source(places: Places) -> None:
    error = refused(places, source=str(places.root / "nowhere"))
    assert (error.kind, error.exit_code) == (ErrorKind.NOT_FOUND, 1)
    assert "mounted" in error.hint
    assert not places.target.exists()


def test_a_source_that_is_a_file(places: Places) -> None:
    error = refused(places, source=str(places.file("f")))
    assert (error.kind, error.exit_code) == (ErrorKind.USAGE, 1)
    assert "is a file" in error.reason


def test_a_source_below_a_file(places: Places) -> None:
    places.file("f")
    assert refused(places, source=str(places.source / "f" / "below")).exit_code == 1


def test_a_destination_that_is_a_file(places: Places) -> None:
    places.target.write_text("x")
    error = refused(places)
    assert (error.kind, error.exit_code) == (ErrorKind.USAGE, 1)
    assert places.target.read_text() == "x"


def test_a_destination_whose_parent_is_missing(places: Places) -> None:
    error = refused(places, destination=str(places.root / "a" / "b"))
    assert "directory above it is missing" in error.hint
    assert not (places.root / "a").exists()


def test_parents_are_made_where_that_is_asked_for(places: Places) -> None:
    wanted = str(places.root / "a" / "b" / "c")
    places.open(destination=wanted, make_parents=True, mode="plan")
    assert not (places.root / "a").exists()
    assert not places.open(destination=wanted, make_parents=True).target_exists
    assert (places.root / "a" / "b" / "c").is_dir()
    (places.root / "file").write_text("x")
    error = refused(places, destination=str(places.root / "file" / "b" / "c"), make_parents=True)
    assert error.where == str(places.root / "file" / "b")


def test_a_check_needs_a_destination(places: Places) -> None:
    assert refused(places, mode="check").kind is ErrorKind.NOT_FOUND
    assert not places.target.exists()


@pytest.mark.parametrize("name", ["source", "source/", "./source/.", "link", "target/../source"])
def test_one_place_twice(places: Places, name: str) -> None:
    places.target.mkdir()
    (places.root / "link").symlink_to("source")
    assert refused(places, destination=f"{places.root}/{name}").kind is ErrorKind.USAGE


def test_the_destination_is_made_for_a_sync_only(places: Places) -> None:
    pair = places.open(mode="plan")
    assert not pair.target_exists
    assert not places.target.exists()
    pair = places.open()
    assert not pair.target_exists
    assert places.target.is_dir()
    assert places.open().target_exists


def test_a_destination_inside_the_source_is_no_part_of_it(places: Places) -> None:
    pair = places.open(destination=str(places.source / "in" / ".." / "inner"))
    assert (pair.skip_source, pair.skip_target) == (frozenset({"inner"}), frozenset())


def test_a_source_inside_the_destination_is_no_part_of_it(places: Places) -> None:
    (places.root / "link").symlink_to(places.root)
    pair = places.open(destination=str(places.root / "link"))
    assert (pair.skip_source, pair.skip_target) == (frozenset(), frozenset({"source"}))


def test_a_name_that_only_begins_alike_is_not_inside(places: Places) -> None:
    pair = places.open(destination=str(places.root / "source-copy"))
    assert (pair.skip_source, pair.skip_target) == (frozenset(), frozenset())


@pytest.mark.parametrize(
    ("directory", "prefix", "skip_source", "outside"),
    [
        ("kept", "kept", set(), False),
        ("deep/kept", "deep/kept", set(), False),
        ("../kept", "", set(), True),
        ("../source/kept", "", {"kept"}, True),
    ],
)
def test_a_backup_directory_is_never_part_of_a_tree(
    places: Places, directory: str, prefix: str, skip_source: set[str], outside: bool
) -> None:
    pair = places.open(backup_dir=directory)
    assert pair.backup_prefix == prefix
    assert pair.skip_target == (frozenset({prefix}) if prefix else frozenset())
    assert pair.skip_source == skip_source
    assert bool(pair.backup) is outside
    assert (places.target / directory).is_dir()


@pytest.mark.parametrize("directory", [".", "../target", "../source"])
def test_a_backup_directory_that_is_a_side(places: Places, directory: str) -> None:
    places.target.mkdir()
    assert refused(places, backup_dir=directory).kind is ErrorKind.USAGE


def test_a_dry_run_makes_no_backup_directory(places: Places) -> None:
    places.target.mkdir()
    places.open(mode="plan", backup_dir="kept")
    assert list(places.target.iterdir()) == []


@pytest.fixture
def read_only(places: Places) -> Iterator[Path]:
    places.target.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", str(places.target)], check=True)
    yield places.target
    subprocess.run(["umount", "-l", str(places.target)], check=True)


@pytest.mark.root
def test_a_read_only_destination(places: Places, read_only: Path) -> None:
    pair = places.open()
    with pytest.raises(DunlinError) as caught:
        probe_target(pair, "target", "0badc0de", frozenset())
    assert (caught.value.kind, caught.value.exit_code) == (ErrorKind.READ_ONLY, 2)
    assert caught.value.hint
    error = refused(places, destination=str(read_only / "new"))
    assert (error.kind, error.exit_code) == (ErrorKind.READ_ONLY, 2)


def test_the_probe_finds_out_about_names_and_removes_what_the_dead_left(places: Places) -> None:
    pair = places.open()
    for token in ("0badc0de01", "c0ffee0001"):
        (places.target / f".dunlin-{token}-1.tmp").write_text("x")
        (places.target / f".dunlin-{token}-2.tmp").mkdir()
        (places.target / f".dunlin-{token}-2.tmp" / "f").write_text("x")
    probe_target(pair, "target", "aaaaaaaa", frozenset({"0badc0de"}))
    left = sorted(path.name for path in places.target.iterdir())
    assert left == [".dunlin-c0ffee0001-1.tmp", ".dunlin-c0ffee0001-2.tmp"]
    assert pair.caps.case_sensitive
    assert pair.caps.preserves_form


def test_what_does_not_go_is_no_reason_not_to_begin(places: Places) -> None:
    pair = places.open()
    theirs = places.target / ".dunlin-0badc0de01-2.tmp" / "directory"
    theirs.mkdir(parents=True)
    probe_target(pair, "target", "aaaaaaaa", frozenset({"0badc0de"}))
    assert theirs.is_dir()


# ---- policies ----


ASKED = Policy(perms=True, owner=True, group=True)


def test_root_keeps_all_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert resolve_policy(ASKED, FULL, FULL) == ASKED


def test_others_give_no_file_away_and_only_their_own_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 1000)
    monkeypatch.setattr(os, "getgroups", lambda: [1000, 27])
    resolved = resolve_policy(ASKED, FULL, FULL)
    assert resolved == ASKED._replace(owner=False, groups=frozenset({1000, 27}))


@pytest.mark.parametrize("euid", [0, 1000])
def test_what_the_destination_cannot_hold_is_not_compared(monkeypatch: pytest.MonkeyPatch, euid: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: euid)
    resolved = resolve_policy(ASKED, FULL, Caps())
    assert (resolved.perms, resolved.owner, resolved.group) == (False, False, False)


@pytest.mark.parametrize(
    ("asked", "source", "target", "window"),
    [
        (0, 1, 1, 0),
        (0, 1, 2_000_000_000, 2_000_000_000),
        (0, 1_000, 1, 1_000),
        (5_000, 1, 1_000, 5_000),
        (5, 1, 1, 5),
    ],
)
def test_times_agree_within_the_coarser_precision(asked: int, source: int, target: int, window: int) -> None:
    sides = replace(FULL, mtime_precision=source), replace(FULL, mtime_precision=target)
    assert resolve_policy(Policy(window=asked), *sides).window == window


@pytest.mark.parametrize(
    ("asked", "used"), [("size+mtime", "size"), ("mtime", "size"), ("size", "size"), ("checksum", "checksum")]
)
def test_a_destination_without_times_is_compared_without_them(asked: str, used: str) -> None:
    assert resolve_policy(Policy(compare=asked), FULL, replace(FULL, mtime_precision=None)).compare == used


# ---- fingerprints ----


def test_the_selection_hash_changes_with_what_selects_and_names(places: Places) -> None:
    base = selection_hash(places.options())
    assert selection_hash(places.options(compare="size", perms=False, rescan=True, max_delete=3)) == base
    rules = read.parse_rules([("exclude", "*.o")])
    others = [
        {"links": False},
        {"specials": True},
        {"devices": True},
        {"delete": True},
        {"selection": Selection(rules=rules)},
        {"selection": Selection(max_depth=1)},
        {"selection": Selection(min_size=1)},
        {"begin": "2024/"},
        {"begin": "2025/"},
    ]
    hashes = [selection_hash(places.options(**fields)) for fields in others]
    assert len({base, *hashes}) == len(others) + 1


def test_the_root_identity_is_that_of_the_file_system(places: Places) -> None:
    places.target.mkdir()
    assert root_identity(f"file://{places.source}") == root_identity(f"file://{places.target}") != ""
    assert root_identity("file:///proc") != root_identity(f"file://{places.source}")
    assert root_identity("memory://") == ""
