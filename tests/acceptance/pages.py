"""Pages in Debian's Chromium: what one does beside showing itself, whether it fits, and whether it can be read."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

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


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser."""
    program = shutil.which("chromium")
    assert program, "chromium is missing: scripts/needs.sh installs it"
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield found
        found.close()


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
