"""S3 keeps the contract: on moto, in a bucket of its own for each test."""

from __future__ import annotations

from dunlin.stores.login import Login
from dunlin.stores.objects.s3 import open_service
from dunlin.stores.objects.service import Service
from tests.contract.objects import SERVICES, Wanted


def _moto(wanted: Wanted) -> Service:
    server = wanted("moto_s3")
    keys = {"access_key_id": server.key_id, "secret_access_key": server.secret}
    return open_service(server.bucket(), Login({**keys, "endpoint": server.url}))


SERVICES["s3"] = _moto
