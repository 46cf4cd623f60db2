"""The HTTP side: connections, requests one by one, faults on demand, counts.

A thread per connection over plain sockets, with the small HTTP/1.1 of tests/servers/http1.py. What a request does, it
does under the account's lock; the bytes of a large answer are sent without it.
"""

from __future__ import annotations

import hashlib
import io
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from typing import NamedTuple

from tests.emulators.azure_files import times
from tests.emulators.azure_files.auth import authorise
from tests.emulators.azure_files.files import MOST_BYTES
from tests.emulators.azure_files.routes import NAMES, Operation, route
from tests.emulators.azure_files.tree import Account, new_id
from tests.emulators.azure_files.wire import CODES, Answer, Refused, Request, parsed, refusal
from tests.servers import http1

MOST_READ = MOST_BYTES + 64 * 1024
"""Bodies above this are read to their end and refused."""
SERVER = "Windows-Azure-File/1.0 Microsoft-HTTPAPI/2.0"


@dataclass(frozen=True, slots=True)
class Rules:
    """How the service behaves towards all requests of the `operations` (none named: all).

    Attributes:
        throttled: fraction, 0 to 1, answered with 503 ServerBusy; drawn from (seed, operation, path, how often asked),
            so that the same requests meet the same refusals whichever thread comes first.
        retry_after_s: `Retry-After` of these answers, None = without. latency_s: wait before each answer.
    """

    throttled: float = 0.0
    retry_after_s: int | None = 1
    latency_s: float = 0.0
    operations: frozenset[str] = frozenset()
    seed: int = 0


class Done(NamedTuple):
    """One request that was answered. `code` is the error code, "" when there was none."""

    operation: str
    path: str
    status: int
    code: str
    sent_bytes: int
    """Length of the request's body."""


@dataclass(slots=True)
class _Order:
    code: str
    operation: str
    path: str
    times: int
    status: int
    retry_after_s: int | None


class Server:
    """A running emulator. `rules` may be replaced at any time."""

    def __init__(self, account: Account, rules: Rules, port: int = 0) -> None:
        self.account = account
        self.rules = rules
        self._lock = threading.Lock()
        self._orders: list[_Order] = []
        self._asked: Counter[tuple[str, str]] = Counter()
        self._done: deque[Done] = deque(maxlen=200_000)
        self._counts: Counter[str] = Counter()
        self._open: set[socket.socket] = set()
        self._ended = False
        self._listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    # -- what tests use

    def fail(
        self, code: str, *, operation: str = "", path: str = "", times: int = 1, status: int = 0,
        retry_after_s: int | None = None,
    ) -> None:  # fmt: skip
        """Order an error for the next requests, before anything is done for them.

        Args:
            code: the error code; one that the reference does not know needs a `status`.
            operation: only such requests ("" = all). path: only those whose path, share first, is this one.
            times: how many requests meet it.
        """
        assert operation in NAMES | {""}, f"no operation is called {operation}"
        assert status or code in CODES, f"the status of {code} is not known"
        with self._lock:
            self._orders.append(_Order(code, operation, path, times, status, retry_after_s))

    def done(self, operation: str = "") -> list[Done]:
        """The last 200,000 requests (of an operation), in the order of their answers."""
        with self._lock:
            return [each for each in self._done if operation in ("", each.operation)]

    def count(self, operation: str = "") -> int:
        """How many requests (of an operation) were answered, refused ones included."""
        assert operation in NAMES | {""}, f"no operation is called {operation}"
        with self._lock:
            return self._counts[operation] if operation else self._counts.total()

    def forget(self) -> None:
        """Count and draw from the start; errors that were ordered and not yet met are dropped."""
        with self._lock:
            self._orders.clear()
            self._done.clear()
            self._counts.clear()
            self._asked.clear()

    def close(self) -> None:
        """Refuse connections, end those that are open, drop all content."""
        self._ended = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                # Their threads close them: a descriptor closed here could be somebody else's by then.
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        with self.account.lock:
            self.account.arena.close()

    # -- connections

    def _accept(self) -> None:
        while not self._ended:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with client.makefile("rb") as stream:
                while not self._ended and (head := http1.read_head(stream)) and self._one(head, stream, client):
                    pass
        except OSError:  # the other side went away
            pass
        except ValueError:  # the arena was closed under us at the end
            if not self._ended:
                raise
        finally:
            with self._lock:
                self._open.discard(client)
            client.close()

    def _one(self, head: http1.Head, stream: io.BufferedReader, client: socket.socket) -> bool:
        method, target, _ = head.start.decode("latin-1").split(" ", 2)
        headers = head.headers()
        if headers.get("expect", "").lower() == "100-continue":
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body, refused = _body(head, stream)
        spelling = {name.lower(): name for line in head.lines if (name := line.partition(b":")[0].decode("latin-1"))}
        request = Request(method, headers, body, peer=client.getpeername()[0], spelling=spelling)
        request_id = new_id()
        answer = self._answer(request, target, request_id, refused)
        ended = headers.get("connection", "").lower() == "close" or refused == "MissingContentLengthHeader"
        _send(client, method, answer, _common(headers, request_id, ended))
        return not ended

    # -- requests

    def _answer(self, request: Request, target: str, request_id: str, refused: str) -> Answer:
        name, path, code = "Unknown", target, ""
        try:
            if refused:
                raise Refused(refused)
            request = parsed(request, target, self.account.name)
            path = "/".join(request.path)
            operation = route(request)
            name = operation.name
            self._fault(name, path)
            answer = self._carry_out(operation, request)
        except Refused as error:
            code = error.code
            answer = refusal(error, request_id, times.written(times.now()), request.method)
        with self._lock:
            self._counts[name] += 1
            self._done.append(Done(name, path, answer.status, code, len(request.body)))
        return answer

    def _carry_out(self, operation: Operation, request: Request) -> Answer:
        with self.account.lock:
            authorise(self.account, request, operation.letters, operation.level)
            return operation.handler(self.account, request)

    def _fault(self, operation: str, path: str) -> None:
        rules = self.rules
        concerned = not rules.operations or operation in rules.operations
        if concerned and rules.latency_s:
            time.sleep(rules.latency_s)
        with self._lock:
            order = next((o for o in self._orders if o.operation in ("", operation) and o.path in ("", path)), None)
            if order:
                order.times -= 1
                if not order.times:
                    self._orders.remove(order)
                raise Refused(order.code, status=order.status, headers=_retry(order.retry_after_s))
            self._asked[operation, path] += 1
            key = f"{rules.seed} {operation} {path} {self._asked[operation, path]}"
        draw = int.from_bytes(hashlib.blake2b(key.encode(errors="replace"), digest_size=7).digest()) / 2**56
        if concerned and draw < rules.throttled:
            raise Refused("ServerBusy", headers=_retry(rules.retry_after_s))


def _retry(seconds: int | None) -> dict[str, str]:
    return {} if seconds is None else {"Retry-After": str(seconds)}


def _body(head: http1.Head, stream: io.BufferedReader) -> tuple[bytes, str]:
    """The body, and the error code of one that is not taken."""
    size = http1.request_size(head)
    if size == http1.CHUNKED or (not size and head.start.startswith(b"PUT") and not head.get("Content-Length")):
        return b"", "MissingContentLengthHeader"
    if size > MOST_READ:
        for _ in http1.body(stream, size):
            pass
        return b"", "RequestBodyTooLarge"
    return b"".join(http1.body(stream, size)), ""


def _common(headers: dict[str, str], request_id: str, ended: bool) -> dict[str, str]:
    found = {"Date": formatdate(usegmt=True), "Server": SERVER, "x-ms-request-id": request_id}
    for name in ("x-ms-version", "x-ms-client-request-id"):
        if name in headers:
            found[name] = headers[name]
    return found | ({"Connection": "close"} if ended else {})


def _send(client: socket.socket, method: str, answer: Answer, common: dict[str, str]) -> None:
    if answer.chunked and method != "HEAD":
        framing, body = "Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(answer.body), answer.body)
    else:
        framing, body = f"Content-Length: {len(answer.body) if answer.length is None else answer.length}", answer.body
    lines = [f"HTTP/1.1 {answer.status} {_PHRASES.get(answer.status, 'Error')}"]
    lines += [f"{name}: {value}" for name, value in {**answer.headers, **common}.items()] + [framing]
    data = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
    pieces: Iterator[bytes] = iter(answer.pieces or (body,))
    if method == "HEAD":
        pieces = iter(())
    client.sendall(data + next(pieces, b""))
    for piece in pieces:
        client.sendall(piece)


_PHRASES = {
    200: "OK", 201: "Created", 202: "Accepted", 206: "Partial Content", 400: "Bad Request", 401: "Unauthorized",
    403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 409: "Conflict", 411: "Length Required",
    412: "Precondition Failed", 413: "Payload Too Large", 416: "Range Not Satisfiable", 500: "Internal Server Error",
    503: "Service Unavailable",
}  # fmt: skip
