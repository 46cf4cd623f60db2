"""A message by e-mail: SMTP (RFC 5321) with STARTTLS (RFC 3207), or TLS from the beginning (RFC 8314).

    smtp://HOST[:PORT]          port 25, with a user 587; STARTTLS where the server offers it
    smtps://HOST[:PORT]         port 465, TLS from the beginning
    smtp://USER@HOST            logs in as USER, by --smtp-password

A password travels only through TLS, or within the machine: a server that is somewhere else and offers no STARTTLS is
refused before anybody logs in. The server's certificate must be trusted as that of a web site. What a server says is
told by its number alone, since its words may repeat what was sent.
"""

from __future__ import annotations

import re
import smtplib
import ssl
import time
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from urllib.parse import unquote, urlsplit

from dunlin.errors import DunlinError, ErrorKind, printable, usage
from dunlin.report.address import is_loopback
from dunlin.report.notify import Notice
from dunlin.report.webhook import TIMEOUT, unreachable

OPERATION = "send a message by"
_ADDRESS = re.compile(r"[^@\s<>,;:\"()\[\]\\\x00-\x1f\x7f]+@[^@\s<>,;:\"()\[\]\\\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class Mail:
    """Where from, where to, and through whom. `implicit`: TLS from the beginning."""

    to: tuple[str, ...]
    sender: str
    host: str
    port: int
    implicit: bool = False
    user: str = ""
    password: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        """The server."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'smtps' if self.implicit else 'smtp'}://{host}:{self.port}"


def mail_of(to: tuple[str, ...], url: str, password: str = "", sender: str = "", here: str = "localhost") -> Mail:
    """The way to send mail that options ask for. `here`: this machine's name, for the default sender. Raises USAGE."""
    for each in (*to, *([sender] if sender else [])):
        if not _ADDRESS.fullmatch(each) or not each.isascii():
            raise usage(f"{printable(each)!r} is no e-mail address", "write NAME@HOST; several with commas between")
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    if parts.password is not None or ("@" in url and not host):
        raise usage("--smtp-url holds a password", "give it as --smtp-password @FILE or in DUNLIN_SMTP_PASSWORD")
    bare = parts.path in ("", "/") and not parts.query and not parts.fragment and url.strip().isprintable()
    if parts.scheme not in ("smtp", "smtps") or not host or port == 0 or not bare:
        raise usage("--smtp-url is no address of a mail server", "write smtp://HOST:PORT or smtps://USER@HOST:PORT")
    user = unquote(parts.username or "")
    if bool(user) != bool(password):
        lacking = "--smtp-password" if user else "the user, as in smtps://USER@HOST,"
        raise usage(f"{lacking} is missing: a mail server is logged in to with both, or not at all")
    implicit = parts.scheme == "smtps"
    sender = sender or (user if _ADDRESS.fullmatch(user) and user.isascii() else f"dunlin@{_domain(here)}")
    return Mail(to, sender, host, port or (465 if implicit else 587 if user else 25), implicit, user, password)


def _domain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", name).strip("-.") or "localhost"


def deliver(
    mail: Mail, notice: Notice, here: str, timeout: float = TIMEOUT, tls: ssl.SSLContext | None = None
) -> None:
    """Hand a message to the server once.

    Args:
        here: this machine's name.
        timeout: seconds that the server may be silent.
        tls: whom to trust; None: whom this machine trusts.

    Raises `DunlinError`, of a kind that `pace.retry` knows where another attempt may help.
    """
    trust = tls or ssl.create_default_context()
    name = _domain(here)
    try:
        with _connect(mail, name, timeout, trust) as server:
            server.ehlo_or_helo_if_needed()
            if not mail.implicit:
                _begin_tls(server, mail, trust)
            if mail.user:
                server.login(mail.user, mail.password)
            if refused := server.send_message(message(mail, notice, name), mail.sender, list(mail.to)):
                number = next(iter(refused.values()))[0]
                raise _told(mail, number, f"{len(refused)} of {len(mail.to)} addresses were refused")
    except smtplib.SMTPAuthenticationError as error:
        if 400 <= error.smtp_code < 500:
            raise _told(mail, error.smtp_code, "it cannot log anybody in now") from None
        raise DunlinError(OPERATION, mail.shown, ErrorKind.AUTH, f"the login was refused ({error.smtp_code})") from None
    except smtplib.SMTPRecipientsRefused as error:
        number = max(code for code, _ in error.recipients.values())
        raise _told(mail, number, "every address was refused") from None
    except smtplib.SMTPResponseException as error:
        raise _told(mail, error.smtp_code, "it was refused") from None
    except smtplib.SMTPServerDisconnected as error:
        if isinstance(error.__context__, OSError):
            raise unreachable(error.__context__, OPERATION, mail.shown) from None
        raise DunlinError(OPERATION, mail.shown, ErrorKind.NETWORK, "the server ended the connection") from None
    except (smtplib.SMTPException, UnicodeError):
        raise DunlinError(OPERATION, mail.shown, ErrorKind.UNSUPPORTED, "the server lacks what is needed") from None
    except OSError as error:
        raise unreachable(error, OPERATION, mail.shown) from None


def _connect(mail: Mail, here: str, timeout: float, trust: ssl.SSLContext) -> smtplib.SMTP:
    # Without a name of ours the library looks one up, and that may take minutes.
    if mail.implicit:
        return smtplib.SMTP_SSL(mail.host, mail.port, here, timeout=timeout, context=trust)
    return smtplib.SMTP(mail.host, mail.port, here, timeout=timeout)


def _begin_tls(server: smtplib.SMTP, mail: Mail, trust: ssl.SSLContext) -> None:
    if server.has_extn("starttls"):
        server.starttls(context=trust)
        server.ehlo_or_helo_if_needed()
    elif mail.user and not is_loopback(mail.host):
        reason = "it offers no STARTTLS, and a password is not sent in clear text"
        raise DunlinError(OPERATION, mail.shown, ErrorKind.UNSUPPORTED, reason, "is it a server for smtps://?")


def message(mail: Mail, notice: Notice, here: str) -> EmailMessage:
    """What is sent."""
    made = EmailMessage()
    made["From"], made["To"] = mail.sender, ", ".join(mail.to)
    made["Subject"] = printable(notice.subject)[:200]
    made["Date"] = formatdate(notice.time)
    made["Message-ID"] = make_msgid(domain=here)
    made["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence answers it
    stamp = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(notice.time))
    lines = (notice.subject, "", *map(printable, notice.text), "", stamp)
    made.set_content("\n".join(lines) + "\n")
    return made


def _told(mail: Mail, number: int, reason: str) -> DunlinError:
    kind = ErrorKind.BUSY if 400 <= number < 500 else ErrorKind.IO
    return DunlinError(OPERATION, mail.shown, kind, f"{reason} ({number})")
