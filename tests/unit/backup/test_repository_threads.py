"""Threads of one process, as those of a service, share a cache."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dunlin.backup import frames, repository
from dunlin.backup.objects import Objects
from dunlin.backup.repository import Settings
from dunlin.stores.local import LocalStore


def test_two_threads_put_the_same_object_into_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vault").mkdir()
    objects = Objects(LocalStore(str(tmp_path / "vault")))
    opened = repository.init(objects, None, Settings(), tmp_path / "cache")
    area = opened.area("acme", "docs")
    key, data = f"{area.root}/tree/{'0' * 32}", bytes(range(256)) * 1000
    area.put_container(key, data)
    both = threading.Barrier(2, timeout=20)

    def together(*args: Any) -> Iterator[Any]:
        for number, piece in enumerate(frames.unseal(*args)):
            if not number:
                both.wait()  # each has opened its file, and written nothing yet
            yield piece

    monkeypatch.setattr(repository, "unseal", together)
    found: list[bytes] = []
    wrong: list[BaseException] = []

    def unpack() -> None:
        try:
            found.append(bytes(opened.unpacked(key, area.codec(key))))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=unpack) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert found == [data, data]
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == ["0" * 32]
