"""`dunlin serve` as a process of its own, on a free port of loopback."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.acceptance.program import start
from tests.servers.process import free_port

PATIENCE = 60.0


class Service:
    """The process and a client of it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port, self._log = process, port, log
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=20)

    def log(self) -> str:
        """What it has said."""
        return self._log.read_text(encoding="utf-8")

    def wait(self, path: str, good: Any, seconds: float = PATIENCE) -> Any:
        """The answer to a question, asked again until it is good."""
        end = time.monotonic() + seconds
        while True:
            found = self.client.get(path).json()
            if good(found):
                return found
            assert time.monotonic() < end, f"{path}: {found}\n{self.log()}"
            time.sleep(0.1)

    def job(self, id: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """A job, when it is over."""
        over = ("completed", "failed", "cancelled")
        found: dict[str, Any] = self.wait(f"/api/v1/jobs/{id}", lambda job: job["status"] in over, seconds)
        return found

    def stop(self, expect: int = 0) -> str:
        """End it with SIGTERM; its log."""
        self.process.terminate()
        assert self.process.wait(40) == expect, self.log()
        return self.log()


def begin(directory: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Service:
    """Start a service in a directory, which is made, and wait until it answers."""
    directory.mkdir(exist_ok=True)
    port, log = free_port(), directory / "log.txt"
    with log.open("ab") as out:
        process = start(
            "serve", "--http-addr", str(port), *arguments, cwd=directory, env=env, stderr=out, stdout=out
        )  # fmt: skip
    found = Service(process, port, log)
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if found.client.get("/healthz").status_code == 200:
                return found
        except httpx.TransportError:
            pass
        assert process.poll() is None, found.log()
        assert time.monotonic() < end, found.log()
        time.sleep(0.05)


@contextmanager
def serving(directory: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Service]:
    """A service that is gone afterwards."""
    found = begin(directory, *arguments, env=env)
    try:
        yield found
    finally:
        found.client.close()
        if found.process.poll() is None:
            found.process.kill()
            found.process.wait()
