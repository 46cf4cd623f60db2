"""The monitor in Debian's Chromium: it fits, can be read, asks nobody else, keeps itself up to date, and obeys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from dunlin.queue.base import NewTask
from dunlin.queue.ledger.words import JobStatus, Role
from tests.acceptance.pages import SMALL, Seen, listening, page
from tests.integration.service import serving
from tests.unit.web.busy import Made, busy, hour, submit
from tests.unit.web.made import HOSTILE
from tests.unit.web.served import Served, served
from tests.unit.web.test_gate import guarded

ONLY_NEWS = """
const real = setTimeout;
window.setTimeout = (f, ms) => ms >= 5000 ? 0 : real(f, ms);
const Source = EventSource;
window.EventSource = class extends Source {
    constructor(url) { super(url); this.onopen = () => { document.documentElement.dataset.listens = ""; }; }
};
"""
"""For a page that must not change because some seconds have passed; it is marked when it hears what is told.

The mark is an attribute, because the pages forbid to evaluate text, with which a variable would be waited for.
"""

ONLY_TIME = """
window.EventSource = class {
    constructor() { document.documentElement.dataset.listens = ""; }
    addEventListener() {}
    close() {}
};
const real = setTimeout;
window.setTimeout = (f, ms) => real(f, ms >= 5000 ? 200 : ms);
"""
"""For one that hears no news, and whose seconds are short."""


class Open:
    """A service with an address, and what was made in it."""

    def __init__(self, served: Served, url: str) -> None:
        self.served, self.url = served, url
        self.made: Made | None = None


@contextmanager
def opened(directory: Path, **more: Any) -> Iterator[Open]:
    with served(directory, **more) as made, listening(made) as url:
        yield Open(made, url)


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """For tests that change nothing."""
    with opened(tmp_path_factory.mktemp("monitor")) as found:
        found.made = busy(found.served, [*HOSTILE, "a" * 180, "deep/" * 40])
        hour(found.served.depth)
        yield found


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Open]:
    with opened(tmp_path) as found:
        yield found


def pages(made: Made) -> tuple[str, ...]:
    return (
        "/monitoring", "/monitoring/jobs", *(f"/monitoring/job?id={id}" for id in made[:5]), "/monitoring/tasks",
        f"/monitoring/task?id={made.dead}", "/monitoring/tasks?search=nothing", "/monitoring/schedules",
        "/monitoring/schedules?name=nightly", "/login",
    )  # fmt: skip


# ---- how it looks ----


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 768, 1280])
def test_every_page_fits_can_be_read_and_asks_nobody_else(
    browser: Browser, looked_at: Open, width: int, scheme: str
) -> None:
    assert looked_at.made is not None
    with page(browser, viewport={"width": width, "height": 800}, color_scheme=scheme) as tab:
        for path in pages(looked_at.made):
            seen = Seen(tab, looked_at.url + path)
            for each in tab.locator("summary").all():
                each.click()
            assert seen.fits(), path
            assert seen.pale() == [], path
            ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (int(ground[4:].partition(",")[0]) > 128) == (scheme == "light")
            assert seen.others(looked_at.url) == [], path
            assert tab.evaluate(SMALL) == [], path


@pytest.mark.parametrize("width", [320, 601, 761, 1000, 1600])
def test_pages_fit_at_every_width(browser: Browser, looked_at: Open, width: int) -> None:
    assert looked_at.made is not None
    with page(browser, viewport={"width": width, "height": 800}) as tab:
        for path in pages(looked_at.made):
            assert Seen(tab, looked_at.url + path).fits(), path


def test_on_a_phone_rows_are_cards_with_the_names_of_their_values(browser: Browser, looked_at: Open) -> None:
    with page(browser, viewport={"width": 375, "height": 800}) as tab:
        tab.goto(f"{looked_at.url}/monitoring/tasks?status=dead")
        row = "getComputedStyle(document.querySelector('table').rows[1]).display"
        # One look for each question: the page is drawn anew now and then, and a cell that is gone has no style.
        name = """() => getComputedStyle([...document.querySelectorAll("td")].find(
            (each) => each.textContent.includes("dead")), "::before").content"""
        assert tab.evaluate(row) == "block"
        assert tab.evaluate(name) == '"Status"'
        tab.set_viewport_size({"width": 1280, "height": 800})
        assert tab.evaluate(name) == "none"


def test_keys_lead_to_pages_and_to_the_search(browser: Browser, looked_at: Open) -> None:
    with page(browser) as tab:
        tab.goto(f"{looked_at.url}/monitoring")
        tab.keyboard.press("Tab")
        expect(tab.get_by_text("To the content")).to_be_focused()
        expect(tab.get_by_text("To the content")).to_be_in_viewport()
        tab.keyboard.press("j")
        tab.wait_for_url("**/monitoring/jobs")
        tab.keyboard.press("/")
        expect(tab.get_by_label("Search")).to_be_focused()
        tab.keyboard.type("to/photos")
        tab.keyboard.press("Enter")
        tab.wait_for_url("**/monitoring/jobs?status=&search=to%2Fphotos")
        expect(tab.get_by_label("Search")).to_have_value("to/photos")
        tab.keyboard.press("s")
        tab.wait_for_url("**/monitoring/schedules")
        tab.keyboard.press("Control+o")
        tab.keyboard.press("t")
        tab.wait_for_url("**/monitoring/tasks")


# ---- live ----


def _waiting(tab: Page) -> Any:
    return tab.locator("dl.cards > div", has_text="Tasks waiting").locator("b")


@pytest.mark.parametrize("script", [ONLY_NEWS, ONLY_TIME], ids=["news", "time"])
def test_a_page_changes_without_being_loaded_again(browser: Browser, service: Open, script: str) -> None:
    made = service.served
    job = submit(made, "/srv/photos")
    with page(browser, script) as tab:
        seen = Seen(tab, f"{service.url}/monitoring")
        expect(tab.locator("#live")).to_have_text("live")
        expect(tab.locator("html[data-listens]")).to_be_attached()
        tab.evaluate("window.mark = 1")
        expect(_waiting(tab)).to_have_text("0")
        made.services.queue.put([NewTask("publish", f"unit-{n}", b"{}") for n in range(7)])
        made.services.ledger.jobs.move(job, JobStatus.RUNNING)
        made.services.ledger.jobs.progress(job, {"copied_files": 3, "pending_files": 1})
        made.services.hub.tell("job", {"id": job}, "default")
        expect(_waiting(tab)).to_have_text("7", timeout=20_000)
        expect(tab.get_by_text("75%")).to_be_visible()
        assert tab.evaluate("window.mark") == 1
        assert seen.others(service.url) == []


def test_what_somebody_is_at_stays_while_the_page_changes(browser: Browser, service: Open) -> None:
    made = service.served
    made.services.queue.put([NewTask("publish", f"unit-{n}", b"{}", label=f"unit {n}") for n in range(3)])
    with page(browser, ONLY_TIME) as tab:
        tab.goto(f"{service.url}/monitoring/tasks")
        tab.get_by_label("Search").fill("half a wo")
        tab.get_by_role("link", name="unit 1").focus()
        made.services.queue.put([NewTask("publish", "more", b"{}", label="unit 3")])
        expect(tab.get_by_role("link", name="unit 3")).to_be_visible()
        expect(tab.get_by_role("link", name="unit 1")).to_be_focused()
        expect(tab.get_by_label("Search")).to_have_value("half a wo")


def test_a_page_says_when_the_service_is_away_and_when_its_task_is_gone(browser: Browser, tmp_path: Path) -> None:
    with opened(tmp_path) as service, page(browser, ONLY_TIME) as tab:
        queue = service.served.services.queue
        queue.put([NewTask("publish", "a", b"{}"), NewTask("publish", "b", b"{}")])
        first, second = queue.tasks("publish")
        tab.goto(f"{service.url}/monitoring/task?id={first.id}")
        queue.remove([first.id])
        expect(tab.locator("#live")).to_have_text("not there any more")
        tab.goto(f"{service.url}/monitoring/task?id={second.id}")
        tab.route("**/*", lambda route: route.abort())
        expect(tab.locator("#live")).to_have_text("the service does not answer")
        tab.unroute("**/*")
        expect(tab.locator("#live")).to_have_text("live")


# ---- orders ----


def test_what_cannot_be_taken_back_is_pressed_twice(browser: Browser, service: Open) -> None:
    job = submit(service.served, "/srv/photos")
    jobs = service.served.services.ledger.jobs

    def status() -> JobStatus:
        found = jobs.get(job)
        assert found is not None
        return found.status

    with page(browser) as tab:
        tab.goto(f"{service.url}/monitoring/job?id={job}")
        tab.get_by_role("button", name="Pause").click()
        expect(tab.locator(".verdict")).to_have_text("⚠ paused")
        tab.get_by_role("button", name="Cancel").click()
        again = tab.get_by_role("button", name="Cancel? Press again")
        expect(again).to_be_focused()
        assert status() is JobStatus.PAUSED
        again.press("Enter")
        expect(tab.locator(".verdict")).to_have_text("⚠ cancelled")
        assert status() is JobStatus.CANCELLED


def test_without_a_script_everything_can_be_read_and_done(browser: Browser, service: Open) -> None:
    made = busy(service.served)
    with page(browser, java_script_enabled=False, viewport={"width": 375, "height": 800}) as tab:
        tab.goto(f"{service.url}/monitoring")
        expect(tab.get_by_text("Nothing yet.")).to_be_visible()
        tab.get_by_role("link", name="/srv/photos -> s3://archive/photos").click()
        tab.get_by_text("What was asked for").click()
        expect(tab.get_by_text('"bwlimit": "20M"')).to_be_visible()
        tab.goto(f"{service.url}/monitoring/job?id={made.queued}")
        tab.get_by_role("button", name="Cancel").click()
        expect(tab.locator(".verdict")).to_have_text("⚠ cancelled")
        tab.get_by_role("link", name="Tasks").click()
        tab.get_by_label("Status").select_option("dead")
        tab.get_by_role("button", name="Show").click()
        tab.get_by_role("button", name="Try again").click()
        expect(tab.get_by_role("heading", level=1)).to_have_text("Tasks of publish")
        tab.get_by_role("link", name="Next page").click()
        tab.get_by_role("link", name="Schedules").click()
        tab.get_by_label("Name").fill("weekly")
        tab.get_by_role("textbox", name=re.compile("^Cron")).fill("0 3 * * 0")
        tab.get_by_label("Options").fill('{"source": "/srv/a", "destination": "/srv/b"}')
        tab.get_by_role("button", name="Save").click()
        row = tab.get_by_role("row", name=re.compile("weekly"))
        expect(row).to_contain_text("0 3 * * 0 UTC")
        row.get_by_role("button", name="Remove").click()
        expect(tab.get_by_text("weekly")).to_have_count(0)
        tab.get_by_label("Name").fill("worse")
        tab.get_by_label("Options").fill("{")
        tab.get_by_role("button", name="Save").click()
        expect(tab.get_by_role("alert")).to_contain_text("The options are no JSON object")


# ---- in and out ----


def test_somebody_logs_in_acts_and_logs_out(browser: Browser, tmp_path: Path) -> None:
    with opened(tmp_path, found=guarded()) as service, page(browser, ONLY_TIME) as tab:
        made = service.served
        job = submit(made, "/srv/photos")
        made.services.ledger.accounts.add_user("ann", "correct horse", Role.OPERATOR)
        wanted = f"{service.url}/monitoring/job?id={job}"
        seen = Seen(tab, wanted)
        assert tab.url.startswith(f"{service.url}/login?next=")
        assert seen.others(service.url) == []
        expect(tab.get_by_label("User")).to_be_focused()
        for password in ("wrong", "correct horse"):
            tab.get_by_label("User").fill("ann")
            tab.get_by_label("Password").fill(password)
            tab.get_by_role("button", name="Log in").click()
            if password == "wrong":
                expect(tab.get_by_role("alert")).to_have_text("Name or password is wrong.")
                tab.wait_for_load_state()
                assert seen.pale() == []
        tab.wait_for_url(wanted)
        expect(tab.get_by_text("ann (operator)")).to_be_visible()
        tab.get_by_role("button", name="Pause").click()
        expect(tab.locator(".verdict")).to_have_text("⚠ paused")
        other = tab.context.new_page()
        other.goto(f"{service.url}/monitoring")
        other.get_by_role("button", name="Log out").click()
        other.wait_for_url("**/login")
        tab.wait_for_url("**/login?next=*")  # the page that was still open notices
        tab.goto(wanted)
        assert "/login" in tab.url


# ---- the real thing ----


def test_a_job_of_a_real_service_is_watched_to_its_end(browser: Browser, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    for number in range(30):
        (source / f"f{number}").write_bytes(b"x" * 1000)
    with serving(tmp_path / "cwd") as running, page(browser, ONLY_NEWS) as tab:
        seen = Seen(tab, f"{running.url}/monitoring")
        expect(tab.locator("html[data-listens]")).to_be_attached()
        tab.evaluate("window.mark = 1")
        options = {"source": str(source), "destination": str(target)}
        answer = running.client.post("/api/v1/jobs", json={"kind": "sync", "options": options})
        assert answer.status_code == 201
        done = tab.locator("dl.cards > div", has_text="Jobs completed").locator("b")
        expect(done).to_have_text("1", timeout=60_000)
        assert tab.evaluate("window.mark") == 1
        assert seen.others(running.url) == []
        tab.goto(f"{running.url}/monitoring/job?id={answer.json()['id']}")
        expect(tab.locator(".verdict")).to_have_text("✓ completed")
        assert re.search(r"copied files\s+30", tab.inner_text("main"), re.IGNORECASE)
        running.stop()
