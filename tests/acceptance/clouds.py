"""Places for the tests of object stores: a bucket, container or directory, what is in it, and how it is named.

Objects are put and looked at through the services' own clients in `dunlin.stores.objects`, which the integration
tests hold against the SDKs: keys verbatim, nothing of the engine in between.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dunlin.stores.login import Login
from dunlin.stores.objects.place import open_service, place_of
from dunlin.stores.objects.service import Object, Service
from tests.servers.faults import Proxy, Rules, faults

KINDS = ("s3", "az", "gs")
"""moto, Azurite, the GCS emulator."""


@dataclass
class Cloud:
    """A bucket of its own at a running server.

    Attributes:
        url: what the command line is given for it. login: how the tests get in themselves.
        flags: options that lead to the server, with "--" in front and without the side.
        env: secrets, as the program's environment.
    """

    url: str
    login: Login
    flags: Mapping[str, str]
    env: Mapping[str, str]
    origin: str
    moved: Callable[[str], Mapping[str, str]] = field(repr=False)

    def options(self, side: str = "") -> list[str]:
        """Options for one side of a pair ("source", "dest"), or for both (""): where the server is."""
        words: list[str] = []
        for name, value in self.flags.items():
            words += [f"--{side}-{name}" if side else f"--{name}", value]
        return words

    @contextmanager
    def opened(self) -> Iterator[Service]:
        place = place_of(self.url, self.login)
        service = open_service(place, 8)
        try:
            yield service
        finally:
            service.close()

    def put(self, objects: Mapping[str, bytes], metadata: Mapping[str, str] | None = None) -> None:
        """Store objects under verbatim keys."""
        with self.opened() as service:
            for key, data in objects.items():
                service.put(key, data, metadata or {}, md5=hashlib.md5(data, usedforsecurity=False).digest())

    def delete(self, *keys: str) -> None:
        with self.opened() as service:
            service.delete(keys)

    def objects(self) -> dict[str, Object]:
        """What is in it, by key, with all metadata."""
        with self.opened() as service:
            return {key: service.head(key) for key in _keys(service)}

    def keys(self) -> list[str]:
        with self.opened() as service:
            return sorted(_keys(service))

    def content(self) -> dict[str, bytes]:
        """What is in it, by key."""
        found = {}
        with self.opened() as service:
            for key in _keys(service):
                _, body = service.get(key)
                found[key] = b"".join(bytes(piece) for piece in body)
        return found

    @contextmanager
    def through(self, rules: Rules | None = None) -> Iterator[tuple[Cloud, Proxy]]:
        """The same bucket seen through a proxy that fails as told, and counts."""
        with faults(self.origin, rules) as proxy:
            flags = self.moved(proxy.origin)
            yield Cloud(self.url, self.login, flags, self.env, self.origin, self.moved), proxy


def _keys(service: Service) -> list[str]:
    keys: list[str] = []
    token = ""
    while True:
        page = service.page("", token=token)
        keys += [found.key for found in page.objects]
        token = page.token
        if not token:
            return keys


def s3(server: Any) -> Cloud:
    """A fresh bucket of an S3 server."""
    bucket = server.bucket()
    values = {"access_key_id": server.key_id, "secret_access_key": server.secret}
    env = {"AWS_ACCESS_KEY_ID": server.key_id, "AWS_SECRET_ACCESS_KEY": server.secret}
    return Cloud(
        f"s3://{bucket}",
        Login({**values, "endpoint": server.url, "region": server.region}),
        {"s3-endpoint": server.url},
        env,
        server.url,
        lambda origin: {"s3-endpoint": origin},
    )


def az(server: Any) -> Cloud:
    """A fresh container of Azurite."""
    container = server.container()
    values = {"account_name": server.account, "account_key": server.key, "endpoint": server.url}
    env = {"AZURE_STORAGE_ACCOUNT": server.account, "AZURE_STORAGE_KEY": server.key}
    return Cloud(
        f"az://{container}",
        Login(values),
        {"azure-endpoint": server.url},
        env,
        server.url,
        lambda origin: {"azure-endpoint": f"{origin}/{server.account}"},
    )


def gs(server: Any) -> Cloud:
    """A fresh bucket of the GCS emulator."""
    bucket = server.bucket()
    return Cloud(
        f"gs://{bucket}",
        Login({"endpoint": server.url}),
        {"gcs-endpoint": server.url},
        {},
        server.url,
        lambda origin: {"gcs-endpoint": origin},
    )


FIXTURES = {"s3": ("moto_s3", s3), "fast": ("rclone_s3", s3), "az": ("azurite", az), "gs": ("gcs", gs)}


def cloud(request: pytest.FixtureRequest, kind: str) -> Cloud:
    """A fresh bucket of that kind; its server is started when it is first asked for."""
    fixture, make = FIXTURES[kind]
    return make(request.getfixturevalue(fixture))


def words(source: Cloud | Path, target: Cloud | Path) -> tuple[list[str | Path], dict[str, str]]:
    """The places of a pair as the command line's words, and the environment."""
    told: list[str | Path] = []
    env: dict[str, str] = {}
    for side, place in (("source", source), ("dest", target)):
        if isinstance(place, Cloud):
            told += place.options(side)
            for name, value in place.env.items():
                assert env.setdefault(name, value) == value, "two logins of one service need flags of their own"
    places = [place.url if isinstance(place, Cloud) else place for place in (source, target)]
    return [*told, *places], env
