"""Contents of files over a real connection: what breaks off, what goes on, who leaves."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from dunlin.report.address import Address
from dunlin.report.base import Event
from dunlin.web.listener import Listener, listen
from tests.unit.web.served import Served
from tests.unit.web.vaulted import Home, vaulted

PATH = "/api/v1/repositories/vault/shares/home/snapshots/latest/file"
CONTENT = os.urandom(48 << 20)


class Open:
    def __init__(self, made: Served, url: str, told: list[Event]) -> None:
        self.made, self.told = made, told
        self.client = httpx.Client(base_url=url, timeout=60)


@contextmanager
def opened(place: Path, home: Home) -> Iterator[Open]:
    told: list[Event] = []
    with vaulted(place, home) as made:
        listener = Listener(made.app, listen(Address("127.0.0.1", 0)), told.append)
        listener.start()
        found = Open(made, f"http://127.0.0.1:{listener.address.port}", told)
        try:
            yield found
        finally:
            found.client.close()
            made.services.hub.close()
            listener.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    found = Home(tmp_path_factory.mktemp("vault"))
    found.back_up({"large.bin": CONTENT})
    return found


def test_a_large_file_comes_whole_and_goes_on_where_it_broke_off(tmp_path: Path, home: Home) -> None:
    with opened(tmp_path / "a", home) as it:
        begun = b""
        with it.client.stream("GET", PATH, params={"path": "large.bin"}) as answer:
            tag = answer.headers["etag"]
            for data in answer.iter_raw():
                begun += data
                if len(begun) > 5 << 20:
                    break
        headers = {"Range": f"bytes={len(begun)}-", "If-Range": tag}
        rest = it.client.get(PATH, params={"path": "large.bin"}, headers=headers)
        assert rest.status_code == 206
        assert begun + rest.content == CONTENT
        assert it.made.faults == []


def left_in_the_middle(it: Open) -> bool:
    """Begin a download and leave it; whether there was room for it: those before may not have been missed yet."""
    with it.client.stream("GET", PATH, params={"path": "large.bin"}) as answer:
        if answer.status_code == 503:
            return False
        assert answer.status_code == 200
        next(answer.iter_raw())
    it.client.close()
    it.client = httpx.Client(base_url=it.client.base_url, timeout=60)
    return True


def test_who_leaves_in_the_middle_holds_nothing_up(tmp_path: Path, home: Home) -> None:
    with opened(tmp_path / "a", home) as it:
        for _ in range(40):  # more than may be under way at a time
            end = time.monotonic() + 30
            while not left_in_the_middle(it):
                assert time.monotonic() < end
                time.sleep(0.05)
        vaults = it.made.services.vaults
        assert vaults is not None
        end = time.monotonic() + 30
        while vaults._kept["vault"].users:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert it.made.faults == []


def test_damage_behind_the_beginning_ends_the_connection_early(tmp_path: Path) -> None:
    damaged = Home(tmp_path)
    damaged.back_up({"large.bin": CONTENT, "fine": b"fine"})
    largest = max(damaged.packs(), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    with opened(tmp_path / "a", damaged) as it:
        got = b""
        with it.client.stream("GET", PATH, params={"path": "large.bin"}) as answer:
            assert answer.status_code == 200
            parts = answer.iter_raw()
            try:
                for part in parts:
                    got += part
            except httpx.RemoteProtocolError as error:
                broken = error
        assert "without sending complete" in str(broken)
        assert 0 < len(got) < len(CONTENT)
        assert got == CONTENT[: len(got)]
        assert it.client.get(PATH, params={"path": "fine"}).content == b"fine"
        [told] = [each for each in it.told if each.name == "http.trouble"]
        assert "cannot read large.bin" in told.message
        assert "dunlin verify" in told.message
