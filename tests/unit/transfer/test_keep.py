"""Removing trees, and keeping what is removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import Kind
from dunlin.stores.base import Meta
from dunlin.stores.local.store import LocalStore
from dunlin.stores.memory import MemoryStore
from dunlin.stores.objects.store import ObjectStore
from dunlin.transfer import keep
from dunlin.transfer.outcome import Outcome
from dunlin.transfer.site import Site
from tests.unit.stores.objects.fake_service import FakeService
from tests.unit.transfer.trees import AT, mtime, put, read, tree

Make = Callable[..., Site]


def test_remove_tree_takes_all_of_it_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/precious").write_text("x")
    (tmp_path / "root/d/e/f").mkdir(parents=True)
    (tmp_path / "root/d/e/file").write_text("x")
    (tmp_path / "root/d/link").symlink_to(tmp_path / "out")
    (tmp_path / "root/beside").write_text("x")
    outcome = Outcome()
    keep.remove_tree(LocalStore(str(tmp_path / "root")), "d", outcome)
    assert sorted(p.name for p in (tmp_path / "root").iterdir()) == ["beside"]
    assert (tmp_path / "out/precious").exists()
    assert outcome.counts == {"deleted_directories": 3, "deleted_files": 2}


def test_remove_tree_is_not_recursive() -> None:
    store = MemoryStore()
    path = "d"
    store.make_directory(path)
    for _ in range(60):
        path += "/d"
        store.make_directory(path)
    outcome = Outcome()
    keep.remove_tree(store, "d", outcome)
    assert outcome.counts["deleted_directories"] == 61
    assert tree(store) == {}


def test_keep_copy_leaves_the_file_and_keeps_its_time(site: Make, target: MemoryStore) -> None:
    kept = MemoryStore("kept")
    target.make_directory("a")
    put(target, "a/f", b"old", mode=0o640)
    keep.keep_copy(site(backup=kept), "a/f")
    assert tree(target) == {"a/": None, "a/f": b"old"}
    assert tree(kept) == {"a/": None, "a/f": b"old"}
    assert mtime(kept, "a/f") == AT


def test_keep_moves_every_kind(site: Make, target: MemoryStore) -> None:
    for inside in (False, True):
        put(target, "f", b"old")
        target.make_link("l", "x", Meta())
        target.make_special("p", Kind.FIFO | 0o600, 0, Meta())
        target.make_directory("d")
        put(target, "d/g", b"in it")
        kept = target if inside else MemoryStore("kept")
        where = site(backup=kept, backup_prefix="k" if inside else "")
        for name in "flpd":
            keep.keep(where, name)
        assert not {"f", "l", "p", "d/"} & tree(target).keys()
        found = tree(kept)
        prefix = "k/" if inside else ""
        assert found[prefix + "f"] == b"old"
        assert found[prefix + "l"] == "-> x"
        assert found[prefix + "p"] is Kind.FIFO
        assert found[prefix + "d/g"] == b"in it"


def test_a_tree_is_kept_beside_what_is_kept_already(site: Make, tmp_path: Path) -> None:
    target = LocalStore(str(tmp_path))
    (tmp_path / "d").mkdir()
    (tmp_path / "d/new").write_text("new")
    (tmp_path / "d/both").write_text("later")
    (tmp_path / "k/d").mkdir(parents=True)
    (tmp_path / "k/d/old").write_text("old")
    (tmp_path / "k/d/both").write_text("earlier")
    keep.keep(site(target=target, backup=target, backup_prefix="k"), "d")
    assert tree(target) == {"k/": None, "k/d/": None, "k/d/new": b"new", "k/d/old": b"old", "k/d/both": b"later"}


def test_a_destination_without_hard_links_keeps_a_copy(site: Make, target: MemoryStore) -> None:
    class NoLinks(MemoryStore):
        def make_hard_link(self, existing: str, path: str) -> None:
            raise DunlinError("link", path, ErrorKind.DENIED, "Operation not permitted")

    store = NoLinks()
    put(store, "f", b"old")
    keep.keep_copy(site(target=store, backup=store, backup_prefix="k"), "f")
    assert tree(store) == {"f": b"old", "k/": None, "k/f": b"old"}


def test_nothing_is_removed_that_could_not_be_kept(site: Make, target: MemoryStore) -> None:
    kept = MemoryStore("kept", capacity=3)
    put(target, "f", b"too much")
    with pytest.raises(DunlinError) as caught:
        keep.keep(site(backup=kept), "f")
    assert caught.value.kind is ErrorKind.NO_SPACE
    assert read(target, "f") == b"too much"


def test_remove_tree_leaves_the_file_of_the_same_name() -> None:
    service = FakeService()
    for key in ("d", "d/", "d/a", "d/e/b", "d/e", "other"):
        service.put(key, b"" if key == "d/" else b"x", {})
    outcome = Outcome()
    keep.remove_tree(ObjectStore(service), "d", outcome)
    assert sorted(service.objects) == ["d", "other"]
    assert outcome.counts == {"deleted_directories": 1, "deleted_files": 3}
