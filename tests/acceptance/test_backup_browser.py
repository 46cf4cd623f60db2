"""The pages of backups in Debian's Chromium: they fit, can be read, run nothing of what names hold, and obey."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.acceptance.pages import SMALL, Seen, listening, page
from tests.acceptance.program import dunlin
from tests.acceptance.trouble import until
from tests.integration.service import serving
from tests.unit.web.made import HOSTILE
from tests.unit.web.served import served
from tests.unit.web.vaulted import Home, grown, with_homes

ASKED = "repository=vault&share=home"
NAMES = [*(name for name in HOSTILE if "/" not in name and "\0" not in name), "a" * 180, "עברית.txt", "line\nbreak"]


LONG = """() => [...document.querySelectorAll("table.stack td[data-head]")].filter((cell) => {
    const head = getComputedStyle(cell, "::before");
    return head.content !== "none" && parseFloat(head.width) > parseFloat(getComputedStyle(cell).paddingLeft);
}).map((cell) => cell.dataset.head)"""
"""Heads of a card that lie over their values."""


class Open:
    """A service with an address, and the repository that it knows."""

    def __init__(self, url: str, home: Home) -> None:
        self.root, self.home = f"{url}/monitoring/backup", home
        self.url = url
        self.ids = [each.id for each in home.area().snapshots()]

    @property
    def pages(self) -> list[str]:
        first, last = self.ids[3], self.ids[-1]
        return [f"{self.root}{path}" for path in (
            "", f"/share?{ASKED}", f"/share?{ASKED}&last=3&monthly=2", f"/browse?{ASKED}",
            f"/browse?{ASKED}&path=odd", f"/browse?{ASKED}&path=photos/2024&sort=size&down=1",
            f"/browse?{ASKED}&path=docs/plan.txt", f"/browse?{ASKED}&path=nowhere", f"/search?{ASKED}&pattern=*",
            f"/compare?{ASKED}&old={first}&new={last}", f"/share?{ASKED}&last=x", "/share?repository=none&share=x",
        )]  # fmt: skip


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """For tests that change nothing."""
    place = tmp_path_factory.mktemp("vaults")
    home = grown(place, 16, NAMES)
    (place / "service").mkdir()
    with served(place / "service", clock=lambda: home.now / 1e9 + 40_000, found=with_homes(home)) as made:
        with listening(made) as url:
            yield Open(url, home)
        assert made.faults == []


# ---- how it looks ----


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 768, 1280])
def test_every_page_fits_can_be_read_and_asks_nobody_else(
    browser: Browser, looked_at: Open, width: int, scheme: str
) -> None:
    with page(browser, viewport={"width": width, "height": 800}, color_scheme=scheme) as tab:
        for url in looked_at.pages:
            seen = Seen(tab, url)
            for each in tab.locator("summary").all():
                each.click()
            assert seen.fits(), url
            assert seen.pale() == [], url
            bad = [each for each in seen.others(looked_at.url) if "404" not in each]
            assert bad == [], url
            assert tab.evaluate(SMALL) == [], url
            assert tab.evaluate(LONG) == [], url


@pytest.mark.parametrize("width", [320, 601, 761, 821, 1000, 1600])
def test_pages_fit_at_every_width(browser: Browser, looked_at: Open, width: int) -> None:
    with page(browser, viewport={"width": width, "height": 800}) as tab:
        for url in looked_at.pages:
            assert Seen(tab, url).fits(), url


def test_whatever_names_hold_is_only_shown_and_leads_to_the_file(browser: Browser, looked_at: Open) -> None:
    with page(browser) as tab:
        seen = Seen(tab, f"{looked_at.root}/browse?{ASKED}&path=odd")
        links = tab.locator("table a[href*='browse']")
        assert links.count() == len(NAMES)
        for at in range(len(NAMES)):
            links.nth(at).click()
            expect(tab.locator("dl.facts")).to_contain_text("-rw")
            tab.go_back()
            expect(links).to_have_count(len(NAMES))
        expect(tab.get_by_text("turned\\u202egnp.exe")).to_be_visible()
        assert seen.others(looked_at.url) == []


# ---- going through it ----


def test_from_all_shares_to_a_file_and_back_in_time(browser: Browser, looked_at: Open) -> None:
    with page(browser, viewport={"width": 375, "height": 800}) as tab:
        tab.goto(f"{looked_at.url}/monitoring")
        tab.keyboard.press("b")
        tab.wait_for_url("**/monitoring/backup")
        tab.get_by_role("link", name="home").click()
        expect(tab.get_by_role("heading", name="Deduplication")).to_be_visible()
        expect(tab.get_by_role("img", name=re.compile("^Bytes of files: at most"))).to_be_visible()
        tab.get_by_role("link", name="Browse").click()
        tab.get_by_role("link", name="docs/").click()
        tab.get_by_role("link", name="plan.txt").click()
        crumbs = tab.get_by_role("navigation", name="Path")
        expect(crumbs).to_have_text("home / docs / plan.txt")
        expect(tab.locator("dl.facts")).to_contain_text("750 bytes")
        tab.get_by_label("Snapshot").select_option(index=10)
        tab.get_by_role("button", name="Show").click()
        expect(tab.locator("dl.facts")).to_contain_text("720 bytes")
        crumbs.get_by_role("link", name="docs").click()
        tab.get_by_role("link", name="size", exact=True).click()
        expect(tab.locator("[aria-current=true]")).to_have_text("size ↓")
        tab.keyboard.press("/")
        expect(tab.get_by_label("Find below docs")).to_be_focused()
        tab.keyboard.type("report-0*")
        tab.keyboard.press("Enter")
        expect(tab.get_by_text("names found.")).to_be_visible()


def test_a_policy_is_tried_on_the_page(browser: Browser, looked_at: Open) -> None:
    with page(browser) as tab:
        tab.goto(f"{looked_at.root}/share?{ASKED}")
        tab.get_by_label("Keep last").fill("2")
        tab.get_by_label("Keep tag").fill("monthly")
        tab.get_by_role("button", name="Show what that keeps").click()
        expect(tab.get_by_text("11 of 16 snapshots would go.")).to_be_visible()
        expect(tab.get_by_label("Keep last")).to_have_value("2")
        expect(tab.locator("#retention")).to_be_in_viewport()
        expect(tab.get_by_role("row", name=re.compile("✗ remove"))).to_have_count(11)


def test_changes_are_chosen_by_kind(browser: Browser, looked_at: Open) -> None:
    with page(browser) as tab:
        tab.goto(f"{looked_at.root}/browse?{ASKED}&at={looked_at.ids[12]}")
        tab.get_by_role("link", name="Changes since the one before").click()
        tab.get_by_role("link", name=re.compile("^moved")).click()
        expect(tab.locator("tbody tr")).to_have_count(3)
        expect(tab.get_by_text("from docs/letters/00.txt")).to_be_visible()


def test_a_download_is_no_page(browser: Browser, looked_at: Open) -> None:
    with page(browser, accept_downloads=True) as tab:
        seen = Seen(tab, f"{looked_at.root}/browse?{ASKED}&path=docs/plan.txt")
        for number, week in ((0, 15), (3, 13)):  # of the file, and of one of its versions
            with tab.expect_download() as waiting:
                tab.get_by_role("link", name="Download").nth(number).click()
            assert waiting.value.suggested_filename == "plan.txt"
            assert waiting.value.path().read_bytes().startswith(b"The plan, as of week %d." % week)
        assert seen.others(looked_at.url) == []


def test_without_a_script_all_of_it_can_be_read(browser: Browser, looked_at: Open) -> None:
    with page(browser, java_script_enabled=False) as tab:
        tab.goto(f"{looked_at.root}/browse?{ASKED}&path=photos")
        tab.get_by_role("link", name="2025/").click()
        expect(tab.get_by_text("40 files here")).to_be_visible()
        tab.get_by_role("searchbox").fill("IMG_0007")
        tab.get_by_role("button", name="Find").click()
        expect(tab.get_by_text("1 name found.")).to_be_visible()


# ---- the real thing ----


def test_a_real_service_backs_up_shows_and_restores(browser: Browser, tmp_path: Path) -> None:
    source, target = tmp_path / "home", tmp_path / "new"
    (source / "docs").mkdir(parents=True)
    (source / "docs" / "plan.txt").write_text("the plan")
    (source / b"odd\xff".decode("utf-8", "surrogateescape")).write_text("odd")
    (tmp_path / "password.txt").write_text("correct horse\n")
    dunlin("repo", "init", "vault", "--password-file", "password.txt", cwd=tmp_path)
    (tmp_path / "cwd").mkdir()
    place = f"{{place: '{tmp_path}/vault', password_file: ../password.txt}}"
    (tmp_path / "cwd" / "dunlin.yaml").write_text(f"repositories:\n  vault: {place}\n")
    with serving(tmp_path / "cwd") as running, page(browser) as tab:
        seen = Seen(tab, f"{running.url}/monitoring/backup")
        tab.get_by_label("Source").fill(str(source))
        tab.get_by_role("button", name="Back up").click()
        expect(tab.locator(".verdict")).to_have_text("✓ completed", timeout=60_000)
        tab.goto(f"{running.url}/monitoring/backup")
        tab.get_by_role("link", name="home").click()
        tab.get_by_role("button", name="Back up now").click()
        expect(tab.locator(".verdict")).to_have_text("✓ completed", timeout=60_000)
        tab.goto(f"{running.url}/monitoring/backup/browse?{ASKED}&path=docs")
        expect(tab.get_by_role("link", name="plan.txt")).to_be_visible()
        tab.get_by_text("Restore docs").click()
        tab.get_by_label("Destination").fill(str(target))
        tab.get_by_label("Afterwards").select_option("true")
        tab.get_by_role("button", name="Restore").click()
        expect(tab.locator(".verdict")).to_have_text("✓ completed", timeout=60_000)
        assert (target / "plan.txt").read_text() == "the plan"
        tab.goto(f"{running.url}/monitoring/backup/share?{ASKED}")
        expect(tab.get_by_text("2, the newest first.")).to_be_visible(timeout=30_000)
        tab.get_by_role("button", name="Verify", exact=True).click()
        expect(tab.locator(".verdict")).to_have_text("✓ completed", timeout=60_000)
        tab.goto(f"{running.url}/monitoring/backup/share?{ASKED}&last=1")
        button = tab.get_by_role("button", name="Forget 1")
        button.click()
        tab.get_by_role("button", name="Forget 1? Press again").click()
        expect(tab.locator(".verdict")).to_have_text("✓ completed", timeout=60_000)
        _gone(tab, running.url)
        assert seen.others(running.url) == []
        running.stop()


def _gone(tab: Page, url: str) -> None:
    """The list of snapshots is asked for again after some seconds."""

    def gone() -> bool:
        tab.goto(f"{url}/monitoring/backup/share?{ASKED}")
        return tab.get_by_text("1, the newest first.").count() > 0

    until(gone, why=lambda: tab.inner_text("main"))
