"""A server that answers what it is told to, byte for byte, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tests.servers import http1

HANG_UP = b""
"""As an answer: the connection is ended instead."""


class Asked(NamedTuple):
    """One request, and the number of the connection that it came on."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int


class Scripted:
    """Gives `answers` one after the other, whoever asks; one that does not end keeps the connection."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.asked: list[Asked] = []
        self.ended_after = 0
        """Answers after which the connection is ended although it was kept alive; 0: never."""
        self.context: ssl.SSLContext | None = None
        """Of a server that speaks TLS."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self.context is not None:
                try:
                    connection = self.context.wrap_socket(connection, server_side=True)
                except OSError:
                    connection.close()
                    continue
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection, len(self._open)), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with connection, connection.makefile("rb") as stream:
            given = 0
            try:
                while head := http1.read_head(stream):
                    method, target, _ = head.start.decode().split(" ")
                    body = stream.read(http1.request_size(head))
                    self.asked.append(Asked(method, target, head.headers(), body, number))
                    answer = self.answers.pop(0)
                    connection.sendall(answer)
                    given += 1
                    if not answer or b"connection: close" in answer or given == self.ended_after:
                        return
            except OSError:
                return

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # closing alone does not end an `accept`
        self._listener.close()
        for connection in self._open:
            connection.close()


@contextmanager
def scripted(*answers: bytes) -> Iterator[Scripted]:
    server = Scripted(*answers)
    try:
        yield server
    finally:
        server.close()


def answer(status: int, body: bytes | str = b"", **headers: str) -> bytes:
    """An answer with a Content-Length; underscores in names of headers are hyphens."""
    raw = body.encode() if isinstance(body, str) else body
    named = {"content_length": str(len(raw)), **headers}
    lines = [f"HTTP/1.1 {status} Reason", *(f"{name.replace('_', '-')}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + raw
