"""A mail server for tests: as much of SMTP (RFC 5321) as smtplib speaks, on a port of 127.0.0.1.

It takes what it is sent and keeps it. `Manners` say how it behaves: with STARTTLS (RFC 3207) or TLS from the
beginning, with a login (RFC 4954, PLAIN and LOGIN), refusing for a while or for good, or silent.
"""

from __future__ import annotations

import base64
import email
import email.policy
import io
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage


@dataclass
class Manners:
    """How the server behaves.

    Attributes:
        tls: what it needs for TLS. implicit: TLS from the beginning, else STARTTLS.
        login: (user, password) that it wants; None: it offers no login.
        refusals: answers to the next MAIL commands, in place of taking them: "451 later".
        silent: never say a word.
    """

    tls: ssl.SSLContext | None = None
    implicit: bool = False
    login: tuple[str, str] | None = None
    refusals: list[str] = field(default_factory=list)
    silent: bool = False


@dataclass
class Taken:
    """One message. `secured`: it came through TLS; `user`: who had logged in, or ""."""

    sender: str
    to: list[str]
    message: EmailMessage
    secured: bool
    user: str


class MailServer:
    """The port, what was taken so far, and every line that clients said."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.taken: list[Taken] = []
        self.said: list[str] = []
        self.connections = 0


@contextmanager
def mail_server(manners: Manners | None = None) -> Iterator[MailServer]:
    """Serve until the block ends."""
    how = manners or Manners()
    over = threading.Event()
    open_now: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = MailServer(listening.getsockname()[1])

        def accept() -> None:
            while not over.is_set():
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                server.connections += 1
                open_now.append(client)
                threading.Thread(target=_serve, args=(client, how, server, over), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            over.set()
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            for client in open_now:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
                client.close()
            thread.join(5)


def _serve(client: socket.socket, how: Manners, server: MailServer, over: threading.Event) -> None:
    with suppress(OSError, ValueError):
        if how.silent:
            over.wait(60)
        else:
            session = _Session(client, how, server)
            try:
                session.run()
            finally:
                session.close()
    with suppress(OSError):
        client.close()


class _Session:
    def __init__(self, client: socket.socket, how: Manners, server: MailServer) -> None:
        self.how, self.server = how, server
        self.secured = how.implicit
        self.user = ""
        self.opened: list[io.BufferedReader | socket.socket] = []
        self._use(how.tls.wrap_socket(client, server_side=True) if how.implicit and how.tls else client)

    def close(self) -> None:
        for each in self.opened:
            each.close()

    def _use(self, client: socket.socket) -> None:
        self.client = client
        self.lines: io.BufferedReader = client.makefile("rb")
        self.opened += [self.lines, client]

    def say(self, *lines: str) -> None:
        self.client.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def read(self) -> str:
        line = self.lines.readline()
        if not line:
            raise ConnectionError("gone")
        text = line.decode().rstrip("\r\n")
        self.server.said.append(text)
        return text

    def run(self) -> None:
        self.say("220 here")
        sender, to = "", []
        while True:
            line = self.read()
            verb, _, rest = line.partition(" ")
            verb = verb.upper()
            if verb in ("EHLO", "HELO"):
                self.say(*self._greeting())
            elif verb == "STARTTLS" and self.how.tls is not None:
                self.say("220 go")
                self._use(self.how.tls.wrap_socket(self.client, server_side=True))
                self.secured = True
            elif verb == "AUTH":
                self._login(rest)
            elif verb == "MAIL":
                if self.how.refusals:
                    self.say(self.how.refusals.pop(0))
                elif self.how.login and not self.user:
                    self.say("530 log in first")
                else:
                    sender, to = rest.partition("<")[2].partition(">")[0], []
                    self.say("250 ok")
            elif verb == "RCPT":
                to.append(rest.partition("<")[2].partition(">")[0])
                self.say("550 nobody of that name" if "nobody" in rest else "250 ok")
            elif verb == "DATA":
                self.say("354 go on")
                self._data(sender, to)
            elif verb == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 ok" if verb in ("NOOP", "RSET") else "502 what?")

    def _greeting(self) -> list[str]:
        offers = ["here"]
        if self.how.tls is not None and not self.secured:
            offers.append("STARTTLS")
        if self.how.login is not None:
            offers.append("AUTH PLAIN LOGIN")
        return [f"250{'-' if offer != offers[-1] else ' '}{offer}" for offer in offers]

    def _login(self, rest: str) -> None:
        how, _, first = rest.partition(" ")
        if how.upper() == "PLAIN":
            _, user, password = base64.b64decode(first).decode().split("\0")
        else:
            if not first:
                self.say("334 VXNlcm5hbWU6")
            user = base64.b64decode(first or self.read()).decode()
            self.say("334 UGFzc3dvcmQ6")
            password = base64.b64decode(self.read()).decode()
        if (user, password) == self.how.login:
            self.user = user
            self.say("235 welcome")
        else:
            self.say(f"535 no such user: {user} {password}")

    def _data(self, sender: str, to: list[str]) -> None:
        raw = b""
        while (line := self.lines.readline()) not in (b".\r\n", b""):
            raw += line.removeprefix(b".") if line.startswith(b"..") else line
        message = email.message_from_bytes(raw, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.server.taken.append(Taken(sender, list(to), message, self.secured, self.user))
        self.say("250 taken")
