"""Redis from the distribution's package, with a password of its own and its append-only file on."""

from __future__ import annotations

import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.process import ServerError
from tests.servers.restartable import Restartable


@dataclass(frozen=True, slots=True)
class Redis:
    """A running Redis. `process` stops and starts it."""

    process: Restartable
    password: str

    @property
    def url(self) -> str:
        """With the password."""
        return f"redis://:{self.password}@127.0.0.1:{self.process.port}/0"

    def queue(self) -> str:
        """The URL of a queue that nobody else uses."""
        return f"{self.url}?namespace=n{uuid.uuid4().hex[:12]}"


@contextmanager
def redis_server(*, fsync: str = "always", settings: str = "") -> Iterator[Redis]:
    """Run an empty Redis. `fsync`: always, everysec or no; "": without an append-only file. `settings`: more lines."""
    program = shutil.which("redis-server")
    if program is None:
        raise ServerError("redis-server is missing: install the package redis-server (`make test` does)")
    password = uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="dunlin-redis-", ignore_cleanup_errors=True) as root:
        data, log, file = Path(root, "data"), Path(root, "log"), Path(root, "redis.conf")
        data.mkdir()
        durable = f"appendonly yes\nappendfsync {fsync}\n" if fsync else "appendonly no\n"
        file.write_text(
            f'bind 127.0.0.1\ndir "{data}"\nsave ""\nrequirepass {password}\nmaxmemory-policy noeviction\n'
            f"{durable}{settings}\n"
        )
        process = Restartable(
            "redis", lambda port: [program, file, "--port", str(port)], lambda port: _pongs(port, password), data, log
        )
        try:
            process.start()
            yield Redis(process, password)
        finally:
            process.stop()


def _pongs(port: int, password: str) -> bool:
    """Whether it answers, with its data loaded, and is ours."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
        answer = b""
        while answer.count(b"\r\n") < 2:
            more = connection.recv(1000)
            if not more:
                return False
            answer += more
        return answer == b"+OK\r\n+PONG\r\n"
