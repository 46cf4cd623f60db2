"""Who we are to Google Cloud Storage: an access token, fetched when it is needed and renewed before it expires.

Tokens are google-auth's business. An endpoint of one's own (an emulator) gets no token unless a key file is named: the
default chain's tokens are for Google alone.

A token is renewed 3:45 minutes before it ends (`REFRESH_THRESHOLD` of google-auth), by the one thread that comes first;
the others go on with the old one, as does everybody while the login service is away. What failed is not tried again
for `PAUSE` seconds, so that many threads do not wait for the same failure one after the other.

A refusal is AUTH, and so is a login service that was never reached. One that falls silent later is NETWORK: it may
come back.
"""

from __future__ import annotations

import json
import re
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urlsplit

from dunlin.errors import DunlinError, ErrorKind, usage
from dunlin.stores.login import Login
from dunlin.stores.objects.address import http_address

SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
PATIENCE = 6.0
"""Seconds that a login service gets for an answer."""
PAUSE = 5.0
"""Seconds after a failure in which nothing is asked."""

_KEY_FILE = "give the JSON file that Google Cloud made"
_HINT = "name a key file with --gcs-service-account, or log in with gcloud"

Maker = Callable[[Any], Any]
"""Makes credentials of google-auth, given what makes its requests."""


class Tokens(Protocol):
    """Tokens for one login. Safe to use from many threads."""

    @property
    def given(self) -> bool:
        """Whether there are any."""

    def current(self) -> str:
        """The token of this moment; "" for requests without one. Raises AUTH or NETWORK."""

    def close(self) -> None:
        """Give back connections."""


def tokens(login: Login, on_login: Callable[[str], object] | None = None) -> Tokens:
    """Tokens for a login; nothing is asked for before the first request. Raises USAGE for what cannot be right.

    `on_login` is told who gave the first token.
    """
    _check_endpoint(login["endpoint"])
    if login["service_account"] and login["anonymous"]:
        raise usage("a service account and anonymous access exclude each other", "give one of them")
    if login["service_account"]:
        return Renewed(_from_file(login["service_account"]), on_login=on_login)
    if login["anonymous"] or (login["endpoint"] and not _is_google(login["endpoint"])):
        return _Nobody()
    return Renewed(_default, on_login=on_login)


def _check_endpoint(endpoint: str) -> None:
    if not endpoint:
        return
    parts = http_address(endpoint)
    # The endpoint is not repeated: what is wrong with it may be a password in it.
    if parts is None or parts.username is not None or parts.path.strip("/") or parts.query or parts.fragment:
        raise usage("the endpoint of GCS is not http://HOST[:PORT] or https://HOST[:PORT]", "--gcs-endpoint")


def _is_google(endpoint: str) -> bool:
    """Whether an endpoint is another door of Google's own."""
    parts = urlsplit(endpoint)
    return parts.scheme == "https" and f".{parts.hostname}".endswith(".googleapis.com")


def _from_file(text: str) -> Maker:
    """What makes the credentials of a key file, or of any other file that the Google SDK writes."""
    try:
        key = json.loads(text)
        kind = key.get("type") or "service_account"
    except (ValueError, AttributeError):
        raise usage("the service account's key is not JSON", _KEY_FILE) from None
    if kind != "service_account":
        return _of_other_kind(key, kind)
    missing = [name for name in ("client_email", "private_key", "token_uri") if not isinstance(key.get(name), str)]
    if missing:
        raise usage(f"the service account's key has no {missing[0]}", _KEY_FILE)
    from google.oauth2 import service_account  # its functions have no types

    try:
        made = service_account.Credentials.from_service_account_info(key, scopes=[SCOPE])  # type: ignore[no-untyped-call]
    except ValueError:
        # The text of the error may quote the key.
        raise usage("the service account's private key cannot be read", _KEY_FILE) from None
    return lambda request: made


def _of_other_kind(key: dict[str, Any], kind: str) -> Maker:
    """Credentials of a user, of another cloud's identity, or of somebody who acts as an account."""
    from google.auth.exceptions import GoogleAuthError

    def make(request: Any) -> Any:
        import google.auth

        with warnings.catch_warnings():
            # It warns of files from strangers, and of users without a project: this one was named by its user.
            warnings.simplefilter("ignore")
            load = google.auth.load_credentials_from_dict  # its functions have no types
            found, _ = load(key, scopes=[SCOPE], request=request)  # type: ignore[no-untyped-call]
        return found

    if kind not in ("authorized_user", "external_account", "external_account_authorized_user",
                    "impersonated_service_account", "gdch_service_account"):  # fmt: skip
        raise usage("the service account's key is of a kind that Google Cloud does not have", _KEY_FILE)
    if kind == "authorized_user":
        try:
            make(None)
        except (GoogleAuthError, ValueError):
            raise usage("the file of the user's login cannot be read", _KEY_FILE) from None
    return make


def _default(request: Any) -> Any:
    import google.auth

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of users without a project
        found, _ = google.auth.default(scopes=[SCOPE], request=request)
    return found


class _Nobody:
    """Requests are made without a token."""

    given = False

    def current(self) -> str:
        return ""

    def close(self) -> None: ...


class Renewed:
    """The tokens of google-auth's credentials; see the module docstring.

    Args:
        make: makes the credentials, once, before the first request.
        clock: seconds, for `PAUSE` alone.
        on_login: told who gave the first token.
    """

    given = True

    def __init__(
        self,
        make: Maker,
        clock: Callable[[], float] = time.monotonic,
        on_login: Callable[[str], object] | None = None,
    ) -> None:
        from google.auth.transport.requests import Request  # where it is missing, that is known before a run begins

        self._make = make
        self._clock = clock
        self._on_login = on_login
        self._asker = Request()
        self._credentials: Any = None
        self._failed: tuple[float, DunlinError] | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        self._asker.session.close()

    def current(self) -> str:
        """The token. Raises AUTH or NETWORK."""
        held = self._credentials
        usable = _state(held)
        if usable == "FRESH":
            return str(held.token)
        # Whoever comes while another thread renews waits only if there is no valid token.
        if not self._lock.acquire(blocking=usable != "STALE"):
            return str(held.token)
        try:
            return self._renewed()
        finally:
            self._lock.release()

    def _renewed(self) -> str:
        if _state(self._credentials) == "FRESH":
            return str(self._credentials.token)
        try:
            if self._failed and self._clock() < self._failed[0] + PAUSE:
                raise self._failed[1]
            self._refresh()
        except DunlinError as error:
            if not self._failed or error is not self._failed[1]:
                self._failed = (self._clock(), error)
            if _state(self._credentials) == "STALE":
                return str(self._credentials.token)
            raise
        self._failed = None
        if self._on_login is not None:
            self._on_login(_origin(self._credentials))
            self._on_login = None
        return str(self._credentials.token)

    def _refresh(self) -> None:
        from google.auth.exceptions import TransportError

        known = self._credentials is not None and self._credentials.token is not None
        try:
            if self._credentials is None:
                self._credentials = self._make(self._request)
            self._credentials.refresh(self._request)
        except Exception as error:
            # google-auth stumbles over answers that it does not expect, so errors are of any kind. Their text may quote
            # what was sent: they are neither shown nor kept.
            away = isinstance(error, TransportError) or getattr(error, "retryable", False)
            reason = "the login service of Google Cloud does not answer" if away else f"no token: {_code(error)}"
            kind = ErrorKind.NETWORK if away and known else ErrorKind.AUTH
            raise DunlinError("log in to", "Google Cloud", kind, reason, "" if away else _HINT) from None

    def _request(
        self, url: str, method: str = "GET", body: Any = None, headers: Any = None,
        timeout: float | None = None, **more: Any,
    ) -> Any:  # fmt: skip
        """A request of google-auth's, which would wait for two minutes."""
        return self._asker(url, method, body, headers, min(timeout or PATIENCE, PATIENCE), **more)


_ORIGINS = {
    "google.oauth2.service_account": "service account",
    "google.oauth2.credentials": "a user's login",
    "google.auth.compute_engine.credentials": "metadata server",
    "google.auth.impersonated_credentials": "impersonated service account",
    "google.auth.identity_pool": "workload identity",
}
"""Modules of google-auth, and what the log calls the logins that they are for."""


def _origin(credentials: Any) -> str:
    """Who gave a token, in words."""
    return _ORIGINS.get(type(credentials).__module__, "external account")


def _state(credentials: Any) -> str:
    """FRESH, STALE (to be renewed, still good) or INVALID."""
    return "INVALID" if credentials is None else str(credentials.token_state.name)


def _code(error: Exception) -> str:
    """The error code of OAuth where there is one (RFC 6749 5.2), else the kind of the error."""
    told = error.args[1] if len(error.args) > 1 else None
    code = told.get("error") if isinstance(told, dict) else None
    return code if isinstance(code, str) and re.fullmatch(r"[a-z_]{1,40}", code) else type(error).__name__
