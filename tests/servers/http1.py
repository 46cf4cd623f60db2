"""Just enough of HTTP/1.1 (RFC 9112) for a proxy that passes heads on byte by byte.

A head is kept as its raw lines: a signature covers header names, values, order and the escaping of the target, so
nothing is parsed that is not needed and nothing is written anew. How long a body is follows from its head alone
(section 6.3): none, chunked, a Content-Length, or, for an answer only, until the connection ends.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from dataclasses import dataclass

BLOCK = 64 * 1024
LONGEST_LINE = 64 * 1024
UNTIL_END = -1
CHUNKED = -2


class Broken(OSError):
    """The other side ended the connection in the middle of a message, or does not speak HTTP/1.1."""


@dataclass(frozen=True, slots=True)
class Head:
    """The first line and the header lines of a message, without line ends."""

    start: bytes
    lines: tuple[bytes, ...]

    def get(self, name: str) -> str:
        """The value of a header, "" when there is none."""
        wanted = name.lower().encode()
        for line in self.lines:
            key, _, value = line.partition(b":")
            if key.strip().lower() == wanted:
                return value.strip().decode("latin-1")
        return ""

    def headers(self) -> dict[str, str]:
        """Values by lower-case name."""
        pairs = (line.decode("latin-1").partition(":") for line in self.lines)
        return {name.strip().lower(): value.strip() for name, _, value in pairs}

    def without(self, name: str) -> Head:
        """The same head without a header."""
        wanted = name.lower().encode()
        return Head(self.start, tuple(x for x in self.lines if x.partition(b":")[0].strip().lower() != wanted))

    def raw(self) -> bytes:
        """As it is sent."""
        return b"\r\n".join((self.start, *self.lines, b"", b""))


def read_head(stream: io.BufferedReader) -> Head | None:
    """The next head, None when the other side has ended the connection instead. Raises Broken."""
    lines: list[bytes] = []
    while True:
        line = stream.readline(LONGEST_LINE)
        if not line and not lines:
            return None
        if not line.endswith(b"\n"):
            raise Broken("a head without an end")
        line = line.rstrip(b"\r\n")
        if line:
            lines.append(line)
        elif lines:
            return Head(lines[0], tuple(lines[1:]))


def _framing(head: Head, otherwise: int) -> int:
    if "chunked" in head.get("Transfer-Encoding").lower():
        return CHUNKED
    length = head.get("Content-Length")
    return int(length) if length else otherwise


def request_size(head: Head) -> int:
    """Length of a request's body in bytes, or CHUNKED."""
    return _framing(head, 0)


def answer_size(head: Head, method: str) -> int:
    """Length of an answer's body in bytes, or CHUNKED, or UNTIL_END."""
    status = status_of(head)
    if method == "HEAD" or status in (204, 304) or status < 200:
        return 0
    return _framing(head, UNTIL_END)


def status_of(head: Head) -> int:
    """The status of an answer."""
    return int(head.start.split(b" ", 2)[1])


def body(stream: io.BufferedReader, size: int) -> Iterator[bytes]:
    """The pieces of a body exactly as they came, chunk headers included. Raises Broken when it ends too soon."""
    if size == CHUNKED:
        yield from _chunks(stream)
        return
    left = size
    while left:
        piece = stream.read1(BLOCK if left < 0 else min(BLOCK, left))
        if not piece:
            if size == UNTIL_END:
                return
            raise Broken(f"a body ended {left} bytes too soon")
        if left > 0:
            left -= len(piece)
        yield piece


def _chunks(stream: io.BufferedReader) -> Iterator[bytes]:
    while True:
        line = stream.readline(LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise Broken("a chunk without an end")
        yield line
        size = int(line.split(b";")[0], 16)
        if size:
            yield from body(stream, size + 2)
            continue
        while line not in (b"\r\n", b"\n", b""):
            line = stream.readline(LONGEST_LINE)
            yield line
        return


def reset(connection: socket.socket) -> None:
    """End a connection with RST: the other side gets ECONNRESET, whatever it is doing."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()
