"""The HTTP endpoint of the metrics: GET /metrics, in threads of its own, until it is closed.

What is exported holds no paths and no secrets; where it is listened for is said in `report.address`.
"""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from dunlin.errors import DunlinError, ErrorKind, translate
from dunlin.report.address import Address

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

PATH = "/metrics"
PATIENCE = 10.0
"""Seconds that a client may take to say what it wants."""


class Endpoint:
    """Answers scrapes from the moment it is made. Raises USAGE where the address cannot be listened on.

    `named`: what names another address, for the hint.
    """

    def __init__(self, metrics: Collector, address: Address, named: str = "--metrics-addr") -> None:
        from prometheus_client import CollectorRegistry

        registry = CollectorRegistry(auto_describe=False)
        registry.register(metrics)
        listening = _listen(address, named)
        self.address = Address(address.host, listening.getsockname()[1])
        # Made without a socket of its own: the library's way to bind looks the host's name up, which may take minutes.
        self._server = ThreadingHTTPServer((address.host, 0), _handler(registry), bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listening
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What a scraper asks for."""
        return f"http://{self.address}{PATH}"

    def close(self) -> None:
        """Stop listening; answers that are on their way are not waited for."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _listen(address: Address, named: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family, backlog=16)
    except OSError as error:
        # Numbers below zero are those of the resolver.
        unknown = error.errno is None or error.errno < 0
        reason = "there is no such host here" if unknown else translate(error, "", "").reason
        hint = f"{named} names another address"
        raise DunlinError("serve metrics at", str(address), ErrorKind.USAGE, reason, hint) from error


def _handler(registry: object) -> type[BaseHTTPRequestHandler]:
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    assert isinstance(registry, CollectorRegistry)
    known = registry

    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE
        server_version = "dunlin"
        sys_version = ""

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != PATH:
                self._answer(404, "text/plain; charset=utf-8", f"there is only {PATH} here\n".encode())
                return
            encode, kind = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, kind, encode(known))

        do_HEAD = do_GET

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                self.close_connection = True  # the client is gone

        def log_message(self, format: str, *arguments: object) -> None:
            """Nobody below the command line prints."""

    return Handler
