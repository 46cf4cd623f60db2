"""Azure Blob keeps the contract: on Azurite, in a container of its own for each test."""

from __future__ import annotations

from dunlin.stores.login import Login
from dunlin.stores.objects.azure import open_service
from dunlin.stores.objects.service import Service
from tests.contract.objects import REFUSED, SERVICES, Wanted


def _azurite(wanted: Wanted) -> Service:
    server = wanted("azurite")
    return open_service(server.container(), Login({"connection_string": server.connection_string}))


SERVICES["azure"] = _azurite
# The service makes a slash of every backslash, so the key is refused before it is sent.
REFUSED["azure"] = frozenset({"back\\slash"})
