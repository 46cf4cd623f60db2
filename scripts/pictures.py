#!/usr/bin/env python3
"""Make the pictures of docs/pictures/ from real runs: `scripts/pictures.py [NAME ...]`, all of them without a name.

A picture of the terminal is what stands in a real one (tmux) beside a real run, as SVG of our own making: text, so that
it can be read by machines and looks sharp at any size, and no font or other file from elsewhere. Trees, sizes and rates
are the same each time, so that another run gives the same picture but for some figures.

Each picture is a function with `@picture("name.svg")` that gets an empty directory and returns the file's content. The
dashboard's come from textual's own export, and those of web pages from a browser: they are functions like any other.
`tests/acceptance/test_pictures.py` draws one, and looks for the others among the files and in the pages that show them.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from tests.unit.web.served import Served

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from dunlin.report.cells import cells  # noqa: E402
from tests.acceptance.program import dunlin  # noqa: E402
from tests.acceptance.terminal import Terminal  # noqa: E402

PLACE = ROOT / "docs" / "pictures"
MIB = 1 << 20

Make = Callable[[Path], str | bytes]
PICTURES: dict[str, Make] = {}
"""Name of the file -> what makes its content."""


def picture(name: str) -> Callable[[Make], Make]:
    """Put a function among the pictures."""

    def put(make: Make) -> Make:
        PICTURES[name] = make
        return make

    return put


# ---- a screen as SVG ----

WIDTH, HEIGHT, EDGE = 8.4, 18, 14
"""Pixels of a cell and of the edge around them, at a font of 14 pixels."""

COLORS = {"31": "#ff7b72", "32": "#7ee787", "33": "#e3b341", "34": "#79c0ff", "35": "#d2a8ff", "36": "#76e3ea"}
TEXT, BACKGROUND = "#d6dde4", "#15191e"


class Run(NamedTuple):
    """Text of one look that begins in a column."""

    column: int
    text: str
    color: str
    bold: bool


def runs(line: str) -> Iterator[Run]:
    """A line of a terminal, with its SGR sequences (ECMA-48), as pieces of one look each; blank ones are left out."""
    column, color, bold = 0, TEXT, False
    for piece in re.split(r"(\x1b\[[\d;]*m)", line):
        if piece.startswith("\x1b["):
            for code in piece[2:-1].split(";"):
                if code in ("", "0"):
                    color, bold = TEXT, False
                elif code == "1":
                    bold = True
                elif code == "39":
                    color = TEXT
                else:
                    color = COLORS.get(code, color)
            continue
        # Figures stand in columns: each word is put where it belongs, whatever font there is.
        for word in re.finditer(r"\S+(?: \S+)*", piece):
            yield Run(column + cells(piece[: word.start()]), word[0], color, bold)
        column += cells(piece)


def drawing(screen: str, columns: int, title: str) -> str:
    """The lines of a terminal with `columns` columns as an SVG; `title`: for those who cannot see it."""
    lines = screen.split("\n")
    width, height = columns * WIDTH + 2 * EDGE, len(lines) * HEIGHT + 2 * EDGE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img" '
        f'aria-label="{escape(title)}" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14">',
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
    ]
    for row, line in enumerate(lines):
        for run in runs(line):
            place = f'x="{EDGE + run.column * WIDTH:g}" y="{EDGE + (row + 0.75) * HEIGHT:g}"'
            weight = ' font-weight="bold"' if run.bold else ""
            length = f'textLength="{cells(run.text) * WIDTH:g}" lengthAdjust="spacingAndGlyphs"'
            parts.append(f'<text {place} {length} fill="{run.color}"{weight}>{escape(run.text)}</text>')
    return "\n".join([*parts, "</svg>", ""])


# ---- the live view of sync ----


def photos(place: Path) -> None:
    """A tree of large and small files, `photos`; sparse, so that it takes no room."""
    for year in (2023, 2024, 2025):
        folder = place / "photos" / str(year)
        folder.mkdir(parents=True)
        for number in range(400):
            (folder / f"note-{number:03}.txt").write_text("a day at the sea\n" * 20)
        for number in range(4):
            with (folder / f"summer-{number:02}.raw").open("wb") as file:
                file.truncate(24 * MIB)


def window(place: Path, columns: int, lines: int) -> Terminal:
    """A terminal in a place that holds the photos."""
    work = place / "w"
    work.mkdir()
    photos(work)
    return Terminal(work, columns, lines)


def shot(terminal: Terminal, columns: int, title: str) -> str:
    """What stands on it, as SVG; the terminal is closed."""
    try:
        return drawing(terminal.colored, columns, title)
    finally:
        terminal.close()


def far(least: int) -> Callable[[str], bool]:
    """Whether the view on a screen says that the run is so far, in percent, and knows its rates."""

    def there(screen: str) -> bool:
        found = re.search(r"(\d+)%, ETA", screen)
        return bool(found) and int(found[1]) >= least and len(re.findall(r"/s  ETA +\d", screen)) >= 2

    return there


@picture("sync.svg")
def sync(place: Path) -> str:
    terminal = window(place, 90, 20)
    terminal.type("dunlin sync -a --bwlimit 40M photos backup")
    terminal.until(far(40))
    return shot(terminal, 90, "dunlin sync in a terminal: files on their way, totals, a bar, and the time that is left")


@picture("sync-paused.svg")
def paused(place: Path) -> str:
    terminal = window(place, 90, 20)
    terminal.type("dunlin sync -a --bwlimit 40M photos backup")
    terminal.until(far(25))
    dunlin("control", "pause", cwd=place / "w", expect=0)
    terminal.until(lambda screen: "PAUSED" in screen)
    return shot(terminal, 90, "A run that is paused says so, and how it goes on")


@picture("sync-narrow.svg")
def narrow(place: Path) -> str:
    terminal = window(place, 44, 14)
    terminal.type("dunlin sync -a --bwlimit 40M photos backup")
    terminal.until(lambda screen: bool(re.search(r"[4-9]\d%, ETA", screen)))
    return shot(terminal, 44, "The same in 44 columns: what matters most is there")


# ---- the dashboard ----


def dashboard(place: Path, title: str, size: tuple[int, int], *keys: str, status: str = "throttled") -> str:
    """The dashboard over the state that its unit tests make, by Textual's own export; no font is fetched for it."""
    from dunlin.tui.app import Dashboard
    from dunlin.tui.reader import Reader
    from tests.unit.tui.acting import act, read
    from tests.unit.tui.fabricated import NOW, fabricate

    os.environ["TZ"] = "UTC"
    time.tzset()
    fabricate(place / "state.db", status=status)
    reader = Reader(str(place / "state.db"), lambda run: run.status == "running", lambda: NOW)
    app = Dashboard(reader, 3600.0, "dark")
    found: list[str] = []

    async def look(pilot: Pilot[Any]) -> None:
        for key in keys:
            await pilot.press(key)
            await read(pilot)
        found.append(app.export_screenshot(title="dunlin dashboard"))

    act(app, look, size)
    plain = re.sub(r"\s*@font-face \{.*?\}\n|<!--.*?-->", "", found[0], flags=re.DOTALL)
    return plain.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)


@picture("dashboard.svg")
def dashboard_wide(place: Path) -> str:
    return dashboard(place, "The dashboard: the run, load, the last 24 hours, listing, activity, errors", (120, 36))


@picture("dashboard-narrow.svg")
def dashboard_narrow(place: Path) -> str:
    return dashboard(place, "The dashboard in 60 columns and 20 lines; the run is paused", (60, 20), status="paused")


@picture("dashboard-statistics.svg")
def dashboard_statistics(place: Path) -> str:
    return dashboard(place, "Statistics: what runs did, curves, errors by type, the listing, runs", (100, 36), "s")


@picture("dashboard-errors.svg")
def dashboard_errors(place: Path) -> str:
    return dashboard(place, "All errors, and the whole of the one that is chosen", (100, 20), "f", "down")


# ---- the history of a run, in a browser ----


def history(place: Path, size: tuple[int, int], scheme: Literal["light", "dark"]) -> bytes:
    """The top of the page over the run that its unit tests make, as Debian's Chromium shows it."""
    from playwright.sync_api import sync_playwright

    from dunlin import __version__
    from dunlin.web.history import page
    from tests.unit.web.made import empty, long_run

    os.environ["TZ"] = "UTC"
    time.tzset()
    made = empty(place / "state.db")
    file = place / "page.html"
    file.write_text(page(made.history(long_run(made).id), __version__), encoding="utf-8")
    made.state.close()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
        opened = context.new_page()
        opened.goto(file.as_uri())
        taken = opened.screenshot()
        browser.close()
    return taken


@picture("history.png")
def history_desk(place: Path) -> bytes:
    return history(place, (1280, 1240), "light")


@picture("history-phone.png")
def history_phone(place: Path) -> bytes:
    return history(place, (375, 1100), "dark")


# ---- the monitor of a service, in a browser ----


def monitor(place: Path, path: str, size: tuple[int, int], scheme: Literal["light", "dark"]) -> bytes:
    """A page over the service that its unit tests make, without its script; `{running}` in the path is a job's id."""
    from tests.unit.web.busy import busy, hour
    from tests.unit.web.served import served

    with served(place, clock=lambda: next(minutes)) as made:
        minutes = iter(range(1_790_000_000, 1_800_000_000))
        jobs = busy(made)
        hour(made.depth)
        minutes = iter([1_790_000_900] * 10_000)
        return _of_service(made, path.format_map(jobs._asdict()), size, scheme)


def backup(place: Path, path: str, size: tuple[int, int], scheme: Literal["light", "dark"]) -> bytes:
    """A page over the repository that the tests of these pages make."""
    from tests.unit.web.vaulted import grown, vaulted

    home = grown(place)
    with vaulted(place / "service", home, clock=lambda: home.now / 1e9 + 40_000) as made:
        return _of_service(made, f"/backup{path}", size, scheme)


def _of_service(made: Served, path: str, size: tuple[int, int], scheme: Literal["light", "dark"]) -> bytes:
    """A page of a service below that of its monitor, without its script."""
    from playwright.sync_api import sync_playwright

    from dunlin.report.address import Address
    from dunlin.web.listener import Listener, listen

    listener = Listener(made.app, listen(Address("127.0.0.1", 0)), lambda event: None)
    listener.start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            viewport: Any = {"width": size[0], "height": size[1]}
            context = browser.new_context(viewport=viewport, color_scheme=scheme, java_script_enabled=False)
            opened = context.new_page()
            opened.goto(f"http://{listener.address}/monitoring{path}")
            taken = opened.screenshot()
            browser.close()
    finally:
        listener.close()
    return taken


@picture("monitor.png")
def monitor_overview(place: Path) -> bytes:
    return monitor(place, "", (1100, 1060), "light")


@picture("monitor-job.png")
def monitor_job(place: Path) -> bytes:
    return monitor(place, "/job?id={running}", (375, 720), "dark")


@picture("monitor-tasks.png")
def monitor_tasks(place: Path) -> bytes:
    return monitor(place, "/tasks?status=leased", (1100, 460), "light")


@picture("backup.png")
def backup_share(place: Path) -> bytes:
    return backup(place, "/share?repository=vault&share=home", (1100, 1130), "light")


@picture("backup-browse.png")
def backup_browse(place: Path) -> bytes:
    return backup(place, "/browse?repository=vault&share=home&path=docs&sort=size&down=1", (375, 720), "dark")


@picture("backup-changes.png")
def backup_changes(place: Path) -> bytes:
    return backup(place, "/compare?repository=vault&share=home&old=20261214&new=20261228", (1100, 640), "light")


def main(names: list[str]) -> int:
    """Make the pictures that are named, or all."""
    unknown = [name for name in names if name not in PICTURES]
    if unknown:
        print(f"there is no picture {', '.join(unknown)}; there are {', '.join(PICTURES)}", file=sys.stderr)
        return 1
    PLACE.mkdir(exist_ok=True)
    for name in names or PICTURES:
        with tempfile.TemporaryDirectory(prefix="pictures-") as place:
            content = PICTURES[name](Path(place))
        (PLACE / name).write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        print(f"docs/pictures/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
