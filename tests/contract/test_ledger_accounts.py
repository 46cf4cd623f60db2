"""The ledger's contract, in every engine: tenants, users, keys, sessions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.queue.ledger import Ledger, Role, Tenant, accounts, open_ledger, passwords
from tests.contract.ledgers import NOON, Clock
from tests.contract.test_ledger import fails

PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Passwords that cost a millisecond; tests/unit tests the real settings."""
    kept = passwords.kept_password
    monkeypatch.setattr("dunlin.queue.ledger.accounts.kept_password", lambda text: kept(text, n=16))
    accounts._nobody.cache_clear()  # what an earlier test of this process left
    yield
    accounts._nobody.cache_clear()


# ---- tenants ----


def test_a_tenant_is_added_and_changed(ledger: Ledger, clock: Clock) -> None:
    ledger.accounts.put_tenant(Tenant("b", ("/data",), ("store/",), {"jobs": 2}))
    clock.now += 5
    ledger.accounts.put_tenant(Tenant("a"))
    changed = ledger.accounts.put_tenant(Tenant("b", ("/data", "/more")))
    assert changed == Tenant("b", ("/data", "/more"), (), {}, NOON)
    assert [tenant.name for tenant in ledger.accounts.tenants()] == ["a", "b"]
    assert ledger.accounts.tenant("b") == changed
    assert ledger.accounts.tenant("c") is None


def test_a_tenant_stays_while_somebody_belongs_to_it(ledger: Ledger) -> None:
    ledger.accounts.put_tenant(Tenant("a"))
    ledger.accounts.add_user("ann", PASSWORD, Role.VIEWER, "a")
    key = ledger.keys.add("ci", Role.VIEWER, "a").key
    fails(ErrorKind.EXISTS, lambda: ledger.accounts.remove_tenant("a"))
    ledger.accounts.remove_user("ann")
    fails(ErrorKind.EXISTS, lambda: ledger.accounts.remove_tenant("a"))
    ledger.keys.revoke(key.id)
    assert ledger.accounts.remove_tenant("a")
    assert not ledger.accounts.remove_tenant("a")


@pytest.mark.parametrize("name", ["", " a", "a\n", "a/b", "x" * 101, "\x1b[1m"])
def test_names_that_cannot_be_shown_are_refused(ledger: Ledger, name: str) -> None:
    fails(ErrorKind.USAGE, lambda: ledger.accounts.put_tenant(Tenant(name)))
    fails(ErrorKind.USAGE, lambda: ledger.accounts.add_user(name, PASSWORD, Role.ADMIN))


# ---- users ----


def test_a_user_logs_in_with_the_password_only(ledger: Ledger) -> None:
    made = ledger.accounts.add_user("ann é", PASSWORD, Role.OPERATOR)
    assert ledger.accounts.login("ann é", PASSWORD) == made
    assert ledger.accounts.login("ann é", PASSWORD + "x") is None
    assert ledger.accounts.login("ann é", "") is None
    assert ledger.accounts.login("bob", PASSWORD) is None
    assert ledger.accounts.login("ann é\x00\udcff", "\udcff\x00") is None
    assert ledger.accounts.users() == [made]


def test_an_unknown_name_costs_as_much_as_a_wrong_password(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.accounts.add_user("ann", PASSWORD, Role.VIEWER)
    asked: list[str] = []

    def count(password: str, kept: str) -> bool:
        asked.append(kept.rpartition("$")[0].rpartition("$")[0])
        return passwords.fits_password(password, kept)

    monkeypatch.setattr("dunlin.queue.ledger.accounts.fits_password", count)
    ledger.accounts.login("ann", "wrong")
    ledger.accounts.login("nobody", "wrong")
    assert len(asked) == 2
    assert asked[0] == asked[1], "the same settings of scrypt"


def test_a_name_is_given_once(ledger: Ledger) -> None:
    ledger.accounts.add_user("ann", PASSWORD, Role.VIEWER)
    fails(ErrorKind.EXISTS, lambda: ledger.accounts.add_user("ann", "another one", Role.ADMIN))
    assert ledger.accounts.login("ann", PASSWORD) is not None
    fails(ErrorKind.NOT_FOUND, lambda: ledger.accounts.add_user("bob", PASSWORD, Role.VIEWER, "nowhere"))
    fails(ErrorKind.USAGE, lambda: ledger.accounts.add_user("bob", "short", Role.VIEWER))
    assert len(ledger.accounts.users()) == 1


def test_another_password_ends_the_sessions(ledger: Ledger) -> None:
    ledger.accounts.add_user("ann", PASSWORD, Role.VIEWER)
    session = ledger.sessions.start("ann", 60)
    ledger.accounts.set_password("ann", "something else")
    assert ledger.accounts.login("ann", PASSWORD) is None
    assert ledger.accounts.login("ann", "something else") is not None
    assert ledger.sessions.verify(session.token) is None
    fails(ErrorKind.NOT_FOUND, lambda: ledger.accounts.set_password("bob", PASSWORD))
    fails(ErrorKind.USAGE, lambda: ledger.accounts.set_password("ann", "1234567"))


# ---- keys ----


def test_a_key_is_good_until_it_is_revoked(ledger: Ledger, clock: Clock) -> None:
    ledger.accounts.put_tenant(Tenant("a"))
    made = ledger.keys.add("ci\n", Role.OPERATOR, "a", "ann")
    assert made.text.startswith(f"dk_{made.key.id}_")
    assert len(made.text) == len(f"dk_{made.key.id}_") + 43
    found = ledger.keys.verify(made.text)
    assert found == made.key
    assert (found.label, found.role, found.tenant, found.created_by) == ("ci\\n", Role.OPERATOR, "a", "ann")
    clock.now += 1
    assert ledger.keys.revoke(made.key.id)
    assert not ledger.keys.revoke(made.key.id)
    assert not ledger.keys.revoke("nonsense\x00")
    assert ledger.keys.verify(made.text) is None
    assert ledger.keys.all()[0].revoked == NOON + 1
    fails(ErrorKind.NOT_FOUND, lambda: ledger.keys.add("x", Role.ADMIN, "nowhere"))


def test_what_is_not_quite_a_key_is_none(ledger: Ledger) -> None:
    one, two = ledger.keys.add("1", Role.ADMIN), ledger.keys.add("2", Role.VIEWER)
    secret = one.text.split("_", 2)[2]
    for text in (
        "", "dk", "dk__", f"dk_{two.key.id}_{secret}", one.text[:-1], one.text + "x", one.text.upper(), f" {one.text}",
        f"dk_{one.key.id}_", f"dk_\x00_{secret}", "dk_é_\udcff", one.text.replace("dk_", "sk_"),
    ):  # fmt: skip
        assert ledger.keys.verify(text) is None, text
    assert ledger.keys.verify(one.text) is not None


def test_last_use_is_noted_once_a_minute(ledger: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ledger.keys.add("ci", Role.VIEWER)
    writes: list[float] = []
    writing = ledger._base.writing

    def counted() -> Any:
        writes.append(clock.now)
        return writing()

    monkeypatch.setattr(ledger._base, "writing", counted)
    for _ in range(4):
        ledger.keys.verify(made.text)
        clock.now += 25
    assert writes == [NOON, NOON + 75]
    assert ledger.keys.all()[0].last_used == NOON + 75


# ---- sessions ----


def test_a_session_lasts_until_its_end(ledger: Ledger, clock: Clock) -> None:
    user = ledger.accounts.add_user("ann", PASSWORD, Role.OPERATOR)
    made = ledger.sessions.start("ann", 60)
    assert made.session.user == user
    assert made.session.csrf not in ("", made.token)
    assert ledger.sessions.verify(made.token) == made.session
    assert ledger.sessions.verify(made.token + "x") is None
    clock.now += 59.9
    assert ledger.sessions.verify(made.token) is not None
    clock.now += 0.1
    assert ledger.sessions.verify(made.token) is None
    fails(ErrorKind.NOT_FOUND, lambda: ledger.sessions.start("bob", 60))


def test_sessions_end_one_by_one_all_at_once_or_with_their_user(ledger: Ledger) -> None:
    for name in ("ann", "bob"):
        ledger.accounts.add_user(name, PASSWORD, Role.VIEWER)
    tokens = [ledger.sessions.start("ann", 60).token for _ in range(3)]
    other = ledger.sessions.start("bob", 60).token
    assert ledger.sessions.end(tokens[0])
    assert not ledger.sessions.end(tokens[0])
    assert ledger.sessions.end_all("ann") == 2
    assert [ledger.sessions.verify(token) for token in tokens] == [None] * 3
    assert ledger.sessions.verify(other) is not None
    assert ledger.accounts.remove_user("bob")
    assert not ledger.accounts.remove_user("bob")
    assert ledger.sessions.verify(other) is None
    assert ledger.accounts.login("bob", PASSWORD) is None


# ---- what is kept ----


def test_no_secret_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = open_ledger(str(path))
    ledger.accounts.add_user("ann", PASSWORD, Role.ADMIN)
    key = ledger.keys.add("ci", Role.ADMIN)
    session = ledger.sessions.start("ann", 60)
    ledger.keys.verify(key.text)
    ledger.close()
    held = path.read_bytes()
    for secret in (PASSWORD, key.text.split("_", 2)[2], session.token):
        assert secret.encode() not in held
    with sqlite3.connect(path) as file:
        assert file.execute("SELECT count(*) FROM session").fetchone() == (1,)
    file.close()


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = open_ledger(str(path))
    ledger.audit.record("ann", "x", "y")
    assert {file.stat().st_mode & 0o777 for file in tmp_path.glob("ledger.db*")} == {0o600}
    ledger.close()


def test_errors_say_nothing_of_passwords(ledger: Ledger) -> None:
    ledger.accounts.add_user("ann", PASSWORD, Role.VIEWER)
    with pytest.raises(DunlinError) as caught:
        ledger.accounts.add_user("ann", PASSWORD, Role.VIEWER)
    assert PASSWORD not in str(caught.value)
