"""`rclone serve s3` over a temporary directory: a fast S3 server that checks signatures, and refuses odd keys."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.process import ServerError, running
from tests.servers.s3 import S3


def program(name: str) -> Path:
    """A program that a package of constraints/dev.txt puts beside our interpreter."""
    found = Path(sys.prefix) / "bin" / name
    if not found.exists():
        raise ServerError(f"{name} is missing beside the interpreter: run the tests with scripts/python (`make test`)")
    return found


@contextmanager
def rclone_s3(*options: str) -> Iterator[S3]:
    """Run `rclone serve s3` over an empty directory, with further `options` of rclone."""
    key_id, secret = secrets.token_hex(10), secrets.token_hex(20)
    with running(
        "rclone",
        lambda port, data: [program("rclone"), "serve", "s3", "--addr", f"127.0.0.1:{port}", *options, data],
        # In the environment, because any user of the machine may read a command line.
        {"RCLONE_AUTH_KEY": f'"{key_id},{secret}"', "RCLONE_CONFIG": "/notfound"},
    ) as port:
        yield S3(f"http://127.0.0.1:{port}", key_id, secret)
