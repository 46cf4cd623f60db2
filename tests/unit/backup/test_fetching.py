"""Frames of packs on their way back."""

import os

import pytest

from dunlin.backup import fetching, keys, repository
from dunlin.backup.chunks import ChunkIndex
from dunlin.backup.fetching import Frames
from dunlin.backup.objects import Objects
from dunlin.backup.packing import Shelf
from dunlin.backup.repository import Settings
from dunlin.stores.memory import MemoryStore


def test_few_packs_are_kept_open_and_all_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "SCRYPT", {"n": 2, "r": 8, "p": 1})
    monkeypatch.setattr(fetching, "PACKS", 2)
    area = repository.init(Objects(MemoryStore()), b"word", Settings()).area("t", "s")
    index = ChunkIndex()
    shelf = Shelf(area, True, index, full=1000)
    chunks = {shelf.put(data): data for data in (os.urandom(1000) for _ in range(6))}
    shelf.finish()
    index = ChunkIndex([segment for _, segment in area.chunk_segments(True)])
    frames = Frames(area)
    for _ in range(2):
        for chunk, data in chunks.items():
            place = index.find(chunk)
            assert place is not None
            assert frames.chunk(chunk, (place, True)) == data
    assert len(frames._packs) == 2
