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
from dunlin.stores.objects.service import Service
from dunlin.stores.objects.store import ObjectStore
from dunlin.stores.wrap import Counted, Paced, Retrying
from tests.contract import azfiles as _azfiles
from tests.contract import azure as _azure  # noqa: F401 - registers its service
from tests.contract import gcs as _gcs  # noqa: F401 - registers its service
from tests.contract import s3 as _s3  # noqa: F401 - registers its service
from tests.contract.ledgers import clock, ledger, ledger_url, opened  # noqa: F401 - fixtures
from tests.contract.objects import SERVICES, WRAPPED, Wanted
from tests.contract.queues import place, queue  # noqa: F401 - fixtures
from tests.contract.support import FreeBucket, once

Factory = Callable[[Path], Store]


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


@pytest.fixture
def object_stores(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Store]]:
    """Makes the empty object store of a name: one of `SERVICES`, or of `WRAPPED` for one in wrappers."""
    made: list[Store] = []

    def make(name: str) -> Store:
        inner, wrap = WRAPPED.get(name, (name, lambda store: store))
        made.append(wrap(ObjectStore(SERVICES[inner](request.getfixturevalue))))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(params=[*sorted(FACTORIES), *sorted(SERVICES), *sorted(WRAPPED), *sorted(_azfiles.STORES)])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, object_stores: Callable[[str], Store]
) -> Iterator[Store]:
    """An empty store of each kind."""
    if request.param in _azfiles.STORES:
        share = _azfiles.STORES[request.param](request.getfixturevalue)
        yield share
        share.close()
        return
    if request.param not in FACTORIES:
        yield object_stores(request.param)
        return
    root = tmp_path / "root"
    root.mkdir()
    made = FACTORIES[request.param](root)
    yield made
    made.close()


@pytest.fixture(params=sorted(SERVICES))
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """A service with an empty bucket, of each kind."""
    wanted: Wanted = request.getfixturevalue
    made = SERVICES[request.param](wanted)
    yield made
    made.close()


@pytest.fixture
def whole(store: Store, request: pytest.FixtureRequest) -> Store:
    """A store that writes whole or not at all: all but the one that writes in place."""
    if "in-place" in request.node.callspec.params["store"]:
        pytest.skip("in place: a mixture is what was asked for")
    return store
