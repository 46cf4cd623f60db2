"""A blob service that says whatever a test wants, on a port of 127.0.0.1, and remembers what it was asked."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit


class Asked(NamedTuple):
    """One request; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}


class Reply(NamedTuple):
    """What is answered.

    `length`: the Content-Length that is claimed, where it is not the body's. `own`: it comes from the service, which
    numbers its answers; else from whoever stands in between.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}
    length: int | None = None
    own: bool = True


class Stub:
    """The address of the stub, what it was asked so far, and what is to be closed before it ends."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[Asked] = []
        self.closing: list[Callable[[], object]] = []


@contextmanager
def stub(answer: Callable[[Asked], Reply], tls: ssl.SSLContext | None = None) -> Iterator[Stub]:
    """Answer every request by `answer`, in as many threads as there are connections; over TLS where one is given."""
    found: list[Stub] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionError:
                self.close_connection = True

        def reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, self.path, headers, body)
            found[0].asked.append(asked)
            said = answer(asked)
            self.send_response(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            if said.own:
                self.send_header("x-ms-request-id", "1")
            if said.headers.get("Transfer-Encoding") == "chunked":
                self.end_headers()
                self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(said.body), said.body) if said.body else b"0\r\n\r\n")
                return
            if "Content-Length" not in said.headers:
                self.send_header("Content-Length", str(len(said.body) if said.length is None else said.length))
            self.end_headers()
            self.wfile.write(said.body)
            if said.length is not None:
                self.close_connection = True

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = reply

        def log_message(self, format: str, *arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        found.append(Stub(f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield found[0]
        finally:
            for close in found[0].closing:
                close()
            server.shutdown()
            thread.join()
