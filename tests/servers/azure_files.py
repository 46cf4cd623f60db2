"""The emulator of Azure Files (tests/emulators/azure_files) in a process of its own.

It ends when its standard input does, and so with whoever started it.
"""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dunlin.stores.azfiles.place import open_place, place_of
from dunlin.stores.login import Login
from tests.servers.process import ServerError


@dataclass(frozen=True, slots=True)
class Files:
    """A running emulator."""

    connection_string: str

    @property
    def login(self) -> Login:
        """What lets us in."""
        return Login({"connection_string": self.connection_string})

    def share(self) -> str:
        """Make a share with a new name and return the name."""
        name = f"s{uuid.uuid4().hex}"
        store = open_place(place_of(f"azfiles://{name}", self.login))
        try:
            store.share.ask("PUT", "", (("restype", "share"),), operation="make", expects=201)
        finally:
            store.close()
        return name


@contextmanager
def azure_files_process() -> Iterator[Files]:
    """Run an empty emulator until the block is left."""
    line = [sys.executable, "-m", "tests.emulators.azure_files"]
    top = Path(__file__).resolve().parents[2]
    child = subprocess.Popen(line, cwd=top, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdin is not None
        said = child.stdout.readline().strip()
        if not said:
            raise ServerError("the emulator of Azure Files did not start")
        yield Files(said)
    finally:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.close()
        child.wait(10)
        child.stdout.close()
