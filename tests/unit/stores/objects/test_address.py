"""Which addresses can be asked at all, and who is told secrets."""

from __future__ import annotations

import pytest

from dunlin.stores.objects.address import http_address, is_azure, is_private, origin


@pytest.mark.parametrize(
    "text",
    ["", "host", "ftp://host", "http://", "http://.", "http://[::1", "http://h:bad", "http://h:0", "http://h:70000",
     "http://a..b", f"http://{'a' * 64}.x", "http://h\xfcb", "http://h/\udcff", "http://a b"],
)  # fmt: skip
def test_what_cannot_be_asked(text: str) -> None:
    assert http_address(text) is None
    assert (origin(text), is_private(text), is_azure(text)) == ("", False, False)


def test_one_spelling_of_an_origin() -> None:
    assert origin("HTTP://Host") == origin("http://host:80/x") == "http://host:80"
    assert origin("https://host/") == "https://host:443"
    assert origin("http://[::1]:7") == "http://::1:7"


@pytest.mark.parametrize(
    ("url", "private"),
    [("https://other.example", True), ("http://other.example", False), ("http://localhost:1", True),
     ("http://127.9.8.7", True), ("http://[::1]:1/x", True), ("http://127.0.0.1.other.example", False),
     ("http://localhost.other.example", False)],
)  # fmt: skip
def test_who_can_read_along(url: str, private: bool) -> None:
    assert is_private(url) is private


@pytest.mark.parametrize(
    ("url", "azure"),
    [("https://a1.blob.core.windows.net/c", True), ("https://a1-secondary.blob.core.windows.net", True),
     ("https://a1.z12.blob.storage.azure.net", True), ("https://a1.blob.core.chinacloudapi.cn", True),
     ("http://a1.blob.core.windows.net", False), ("https://a1.blob.core.other.example", False),
     ("https://a1.blob.core.windows.net.other.example", False), ("https://blob.core.windows.net", False),
     ("https://x/a1.blob.core.windows.net", False), ("https://x@a1.blob.core.windows.net", True)],
)  # fmt: skip
def test_who_is_azure(url: str, azure: bool) -> None:
    assert is_azure(url) is azure
