"""`dunlin sync` from a service that says nothing, or too little, for too long."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.acceptance.clouds import KINDS, cloud, words
from tests.acceptance.program import dunlin
from tests.acceptance.trees import Pair
from tests.servers.faults import Rules

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


class Trickle:
    """A server that begins to answer whoever connects, and brings a byte of the body each 0.1 s."""

    def __init__(self) -> None:
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._ended = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            while not self._ended.wait(0.1):
                connection.sendall(b" ")

    def close(self) -> None:
        self._ended.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def trickle() -> Iterator[Trickle]:
    server = Trickle()
    yield server
    server.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_service_that_is_silent_is_asked_again_and_given_up(
    pair: Pair, request: pytest.FixtureRequest, kind: str
) -> None:
    with cloud(request, kind).through(Rules(stalled=1)) as (there, proxy):
        places, env = words(there, pair.target)
        began = time.monotonic()
        done = dunlin("sync", "--timeout", "1", *places, cwd=pair.cwd, env=env, expect=1)
        assert 2 <= time.monotonic() - began < 20
        assert proxy.count() == proxy.count(fault="stalled") == 4
        origin = proxy.origin
    told = [line for line in done.stderr.splitlines() if "no byte" in line]
    assert told == [done.stderr.splitlines()[-1]]
    assert f"cannot reach {origin}: no byte for 1 s; --timeout allows more" in told[0]


def test_content_that_stalls_is_asked_for_again(pair: Pair, request: pytest.FixtureRequest) -> None:
    bucket = cloud(request, "s3")
    bucket.put({f"f{n}": b"x" * 1000 for n in range(4)})
    with bucket.through() as (there, proxy):
        places, env = words(there, pair.target)
        proxy.next("stalled", "stalled", kind="read")
        began = time.monotonic()
        dunlin("sync", *places, cwd=pair.cwd, env={**env, "DUNLIN_TIMEOUT": "5"}, expect=0)
        assert time.monotonic() - began < 28  # it would be 30 s and more without the option
        assert (proxy.count(fault="stalled"), proxy.count(kind="read", fault="")) == (2, 4)
    assert {path.name: path.read_bytes() for path in pair.target.iterdir()} == {f"f{n}": b"x" * 1000 for n in range(4)}


def test_a_service_that_only_trickles_is_given_up(pair: Pair, trickle: Trickle) -> None:
    options = ("--s3-endpoint", trickle.url, "--s3-region", "us-east-1")
    env = {**KEYS, "DUNLIN_REQUEST_TIMEOUT": "1"}
    done = dunlin("sync", *options, "s3://bucket", pair.target, cwd=pair.cwd, env=env, expect=1)
    last = done.stderr.splitlines()[-1]
    assert f"cannot reach {trickle.url}: no end after 1 s; --request-timeout allows more" in last
    assert trickle.connections == 4


@pytest.mark.parametrize("flag", ["--timeout", "--request-timeout"])
@pytest.mark.parametrize("value", ["-1", "soon", "0.2", "2d"])
def test_a_time_that_cannot_be_meant_is_one_line(pair: Pair, flag: str, value: str) -> None:
    done = dunlin("sync", flag, value, pair.source, pair.target, cwd=pair.cwd, expect=1)
    assert len(done.stderr.splitlines()) == 1
    assert f"invalid value for {flag}: '{value}' is " in done.stderr
