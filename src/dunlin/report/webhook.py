"""A message to an HTTP address: for chats that take Slack's form, or as JSON with everything that is known.

    slack    {"text": "..."}: Slack's incoming webhooks, and those of Mattermost, Rocket.Chat, Discord (…/slack), …
             The three characters that Slack reads as markup are escaped (&amp; &lt; &gt;), so that the name of a file
             cannot call a channel.
    json     {"event", "time", "host", "subject", "text", "program", …} and the fields of the run

The address is a secret as a whole: whoever knows it may post. It goes nowhere else, also not where a redirection
points, and messages name its host only. In clear text it travels only within the machine.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from dunlin.errors import DunlinError, ErrorKind, printable, translate, usage
from dunlin.report.address import is_loopback
from dunlin.report.notify import Notice

FORMATS = ("slack", "json")
TIMEOUT = 10.0
"""Seconds that a server may be silent."""

OPERATION = "send a message to"
_LONGEST = 3_000
"""Characters of text in a chat; Slack cuts behind 4,000, other servers refuse."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where to post. `form`: a word of `FORMATS`."""

    host: str
    port: int
    target: str = field(repr=False)
    secure: bool = True
    form: str = "slack"

    @property
    def shown(self) -> str:
        """The address without its secret part."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}" + (
            "" if self.port == (443 if self.secure else 80) else f":{self.port}"
        )


def webhook_of(url: str, form: str = "slack") -> Webhook:
    """The webhook at a URL. Raises USAGE, without telling more of the URL than its host."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    fits = parts.scheme in ("http", "https") and host and url.strip().isascii() and port != 0
    if not fits or re.search(r"[\x00-\x20\x7f]", url.strip()):
        raise usage("--notify-url is no http:// or https:// address that can be posted to")
    if parts.username is not None or parts.password is not None:
        raise usage("--notify-url has a login before the host's name", "no service for messages takes one there")
    secure = parts.scheme == "https"
    if not (secure or is_loopback(host)):
        raise usage(
            f"--notify-url would send its secret to {printable(host)} in clear text", "write https:// in place of http://"
        )
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Webhook(host, port or (443 if secure else 80), target, secure, form)


def post(hook: Webhook, notice: Notice, timeout: float = TIMEOUT, tls: ssl.SSLContext | None = None) -> None:
    """Post a message once.

    `tls`: whom to trust; None: whom this machine trusts. Raises `DunlinError`, of a kind that `pace.retry` knows where
    another attempt may help.
    """
    body = json.dumps(payload(hook.form, notice)).encode()
    connection: http.client.HTTPConnection
    if hook.secure:
        trust = tls or ssl.create_default_context()
        connection = http.client.HTTPSConnection(hook.host, hook.port, timeout=timeout, context=trust)
    else:
        connection = http.client.HTTPConnection(hook.host, hook.port, timeout=timeout)
    try:
        headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "dunlin"}
        connection.request("POST", hook.target, body, headers)
        answer = connection.getresponse()
        status, later = answer.status, answer.getheader("Retry-After", "")
    except (OSError, http.client.HTTPException) as error:
        raise unreachable(error, OPERATION, hook.shown) from None
    finally:
        connection.close()
    if not 200 <= status < 300:
        raise _refused(status, later, hook.shown)


def payload(form: str, notice: Notice) -> dict[str, Any]:
    """What is posted."""
    if form == "slack":
        text = "\n".join((notice.subject, *notice.text))[:_LONGEST]
        return {"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(notice.time))
    told = {name: _plain(value) for name, value in notice.fields.items()}
    head = {"program": "dunlin", "event": notice.kind, "time": stamp, "host": notice.host}
    return {**told, **head, "subject": notice.subject, "text": "\n".join(notice.text)}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return printable(str(value))


def unreachable(error: Exception, operation: str, where: str) -> DunlinError:
    """The `DunlinError` for a connection that was not had; nothing of what was sent is in it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return DunlinError(operation, where, ErrorKind.AUTH, f"its certificate is not trusted ({error.verify_message})")
    if isinstance(error, ssl.SSLError):
        return DunlinError(operation, where, ErrorKind.UNSUPPORTED, f"no TLS connection ({error.reason or 'refused'})")
    if isinstance(error, socket.gaierror):
        return DunlinError(operation, where, ErrorKind.NETWORK, "the name of the host is not known")
    if isinstance(error, TimeoutError):
        return DunlinError(operation, where, ErrorKind.TIMEOUT, "no answer in time")
    if isinstance(error, OSError) and error.errno is not None:
        found = translate(error, operation, where)
        # Whatever a network says may be otherwise a moment later.
        kind = found.kind if found.retryable else ErrorKind.NETWORK
        return DunlinError(operation, where, kind, found.reason)
    return DunlinError(operation, where, ErrorKind.NETWORK, "it does not answer as expected")


def _refused(status: int, later: str, where: str) -> DunlinError:
    kind, hint = ErrorKind.IO, ""
    if status in (408, 425, 429) or status >= 500:
        kind = ErrorKind.BUSY
    elif status in (401, 403, 404, 410):
        kind, hint = ErrorKind.AUTH, "is the address whole, and still in force?"
    elif 300 <= status < 400:
        hint = "it redirects; give the address that it redirects to"
    error = DunlinError(OPERATION, where, kind, f"it answers with HTTP {status}", hint)
    if later.strip().isdecimal():
        error.retry_after = min(float(later), 3600.0)
    return error
