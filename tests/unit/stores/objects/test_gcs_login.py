"""Logins to Google Cloud: files, the token service (a stand-in on loopback), renewal, and what a failure says."""

from __future__ import annotations

import base64
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from dunlin.errors import DunlinError, ErrorKind
from dunlin.stores.login import Login
from dunlin.stores.objects import gcs_login
from dunlin.stores.objects.gcs_login import PAUSE, Renewed, Tokens, tokens
from tests.unit.stores.objects.azure_stub import Asked, Reply, Stub, stub

LONG, SHORT = 3600, 100
"""Seconds that a token lasts; one of the second kind is to be renewed from the beginning (225 seconds are left)."""


@pytest.fixture(scope="module")
def private_key() -> str:
    """An RSA key in PEM, as Google Cloud makes them."""
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.PKCS8
    return made.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


@pytest.fixture(autouse=True)
def no_identity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No login of this machine, and no search for a machine's. What was opened is closed."""
    for name in [name for name in os.environ if name.startswith(("GOOGLE_", "CLOUDSDK_", "GCE_"))]:
        monkeypatch.delenv(name)
    for name, value in (("HOME", str(tmp_path)), ("CLOUDSDK_CONFIG", str(tmp_path)), ("NO_GCE_CHECK", "true"),
                        ("NO_PROXY", "*"), ("PATH", str(tmp_path))):  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(socket, "getaddrinfo", loopback_only(socket.getaddrinfo))
    yield
    while CLOSING:
        CLOSING.pop()()


def loopback_only(real: Callable[..., Any]) -> Callable[..., Any]:
    """`getaddrinfo` for tests: google-auth knows addresses of its own, and no test may reach them."""

    def resolve(host: object, *more: Any, **named: Any) -> Any:
        assert host in ("127.0.0.1", "localhost"), f"a test was about to reach {host}"
        return real(host, *more, **named)

    return resolve


CLOSING: list[Callable[[], object]] = []


def opened(**login: str) -> Tokens:
    made = tokens(Login(login))
    CLOSING.append(made.close)
    return made


def key_file(url: str, private_key: str, **more: object) -> str:
    about = {"type": "service_account", "client_email": "a@p.iam.gserviceaccount.com", "private_key": private_key}
    return json.dumps({**about, "private_key_id": "1", "token_uri": f"{url}/token", **more})


def token(text: str, seconds: int = LONG) -> Reply:
    said = {"access_token": text, "expires_in": seconds, "token_type": "Bearer"}
    return Reply(200, json.dumps(said).encode(), {"Connection": "close"})


def numbered(seconds: int) -> Callable[[Asked], Reply]:
    """Tokens t1, t2, ... that last so many seconds."""
    given: list[str] = []

    def answer(asked: Asked) -> Reply:
        given.append(f"t{len(given) + 1}")
        return token(given[-1], seconds)

    return answer


def refused(act: Callable[[], object], *secrets: str) -> DunlinError:
    with pytest.raises(DunlinError) as caught:
        act()
    error: BaseException | None = caught.value
    while error is not None:
        for secret in secrets:
            assert secret not in f"{error!r}{error}"
        error = error.__cause__
    return caught.value


# ---- what is given ----


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("s3cret", "is not JSON"),
        ("[]", "is not JSON"),
        ('"s3cret"', "is not JSON"),
        ('{"client_email": "a", "private_key": "s3cret"}', "no token_uri"),
        ('{"client_email": "a", "token_uri": "s3cret"}', "no private_key"),
        ('{"private_key": "s3cret", "token_uri": "u"}', "no client_email"),
        ('{"client_email": "a", "private_key": 5, "token_uri": "u"}', "no private_key"),
        ('{"client_email": "a", "private_key": "s3cret", "token_uri": "u"}', "cannot be read"),
        ('{"type": "s3cret"}', "of a kind"),
        ('{"type": "authorized_user", "client_id": "s3cret"}', "user's login cannot be read"),
    ],
)
def test_a_key_file_that_is_none(text: str, words: str) -> None:
    error = refused(lambda: opened(service_account=text), "s3cret")
    assert error.kind is ErrorKind.USAGE
    assert words in error.reason


@pytest.mark.parametrize(
    "endpoint", ["localhost:9023", "http://", "http://host:port", "ftp://host", "http://me:s3cret@host", "http://host/p",
                 "http://host?s3cret"],
)  # fmt: skip
def test_an_endpoint_that_is_none(endpoint: str) -> None:
    error = refused(lambda: opened(endpoint=endpoint), "s3cret")
    assert (error.kind, error.hint) == (ErrorKind.USAGE, "--gcs-endpoint")


def test_an_account_and_nobody_exclude_each_other() -> None:
    assert refused(lambda: opened(service_account="{}", anonymous="true")).kind is ErrorKind.USAGE


@pytest.mark.parametrize(
    ("login", "given"),
    [
        ({"anonymous": "true"}, False),
        ({"endpoint": "http://127.0.0.1:9"}, False),
        ({"endpoint": "https://storage.example"}, False),
        ({"endpoint": "https://googleapis.com.example"}, False),
        ({"endpoint": "http://storage.googleapis.com"}, False),
        ({"endpoint": "https://storage.me-central2.rep.googleapis.com"}, True),
        ({}, True),
    ],
)
def test_who_gets_tokens_of_the_default_chain(login: dict[str, str], given: bool) -> None:
    made = opened(**login)
    assert made.given is given
    if not given:
        assert made.current() == ""


# ---- tokens ----


def test_a_service_account_asks_once_and_for_storage_alone(private_key: str) -> None:
    with stub(numbered(LONG)) as server:
        made = opened(service_account=key_file(server.url, private_key), endpoint="http://127.0.0.1:9")
        assert server.asked == []
        assert [made.current() for _ in range(5)] == ["t1"] * 5
        assert [asked.path for asked in server.asked] == ["/token"]
        said = parse_qs(server.asked[0].body.decode())
        assert said["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        claims = json.loads(_base64(said["assertion"][0].split(".")[1]))
        assert (claims["iss"], claims["scope"]) == ("a@p.iam.gserviceaccount.com", gcs_login.SCOPE)


def _base64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_tokens_are_renewed_before_they_expire(private_key: str) -> None:
    with stub(numbered(SHORT)) as server:
        made = opened(service_account=key_file(server.url, private_key))
        assert [made.current() for _ in range(3)] == ["t1", "t2", "t3"]


def test_one_renews_and_the_others_go_on_with_the_old_token(private_key: str) -> None:
    began, goes_on = threading.Event(), threading.Event()
    first = numbered(SHORT)

    def answer(asked: Asked) -> Reply:
        if len(server.asked) > 1:
            began.set()
            assert goes_on.wait(30)
        return first(asked)

    with stub(answer) as server:
        made = opened(service_account=key_file(server.url, private_key))
        assert made.current() == "t1"
        got: list[str] = []
        renewing = threading.Thread(target=lambda: got.append(made.current()))
        renewing.start()
        assert began.wait(30)
        assert made.current() == "t1"
        goes_on.set()
        renewing.join()
        assert (got, len(server.asked)) == (["t2"], 2)


def test_while_the_token_service_is_away_the_old_token_is_used_and_nobody_asks_again_at_once(private_key: str) -> None:
    now = [1000.0]
    replies = [token("t1", SHORT), Reply(400, b'{"error": "server_on_holiday"}'), token("t2")]
    with stub(lambda asked: replies.pop(0)) as server:
        made = _renewed(server, private_key, now)
        assert made.current() == "t1"
        assert [made.current() for _ in range(4)] == ["t1"] * 4
        assert len(server.asked) == 2
        now[0] += PAUSE
        assert made.current() == "t2"


def _renewed(server: Stub, private_key: str, now: list[float]) -> Renewed:
    make = gcs_login._from_file(key_file(server.url, private_key))
    made = Renewed(make, lambda: now[0])
    CLOSING.append(made.close)
    return made


def test_a_login_of_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    with stub(numbered(LONG)) as server:
        # Such a file cannot name the service: google-auth always asks Google's.
        monkeypatch.setattr("google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"{server.url}/token")
        about = {"type": "authorized_user", "client_id": "i", "client_secret": "s3cret", "refresh_token": "r"}
        made = opened(service_account=json.dumps(about))
        assert server.asked == []
        assert (made.current(), made.given) == ("t1", True)


def test_the_default_chain_finds_the_file_of_the_environment(
    private_key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stub(numbered(LONG)) as server:
        (tmp_path / "key.json").write_text(key_file(server.url, private_key, project_id="p"))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        assert opened().current() == "t1"


# ---- failures ----


def test_a_refused_login(private_key: str) -> None:
    text = {"error": "invalid_grant", "error_description": "Invalid JWT s3cret"}
    with stub(lambda asked: Reply(400, json.dumps(text).encode())) as server:
        made = opened(service_account=key_file(server.url, private_key))
        error = refused(made.current, "s3cret", private_key.split("\n")[1])
        assert (error.kind, error.reason) == (ErrorKind.AUTH, "no token: invalid_grant")
        assert "--gcs-service-account" in error.hint
        assert refused(made.current) is error
        assert len(server.asked) == 1


def test_an_answer_that_is_no_token(private_key: str) -> None:
    with stub(lambda asked: Reply(200, b"<html>s3cret</html>")) as server:
        error = refused(opened(service_account=key_file(server.url, private_key)).current, "s3cret")
        assert (error.kind, error.reason) == (ErrorKind.AUTH, "no token: TypeError")


def test_nobody_has_a_token() -> None:
    error = refused(opened().current)
    assert (error.kind, error.reason) == (ErrorKind.AUTH, "no token: DefaultCredentialsError")


def test_a_token_service_that_is_not_there(private_key: str) -> None:
    with socket.socket() as taken:  # nobody listens there, and nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        began = time.monotonic()
        error = refused(opened(service_account=key_file(url, private_key)).current)
    assert (error.kind, error.reason) == (ErrorKind.AUTH, "the login service of Google Cloud does not answer")
    assert time.monotonic() - began < 5


def test_a_token_service_that_does_not_answer(private_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcs_login, "PATIENCE", 0.2)
    goes_on = threading.Event()

    def silent(asked: Asked) -> Reply:
        goes_on.wait(30)
        return token("late")

    with stub(silent) as server:
        made = opened(service_account=key_file(server.url, private_key))
        began = time.monotonic()
        error = refused(made.current)
        assert (error.kind, time.monotonic() - began < 5) == (ErrorKind.AUTH, True)
        goes_on.set()


def test_a_token_service_that_falls_silent_may_come_back(private_key: str) -> None:
    now = [1000.0]
    with stub(numbered(-1)) as server:
        made = _renewed(server, private_key, now)
        made.current()
    error = refused(made.current)
    assert (error.kind, error.retryable) == (ErrorKind.NETWORK, True)
