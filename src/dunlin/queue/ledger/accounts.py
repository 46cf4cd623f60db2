"""Who may do what: tenants, users, keys of programs, sessions of browsers.

A role says what somebody may do, a tenant whose things they see; "" is no tenant in particular. Of passwords, keys and
tokens the ledger keeps what `passwords` says. A name that is unknown costs as much time as a password that is wrong.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import msgspec

from dunlin.errors import DunlinError, ErrorKind, usage
from dunlin.queue.ledger.database import Base, Rows, first, line
from dunlin.queue.ledger.ids import DIGITS, short
from dunlin.queue.ledger.passwords import SHORTEST, fits_password, kept_password, kept_token, token
from dunlin.queue.ledger.words import ApiKey, MadeKey, MadeSession, Role, Session, Tenant, User
from dunlin.queue.rules import meant, stored

NAME = 100
"""Characters that a name may have."""
KEY_ID = 10
"""Digits of a key's id: the name of a key in lists and logs, no secret."""
USED = 60.0
"""Seconds between notes of when a key was last used."""


class _Settings(msgspec.Struct, frozen=True):
    """A tenant's settings as they are stored."""

    allowed_roots: tuple[str, ...] = ()
    allowed_prefixes: tuple[str, ...] = ()
    caps: dict[str, int] = msgspec.field(default_factory=dict)


_settings = msgspec.json.Decoder(_Settings).decode


class Accounts:
    """Tenants and users."""

    def __init__(self, base: Base, clock: Callable[[], float]) -> None:
        self._base = base
        self._sql = base.sql
        self._clock = clock

    def put_tenant(self, tenant: Tenant) -> Tenant:
        """Add a tenant, or give one that is there other settings. Raises USAGE for a name that is none."""
        name = name_of(tenant.name, "tenant")
        roots, prefixes = map(stored, tenant.allowed_roots), map(stored, tenant.allowed_prefixes)
        settings = msgspec.json.encode(_Settings(tuple(roots), tuple(prefixes), dict(tenant.caps))).decode()
        with self._base.writing() as rows:
            rows.execute(self._sql["tenant_put"], (name, settings, self._clock()))
            return _tenant(rows.query(self._sql["tenant_get"], (name,))[0])

    def tenant(self, name: str) -> Tenant | None:
        """The tenant of that name."""
        with self._base.reading() as rows:
            found = first(rows.query(self._sql["tenant_get"], (stored(name),)))
        return None if found is None else _tenant(found)

    def tenants(self) -> list[Tenant]:
        """All tenants, by name."""
        with self._base.reading() as rows:
            return [_tenant(row) for row in rows.query(self._sql["tenant_all"])]

    def remove_tenant(self, name: str) -> bool:
        """Remove a tenant; False when there is none. Raises EXISTS while users or keys belong to it."""
        with self._base.writing() as rows:
            used = rows.query(self._sql["tenant_used"], (stored(name),))[0][0]
            if used:
                reason = f"{used} users and keys belong to it"
                raise DunlinError("remove the tenant", name, ErrorKind.EXISTS, reason, "remove them first")
            return rows.execute(self._sql["tenant_drop"], (stored(name),)) == 1

    def add_user(self, name: str, password: str, role: Role, tenant: str = "") -> User:
        """Add a user. Raises EXISTS when the name is taken, NOT_FOUND for an unknown tenant, USAGE."""
        user = User(name_of(name, "user"), Role(role), tenant, self._clock())
        kept = _kept(password)
        with self._base.writing() as rows:
            known_tenant(rows, self._sql["tenant_get"], tenant)
            new = (user.name, user.role.value, stored(tenant), kept, user.created)
            if not rows.execute(self._sql["account_new"], new):
                raise DunlinError("add the user", name, ErrorKind.EXISTS, "there is one of that name")
        return user

    def set_password(self, name: str, password: str) -> None:
        """Give a user another password and end all sessions. Raises NOT_FOUND, USAGE."""
        kept = _kept(password)
        with self._base.writing() as rows:
            if not rows.execute(self._sql["account_password"], (stored(name), kept)):
                raise DunlinError("set the password of", name, ErrorKind.NOT_FOUND, "there is no such user")
            rows.execute(self._sql["session_end_all"], (stored(name),))

    def users(self) -> list[User]:
        """All users, by name."""
        with self._base.reading() as rows:
            return [_user(row) for row in rows.query(self._sql["account_all"])]

    def remove_user(self, name: str) -> bool:
        """Remove a user and end all sessions; False when there is none."""
        with self._base.writing() as rows:
            rows.execute(self._sql["session_end_all"], (stored(name),))
            return rows.execute(self._sql["account_drop"], (stored(name),)) == 1

    def login(self, name: str, password: str) -> User | None:
        """The user of that name and password; None when either is wrong, after the same time."""
        with self._base.reading() as rows:
            found = first(rows.query(self._sql["account_get"], (stored(name),)))
        fits = fits_password(password, _nobody() if found is None else found[4])
        return _user(found[:4]) if fits and found is not None else None


class Keys:
    """Keys of programs: ``dk_ID_SECRET`` in an Authorization header."""

    def __init__(self, base: Base, clock: Callable[[], float]) -> None:
        self._base = base
        self._sql = base.sql
        self._clock = clock

    def add(self, label: str, role: Role, tenant: str = "", created_by: str = "") -> MadeKey:
        """Make a key. Its text is shown now, and never again. Raises NOT_FOUND for an unknown tenant."""
        secret = token()
        with self._base.writing() as rows:
            known_tenant(rows, self._sql["tenant_get"], tenant)
            while True:
                key = ApiKey(short(KEY_ID), line(label), Role(role), tenant, created_by, self._clock(), None, None)
                words = (stored(key.label), key.role.value, stored(tenant), stored(created_by), key.created)
                if rows.execute(self._sql["key_new"], (key.id, kept_token(secret), *words)):
                    return MadeKey(key, f"dk_{key.id}_{secret}")

    def all(self) -> list[ApiKey]:
        """All keys, revoked ones too, in the order in which they were made."""
        with self._base.reading() as rows:
            return [_key(row) for row in rows.query(self._sql["key_all"])]

    def revoke(self, id: str) -> bool:
        """The key is good for nothing from now on; False when it is not there, or was revoked before."""
        with self._base.writing() as rows:
            return rows.execute(self._sql["key_revoke"], (stored(id), self._clock())) == 1

    def verify(self, text: str) -> ApiKey | None:
        """The key of which this is the text, if it is good. Notes the time of use, at most once a minute."""
        name, _, rest = text.partition("_")
        id, _, secret = rest.partition("_")
        if name != "dk" or len(id) != KEY_ID or not set(id) <= set(DIGITS):
            return None
        with self._base.reading() as rows:
            found = first(rows.query(self._sql["key_get"], (id,)))
        if found is None or not hmac.compare_digest(bytes(found[8]), kept_token(secret)):
            return None
        key, now = _key(found[:8]), self._clock()
        if key.revoked is not None:
            return None
        if key.last_used is None or key.last_used <= now - USED:
            with self._base.writing() as rows:
                rows.execute(self._sql["key_used"], (id, now))
        return key


class Sessions:
    """Sessions of browsers."""

    def __init__(self, base: Base, clock: Callable[[], float]) -> None:
        self._base = base
        self._sql = base.sql
        self._clock = clock

    def start(self, user: str, seconds: float) -> MadeSession:
        """Begin a session of a user who has logged in, for so many seconds. Raises NOT_FOUND."""
        text, csrf, now = token(), token(), self._clock()
        with self._base.writing() as rows:
            found = first(rows.query(self._sql["account_get"], (stored(user),)))
            if found is None:
                raise DunlinError("begin a session of", user, ErrorKind.NOT_FOUND, "there is no such user")
            new = (kept_token(text), stored(user), csrf, now, now + seconds)
            rows.execute(self._sql["session_new"], new)
        return MadeSession(Session(_user(found[:4]), csrf, now, now + seconds), text)

    def verify(self, text: str) -> Session | None:
        """The session of a token, while it lasts; with the role that its user has now."""
        with self._base.reading() as rows:
            found = first(rows.query(self._sql["session_get"], (kept_token(text), self._clock())))
        return None if found is None else Session(_user(found[:4]), *found[4:])

    def end(self, text: str) -> bool:
        """End the session of a token; False when there is none."""
        with self._base.writing() as rows:
            return rows.execute(self._sql["session_end"], (kept_token(text),)) == 1

    def end_all(self, user: str) -> int:
        """End all sessions of a user; how many there were."""
        with self._base.writing() as rows:
            return rows.execute(self._sql["session_end_all"], (stored(user),))


def known_tenant(rows: Rows, sql: str, tenant: str) -> None:
    """Raises NOT_FOUND unless it is "" or the name of a tenant."""
    if tenant and not rows.query(sql, (stored(tenant),)):
        raise DunlinError("use the tenant", tenant, ErrorKind.NOT_FOUND, "there is none of that name")


def name_of(name: str, what: str) -> str:
    """A name that can be typed, shown and put into a URL without a thought."""
    if not name.isprintable() or name.strip() != name or not 0 < len(name) <= NAME or "/" in name:
        hint = f"use 1 to {NAME} printable characters without '/' or blanks around them"
        raise usage(f"{name!r} is no name for a {what}", hint)
    return name


def _kept(password: str) -> str:
    if len(password) < SHORTEST:
        raise usage("the password is too short", f"use at least {SHORTEST} characters")
    return kept_password(password)


@cache
def _nobody() -> str:
    """What is kept of the password of nobody."""
    return kept_password(token())


def _tenant(row: Sequence[Any]) -> Tenant:
    name, settings, created = row
    found = _settings(settings)
    roots, prefixes = map(meant, found.allowed_roots), map(meant, found.allowed_prefixes)
    return Tenant(meant(name), tuple(roots), tuple(prefixes), found.caps, created)


def _user(row: Sequence[Any]) -> User:
    name, role, tenant, created = row
    return User(meant(name), Role(role), meant(tenant), created)


def _key(row: Sequence[Any]) -> ApiKey:
    id, label, role, tenant, by, *times = row
    return ApiKey(id, meant(label), Role(role), meant(tenant), meant(by), *times)
