"""The object services that have to keep the contract. A new one is one line in `SERVICES`, and runs the whole suite.

A line opens the service on a fresh, empty bucket. Where that needs a server it asks for its fixture:

    "s3-moto": lambda wanted: open_service(wanted("moto_s3").bucket(), login_of(wanted("moto_s3"))),

The services that run in this process are opened here. Those that need a server or a library register from their own
module, which is named in `tests/contract/stores.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dunlin.stores.objects.persist import RetryingService
from dunlin.stores.objects.service import Service
from tests.unit.stores.objects.fake_service import SMALL, FakeService

Wanted = Callable[[str], Any]
"""`request.getfixturevalue`: the fixture of that name."""

SERVICES: dict[str, Callable[[Wanted], Service]] = {
    "objects": lambda wanted: FakeService(),
    "objects-bare": lambda wanted: FakeService(metadata_listed=False, states_md5=False),
    "objects-unordered": lambda wanted: FakeService(ordered=False),
    "objects-paged": lambda wanted: RetryingService(FakeService(SMALL._replace(put=1 << 20))),
}

REFUSED: dict[str, frozenset[str]] = {}
"""Keys of `tests.contract.test_objects.KEYS` that a server in the tests does not take, by the name of its service."""
