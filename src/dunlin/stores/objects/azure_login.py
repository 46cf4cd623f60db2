"""Who we are to Azure Blob and Azure Files: from a `Login` to an endpoint, an account's name and a signer.

The first of these that the login holds is used:

    sas_token                   appended to every request
    connection_string           AccountName with AccountKey or SharedAccessSignature, BlobEndpoint, EndpointSuffix,
                                DefaultEndpointsProtocol; or UseDevelopmentStorage=true for an emulator
    account_key                 base64; every request is signed
    client_secret               with tenant_id and client_id: a service principal
    use_managed_identity        client_id picks one of several
    use_workload_identity       tenant_id, client_id, federated_token_file
    use_azure_cli               whoever has logged in with ``az login``
    nothing of all that         environment, workload identity, managed identity, Azure CLI, Azure Developer CLI:
                                the first that has a token; `on_login` is told which one that was

Formats are checked before anything is sent. Tokens come from azure-identity (loaded only for them, 0.5 s), are kept
until five minutes before they expire, and one thread fetches the next while the others go on with the old one.
A login that fails is AUTH, which nothing retries, and is remembered for some seconds, so that twenty threads that
ask together do not wait one after the other. `identity_endpoint` names a place that speaks as the metadata service
of virtual machines does; it is asked without azure-identity, which can be sent elsewhere only by changing our
environment. (An App Service's IDENTITY_ENDPOINT, which has a path, is left to azure-identity.)
"""

from __future__ import annotations

import binascii
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from dunlin.errors import DunlinError, ErrorKind, usage
from dunlin.stores.login import Login
from dunlin.stores.objects.address import http_address, is_azure, is_private, origin
from dunlin.stores.objects.azure_sign import Signer, bearer, shared_access, shared_key
from dunlin.stores.objects.wire import Client

RESOURCE = "https://storage.azure.com"
SUFFIX = "core.windows.net"
EMULATOR = "devstoreaccount1"
EARLY = 300.0
"""Seconds before a token's end at which the next one is fetched."""
PAUSE = 10.0
"""Seconds for which a failed login is not tried again."""
PATIENCE = 2.0
"""Seconds for a connection to the metadata service: it is on the same machine, or nowhere."""
_PIPELINE: dict[str, Any] = {
    "retry_total": 2, "retry_connect": 0, "retry_read": 0, "retry_backoff_factor": 0.2,
    "connection_timeout": 5, "read_timeout": 6,
}  # fmt: skip
"""Whoever falls silent is not asked again: it is known within ten seconds that a login failed."""

_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_SIGNED = re.compile(r"eyJ[\w-]*\.[\w-]+\.[\w-]*")
_HOST = re.compile(r"(?<=//)([a-z0-9-]+\.(?:z[0-9]+\.)?)(?:blob|file)\.", re.IGNORECASE)
_HINT = "see docs/stores/azure-blob.md for the ways to log in"


class Access(NamedTuple):
    """An endpoint (with the account in its path where it has it there), the account, and how to sign."""

    endpoint: str
    account: str
    sign: Signer
    close: Callable[[], object]


def access(login: Login, on_login: Callable[[str], object] | None = None, service: str = "blob") -> Access:
    """Everything that requests need. Nothing is sent yet. Raises USAGE for what cannot be right.

    `service`: "blob" or "file", as in the names of hosts.
    """
    words = _connection(login)
    endpoint, account = _endpoint(login, words, service), _account(login, words, service)
    sas = "" if login["sas_token"] else words.get("sharedaccesssignature", "")
    if sas and login["endpoint"] and origin(endpoint) != origin(_own_endpoint(words, service)):
        _check_private(endpoint, "the SAS of the connection string")
    if login["sas_token"] or sas:
        return Access(endpoint, account, shared_access(checked_sas(login["sas_token"] or sas)), _nothing)
    key = words.get("accountkey", "") if words else login["account_key"]
    if key:
        if not account:
            raise usage("there is an account key but no account name", "give --account-name")
        return Access(endpoint, account, shared_key(account, _key(key)), _nothing)
    if words:
        raise usage("the connection string has neither AccountKey nor SharedAccessSignature", _HINT)
    _check_private(endpoint, "a token")
    token = Token(_provider(login), on_login=on_login, secrets=login.secrets())
    return Access(endpoint, account, bearer(token), token.close)


def endpoint_of(login: Login, service: str = "blob") -> str:
    """The URL of the blob (or file) service that a login means, without a slash at its end. Raises USAGE."""
    return _endpoint(login, _connection(login), service)


def check_host(endpoint: str, login: Login, service: str = "blob") -> None:
    """Whether a host that only a URL names may see what `login` would send as it is.

    A token, or the SAS of a connection string, goes to Azure's own hosts, and to the one that the login names itself.
    (Whether a SAS that stands by itself belongs to the URL is known to who puts the login together.)

    Args:
        endpoint: what the URL names. login: as given, without anything of the URL.

    Raises USAGE.
    """
    words = _connection(login)
    if login["sas_token"] or words.get("accountkey") or (login["account_key"] and not words):
        return
    named = {origin(login["endpoint"]), origin(_own_endpoint(words, service)) if words else ""} - {""}
    if is_azure(endpoint) or origin(endpoint) in named:
        return
    what = "the SAS of the connection string" if words else "a token"
    where = urlsplit(endpoint).netloc
    raise usage(f"{what} is not sent to {where}, which is no host of Azure's", "if it is yours, give --azure-endpoint")


def _check_private(endpoint: str, what: str) -> None:
    if not is_private(endpoint):
        where = urlsplit(endpoint).netloc
        raise usage(f"{what} is not sent to {where} in clear text", "use https, or log in with an account key")


def _nothing() -> None: ...


# ---- formats ----


def connection_words(text: str) -> dict[str, str]:
    """The settings of a connection string, names in lower case. Raises USAGE, and never quotes it."""
    words = {}
    for setting in filter(None, (part.strip() for part in text.split(";"))):
        name, separator, value = setting.partition("=")
        if not separator:
            raise usage("the connection string is not NAME=VALUE;NAME=VALUE", "copy it whole, and quote it")
        words[name.strip().lower()] = value.strip()
    if words.get("usedevelopmentstorage", "").lower() == "true":
        # The key of every emulator is published; it is taken from Microsoft's library.
        from azure.storage.blob._shared.parser import DEVSTORE_ACCOUNT_KEY

        host = words.get("developmentstorageproxyuri", "http://127.0.0.1").rstrip("/")
        made = {"accountname": EMULATOR, "accountkey": DEVSTORE_ACCOUNT_KEY, "blobendpoint": f"{host}:10000/{EMULATOR}"}
        return {**made, **words}
    if not any(words.get(name) for name in ("accountname", "blobendpoint", "fileendpoint")):
        reason = "the connection string has neither AccountName nor BlobEndpoint nor FileEndpoint"
        raise usage(reason, "copy it whole, and quote it")
    return words


def _connection(login: Login) -> Mapping[str, str]:
    return connection_words(login["connection_string"]) if login["connection_string"] else {}


def _account(login: Login, words: Mapping[str, str], service: str = "blob") -> str:
    account = words.get("accountname") or login["account_name"]
    if not account:
        account = account_in(_endpoint(login, words, service))
    if account and not _ACCOUNT.fullmatch(account):
        raise usage(f"{account!r} is no name of a storage account", "it has 3 to 24 lower-case letters and digits")
    return account


def _own_endpoint(words: Mapping[str, str], service: str = "blob") -> str:
    """The endpoint that a connection string names by itself."""
    return _endpoint(Login(), words, service)


def _endpoint(login: Login, words: Mapping[str, str], service: str = "blob") -> str:
    # The endpoint of an account's other service differs in one word of the host's name.
    given = _HOST.sub(rf"\1{service}.", login["endpoint"]) or words.get(f"{service}endpoint", "")
    account = words.get("accountname") or login["account_name"]
    if given:
        parts = http_address(given)
        if parts is None or parts.query or parts.username:
            raise usage(
                f"the endpoint of the {service} service is no http or https URL",
                f"https://ACCOUNT.{service}.core.windows.net",
            )
        named = account_in(given)
        if login["endpoint"] and named and words.get("accountname", named) != named:
            raise usage(f"the connection string is not for the account {named}", "give the one of that account")
        bare = account and not parts.path.strip("/") and is_path_style(parts.hostname or "")
        return f"{given.rstrip('/')}/{account}" if bare else given.rstrip("/")
    if not account:
        raise usage("no storage account is named", "give --account-name, --connection-string or a full https URL")
    _account_checked(account)
    protocol = words.get("defaultendpointsprotocol", "https").lower()
    if protocol not in ("http", "https"):
        raise usage("the connection string's DefaultEndpointsProtocol is neither http nor https")
    return f"{protocol}://{account}.{service}.{words.get('endpointsuffix') or SUFFIX}"


def _account_checked(account: str) -> None:
    if not _ACCOUNT.fullmatch(account):
        raise usage(f"{account!r} is no name of a storage account", "it has 3 to 24 lower-case letters and digits")


def is_path_style(host: str) -> bool:
    """Whether the account stands in the path: emulators, and whatever is not ACCOUNT.blob.SUFFIX (or file)."""
    return re.fullmatch(r"[a-z0-9-]+\.(?:z[0-9]+\.)?(?:blob|file)\..+", host, re.IGNORECASE) is None


def account_in(endpoint: str) -> str:
    """The account that an endpoint names, or ""."""
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    if is_path_style(host):
        return parts.path.strip("/").partition("/")[0]
    # ACCOUNT-secondary is where a geo-redundant account can be read.
    return host.partition(".")[0].lower().removesuffix("-secondary")


def _key(text: str) -> bytes:
    try:
        key = binascii.a2b_base64(text, strict_mode=True) if len(text) % 4 == 0 else b""
    except binascii.Error:
        key = b""
    if not key:
        raise usage("the account key is not base64", "copy it whole, up to and including the =")
    return key


def checked_sas(text: str) -> str:
    """A SAS without its question mark. Raises USAGE when it has no signature."""
    sas = text.strip().lstrip("?").strip("&")
    if not re.search(r"(?:^|&)sig=[^&]", sas) or re.search(r"[^!-~]", sas):
        raise usage("the SAS is not a query with sig=...", "copy the token that follows the ?, and quote it")
    return sas


# ---- tokens ----


class Fresh(NamedTuple):
    """A token, when it ends (seconds since 1970), and who gave it."""

    token: str
    expires: float
    source: str


class Provider(NamedTuple):
    """How to get a token; raises DunlinError, or an exception of azure-identity. `name`: what the login is called."""

    name: str
    fetch: Callable[[], Fresh]
    close: Callable[[], object] = _nothing


class Token:
    """A token that is renewed in time: call it. Safe to use from many threads.

    Args:
        provider: asked when there is none, or the one that there is ends within `EARLY` seconds.
        on_login: told who gave the first token.
        secrets: texts that no message may hold.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        on_login: Callable[[str], object] | None = None,
        secrets: tuple[str, ...] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._provider = provider
        self._on_login = on_login
        self._secrets = secrets
        self._clock = clock
        self._lock = threading.Lock()
        self._now = Fresh("", 0.0, "")
        self._failed: tuple[float, str] | None = None

    def __call__(self) -> str:
        """The token. Raises AUTH."""
        held = self._now
        left = held.expires - self._clock()
        if left > EARLY:
            return held.token
        # Whoever comes while another thread fetches waits only if there is no valid token.
        if not self._lock.acquire(blocking=left <= 0):
            return held.token
        try:
            return self._renewed()
        finally:
            self._lock.release()

    def _renewed(self) -> str:
        now = self._clock()
        if self._now.expires - now > EARLY:
            return self._now.token
        try:
            if self._failed and now < self._failed[0] + PAUSE:
                raise self._error(self._failed[1])
            fresh = self._fetch(now)
        except DunlinError:
            if self._now.expires > now:
                return self._now.token
            raise
        first = not self._now.token
        self._now, self._failed = fresh, None
        if first and self._on_login is not None:
            self._on_login(fresh.source)
        return fresh.token

    def _fetch(self, now: float) -> Fresh:
        try:
            return self._provider.fetch()
        except Exception as error:
            # azure-identity raises errors of its own, of azure-core, of msal and of requests, and ValueError.
            reason = one_line(error.reason if isinstance(error, DunlinError) else str(error), self._secrets)
            self._failed = (now, reason)
            raise self._error(reason) from (error if isinstance(error, DunlinError) else None)

    def _error(self, reason: str) -> DunlinError:
        return DunlinError("log in to", "Azure", ErrorKind.AUTH, f"{self._provider.name}: {reason}", _HINT)

    def close(self) -> None:
        """Give back connections."""
        self._provider.close()


def one_line(text: str, secrets: tuple[str, ...] = (), most: int = 600) -> str:
    """The beginning of a foreign message, on one line, with `secrets` and signed tokens (RFC 7519) masked."""
    text = _SIGNED.sub("***", text)
    for secret in secrets:
        text = text.replace(secret, "***")
    line = " ".join(text.split()) or "no reason given"
    return line if len(line) <= most else line[: most - 1] + "…"


def _provider(login: Login) -> Provider:
    if login["client_secret"]:
        _need(login, "a service principal", "tenant_id", "client_id")
        return _sdk("service principal", _service_principal, login)
    if login["use_managed_identity"]:
        endpoint = login["identity_endpoint"]
        if endpoint and http_address(endpoint) is None:
            raise usage("IDENTITY_ENDPOINT is no http or https URL")
        if endpoint and not urlsplit(endpoint).path.strip("/"):
            return metadata_service(endpoint, login["client_id"])
        return _sdk("managed identity", _managed_identity, login)
    if login["use_workload_identity"]:
        return _sdk("workload identity", _workload_identity, login)
    if login["use_azure_cli"]:
        return _sdk("Azure CLI", _azure_cli, login)
    if login["tenant_id"] and login["client_id"]:
        raise usage("there is a tenant id and a client id but no client secret", "give --client-secret")
    return _chain(login)


def _need(login: Login, what: str, *names: str) -> None:
    for name in names:
        if not login[name]:
            raise usage(f"{what} needs a {name.replace('_', ' ')}", f"give --{name.replace('_', '-')}")


def metadata_service(endpoint: str, client_id: str = "") -> Provider:
    """Tokens from the metadata service of a virtual machine (IMDS, version 2018-02-01) at `endpoint`."""
    client = Client(endpoint.rstrip("/"), connections=1, idle=5.0, connect=PATIENCE)
    target = f"/metadata/identity/oauth2/token?api-version=2018-02-01&resource={quote(RESOURCE, safe='')}"
    if client_id:
        target += f"&client_id={quote(client_id, safe='')}"

    def fetch() -> Fresh:
        try:
            answer = client.ask("GET", target, {"metadata": "true"})
            said = json.loads(answer.body)
            if answer.status >= 300:
                raise ValueError(f"{said.get('error', answer.status)}: {said.get('error_description', '')}")
            return Fresh(str(said["access_token"]), float(said["expires_on"]), "managed identity")
        except DunlinError as error:
            reason = f"no answer from {client.endpoint} ({error.reason}); is this a machine with an identity?"
            raise DunlinError("log in to", "Azure", ErrorKind.AUTH, reason) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DunlinError("log in to", "Azure", ErrorKind.AUTH, f"{client.endpoint} says {error}") from error

    return Provider("managed identity", fetch, client.close)


Maker = Callable[[Login], Any]
"""Makes a credential of azure-identity."""


def _sdk(name: str, make: Maker, login: Login) -> Provider:
    import azure.identity  # noqa: F401 - where it is missing, that is known before a run begins

    made: list[Any] = []

    def fetch() -> Fresh:
        if not made:
            made.append(_quiet(make)(login))
        token = made[0].get_token(f"{RESOURCE}/.default")
        return Fresh(token.token, float(token.expires_on), name)

    def close() -> None:
        for credential in made:
            credential.close()

    return Provider(name, fetch, close)


def _chain(login: Login) -> Provider:
    """The first provider that has a token; from then on, that one."""
    providers = [_sdk(name, make, login) for name, make in _CHAIN]
    found: list[Provider] = []

    def fetch() -> Fresh:
        said = []
        for provider in found or providers:
            try:
                fresh = provider.fetch()
            except Exception as error:
                said.append(f"{provider.name}: {one_line(str(error).partition('. ')[0], login.secrets(), 80)}")
                continue
            found[:] = [provider]
            return fresh
        raise DunlinError("log in to", "Azure", ErrorKind.AUTH, "nobody has a token (" + "; ".join(said) + ")")

    def close() -> None:
        for provider in providers:
            provider.close()

    return Provider("default login", fetch, close)


def _quiet(make: Maker) -> Maker:
    """Python shows warnings of loggers that nobody listens to on stderr; these two are listened to, by nobody."""
    for name in ("azure", "msal"):
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
    return make


def _authority(login: Login) -> dict[str, Any]:
    host = login["authority_host"]
    # Whether an authority exists is asked of the public cloud, which knows no private ones.
    return {**_PIPELINE, "authority": host, "disable_instance_discovery": True} if host else dict(_PIPELINE)


def _service_principal(login: Login) -> Any:
    from azure.identity import ClientSecretCredential

    return ClientSecretCredential(login["tenant_id"], login["client_id"], login["client_secret"], **_authority(login))


def _managed_identity(login: Login) -> Any:
    from azure.identity import ManagedIdentityCredential

    # Its own five retries of two seconds each, with pauses, would take half a minute to say that nobody is there.
    options = {**_PIPELINE, "connection_timeout": PATIENCE}
    return ManagedIdentityCredential(client_id=login["client_id"] or None, _enable_imds_probe=True, **options)


def _workload_identity(login: Login) -> Any:
    from azure.identity import WorkloadIdentityCredential

    return WorkloadIdentityCredential(
        tenant_id=login["tenant_id"] or None,
        client_id=login["client_id"] or None,
        token_file_path=login["federated_token_file"] or None,
        **_authority(login),
    )


def _azure_cli(login: Login) -> Any:
    from azure.identity import AzureCliCredential

    return AzureCliCredential(tenant_id=login["tenant_id"], process_timeout=20)


def _developer_cli(login: Login) -> Any:
    from azure.identity import AzureDeveloperCliCredential

    return AzureDeveloperCliCredential(tenant_id=login["tenant_id"], process_timeout=20)


def _environment(login: Login) -> Any:
    from azure.identity import EnvironmentCredential

    return EnvironmentCredential(**_authority(login))


_CHAIN: tuple[tuple[str, Maker], ...] = (
    ("environment", _environment),
    ("workload identity", _workload_identity),
    ("managed identity", _managed_identity),
    ("Azure CLI", _azure_cli),
    ("Azure Developer CLI", _developer_cli),
)
