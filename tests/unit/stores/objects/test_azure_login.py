"""Logins: formats, precedence, and tokens from stand-ins of the metadata service, of Entra and of the Azure CLI."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.login import Login
from dunlin.stores.objects import azure_login
from dunlin.stores.objects.azure_login import Access, Fresh, Provider, Token, access, connection_words, endpoint_of
from dunlin.stores.objects.azure_sign import Unsigned
from tests.unit.stores.objects.azure_stub import Asked, Reply, Stub, stub

KEY = base64.b64encode(b"k" * 64).decode()
TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "66666666-7777-8888-9999-000000000000"


@pytest.fixture(autouse=True)
def no_identity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No login of this machine: neither variables nor `az`. What was opened is closed."""
    for name in [name for name in os.environ if name.startswith(("AZURE_", "IDENTITY_", "MSI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "*")
    yield
    while CLOSING:
        CLOSING.pop()()


def given(**values: str) -> Login:
    return Login(values)


CLOSING: list[Callable[[], object]] = []


def opened(**values: str) -> Access:
    return watched(access(given(**values)))


def watched(found: Access) -> Access:
    CLOSING.append(found.close)
    return found


def sent(found: Access) -> tuple[str, dict[str, str]]:
    return found.sign(Unsigned("GET", "/c", (), {}))


def bearer_of(found: Access) -> str:
    return sent(found)[1]["authorization"].removeprefix("Bearer ")


# ---- formats ----


@pytest.mark.parametrize(
    ("values", "endpoint", "account"),
    [
        ({"account_name": "acc", "account_key": KEY}, "https://acc.blob.core.windows.net", "acc"),
        ({"connection_string": f"AccountName=acc;AccountKey={KEY}"}, "https://acc.blob.core.windows.net", "acc"),
        (
            {"connection_string": f"DefaultEndpointsProtocol=http;AccountName=acc;AccountKey={KEY};EndpointSuffix=x"},
            "http://acc.blob.x",
            "acc",
        ),
        (
            {"connection_string": f" AccountKey={KEY} ; accountname=acc;BlobEndpoint=http://127.0.0.1:7/acc/;"},
            "http://127.0.0.1:7/acc",
            "acc",
        ),
        (
            {"connection_string": "BlobEndpoint=https://acc.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=x"},
            "https://acc.blob.core.windows.net",
            "acc",
        ),
        (
            {"connection_string": "UseDevelopmentStorage=true"},
            "http://127.0.0.1:10000/devstoreaccount1",
            "devstoreaccount1",
        ),
        (
            {"connection_string": "UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://azurite"},
            "http://azurite:10000/devstoreaccount1",
            "devstoreaccount1",
        ),
        ({"endpoint": "http://localhost:7", "account_name": "acc", "account_key": KEY},
         "http://localhost:7/acc", "acc"),
        ({"endpoint": "https://acc-secondary.blob.core.windows.net", "sas_token": "?sig=x"},
         "https://acc-secondary.blob.core.windows.net", "acc"),
        ({"endpoint": "https://acc.z12.blob.storage.azure.net", "sas_token": "sig=x"},
         "https://acc.z12.blob.storage.azure.net", "acc"),
    ],
)  # fmt: skip
def test_endpoint_and_account(values: dict[str, str], endpoint: str, account: str) -> None:
    found = opened(**values)
    assert (found.endpoint, found.account) == (endpoint, account)
    assert endpoint_of(given(**values)) == endpoint


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "no storage account"),
        ({"account_name": "Acc", "account_key": KEY}, "no name of a storage account"),
        ({"account_name": "ab", "account_key": KEY}, "no name of a storage account"),
        ({"account_name": "a" * 25}, "no name of a storage account"),
        ({"account_name": "acc", "account_key": "s3cret!"}, "key is not base64"),
        ({"account_name": "acc", "account_key": "czNjcmV0="}, "key is not base64"),
        ({"connection_string": "s3cret"}, "not NAME=VALUE"),
        ({"connection_string": "AccountKey=czNjcmV0"}, "neither AccountName nor BlobEndpoint"),
        ({"connection_string": "AccountName=acc"}, "neither AccountKey nor"),
        (
            {"connection_string": f"DefaultEndpointsProtocol=ftp;AccountName=acc;AccountKey={KEY}"},
            "neither http nor https",
        ),
        ({"account_name": "acc", "sas_token": "sv=2020&se=s3cret"}, "not a query with sig"),
        ({"account_name": "acc", "sas_token": "sv=2020 sig=s3cret"}, "not a query with sig"),
        ({"endpoint": "127.0.0.1:10000", "account_name": "acc"}, "no http or https URL"),
        ({"endpoint": "https://me:s3cret@acc.blob.core.windows.net"}, "no http or https URL"),
        (
            {
                "endpoint": "https://acc.blob.core.windows.net",
                "connection_string": f"AccountName=other;AccountKey={KEY}",
            },
            "not for the account acc",
        ),
        ({"account_name": "acc", "client_secret": "s3cret", "client_id": CLIENT}, "needs a tenant id"),
        ({"account_name": "acc", "client_secret": "s3cret", "tenant_id": TENANT}, "needs a client id"),
        ({"account_name": "acc", "client_id": CLIENT, "tenant_id": TENANT}, "no client secret"),
    ],
)
def test_what_cannot_be_right_is_said_before_anything_is_sent(values: dict[str, str], words: str) -> None:
    with pytest.raises(DunlinError, match=words) as caught:
        opened(**values)
    assert caught.value.kind is ErrorKind.USAGE
    assert "s3cret" not in str(caught.value)
    assert "czNjcmV0" not in str(caught.value)


def test_the_key_of_the_emulator_is_the_published_one() -> None:
    assert len(base64.b64decode(connection_words("UseDevelopmentStorage=true")["accountkey"])) == 64


@pytest.mark.parametrize(
    ("more", "way"),
    [
        ({"sas_token": "sig=url", "connection_string": f"AccountName=acc;AccountKey={KEY}"}, "sig=url"),
        ({"connection_string": "AccountName=acc;SharedAccessSignature=?sig=words", "account_key": KEY}, "sig=words"),
        ({"account_key": KEY, "client_secret": "x", "tenant_id": TENANT, "client_id": CLIENT}, "SharedKey acc:"),
    ],
)
def test_the_most_definite_login_is_used(more: dict[str, str], way: str) -> None:
    target, headers = sent(opened(account_name="acc", **more))
    assert way in target + headers.get("authorization", "")


# ---- tokens ----


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Gives numbered tokens that last an hour, or fails."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.calls = 0
        self.broken: Exception | None = None

    def fetch(self) -> Fresh:
        self.calls += 1
        if self.broken:
            raise self.broken
        return Fresh(f"t{self.calls}", self.clock.now + 3600, "stand-in")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source(clock: Clock) -> Source:
    return Source(clock)


def test_a_token_is_kept_until_five_minutes_before_its_end(clock: Clock, source: Source) -> None:
    told: list[str] = []
    token = Token(Provider("test", source.fetch), on_login=told.append, clock=clock)
    assert [token(), token()] == ["t1", "t1"]
    clock.now += 3299
    assert token() == "t1"
    clock.now += 2
    assert [token(), token()] == ["t2", "t2"]
    assert told == ["stand-in"]


def test_a_renewal_that_fails_is_no_error_while_the_old_token_lasts(clock: Clock, source: Source) -> None:
    token = Token(Provider("test", source.fetch), clock=clock)
    assert token() == "t1"
    source.broken = OSError("away")
    clock.now += 3500
    assert token() == "t1"
    clock.now += 101
    with pytest.raises(DunlinError, match="test: away") as caught:
        token()
    assert caught.value.kind is ErrorKind.AUTH


def test_a_failed_login_is_not_repeated_for_ten_seconds(clock: Clock, source: Source) -> None:
    token = Token(Provider("test", source.fetch), clock=clock)
    source.broken = ValueError("refused")
    for _ in range(3):
        with pytest.raises(DunlinError, match="refused"):
            token()
    assert source.calls == 1
    clock.now += 11
    source.broken = None
    assert token() == "t2"


def test_secrets_are_masked_in_foreign_messages(clock: Clock, source: Source) -> None:
    token = Token(Provider("test", source.fetch), secrets=("s3cret",), clock=clock)
    source.broken = ValueError("invalid_client: s3cret\nTrace ID: 1\n" + "x" * 1000)
    with pytest.raises(DunlinError) as caught:
        token()
    message = str(caught.value)
    assert "***" in message
    assert "s3cret" not in message
    assert "\n" not in message
    assert len(message) < 800
    assert caught.value.__cause__ is None


def test_one_thread_renews_while_others_use_the_old_token(clock: Clock) -> None:
    inside, go = threading.Event(), threading.Event()
    calls: list[int] = []

    def fetch() -> Fresh:
        calls.append(1)
        if len(calls) == 2:
            inside.set()
            assert go.wait(10)
        return Fresh(f"t{len(calls)}", clock.now + 3600, "x")

    token = Token(Provider("test", fetch), clock=clock)
    token()
    clock.now += 3400
    renewed: list[str] = []
    thread = threading.Thread(target=lambda: renewed.append(token()))
    thread.start()
    assert inside.wait(10)
    assert token() == "t1"
    go.set()
    thread.join()
    assert renewed == ["t2"]
    assert len(calls) == 2


# ---- the metadata service of virtual machines ----


def imds(asked: Asked) -> Reply:
    if asked.headers.get("metadata") != "true" or asked.path != "/metadata/identity/oauth2/token":
        return Reply(400, b"{}")
    if asked.query.get("client_id", CLIENT) != CLIENT:
        return Reply(400, b'{"error":"invalid_request","error_description":"Identity not found"}')
    said = {"access_token": f"imds for {asked.query['resource']}", "expires_on": str(int(time.time()) + 86400)}
    return Reply(200, json.dumps(said).encode())


def managed(endpoint: str, **more: str) -> Access:
    return opened(account_name="acc", use_managed_identity="true", identity_endpoint=endpoint, **more)


def test_managed_identity() -> None:
    with stub(imds) as server:
        found = managed(server.url)
        assert server.asked == []
        assert bearer_of(found) == bearer_of(found) == "imds for https://storage.azure.com"
        assert len(server.asked) == 1
        assert bearer_of(managed(server.url, client_id=CLIENT)).startswith("imds")
        assert server.asked[-1].query["client_id"] == CLIENT


def test_an_identity_that_is_not_there() -> None:
    with stub(imds) as server, pytest.raises(DunlinError, match="Identity not found") as caught:
        bearer_of(managed(server.url, client_id="another"))
    assert caught.value.kind is ErrorKind.AUTH


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"access_token":"x"}', b'{"access_token":"x","expires_on":"soon"}']
)
def test_answers_that_are_no_token(body: bytes) -> None:
    with (
        stub(lambda asked: Reply(200, body)) as server,
        pytest.raises(DunlinError, match=r"managed identity: .* says") as caught,
    ):
        bearer_of(managed(server.url))
    assert caught.value.kind is ErrorKind.AUTH


def test_a_metadata_service_that_is_not_there_fails_at_once_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(DunlinError, match=r"managed identity: no answer from .*refused") as caught:
            bearer_of(managed(f"http://127.0.0.1:{taken.getsockname()[1]}"))
    assert caught.value.kind is ErrorKind.AUTH
    assert "\n" not in str(caught.value)


def test_connections_to_the_metadata_service_are_given_up_after_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that swallows packets cannot be had on every machine, so the time that is asked for is looked at."""
    asked: list[float] = []
    real = azure_login.Client

    def client(endpoint: str, **options: Any) -> Any:
        asked.append(options["connect"] + options["idle"])
        return real(endpoint, **options)

    monkeypatch.setattr(azure_login, "Client", client)
    managed("http://127.0.0.1:1")
    assert asked == [7.0]


def test_managed_identity_through_azure_identity_gives_up_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://127.0.0.1:{taken.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(DunlinError, match="managed identity: ") as caught:
            bearer_of(opened(account_name="acc", use_managed_identity="true"))
    assert time.monotonic() - began < 8
    assert "\n" not in str(caught.value)


# ---- Entra ----


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate for 127.0.0.1 that azure-identity, which insists on https, is made to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stand-in")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path / "stand-in.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    return path


def entra(asked: Asked) -> Reply:
    origin = f"https://{asked.headers['host']}/{TENANT}"
    if asked.path.endswith("/.well-known/openid-configuration"):
        said = {"issuer": f"{origin}/v2.0", "authorization_endpoint": f"{origin}/oauth2/v2.0/authorize",
                "token_endpoint": f"{origin}/oauth2/v2.0/token"}  # fmt: skip
        return Reply(200, json.dumps(said).encode(), {"Content-Type": "application/json"})
    body = asked.body.decode()
    if "client_secret=wrong" in body:
        said = {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret: wrong-one"}
        return Reply(401, json.dumps(said).encode(), {"Content-Type": "application/json"})
    way = (
        "assertion" if "client_assertion=federated-jwt" in body else "secret" if "client_secret=s3cret" in body else "?"
    )
    said = {"token_type": "Bearer", "expires_in": "3599", "access_token": f"entra by {way}"}
    return Reply(200, json.dumps(said).encode(), {"Content-Type": "application/json"})


@pytest.fixture
def authority(certificate: Path) -> Iterator[Stub]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with stub(entra, context) as server:
        yield server


def test_service_principal(authority: Stub) -> None:
    told: list[str] = []
    values = {"tenant_id": TENANT, "client_id": CLIENT, "client_secret": "s3cret", "authority_host": authority.url}
    found = watched(access(given(account_name="acc", **values), told.append))
    assert authority.asked == []
    assert bearer_of(found) == bearer_of(found) == "entra by secret"
    tokens = [asked for asked in authority.asked if asked.method == "POST"]
    assert len(tokens) == 1
    assert "storage.azure.com" in tokens[0].body.decode()
    assert told == ["service principal"]


def test_a_service_principal_that_is_refused(authority: Stub) -> None:
    values = {"tenant_id": TENANT, "client_id": CLIENT, "client_secret": "wrong-one", "authority_host": authority.url}
    with pytest.raises(DunlinError, match=r"service principal: .*AADSTS7000215") as caught:
        bearer_of(opened(account_name="acc", **values))
    assert caught.value.kind is ErrorKind.AUTH
    assert "wrong-one" not in str(caught.value)


def test_workload_identity(authority: Stub, tmp_path: Path) -> None:
    federated = tmp_path / "token"
    federated.write_text("federated-jwt")
    values = {"tenant_id": TENANT, "client_id": CLIENT, "federated_token_file": str(federated)}
    found = opened(account_name="acc", use_workload_identity="true", authority_host=authority.url, **values)
    assert bearer_of(found) == "entra by assertion"


def test_workload_identity_that_is_not_configured() -> None:
    with pytest.raises(DunlinError, match=r"workload identity: .*tenant_id") as caught:
        bearer_of(opened(account_name="acc", use_workload_identity="true"))
    assert caught.value.kind is ErrorKind.AUTH


# ---- the Azure CLI ----

AzureCli = Callable[[str], None]


@pytest.fixture
def az(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AzureCli:
    """Puts an `az` of which we know what it does before all others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")

    def make(script: str) -> None:
        program = folder / "az"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    return make


SAID = {"accessToken": "cli token", "expires_on": 4070908800, "expiresOn": "2099-01-01 00:00:00.000000"}
SAYS = f"echo '{json.dumps(SAID)}'"


def test_azure_cli(az: AzureCli) -> None:
    az(SAYS)
    found = opened(account_name="acc", use_azure_cli="true")
    assert bearer_of(found) == "cli token"


def test_azure_cli_without_a_login(az: AzureCli) -> None:
    az("echo \"ERROR: Please run 'az login' to setup account.\" >&2; exit 1")
    with pytest.raises(DunlinError, match="Azure CLI: Please run 'az login'") as caught:
        bearer_of(opened(account_name="acc", use_azure_cli="true"))
    assert caught.value.kind is ErrorKind.AUTH


def test_azure_cli_that_is_not_installed(az: AzureCli) -> None:
    with pytest.raises(DunlinError, match=r"Azure CLI: .*not found"):
        bearer_of(opened(account_name="acc", use_azure_cli="true"))


# ---- nothing given ----


def test_an_account_alone_takes_the_first_login_that_answers(
    az: AzureCli, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    az(SAYS)
    told: list[str] = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://127.0.0.1:{taken.getsockname()[1]}")
        found = watched(access(given(account_name="acc"), told.append))
        assert bearer_of(found) == "cli token"
    assert told == ["Azure CLI"]
    assert capfd.readouterr() == ("", "")


def test_an_account_alone_with_nobody_to_log_in(az: AzureCli, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(DunlinError, match="default login: nobody has a token") as caught:
            bearer_of(opened(account_name="acc"))
    assert "Azure CLI" in caught.value.reason
    assert "\n" not in str(caught.value)


# ---- what is sent where ----


def test_nothing_that_opens_an_account_goes_out_in_clear_text() -> None:
    words = "AccountName=acc;SharedAccessSignature=sv=1&sig=s3cret"
    for values in (
        {"use_azure_cli": "true", "endpoint": "http://other.example/acc"},
        {"endpoint": "http://acc.blob.core.windows.net"},
        {"connection_string": words, "endpoint": "http://other.example/acc"},
        {"connection_string": "DefaultEndpointsProtocol=http;" + words, "endpoint": "http://other.example/acc"},
    ):
        with pytest.raises(DunlinError, match="in clear text") as caught:
            opened(**values)
        assert (caught.value.exit_code, "s3cret" in str(caught.value)) == (1, False)
    assert "sig=s3cret" in sent(opened(connection_string=words, endpoint="http://127.0.0.1:7/acc"))[0]
    assert opened(connection_string="DefaultEndpointsProtocol=http;" + words).endpoint.startswith("http://acc.")


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:bad/acc", "http://[::1/acc", "http://./acc", "http://\xfc/acc"])
def test_an_endpoint_that_cannot_be_right_is_refused(endpoint: str) -> None:
    for login in (given(endpoint=endpoint, account_name="acc", account_key=KEY),
                  given(connection_string=f"AccountName=acc;AccountKey={KEY};BlobEndpoint={endpoint}")):  # fmt: skip
        with pytest.raises(DunlinError, match="no http or https URL") as caught:
            endpoint_of(login)
        assert caught.value.kind is ErrorKind.USAGE


def test_a_metadata_service_that_cannot_be_right_is_refused() -> None:
    with pytest.raises(DunlinError, match="IDENTITY_ENDPOINT is no"):
        managed("http://[::1")
