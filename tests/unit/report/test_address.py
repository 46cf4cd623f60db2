"""Addresses to listen on, as people write them."""

from __future__ import annotations

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.report.address import Address, parse_address


@pytest.mark.parametrize(("text", "address", "shown"), [
    ("9100", ("127.0.0.1", 9100), "127.0.0.1:9100"),
    (":9100", ("127.0.0.1", 9100), "127.0.0.1:9100"),
    (" 0 ", ("127.0.0.1", 0), "127.0.0.1:0"),
    ("0.0.0.0:65535", ("0.0.0.0", 65535), "0.0.0.0:65535"),
    ("[::1]:9100", ("::1", 9100), "[::1]:9100"),
    ("metrics.example:80", ("metrics.example", 80), "metrics.example:80"),
])  # fmt: skip
def test_what_is_meant(text: str, address: tuple[str, int], shown: str) -> None:
    assert parse_address(text) == Address(*address)
    assert str(parse_address(text)) == shown


@pytest.mark.parametrize("text", ["", "localhost", "host:", ":65536", "1:2:3", "::1:80", "h:-1", "http://h:80", "h: 8"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(DunlinError) as raised:
        parse_address(text)
    assert raised.value.kind is ErrorKind.USAGE
    assert "HOST:PORT" in raised.value.hint
