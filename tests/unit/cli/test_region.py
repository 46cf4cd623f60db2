"""What a region leaves on a screen: lines over lines, lines above, another width, other programs."""

from __future__ import annotations

import io
import os
import pty
import re

import pytest

from dunlin.cli.region import HIDE, NO_WRAP, SHOW, WRAP, Region

TOKEN = re.compile(r"\x1b\[\??(\d*)([A-Za-z])|\r\n|\r|\n|[^\x1b\r\n]")


class Screen(io.StringIO):
    """Lines, a cursor, and the sequences that the region sends; `cut` breaks lines as a narrower terminal does."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.rows, self.row, self.column = width, [""], 0, 0
        self.wraps = self.cursor = True

    def write(self, text: str) -> int:
        for token in TOKEN.finditer(text):
            number, letter = token[1], token[2]
            if token[0] in ("\r", "\r\n"):
                self.column = 0
            if token[0] in ("\n", "\r\n"):  # a terminal turns LF into CR LF
                self.row, self.column = self.row + 1, 0
            elif letter == "A":
                assert self.row >= int(number), "above the screen"
                self.row -= int(number)
            elif letter in ("K", "J"):
                self.rows[self.row] = self.rows[self.row][: self.column]
                if letter == "J":
                    del self.rows[self.row + 1 :]
            elif letter in ("h", "l"):
                if number == "25":
                    self.cursor = letter == "h"
                else:
                    self.wraps = letter == "h"
            elif token[0] >= " ":
                self._put(token[0])
            while len(self.rows) <= self.row:
                self.rows.append("")
        return len(text)

    def _put(self, char: str) -> None:
        if self.column == self.width:
            if self.wraps:
                self.row, self.column = self.row + 1, 0
                self.rows.append("")
            else:
                self.column -= 1
        line = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = line[: self.column] + char + line[self.column + 1 :]
        self.column += 1

    def cut(self, width: int) -> None:
        rows: list[str] = []
        for at, line in enumerate(self.rows):
            pieces = [line[begin : begin + width] for begin in range(0, len(line), width)] or [""]
            if at == self.row:
                self.row, self.column = len(rows) + len(pieces) - 1, len(pieces[-1])
            rows += pieces
        self.rows, self.width = rows, width


@pytest.fixture
def screen() -> Screen:
    made = Screen(20)
    made.write("$ dunlin\n")
    return made


def test_lines_are_drawn_over_and_nothing_of_the_old_ones_stays(screen: Screen) -> None:
    region = Region(screen)
    region.draw(["one one one", "two two", "three"], 20)
    assert screen.rows == ["$ dunlin", "one one one", "two two", "three"]
    region.draw(["1", "2"], 20)
    assert screen.rows == ["$ dunlin", "1", "2"]
    region.draw(["first", "second", "third", "fourth"], 20)
    assert screen.rows == ["$ dunlin", "first", "second", "third", "fourth"]
    assert not screen.cursor
    region.leave(20)
    assert screen.rows == ["$ dunlin", ""]
    assert (screen.cursor, screen.wraps) == (True, True)


def test_lines_above_stay_and_long_ones_are_whole(screen: Screen) -> None:
    region = Region(screen)
    region.draw(["view"], 20)
    region.draw(["view", "more"], 20, ["a warning of more than twenty cells", "another"])
    assert screen.rows == ["$ dunlin", "a warning of more th", "an twenty cells", "another", "view", "more"]
    region.draw(["view"], 20)
    assert screen.rows[-2:] == ["another", "view"]


@pytest.mark.parametrize("width", [19, 12, 7, 3])
def test_a_narrower_terminal_breaks_lines_and_nothing_of_them_stays(screen: Screen, width: int) -> None:
    region = Region(screen)
    region.draw(["0123456789abcdefghi", "short", "0123456789abcd"], 20)
    screen.cut(width)
    above = screen.rows[: -(-len("$ dunlin") // width)]
    region.draw(["new", "new"], width)
    assert screen.rows == [*above, "new", "new"]


def test_a_wider_terminal_needs_no_longer_way(screen: Screen) -> None:
    region = Region(screen)
    region.draw(["0123456789abcdefghi", "x"], 20)
    screen.width = 60
    region.draw(["0123456789abcdefghi 0123456789", "y"], 60)
    assert screen.rows == ["$ dunlin", "0123456789abcdefghi 0123456789", "y"]


def test_a_line_wider_than_thought_does_not_wrap(screen: Screen) -> None:
    region = Region(screen, cells=lambda line: 10)
    for _ in range(3):
        region.draw(["x" * 25, "y"], 20)
    assert [line[:3] for line in screen.rows] == ["$ d", "xxx", "y"]


def test_one_write_for_each_picture_and_no_erasing_before_it() -> None:
    writes: list[str] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            writes.append(text)
            return len(text)

    region = Region(Stream())
    region.draw(["a", "b"], 20)
    region.draw(["c", "d"], 20)
    assert writes == [
        f"\r{HIDE}{NO_WRAP}a\x1b[K\nb\x1b[J{WRAP}",
        f"\r\x1b[1A{NO_WRAP}c\x1b[K\nd\x1b[J{WRAP}",
    ]  # fmt: skip
    region.leave(20)
    region.leave(20)
    assert writes[2:] == [f"\r\x1b[1A\x1b[J{SHOW}"]


def test_what_others_wrote_is_not_drawn_over(screen: Screen) -> None:
    region = Region(screen)
    region.draw(["one", "two"], 20)
    screen.write("\n[1]+ Stopped\n")
    region.forget()
    assert not region.there
    region.draw(["three"], 20)
    assert screen.rows == ["$ dunlin", "one", "two", "[1]+ Stopped", "three"]


def test_names_that_the_terminal_cannot_show() -> None:
    raw = io.BytesIO()
    region = Region(io.TextIOWrapper(raw, encoding="ascii", newline=""))
    region.draw(["caf\u00e9"], 40)
    assert b"caf\\xe9" in raw.getvalue()


def test_an_end_without_ceremony_shows_the_cursor() -> None:
    leader, follower = pty.openpty()
    try:
        with open(os.dup(follower), "w") as stream:
            region = Region(stream)
            region.let_go()  # nothing is drawn: nothing to restore
            assert region.in_front(), "a terminal that is not ours alone knows no jobs"
            region.draw(["x"], 20)
            os.read(leader, 100)
            region.let_go()
            assert SHOW.encode() in os.read(leader, 100)
            assert not region.there
    finally:
        os.close(leader)
        os.close(follower)
