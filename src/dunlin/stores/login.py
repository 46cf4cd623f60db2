"""What a store needs to be let in, as plain values that never show themselves.

`config` fills a `Login` from flags, environment and file, and it travels to movers through their pipe: never
through arguments, environment, state, logs or exceptions. Its text form is masked.

    Azure Blob    connection_string | account_name with one of: account_key, sas_token, use_managed_identity
                  [client_id], tenant_id + client_id + client_secret, use_azure_cli, use_workload_identity
                  [tenant_id, client_id, federated_token_file], or nothing: the default chain.
                  endpoint: the blob service's URL; authority_host, identity_endpoint: of the login services.
    S3            access_key_id + secret_access_key [session_token] | profile | anonymous | nothing: the default
                  chain of boto3; role_arn is assumed with what was found. region, endpoint.
    GCS           service_account (the key file's JSON text) | anonymous | nothing: the default chain. endpoint,
                  project.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SECRET = frozenset(
    {
        "connection_string",
        "account_key",
        "sas_token",
        "client_secret",
        "secret_access_key",
        "session_token",
        "service_account",
    }
)
"""Names whose values are never shown."""


class Login:
    """Values by name; what is not given is ""."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = MappingProxyType({name: value for name, value in (values or {}).items() if value})

    def __getitem__(self, name: str) -> str:
        return self._values.get(name, "")

    def given(self) -> frozenset[str]:
        """The names that have a value."""
        return frozenset(self._values)

    def secrets(self) -> tuple[str, ...]:
        """The values that must not be seen anywhere, longest first, for masking foreign messages."""
        return tuple(sorted((self._values[name] for name in SECRET & self.given()), key=len, reverse=True))

    def __reduce__(self) -> tuple[type[Login], tuple[dict[str, str]]]:
        return Login, (dict(self._values),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Login) and dict(self._values) == dict(other._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name}={'***' if name in SECRET else value!r}" for name, value in sorted(self._values.items())
        )
        return f"Login({shown})"
