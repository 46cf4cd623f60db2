"""Stand-ins of the places where one logs in, and a door that lets nobody pass without the token that they gave.

Azurite and the GCS emulator check no tokens, so the door does: what brings the right one goes on to the server behind,
without it, and is dressed as that server wants it; all others are refused as the services refuse them. Which fields
are sent to which address: the Instance Metadata Services of Azure and Google Cloud, Entra's v2.0 endpoints (RFC 6749,
4.4), the Security Token Service's query API.
"""

from __future__ import annotations

import datetime
import http.client
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.unit.stores.objects.azure_stub import Asked, Reply, Stub, stub

Answer = Callable[[Asked], Reply]
_HOP = {"connection", "transfer-encoding", "date", "server", "keep-alive"}


# ---- the door ----


@contextmanager
def door(server: str, token: str, *, query: str = "", tls: ssl.SSLContext | None = None) -> Iterator[Stub]:
    """A server at which only `token` opens; `query` is added to what passes."""
    behind = urlsplit(server).netloc

    def answer(asked: Asked) -> Reply:
        if asked.headers.get("authorization") != f"Bearer {token}":
            return Reply(401, b"", {"x-ms-error-code": "InvalidAuthenticationInfo"})
        target = asked.target + (("&" if "?" in asked.target else "?") + query if query else "")
        connection = http.client.HTTPConnection(behind, timeout=30)
        try:
            connection.putrequest(asked.method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in asked.headers.items():
                if name not in _HOP | {"authorization"}:
                    connection.putheader(name, value)
            connection.endheaders(asked.body or None)
            got = connection.getresponse()
            headers = {name: value for name, value in got.getheaders() if name.lower() not in _HOP}
            body = got.read()
        finally:
            connection.close()
        if "content-length" in {name.lower() for name in headers}:
            headers = {("Content-Length" if name.lower() == "content-length" else name): value
                       for name, value in headers.items()}  # fmt: skip
        return Reply(got.status, body, headers)

    with stub(answer, tls) as found:
        yield found


@contextmanager
def silent() -> Iterator[Answer]:
    """An answer that does not come before the block ends."""
    over = threading.Event()

    def answer(asked: Asked) -> Reply:
        over.wait(60)
        return Reply(503)

    try:
        yield answer
    finally:
        over.set()


# ---- who gives tokens ----


def _json(status: int, said: object, **headers: str) -> Reply:
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps(said).encode(), {"Content-Type": "application/json", **more})


def azure_metadata(token: str) -> Answer:
    """The metadata service of a virtual machine with one identity."""

    def answer(asked: Asked) -> Reply:
        right = asked.path == "/metadata/identity/oauth2/token" and asked.headers.get("metadata") == "true"
        if not right or asked.query.get("resource") != "https://storage.azure.com":
            return _json(400, {"error": "invalid_request", "error_description": "Identity not found"})
        return _json(200, {"access_token": token, "expires_on": str(int(time.time()) + 86400)})

    return answer


def entra(tenant: str, token: str, proof: tuple[str, str]) -> Answer:
    """Entra with one application, which proves itself by the form field and value of `proof`."""

    def answer(asked: Asked) -> Reply:
        origin = f"https://{asked.headers['host']}/{tenant}"
        if asked.path == f"/{tenant}/v2.0/.well-known/openid-configuration":
            endpoints = {"authorization_endpoint": "authorize", "token_endpoint": "token"}
            return _json(200, {"issuer": f"{origin}/v2.0",
                               **{name: f"{origin}/oauth2/v2.0/{end}" for name, end in endpoints.items()}})  # fmt: skip
        said = parse_qs(asked.body.decode())
        if said.get(proof[0]) != [proof[1]]:
            told = said.get(proof[0], ["nothing"])[0]
            text = f"AADSTS7000215: Invalid client secret provided: {told}.\r\nTrace ID: 1"
            return _json(401, {"error": "invalid_client", "error_description": text})
        assert said["scope"][0].startswith("https://storage.azure.com/.default")
        return _json(200, {"token_type": "Bearer", "expires_in": 3599, "access_token": token})

    return answer


def google_tokens(token: str) -> Answer:
    """The token service that the key file of a service account names."""

    def answer(asked: Asked) -> Reply:
        said = parse_qs(asked.body.decode())
        assert said["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        return _json(200, {"access_token": token, "expires_in": 3600, "token_type": "Bearer"})

    return answer


def google_metadata(token: str) -> Answer:
    """The metadata service of a machine at Google."""
    account = {"email": "a@p.iam.gserviceaccount.com", "scopes": [], "aliases": ["default"]}

    def answer(asked: Asked) -> Reply:
        if asked.headers.get("metadata-flavor") != "Google":
            return Reply(403)
        known = {"": "computeMetadata/", "/computeMetadata/v1/project/project-id": "p"}
        if asked.path.endswith("/token"):
            said: object = {"access_token": token, "expires_in": 3600, "token_type": "Bearer"}
        elif "/service-accounts/" in asked.path:
            said = account
        else:
            text = known.get(asked.path.rstrip("/"), "")
            return Reply(200, text.encode(), {"Metadata-Flavor": "Google", "Content-Type": "text/plain"})
        return _json(200, said, Metadata_Flavor="Google")

    return answer


def sts(key_id: str, secret: str, session: str, federated: str = "") -> Answer:
    """The Security Token Service: a role for whoever signs, or for whoever brings the web identity `federated`."""
    expires = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def answer(asked: Asked) -> Reply:
        said = parse_qs(asked.body.decode())
        action = said["Action"][0]
        if federated:
            right = action == "AssumeRoleWithWebIdentity" and said["WebIdentityToken"] == [federated]
        else:
            right = action == "AssumeRole" and asked.headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 ")
        if not right:
            return denied(asked)
        keys = {"AccessKeyId": key_id, "SecretAccessKey": secret, "SessionToken": session, "Expiration": expires}
        inner = "".join(f"<{name}>{value}</{name}>" for name, value in keys.items())
        role = "<AssumedRoleUser><AssumedRoleId>i:dunlin</AssumedRoleId><Arn>arn</Arn></AssumedRoleUser>"
        return _xml(200, f"<{action}Response xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><{action}Result>"
                         f"<Credentials>{inner}</Credentials>{role}</{action}Result></{action}Response>")  # fmt: skip

    return answer


def denied(asked: Asked) -> Reply:
    """How the Security Token Service refuses."""
    error = "<Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not authorized to assume it</Message></Error>"
    return _xml(403, f"<ErrorResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'>{error}</ErrorResponse>")


def _xml(status: int, text: str) -> Reply:
    return Reply(status, text.encode(), {"Content-Type": "text/xml"})


# ---- keys ----


def certificate(path: Path, *names: str) -> ssl.SSLContext:
    """Write a certificate for 127.0.0.1 and `names`, with its key, to `path`; what a server needs to use it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stand-in")])
    now = datetime.datetime.now(datetime.UTC)
    hosts = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), *(x509.DNSName(each) for each in names)]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(hosts), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(_pem(key) + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def key_file(path: Path, token_uri: str) -> str:
    """Write the key file of a service account; its private key, which nobody may see."""
    private = _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)).decode()
    about = {"type": "service_account", "client_email": "a@p.iam.gserviceaccount.com", "private_key": private}
    path.write_text(json.dumps({**about, "private_key_id": "1", "token_uri": token_uri}))
    return private


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
