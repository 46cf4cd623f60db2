"""The moto server: S3's rules for keys, conditions and multipart uploads, everything in memory. Checks no signature."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers.process import running
from tests.servers.s3 import S3

# moto's route for keys ends at a newline, which S3 allows in them: whatever is not the last code point goes on.
_LAUNCH = """
from moto.moto_server.utilities import RegexConverter
plain = RegexConverter.__init__
def wide(self, url_map, *items):
    plain(self, url_map, *("[^\U0010ffff]+" if item == ".+" else item for item in items))
RegexConverter.__init__ = wide
from moto.server import main
main()
"""


@contextmanager
def moto_s3() -> Iterator[S3]:
    """Run an empty moto server."""
    program = [sys.executable, "-c", _LAUNCH, "-H", "127.0.0.1"]
    with running("moto", lambda port, _: [*program, "-p", str(port)]) as port:
        yield S3(f"http://127.0.0.1:{port}", secrets.token_hex(10), secrets.token_hex(20))
