"""What every request passes: keys, sessions, sites, sizes, rates, headers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from dunlin.config.service import Service, Tenant
from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.ledger.words import Role
from dunlin.queue.ledger.words import Tenant as TenantRow
from dunlin.web import gate
from dunlin.web.gate import COOKIE, HEADERS
from tests.unit.web.served import Served, served, settings

ELSEWHERE = {"HTTP_ADDR": "0.0.0.0:8080", "HTTP_ALLOWED_ROOTS": "/srv"}


def guarded(**more: Any) -> Service:
    return settings(**ELSEWHERE)._replace(**more)


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def key(made: Served, role: Role = Role.VIEWER, tenant: str = "") -> str:
    return made.services.ledger.keys.add("a", role, tenant).text


def test_an_open_service_needs_no_key_and_a_bad_one_is_refused_all_the_same(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        assert made.get("/api/v1/jobs").status_code == 200
        for text in ("dk_aaaaaaaaaa_secret", "nonsense", ""):
            answer = made.get("/api/v1/jobs", headers=bearer(text))
            assert (answer.status_code, answer.json()["detail"]) == (401, "this key is not good")
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert made.get("/api/v1/jobs", headers={"Authorization": "Basic YTpi"}).status_code == 401


def test_elsewhere_a_key_is_needed_and_its_role_counts(tmp_path: Path) -> None:
    with served(tmp_path, found=guarded()) as made:
        answer = made.get("/api/v1/jobs", host="files.example")
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert made.get("/healthz").status_code == made.get("/readyz").status_code == 200
        assert made.get("/metrics").status_code == 401
        viewer, operator = bearer(key(made)), bearer(key(made, Role.OPERATOR))
        assert made.get("/api/v1/jobs", headers=viewer).status_code == 200
        body = {"kind": "sync", "options": {"source": "/a", "destination": "/b"}}
        assert made.post("/api/v1/jobs", headers=viewer, json=body).status_code == 403
        assert made.post("/api/v1/jobs", headers=operator, json=body).status_code == 201
        assert made.get("/api/v1/keys", headers=operator).status_code == 403


def test_a_revoked_key_is_bad_at_once_where_it_was_not_just_used(tmp_path: Path) -> None:
    with served(tmp_path, found=guarded()) as made:
        text = key(made)
        made.services.ledger.keys.revoke(made.services.ledger.keys.all()[0].id)
        assert made.get("/api/v1/jobs", headers=bearer(text)).status_code == 401


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/publish", {"success": False, "error": "a key is needed"}),
        ("/check/store/a", {"error": "a key is needed"}),
        ("/check?key=store/a", {"error": "a key is needed"}),
    ],
)
def test_the_older_paths_are_refused_in_their_own_form(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    with served(tmp_path, found=guarded()) as made:
        answer = made.ask("POST" if path == "/publish" else "GET", path)
        assert (answer.status_code, answer.json()) == (401, body)


def test_an_open_service_answers_to_names_of_this_machine_only(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        for host in ("localhost", "127.0.0.1", "[::1]"):
            assert made.get("/api/v1/jobs", host=host).status_code == 200
        answer = made.get("/api/v1/jobs", host="rebound.example")
        assert (answer.status_code, answer.json()["status"]) == (403, 403)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://elsewhere.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_pages_of_other_sites_change_nothing(tmp_path: Path, headers: dict[str, str]) -> None:
    with served(tmp_path) as made:
        answer = made.post("/publish", headers=headers, json=[{"from": "/a", "to": "store/"}])
        assert answer.status_code == 403
        assert made.publisher.asked == []
        assert made.get("/api/v1/jobs", headers=headers).status_code == 200


def test_our_own_page_may(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        headers = {"Origin": "http://localhost:8080", "Sec-Fetch-Site": "same-origin"}
        assert made.post("/publish", headers=headers, json=[{"from": "/a", "to": "store/"}]).status_code == 200


def test_bodies_have_a_limit_also_without_a_length(tmp_path: Path) -> None:
    async def pieces() -> Any:
        for _ in range(11):
            yield b"x" * 1_000_000

    with served(tmp_path) as made:
        for content in (b"x" * 10_000_000, pieces()):
            answer = made.post("/publish", content=content, headers={"Content-Type": "application/json"})
            assert answer.status_code == 413
            assert answer.json() == {"success": False, "error": "the body is larger than 4,194,304 bytes"}
        assert made.faults == []


def test_too_many_requests_wait_by_client(tmp_path: Path) -> None:
    with served(tmp_path, found=guarded(rate=1)) as made:
        one, other = bearer(key(made)), bearer(made.services.ledger.keys.add("b", Role.VIEWER).text)
        codes = [made.get("/api/v1/jobs", headers=one).status_code for _ in range(4)]
        assert codes[:2] == [200, 200]
        answer = made.get("/api/v1/jobs", headers=one)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert made.get("/api/v1/jobs", headers=other).status_code == 200
        assert made.get("/healthz", headers=one).status_code == 200


def test_every_answer_keeps_browsers_careful(tmp_path: Path) -> None:
    with served(tmp_path) as made:
        for path in ("/login", "/api/v1/jobs", "/nowhere", "/check/outside"):
            answer = made.get(path)
            assert {name.decode(): value.decode() for name, value in HEADERS}.items() <= dict(answer.headers).items()
            assert answer.headers["cache-control"] == "no-store"
        assert "unsafe-inline" not in answer.headers["content-security-policy"]


def logged_in(made: Served) -> tuple[dict[str, str], str]:
    """The cookie and the token of a session."""
    made.services.ledger.accounts.add_user("ann", "correct horse", Role.OPERATOR)
    answer = made.post("/api/v1/session", json={"user": "ann", "password": "correct horse"})
    assert answer.status_code == 200
    return {COOKIE: answer.cookies[COOKIE]}, answer.json()["csrf"]


def cookie(values: dict[str, str]) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in values.items())}


def test_a_session_needs_its_token_for_whatever_changes_something(tmp_path: Path) -> None:
    body = {"kind": "sync", "options": {"source": "/a", "destination": "/b"}}
    with served(tmp_path, found=guarded()) as made:
        values, token = logged_in(made)
        headers = cookie(values)
        assert made.get("/api/v1/jobs", headers=headers).status_code == 200
        assert made.post("/api/v1/jobs", headers=headers, json=body).status_code == 403
        assert made.post("/api/v1/jobs", headers={**headers, "X-CSRF-Token": token + "x"}, json=body).status_code == 403
        assert made.post("/api/v1/jobs", headers={**headers, "X-CSRF-Token": token}, json=body).status_code == 201


def test_a_form_carries_the_token_and_the_session_ends_with_it(tmp_path: Path) -> None:
    with served(tmp_path, found=guarded()) as made:
        values, token = logged_in(made)
        assert made.post("/logout", headers=cookie(values), data={"_csrf": "wrong"}).status_code == 403
        answer = made.post("/logout", headers=cookie(values), data={"_csrf": token})
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        assert made.get("/api/v1/jobs", headers=cookie(values)).status_code == 401


def test_a_cookie_that_is_no_session_is_nobody(tmp_path: Path) -> None:
    with served(tmp_path, found=guarded()) as made:
        assert made.get("/api/v1/jobs", headers=cookie({COOKIE: "x", "other": "y"})).status_code == 401


def test_wrong_keys_are_paid_for_by_their_address_before_the_ledger_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(tmp_path, found=guarded(rate=1)) as made:
        good = bearer(key(made))
        asked, verify = [], made.services.ledger.keys.verify
        monkeypatch.setattr(made.services.ledger.keys, "verify", lambda text: asked.append(text) or verify(text))
        codes = [made.get("/api/v1/jobs", headers=bearer(f"dk_{n}"), address="192.0.2.1").status_code for n in range(9)]
        assert codes == [401] * 4 + [429] * 5  # half of what a request costs
        assert len(asked) == 4
        # A key that is known is not kept out by what others do at its address.
        assert made.get("/api/v1/jobs", headers=good, address="192.0.2.2").status_code == 200
        assert made.get("/api/v1/jobs", headers=good, address="192.0.2.1").status_code == 200
        cookies = [made.get("/api/v1/jobs", headers=cookie({COOKIE: "x"}), address="192.0.2.1").status_code]
        assert cookies == [429]


def test_keys_of_one_label_do_not_share_a_rate_over_tenants(tmp_path: Path) -> None:
    tenants = {name: Tenant(name, ("/srv",), ("store/",)) for name in ("a", "b")}
    with served(tmp_path, found=guarded(rate=1, tenants=tenants)) as made:
        for name in tenants:
            made.services.ledger.accounts.put_tenant(TenantRow(name))
        a, b = (bearer(key(made, tenant=name)) for name in tenants)
        assert [made.get("/api/v1/jobs", headers=a).status_code for _ in range(3)] == [200, 200, 429]
        assert made.get("/api/v1/jobs", headers=b).status_code == 200


def test_two_keys_of_one_name_do_not_share_a_rate(tmp_path: Path) -> None:
    with served(tmp_path, found=guarded(rate=1)) as made:
        one, other = bearer(key(made)), bearer(key(made))
        assert [made.get("/api/v1/jobs", headers=one).status_code for _ in range(3)] == [200, 200, 429]
        assert made.get("/api/v1/jobs", headers=other).status_code == 200


def test_a_network_of_ipv6_is_one_client(tmp_path: Path) -> None:
    with served(tmp_path, found=guarded(rate=1)) as made:
        wrong = [
            made.get("/api/v1/jobs", headers=bearer(f"dk_{n}"), address=f"2001:db8:1:2:{n:x}::9").status_code
            for n in range(9)
        ]
        assert wrong == [401] * 4 + [429] * 5
        assert made.get("/api/v1/jobs", headers=bearer("dk_x"), address="2001:db8:1:3::9").status_code == 401


def test_a_client_that_takes_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "SLOW", 0.05)
    told: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            await send({"type": "http.response.body", "body": b"a part", "more_body": True})
        finally:
            told.append("over")

    async def takes_nothing(message: Any) -> None:
        if message["type"] == "http.response.body":
            await anyio.sleep_forever()

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    with served(tmp_path) as made:
        scope = {
            "type": "http", "method": "GET", "path": "/healthz", "headers": [(b"host", b"localhost")],
            "query_string": b"", "client": ("127.0.0.1", 1),
        }  # fmt: skip
        with pytest.raises(DunlinError) as raised:
            anyio.run(gate.Gate(app, made.services), scope, receive, takes_nothing)
        assert (raised.value.kind, told) == (ErrorKind.TIMEOUT, ["over"])
