"""A pair of stores in memory, and sites to work on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dunlin.pace.bucket import Bucket
from dunlin.stores.memory import MemoryStore
from dunlin.transfer import Options
from dunlin.transfer.site import Site


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    made = Bucket.create()
    yield made
    made.close()


@pytest.fixture
def source() -> MemoryStore:
    return MemoryStore("source")


@pytest.fixture
def target() -> MemoryStore:
    return MemoryStore("target")


@pytest.fixture
def site(bucket: Bucket, source: MemoryStore, target: MemoryStore) -> Callable[..., Site]:
    def make(**options: Any) -> Site:
        fields = {name: options.pop(name) for name in ("backup", "backup_prefix") if name in options}
        stores = {"source": options.pop("source", source), "target": options.pop("target", target)}
        return Site(**stores, options=Options(**options), bucket=bucket, **fields)

    return make
