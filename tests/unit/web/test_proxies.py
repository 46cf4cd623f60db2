"""What is believed of a proxy."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from dunlin.web.proxies import TRACES, believe
from tests.unit.web.served import served
from tests.unit.web.test_gate import bearer, guarded, key

KNOWN = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("client", "forwarded", "found"),
    [
        ("10.0.0.1", "198.51.100.9", "198.51.100.9"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.9, 10.0.0.2", "198.51.100.9"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "198.51.100.9, nonsense", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("::ffff:10.0.0.1", "198.51.100.9", "198.51.100.9"),
        ("fd00::1", "[2001:db8::9]", "2001:db8::9"),
        ("203.0.113.5", "198.51.100.9", "203.0.113.5"),
        ("", "198.51.100.9", ""),
    ],
)
def test_the_last_address_that_is_no_known_proxy_asked(client: str, forwarded: str, found: str) -> None:
    scope: dict[str, Any] = {"client": (client, 123), "scheme": "http"}
    believe(scope, {b"x-forwarded-for": forwarded, b"x-forwarded-proto": "https"}, KNOWN)
    assert scope["client"][0] == found
    assert (scope["scheme"] == "https") is (client not in ("203.0.113.5", ""))


def test_a_word_that_is_no_scheme_changes_nothing() -> None:
    scope: dict[str, Any] = {"client": ("10.0.0.1", 123), "scheme": "http"}
    believe(scope, {b"x-forwarded-proto": "javascript"}, KNOWN)
    assert scope["scheme"] == "http"
    believe({"client": None}, {}, KNOWN)


@pytest.mark.parametrize("name", TRACES)
def test_an_open_service_answers_to_no_proxy(tmp_path: Path, name: bytes) -> None:
    with served(tmp_path) as made:
        answer = made.get("/api/v1/jobs", headers={name.decode(): "x"})
        assert answer.status_code == 403
        assert "came through a proxy" in answer.json()["detail"]
        assert "http.keys" in answer.json()["hint"]
        answer = made.post("/publish", json=[{"from": "/a", "to": "store/"}], headers={name.decode(): "x"})
        assert answer.status_code == 403
        assert made.publisher.asked == []
        assert made.get("/healthz", headers={name.decode(): "x"}).status_code == 200


def test_where_keys_are_needed_a_proxy_may_bring_whom_it_likes(tmp_path: Path) -> None:
    with served(tmp_path, HTTP_KEYS="required", HTTP_ALLOWED_ROOTS="/srv") as made:
        head = {"X-Forwarded-For": "198.51.100.9"}
        assert made.get("/api/v1/jobs", headers=head).status_code == 401
        assert made.get("/api/v1/jobs", headers=head | bearer(key(made))).status_code == 200


def test_those_behind_a_known_proxy_have_their_own_rates(tmp_path: Path) -> None:
    with served(tmp_path, found=guarded(rate=1, proxies=KNOWN)) as made:

        def ask(address: str) -> int:
            head = {"X-Forwarded-For": address}
            return made.get("/login", headers=head, address="10.0.0.1").status_code

        assert [ask("198.51.100.1") for _ in range(3)] == [200, 200, 429]
        assert ask("198.51.100.2") == 200
