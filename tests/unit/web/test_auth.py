"""Logging in with a browser."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
from litestar import concurrency

from dunlin.queue.ledger.words import Role
from dunlin.web.auth import page
from dunlin.web.gate import COOKIE
from tests.unit.web.served import served
from tests.unit.web.test_gate import guarded


def test_no_request_needs_a_thread_for_its_guards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    async def spy(call: Callable[..., object], *args: object) -> object:
        threads.append(getattr(call, "__name__", str(call)))
        return call(*args)

    monkeypatch.setattr(concurrency, "_run_sync_asyncio", spy)
    with served(tmp_path) as made:
        for path in ("/api/v1/jobs", "/metrics", "/api/v1/keys", "/healthz"):
            assert made.get(path).status_code == 200
    assert threads == []


def test_the_form_logs_in_and_leads_on(tmp_path: Path) -> None:
    with served(tmp_path, found=guarded()) as made:
        made.services.ledger.accounts.add_user("ann", "correct horse", Role.ADMIN)
        answer = made.post("/login", data={"user": "ann", "password": "correct horse", "next": "/monitoring/jobs"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/monitoring/jobs")
        words = answer.headers["set-cookie"].lower()
        assert "httponly" in words
        assert "samesite=lax" in words
        assert made.get("/api/v1/keys", headers={"Cookie": f"{COOKIE}={answer.cookies[COOKIE]}"}).status_code == 200


@pytest.mark.parametrize("next", ["//evil.example", "/\\evil.example", "https://evil.example", "", "x"])
def test_it_leads_nowhere_else(tmp_path: Path, next: str) -> None:
    with served(tmp_path, found=guarded()) as made:
        made.services.ledger.accounts.add_user("ann", "correct horse", Role.ADMIN)
        answer = made.post("/login", data={"user": "ann", "password": "correct horse", "next": next})
        assert answer.headers["location"] == "/monitoring"


def test_wrong_passwords_are_looked_at_a_few_times_only(tmp_path: Path) -> None:
    with served(tmp_path, found=guarded()) as made:
        made.services.ledger.accounts.add_user("ann", "correct horse", Role.ADMIN)
        for name in ("ann", "nobody", "ann", "ann"):
            answer = made.post("/api/v1/session", json={"user": name, "password": "wrong"})
            assert (answer.status_code, answer.json()["detail"]) == (401, "name or password is wrong")
        answer = made.post("/login", data={"user": "ann", "password": "correct horse"})
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 200
        assert "too many failed logins" in answer.text.lower()
        # Nobody else is kept out by that: neither another name from there, nor the same name from elsewhere.
        made.services.ledger.accounts.add_user("bob", "correct horse", Role.VIEWER)
        assert made.post("/api/v1/session", json={"user": "bob", "password": "correct horse"}).status_code == 200
        answer = made.post("/login", data={"user": "ann", "password": "correct horse"}, address="192.0.2.7")
        assert answer.status_code == 303


def test_wrong_passwords_of_a_network_of_ipv6_are_those_of_one_client(tmp_path: Path) -> None:
    with served(tmp_path, found=guarded()) as made:
        login = {"user": "ann", "password": "wrong"}
        told = [made.post("/api/v1/session", json=login, address=f"2001:db8::{n}") for n in range(1, 6)]
        codes = [answer.status_code for answer in told]
        assert codes == [401] * 3 + [429] * 2


def test_a_cookie_is_for_tls_alone_where_a_known_proxy_has_it(tmp_path: Path) -> None:
    proxies = (ip_network("192.0.2.0/28"),)
    with served(tmp_path, found=guarded(proxies=proxies)) as made:
        made.services.ledger.accounts.add_user("ann", "correct horse", Role.ADMIN)
        body = {"user": "ann", "password": "correct horse"}
        head = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.9"}
        for address, secure in (("192.0.2.1", True), ("203.0.113.1", False)):
            words = made.post("/login", data=body, headers=head, address=address).headers["set-cookie"].lower()
            assert ("secure" in words) is secure
        words = made.post("/login", data=body, address="192.0.2.1").headers["set-cookie"].lower()
        assert "secure" not in words


def test_what_was_typed_is_shown_as_text() -> None:
    shown = page('<script>"', '/a"><script>')
    assert "<script>" not in shown
    assert 'value="/a&quot;&gt;&lt;script&gt;"' in shown
    assert "style=" not in shown
