"""Every key of the dashboard of a service, and how its pages look in three sizes, beside a service that was made up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from textual.pilot import Pilot

from dunlin.report.cells import cells
from dunlin.tui.remote import Client, ServiceLook, ServiceReader, Want
from dunlin.tui.service import ServiceDashboard
from dunlin.tui.service_pages import ServiceView, named, paint
from tests.unit.tui.acting import until
from tests.unit.tui.conftest import without_fonts
from tests.unit.tui.servicestub import KEY, NOW, Stub, problem, serving

Keys = Pilot[Any]
SIZES = ((60, 20), (80, 24), (200, 60))
PAGES = {"main": (), "job": ("down", "down", "down", "down", "enter"), "help": ("question_mark",)}


class Place:
    """The dashboard, and the service that it shows under an address that is always the same."""

    def __init__(self, stub: Stub) -> None:
        self.stub = stub
        self.reader = ServiceReader(Client(stub.url), lambda: NOW)
        self.reader.url = "http://files.example.com:8080"

    def app(self, theme: str = "dark", note: str = "") -> ServiceDashboard:
        app = ServiceDashboard(self.reader, 3600.0, theme, note)
        export = app.export_screenshot
        app.export_screenshot = lambda **words: without_fonts(export(**words))  # type: ignore[method-assign]
        return app


@pytest.fixture
def place() -> Iterator[Place]:
    with serving(Stub()) as stub:
        yield Place(stub)


async def read(pilot: Keys) -> None:
    app = pilot.app
    assert isinstance(app, ServiceDashboard)
    await until(pilot, lambda: app.looks > 0 and app.look.want == app.question and app.look.time > 0)


def act(app: ServiceDashboard, steps: Callable[[Keys], Awaitable[None]], size: tuple[int, int] = (100, 30)) -> None:
    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await read(pilot)
            await steps(pilot)

    asyncio.run(run())


def text(app: ServiceDashboard) -> str:
    lines = app._lines(app.canvas.size.width, app.canvas.size.height)
    return "\n".join("".join(piece for piece, _ in line) for line in lines)


# ---- how it looks ----


def steps(*keys: str) -> Callable[[Keys], Awaitable[None]]:
    async def run(pilot: Keys) -> None:
        await read(pilot)
        for key in keys:
            await pilot.press(key)
            await read(pilot)

    return run


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("page", PAGES)
def test_page(page: str, size: tuple[int, int], place: Place, snap_compare: Callable[..., bool]) -> None:
    assert snap_compare(place.app(), terminal_size=size, run_before=steps(*PAGES[page]))


def test_its_own_theme(place: Place, snap_compare: Callable[..., bool]) -> None:
    assert snap_compare(place.app("default"), terminal_size=(80, 24), run_before=steps())


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("width", [60, 61, 79, 100, 119, 120, 150, 300])
def test_every_size_is_filled_and_never_left(page: str, width: int, place: Place) -> None:
    look = place.reader.look(Want(job="j5" if page == "job" else ""))
    for height in (20, 21, 24, 40, 80):
        for given in (look, ServiceLook(), look._replace(shared="not for this key", problem="it is away"),
                      look._replace(jobs=[], queues=[], workers=[], activity=[], failures=[])):  # fmt: skip
            lines = paint(given, ServiceView(page=page), "http://files.example.com", width, height, NOW)
            assert len(lines) == height
            assert max(sum(cells(piece) for piece, _ in line) for line in lines) <= width


def test_names_from_elsewhere_are_harmless(place: Place) -> None:
    for name in ("label", "created_by", "kind", "status", "error"):
        place.stub.job("j9")[name] = "\x1b[2J\u202egone\nover"
    place.stub.found["queues"][0]["queue"] = place.stub.found["workers"][0]["worker"] = "\x1b]0;\x07"
    look = place.reader.look(Want(job="j9"))
    for page in ("main", "job"):
        lines = paint(look, ServiceView(page=page, chosen="j9"), "http://h", 200, 60, NOW)
        assert all(piece.isprintable() for line in lines for piece, _ in line)


def test_both_sides_of_a_pair_keep_their_ends() -> None:
    short = named("/srv/a/long/way/down/to/the/source -> /backup/another/long/way/to/the/destination", 40)
    assert len(short) <= 40
    source, target = short.split(" -> ")
    assert source.startswith("/srv")
    assert source.endswith("ource")
    assert target.endswith("destination")
    assert named("3 items", 24) == "3 items"


# ---- keys ----


def test_the_chosen_job_stays_chosen_when_others_come(place: Place) -> None:
    app = place.app()

    async def run(pilot: Keys) -> None:
        await pilot.press("down")
        assert "Chosen: sync j7" in text(app)
        place.stub.found["jobs"].insert(0, {**place.stub.job("j8"), "id": "new", "created": "2026-11-22T07:59:00Z"})
        await pilot.press("r")
        await until(pilot, lambda: len(app.look.jobs) == 7)
        assert "Chosen: sync j7" in text(app)
        await pilot.press("home")
        assert "Chosen: sync new" in text(app)
        await pilot.press("end")
        assert "Chosen: sync j4" in text(app)

    act(app, run)


def test_p_pauses_and_resumes_really(place: Place) -> None:
    app = place.app()

    async def run(pilot: Keys) -> None:
        await pilot.press("p")
        await until(pilot, lambda: "the job is paused now" in text(app))
        assert place.stub.job("j8")["status"] == "paused"
        assert "p resume" in text(app) or "the job is paused" in text(app)
        await pilot.press("p")
        await until(pilot, lambda: "the job is running now" in text(app))
        assert place.stub.job("j8")["status"] == "running"

    act(app, run)


@pytest.mark.parametrize(("answer", "status"), [("y", "cancelled"), ("n", "running"), ("", "running")])
def test_c_cancels_after_a_question(answer: str, status: str, place: Place) -> None:
    app = place.app()

    async def run(pilot: Keys) -> None:
        await pilot.press("c")
        assert "Cancel job j8?" in text(app)
        await pilot.press(*answer, "enter")
        words = "the job is cancelled now" if answer == "y" else "the job goes on"
        await until(pilot, lambda: words in text(app))

    act(app, run)
    assert place.stub.job("j8")["status"] == status
    posts = [target for method, target, _ in place.stub.asked if method == "POST"]
    assert posts == (["/api/v1/jobs/j8/cancel"] if answer == "y" else [])


def test_an_order_for_a_job_that_is_over_is_not_given(place: Place) -> None:
    app = place.app()

    async def run(pilot: Keys) -> None:
        await pilot.press("end", "p")
        assert "there is nothing to pause or cancel" in text(app)
        await pilot.press("c")
        assert not app.view.asking

    act(app, run)
    assert all(method == "GET" for method, _, _ in place.stub.asked)


def test_an_order_that_is_refused_says_why(place: Place) -> None:
    app = place.app()
    place.stub.raw["/api/v1/jobs/j8/pause"] = problem(403, "this needs the role operator")

    async def run(pilot: Keys) -> None:
        await pilot.press("p")
        await until(pilot, lambda: "not done: the service: this needs the role operator" in text(app))

    act(app, run)


def test_searching_jobs_and_failures(place: Place) -> None:
    app = place.app()

    async def run(pilot: Keys) -> None:
        await pilot.press("slash", *"items")
        await read(pilot)
        assert [job.id for job in app.look.jobs] == ["j5"]
        await pilot.press("enter", "enter")
        await until(pilot, lambda: len(app.look.failures) == 3)
        await pilot.press("slash", *"name-1", "enter")
        await read(pilot)
        assert [each.path for each in app.look.failures] == ["reports/name-1.pdf"]
        assert "Access denied by the store" in text(app)
        await pilot.press("escape")
        await read(pilot)
        assert len(app.look.failures) == 3
        await pilot.press("escape")
        await read(pilot)
        assert (app.view.page, len(app.look.jobs)) == ("main", 1)
        await pilot.press("escape")
        await read(pilot)
        assert len(app.look.jobs) == 6

    act(app, run)


def test_it_says_that_the_service_is_away_and_goes_on_when_it_is_back(place: Place) -> None:
    app = place.app()

    async def run(pilot: Keys) -> None:
        place.stub.raw["/"] = problem(503, "the ledger is away")
        await pilot.press("r")
        await until(pilot, lambda: "⚠ the service: the ledger is away; figures from 08:00:00" in text(app))
        assert "/srv/mail" in text(app)
        place.stub.raw.clear()
        await pilot.press("r")
        await until(pilot, lambda: "⚠" not in text(app))

    act(app, run)


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
def test_quitting(key: str, place: Place) -> None:
    app = place.app()

    async def run(pilot: Keys) -> None:
        await pilot.press(key)
        await until(pilot, lambda: not app.is_running)

    act(app, run)
    assert app.return_code == 0


def test_a_note_comes_first_and_the_key_is_nowhere(place: Place) -> None:
    place.stub.key = KEY
    place.reader = ServiceReader(Client(place.stub.url, KEY), lambda: NOW)
    app = place.app(note="everybody can read the key")

    async def run(pilot: Keys) -> None:
        assert "everybody can read the key" in text(app)
        for key in ("enter", "question_mark"):
            await pilot.press(key)
            await read(pilot)
            assert KEY not in text(app)

    act(app, run)
