"""The stores that have to keep the contract, as fixtures: which they are stands in `tests/contract/stores.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dunlin.stores.base import Store
from dunlin.stores.objects.service import Service
from tests.contract.ledgers import clock, ledger, ledger_url, opened  # noqa: F401 - fixtures
from tests.contract.objects import SERVICES
from tests.contract.queues import place, queue  # noqa: F401 - fixtures
from tests.contract.stores import STORES, make


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store of each kind, or of those that a test asks for with `needs`."""
    root = tmp_path / "root"
    root.mkdir()
    made = make(request.param, request.getfixturevalue, root)
    yield made
    made.close()


@pytest.fixture(params=sorted(SERVICES))
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """A service with an empty bucket, of each kind."""
    made = SERVICES[request.param](request.getfixturevalue)
    yield made
    made.close()
