"""Azurite, Microsoft's emulator of Azure Blob Storage, in memory and with an account of its own.

`--disableTelemetry`, because Azurite reports its use to its makers otherwise; `--skipApiVersionCheck`, because the
SDKs run ahead of it. The account's key is drawn at each start, so that none stands in a file.
"""

from __future__ import annotations

import base64
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.servers.node import installed, node
from tests.servers.process import running


@dataclass(frozen=True, slots=True)
class Azurite:
    """A running Azurite: `url` is the account's blob endpoint, without a slash at its end."""

    url: str
    account: str
    key: str

    @property
    def connection_string(self) -> str:
        """What the SDKs and `--connection-string` take."""
        parts = ("DefaultEndpointsProtocol=http", f"AccountName={self.account}", f"AccountKey={self.key}")
        return ";".join([*parts, f"BlobEndpoint={self.url}"]) + ";"

    def at(self, origin: str) -> Azurite:
        """The same account seen through a proxy at `origin` (scheme, host and port)."""
        return replace(self, url=f"{origin}/{self.account}")

    def container(self) -> str:
        """Make a container with a new name and return the name."""
        from azure.storage.blob import BlobServiceClient

        name = f"c{uuid.uuid4().hex}"
        with BlobServiceClient.from_connection_string(self.connection_string) as service:
            service.create_container(name)
        return name


@contextmanager
def azurite(*, account: str = "dunlintest", on_disk: bool = False) -> Iterator[Azurite]:
    """Run an empty Azurite (blobs only). `on_disk` keeps content in a temporary directory instead of memory."""
    key = base64.b64encode(os.urandom(64)).decode()
    program = installed("servers") / "azurite" / "dist" / "src" / "blob" / "main.js"
    line: list[str | Path] = [node(), program, "--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    # On disk it writes to its working directory, the one that is removed afterwards.
    line += ["--blobHost", "127.0.0.1"] if on_disk else ["--blobHost", "127.0.0.1", "--inMemoryPersistence"]
    accounts = {"AZURITE_ACCOUNTS": f"{account}:{key}"}
    with running("azurite", lambda port, _: [*line, "--blobPort", str(port)], accounts) as port:
        yield Azurite(f"http://127.0.0.1:{port}/{account}", account, key)
