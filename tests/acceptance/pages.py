"""Pages in Debian's Chromium: what one does beside showing itself, whether it fits, and whether it can be read."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

from dunlin.report.address import Address
from dunlin.web.listener import Listener, listen
from tests.unit.web.served import Served

expect.set_options(timeout=30_000)  # a browser, its server and other tests share few cores

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
"""The contrast of each text with its ground (Web Content Accessibility Guidelines 2.2, 1.4.3)."""

SMALL = """() => [...document.querySelectorAll("button, nav a")]
    .filter((each) => each.getBoundingClientRect().height < 24).map((each) => each.textContent)"""
"""What is hard to hit with a finger (Web Content Accessibility Guidelines 2.2, 2.5.8)."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser."""
    program = shutil.which("chromium")
    assert program, "chromium is missing: scripts/needs.sh installs it"
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield found
        found.close()


@contextmanager
def page(browser: Browser, script: str = "", **more: Any) -> Iterator[Page]:
    """A page of a context of its own, in which `script` runs before those of each page."""
    context = browser.new_context(**more)
    found = context.new_page()
    found.set_default_timeout(20_000)
    if script:
        found.add_init_script(script)
    yield found
    context.close()


@contextmanager
def listening(made: Served) -> Iterator[str]:
    """The URL of a service that was made without an address."""
    listener = Listener(made.app, listen(Address("127.0.0.1", 0)), lambda event: None)
    listener.start()
    try:
        yield f"http://127.0.0.1:{listener.address.port}"
    finally:
        made.services.hub.close()
        listener.close()


class Seen:
    """A page that is open, and everything that it did beside showing itself."""

    def __init__(self, opened: Page, url: str) -> None:
        self.page = opened
        self.did: list[str] = []
        opened.on("console", lambda message: self.did.append(f"console: {message.text}"))
        opened.on("pageerror", lambda error: self.did.append(f"error: {error}"))
        opened.on("request", lambda request: self.did.append(f"request: {request.url}"))
        opened.on("dialog", lambda dialog: self.did.append(f"dialog: {dialog.message}"))
        opened.goto(url)

    def others(self, *urls: str) -> list[str]:
        """All of it but requests for what begins like one of these."""
        return [each for each in self.did if not each.startswith(tuple(f"request: {url}" for url in urls))]

    def fits(self) -> bool:
        """Whether nothing has to be scrolled sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))

    def pale(self) -> list[tuple[float, str]]:
        """Texts that can hardly be read, with their contrast."""
        return [(each[0], each[1]) for each in self.page.evaluate(CONTRAST) if each[0] < 4.5]
