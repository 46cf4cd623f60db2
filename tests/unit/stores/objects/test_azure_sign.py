"""Signatures, compared with those that Microsoft's own library makes of the same requests."""

from __future__ import annotations

import base64
import types
from typing import Any

import pytest
from azure.core.pipeline.transport import HttpRequest
from azure.storage.blob._shared.authentication import SharedKeyCredentialPolicy
from hypothesis import given
from hypothesis import strategies as st

from dunlin.stores.objects.azure_sign import VERSION, Unsigned, bearer, shared_access, shared_key

KEY = bytes(range(64))
NOON = 1_700_000_000.0


def theirs(request: Unsigned, target: str, headers: dict[str, str]) -> str:
    """The Authorization header of azure-storage-blob."""
    sent = HttpRequest(request.method, f"http://host{target}", headers={**headers})
    if request.length:
        sent.headers["Content-Length"] = str(request.length)
    policy: Any = SharedKeyCredentialPolicy("acc", base64.b64encode(KEY).decode())
    policy.on_request(types.SimpleNamespace(http_request=sent, context=types.SimpleNamespace(transport=None)))
    return str(sent.headers["Authorization"])


REQUESTS = [
    Unsigned("GET", "/c", (("restype", "container"), ("comp", "list"), ("prefix", "a b/é&=")), {}),
    Unsigned("GET", "/acc/c/a%2F%2Fb", (), {"x-ms-range": "bytes=5-9", "if-match": '"0x8D"'}),
    Unsigned("PUT", "/c/%2E%2E", (), {"x-ms-blob-type": "BlockBlob", "content-md5": "AAAA", "if-none-match": "*"}, 77),
    Unsigned("PUT", "/c/x", (("comp", "block"), ("blockid", "a+/b==")), {"content-md5": "AAAA"}, 1 << 30),
    Unsigned("PUT", "/c/x", (("comp", "metadata"),), {"x-ms-meta-a_b": "1", "x-ms-meta-a1": "2", "x-ms-meta-ab": "3"}),
    Unsigned("HEAD", "/c/x", (), {}),
]  # fmt: skip


@pytest.mark.parametrize("request_", REQUESTS)
def test_shared_key_signs_as_microsofts_library_does(request_: Unsigned) -> None:
    target, headers = shared_key("acc", KEY, lambda: NOON)(request_)
    ours = headers.pop("authorization")
    assert ours == theirs(request_, target, headers)


names = st.text("abz019_", min_size=1, max_size=6)


@given(st.dictionaries(names, st.text("abc 1", max_size=3), max_size=6))
def test_metadata_of_any_names_is_sorted_as_the_service_does(metadata: dict[str, str]) -> None:
    request = Unsigned("PUT", "/c/x", (), {f"x-ms-meta-{name}": value for name, value in metadata.items()})
    target, headers = shared_key("acc", KEY, lambda: NOON)(request)
    ours = headers.pop("authorization")
    assert ours == theirs(request, target, headers)


def test_the_date_and_the_version_are_sent() -> None:
    _, headers = shared_key("acc", KEY, lambda: NOON)(Unsigned("GET", "/c/x", (), {}))
    assert (headers["x-ms-date"], headers["x-ms-version"]) == ("Tue, 14 Nov 2023 22:13:20 GMT", VERSION)


def test_another_key_signs_otherwise() -> None:
    request = Unsigned("GET", "/c/x", (), {})
    signed = {shared_key("acc", key, lambda: NOON)(request)[1]["authorization"] for key in (KEY, b"other")}
    assert len(signed) == 2


def test_a_sas_is_appended_as_it_is() -> None:
    sign = shared_access("sv=2023-11-03&sig=a%2Bb%3D", lambda: NOON)
    assert sign(Unsigned("GET", "/c/x", (), {}))[0] == "/c/x?sv=2023-11-03&sig=a%2Bb%3D"
    target, headers = sign(Unsigned("GET", "/c", (("comp", "list"),), {}))
    assert target == "/c?comp=list&sv=2023-11-03&sig=a%2Bb%3D"
    assert "authorization" not in headers


def test_a_token_is_asked_for_each_time() -> None:
    tokens = iter(["one", "two"])
    sign = bearer(lambda: next(tokens), lambda: NOON)
    sent = [sign(Unsigned("GET", "/c", (), {"x-ms-range": "bytes=0-1"}))[1] for _ in range(2)]
    assert [headers["authorization"] for headers in sent] == ["Bearer one", "Bearer two"]
    assert sent[0]["x-ms-range"] == "bytes=0-1"
