"""The history page in Debian's Chromium, on a desk and a phone, light and dark: it fits, can be read, asks nobody."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from dunlin.web.history import page
from tests.acceptance.pages import CONTRAST, Seen
from tests.unit.web.made import HOSTILE, empty, long_run, write

SCREENS = [(1280, 900), (375, 812)]


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SCREENS, ids=["desk", "phone"])
def test_it_fits_can_be_read_and_asks_nobody(browser: Browser, file: Path, size: tuple[int, int], scheme: str) -> None:
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)  # type: ignore[arg-type]
    seen = Seen(context.new_page(), file.as_uri())
    assert seen.page.title() == "Run 13: Done, but 8 files failed - dunlin"
    seen.page.locator("summary").click()
    assert seen.fits()
    contrasts = seen.page.evaluate(CONTRAST)
    assert len(contrasts) > 200
    assert [each for each in contrasts if each[0] < 4.5] == []
    ground = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(ground[4:].partition(",")[0]) > 128) == (scheme == "light")
    assert seen.others(file.as_uri()) == []
    context.close()


@pytest.mark.parametrize("width", [360, 600, 601, 768, 1024, 1600])
def test_it_fits_at_every_width(browser: Browser, file: Path, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800})
    assert Seen(context.new_page(), file.as_uri()).fits()
    context.close()


def test_the_curves_are_drawn(browser: Browser, file: Path) -> None:
    context = browser.new_context(viewport={"width": 375, "height": 812})
    seen = Seen(context.new_page(), file.as_uri())
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
    seen = Seen(context.new_page(), file.as_uri())
    before = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    seen.page.keyboard.press("Tab")
    assert seen.page.evaluate("document.activeElement.id") == "theme"
    seen.page.keyboard.press("Enter")
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    assert [each for each in seen.page.evaluate(CONTRAST) if each[0] < 4.5] == []
    seen.page.keyboard.press("Enter")
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == before
    assert seen.others(file.as_uri()) == []
    context.close()


def test_tables_are_sorted_by_their_heads(browser: Browser, file: Path) -> None:
    context = browser.new_context()
    seen = Seen(context.new_page(), file.as_uri())
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
    seen = Seen(context.new_page(), file.as_uri())
    seen.page.emulate_media(media="print")
    assert seen.fits()
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert [each for each in seen.page.evaluate(CONTRAST) if each[0] < 4.5] == []
    assert seen.page.pdf()[:5] == b"%PDF-"
    context.close()
