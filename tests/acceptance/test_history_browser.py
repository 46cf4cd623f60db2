"""The history page in Debian's Chromium, on a desk and a phone, light and dark: it fits, can be read, asks nobody."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from dunlin.web.history import page
from tests.unit.web.made import HOSTILE, empty, long_run, write

CONTRAST = """() => {
    const parse = (text) => {
        const parts = text.match(/[0-9.]+/g).map(Number);
        return parts.length > 3 && parts[3] === 0 ? null : parts;
    };
    const light = (colour) => {
        const [r, g, b] = colour.slice(0, 3).map((v) => v / 255)
            .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const found = [];
    for (const each of document.querySelectorAll("body *")) {
        const own = [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!own || each.closest("svg, script") || !each.getClientRects().length) continue;
        let ground = null;
        for (let at = each; at && !ground; at = at.parentElement) ground = parse(getComputedStyle(at).backgroundColor);
        const [low, high] = [light(parse(getComputedStyle(each).color)), light(ground)].sort((a, b) => a - b);
        found.push([(high + 0.05) / (low + 0.05), each.textContent.slice(0, 40)]);
    }
    return found;
}"""

SCREENS = [(1280, 900), (375, 812)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    assert program, "chromium is missing: scripts/needs.sh installs it"
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("history")
    made = empty(directory / "state.db")
    run = long_run(made, HOSTILE)
    write(made, run, "a" * 200, {"b" * 255: 10**12, **{name.replace("/", "_"): 10**11 for name in HOSTILE}})
    path = directory / "page.html"
    path.write_text(page(made.history(run.id), "1.2.3"), encoding="utf-8")
    made.state.close()
    return path


class Seen:
    """A page that is open, and everything that it did beside showing itself."""

    def __init__(self, opened: Page, file: Path) -> None:
        self.page = opened
        self.did: list[str] = []
        opened.on("console", lambda message: self.did.append(f"console: {message.text}"))
        opened.on("pageerror", lambda error: self.did.append(f"error: {error}"))
        opened.on("request", lambda request: self.did.append(f"request: {request.url}"))
        opened.on("dialog", lambda dialog: self.did.append(f"dialog: {dialog.message}"))
        opened.goto(file.as_uri())

    def others(self, file: Path) -> list[str]:
        return [each for each in self.did if each != f"request: {file.as_uri()}"]

    def fits(self) -> bool:
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SCREENS, ids=["desk", "phone"])
def test_it_fits_can_be_read_and_asks_nobody(browser: Browser, file: Path, size: tuple[int, int], scheme: str) -> None:
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)  # type: ignore[arg-type]
    seen = Seen(context.new_page(), file)
    assert seen.page.title() == "Run 13: Done, but 8 files failed - dunlin"
    seen.page.locator("summary").click()
    assert seen.fits()
    contrasts = seen.page.evaluate(CONTRAST)
    assert len(contrasts) > 200
    assert [each for each in contrasts if each[0] < 4.5] == []
    ground = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(ground[4:].partition(",")[0]) > 128) == (scheme == "light")
    assert seen.others(file) == []
    context.close()


@pytest.mark.parametrize("width", [360, 600, 601, 768, 1024, 1600])
def test_it_fits_at_every_width(browser: Browser, file: Path, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800})
    assert Seen(context.new_page(), file).fits()
    context.close()


def test_the_curves_are_drawn(browser: Browser, file: Path) -> None:
    context = browser.new_context(viewport={"width": 375, "height": 812})
    seen = Seen(context.new_page(), file)
    for chart in seen.page.get_by_role("img").all():
        box = chart.bounding_box()
        assert box is not None
        assert box["width"] > 200
        assert box["height"] > 50
    assert seen.page.locator("path.curve").count() == 2
    assert seen.page.locator("rect.paused, rect.throttled").count() >= 4
    context.close()


def test_colours_change_by_keyboard(browser: Browser, file: Path) -> None:
    context = browser.new_context(color_scheme="light")
    seen = Seen(context.new_page(), file)
    before = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    seen.page.keyboard.press("Tab")
    assert seen.page.evaluate("document.activeElement.id") == "theme"
    seen.page.keyboard.press("Enter")
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    assert [each for each in seen.page.evaluate(CONTRAST) if each[0] < 4.5] == []
    seen.page.keyboard.press("Enter")
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == before
    assert seen.others(file) == []
    context.close()


def test_tables_are_sorted_by_their_heads(browser: Browser, file: Path) -> None:
    context = browser.new_context()
    seen = Seen(context.new_page(), file)
    table = seen.page.locator("section", has=seen.page.get_by_role("heading", name="Slowest parts")).locator("table")
    column = table.locator("tbody tr td:last-child")
    assert column.all_inner_texts() == ["1m01s", "48.9s", "22.5s", "9.10s"]
    head = table.get_by_role("button", name="time")
    head.click()
    assert column.all_inner_texts() == ["1m01s", "48.9s", "22.5s", "9.10s"]
    head.press("Enter")
    assert column.all_inner_texts() == ["9.10s", "22.5s", "48.9s", "1m01s"]
    assert table.locator("th[aria-sort=ascending]").count() == 1
    table.get_by_role("button", name="where").click()
    assert table.locator("tbody tr td:first-child").all_inner_texts()[-1] == "/"
    context.close()


def test_without_script_everything_is_there(browser: Browser, file: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(file.as_uri())
    assert opened.get_by_role("heading", level=1).inner_text() == "Done, but 8 files failed"
    assert not opened.locator("#theme").is_visible()
    assert opened.get_by_text("2019/raw/<script>alert(1)</script>").first.is_visible()
    context.close()


def test_paper_is_light_and_wide_enough(browser: Browser, file: Path) -> None:
    context = browser.new_context(color_scheme="dark", viewport={"width": 794, "height": 1123})
    seen = Seen(context.new_page(), file)
    seen.page.emulate_media(media="print")
    assert seen.fits()
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert [each for each in seen.page.evaluate(CONTRAST) if each[0] < 4.5] == []
    assert seen.page.pdf()[:5] == b"%PDF-"
    context.close()
