"""A real terminal (tmux) with a shell in it, in which `dunlin` is the program under test."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.acceptance.program import command, environment


class Terminal:
    """A terminal of its own, with a server of its own.

    Args:
        cwd: where the shell is; homes stand beside it (`program.environment`).
        columns, lines: its size.
    """

    def __init__(self, cwd: Path, columns: int, lines: int) -> None:
        self._place = tempfile.mkdtemp(prefix="dunlin-")  # the path of a socket must be short
        env = environment(cwd, {"TERM": "tmux-256color", "PS1": "$ "})
        words = [f"{name}={value}" for name, value in env.items()]
        self._tmux(
            *("-f", os.devnull, "new-session", "-d", "-s", "t", "-x", columns, "-y", lines, "-c", cwd),
            *("env", "-i", *words, "bash", "--norc", "--noprofile"),
        )
        self.until(lambda screen: screen.startswith("$"))
        self.type(f"dunlin() {{ {shlex.join(command())} \"$@\"; }}; clear")
        self.until(lambda screen: screen == "$")

    def _tmux(self, *words: object) -> str:
        call = ["tmux", "-S", f"{self._place}/s", *map(str, words)]
        return subprocess.run(call, capture_output=True, text=True, check=True).stdout

    def type(self, line: str) -> None:
        self._tmux("send-keys", "-t", "t", "-l", line)
        self.press("Enter")

    def press(self, key: str) -> None:
        self._tmux("send-keys", "-t", "t", key)

    def resize(self, columns: int, lines: int) -> None:
        self._tmux("resize-window", "-t", "t", "-x", columns, "-y", lines)

    @property
    def screen(self) -> str:
        """What stands on the screen, and what was scrolled off."""
        return self._tmux("capture-pane", "-p", "-t", "t", "-S", "-").rstrip()

    @property
    def visible(self) -> str:
        """What stands on the screen alone."""
        return self._tmux("capture-pane", "-p", "-t", "t").rstrip()

    @property
    def colored(self) -> str:
        """What stands on the screen alone, with the sequences for its colours (SGR)."""
        return self._tmux("capture-pane", "-p", "-e", "-t", "t").rstrip()

    @property
    def cursor(self) -> bool:
        """Whether it is shown."""
        return self._tmux("display-message", "-p", "-t", "t", "#{cursor_flag}").strip() == "1"

    def until(self, there: Callable[[str], object], seconds: float = 30) -> str:
        """The first screen of which `there` is true."""
        end = time.monotonic() + seconds
        while not there(screen := self.screen):
            assert time.monotonic() < end, f"this is on the screen:\n{screen}"
            time.sleep(0.05)
        return screen

    def close(self) -> None:
        """As when a window is closed: whatever runs in it gets SIGHUP."""
        subprocess.run(["tmux", "-S", f"{self._place}/s", "kill-server"], capture_output=True)
        shutil.rmtree(self._place, ignore_errors=True)
