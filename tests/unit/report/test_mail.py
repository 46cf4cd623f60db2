"""Messages by e-mail, handed to a server on loopback."""

from __future__ import annotations

import base64
import socket
import ssl
from pathlib import Path

import pytest

from dunlin.errors import DunlinError, ErrorKind
from dunlin.report import mail as mails
from dunlin.report.mail import Mail, deliver, mail_of
from dunlin.report.notify import Notice
from tests.servers.identity import certificate
from tests.servers.mail import MailServer, Manners, mail_server

NOTICE = Notice("failure", 1_000_000.0, "host", "dunlin on host: failed: /ä -> /b", ("line one", ".dot", "bad\r\nX: y"))
PASSWORD = "Pa55-w0rd"


def way(server: MailServer, scheme: str = "smtp", user: str = "", password: str = "") -> Mail:
    login = f"{user}@" if user else ""
    return mail_of(("a@example.com", "b@example.com"), f"{scheme}://{login}127.0.0.1:{server.port}", password)


@pytest.fixture
def trusted(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a server needs, and what trusts it."""
    made = certificate(tmp_path / "cert.pem")
    return made, ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))


def refused(mail: Mail, **more: object) -> DunlinError:
    with pytest.raises(DunlinError) as raised:
        deliver(mail, NOTICE, "here", **more)  # type: ignore[arg-type]
    error = raised.value
    for secret in (PASSWORD, base64.b64encode(PASSWORD.encode()).decode()):
        assert secret not in f"{error!s}{error!r}{error.__cause__}"
    assert (error.operation, error.where) == ("send a message by", mail.shown)
    return error


def test_a_message_arrives() -> None:
    with mail_server() as server:
        deliver(way(server), NOTICE, "my host_1")
    [taken] = server.taken
    assert (taken.to, taken.secured, taken.user) == (["a@example.com", "b@example.com"], False, "")
    assert taken.sender == taken.message["From"] == "dunlin@localhost"
    assert taken.message["To"] == "a@example.com, b@example.com"
    assert taken.message["Subject"] == "dunlin on host: failed: /ä -> /b"
    assert taken.message["Date"] == "Mon, 12 Jan 1970 13:46:40 -0000"
    assert taken.message["Auto-Submitted"] == "auto-generated"
    assert taken.message["Message-ID"].endswith("@my-host-1>")
    assert taken.message.get_content().splitlines() == [
        "dunlin on host: failed: /ä -> /b", "", "line one", ".dot", "bad\\r\\nX: y", "", "1970-01-12 13:46:40 UTC",
    ]  # fmt: skip
    assert server.said[0] == "ehlo my-host-1"


def test_starttls_before_the_login(trusted: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    tls, trust = trusted
    with mail_server(Manners(tls=tls, login=("me", PASSWORD))) as server:
        deliver(way(server, user="me", password=PASSWORD), NOTICE, "here", tls=trust)
    [taken] = server.taken
    assert (taken.secured, taken.user) == (True, "me")
    verbs = [line.partition(" ")[0].upper() for line in server.said]
    assert verbs.index("STARTTLS") < verbs.index("AUTH")


def test_tls_from_the_beginning(trusted: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    tls, trust = trusted
    with mail_server(Manners(tls=tls, implicit=True, login=("me", PASSWORD))) as server:
        deliver(way(server, "smtps", "me", PASSWORD), NOTICE, "here", tls=trust)
    assert [(taken.secured, taken.user) for taken in server.taken] == [(True, "me")]


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_tls_must_be_trusted(trusted: tuple[ssl.SSLContext, ssl.SSLContext], scheme: str) -> None:
    with mail_server(Manners(tls=trusted[0], implicit=scheme == "smtps", login=("me", PASSWORD))) as server:
        error = refused(way(server, scheme, "me", PASSWORD))
    assert (error.kind, error.retryable) == (ErrorKind.AUTH, False)
    assert "its certificate is not trusted" in error.reason
    assert not any("AUTH" in line for line in server.said)
    assert not server.taken


def test_a_password_does_not_leave_the_machine_in_clear_text(monkeypatch: pytest.MonkeyPatch) -> None:
    with mail_server(Manners(login=("me", PASSWORD))) as server:
        mail = way(server, user="me", password=PASSWORD)
        monkeypatch.setattr(mails, "is_loopback", lambda host: False)
        error = refused(mail)
        assert not any("AUTH" in line for line in server.said)
        monkeypatch.undo()
        deliver(mail, NOTICE, "here")
    assert error.kind is ErrorKind.UNSUPPORTED
    assert "no STARTTLS" in error.reason
    assert [taken.user for taken in server.taken] == ["me"]


def test_a_wrong_password() -> None:
    """The server repeats it in its answer; nobody else may see it."""
    with mail_server(Manners(login=("me", "another"))) as server:
        error = refused(way(server, user="me", password=PASSWORD))
    assert (error.kind, error.reason) == (ErrorKind.AUTH, "the login was refused (535)")


@pytest.mark.parametrize(("answer", "kind"), [("451 later", ErrorKind.BUSY), ("554 never", ErrorKind.IO)])
def test_a_refusal_for_a_while_or_for_good(answer: str, kind: ErrorKind) -> None:
    with mail_server(Manners(refusals=[answer])) as server:
        error = refused(way(server))
        assert (error.kind, error.reason) == (kind, f"it was refused ({answer[:3]})")
        deliver(way(server), NOTICE, "here")
    assert len(server.taken) == 1


def test_addresses_that_nobody_has() -> None:
    with mail_server() as server:
        url = f"smtp://127.0.0.1:{server.port}"
        assert "every address was refused (550)" in str(refused(mail_of(("nobody@x",), url)))
        assert not server.taken
        assert "1 of 2 addresses were refused (550)" in str(refused(mail_of(("nobody@x", "a@x"), url)))
    assert [taken.to for taken in server.taken] == [["nobody@x", "a@x"]]


def test_one_who_never_answers() -> None:
    with mail_server(Manners(silent=True)) as server:
        error = refused(way(server), timeout=0.05)
    assert (error.kind, error.reason) == (ErrorKind.TIMEOUT, "no answer in time")


def test_nobody_there() -> None:
    with socket.socket() as taken:  # nobody listens there, and nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        error = refused(mail_of(("a@x",), f"smtp://127.0.0.1:{taken.getsockname()[1]}"))
    assert (error.kind, error.reason) == (ErrorKind.NETWORK, "Connection refused")


@pytest.mark.parametrize(("url", "password", "port", "implicit", "sender"), [
    ("smtp://mail.example", "", 25, False, "dunlin@my.host"), ("smtps://mail.example", "", 465, True, "dunlin@my.host"),
    ("smtp://me@mail.example/", PASSWORD, 587, False, "dunlin@my.host"),
    ("smtps://me%40example.com@mail.example:2465", PASSWORD, 2465, True, "me@example.com"),
])  # fmt: skip
def test_what_an_address_means(url: str, password: str, port: int, implicit: bool, sender: str) -> None:
    mail = mail_of(("a@example.com",), url, password, here="my.host")
    assert (mail.host, mail.port, mail.implicit, mail.sender) == ("mail.example", port, implicit, sender)
    assert PASSWORD not in repr(mail)
    assert mail_of(("a@x",), url, password, sender="b@x").sender == "b@x"


@pytest.mark.parametrize(("to", "url", "password"), [
    ("a", "smtp://h", ""), ("a@x\nBcc: b@x", "smtp://h", ""), ("a@x, b", "smtp://h", ""), ("a@x", "h:25", ""),
    ("a@x", "smtp://", ""), ("a@x", "http://h", ""), ("a@x", "smtp://h:0", ""), ("a@x", "smtp://h/path", ""),
    ("a@x", "smtp://u@h", ""), ("a@x", "smtp://h", PASSWORD), ("a@x", f"smtp://u:{PASSWORD}@h", ""),
    ("a@x", "smtp://h:99999", ""), ("ä@x", "smtp://h", ""), ("a@x", f"smtp://u:{PASSWORD}@", ""),
])  # fmt: skip
def test_what_is_refused(to: str, url: str, password: str) -> None:
    with pytest.raises(DunlinError) as raised:
        mail_of((to,), url, password)
    assert raised.value.kind is ErrorKind.USAGE
    assert PASSWORD not in str(raised.value)
