"""Logging in with a browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from dunlin.queue.ledger.words import Role
from dunlin.web.auth import page
from dunlin.web.gate import COOKIE
from tests.unit.web.served import served
from tests.unit.web.test_gate import guarded


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
        for name in ("ann", "nobody", "ann"):
            answer = made.post("/api/v1/session", json={"user": name, "password": "wrong"})
            assert (answer.status_code, answer.json()["detail"]) == (401, "name or password is wrong")
        answer = made.post("/login", data={"user": "ann", "password": "correct horse"})
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 200
        assert "too many failed logins" in answer.text.lower()


def test_what_was_typed_is_shown_as_text() -> None:
    shown = page('<script>"', '/a"><script>')
    assert "<script>" not in shown
    assert 'value="/a&quot;&gt;&lt;script&gt;"' in shown
    assert "style=" not in shown
