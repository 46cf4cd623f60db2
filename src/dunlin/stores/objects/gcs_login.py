"""Who we are to Google Cloud Storage: an access token, fetched when it is needed and renewed before it expires.

Tokens are google-auth's business. An endpoint of one's own (an emulator) gets no token unless a key file is named.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from dunlin.errors import DunlinError, ErrorKind, usage
from dunlin.stores.login import Login

SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"

Provider = Callable[[], str]
"""The token of this moment; "" for requests without one. Raises AUTH or NETWORK."""


def provider(login: Login) -> Provider:
    """Tokens for a login; nothing is asked for before the first request. Raises USAGE for a key that is none."""
    if login["service_account"]:
        return _Tokens(_service_account(login["service_account"]))
    if login["anonymous"] or login["endpoint"]:
        return lambda: ""
    return _Tokens(_default)


def _service_account(text: str) -> Callable[[], Any]:
    try:
        key = json.loads(text)
        missing = [name for name in ("client_email", "private_key", "token_uri") if not key.get(name)]
    except (ValueError, AttributeError):
        raise usage("the service account's key is not JSON", "give the file that Google Cloud made") from None
    if missing:
        raise usage(f"the service account's key has no {missing[0]}", "give the file that Google Cloud made")

    def make() -> Any:
        from google.oauth2 import service_account  # its functions have no types

        return service_account.Credentials.from_service_account_info(key, scopes=[SCOPE])  # type: ignore[no-untyped-call]

    return make


def _default() -> Any:
    import google.auth

    found, _ = google.auth.default(scopes=[SCOPE])
    return found


class _Tokens:
    """One token for all threads."""

    def __init__(self, make: Callable[[], Any]) -> None:
        import google.auth.transport.requests  # noqa: F401 - where it is missing, that is known before a run begins

        self._make = make
        self._credentials: Any = None
        self._lock = threading.Lock()

    def __call__(self) -> str:
        from google.auth.exceptions import GoogleAuthError, TransportError

        with self._lock:
            try:
                if self._credentials is None:
                    self._credentials = self._make()
                if not self._credentials.valid:
                    from google.auth.transport.requests import Request

                    self._credentials.refresh(Request())
                return str(self._credentials.token)
            except TransportError as error:
                reason = "the login service of Google Cloud does not answer"
                raise DunlinError("log in to", "gs://", ErrorKind.NETWORK, reason) from error
            except (GoogleAuthError, ValueError) as error:
                # Their text may quote what was sent: the kind of error is enough.
                reason = f"Google Cloud gave no token ({type(error).__name__})"
                hint = "name a key file with --gcs-service-account, or log in with gcloud"
                raise DunlinError("log in to", "gs://", ErrorKind.AUTH, reason, hint) from error
