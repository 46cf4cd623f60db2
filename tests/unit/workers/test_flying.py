"""flying: bytes that are moved and not counted yet."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dunlin.model import Stats
from dunlin.workers.flying import Flying


@pytest.fixture
def crew() -> Any:
    return SimpleNamespace(
        stats=Stats(pending_bytes=5000), bucket=SimpleNamespace(rate=1000, granted=0), telling=SimpleNamespace(flying=0)
    )


def test_what_a_limit_granted_is_under_way_until_it_is_counted(crew: Any) -> None:
    flying = Flying()
    crew.bucket.granted = 2000
    assert flying.bytes(crew) == 2000
    crew.stats = Stats(copied_bytes=1500, pending_bytes=3500)
    assert flying.bytes(crew) == 500


def test_never_more_than_waits(crew: Any) -> None:
    crew.bucket.granted = 9000
    assert Flying().bytes(crew) == 5000


def test_large_files_tell_themselves(crew: Any) -> None:
    crew.bucket.rate, crew.bucket.granted, crew.telling.flying = 0, 2000, 700
    assert Flying().bytes(crew) == 700


def test_what_was_copied_before_there_was_a_limit_was_never_granted(crew: Any) -> None:
    flying = Flying()
    crew.bucket.rate = 0
    crew.stats = Stats(copied_bytes=100_000, pending_bytes=5000)
    assert flying.bytes(crew) == 0
    crew.bucket.rate, crew.bucket.granted = 1000, 2000
    assert flying.bytes(crew) == 2000
