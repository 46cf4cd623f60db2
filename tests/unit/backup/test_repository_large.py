"""Trees of tens of GB go through a process piece by piece."""

from __future__ import annotations

import os
import tracemalloc
from collections import deque
from pathlib import Path

import pytest
from blake3 import blake3

from dunlin.backup import mend, repository
from dunlin.backup.frames import seal
from dunlin.backup.objects import Objects
from dunlin.backup.repository import Settings
from dunlin.backup.snapshot import open_tree
from dunlin.backup.tree.view import ROOT
from dunlin.stores.local import LocalStore
from tests.unit.backup.world import World

SIZE = 48 << 20


def test_what_enters_the_cache_is_not_held_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "vault").mkdir()
    objects = Objects(LocalStore(str(tmp_path / "vault")))
    area = repository.init(objects, None, Settings(), tmp_path / "cache").area("acme", "docs")
    key, data = f"{area.root}/tree/{'0' * 32}", os.urandom(1 << 20) * (SIZE >> 20)
    objects.put(key, seal(area.codec(key), data))
    digest = blake3(data).digest()
    tracemalloc.start()
    try:
        found = area.repository.unpacked(key, area.codec(key), SIZE, digest)
        deque(area.stored(key), 0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < SIZE / 2
    assert (len(found), blake3(found).digest()) == (SIZE, digest)


def test_no_tree_is_taken_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.change("docs", "a", b"x" * 50)
    world.back_up("docs")
    real = Objects.get

    def get(self: Objects, key: str) -> bytes:
        assert "/tree/" not in key
        return real(self, key)

    monkeypatch.setattr(Objects, "get", get)
    world.verify()
    area = world.area("docs")
    assert mend.trees(area.repository, "acme", "somebody") == []
    assert open_tree(area, area.manifest(area.resolve("latest"))).handle(ROOT) >= 0
