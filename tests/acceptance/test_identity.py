"""Logins by an identity: the command line as users write it, stand-ins of the login services, real stores behind.

Each login that works copies a tree, and the log says who answered; each that does not is one line, code 1, soon.
Nothing secret stands in what was printed or written, and nothing leaves this machine (`servers/loopback`).
"""

from __future__ import annotations

import datetime
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.acceptance.clouds import Cloud, cloud
from tests.acceptance.program import CHECKOUT, dunlin, environment
from tests.servers import identity
from tests.servers.azurite import Azurite
from tests.servers.identity import Answer, certificate, door
from tests.unit.stores.objects.azure_stub import Reply, stub

FILES = {"a": b"one", "d/b": b"two", "d/e/c": b"three"}
TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "66666666-7777-8888-9999-000000000000"
ROLE = "arn:aws:iam::123456789012:role/reader"
PATIENCE = 20.0
"""Seconds after which a login has failed: ten, and as many for the start of the program on a busy machine."""


@dataclass
class Desk:
    """Where a test calls the program from; `secret` makes texts that must be seen nowhere afterwards."""

    root: Path
    cwd: Path
    env: dict[str, str]
    made: list[str] = field(default_factory=list)

    @property
    def target(self) -> Path:
        return self.root / "target"

    @property
    def strayed(self) -> Path:
        return self.root / "strayed"

    def secret(self, *texts: str) -> str:
        """A new secret, or those that exist already."""
        self.made += texts or [secrets.token_hex(16)]
        return self.made[-1]

    def file(self, name: str, text: str) -> str:
        path = self.root / name
        path.write_text(text)
        return str(path)

    def program(self, name: str, script: str) -> None:
        """Put a program before all others."""
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def copies(self, *words: str | Path, by: str, env: Mapping[str, str]) -> None:
        """The tree arrives, and the log says who let us in."""
        done = dunlin("sync", *words, self.target, cwd=self.cwd, env=self.env | dict(env), expect=0)
        assert {str(path.relative_to(self.target)): path.read_bytes()
                for path in self.target.rglob("*") if path.is_file()} == FILES  # fmt: skip
        answered = [line for line in done.stderr.splitlines() if "logged in to" in line]
        assert [line.rpartition(" by ")[2] for line in answered] == ([by] if by else []), done.stderr
        self.nothing_shows(done.stdout + done.stderr)

    def refused(self, *words: str | Path, says: str, env: Mapping[str, str]) -> None:
        """One clear line, code 1, soon."""
        began = time.monotonic()
        done = dunlin("sync", *words, self.target, cwd=self.cwd, env=self.env | dict(env))
        took = time.monotonic() - began
        assert done.returncode == 1, done.stderr
        lines = [line for line in done.stderr.splitlines() if line.startswith("dunlin: ")]
        assert len(lines) == 1, done.stderr
        assert says in lines[0]
        others = [line for line in done.stderr.splitlines() if line not in lines]
        assert [line for line in others if " INFO  " not in line] == [], done.stderr
        assert took < PATIENCE, done.stderr
        self.nothing_shows(done.stdout + done.stderr)

    def nothing_shows(self, printed: str) -> None:
        """No secret in what was printed, nor in any file that the program wrote."""
        home = self.cwd.parent / f".home-{self.cwd.name}"
        for path in [*self.cwd.rglob("*"), *home.rglob("*"), *self.target.rglob("*")]:
            if path.is_file():
                printed += path.read_bytes().decode("latin-1")
        assert [text for text in self.made if text in printed] == []


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    root, cwd = tmp_path, tmp_path / "cwd"
    cwd.mkdir()
    (root / "bin").mkdir()
    loopback = CHECKOUT / "tests" / "servers" / "loopback"
    env = {"PYTHONPATH": f"{loopback}{os.pathsep}{environment(cwd)['PYTHONPATH']}", "STRAYED": str(root / "strayed"),
           "PATH": f"{root / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin", "NO_PROXY": "*"}  # fmt: skip
    made = Desk(root, cwd, env)
    yield made
    assert not made.strayed.exists(), f"it would have left this machine: {made.strayed.read_text()}"


@pytest.fixture
def nobody() -> Iterator[str]:
    """host:port on loopback where nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_what_would_leave_this_machine_is_stopped_and_noted(desk: Desk) -> None:
    """The net below all other tests of this file: an address of documentation's (RFC 5737), and a name."""
    for host in ("192.0.2.1", "storage.example"):
        done = dunlin("sync", f"--s3-endpoint=http://{host}", "--s3-anonymous", "s3://bucket", desk.target,
                      cwd=desk.cwd, env=desk.env)  # fmt: skip
        assert done.returncode == 1
        assert set(desk.strayed.read_text().split()) == {host}
        desk.strayed.unlink()


# ---- Azure ----


@pytest.fixture
def blobs(request: pytest.FixtureRequest) -> Cloud:
    """A container with the tree."""
    made = cloud(request, "az")
    made.put(FILES)
    return made


@contextmanager
def azure_door(server: Azurite, token: str) -> Iterator[list[str]]:
    """A blob service that wants that token: the options that lead there."""
    from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    everything = ResourceTypes(service=True, container=True, object=True)
    may = AccountSasPermissions.from_string("rwdlacup")
    query = generate_account_sas(server.account, server.key, everything, may, until)
    with door(server.url, token, query=query) as found:
        yield [f"--azure-endpoint={found.url}/{server.account}", f"--account-name={server.account}"]


@contextmanager
def at_entra(desk: Desk, answer: Answer) -> Iterator[dict[str, str]]:
    """Entra's stand-in, which the program trusts: the variables that lead there."""
    path = desk.root / "entra.pem"
    with stub(answer, certificate(path)) as found:
        yield {"AZURE_AUTHORITY_HOST": found.url, "REQUESTS_CA_BUNDLE": str(path)}


PRINCIPAL = (f"--tenant-id={TENANT}", f"--client-id={CLIENT}")
WORKLOAD = ("--use-workload-identity", *PRINCIPAL)


def test_managed_identity(desk: Desk, blobs: Cloud, azurite: Azurite) -> None:
    token = desk.secret()
    with stub(identity.azure_metadata(token)) as metadata, azure_door(azurite, token) as options:
        env = {"IDENTITY_ENDPOINT": metadata.url}
        desk.copies("--use-managed-identity", *options, blobs.url, by="managed identity", env=env)
        assert metadata.asked


def test_service_principal(desk: Desk, blobs: Cloud, azurite: Azurite) -> None:
    token, secret = desk.secret(), desk.secret()
    with (
        at_entra(desk, identity.entra(TENANT, token, ("client_secret", secret))) as env,
        azure_door(azurite, token) as options,
    ):
        env["AZURE_CLIENT_SECRET"] = secret
        desk.copies(*PRINCIPAL, *options, blobs.url, by="service principal", env=env)


def test_workload_identity(desk: Desk, blobs: Cloud, azurite: Azurite) -> None:
    token, federated = desk.secret(), desk.secret()
    with (
        at_entra(desk, identity.entra(TENANT, token, ("client_assertion", federated))) as env,
        azure_door(azurite, token) as options,
    ):
        env["AZURE_FEDERATED_TOKEN_FILE"] = desk.file("federated", federated)
        desk.copies(*WORKLOAD, *options, blobs.url, by="workload identity", env=env)


@pytest.mark.parametrize("flags", [("--use-azure-cli",), ()])
def test_azure_cli(desk: Desk, blobs: Cloud, azurite: Azurite, nobody: str, flags: tuple[str, ...]) -> None:
    """Asked for, and found by the default chain because it is the first that answers."""
    token = desk.secret()
    desk.program("az", f"""echo '{{"accessToken": "{token}", "expires_on": 4070908800}}'""")
    with azure_door(azurite, token) as options:
        env = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://{nobody}"}
        desk.copies(*flags, *options, blobs.url, by="Azure CLI", env=env)


def test_a_token_lets_us_write_too(desk: Desk, request: pytest.FixtureRequest, azurite: Azurite) -> None:
    token, there = desk.secret(), cloud(request, "az")
    source = desk.root / "source"
    for name, body in FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(body)
    desk.program("az", f"""echo '{{"accessToken": "{token}", "expires_on": 4070908800}}'""")
    with azure_door(azurite, token) as options:
        dunlin("sync", "--use-azure-cli", *options, source, there.url, cwd=desk.cwd, env=desk.env, expect=0)
    assert there.content() == FILES


def test_a_token_that_the_store_does_not_take(desk: Desk, blobs: Cloud, azurite: Azurite) -> None:
    token = desk.secret()
    desk.program("az", f"""echo '{{"accessToken": "{token}", "expires_on": 4070908800}}'""")
    with azure_door(azurite, "another") as options:
        desk.refused("--use-azure-cli", *options, blobs.url, says="check the login", env={})


def azure(*flags: str) -> list[str]:
    """An account that nobody gets as far as."""
    return [*flags, "--account-name=acc", "az://container"]


def test_a_managed_identity_that_is_not_there(desk: Desk, nobody: str) -> None:
    said = b'{"error":"invalid_request","error_description":"Identity not found"}'
    with stub(lambda asked: Reply(400, said)) as found:
        env = {"IDENTITY_ENDPOINT": found.url}
        desk.refused(*azure("--use-managed-identity"), says="managed identity: ", env=env)
    env = {"IDENTITY_ENDPOINT": f"http://{nobody}"}
    desk.refused(*azure("--use-managed-identity"), says="is this a machine with an identity?", env=env)


def test_a_service_principal_that_is_refused(desk: Desk) -> None:
    """Entra quotes the wrong secret, which is somebody's password all the same."""
    with at_entra(desk, identity.entra(TENANT, desk.secret(), ("client_secret", desk.secret()))) as env:
        env["AZURE_CLIENT_SECRET"] = desk.secret()
        desk.refused(*azure(*PRINCIPAL), says="service principal: ", env=env)


def test_a_workload_identity_that_is_refused(desk: Desk) -> None:
    with at_entra(desk, identity.entra(TENANT, desk.secret(), ("client_assertion", desk.secret()))) as env:
        # A signed token of RFC 7519: two JSON objects and the signature.
        env["AZURE_FEDERATED_TOKEN_FILE"] = desk.file("federated", f"eyJh.eyJz.{desk.secret()}")
        desk.refused(*azure(*WORKLOAD), says="workload identity: ", env=env)
        env["AZURE_FEDERATED_TOKEN_FILE"] = str(desk.root / "nothing")
        desk.refused(*azure(*WORKLOAD), says="workload identity: ", env=env)


def test_an_azure_cli_without_a_login(desk: Desk) -> None:
    desk.refused(*azure("--use-azure-cli"), says="Azure CLI", env={})
    desk.program("az", "echo \"ERROR: Please run 'az login' to setup account.\" >&2; exit 1")
    desk.refused(*azure("--use-azure-cli"), says="Please run 'az login'", env={})


def test_nobody_in_the_default_chain(desk: Desk, nobody: str) -> None:
    env = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://{nobody}"}
    desk.refused(*azure(), says="nobody has a token", env=env)


@pytest.mark.parametrize("way", ["managed identity", "service principal", "workload identity"])
def test_a_login_service_of_azure_that_falls_silent(desk: Desk, way: str) -> None:
    with identity.silent() as answer:
        if way == "managed identity":
            with stub(answer) as found:
                env = {"IDENTITY_ENDPOINT": found.url}
                desk.refused(*azure("--use-managed-identity"), says=f"{way}: ", env=env)
            return
        with at_entra(desk, answer) as env:
            more = {"AZURE_CLIENT_SECRET": desk.secret()}
            if way == "workload identity":
                more = {"AZURE_FEDERATED_TOKEN_FILE": desk.file("federated", desk.secret())}
            flags = PRINCIPAL if way == "service principal" else WORKLOAD
            desk.refused(*azure(*flags), says=f"{way}: ", env=env | more)


# ---- S3 ----


@pytest.fixture
def objects(request: pytest.FixtureRequest, desk: Desk) -> Cloud:
    """A bucket with the tree at a server that checks signatures."""
    made = cloud(request, "fast")
    made.put(FILES)
    desk.secret(made.env["AWS_SECRET_ACCESS_KEY"])
    return made


def keys(desk: Desk, key_id: str, secret: str, config: str = "") -> dict[str, str]:
    """Files of the AWS SDKs with a profile named work."""
    text = f"[work]\naws_access_key_id = {key_id}\naws_secret_access_key = {secret}\n"
    return {
        "AWS_SHARED_CREDENTIALS_FILE": desk.file("credentials", text),
        "AWS_CONFIG_FILE": desk.file("config", config),
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def test_s3_profile(desk: Desk, objects: Cloud) -> None:
    env = keys(desk, objects.env["AWS_ACCESS_KEY_ID"], objects.env["AWS_SECRET_ACCESS_KEY"])
    by = "profile work (credentials file)"
    desk.copies("--s3-profile=work", *objects.options(), objects.url, by=by, env=env)


def test_s3_role(desk: Desk, objects: Cloud) -> None:
    """The profile's own keys open nothing but the role."""
    session = desk.secret()
    answer = identity.sts(objects.env["AWS_ACCESS_KEY_ID"], objects.env["AWS_SECRET_ACCESS_KEY"], session)
    with stub(answer) as found, objects.through() as (there, proxy):
        env = keys(desk, "AKIAOTHER", desk.secret()) | {"AWS_ENDPOINT_URL_STS": found.url}
        words = ["--s3-profile=work", f"--s3-role-arn={ROLE}", *there.options(), there.url]
        desk.copies(*words, by=f"profile work (role {ROLE})", env=env)
        assert {each.headers.get("x-amz-security-token") for each in proxy.seen()} == {session}


@pytest.mark.parametrize("by", ["profile pod (web identity)", "web identity"])
def test_s3_web_identity(desk: Desk, objects: Cloud, by: str) -> None:
    """As a profile names it, and as a cluster puts it into the environment."""
    federated, session = desk.secret(), desk.secret()
    answer = identity.sts(objects.env["AWS_ACCESS_KEY_ID"], objects.env["AWS_SECRET_ACCESS_KEY"], session, federated)
    path = desk.file("federated", federated)
    with stub(answer) as found:
        config = f"[profile pod]\nrole_arn = {ROLE}\nweb_identity_token_file = {path}\n"
        env = keys(desk, "AKIAOTHER", desk.secret(), config) | {"AWS_ENDPOINT_URL_STS": found.url}
        flags = ["--s3-profile=pod"] if by.startswith("profile") else []
        if not flags:
            env |= {"AWS_ROLE_ARN": ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": path}
        desk.copies(*flags, *objects.options(), "--s3-region=us-east-1", objects.url, by=by, env=env)


def test_s3_anonymous(desk: Desk, request: pytest.FixtureRequest) -> None:
    """Keys that happen to be set are not used."""
    there = cloud(request, "s3")
    there.put(FILES)
    client = request.getfixturevalue("moto_s3").client()
    for key in FILES:
        client.put_object_acl(Bucket=there.url.partition("://")[2], Key=key, ACL="public-read")
    client.close()
    with there.through() as (seen, proxy):
        env = {"AWS_ACCESS_KEY_ID": "AKIAOTHER", "AWS_SECRET_ACCESS_KEY": desk.secret()}
        desk.copies("--s3-anonymous", *seen.options(), seen.url, by="", env=env)
        assert proxy.seen()
        assert not [each for each in proxy.seen() if "authorization" in each.headers]


def test_nobody_is_let_in(desk: Desk, objects: Cloud) -> None:
    desk.refused("--s3-anonymous", *objects.options(), objects.url, says="check the access key", env={})


def test_a_profile_that_is_not_there(desk: Desk) -> None:
    env = keys(desk, "AKIAOTHER", desk.secret())
    desk.refused("--s3-profile=play", "s3://bucket", says="play", env=env)
    desk.refused("s3://bucket", says="no S3 credentials were found", env=env)


def test_a_role_that_is_refused(desk: Desk, nobody: str) -> None:
    words = ["--s3-profile=work", f"--s3-role-arn={ROLE}", "s3://bucket"]
    env = keys(desk, "AKIAOTHER", desk.secret())
    with stub(identity.denied) as found:
        desk.refused(*words, says="AccessDenied", env=env | {"AWS_ENDPOINT_URL_STS": found.url})
    desk.refused(*words, says=nobody, env=env | {"AWS_ENDPOINT_URL_STS": f"http://{nobody}"})


@pytest.mark.parametrize("way", ["role", "web identity"])
def test_a_login_service_of_s3_that_falls_silent(desk: Desk, way: str) -> None:
    path = desk.file("federated", desk.secret())
    config = f"[profile pod]\nrole_arn = {ROLE}\nweb_identity_token_file = {path}\n"
    words = ["--s3-profile=work", f"--s3-role-arn={ROLE}"] if way == "role" else ["--s3-profile=pod"]
    with identity.silent() as answer, stub(answer) as found:
        env = keys(desk, "AKIAOTHER", desk.secret(), config) | {"AWS_ENDPOINT_URL_STS": found.url}
        desk.refused(*words, "s3://bucket", says=found.url, env=env)


def test_a_web_identity_that_is_refused(desk: Desk) -> None:
    path = desk.file("federated", desk.secret())
    config = f"[profile pod]\nrole_arn = {ROLE}\nweb_identity_token_file = {path}\n"
    with stub(identity.denied) as found:
        env = keys(desk, "AKIAOTHER", desk.secret(), config) | {"AWS_ENDPOINT_URL_STS": found.url}
        desk.refused("--s3-profile=pod", "s3://bucket", says="AccessDenied", env=env)


# ---- Google Cloud ----


@pytest.fixture
def stored(request: pytest.FixtureRequest) -> Cloud:
    """A bucket of Google Cloud's with the tree."""
    made = cloud(request, "gs")
    made.put(FILES)
    return made


def test_gcs_service_account(desk: Desk, stored: Cloud) -> None:
    token = desk.secret()
    with stub(identity.google_tokens(token)) as tokens, door(stored.origin, token) as found:
        desk.secret(*identity.key_file(desk.root / "key.json", f"{tokens.url}/token").split("\n")[1:-2])
        words = [f"--gcs-service-account={desk.root / 'key.json'}", f"--gcs-endpoint={found.url}", stored.url]
        desk.copies(*words, by="service account", env={})


def metadata_at(host: str) -> dict[str, str]:
    return {"GCE_METADATA_HOST": host, "GCE_METADATA_IP": host, "GCE_METADATA_ROOT": host}


def test_gcs_metadata_server(desk: Desk, stored: Cloud) -> None:
    """Tokens of the machine are for Google alone, so here its name leads to the door."""
    token, pem = desk.secret(), desk.root / "google.pem"
    with (
        stub(identity.google_metadata(token)) as metadata,
        door(stored.origin, token, tls=certificate(pem, "storage.googleapis.com")) as found,
    ):
        leads = f"storage.googleapis.com:443={found.url.rpartition('/')[2]}"
        env = metadata_at(metadata.url.rpartition("/")[2]) | {"STAND_IN_HOSTS": leads, "SSL_CERT_FILE": str(pem)}
        desk.copies(stored.url, by="metadata server", env=env)


def test_a_service_account_that_is_refused(desk: Desk, nobody: str) -> None:
    def refuse(at: str, says: str) -> None:
        desk.secret(*identity.key_file(desk.root / "key.json", f"{at}/token").split("\n")[1:-2])
        desk.refused(f"--gcs-service-account={desk.root / 'key.json'}", "gs://bucket", says=says, env={})

    with stub(lambda asked: Reply(400, b'{"error": "invalid_grant", "error_description": "Invalid JWT"}')) as found:
        refuse(found.url, "invalid_grant")
    refuse(f"http://{nobody}", "does not answer")
    with identity.silent() as answer, stub(answer) as found:
        refuse(found.url, "does not answer")


def test_a_machine_that_is_not_at_google(desk: Desk, nobody: str) -> None:
    desk.refused("gs://bucket", says="log in to Google Cloud", env=metadata_at(nobody))


def test_a_token_that_google_does_not_take(desk: Desk, stored: Cloud) -> None:
    token = desk.secret()
    with stub(identity.google_tokens(token)) as tokens, door(stored.origin, "another") as found:
        identity.key_file(desk.root / "key.json", f"{tokens.url}/token")
        words = [f"--gcs-service-account={desk.root / 'key.json'}", f"--gcs-endpoint={found.url}", stored.url]
        desk.refused(*words, says="401", env={})
