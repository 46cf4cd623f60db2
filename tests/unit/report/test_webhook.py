"""Messages to a webhook: a listener on loopback says how it likes them."""

from __future__ import annotations

import json
import socket
import ssl
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.report.notify import Notice
from dunlin.report.webhook import Webhook, payload, post, webhook_of
from tests.servers.identity import certificate
from tests.unit.stores.objects.azure_stub import Asked, Reply, stub

NOTICE = Notice(
    "failure", 1_000_000.0, "host", "dunlin on host: failed: /a -> /b", ("Sync failed <!channel> & more",),
    {"exit_code": 2, "stats": {"copied_files": 3}, "errors": ["a: b"], "source": "/a", "rate": 1.5, "run": None},
)  # fmt: skip
SECRET = "T0K3N"


def test_slack_takes_one_text_without_markup() -> None:
    assert payload("slack", NOTICE) == {
        "text": "dunlin on host: failed: /a -&gt; /b\nSync failed &lt;!channel&gt; &amp; more"
    }
    long = NOTICE._replace(text=("x" * 10_000,))
    assert len(payload("slack", long)["text"]) < 4_000


def test_json_tells_all() -> None:
    told = payload("json", NOTICE)
    assert json.loads(json.dumps(told)) == told
    assert told["event"] == "failure"
    assert told["time"] == "1970-01-12T13:46:40Z"
    assert (told["program"], told["host"], told["subject"]) == ("dunlin", "host", NOTICE.subject)
    assert (told["exit_code"], told["stats"], told["errors"]) == (2, {"copied_files": 3}, ["a: b"])
    assert payload("json", NOTICE._replace(fields={"event": "x", "path": "\udcff\n"}))["path"] == "\\xff\\n"


@pytest.mark.parametrize("form", ["slack", "json"])
def test_it_is_posted(form: str) -> None:
    with stub(lambda asked: Reply(204)) as server:
        hook = webhook_of(f"{server.url}/services/{SECRET}?x={SECRET}", form)
        post(hook, NOTICE)
    [asked] = server.asked
    assert (asked.method, asked.target) == ("POST", f"/services/{SECRET}?x={SECRET}")
    assert asked.headers["content-type"] == "application/json; charset=utf-8"
    assert json.loads(asked.body) == payload(form, NOTICE)


@pytest.mark.parametrize(("status", "kind", "words"), [
    (500, ErrorKind.BUSY, "HTTP 500"), (503, ErrorKind.BUSY, "HTTP 503"), (429, ErrorKind.BUSY, "HTTP 429"),
    (404, ErrorKind.AUTH, "still in force"), (400, ErrorKind.IO, "HTTP 400"), (302, ErrorKind.IO, "redirects"),
])  # fmt: skip
def test_what_the_server_answers(status: int, kind: ErrorKind, words: str) -> None:
    def answer(asked: Asked) -> Reply:
        return Reply(status, SECRET.encode(), {"Retry-After": "7", "Location": f"http://127.0.0.1:1/{SECRET}"})

    with stub(answer) as server, pytest.raises(DunlinError) as raised:
        post(webhook_of(f"{server.url}/{SECRET}"), NOTICE)
    error = raised.value
    assert (error.kind, error.where, error.retry_after) == (kind, server.url, 7.0)
    assert words in str(error)
    assert SECRET not in str(error)
    assert len(server.asked) == 1


def test_nobody_there() -> None:
    with socket.socket() as taken:  # nobody listens there, and nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        hook = webhook_of(f"http://127.0.0.1:{taken.getsockname()[1]}/{SECRET}")
        with pytest.raises(DunlinError) as raised:
            post(hook, NOTICE)
    assert (raised.value.kind, raised.value.reason) == (ErrorKind.NETWORK, "Connection refused")
    assert raised.value.__cause__ is None


def test_a_host_that_nobody_knows() -> None:
    with pytest.raises(DunlinError) as raised:
        post(webhook_of(f"https://no-such-host.invalid/{SECRET}"), NOTICE, timeout=5)
    assert raised.value.kind is ErrorKind.NETWORK
    assert SECRET not in str(raised.value)


def test_one_who_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hook = webhook_of(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        with pytest.raises(DunlinError) as raised:
            post(hook, NOTICE, timeout=0.05)
    assert (raised.value.kind, raised.value.reason) == (ErrorKind.TIMEOUT, "no answer in time")


def test_one_who_speaks_something_else() -> None:
    with stub(lambda asked: Reply(200)) as server:
        hook = webhook_of(server.url.replace("http:", "https:"))
        with pytest.raises(DunlinError) as raised:
            post(hook, NOTICE, timeout=5)
    assert raised.value.kind in (ErrorKind.UNSUPPORTED, ErrorKind.NETWORK)


def test_tls_must_be_trusted(tmp_path: Path) -> None:
    tls = certificate(tmp_path / "cert.pem")
    with stub(lambda asked: Reply(200), tls) as server:
        hook = webhook_of(f"{server.url}/{SECRET}")
        with pytest.raises(DunlinError) as raised:
            post(hook, NOTICE)
        assert not server.asked
        post(hook, NOTICE, tls=ssl.create_default_context(cafile=str(tmp_path / "cert.pem")))
        assert len(server.asked) == 1
    assert raised.value.kind is ErrorKind.AUTH
    assert not raised.value.retryable
    assert "its certificate is not trusted" in str(raised.value)


@pytest.mark.parametrize(("url", "shown"), [
    (f"https://hooks.example/{SECRET}", "https://hooks.example"), (f"http://localhost:80/{SECRET}", "http://localhost"),
    (f"http://[::1]:8080/{SECRET}", "http://[::1]:8080"), (f"https://h:8443?{SECRET}", "https://h:8443"),
])  # fmt: skip
def test_of_an_address_the_host_alone_is_shown(url: str, shown: str) -> None:
    hook = webhook_of(url)
    assert hook.shown == shown
    assert SECRET not in repr(hook)
    assert isinstance(hook, Webhook)
    assert SECRET in hook.target


@pytest.mark.parametrize("url", [
    f"ftp://h/{SECRET}", f"h/{SECRET}", f"https:///{SECRET}", f"https://h:99999/{SECRET}", f"https://h:0/{SECRET}",
    f"https://u:{SECRET}@h/", f"http://example.com/{SECRET}", f"http://10.0.0.1/{SECRET}", f"https://h/{SECRET} x",
    f"https://h/{SECRET}\r\nX: y", f"https://[::{SECRET}/", f"https://h/{SECRET}é",
])  # fmt: skip
def test_what_is_refused_without_a_word_of_the_secret(url: str) -> None:
    with pytest.raises(DunlinError) as raised:
        webhook_of(url)
    assert raised.value.kind is ErrorKind.USAGE
    assert SECRET not in str(raised.value)
