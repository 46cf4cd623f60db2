"""OpenSSH's server from the distribution's package: on loopback, with a host key and a login key of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.servers.process import ServerError
from tests.servers.restartable import Restartable


@dataclass(frozen=True, slots=True)
class Sshd:
    """A running server. `key`: the file of the key that it lets in, `hosts`: what knows the server's own key."""

    port: int
    key: Path
    hosts: Path

    def command(self, remote: str) -> str:
        """An ssh command line that runs `remote` there; no configuration of the machine takes part in it."""
        user = pwd.getpwuid(os.geteuid()).pw_name
        options = f"-F none -o BatchMode=yes -o IdentitiesOnly=yes -o UserKnownHostsFile={self.hosts}"
        return f"ssh {options} -i {self.key} -p {self.port} {user}@127.0.0.1 {remote}"


@contextmanager
def sshd() -> Iterator[Sshd]:
    """Run a server that lets in whoever runs the tests, by a key that is made for it."""
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if program is None or shutil.which("ssh-keygen") is None:
        raise ServerError("sshd is missing: install the package openssh-server (`make test` does)")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it separates its privileges; the package expects it
    with tempfile.TemporaryDirectory(prefix="dunlin-sshd-", ignore_cleanup_errors=True) as name:
        root = Path(name)
        for key in ("host", "login"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", root / key], check=True, stdin=subprocess.DEVNULL
            )
        shutil.copy(root / "login.pub", root / "authorized")
        file = root / "sshd_config"
        file.write_text(
            f"ListenAddress 127.0.0.1\nHostKey {root}/host\nAuthorizedKeysFile {root}/authorized\nPidFile none\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\n"
        )
        server = Restartable(
            "sshd", lambda port: [program, "-D", "-e", "-f", file, "-p", str(port)], _greets, root, root / "log"
        )
        try:
            server.start()
            words = (root / "host.pub").read_text().split()[:2]
            (root / "known").write_text(f"[127.0.0.1]:{server.port} {' '.join(words)}\n")
            yield Sshd(server.port, root / "login", root / "known")
        finally:
            with suppress(ProcessLookupError):
                server.stop()


def _greets(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        return connection.recv(4) == b"SSH-"
