"""Starting a server as a child process, waiting until it answers, and never leaving it behind.

The port is found by binding to port 0 and letting go of it again. Another process may take it in between; the server
then ends at once, and the next attempt takes another port. The child gets an environment of its own (nothing that the
person who runs the tests has set reaches it) and a parent-death signal through `setpriv`, so that it also ends when
pytest is killed. The kernel ties that signal to the *thread* that started the child: a server has to be started from
a thread that lives as long as it is needed, as pytest's main thread does.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

PATIENCE_S = 60.0
"""Longest wait for the first answer: two busy cores start Azurite in 2 to 10 s."""

Command = Callable[[int, Path], Sequence[str | Path]]
"""From a port and an empty directory to a command line."""

ATTEMPTS = 5
LOG_LINES = 40


class ServerError(RuntimeError):
    """A server could not be installed or started; the message says what is missing, or holds the server's log."""


@contextmanager
def running(name: str, command: Command, environment: Mapping[str, str] | None = None) -> Iterator[int]:
    """Run a server and give its port; when the block is left, its process has ended and its data is gone.

    `command(port, directory)` is its command line, `directory` an empty one to keep data in. Raises ServerError, with
    the end of what it printed, when it ends or does not answer HTTP within `PATIENCE_S` seconds.
    """
    with tempfile.TemporaryDirectory(prefix=f"dunlin-{name}-", ignore_cleanup_errors=True) as root:
        data, log = Path(root, "data"), Path(root, "log")
        data.mkdir()
        child, port = _start(name, command, {"HOME": root, **(environment or {})}, data, log)
        try:
            yield port
        finally:
            end(child)


def _start(
    name: str, command: Command, environment: Mapping[str, str], data: Path, log: Path
) -> tuple[subprocess.Popen[bytes], int]:
    for _ in range(ATTEMPTS):
        port = free_port()
        child = spawn(command(port, data), environment, data, log)
        try:
            if _answers(child, port):
                return child, port
            if child.poll() is None:
                raise ServerError(f"{name} did not answer within {PATIENCE_S:.0f} s; it printed:\n{tail(log)}")
        except BaseException:
            end(child)
            raise
        if "in use" not in tail(log) and "EADDRINUSE" not in tail(log):
            break
    raise ServerError(f"{name} ended with code {child.returncode}; it printed:\n{tail(log)}")


def spawn(
    command: Sequence[str | Path], environment: Mapping[str, str], directory: Path, log: Path
) -> subprocess.Popen[bytes]:
    """Start a program that dies with us, in `directory`, with `environment` and a PATH only, output into `log`."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise ServerError("setpriv is missing: install the package util-linux (`make test` does)")
    # A test's capabilities and umask are its own; only the signal is wanted here.
    line = [setpriv, "--pdeathsig", "KILL", "--", *command]
    with open(log, "ab") as output:
        return subprocess.Popen(
            line, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", **environment},
        )  # fmt: skip


def end(child: subprocess.Popen[bytes]) -> None:
    """End a child: asked first, killed when it has not ended within 3 s."""
    child.terminate()
    try:
        child.wait(3)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listened on a moment ago, and that no connection is given by itself.

    Below the range from which clients get theirs (32768 and up in Linux), or another test's connection could have it
    before the server does.
    """
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            port = 15_000 + secrets.randbelow(17_000)  # no seed of a test makes two take the same
            probe.bind(("127.0.0.1", port))
            return port


def _answers(child: subprocess.Popen[bytes], port: int) -> bool:
    """Whether the server gave an answer of any status, before it ended and within `PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    while child.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
        else:
            # Another program may have taken the port while our server was on its way to fail.
            return child.poll() is None
        finally:
            connection.close()
    return False


def tail(log: Path) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
