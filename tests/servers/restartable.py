"""A server that a test may stop, kill and start again: same port, same data."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.servers.process import PATIENCE_S, ServerError, free_port, spawn, tail


class Restartable:
    """One server; `start` is called before anything else.

    Args:
        name: what people call it.
        command: from the port to its command line.
        answers: whether it answers on that port; may raise anything when it does not.
        directory: its working directory, where its data lies.
        log: the file that gets what it prints.
        quick: the signal that ends it soon and in order.
        environment: variables besides PATH and LANG.
    """

    def __init__(
        self,
        name: str,
        command: Callable[[int], Sequence[str | Path]],
        answers: Callable[[int], bool],
        directory: Path,
        log: Path,
        quick: signal.Signals = signal.SIGTERM,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._name = name
        self._command = command
        self._answers = answers
        self._directory = directory
        self._log = log
        self._quick = quick
        self._environment = {"HOME": str(directory), **(environment or {})}
        self._child: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._child is not None
        return self._child.pid

    def start(self) -> None:
        """Start it, and return when it answers. Raises ServerError with the end of its log.

        What a killed server leaves behind (its port, memory shared with processes that have not noticed yet) is waited
        for: it says so and ends, and is started once more.
        """
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            port = self.port or free_port()
            self._log.write_bytes(b"")
            self._child = child = spawn(self._command(port), self._environment, self._directory, self._log)
            while child.poll() is None and time.monotonic() < deadline:
                if self._is_there(port):
                    self.port = port
                    return
                time.sleep(0.02)
            self.kill()
            if "in use" not in tail(self._log):
                break
            time.sleep(0.1)
        raise ServerError(f"{self._name} did not start; it printed:\n{tail(self._log)}")

    def _is_there(self, port: int) -> bool:
        try:
            return self._answers(port)
        except Exception:  # of whatever library asks
            return False

    def stop(self) -> None:
        """End it in order; killed when that takes more than 20 s."""
        if self._child is not None:
            self._child.send_signal(self._quick)
            try:
                self._child.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End it at once, without a word to anybody."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    def restart(self, *, kill: bool = False) -> None:
        """Stop or kill it, and start it again."""
        if kill:
            self.kill()
        else:
            self.stop()
        self.start()
