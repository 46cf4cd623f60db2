"""PostgreSQL from the distribution's package, with a cluster of its own.

Its programs lie where no PATH leads. `initdb` refuses to be run by root: then all of it runs as an ordinary user.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.servers.process import ServerError
from tests.servers.restartable import Restartable

USER = "dunlin"


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running PostgreSQL. `process` stops and starts it."""

    process: Restartable
    password: str

    def url(self, database: str = "postgres", password: str | None = None) -> str:
        """The URL of a database, with the password."""
        return f"postgresql://{USER}:{password or self.password}@127.0.0.1:{self.process.port}/{database}"

    def database(self) -> str:
        """Make an empty database; its URL."""
        name = f"d{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name)

    def queue(self) -> str:
        """The URL of a queue that nobody else uses."""
        return f"{self.url()}?namespace=n{uuid.uuid4().hex[:12]}"


@contextmanager
def postgres_server(*, fsync: bool = False, connections: int = 350) -> Iterator[Postgres]:
    """Run an empty PostgreSQL for so many connections. `fsync`: it waits for the disk, as servers in use do."""
    programs = _programs()
    password = uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="dunlin-postgres-", ignore_cleanup_errors=True) as root:
        data, log, secret = Path(root, "data"), Path(root, "log"), Path(root, "password")
        data.mkdir()
        secret.write_text(password)
        log.touch()
        as_somebody = _somebody(root, data, log, secret)
        made = subprocess.run(
            [*as_somebody, programs / "initdb", "--pgdata", data, "--username", USER, "--pwfile", secret, "--no-sync",
             "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=root,
        )  # fmt: skip
        if made.returncode:
            raise ServerError(f"initdb failed:\n{made.stderr[-2000:]}")
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": str(connections),
            "fsync": "on" if fsync else "off",
            "shared_buffers": "64MB",
            "max_wal_size": "1GB",
        }
        line = [*as_somebody, programs / "postgres", "-D", data]
        line += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

        def answers(port: int) -> bool:
            address = f"postgresql://{USER}:{password}@127.0.0.1:{port}/postgres"
            with psycopg.connect(address, connect_timeout=5) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)

        # SIGINT: without waiting until the last client has gone
        process = Restartable("postgres", lambda port: [*line, "-p", str(port)], answers, data, log, signal.SIGINT)
        try:
            process.start()
            yield Postgres(process, password)
        finally:
            process.stop()


def _programs() -> Path:
    """The directory of the newest version's programs."""
    found = shutil.which("initdb")
    directories = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version)
    if not directories:
        raise ServerError("PostgreSQL is missing: install the package postgresql (`make test` does)")
    return directories[-1]


def _version(directory: Path) -> float:
    try:
        return float(directory.parent.name)
    except ValueError:
        return 0.0


def _somebody(root: str, data: Path, *files: Path) -> Sequence[str | Path]:
    """What goes before a command so that an ordinary user runs it, who owns the data and reaches the files."""
    if os.geteuid() != 0:
        return []
    users = {user.pw_name: user for user in pwd.getpwall()}
    user = users.get("postgres") or users["nobody"]
    os.chmod(root, 0o755)
    for path in (data, *files):
        os.chown(path, user.pw_uid, user.pw_gid)
    # The signal again: the kernel forgets it when a process becomes somebody else.
    who = ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
    return ["setpriv", *who, "--pdeathsig", "KILL", "--"]
