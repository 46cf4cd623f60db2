"""Google Cloud Storage keeps the contract: on the emulator, in a bucket of its own for each test."""

from __future__ import annotations

from dunlin.stores.login import Login
from dunlin.stores.objects.gcs import open_service
from dunlin.stores.objects.service import Service
from tests.contract.objects import REFUSED, SERVICES, Wanted


def _emulator(wanted: Wanted) -> Service:
    server = wanted("gcs")
    return open_service(server.bucket(), Login({"endpoint": server.url}))


SERVICES["gcs"] = _emulator
# The service takes neither; they are refused before anything is sent.
REFUSED["gcs"] = frozenset({"..", "new\nline"})
