"""HTTP/1.1 on pooled sockets: as much of RFC 9112 as requests to an object store need, and what they cost.

Moving a small object is one request, so the client decides what it costs. Measured for 4 KiB objects, urllib3 takes
two to three times the processor time of obstore, nearly all of it in parsing the answer's head as if it were mail.
obstore in turn hides headers (`Retry-After`, checksums) and refuses keys. This client takes no more than obstore and
hides nothing; docs/stores/s3.md has the figures.

A request is its head and a body of known length. An answer is a head, and a body that ends after its Content-Length,
after its last chunk, or with the connection. Only the last two of these leave a choice of what an early end means:
a chunked body that ends without its last chunk has broken off, one without any length cannot tell.

A connection goes back to the pool when its answer was read to the end, and the one used last is used next, so
that the others can time out. A connection on which something can be read although nothing was asked has been ended
by the server and is dropped. It may also be ended while a request is on its way: that is NETWORK, and the retry
policy asks again. Nothing is asked twice here, no redirect is followed and no proxy of the environment is used.

Two times end the waiting for a server. One is for silence: no byte was sent or received for so long. The other is
for a server that sends a byte now and then, and so is never silent: it is what a request may take altogether, from
the first byte of its head to the last of its answer, in proportion to its bytes where these are many. They are
known when it is sent (its body), when the head of the answer has come (Content-Length), or else as they arrive. Only
the time within calls of the socket counts: who reads slowly, because a disk is slow or a bandwidth is limited, must
not find that the server was. The price is two looks at the clock for a receive; the time-out of the socket, which
costs a system call, is set anew only when less than the time for silence is left of the whole.
"""

from __future__ import annotations

import contextlib
import math
import re
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar
from urllib.parse import urlsplit

from dunlin.errors import DunlinError, ErrorKind, translate
from dunlin.stores.objects.answers import CHUNK, CONNECT, IDLE, SHARE, TOTAL, Answer, count

Body = bytes | memoryview
_What = TypeVar("_What")
_Done = TypeVar("_Done")

LONGEST_HEAD = 256 * 1024
MOST = 64 << 20
"""Bytes of an answer that is read whole: the longest pages of listings are some MB."""
LONGEST_WAIT = 2e6
"""Seconds; the system counts the milliseconds of a time-out in 32 bits."""
JOINED = 64 * 1024
"""Bodies up to this many bytes are sent together with their head."""

_HEX = re.compile(rb"[0-9A-Fa-f]{1,15}")
_UNTIL_END = -1
_CHUNKED = -2


class Client:
    """Requests to one endpoint. Safe to use from many threads.

    Args:
        endpoint: ``https://host[:port]``, without a path.
        connections: how many are kept open while nobody uses them.
        idle: seconds without a byte before a request is given up; 0: never.
        total: seconds of waiting before a request is given up that carries or asks for up to `SHARE` bytes, in
            proportion for more; 0: never.
        connect: seconds for a connection to be made.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        connections: int = 64,
        idle: float = IDLE,
        total: float = TOTAL,
        connect: float = CONNECT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = urlsplit(endpoint)
        self.endpoint = endpoint
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._name = parts.netloc
        self._context = ssl.create_default_context() if parts.scheme == "https" else None
        self._waits = idle or math.inf, total or math.inf
        self._patience = connect
        self._clock = clock
        self._resting: deque[_Connection] = deque()
        self._kept = connections

    def close(self) -> None:
        """Close the connections that nobody uses; the others are closed when their answers have been read."""
        self._kept = 0
        while self._resting:
            self._resting.pop().close()

    def ask(self, method: str, target: str, headers: Mapping[str, str], body: Body = b"") -> Answer:
        """Make a request and read its answer whole, whatever its status.

        Args:
            target: path and query, escaped exactly as it was signed.
            headers: lower-case names; ``host`` and ``content-length`` are added.

        Raises NETWORK, also for an answer of more than `MOST` bytes, or TIMEOUT.
        """
        status, found, reply = self._open(method, target, headers, body)
        return Answer(status, found, self._whole(reply))

    def stream(self, method: str, target: str, headers: Mapping[str, str]) -> tuple[Answer, Reply]:
        """Make a request whose answer is read in pieces; `Answer.body` holds it only from status 300 on."""
        status, found, reply = self._open(method, target, headers, b"")
        return Answer(status, found, self._whole(reply) if status >= 300 else b""), reply

    def _whole(self, reply: Reply) -> bytes:
        pieces, size = [], 0
        for piece in reply:
            size += len(piece)
            if size > MOST:
                reply.close()
                raise DunlinError("reach", self.endpoint, ErrorKind.NETWORK, f"the answer is longer than {MOST} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    def _open(
        self, method: str, target: str, headers: Mapping[str, str], body: Body
    ) -> tuple[int, dict[str, str], Reply]:
        head = self._head(method, target, headers, body)
        connection = None
        try:
            connection = self._connection()
            connection.send(head, body)
            status, found, length, lasts = connection.head(method)
        except (OSError, _Broken) as error:
            if connection is not None:
                connection.close()
            raise _translated(error, self.endpoint) from error
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        return status, found, Reply(self, connection, length, lasts)

    def _head(self, method: str, target: str, headers: Mapping[str, str], body: Body) -> bytes:
        lines = [f"{method} {target} HTTP/1.1"]
        if "host" not in headers:
            lines.append(f"host: {self._name}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body or method in ("PUT", "POST"):
            lines.append(f"content-length: {len(body)}")
        text = "\r\n".join(lines)
        # A line end in a value would begin another header, or another request.
        if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
            raise DunlinError("reach", self.endpoint, ErrorKind.INTERNAL, "a header with a line end in it")
        return f"{text}\r\n\r\n".encode("latin-1")

    def _connection(self) -> _Connection:
        while True:
            try:
                connection = self._resting.pop()
            except IndexError:
                return _Connection(self._connect(), *self._waits, self._clock)
            if connection.rests():
                return connection
            connection.close()

    def _connect(self) -> socket.socket:
        try:
            plain = socket.create_connection((self._host, self._port), self._patience)
        except UnicodeError:
            raise DunlinError("reach", self.endpoint, ErrorKind.USAGE, "the host's name cannot be right") from None
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            context = self._context
            return plain if context is None else context.wrap_socket(plain, server_hostname=self._host)
        except BaseException:
            plain.close()
            raise

    def give_back(self, connection: _Connection) -> None:
        """Take a connection whose answer has been read to its end."""
        if len(self._resting) < self._kept:
            self._resting.append(connection)
        else:
            connection.close()


class Reply:
    """The pieces of an answer's body. Gives its connection back after the last; `close` ends it before."""

    __slots__ = ("_client", "_connection", "_lasts", "_left", "_pieces")

    def __init__(self, client: Client, connection: _Connection, length: int, lasts: bool) -> None:
        self._client = client
        self._connection: _Connection | None = connection
        self._lasts = lasts
        self._left = length
        self._pieces = connection.body(length)
        if length == 0:
            self._done()

    def __iter__(self) -> Reply:
        return self

    def __next__(self) -> bytes:
        if self._connection is None:
            raise StopIteration
        with self._closed_by_errors():
            piece = next(self._pieces, None)
        if piece is None:
            self._done()
            raise StopIteration
        # Who counts what it gets does not ask for the end.
        self._left -= len(piece)
        if self._left == 0:
            self._done()
        return piece

    @property
    def counted(self) -> bool:
        """Whether the length is known, as `readinto` needs it."""
        return self._left >= 0

    def readinto(self, view: memoryview) -> int:
        """Receive the next bytes into `view`; how many came, 0 at the end. Not after pieces were taken."""
        if self._connection is None or not view:
            return 0
        with self._closed_by_errors():
            came = self._connection.receive_into(view[: self._left])
            if not came:
                raise _Broken(f"the answer broke off with {self._left} bytes to come")
        self._left -= came
        if self._left == 0:
            self._done()
        return came

    @contextlib.contextmanager
    def _closed_by_errors(self) -> Iterator[None]:
        """After any error within, the connection is not used again."""
        try:
            yield
        except (OSError, _Broken) as error:
            self.close()
            raise _translated(error, self._client.endpoint) from error
        except BaseException:
            self.close()
            raise

    def _done(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._lasts:
                self._client.give_back(connection)
            else:
                connection.close()

    def close(self) -> None:
        """Nobody wants more of it; the connection cannot be used again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __del__(self) -> None:
        self.close()


class _Connection:
    """One socket, what was received beyond what was wanted, and how long the server has been waited for.

    Args:
        idle, total, clock: see `Client`; infinite: for ever.
    """

    __slots__ = ("_bytes", "_clock", "_idle", "_most", "_rest", "_set", "_socket", "_spent", "_total")

    def __init__(self, connected: socket.socket, idle: float, total: float, clock: Callable[[], float]) -> None:
        self._socket = connected
        self._rest = b""
        self._idle = idle
        self._total = self._most = total
        self._clock = clock
        self._bytes = 0
        self._spent = 0.0
        self._set = 0.0

    def close(self) -> None:
        self._socket.close()

    def rests(self) -> bool:
        """Whether the server has neither ended the connection nor said anything that was not asked for."""
        return not self._rest and not _readable(self._socket)

    def send(self, head: bytes, body: Body) -> None:
        """Send a request; its time begins here."""
        self._bytes, self._spent, self._most = 0, 0.0, self._total
        if len(body) <= JOINED:
            self._send(head + body if body else head)
            return
        self._more(len(body))
        self._send(head)
        # Who refuses a large body may answer and close before it has read it: the answer tells more.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._send(body)

    def _send(self, data: Body) -> None:
        # `sendall` allows the time for silence to all of it together.
        sent = self._within(self._socket.send, data)
        while sent < len(data):
            sent += self._within(self._socket.send, memoryview(data)[sent:])

    def _more(self, size: int) -> None:
        """The request carries, or is answered with, so many further bytes."""
        self._bytes += size
        if self._bytes > SHARE:
            self._most = self._total * (self._bytes / SHARE)

    def _within(self, call: Callable[[_What], _Done], what: _What) -> _Done:
        """Make one call of the socket within what is left of the time. Raises _Late."""
        left = self._most - self._spent
        if left <= 0:
            raise _Late.total(self._most)
        wait = self._idle if self._idle < left else left
        if wait != self._set:
            self._socket.settimeout(wait if wait < LONGEST_WAIT else None)
            self._set = wait
        began = self._clock()
        try:
            done = call(what)
        except TimeoutError as error:
            if error.errno is not None:
                raise  # ETIMEDOUT: the system, not we, has given up
            raise (_Late.total(self._most) if wait < self._idle else _Late.idle(wait)) from error
        self._spent += self._clock() - began
        return done

    def head(self, method: str) -> tuple[int, dict[str, str], int, bool]:
        """Status, headers (lower-case names), length of the body, and whether the connection lasts."""
        while True:
            text = self._until(b"\r\n\r\n", LONGEST_HEAD).decode("latin-1")
            first, *lines = text.split("\r\n")
            version, _, rest = first.partition(" ")
            status = count(rest[:3])
            if not version.startswith("HTTP/1.") or status is None:
                raise _Broken("the answer is not HTTP/1.1")
            if status >= 200:
                break
        found: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise _Broken("a header of the answer has no colon")
            name = name.lower()
            value = value.strip()
            found[name] = f"{found[name]}, {value}" if name in found else value
        length = _length(method, status, found)
        if length > 0:
            self._more(length)
        lasts = length != _UNTIL_END and version != "HTTP/1.0" and found.get("connection", "").lower() != "close"
        return status, found, length, lasts

    def body(self, length: int) -> Iterator[bytes]:
        """The pieces of a body of that length."""
        if length == _CHUNKED:
            return self._chunks()
        return self._until_end() if length == _UNTIL_END else self._counted(length)

    def _counted(self, length: int) -> Iterator[bytes]:
        left = length
        while left:
            piece = self._receive(min(left, CHUNK))
            if not piece:
                raise _Broken(f"the answer broke off after {length - left} of {length} bytes")
            left -= len(piece)
            yield piece

    def _until_end(self) -> Iterator[bytes]:
        while piece := self._receive(CHUNK):
            self._more(len(piece))
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while True:
            size = self._until(b"\r\n", 4096).partition(b";")[0].strip()
            if not _HEX.fullmatch(size):
                raise _Broken("a chunk of the answer has no length")
            length = int(size, 16)
            if length == 0:
                break
            for piece in self._counted(length):
                self._more(len(piece))
                yield piece
            if self._until(b"\r\n", 4096):
                raise _Broken("a chunk of the answer is longer than it says")
        while self._until(b"\r\n", LONGEST_HEAD):
            pass

    def _receive(self, most: int) -> bytes:
        """Up to `most` bytes; b"" at the end."""
        if self._rest:
            piece, self._rest = self._rest[:most], self._rest[most:]
            return piece
        return self._within(self._socket.recv, most)

    def receive_into(self, view: memoryview) -> int:
        """Receive up to as many bytes as `view` holds; 0 at the end."""
        if self._rest:
            came = min(len(self._rest), len(view))
            view[:came], self._rest = self._rest[:came], self._rest[came:]
            return came
        return self._within(self._socket.recv_into, view)

    def _until(self, end: bytes, most: int) -> bytes:
        """What comes before `end`, which is taken as well."""
        data, self._rest = self._rest, b""
        while (at := data.find(end)) < 0:
            if len(data) > most:
                raise _Broken("the head of the answer does not end")
            piece = self._within(self._socket.recv, 65_536)
            if not piece:
                raise _Broken("the answer broke off" if data else "the server ended the connection without an answer")
            data += piece
        self._rest = data[at + len(end) :]
        return data[:at]


def _readable(connected: socket.socket) -> bool:
    """Whether something can be read at once, or the end was reached."""
    if not hasattr(select, "poll"):
        return bool(select.select((connected,), (), (), 0)[0])
    watch = select.poll()
    watch.register(connected, select.POLLIN)
    return bool(watch.poll(0))


def _length(method: str, status: int, headers: Mapping[str, str]) -> int:
    if method == "HEAD" or status in (204, 304):
        return 0
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return _CHUNKED
    length = headers.get("content-length")
    if length is None:
        return _UNTIL_END
    if (size := count(length)) is None:
        raise _Broken("the answer has no proper length")
    return size


class _Broken(Exception):
    """The server does not speak HTTP/1.1, or stopped in the middle of it."""


class _Late(TimeoutError):
    """The server was waited for long enough: why, and what allows it longer."""

    @classmethod
    def idle(cls, seconds: float) -> _Late:
        return cls(f"no byte for {round(seconds, 1):g} s", "--timeout allows more")

    @classmethod
    def total(cls, seconds: float) -> _Late:
        return cls(f"no end after {round(seconds, 1):g} s", "--request-timeout allows more")


def _translated(error: OSError | _Broken, where: str) -> DunlinError:
    if isinstance(error, _Broken):
        return DunlinError("reach", where, ErrorKind.NETWORK, str(error))
    if isinstance(error, _Late):
        return DunlinError("reach", where, ErrorKind.TIMEOUT, *error.args)
    if isinstance(error, TimeoutError):
        return DunlinError("reach", where, ErrorKind.TIMEOUT, "no answer in time")
    if isinstance(error, ssl.SSLEOFError):
        return DunlinError("reach", where, ErrorKind.NETWORK, "the server ended the connection")
    if isinstance(error, ssl.SSLError):
        return DunlinError("reach", where, ErrorKind.AUTH, f"TLS: {error}", "check the certificate")
    if isinstance(error, socket.gaierror):
        return DunlinError("reach", where, ErrorKind.NETWORK, str(error.strerror), "check the endpoint")
    return translate(error, "reach", where)
