"""The official SDK as the tests of the Azure Files emulator use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.fileshare import AccountSasPermissions, ResourceTypes, ShareServiceClient, generate_account_sas

from tests.emulators.azure_files import AzureFiles

ALL = ["timestamps", "Etag", "Attributes", "PermissionKey"]
"""Everything that a listing can include."""


@contextmanager
def sdk(files: AzureFiles, **options: Any) -> Iterator[ShareServiceClient]:
    """The SDK's client of the account, without retries unless `options` say otherwise."""
    options = {"retry_total": 0, "credential": {"account_name": files.account, "account_key": files.key}, **options}
    with ShareServiceClient(files.url, **options) as service:
        yield service


@contextmanager
def refused(code: str, status: int) -> Iterator[None]:
    """What is done inside is answered with an error code and status."""
    with pytest.raises(HttpResponseError) as raised:
        yield
    error: Any = raised.value
    assert (getattr(error.error_code, "value", error.error_code), error.status_code) == (code, status)


def raw(call: Any, *args: Any, **options: Any) -> dict[str, str]:
    """The headers of the answer to a call; the SDK's own objects lose the last digit of a time."""
    found: list[dict[str, str]] = []
    call(*args, raw_response_hook=lambda answer: found.append(dict(answer.http_response.headers)), **options)
    return found[-1]


def listed(directory: Any, **options: Any) -> list[str]:
    """The names in a directory, page by page, each page sorted out by the SDK (directories first)."""
    return [entry.name for entry in directory.list_directories_and_files(**options)]


class Altering:
    """The SDK's transport, with a change to the headers of each request after it was signed."""

    def __init__(self, change: Callable[[Any], None]) -> None:
        self._change = change
        self._transport = RequestsTransport()

    def send(self, request: Any, **options: Any) -> Any:
        """Send a request that is no longer what was signed."""
        self._change(request)
        return self._transport.send(request, **options)

    def __enter__(self) -> Altering:
        self._transport.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.close()


def account_sas(files: AzureFiles, types: str = "sco", letters: str = "rwdlc", **options: Any) -> str:
    """A SAS of the account, for an hour unless `options` say otherwise."""
    soon = datetime.now(UTC) + timedelta(hours=1)
    given = ResourceTypes.from_string(types), AccountSasPermissions.from_string(letters)
    return generate_account_sas(files.account, files.key, *given, **{"expiry": soon, **options})


@contextmanager
def altered(files: AzureFiles, change: Callable[[Any], None]) -> Iterator[ShareServiceClient]:
    """A client whose requests are changed on their way, which a SAS does not notice."""
    with sdk(files, credential=account_sas(files), transport=Altering(change)) as service:
        yield service
