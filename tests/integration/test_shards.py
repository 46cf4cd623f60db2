"""Listings at several places at once, against servers: the same keys, and tokens that go on with the rest.

moto and rclone begin behind a name; Azure refuses to, and is listed in turn. The GCS emulator is not asked: it gave
all these keys in one page.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from dunlin.stores.login import Login
from dunlin.stores.objects import azure, s3
from dunlin.stores.objects.service import Page, Service
from dunlin.stores.objects.shards import pages
from tests.servers.azurite import Azurite
from tests.servers.s3 import S3

KEYS = sorted([*(f"a/{n:03}" for n in range(90)), *(f"b{n}/x" for n in range(20)), *(f"é {n}+%" for n in range(20))])
SIZE = 5


class Watched:
    """A service, and how it was asked for pages."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.url = service.url
        self.names: list[str] = []

    def page(self, prefix: str, *, delimiter: str = "", token: str = "", after: str = "", most: int = 0) -> Page:
        self.names += [after] if after else []
        return self._service.page(prefix, delimiter=delimiter, token=token, after=after, most=most)


def of_s3(server: S3) -> Service:
    keys = {"access_key_id": server.key_id, "secret_access_key": server.secret, "endpoint": server.url}
    return s3.open_service(server.bucket(), Login(keys))


def of_azure(server: Azurite) -> Service:
    return azure.open_service(server.container(), Login({"connection_string": server.connection_string}))


@pytest.mark.parametrize(
    ("fixture", "made", "cuts"),
    [("moto_s3", of_s3, True), ("rclone_s3", of_s3, True), ("azurite", of_azure, False)],
)
def test_a_long_listing_is_complete_and_can_be_taken_up_again(
    fixture: str, made: Callable[[object], Service], cuts: bool, request: pytest.FixtureRequest
) -> None:
    service = made(request.getfixturevalue(fixture))
    try:
        # rclone fails now and then when a directory is made for two keys at once.
        with ThreadPoolExecutor(1 if fixture == "rclone_s3" else 8) as pool:
            list(pool.map(lambda key: service.put(key, b"x", {}), KEYS))
        watched = Watched(service)
        refused: list[int] = []
        listing = list(
            pages(watched, "", most=SIZE, parallel=4, span=2, refused=lambda: refused.append(1))  # type: ignore[arg-type]
        )
        assert [one.key for page in listing for one in page.objects] == KEYS
        assert (len(watched.names) > 3, not refused) == (cuts, cuts)
        for n in (4, len(listing) // 2, len(listing) - 4):
            while not listing[n].token:
                n -= 1
            rest = [one.key for page in listing[n + 1 :] for one in page.objects]
            again = pages(service, "", most=SIZE, token=listing[n].token)
            assert [one.key for page in again for one in page.objects] == rest
    finally:
        service.close()
