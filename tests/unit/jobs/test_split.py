"""Who gets files in ranges, and what is thrown away of those given up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dunlin.errors import ErrorKind
from dunlin.jobs.options import Spread, SyncOptions
from dunlin.jobs.split import split
from dunlin.report import NullReport
from dunlin.stores.base import Begun
from dunlin.stores.memory import MemoryStore
from dunlin.stores.objects.store import ObjectStore
from dunlin.workers.ranged import Ranged
from tests.unit.stores.objects.fake_service import FakeService

POOL: Any = SimpleNamespace(threads=1, batch=1, page=1, parts=1)


def made(target: Any, above: int = 1) -> Any:
    options = SyncOptions("/a", "/b", spread=Spread("q.db", split_above=above))
    pair: Any = SimpleNamespace(target_store=target)
    return split(POOL, options, pair, "0badc0de", NullReport())


def test_files_are_cut_where_the_destination_takes_parts_and_it_is_wanted() -> None:
    assert isinstance(made(ObjectStore(FakeService())), Ranged)
    assert made(ObjectStore(FakeService()), above=0) is POOL
    assert made(MemoryStore()) is POOL


@pytest.mark.parametrize(
    ("kind", "kept"),
    [(ErrorKind.INTERRUPTED, 1), (ErrorKind.NETWORK, 1), (ErrorKind.CHANGED, 0), (ErrorKind.DENIED, 0)],
)
def test_an_upload_stays_where_it_makes_sense_to_go_on_with_it(kind: ErrorKind, kept: int) -> None:
    service = FakeService()
    upload = service.begin("huge", {})
    made(ObjectStore(service))._drop("huge", Begun(upload, 10), kind)
    assert len(service.uploads) == kept
