"""A proxy in front of a test server that fails on purpose: `with faults(server.url, Rules(resets=0.05)) as proxy`.

What it promises
    Clients are given `proxy.origin` and everything reaches the server as they sent it, Host header and escaping of
    the target included, because S3 signatures cover both: the server sees the proxy's address as its own name and
    checks the signature over that. (Azure's SharedKey covers the path only.) Only `Expect: 100-continue` is answered
    here and not passed on; no signature covers it. A server that builds addresses from Host (the GCS emulator: where
    a resumable upload goes on) thereby names the proxy.

What can be had
    reset      the connection is reset before the server has seen the request
    lost       the server has done what was asked, then the connection is reset instead of an answer
    busy       503, throttled 429: an answer in the manner of the services, with `Retry-After`
    truncated  the answer promises its whole length, half of its body comes, then the connection ends
    stalled    nothing comes, and the connection stays until the client ends it; the server has not seen the request
    and for all requests: latency, a shared limit on bytes per second each way, and "away" (connections refused).

Which request fails
    `proxy.next("reset", kind="read")` orders faults one by one. Else a number between 0 and 1 is drawn from
    (seed, method, target, how often this was asked), so the outcome does not depend on which of several threads
    comes first: the same requests meet the same faults in every run, and a request that is repeated gets a new draw.
    The name of a bucket or container, made up anew for each test, does not count.

How
    A thread per connection, plain sockets, one connection to the server for each from a client. One that has been
    idle for over a second, or that the server has closed, is opened anew: requests are passed on as they come and
    cannot be sent twice. "Away" shuts the listening socket down: the kernel refuses, and the port stays ours.
"""

from __future__ import annotations

import errno
import hashlib
import io
import re
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.fuse.shape import Link
from tests.servers import http1
from tests.servers.http1 import Head
from tests.servers.kinds import kind_of
from tests.servers.process import free_port

FAULTS = ("reset", "lost", "busy", "throttled", "truncated", "stalled")
IDLE_S = 1.0
MADE_UP = re.compile(r"\b[a-z][0-9a-f]{32}\b")
"""How the servers name the buckets and containers that tests ask them for."""
_STATUS = {"busy": (503, "Service Unavailable", "SlowDown", "ServerBusy"),
           "throttled": (429, "Too Many Requests", "TooManyRequests", "TooManyRequests")}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rules:
    """How the proxy behaves. Fractions are 0 to 1 of all requests of the `kinds` (none named: all).

    A truncated answer needs a body of two bytes or more; drawn for another one it does nothing. `retry_after_s` is
    what 503 and 429 answer, None = without that header. Above `at_once` requests of the `kinds` at a time further
    ones are answered 503; 0 = any number. `servers` work at a request of the `kinds` each, others wait until one is
    free; 0 = any number. `bytes_per_second` holds each way, for all together; 0 = free.
    """

    resets: float = 0.0
    losses: float = 0.0
    busy: float = 0.0
    throttled: float = 0.0
    truncated: float = 0.0
    stalled: float = 0.0
    kinds: frozenset[str] = frozenset()
    retry_after_s: int | None = 0
    latency_s: float = 0.0
    at_once: int = 0
    servers: int = 0
    bytes_per_second: float = 0.0
    seed: int = 0


@dataclass(slots=True)
class Request:
    """What one request was and what becomes of it; on record before the client can know."""

    method: str
    target: str
    kind: str
    headers: dict[str, str]
    fault: str
    began_s: float
    """time.monotonic() at its head."""
    status: int = 0
    """0 as long as the client got no answer."""
    sent_bytes: int = 0
    """Bytes of its body that reached us; of a chunked one with its chunk headers."""
    answered_bytes: int = 0
    """Bytes of the answer's body that went to the client, counted likewise."""
    beside: int = 0
    """Other requests of the rules' kinds that were under way when it came."""


class Proxy:
    """A running proxy. `origin` is what clients are given instead of the server's; `rules` may be replaced any time."""

    def __init__(self, server: str, rules: Rules) -> None:
        parts = urlsplit(server)
        assert parts.hostname, f"{server!r} names no host"
        self._server = (parts.hostname, parts.port or 80)
        self._lock = threading.Lock()
        self._seen: list[Request] = []
        self._ordered: list[tuple[str, str]] = []
        self._asked: Counter[tuple[str, str]] = Counter()
        self._under_way: set[int] = set()
        self.connections = 0  # that clients have made so far
        self._open: set[socket.socket] = set()
        self._away = self._ended = False
        self._links = (Link(1), Link(1))
        self.rules = rules
        self._listener = _bound()
        self._listener.listen(256)
        self.origin = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    # -- what tests use

    @property
    def rules(self) -> Rules:
        """The rules that hold for the next request."""
        return self._rules

    @rules.setter
    def rules(self, rules: Rules) -> None:
        if rules.bytes_per_second:
            self._links = (Link(rules.bytes_per_second), Link(rules.bytes_per_second))
        self._desks = threading.Semaphore(rules.servers) if rules.servers else None
        self._rules = rules

    def next(self, *faults: str, kind: str = "") -> None:
        """Order one fault for each of the next requests (of a `kind`), before all chance; "" lets one pass."""
        assert set(faults) <= {*FAULTS, ""}, f"{faults}: not all are among {FAULTS}"
        with self._lock:
            self._ordered += [(fault, kind) for fault in faults]

    def seen(self, *, method: str = "", kind: str = "", fault: str | None = None) -> list[Request]:
        """The answered or failed requests of a method, kind and fault ("" = that met none), in the order of that."""
        with self._lock:
            return [
                r for r in self._seen
                if method in ("", r.method) and kind in ("", r.kind) and (fault is None or r.fault == fault)
            ]  # fmt: skip

    def count(self, *, method: str = "", kind: str = "", fault: str | None = None) -> int:
        """How many `seen` gives."""
        return len(self.seen(method=method, kind=kind, fault=fault))

    def forget(self) -> None:
        """Count from zero; faults that were ordered and not yet met are dropped."""
        with self._lock:
            self._seen.clear()
            self._ordered.clear()

    @property
    def away(self) -> bool:
        """Whether connections are refused."""
        return self._away

    @away.setter
    def away(self, away: bool) -> None:
        if away == self._away:
            return
        self._away = away
        if away:
            self._hang_up()
        else:
            self._listener.listen(256)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        """Refuse everything for good and end all connections."""
        self._ended = self._away = True
        self._hang_up()
        self._listener.close()

    # -- connections

    def _hang_up(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            # Their threads close them; a descriptor that is closed under a thread could be somebody else's by then.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while not self._away:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server = _Upstream(self._server)
        try:
            with client.makefile("rb") as stream:
                while not self._away and (head := http1.read_head(stream)) and self._one(head, stream, client, server):
                    pass
        except OSError:
            pass
        finally:
            with self._lock:
                self._open.discard(client)
            client.close()
            server.close()

    # -- requests

    def _fault(self, method: str, target: str, kind: str, rules: Rules) -> str:
        with self._lock:
            for order in self._ordered:
                if order[1] in ("", kind):
                    self._ordered.remove(order)
                    return order[0]
            target = MADE_UP.sub("", target)
            self._asked[method, target] += 1
            key = f"{rules.seed} {method} {target} {self._asked[method, target]}"
        if rules.kinds and kind not in rules.kinds:
            return ""
        draw = int.from_bytes(hashlib.blake2b(key.encode("latin-1"), digest_size=7).digest()) / 2**56
        shares = (rules.resets, rules.losses, rules.busy, rules.throttled, rules.truncated,
                  rules.stalled)  # fmt: skip
        for fault, share in zip(FAULTS, shares, strict=True):
            if draw < share:
                return fault
            draw -= share
        return ""

    def _one(self, head: Head, stream: io.BufferedReader, client: socket.socket, server: _Upstream) -> bool:
        """Carry out one request; whether the connection may be used for another."""
        began, rules = time.monotonic(), self.rules
        method, target, _ = head.start.decode("latin-1").split(" ", 2)
        headers = head.headers()
        kind = kind_of(method, target, headers)
        request = Request(method, target, kind, headers, self._fault(method, target, kind, rules), began)
        with self._entered(request, rules), self._served(request, rules):
            try:
                if rules.latency_s:
                    time.sleep(rules.latency_s)
                return self._carry(head, request, stream, client, server)
            except OSError:
                if not request.status:
                    self._record(request, 0)
                raise

    @contextmanager
    def _entered(self, request: Request, rules: Rules) -> Iterator[None]:
        """Counts a request among those under way; it is one too many where the rules say so."""
        counts = not rules.kinds or request.kind in rules.kinds
        with self._lock:
            request.beside = len(self._under_way)
            if counts and 0 < rules.at_once <= request.beside and not request.fault:
                request.fault = "busy"
            if counts:
                self._under_way.add(id(request))
        try:
            yield
        finally:
            self._leave(request)

    def _leave(self, request: Request) -> None:
        """A request is under way until the last of its answer goes out: its client may ask for more at once."""
        with self._lock:
            self._under_way.discard(id(request))

    @contextmanager
    def _served(self, request: Request, rules: Rules) -> Iterator[None]:
        desks = self._desks if not rules.kinds or request.kind in rules.kinds else None
        with desks or nullcontext():
            yield

    def _record(self, request: Request, status: int) -> None:
        with self._lock:
            request.status = status
            self._seen.append(request)

    def _carry(
        self, head: Head, request: Request, stream: io.BufferedReader, client: socket.socket, server: _Upstream
    ) -> bool:
        if request.fault == "reset":
            self._record(request, 0)
            self._leave(request)
            http1.reset(client)
            return False
        if request.fault == "stalled":
            self._record(request, 0)
            while stream.read1():
                pass
            return False
        if head.get("Expect").lower() == "100-continue":
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = head.without("Expect")
        refused, listening = request.fault in _STATUS, True
        if not refused:
            server.send(head.raw())
        for piece in http1.body(stream, http1.request_size(head)):
            self._pass(0, len(piece))
            request.sent_bytes += len(piece)
            if not refused and listening:
                # A server that does not want the rest has answered already, and closed.
                listening = server.offer(piece)
        if refused:
            self._record(request, _STATUS[request.fault][0])
            self._leave(request)
            client.sendall(_refusal(request, self.rules.retry_after_s))
            return True
        again = self._answer(request, client, server)
        return again and listening and head.get("Connection").lower() != "close"

    def _answer(self, request: Request, client: socket.socket, server: _Upstream) -> bool:
        head = server.head()
        size = http1.answer_size(head, request.method)
        if request.fault == "lost":
            for _ in http1.body(server.stream, size):
                pass
            self._record(request, 0)
            self._leave(request)
            http1.reset(client)
            return False
        self._record(request, http1.status_of(head))
        if not size:
            self._leave(request)
        client.sendall(head.raw())
        # A chunked or endless answer is cut after its first byte.
        cut = request.fault == "truncated" and size not in (0, 1)
        most = size // 2 if size > 0 else 1
        for piece in http1.body(server.stream, size):
            part = piece[: most - request.answered_bytes] if cut else piece
            self._pass(1, len(part))
            request.answered_bytes += len(part)
            if request.answered_bytes >= (most if cut else size) > 0:
                self._leave(request)
            client.sendall(part)
            if cut and request.answered_bytes >= most:
                return False
        server.rest(head.get("Connection").lower() == "close" or size == http1.UNTIL_END or head.start < b"HTTP/1.1")
        return not server.closed

    def _pass(self, way: int, size: int) -> None:
        if self.rules.bytes_per_second:
            self._links[way].carry(size)


def _bound() -> socket.socket:
    """A socket bound to a port by number: one that the kernel chose at bind is let go of when listening ends."""
    while True:
        bound = socket.socket()
        # Without it nobody may listen here again while connections of before linger.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(("127.0.0.1", free_port()))
        except OSError as error:
            bound.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return bound


class _Upstream:
    """The connection to the server that belongs to one connection from a client."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self._idle_since = 0.0
        self._resting = True
        self.stream: io.BufferedReader

    def send(self, data: bytes) -> None:
        """Pass on a piece of a request, over a fresh connection where the old one may not last."""
        if self._resting:
            if self._socket and (time.monotonic() - self._idle_since > IDLE_S or self._has_ended(self._socket)):
                self.close()
            if self._socket is None:
                self._socket = socket.create_connection(self._address)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.stream = self._socket.makefile("rb")
            self._resting = False
        assert self._socket
        self._socket.sendall(data)

    def offer(self, data: bytes) -> bool:
        """Pass on a further piece; whether the server took it."""
        try:
            self.send(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    @staticmethod
    def _has_ended(connection: socket.socket) -> bool:
        # Between two answers a server has nothing to say but that it ends.
        return bool(select.select([connection], [], [], 0)[0])

    def head(self) -> Head:
        """The head of the final answer, interim ones (1xx) left out."""
        while head := http1.read_head(self.stream):
            if http1.status_of(head) >= 200:
                return head
        raise http1.Broken("the server ended the connection without an answer")

    def rest(self, ended: bool) -> None:
        """An answer has been read to its end; `ended` when the server closes after it."""
        self._resting, self._idle_since = True, time.monotonic()
        if ended:
            self.close()

    @property
    def closed(self) -> bool:
        """Whether the connection has been given up."""
        return self._socket is None

    def close(self) -> None:
        """Give up the connection."""
        if self._socket:
            self.stream.close()
            self._socket.close()
            self._socket = None


def _refusal(request: Request, retry_after_s: int | None) -> bytes:
    """An answer in the manner of the service that the request was meant for."""
    status, phrase, *codes = _STATUS[request.fault]
    code = codes["x-ms-version" in request.headers]
    text = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>later</Message></Error>'
    lines = [f"HTTP/1.1 {status} {phrase}", f"x-ms-error-code: {code}", "Content-Type: application/xml"]
    lines += [f"Content-Length: {len(text)}"] + ([] if retry_after_s is None else [f"Retry-After: {retry_after_s}"])
    return "\r\n".join([*lines, "", "" if request.method == "HEAD" else text]).encode()


@contextmanager
def faults(server: str, rules: Rules | None = None) -> Iterator[Proxy]:
    """Run a proxy in front of the server at `server` (a URL; only host and port count)."""
    proxy = Proxy(server, rules or Rules())
    try:
        yield proxy
    finally:
        proxy.close()
