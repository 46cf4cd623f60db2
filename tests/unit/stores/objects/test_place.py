"""What a service that cannot be loaded says."""

from __future__ import annotations

import socket
import sys
from dataclasses import replace

import pytest

import dunlin.stores.objects
from dunlin.errors import DunlinError, ErrorKind
from dunlin.pace.retry import REQUEST
from dunlin.stores.login import Login
from dunlin.stores.objects.answers import Timeouts
from dunlin.stores.objects.persist import RetryingService
from dunlin.stores.objects.place import open_place, open_service, place_of
from dunlin.stores.objects.store import LIST_PARALLEL, ObjectStore

PLACE = place_of("gs://b-1", Login({"service_account": '{"type": "authorized_user"}'}))


def without(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Let `module` be missing for the module of the service, which is loaded anew."""
    for name in ("gcs", "gcs_login", "gcs_json"):
        monkeypatch.delitem(sys.modules, f"dunlin.stores.objects.{name}", raising=False)
        monkeypatch.delattr(dunlin.stores.objects, name, raising=False)
    monkeypatch.setitem(sys.modules, module, None)


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "google.auth.exceptions")
    with pytest.raises(DunlinError) as caught:
        open_service(PLACE, 1)
    assert (caught.value.kind, caught.value.reason) == (ErrorKind.USAGE, "google.auth.exceptions is not installed")
    assert "dunlin[cloud]" in caught.value.hint


def test_a_library_that_is_there_and_broken_is_not_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "nothing")
    monkeypatch.delattr("google.auth.exceptions.GoogleAuthError")
    with pytest.raises(DunlinError) as caught:
        open_service(PLACE, 1)
    assert caught.value.reason.startswith("google.auth.exceptions cannot be loaded: cannot import name")


def test_a_broken_import_of_our_own_is_no_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "dunlin.stores.objects.gcs_login")
    with pytest.raises(ImportError, match="gcs_login"):
        open_service(PLACE, 1)


# ---- how long is waited ----

ENTRIES = {"s3": ("s3://b-1", {"anonymous": "true"}), "gs": ("gs://b-1", {"anonymous": "true"}),
           "az": ("az://con-1", {"account_name": "acct", "account_key": "a2V5"})}  # fmt: skip


@pytest.mark.parametrize("kind", ENTRIES)
@pytest.mark.parametrize(("idle", "total", "reason"), [(0.1, 300.0, "no byte for 0.1 s"),
                                                       (30.0, 0.2, "no end after 0.2 s")])  # fmt: skip
def test_every_service_waits_as_long_as_it_is_told(kind: str, idle: float, total: float, reason: str) -> None:
    url, login = ENTRIES[kind]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        given = {**login, "endpoint": f"{endpoint}/acct" if kind == "az" else endpoint}
        service = open_service(place_of(url, Login(given)), 1, timeouts=Timeouts(idle, total))
        with pytest.raises(DunlinError) as caught:
            service.head("k")
        service.close()
    assert (caught.value.kind, caught.value.reason) == (ErrorKind.TIMEOUT, reason)


@pytest.mark.parametrize(("total", "deadline"), [(300.0, 600.0), (0.0, 300.0)])
def test_a_request_that_took_all_its_time_is_made_again(total: float, deadline: float) -> None:
    store = open_place(place_of("s3://b-1", Login({"anonymous": "true"})), timeouts=Timeouts(total=total))
    assert isinstance(store, ObjectStore)
    assert isinstance(store.service, RetryingService)
    assert store.service._policy == replace(REQUEST, deadline=deadline)
    store.close()


# ---- what is sent where ----

CONNECTION = "AccountName=acct;SharedAccessSignature=sv=1&sig=s3cret"


@pytest.mark.parametrize("url", ["http://other.example/acct/c-1", "https://other.example/acct/c-1",
                                 "http://acct.blob.core.windows.net/c-1", "http://127.0.0.1:7/acct/c-1"])  # fmt: skip
@pytest.mark.parametrize(
    "login",
    [{}, {"use_managed_identity": "true"}, {"client_secret": "s3cret", "tenant_id": "t", "client_id": "i"},
     {"connection_string": CONNECTION}, {"use_azure_cli": "true", "endpoint": "http://third.example/acct"}],
)  # fmt: skip
def test_a_host_that_only_the_url_names_is_sent_no_secret(url: str, login: dict[str, str]) -> None:
    with pytest.raises(DunlinError, match="is not sent to") as caught:
        place_of(url, Login(login))
    assert caught.value.exit_code == 1
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("https://acct.blob.core.windows.net/c-1", {"use_managed_identity": "true"}),
        ("https://acct.blob.core.windows.net/c-1", {"connection_string": CONNECTION}),
        ("http://127.0.0.1:7/acct/c-1", {"use_azure_cli": "true", "endpoint": "http://127.0.0.1:7/acct"}),
        ("http://azurite:7/acct/c-1", {"connection_string": f"BlobEndpoint=http://azurite:7/acct;{CONNECTION}"}),
        ("http://other.example/acct/c-1", {"account_name": "acct", "account_key": "a2V5"}),
        ("http://other.example/acct/c-1", {"connection_string": "AccountName=acct;AccountKey=a2V5"}),
        ("http://other.example/acct/c-1?sv=1&sig=x", {}),
    ],
)
def test_a_host_that_somebody_named_or_that_is_azures_is(url: str, login: dict[str, str]) -> None:
    assert place_of(url, Login(login)).url == url.partition("?")[0]


# ---- what cannot be right ----


@pytest.mark.parametrize("url", ["s3://buck/\udcff", "gs://buck/\udcff", "az://cont/\udcff",
                                 "http://127.0.0.1:7/acct/cont/\udcff"])  # fmt: skip
def test_a_place_that_is_no_text_is_refused(url: str) -> None:
    with pytest.raises(DunlinError, match=r"\\xff is no UTF-8 text") as caught:
        place_of(url)
    assert caught.value.kind is ErrorKind.USAGE


@pytest.mark.parametrize("url", ["http://[::1/acc/c-1", "http://127.0.0.1:bad/acc/c-1", "http://./acc/c-1",
                                 f"http://{'a' * 70}.x/acc/c-1", "http://127.0.0.1:0/acc/c-1"])  # fmt: skip
def test_an_address_that_cannot_be_right_is_refused(url: str) -> None:
    with pytest.raises(DunlinError, match="is no address of blobs") as caught:
        place_of(url)
    assert caught.value.kind is ErrorKind.USAGE


@pytest.mark.parametrize(
    ("url", "hint"),
    [("s3://x", "s3://BUCKET/PREFIX"), ("gcs://x", "gs://BUCKET/PREFIX"), ("az://x", "az://CONTAINER/PREFIX"),
     ("http://127.0.0.1:7/acc", "http://HOST:PORT/ACCOUNT/CONTAINER/PREFIX"),
     ("https://acc.blob.core.windows.net", "https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX")],
)  # fmt: skip
def test_a_missing_bucket_is_told_in_the_form_that_was_begun(url: str, hint: str) -> None:
    with pytest.raises(DunlinError) as caught:
        place_of(url, Login({"account_name": "acc", "account_key": "a2V5"}))
    assert caught.value.hint == f"write {hint}"


@pytest.mark.parametrize(("listings", "parallel"), [(0, LIST_PARALLEL), (1, 1), (2, 2), (99, LIST_PARALLEL)])
def test_one_listing_is_made_by_no_more_requests_than_directories_may_be_listed(listings: int, parallel: int) -> None:
    store = open_place(place_of("s3://b-1", Login({"anonymous": "true"})), listings=listings)
    try:
        assert isinstance(store, ObjectStore)
        assert store._list_parallel == parallel
    finally:
        store.close()
