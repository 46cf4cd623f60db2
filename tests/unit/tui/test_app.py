"""Every key of the dashboard, and what becomes of it when the state file goes wrong while it is shown."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import apsw
import pytest
from textual import events
from textual.pilot import Pilot

from dunlin.report import NullReport
from dunlin.state import State
from dunlin.state.runs import Life
from dunlin.tui.app import Dashboard
from dunlin.tui.base import THEMES
from dunlin.tui.reader import Look, Question, Reader
from tests.unit.state.rows import Clock
from tests.unit.tui.acting import act, read, screen, until
from tests.unit.tui.conftest import Build
from tests.unit.tui.fabricated import NOW, fabricate

Keys = Pilot[Any]


async def again(app: Dashboard, pilot: Keys) -> None:
    """Press r and wait for the look that it makes."""
    before = app.looks
    await pilot.press("r")
    await until(pilot, lambda: app.looks > before)


def text(app: Dashboard) -> str:
    return "\n".join(screen(app))


def orders(path: Path) -> list[tuple[int, str]]:
    connection = apsw.Connection(str(path))
    try:
        return list(connection.execute("SELECT run, verb FROM control ORDER BY id"))
    finally:
        connection.close()


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
def test_quitting(key: str, build: Build) -> None:
    app = build()

    async def steps(pilot: Keys) -> None:
        await pilot.press(key)
        await until(pilot, lambda: not app.is_running)

    act(app, steps)
    assert app.return_code == 0


def test_ctrl_c_quits_while_something_is_typed(build: Build) -> None:
    app = build()

    async def steps(pilot: Keys) -> None:
        await pilot.press("slash", "q")
        assert app.is_running
        assert app.view.search == "q"
        await pilot.press("ctrl+c")
        await until(pilot, lambda: not app.is_running)

    act(app, steps)


def test_r_reads_again(build: Build, path: Path) -> None:
    app = build("running")

    async def steps(pilot: Keys) -> None:
        assert "8,234 / 10,000" in text(app)
        state = State.open(str(path), NullReport(), clock=Clock(NOW))
        run = state.running()[0]
        run.stats.copied_files += 100
        run.stats.pending_files -= 100
        state.update_run(run.id, run.stats)
        state.close()
        await again(app, pilot)
        assert "8,334 / 10,000" in text(app)
        assert app.view.note[0] == ""  # what says that the file is read goes when it is

    act(app, steps)


def test_the_answer_to_an_older_question_is_never_shown(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    app = build()
    look, show, go_on = app._reader.look, app._show, threading.Event()
    asked: list[str] = []
    shown: list[str] = []

    def slow(question: Question) -> Look:
        asked.append(question.page)
        assert go_on.wait(10)
        return look(question)

    def recorded(found: Look) -> None:
        shown.append(found.question.page)
        show(found)

    async def steps(pilot: Keys) -> None:
        monkeypatch.setattr(app._reader, "look", slow)
        monkeypatch.setattr(app, "_show", recorded)
        await pilot.press("f")
        await until(pilot, lambda: asked == ["errors"])
        await pilot.press("s")
        go_on.set()
        await until(pilot, lambda: app.look.question.page == "statistics")

    act(app, steps)
    assert (asked, shown) == (["errors", "statistics"], ["statistics"])


def test_the_pages_open_and_close(build: Build) -> None:
    app = build()

    async def steps(pilot: Keys) -> None:
        for key, words in (("f", "dunlin errors"), ("s", "dunlin statistics"), ("question_mark", "dunlin keys")):
            await pilot.press(key)
            await read(pilot)
            assert screen(app)[0].startswith(words)
            await pilot.press("escape")
            assert screen(app)[0].startswith("dunlin dashboard")
            await pilot.press(key, key)
            assert screen(app)[0].startswith("dunlin dashboard")

    act(app, steps)


def test_arrows_scroll_the_activity_and_stay_where_they_are(build: Build, path: Path) -> None:
    app = build()

    async def steps(pilot: Keys) -> None:
        newest = app.look.activity[0].id
        await pilot.press("down", "down", "down")
        assert app.view.top == newest - 3
        assert "▲ 3 newer" in text(app)
        state = State.open(str(path), NullReport(), clock=Clock(NOW))
        state.put_event(12, 20, "file.copied", "", "brand new", size=1)
        state.close()
        await again(app, pilot)
        assert "▲ 4 newer" in text(app)
        assert "brand new" not in text(app)
        await pilot.press("up")
        assert "▲ 3 newer" in text(app)
        await pilot.press("home")
        assert "brand new" in text(app)
        await pilot.press("end")
        assert app.look.activity[-1].path in text(app)
        await pilot.press("escape")
        assert app.view.top is None

    act(app, steps)


def test_slash_searches_the_activity(build: Build) -> None:
    app = build()

    async def steps(pilot: Keys) -> None:
        await pilot.press("slash", *"corrupt")
        await read(pilot)
        assert [each.path for each in app.look.activity] == ["data/2024/corrupt_file.json"]
        await pilot.press("enter")
        assert not app.line.display
        assert "only with corrupt" in text(app)
        await pilot.press("s", "s")  # keys are keys again
        await pilot.press("slash", "escape")
        await read(pilot)
        assert len(app.look.activity) > 50

    act(app, steps)


def test_markup_that_is_searched_for_is_taken_as_it_is(build: Build) -> None:
    app = build()

    async def steps(pilot: Keys) -> None:
        await pilot.press("slash", "left_square_bracket", *"red", "right_square_bracket")
        await read(pilot)
        assert app.view.search == "[red]"
        assert {each.path for each in app.look.activity} == {"data/2024/[red]not red[/red].txt"}

    act(app, steps)


def test_the_page_of_errors_filters_and_searches(build: Build) -> None:
    app = build()

    async def steps(pilot: Keys) -> None:
        await pilot.press("f")
        await read(pilot)
        assert len(app.look.log) == 3
        await pilot.press("down")
        assert "very-long-directory-name/" * 2 in text(app)  # all of the path, folded
        await pilot.press("t")
        await read(pilot)
        assert [each.category for each in app.look.log] == ["network"]
        for _ in range(5):
            await pilot.press("t")
        await read(pilot)
        assert len(app.look.log) == 3
        await pilot.press("slash", *"mismatch", "enter")
        await read(pilot)
        assert [each.path for each in app.look.log] == ["data/2024/corrupt_file.json"]
        await pilot.press("escape")
        await read(pilot)
        assert len(app.look.log) == 3
        assert app.view.page == "errors"
        await pilot.press("escape")
        assert app.view.page == "main"

    act(app, steps)


def test_errors_about_files_that_were_synced_later_are_shown_when_asked_for(build: Build, path: Path) -> None:
    app = build()
    state = State.open(str(path), NullReport(), clock=Clock(NOW))
    state.resolve(1, "data/2024/corrupt_file.json")
    state.close()

    async def steps(pilot: Keys) -> None:
        await pilot.press("f")
        await read(pilot)
        assert len(app.look.log) == 2
        await pilot.press("o")
        await read(pilot)
        assert len(app.look.log) == 3
        assert "with resolved" in text(app)

    act(app, steps)


def test_more_errors_are_read_as_the_cursor_reaches_them(build: Build, path: Path) -> None:
    app = build()
    state = State.open(str(path), NullReport(), clock=Clock(NOW))
    for number in range(450):
        state.put_event(12, 40, "file.failed", "broken", f"name-{number}")
    state.close()

    async def steps(pilot: Keys) -> None:
        await pilot.press("f")
        await read(pilot)
        assert len(app.look.log) == 200
        for _ in range(18):
            await pilot.press("pagedown")
        await read(pilot)
        assert len(app.look.log) == 400
        for _ in range(2):  # the first asks for all that the page has not read yet
            await pilot.press("end")
            await read(pilot)
        assert "453 of 453" in text(app)
        assert "Checksum mismatch" in text(app)

    act(app, steps)


@pytest.mark.parametrize(("status", "verb"), [("running", "pause"), ("throttled", "pause"), ("paused", "resume")])
def test_p_gives_the_order_that_control_gives(status: str, verb: str, build: Build, path: Path) -> None:
    app = build(status)

    async def steps(pilot: Keys) -> None:
        await pilot.press("p")
        await until(pilot, lambda: len(orders(path)) == 1)
        await pilot.press("p")
        assert "waiting for it" in text(app)
        state = State.open(str(path), NullReport(), clock=Clock(NOW))
        assert [order.verb for order in state.orders(12)] == [verb]
        state.update_run(12, state.run(12).stats, Life(paused=verb == "pause", listed=True))
        state.close()
        await until(pilot, lambda: not app.view.ordered)
        assert ("is paused" if verb == "pause" else "goes on") in screen(app)[-1]

    act(app, steps)
    assert orders(path) == [(12, verb)]


@pytest.mark.parametrize("status", ["completed", "stale"])
def test_p_says_that_nothing_goes_on(status: str, build: Build, path: Path) -> None:
    app = build(status, alive=False)

    async def steps(pilot: Keys) -> None:
        await pilot.press("p")
        assert "no run is going on" in screen(app)[-1]

    act(app, steps)
    assert orders(path) == []


def test_tab_goes_through_the_pairs(build: Build) -> None:
    app = build(pairs=3)

    async def steps(pilot: Keys) -> None:
        assert "pair 3 of 3" in screen(app)[0]  # the one that runs, though it came last
        await pilot.press("tab")
        await read(pilot)
        assert "file:///source-2 → file:///destination-2" in text(app)
        assert "only-of-2.txt" in text(app)
        assert "only-of-3.txt" not in text(app)
        await pilot.press("shift+tab")
        await read(pilot)
        assert "az://mycontainer/data" in text(app)

    act(app, steps)


def test_tab_without_another_pair_says_so(build: Build) -> None:
    app = build()

    async def steps(pilot: Keys) -> None:
        await pilot.press("tab")
        assert "only one pair" in screen(app)[-1]

    act(app, steps)


async def type_name(pilot: Keys, name: str) -> None:
    await pilot.press("e")
    app = pilot.app
    assert isinstance(app, Dashboard)
    app.line.value = name
    await pilot.press("enter")
    await until(pilot, lambda: bool(app.view.note[0]) or app.line.display)


def test_exporting_everything(build: Build, tmp_path: Path) -> None:
    app, file = build(), tmp_path / "all.json"

    async def steps(pilot: Keys) -> None:
        await type_name(pilot, str(file))

    act(app, steps)
    found = json.loads(file.read_text())
    assert found["pair"] == {"source": "az://mycontainer/data", "destination": "file:///srv/mirror/data"}
    assert (found["current"]["status"], found["current"]["done_files"]) == ("throttled", 8234)
    assert found["exported"] == "2026-11-21T07:41:23.000Z"
    assert (len(found["runs"]), len(found["errors"]), len(found["samples"])) == (12, 3, 78)


def test_exporting_what_is_open_as_a_table(build: Build, tmp_path: Path) -> None:
    app, runs, errors = build(), tmp_path / "runs.csv", tmp_path / "errors.csv"

    async def steps(pilot: Keys) -> None:
        await type_name(pilot, str(runs))
        await pilot.press("f")
        await type_name(pilot, str(errors))

    act(app, steps)
    rows = list(csv.DictReader(io.StringIO(runs.read_text())))
    assert [row["run"] for row in rows][:2] == ["12", "11"]
    assert rows[0]["copied_files"] == "8231"
    failed = list(csv.DictReader(io.StringIO(errors.read_text())))
    assert (failed[2]["path"], failed[2]["type"]) == ("data/2024/corrupt_file.json", "checksum")


@pytest.mark.parametrize(("answer", "replaced"), [("n", False), ("", False), ("y", True)])
def test_a_file_that_is_there_is_replaced_only_after_a_question(
    answer: str, replaced: bool, build: Build, tmp_path: Path
) -> None:
    app, file = build(), tmp_path / "mine.json"
    file.write_text("precious")

    async def steps(pilot: Keys) -> None:
        await type_name(pilot, str(file))
        await until(pilot, lambda: "Replace it?" in app.view.asking)
        assert file.read_text() == "precious"
        app.line.value = answer
        await pilot.press("enter")
        await until(pilot, lambda: bool(app.view.note[0]))

    act(app, steps)
    assert (file.read_text() != "precious") is replaced
    assert sorted(each.name for each in tmp_path.iterdir() if "export" in each.name) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("figures.txt", "must end in .json or .csv"),
        (".json", "must end in .json or .csv"),
        ("nowhere/at/all.json", "nothing was exported"),
    ],
)
def test_a_bad_name_is_one_line(name: str, words: str, build: Build, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    app = build()

    async def steps(pilot: Keys) -> None:
        await type_name(pilot, name)
        assert words in screen(app)[-1]

    act(app, steps)


def test_escape_leaves_the_export(build: Build, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    app = build()
    before = set(os.listdir(tmp_path))

    async def steps(pilot: Keys) -> None:
        await pilot.press("e", "escape")
        assert not app.line.display

    act(app, steps)
    assert set(os.listdir(tmp_path)) - before <= {"state.db-wal", "state.db-shm"}


def test_the_wheel_scrolls(build: Build) -> None:
    app = build()

    async def steps(pilot: Keys) -> None:
        await pilot._post_mouse_events([events.MouseScrollDown], app.canvas, button=0)
        await until(pilot, lambda: app.view.top is not None)

    act(app, steps)


def test_a_file_that_vanishes_is_waited_for(build: Build, path: Path) -> None:
    app = build("running")
    aside = path.with_name("aside.db")

    async def steps(pilot: Keys) -> None:
        for ending in ("", "-wal", "-shm"):
            if Path(f"{path}{ending}").exists():
                shutil.move(f"{path}{ending}", f"{aside}{ending}")
        await again(app, pilot)
        assert "the state file is gone; waiting for it; figures from 07:41:23" in screen(app)[1]
        assert "8,234 / 10,000" in text(app)
        fabricate(path, status="completed")
        await again(app, pilot)
        assert app.look.problem == ""
        assert "✓ Completed" in text(app)

    act(app, steps)


def test_a_file_that_is_replaced_is_opened_anew(build: Build, path: Path, tmp_path: Path) -> None:
    app = build("running")
    fabricate(tmp_path / "other.db", status="failed")

    async def steps(pilot: Keys) -> None:
        os.replace(tmp_path / "other.db", path)
        for ending in ("-wal", "-shm"):
            Path(f"{path}{ending}").unlink(missing_ok=True)
        await again(app, pilot)
        assert "✗ Failed" in text(app)

    act(app, steps)


def test_a_damaged_file_is_one_line_and_the_figures_stay(build: Build, path: Path, tmp_path: Path) -> None:
    app = build("running")

    async def steps(pilot: Keys) -> None:
        (tmp_path / "broken").write_bytes(b"this is no database" * 1000)
        os.replace(tmp_path / "broken", path)
        await again(app, pilot)
        assert "the state file cannot be read: the file is not a SQLite database" in screen(app)[1]
        assert "8,234 / 10,000" in text(app)

    act(app, steps)


def test_a_state_without_runs(build: Build, path: Path) -> None:
    State.open(str(path), NullReport(), clock=Clock(NOW)).close()
    app = build()

    async def steps(pilot: Keys) -> None:
        assert "no run is on record yet" in text(app)
        for key in ("f", "s", "p", "e", "escape", "tab", "down", "end"):
            await pilot.press(key)
            await read(pilot)
        assert app.is_running

    act(app, steps)


def test_resizing_folds_panels_away(build: Build) -> None:
    app = build()

    async def steps(pilot: Keys) -> None:
        for size in ((200, 60), (60, 20), (59, 20), (60, 19), (80, 24), (20, 5)):
            await pilot.resize_terminal(*size)
            await until(pilot, lambda size=size: app.canvas.size == size)  # type: ignore[misc]
            small = size[0] < 60 or size[1] < 20
            assert text(app).startswith("too small: "[: size[0]]) is small

    act(app, steps)


def test_the_theme_is_the_one_that_was_asked_for(build: Build) -> None:
    for name, theme in THEMES.items():
        assert build(theme=name).theme == theme


def test_quitting_does_not_wait_for_a_read_that_hangs(path: Path) -> None:
    release = threading.Event()

    class Hanging(Reader):
        def look(self, question: Any) -> Any:
            release.wait(30)
            return super().look(question)

    fabricate(path)
    app = Dashboard(Hanging(str(path), None, lambda: NOW), 3600.0)

    async def run() -> None:
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause()
            assert "reading the state file" in text(app)
            await pilot.press("question_mark")
            assert screen(app)[0].startswith("dunlin keys")  # the screen does not wait either
            await pilot.press("q")

    try:
        asyncio.run(asyncio.wait_for(run(), 20))
    finally:
        release.set()
    assert app.return_code == 0
