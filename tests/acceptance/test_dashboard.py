"""`dunlin dashboard` in a real terminal (tmux), beside a real sync; and what it says where it cannot be shown."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from tests.acceptance.program import CHECKOUT, command, dunlin, environment, start
from tests.acceptance.terminal import Terminal
from tests.acceptance.trouble import until
from tests.fuse.slowfs import mounted
from tests.integration.service import serving

SECONDS = 30.0


def wait(terminal: Terminal, *words: str, without: str = "") -> str:
    """The first screen that shows all of `words`, and no longer `without`: a page is not drawn at one stroke."""

    def there() -> str:
        text = terminal.visible
        drawn = all(each in text for each in words) and not (without and without in text)
        return text if drawn else ""

    return str(until(there, why=lambda: f"no {words!r} without {without!r} in\n{terminal.visible}"))


def size_of(directory: Path) -> int:
    """Bytes of all files, while some get their names: one that has another by now does not count."""
    total = 0
    for here, _, files in os.walk(directory):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(here, name)).st_size
    return total


def sign_of_life(place: Path) -> int:
    """When the run last told the state file that it is there."""
    with sqlite3.connect(f"file:{place}/.sync-state.db?mode=ro", uri=True) as database:
        [(updated,)] = database.execute("SELECT updated FROM run")
    return int(updated)


def signs_of_life(place: Path, count: int) -> None:
    """Wait for so many of them."""
    for _ in range(count):
        moment = sign_of_life(place)
        until(lambda moment=moment: sign_of_life(place) > moment, why=lambda: "the run went silent")  # type: ignore[misc]


def percent(text: str) -> int:
    found = re.search(r"\]\s+(\d+)%", text)
    return int(found[1]) if found else -1


def fits(text: str, width: int) -> bool:
    """Whether the page was drawn anew for the width, with nothing left of the old one."""
    lines = text.splitlines()
    rules = [line for line in lines if line.startswith("── ")]
    return (
        "‖ Paused" in text
        and "── Errors" in text
        and len(lines) > 19
        and max(map(len, lines)) <= width
        and any(len(line) == width for line in rules)
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    source = work / "source"
    source.mkdir(parents=True)
    for number in range(160):
        (source / f"name-{number:03}.bin").write_bytes(os.urandom(256 << 10))
    return work


@pytest.fixture
def syncing(place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A sync of 40 MiB that takes most of a minute."""
    process = start("sync", "-a", "source", "destination", "--bwlimit", "1M", "--quiet", cwd=place)
    yield process
    process.terminate()
    process.communicate(timeout=30)


@pytest.mark.slow
def test_a_stranger_watches_pauses_and_leaves(place: Path, syncing: subprocess.Popen[bytes]) -> None:
    target = place / "destination"
    until((place / ".sync-state.db").exists, why=lambda: "the sync made no state file")
    terminal = Terminal(place, 100, 30)
    try:
        terminal.type(f'{CHECKOUT / "dunlin"} dashboard --refresh-interval 1; echo "exit code $?"')
        wait(terminal, "▶ Running")
        until(lambda: percent(terminal.visible) > 0, why=lambda: terminal.visible)
        first = percent(terminal.visible)
        until(lambda: percent(terminal.visible) > first, why=lambda: terminal.visible)  # progress moves

        terminal.press("p")
        wait(terminal, "‖ Paused")
        signs_of_life(place, 1)  # what was let go before the pause is still being written for a moment
        before = size_of(target)
        signs_of_life(place, 2)
        assert size_of(target) == before, "bytes moved while the run was paused"
        assert syncing.poll() is None

        for width, height in ((60, 20), (200, 60), (80, 24)):
            terminal.resize(width, height)
            until(lambda width=width: fits(terminal.visible, width), why=lambda: terminal.visible)  # type: ignore[misc]
        terminal.resize(50, 10)
        wait(terminal, "too small: needs 60x20, has 50x10")
        terminal.resize(100, 30)

        terminal.press("p")
        wait(terminal, "▶ Running")
        until(lambda: size_of(target) > before, why=lambda: "nothing moved after the run was resumed")
        terminal.press("q")
        wait(terminal, "exit code 0")
        assert syncing.poll() is None, "to quit the dashboard ended the sync"
    finally:
        terminal.close()


def test_ctrl_c_ends_it_and_no_colour_is_none(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "name").write_text("content")
    dunlin("sync", "source", "destination", cwd=tmp_path, expect=0)
    for variables, coloured in (("", True), ("NO_COLOR=1 ", False)):
        terminal = Terminal(tmp_path, 80, 24)
        try:
            terminal.type(f'{variables}dunlin dashboard --theme dark; echo "exit code $?"')
            wait(terminal, "✓ Completed", "100%")
            assert bool(re.search(r"\x1b\[(?:[0-9;]*;)?[34][0-8]\b", terminal.colored)) is coloured
            terminal.press("C-c")
            wait(terminal, "exit code 0")
        finally:
            terminal.close()


@pytest.mark.parametrize("name", ["TERM", "HUP"])
def test_a_signal_leaves_the_terminal_as_it_was(name: str, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    dunlin("sync", "source", "destination", cwd=tmp_path, expect=0)
    terminal = Terminal(tmp_path, 80, 24)
    try:
        words = shlex.join(command("dashboard"))
        terminal.type(f"sh -c 'echo $$ >number; exec {words}'; echo \"exit code $?\"")
        wait(terminal, "✓ Completed")
        os.kill(int((tmp_path / "number").read_text()), getattr(signal, f"SIG{name}"))
        wait(terminal, "echo $$ >number", "exit code 130")  # the screen of the shell is back
        terminal.type("echo still $((40 + 2)) here")
        wait(terminal, "still 42 here")
    finally:
        terminal.close()


def test_it_ends_when_its_window_is_gone_without_a_signal(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    dunlin("sync", "source", "destination", cwd=tmp_path, expect=0)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    env = environment(tmp_path, {"TERM": "xterm"})
    words = command("dashboard")
    process = subprocess.Popen(words, cwd=tmp_path, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while "✓ Completed".encode() not in shown:
        shown += os.read(ours, 65536)
    os.close(ours)
    assert process.wait(timeout=SECONDS) == 130


def test_a_file_that_another_process_has_locked_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    dunlin("sync", "source", "destination", cwd=tmp_path, expect=0)
    other = apsw.Connection(str(tmp_path / ".sync-state.db"))
    other.execute("PRAGMA journal_mode=DELETE").fetchall()
    other.execute("BEGIN EXCLUSIVE")
    terminal = Terminal(tmp_path, 80, 24)
    try:
        terminal.type("dunlin dashboard --refresh-interval 1")
        wait(terminal, "the state file is locked by another process")
        other.execute("COMMIT")
        other.close()
        wait(terminal, "✓ Completed", without="locked")
    finally:
        terminal.close()


@pytest.mark.slow
@pytest.mark.fuse
def test_beside_a_file_without_a_write_ahead_log(place: Path) -> None:
    """On a network mount readers and the writer take turns: both get theirs, and orders arrive."""
    (place / "backing").mkdir()
    with mounted(place / "backing", place / "mount"):
        database = place / "mount" / "state.db"
        process = start(
            *("sync", "-a", "source", "destination", "--bwlimit", "1M", "--quiet", "--state-db", database), cwd=place
        )
        terminal = Terminal(place, 100, 30)
        try:
            until(database.exists, why=lambda: "the sync made no state file")
            terminal.type(f'dunlin dashboard --refresh-interval 1 --state-db {database}; echo "exit code $?"')
            wait(terminal, "▶ Running")
            until(lambda: percent(terminal.visible) > 0, why=lambda: terminal.visible)
            first = percent(terminal.visible)
            until(lambda: percent(terminal.visible) > first, why=lambda: terminal.visible)
            assert not list((place / "backing").glob("*-wal")), "it has a write-ahead log"
            terminal.press("p")
            wait(terminal, "‖ Paused")
            terminal.press("p")
            wait(terminal, "▶ Running")
            dunlin("control", "bwlimit", "off", "--state-db", database, cwd=place, expect=0)
            wait(terminal, "✓ Completed")
            terminal.press("q")
            wait(terminal, "exit code 0")
            until(lambda: process.poll() is not None, why=lambda: "the sync is over and did not end")
        finally:
            terminal.close()
            process.terminate()
            _, told = process.communicate(timeout=30)
    assert process.returncode == 0, told.decode()
    assert size_of(place / "destination") == size_of(place / "source")


# ---- a service ----


@pytest.mark.slow
def test_a_service_is_watched_and_its_job_paused_resumed_and_cancelled(place: Path) -> None:
    """With a key, beside a real service, which is ended and started again meanwhile."""
    options = {"source": f"{place}/source", "destination": f"{place}/destination", "bwlimit": "1M"}
    with serving(place) as service:
        (place / "key.txt").write_text(dunlin("key", "add", "terminal", cwd=place, expect=0).stdout)
        made = service.client.post("/api/v1/jobs", json={"kind": "sync", "options": options}).json()
        job = f"/api/v1/jobs/{made['id']}"
        service.wait(job, lambda found: found["counts"].get("copied_bytes", 0) > 0)
        terminal = Terminal(place, 100, 30)
        try:
            call = f"dunlin dashboard --url {service.url} --refresh-interval 1"
            terminal.type(f'{call} --key dk_wrong; echo "exit code $?"')
            wait(terminal, "it does not know this key", "exit code 1")
            terminal.type(f'clear; DUNLIN_KEY=@key.txt {call}; echo "exit code $?"')
            wait(terminal, "▶ Running")
            wait(terminal, "files/s")
            terminal.press("p")
            wait(terminal, "the job is paused now")
            assert service.client.get(job).json()["status"] == "paused"
            terminal.press("p")
            # It waits for its turn first, for half a second or so; who looks meanwhile is told that.
            notes = ("the job is queued now", "the job is running now")
            until(lambda: any(each in terminal.visible for each in notes), why=lambda: terminal.visible)
            service.wait(job, lambda found: found["status"] == "running")
            service.stop()
            wait(terminal, "⚠ the service does not answer (Connection refused); figures from")
            again = start("serve", "--http-addr", str(service.port), cwd=place)
            try:
                until(lambda: "⚠" not in terminal.visible, why=lambda: terminal.visible)
                wait(terminal, "▶ Running")
                terminal.press("c")
                wait(terminal, "Type y and Enter; else it goes on")
                terminal.type("y")
                wait(terminal, "■ Cancelled")
                assert service.client.get(job).json()["status"] == "cancelled"
                for width, height in ((60, 20), (200, 60)):
                    terminal.resize(width, height)
                    until(lambda width=width: drawn(terminal.visible, width), why=lambda: terminal.visible)  # type: ignore[misc]
                assert (place / "key.txt").read_text().strip() not in terminal.screen
                terminal.press("q")
                wait(terminal, "exit code 0")
            finally:
                again.terminate()
                _, told = again.communicate(timeout=40)
            assert again.returncode == 0, told.decode()
        finally:
            terminal.close()


def drawn(text: str, width: int) -> bool:
    """Whether the page of a service was drawn anew for the width."""
    lines = text.splitlines()
    rules = [len(line) for line in lines if line.startswith("── ")]
    return "What happened to jobs" in text and max(map(len, lines)) <= width and width in rules


def test_no_service_at_the_address_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as server:  # bound and not listening: nobody else gets the port, and nobody answers
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        code, lines = on_a_terminal(tmp_path, command("dashboard", "--url", f"http://127.0.0.1:{port}"))
    assert (code, lines) == (1, [f"dunlin: cannot read the service http://127.0.0.1:{port}: Connection refused"])


# ---- where it cannot be shown ----


def on_a_terminal(cwd: Path, words: list[str], **variables: str) -> tuple[int, list[str]]:
    """The exit code and the lines of a program whose standard streams are a terminal."""
    ours, theirs = pty.openpty()
    env = environment(cwd, {"TERM": "xterm", **variables})
    process = subprocess.Popen(words, cwd=cwd, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    parts = []
    try:
        while part := os.read(ours, 65536):
            parts.append(part)
    except OSError:  # the other end was closed
        pass
    os.close(ours)
    return process.wait(timeout=30), b"".join(parts).decode().splitlines()


def broken(path: Path) -> None:
    path.write_bytes(b"no database at all" * 100)


def newer(path: Path) -> None:
    dunlin("sync", path.parent, path.parent.parent / "elsewhere", "--state-db", path, cwd=path.parent, expect=0)
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA user_version=99")
    connection.close()


@pytest.mark.parametrize(
    ("make", "expected", "words"),
    [
        (lambda path: None, 1, "there is none"),
        (broken, 2, "is not a SQLite database"),
        (newer, 1, "newer dunlin"),
        (Path.mkdir, 1, "it is a directory"),
    ],
)
def test_a_file_that_is_none_is_one_line_without_a_screen(
    make: Callable[[Path], None], expected: int, words: str, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    path = work / "state.db"
    make(path)
    code, lines = on_a_terminal(work, command("dashboard", "--state-db", path))
    assert (code, len(lines)) == (expected, 1), lines
    assert words in lines[0]


def test_no_terminal_is_one_line(tmp_path: Path) -> None:
    ended = dunlin("dashboard", cwd=tmp_path, expect=1)
    assert ended.stdout == ""
    assert ended.stderr == "dunlin: the dashboard needs a terminal; `dunlin status` prints to pipes and files\n"


def test_a_terminal_without_a_cursor_is_one_line(tmp_path: Path) -> None:
    code, lines = on_a_terminal(tmp_path, command("dashboard"), TERM="dumb")
    assert (code, len(lines)) == (1, 1), lines
    assert "cannot draw on this terminal" in lines[0]


def test_without_textual_the_line_says_what_to_install(tmp_path: Path) -> None:
    dunlin("sync", tmp_path, tmp_path.parent / "elsewhere", cwd=tmp_path, expect=0)
    without = "import sys; sys.modules['textual'] = None; from dunlin.cli.main import main; main()"
    code, lines = on_a_terminal(tmp_path, [sys.executable, "-c", without, "dashboard"])
    assert (code, len(lines)) == (1, 1), lines
    assert lines[0].endswith("pip install 'dunlin[tui]'")


@pytest.mark.parametrize("interval", ["0", "-1", "x", "99999999"])
def test_intervals_are_whole_seconds(interval: str, tmp_path: Path) -> None:
    ended = dunlin("dashboard", "--refresh-interval", interval, cwd=tmp_path, expect=1)
    assert "--refresh-interval" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
