"""The stores that have to keep the contract: each by itself and in every wrapper that lets writes through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dunlin.report import RecordingReport
from dunlin.stores.base import Store
from dunlin.stores.local import LocalStore, WriteOptions, local_caps
from dunlin.stores.memory import MemoryStore
from dunlin.stores.wrap import Counted, Paced, Retrying

Factory = Callable[[Path], Store]


class FreeBucket:
    """A bucket that never makes anybody wait."""

    def take(self, n: int) -> None:
        assert n >= 0


def once(act: Callable[[], Any]) -> Any:
    """A retry policy that gives up at once."""
    return act()


def _local(**options: Any) -> Factory:
    return lambda path: LocalStore(str(path), options=WriteOptions(**options), caps=local_caps(str(path)))


FACTORIES: dict[str, Factory] = {
    "memory": lambda path: MemoryStore(),
    "local": _local(),
    "local-durable": _local(fsync_file=True),
    "local-in-place": _local(in_place=True),
    "local-sparse": _local(sparse=True),
    "local-push": _local(push=True),
    "counted-local": lambda path: Counted(_local()(path), RecordingReport()),
    "paced-local": lambda path: Paced(_local()(path), FreeBucket()),
    "retrying-local": lambda path: Retrying(_local()(path), once),
    "counted-memory": lambda path: Counted(MemoryStore(), RecordingReport()),
    "paced-memory": lambda path: Paced(MemoryStore(), FreeBucket()),
    "retrying-memory": lambda path: Retrying(MemoryStore(), once),
    "stack-local": lambda path: Counted(Paced(Retrying(_local()(path), once), FreeBucket()), RecordingReport()),
}


@pytest.fixture(params=sorted(FACTORIES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store of each kind."""
    root = tmp_path / "root"
    root.mkdir()
    made = FACTORIES[request.param](root)
    yield made
    made.close()


@pytest.fixture
def whole(store: Store, request: pytest.FixtureRequest) -> Store:
    """A store that writes whole or not at all: all but the one that writes in place."""
    if "in-place" in request.node.callspec.params["store"]:
        pytest.skip("in place: a mixture is what was asked for")
    return store
