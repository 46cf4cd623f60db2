"""URLs of shares: which share, which directory, which login."""

from __future__ import annotations

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.azfiles.place import place_of
from dunlin.stores.login import Login
from dunlin.stores.open import Far, canonical_url, is_far, is_share, take_snapshot

KEY = Login({"account_name": "acc", "account_key": "a2V5"})
CANONICAL = "https://acc.file.core.windows.net/share/a b/c"


@pytest.mark.parametrize(
    "url",
    [
        "azfiles://share/a b/c",
        "azfiles://share//a b/c/",
        "AZFILES://share/a b/c",
        "https://acc.file.core.windows.net/share/a%20b/c",
        "https://acc.file.core.windows.net/share/a%20b/c?sv=1&sig=x",
    ],
)
def test_one_spelling(url: str) -> None:
    assert canonical_url(url, KEY) == CANONICAL
    assert is_far(url)
    assert is_share(url)


def test_a_sas_behind_the_url_is_the_login() -> None:
    found = place_of("https://acc.file.core.windows.net/share?sv=1&sig=s%2B", Login())
    assert found.login["sas_token"] == "sv=1&sig=s%2B"
    assert "sig" not in found.url


def test_the_endpoint_of_blobs_leads_to_that_of_files() -> None:
    login = Login({"account_name": "acc", "account_key": "a2V5", "endpoint": "https://acc.blob.core.chinacloudapi.cn"})
    assert canonical_url("azfiles://share", login) == "https://acc.file.core.chinacloudapi.cn/share"
    words = "DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=a2V5;EndpointSuffix=core.windows.net"
    assert canonical_url("azfiles://share", Login({"connection_string": words})) == CANONICAL.removesuffix("/a b/c")
    words = "AccountName=acc;AccountKey=a2V5;FileEndpoint=http://127.0.0.1:1/acc"
    assert canonical_url("azfiles://share", Login({"connection_string": words})) == "http://127.0.0.1:1/acc/share"


@pytest.mark.parametrize(
    "url",
    ["azfiles://", "azfiles://UPPER/x", "azfiles://a--b", "azfiles://ab", "azfiles://share/../x", "azfiles://share/.",
     "https://u:p@acc.file.core.windows.net/share"],
)  # fmt: skip
def test_what_is_no_place(url: str) -> None:
    with pytest.raises(DunlinError) as error:
        place_of(url, KEY)
    assert error.value.kind is ErrorKind.USAGE


def test_a_token_goes_to_azure_only() -> None:
    with pytest.raises(DunlinError) as error:
        place_of("https://acc.file.example.org/share", Login({"account_name": "acc"}))
    assert "is not sent to" in str(error.value)


@pytest.mark.parametrize("url", ["az://container", "/local", "https://acc.blob.core.windows.net/c", "s3://bucket"])
def test_only_shares_have_snapshots(url: str) -> None:
    assert not is_share(url)
    with pytest.raises(DunlinError) as error:
        take_snapshot(url, Far())
    assert error.value.kind is ErrorKind.USAGE
    assert "--share-snapshot" in str(error.value)
