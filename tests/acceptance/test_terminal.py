"""`dunlin sync` before the eyes of a person: a real terminal (tmux), its sizes, its jobs, and its end."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.program import dunlin
from tests.acceptance.terminal import Terminal
from tests.acceptance.trees import make


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[[int, int], Terminal]]:
    opened: list[Terminal] = []
    cwd = tmp_path / "w"
    cwd.mkdir()

    def begin(columns: int = 80, lines: int = 24) -> Terminal:
        opened.append(Terminal(cwd, columns, lines))
        return opened[-1]

    yield begin
    for each in opened:
        each.close()


Open = Callable[[int, int], Terminal]
MIB = 1 << 20


def widest(screen: str) -> int:
    return max(map(len, screen.splitlines()))


def once(screen: str) -> bool:
    """Whether one view, and nothing left of another one, is on the screen."""
    return all(screen.count(word) == 1 for word in ("elapsed", "copied", "pending", "scanned", "huge "))


def pictures(window: Terminal, number: int) -> None:
    """Wait for so many pictures: each shows other figures than the one before."""
    for _ in range(number):
        before = window.visible
        window.until(lambda screen, before=before: window.visible != before)  # type: ignore[misc]


def elapsed(screen: str) -> int:
    """Seconds that the run says it has taken."""
    found = re.findall(r"(?:(\d+)m)?(\d+)s elapsed", screen)
    return int(found[-1][0] or 0) * 60 + int(found[-1][1]) if found else -1


def size_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize(("first", "second"), [((100, 30), (44, 12)), ((60, 20), (130, 40))])
def test_the_view_follows_the_size_of_the_terminal(
    terminal: Open, tmp_path: Path, first: tuple[int, int], second: tuple[int, int]
) -> None:
    make(tmp_path / "w/s", {"huge": bytes(60 * MIB)} | {f"f{n}": b"x" for n in range(20)})
    window = terminal(*first)
    window.type("dunlin sync --bwlimit 2M s d")
    screen = window.until(lambda screen: "ETA" in screen and once(screen))
    assert widest(screen) < first[0]
    window.resize(*second)
    window.until(lambda screen: ("[" in screen) is (second[0] >= 71) and "elapsed" in screen)
    pictures(window, 3)
    # A terminal that makes room for broken lines by scrolling keeps what it scrolled off; nobody can go back there.
    screen = window.visible
    assert widest(screen) <= second[0]
    assert once(screen), screen
    window.press("C-c")
    window.until(lambda screen: screen.endswith("$"))
    screen = window.visible
    assert "interrupted by SIGINT: copied" in " ".join(screen.split())
    assert "elapsed" not in screen
    assert "%" not in screen
    assert window.cursor


def test_a_pause_is_shown_with_the_way_out_of_it(terminal: Open, tmp_path: Path) -> None:
    make(tmp_path / "w/s", {"huge": bytes(30 * MIB)})
    window = terminal(80, 24)
    window.type("dunlin sync --bwlimit 2M s d")
    window.until(lambda screen: "ETA" in screen)
    dunlin("control", "pause", cwd=tmp_path / "w", expect=0)
    screen = window.until(lambda screen: "PAUSED" in screen)
    assert "dunlin: paused by an order" in screen
    assert screen.splitlines()[-1] == "PAUSED (dunlin control resume)"
    assert "ETA" not in screen
    before = elapsed(screen)
    assert before >= 0
    screen = window.until(lambda screen: elapsed(screen) >= before + 2)
    assert "nothing got on" not in screen
    dunlin("control", "resume", cwd=tmp_path / "w", expect=0)
    screen = window.until(lambda screen: "PAUSED" not in screen)
    assert "held to 2.0 MiB/s" in window.until(lambda screen: "held to" in screen)
    dunlin("control", "bwlimit", "off", cwd=tmp_path / "w", expect=0)
    screen = window.until(lambda screen: screen.endswith("$"))
    assert "copied 1 file (30.0 MiB)" in screen
    assert "dunlin: by an order the limit is now off" in screen


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again(terminal: Open, tmp_path: Path) -> None:
    make(tmp_path / "w/s", {"huge": bytes(80 * MIB)})
    window = terminal(80, 24)
    window.type("dunlin sync --bwlimit 3M s d")
    window.until(lambda screen: "ETA" in screen)
    assert not window.cursor
    window.press("C-z")
    screen = window.until(lambda screen: "Stopped" in screen and screen.endswith("$"))
    assert "elapsed" not in screen
    assert window.cursor
    window.type("fg")
    screen = window.until(lambda screen: "elapsed" in screen)
    assert screen.count("elapsed") == 1
    assert "Stopped" in screen, "what the shell wrote is not drawn over"
    window.press("C-z")
    window.until(lambda screen: screen.count("Stopped") == 2)
    window.type("clear")
    window.type("bg")
    window.until(lambda screen: "&" in screen)
    before = size_of(tmp_path / "w/d")
    window.until(lambda screen: size_of(tmp_path / "w/d") > before + 3 * MIB)
    assert "elapsed" not in window.screen, "a job in the background draws nothing"
    window.type("kill %1; wait %1; echo code=$?")
    assert "code=130" in window.until(lambda screen: "code=1" in screen)


def test_waiting_for_another_run_is_said(terminal: Open, tmp_path: Path) -> None:
    make(tmp_path / "w/s", {"huge": bytes(40 * MIB)})
    first, second = terminal(80, 24), terminal(160, 24)
    first.type("dunlin sync --bwlimit 2M s d")
    first.until(lambda screen: "ETA" in screen)
    second.type("dunlin sync s d")
    screen = second.until(lambda screen: "waiting up to 10 seconds for it" in screen)
    assert "another run works on this destination (process" in screen
    first.press("C-c")
    assert "copied 1 file" in second.until(lambda screen: screen.endswith("$"))


def test_a_terminal_that_is_closed_interrupts_the_run_in_order(terminal: Open, tmp_path: Path) -> None:
    make(tmp_path / "w/s", {"huge": bytes(40 * MIB)})
    window = terminal(80, 24)
    window.type("dunlin sync --bwlimit 2M s d")
    window.until(lambda screen: "ETA" in screen)
    window.close()
    end = time.monotonic() + 60
    while "interrupted" not in dunlin("status", "--json", cwd=tmp_path / "w").stdout:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert not list((tmp_path / "w/d").iterdir()), "nothing is left of the file that was on its way"


def test_without_a_terminal_there_are_lines_and_nothing_that_steers_one(terminal: Open, tmp_path: Path) -> None:
    make(tmp_path / "w/s", {"huge": bytes(6 * MIB)})
    done = dunlin("sync", "--bwlimit", "6M", "s", "d", cwd=tmp_path / "w", expect=0, env={"TERM": "xterm"})
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stdout + done.stderr
    window = terminal(80, 24)
    window.type(f"{shlex.quote(sys.executable)} -c 'print(1)'; dunlin sync -q s e; echo done")
    assert window.until(lambda screen: screen.endswith("done\n$")).splitlines()[-3] == "1", "quiet is quiet"
