"""gcp-storage-emulator: the JSON API of Google Cloud Storage in memory, without a login; `gcs_emulator` corrects it.

It serves one request at a time and closes the connection after each; it has no HEAD and of the XML API only single
reads and writes, without ETag and Last-Modified. obstore speaks the XML API and therefore cannot use it: what is
tested against this server has to speak JSON.
"""

from __future__ import annotations

import http.client
import json
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from tests.servers.process import running

EMULATOR = Path(__file__).with_name("gcs_emulator.py")
"""The emulator with the conditions of the service."""


@dataclass(frozen=True, slots=True)
class Gcs:
    """A running emulator: `url` is its origin (what STORAGE_EMULATOR_HOST takes), without a slash at its end."""

    url: str
    project: str = "dunlin-test"

    def at(self, origin: str) -> Gcs:
        """The same server seen through a proxy at `origin` (scheme, host and port)."""
        return replace(self, url=origin)

    def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        """Status and body of one request; underscores in the names of `headers` stand for hyphens."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        try:
            connection.request(method, target, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def bucket(self) -> str:
        """Make a bucket with a new name and return the name."""
        name = f"g{uuid.uuid4().hex}"
        body = json.dumps({"name": name}).encode()
        target = f"/storage/v1/b?project={self.project}"
        status, answer = self.ask("POST", target, body, content_type="application/json")
        assert status == 200, (status, answer)
        return name


@contextmanager
def gcs() -> Iterator[Gcs]:
    """Run an empty emulator."""
    with running("gcs", lambda port, _: [
        sys.executable, EMULATOR, "start", "--host", "127.0.0.1", "--port", str(port),
        "--in-memory", "--quiet",
    ]) as port:  # fmt: skip
        yield Gcs(f"http://127.0.0.1:{port}")
