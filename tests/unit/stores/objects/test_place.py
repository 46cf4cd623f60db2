"""What a service that cannot be loaded says."""

from __future__ import annotations

import sys

import pytest

import dunlin.stores.objects
from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.login import Login
from dunlin.stores.objects.place import open_service, place_of

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
