"""The HTTP client: framing, reuse of connections, and what a broken answer becomes."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from urllib3.util import wait_for_read

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.objects import wire
from dunlin.stores.objects.wire import Client
from tests.unit.stores.objects.scripted import HANG_UP, Scripted, answer, scripted

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def kind_of(client: Client, target: str = "/x") -> ErrorKind:
    with pytest.raises(DunlinError) as caught:
        client.ask("GET", target, {})
    return caught.value.kind


def test_a_request_goes_out_as_it_was_given() -> None:
    with scripted(answer(200, b"yes", ETag='"v"')) as server:
        client = Client(server.url)
        found = client.ask("PUT", "/b/../a//%2F?x=%20", {"x-amz-date": "now"}, memoryview(b"body"))
        client.close()
    assert (found.status, found.headers["etag"], found.body) == (200, '"v"', b"yes")
    asked = server.asked[0]
    assert (asked.method, asked.target, asked.body) == ("PUT", "/b/../a//%2F?x=%20", b"body")
    assert asked.headers["content-length"] == "4"
    assert asked.headers["host"] == server.url.removeprefix("http://")


def test_a_large_body_arrives_whole() -> None:
    data = bytes(range(256)) * 4096
    with scripted(answer(200)) as server:
        client = Client(server.url)
        client.ask("PUT", "/x", {}, data)
        client.close()
    assert server.asked[0].body == data


def test_an_empty_put_says_its_length() -> None:
    with scripted(answer(200)) as server:
        client = Client(server.url)
        client.ask("PUT", "/x", {})
        client.close()
    assert server.asked[0].headers["content-length"] == "0"


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (CHUNKED + b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\ntrailer: x\r\n\r\n", b"abcde"),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nall of it", b"all of it"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + answer(200, b"later"), b"later"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
def test_every_framing_is_read(raw: bytes, body: bytes) -> None:
    with scripted(raw) as server:
        client = Client(server.url)
        assert client.ask("GET", "/x", {}).body == body
        client.close()


def test_a_body_is_received_into_a_buffer_and_its_connection_used_again() -> None:
    data = bytes(range(256)) * 4096
    with scripted(answer(200, data), answer(200, b"next")) as server:
        client = Client(server.url)
        _, reply = client.stream("GET", "/x", {})
        assert reply.counted
        view = memoryview(bytearray(len(data) + 10))
        at = 0
        while came := reply.readinto(view[at : at + 300_000]):
            at += came
        assert bytes(view[:at]) == data
        assert reply.readinto(view) == 0
        client.ask("GET", "/x", {})
        client.close()
    assert [asked.connection for asked in server.asked] == [1, 1]


def test_a_body_that_breaks_off_on_its_way_into_a_buffer_is_told() -> None:
    with scripted(answer(200, b"x" * 100)[:-50] + HANG_UP) as server:
        server.ended_after = 1
        client = Client(server.url)
        _, reply = client.stream("GET", "/x", {})
        view = memoryview(bytearray(100))
        came = reply.readinto(view[:50])
        while came < 50:
            came += reply.readinto(view[came:50])
        with pytest.raises(DunlinError) as caught:
            reply.readinto(view)
        assert caught.value.kind is ErrorKind.NETWORK
        client.close()


def test_a_body_without_a_length_is_not_received_into_buffers() -> None:
    with scripted(CHUNKED + b"3\r\nabc\r\n0\r\n\r\n") as server:
        client = Client(server.url)
        _, reply = client.stream("GET", "/x", {})
        assert not reply.counted
        assert b"".join(reply) == b"abc"
        client.close()


def test_the_answer_to_head_has_no_body_whatever_it_says() -> None:
    with scripted(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n", answer(200, b"next")) as server:
        client = Client(server.url)
        assert client.ask("HEAD", "/x", {}).headers["content-length"] == "7"
        assert client.ask("GET", "/x", {}).body == b"next"
        client.close()
    assert [asked.connection for asked in server.asked] == [1, 1]


def test_a_connection_is_used_again_only_after_an_answer_was_read_to_its_end() -> None:
    with scripted(*[answer(200, b"x" * 600_000)] * 3) as server:
        client = Client(server.url)
        _, pieces = client.stream("GET", "/1", {})
        assert len(b"".join(pieces)) == 600_000
        _, pieces = client.stream("GET", "/2", {})
        next(pieces)
        pieces.close()
        assert list(pieces) == []
        client.ask("GET", "/3", {})
        client.close()
    assert [asked.connection for asked in server.asked] == [1, 1, 2]


def test_nobody_has_to_ask_for_the_end_of_a_counted_body() -> None:
    with scripted(answer(200, b"abc"), answer(200)) as server:
        client = Client(server.url)
        _, pieces = client.stream("GET", "/1", {})
        assert next(pieces) == b"abc"
        client.ask("GET", "/2", {})
        client.close()
    assert [asked.connection for asked in server.asked] == [1, 1]


def test_a_connection_that_the_server_has_ended_is_not_used() -> None:
    with scripted(answer(200), answer(200)) as server:
        server.ended_after = 1
        client = Client(server.url)
        client.ask("GET", "/1", {})
        # The end is on its way: wait for it as the client will see it.
        connection = client._resting[0]
        assert wait_for_read(connection._socket, 5)
        client.ask("GET", "/2", {})
        client.close()
    assert [asked.connection for asked in server.asked] == [1, 2]


def test_no_more_connections_are_kept_than_were_asked_for() -> None:
    with scripted(*[answer(200, b"x" * 600_000)] * 3) as server:
        client = Client(server.url, connections=1)
        replies = [client.stream("GET", "/x", {})[1] for _ in range(3)]
        for pieces in replies:
            assert len(b"".join(pieces)) == 600_000
        assert len(client._resting) == 1
        client.close()
        assert len(client._resting) == 0


@pytest.mark.parametrize(
    "raw",
    [
        HANG_UP,
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-le",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\nnot a number\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: \xb2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 2\xb20 OK\r\nconnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n-5\r\nabcde\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n0_5\r\nabcde\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\nno colon here\r\n\r\n",
        b"SSH-2.0-OpenSSH_9\r\n\r\nconnection: close",
    ],
)
def test_what_is_broken_is_a_network_error(raw: bytes) -> None:
    with scripted(raw) as server:
        assert kind_of(Client(server.url)) is ErrorKind.NETWORK


def test_nobody_there_is_a_network_error() -> None:
    with socket.socket() as taken:  # and nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        assert kind_of(Client(f"http://127.0.0.1:{taken.getsockname()[1]}")) is ErrorKind.NETWORK


def test_a_name_that_is_not_known_is_a_network_error() -> None:
    assert kind_of(Client("http://no-such-host.invalid")) is ErrorKind.NETWORK


def late(client: Client, body: bytes = b"") -> str:
    """The reason and hint of a request that takes too long."""
    with pytest.raises(DunlinError) as caught:
        client.ask("PUT", "/x", {}, body)
    assert caught.value.kind is ErrorKind.TIMEOUT
    assert not client._resting
    return f"{caught.value.reason}; {caught.value.hint}"


@contextmanager
def trickling(head: bytes, drop: bytes = b"x", every: float = 0.01, drains: float = 0.0) -> Iterator[str]:
    """A server that answers `head`, and then `drop` after `drop`, until nobody wants more.

    Where it `drains`, it takes a request bit by bit, after so many seconds each, and says nothing before.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    ended = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            while drains and connection.recv(100_000, socket.MSG_WAITALL).endswith(b"a"):
                ended.wait(drains)
            connection.sendall(head)
            while not ended.wait(every):
                connection.sendall(drop)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with listener:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        thread.join(5)


def prompt(client: Client) -> Client:
    """One that asks when the server's first bytes are there: how long a busy machine took for them does not count."""
    connect = client._connect

    def connected() -> socket.socket:
        made = connect()
        assert wait_for_read(made, 20)
        return made

    client._connect = connected  # type: ignore[method-assign]
    return client


def test_silence_is_a_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert late(Client(url, idle=0.1)) == "no byte for 0.1 s; --timeout allows more"
        assert late(Client(url, idle=30, total=0.1)) == "no end after 0.1 s; --request-timeout allows more"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nx-slow: ",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
        CHUNKED + b"fffff\r\n",
    ],
    ids=["head", "counted", "until the end", "chunked"],
)
@pytest.mark.parametrize("idle", [0.0, 30.0])
def test_an_answer_that_only_trickles_has_an_end(head: bytes, idle: float) -> None:
    with trickling(head) as url:
        assert late(Client(url, idle=idle, total=0.2)) == "no end after 0.2 s; --request-timeout allows more"


def test_content_that_only_trickles_into_a_buffer_has_an_end() -> None:
    with trickling(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n") as url:
        _, reply = prompt(Client(url, total=0.2)).stream("GET", "/x", {})
        view = memoryview(bytearray(1_000_000))
        with pytest.raises(DunlinError, match=r"no end after 0\.2 s") as caught:
            list(iter(lambda: reply.readinto(view), 0))
        assert caught.value.kind is ErrorKind.TIMEOUT
        assert reply.readinto(view) == 0


def test_interim_answers_without_end_have_one() -> None:
    interim = b"HTTP/1.1 102 Processing\r\n\r\n"
    with trickling(interim, interim) as url:
        assert "no end after 0.2 s" in late(Client(url, total=0.2))


@pytest.mark.parametrize(
    ("head", "body", "seconds"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n", b"", "0.2"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n", b"", "0.6"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n", b"a" * 200_000, "0.6"),
        (b"HTTP/1.1 200 OK\r\nx-slow: ", b"a" * 200_000, "0.4"),
    ],
)
def test_many_bytes_have_time_in_proportion(
    monkeypatch: pytest.MonkeyPatch, head: bytes, body: bytes, seconds: str
) -> None:
    monkeypatch.setattr(wire, "SHARE", 100_000)
    with trickling(head) as url:
        assert f"no end after {seconds} s" in late(prompt(Client(url, total=0.2)), body)


def test_bytes_that_nobody_announced_earn_time_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "SHARE", 100_000)
    with trickling(CHUNKED + b"3d090\r\n" + b"x" * 200_000) as url:
        assert "no end after 1 s" in late(prompt(Client(url, total=0.5)))


def test_a_slow_line_may_take_longer_for_a_body_than_silence_may_last(monkeypatch: pytest.MonkeyPatch) -> None:
    def narrow() -> socket.socket:
        made = connect()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)  # else megabytes are sent that are only buffered
        return made

    with trickling(answer(200, b"done", connection="close"), drains=0.03) as url:
        client = Client(url, idle=1.0)
        connect = client._connect
        monkeypatch.setattr(client, "_connect", narrow)
        began = time.monotonic()
        assert client.ask("PUT", "/x", {}, b"a" * 7_000_000 + b"z" * 100_000).body == b"done"
        assert time.monotonic() - began > 2 * 1.0


def test_a_body_that_nobody_takes_in_time_has_an_end() -> None:
    with trickling(b"", drains=0.05) as url:
        assert "no end after 0.2 s" in late(Client(url, total=0.2), b"a" * 20_000_000)


def test_only_the_server_is_waited_for() -> None:
    now = 0.0
    with scripted(answer(200, b"x" * 600_000), answer(200)) as server:
        client = Client(server.url, total=5.0, clock=lambda: now)
        _, pieces = client.stream("GET", "/1", {})
        for _ in pieces:
            now += 100.0  # the reader's own time
        client.ask("GET", "/2", {})
        client.close()
    assert [asked.connection for asked in server.asked] == [1, 1]


def test_every_request_has_time_of_its_own() -> None:
    ticks = itertools.count()
    with scripted(*[answer(200)] * 4) as server:
        client = Client(server.url, total=3.0, clock=lambda: next(ticks))
        for _ in range(4):  # a send and a receive: two seconds each
            client.ask("GET", "/x", {})
        client.close()
    assert [asked.connection for asked in server.asked] == [1] * 4
    assert next(ticks) == 16


def test_a_line_that_the_system_gives_up_is_not_called_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dead(socket.socket):
        def send(self, data: object, flags: int = 0) -> int:
            raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")

    client = Client("http://127.0.0.1:9", idle=0, total=0)
    monkeypatch.setattr(client, "_connect", Dead)
    assert late(client) == "no answer in time; "


def test_no_time_is_short_without_limits() -> None:
    now = itertools.count(0, 1e9)
    with scripted(answer(200, b"x" * 600_000)) as server:
        client = Client(server.url, idle=0, total=0, clock=lambda: next(now))
        assert len(client.ask("GET", "/x", {}).body) == 600_000
        assert client._resting[0]._socket.gettimeout() is None
        client.close()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Key and certificate of 127.0.0.1, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    path = tmp_path / "pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(secret + made.public_bytes(Encoding.PEM))
    return path


def secured(certificate: Path, server: Scripted) -> str:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server.context = context
    return server.url.replace("http:", "https:")


def test_tls_with_a_certificate_that_is_trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with scripted(answer(200, b"x" * 600_000), answer(200, b"two")) as server:
        client = Client(secured(certificate, server))
        assert client.ask("GET", "/1", {}).body == b"x" * 600_000
        assert client.ask("PUT", "/2", {}, b"y" * 600_000).body == b"two"
        client.close()
    assert server.asked[1].body == b"y" * 600_000
    assert [asked.connection for asked in server.asked] == [1, 1]


def test_tls_with_a_certificate_of_nobody(certificate: Path) -> None:
    with scripted(answer(200)) as server:
        with pytest.raises(DunlinError) as caught:
            Client(secured(certificate, server)).ask("GET", "/1", {})
        assert (caught.value.kind, caught.value.hint) == (ErrorKind.AUTH, "check the certificate")
    assert server.asked == []


def test_no_line_end_gets_into_a_header() -> None:
    with scripted() as server:
        client = Client(server.url)
        with pytest.raises(DunlinError) as caught:
            client.ask("GET", "/x", {"a": "b\r\nx-amz-acl: public-read"})
        assert caught.value.kind is ErrorKind.INTERNAL
    assert server.asked == []


def test_the_answer_of_a_server_that_does_not_want_the_body_is_read() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(answer(403, b"<Error/>", connection="close"))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 20):
                pass

    thread = threading.Thread(target=refuse)
    thread.start()
    with listener:
        client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert client.ask("PUT", "/x", {}, b"x" * 4_000_000).status == 403
    thread.join(20)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    "raw", [answer(200, b"x" * 1001), answer(503, b"x" * 1001), CHUNKED + b"3e9\r\n" + b"x" * 1001]
)
def test_an_answer_without_end_is_not_kept(raw: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MOST", 1000)
    with scripted(raw) as server:
        client = Client(server.url)
        with pytest.raises(DunlinError, match="longer than 1000 bytes") as caught:
            client.ask("GET", "/x", {})
        client.close()
    assert caught.value.kind is ErrorKind.NETWORK


def test_content_may_be_longer_than_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MOST", 1000)
    with scripted(answer(200, b"x" * 3000), answer(200, b"y" * 1000)) as server:
        client = Client(server.url)
        assert len(b"".join(client.stream("GET", "/x", {})[1])) == 3000
        assert len(client.ask("GET", "/x", {}).body) == 1000
        client.close()


@pytest.mark.parametrize("host", [".", "a..b", "a" * 70])
def test_a_host_that_no_resolver_takes_is_a_mistake(host: str) -> None:
    assert kind_of(Client(f"http://{host}")) is ErrorKind.USAGE
