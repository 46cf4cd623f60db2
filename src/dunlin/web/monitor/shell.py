"""The frame of the monitor's pages, and what all of them need: words for times and sizes, forms, refusals."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from litestar import MediaType, Request, Response
from litestar.response import Redirect

from dunlin.errors import DunlinError
from dunlin.pace.sizes import format_duration
from dunlin.queue.ledger.words import Role
from dunlin.web.markup import Child, Safe, el, text
from dunlin.web.pages import document, head
from dunlin.web.problems import Refused, told
from dunlin.web.services import EVERYBODY, Principal, Services
from dunlin.web.tables import Cell

TONES = {
    "queued": "busy", "running": "busy", "paused": "fair", "completed": "good", "failed": "bad", "cancelled": "fair",
    "interrupted": "fair", "waiting": "busy", "leased": "busy", "dead": "bad", "pending": "busy", "uploaded": "good",
    "skipped": "good", "delayed": "fair",
}  # fmt: skip
SIGNS = {"good": "✓", "fair": "⚠", "bad": "✗", "busy": "▶"}
IDLE = frozenset({"queued", "waiting", "pending"})
"""Nobody works on these yet."""
PAGES = (
    ("", "Overview", "o"), ("jobs", "Jobs", "j"), ("tasks", "Tasks", "t"), ("schedules", "Schedules", "s"),
    ("backup", "Backups", "b"),
)  # fmt: skip


class Page(NamedTuple):
    """What a page is drawn from: the service, who asks, below which path."""

    services: Services
    principal: Principal
    root: str

    def url(self, page: str = "", **asked: object) -> str:
        """The address of a page of the monitor; arguments that are empty are left out."""
        words = {name: str(value) for name, value in asked.items() if value not in ("", None)}
        path = f"{self.root}/{page}" if page else self.root or "/"
        return f"{path}?{urlencode(words, errors='surrogateescape')}" if words else path

    @property
    def acts(self) -> bool:
        """Whether forms that change something are drawn."""
        return not self.services.settings().read_only and self.principal.role.covers(Role.OPERATOR)

    @property
    def shared(self) -> bool:
        """Whether what all tenants share may be seen: queues, tasks, workers."""
        return not self.services.settings().tenants or self.principal.tenant == EVERYBODY

    @property
    def reads(self) -> bool:
        """Whether what files of a backup hold may be seen."""
        return self.principal.role.covers(Role.OPERATOR)

    @property
    def pages(self) -> list[tuple[str, str, str]]:
        """Those of `PAGES` that there are for this one."""
        known = self.services.settings().repositories.values()
        mine = any(self.principal.may_see(tenant) for each in known for tenant in each.tenants)
        shown = {"tasks": self.shared, "backup": mine}
        return [each for each in PAGES if shown.get(each[0], True)]

    def button(self, page: str, words: str, *, sure: bool = False, **fields: object) -> Child:
        """A form of one button; nothing for who may not.

        `sure`: it asks to be pressed a second time where a script runs.
        """
        if not self.acts:
            return None
        hidden = [el("input", type="hidden", name=name, value=str(value)) for name, value in fields.items()]
        token = el("input", type="hidden", name="_csrf", value=self.principal.csrf)
        return el(
            "form", hidden, token, el("button", words, class_="act", data_sure=sure),
            method="post", action=self.url(page), class_="one",
        )  # fmt: skip


def page_of(services: Services, request: Request[Any, Any, Any]) -> Page:
    """The frame for a request that passed its guard."""
    return Page(services, request.scope["state"]["principal"], services.settings().root_path.rstrip("/"))


def whole(page: Page, title: str, here: str, *content: Child, status: int = 200, fresh: bool = False) -> Response[str]:
    """A whole page.

    Args:
        here: which of `PAGES` it belongs to.
        fresh: without a script it is loaded again every ten seconds; nothing is typed into it.
    """
    begin = head(
        title,
        "monitor.css",
        el("script", src="/assets/monitor.js", defer=True),
        el("noscript", Safe('<meta http-equiv="refresh" content="10">')) if fresh else None,
    )
    links = [
        el("a", name, href=page.url(path), accesskey=key, aria_current="page" if path == here else None)
        for path, name, key in page.pages
    ]
    who: Child = None
    if page.principal.way == "session":
        token = el("input", type="hidden", name="_csrf", value=page.principal.csrf)
        out = el("form", token, el("button", "Log out"), method="post", action="/logout", class_="one")
        who = el("span", f"{page.principal.name} ({page.principal.role.value})", out, class_="who")
    note = el("span", "read only", class_="tag") if page.services.settings().read_only else None
    live = el("span", id="live", class_="dim", role="status")
    keys = ", ".join(f"{key} {name.lower()}" for _, name, key in page.pages)
    body = el(
        "body",
        el("a", "To the content", href="#main", class_="skip"),
        el("header", el("b", "dunlin"), el("nav", links, aria_label="Pages"), note, live, who),
        el("main", el("h1", title), content, id="main"),
        el("footer", f"dunlin {page.services.version}", el("span", " · keys: ", keys, ", / search", class_="keys")),
        data_events="/api/v1/events",
    )
    return Response(document(begin, body), status_code=status, media_type=MediaType.HTML)


def live(name: str, *content: Child) -> Safe:
    """A part of a page that is kept up to date where a script runs."""
    return el("div", *content, id=name, data_live=True)


def section(title: str, hint: Child, *content: Child) -> Safe:
    """A part with a heading."""
    return el("section", el("h2", title), el("p", hint, class_="hint") if hint else None, *content)


def state(word: str) -> Safe:
    """A status: a sign, a word and a colour, so that none of them is needed alone."""
    tone = TONES.get(word, "busy")
    return el("span", f"{'○' if word in IDLE else SIGNS[tone]} {word}", class_=f"tag t-{tone}")


def lines(words: str) -> Safe:
    """Text whose lines are kept; everything else that cannot be printed is escaped."""
    return el("pre", Safe("\n".join(text(line) for line in words.split("\n"))))


def moment(seconds: float | None) -> Child:
    """A point in time (UTC), for people and programs; a dash for none."""
    if seconds is None:
        return "–"
    try:
        at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, OSError, ValueError):
        return "–"
    return el("time", f"{at:%Y-%m-%d %H:%M:%S}", datetime=f"{at:%Y-%m-%dT%H:%M:%SZ}", title="UTC")


def age(seconds: float) -> str:
    """How long ago, or how long it takes, roughly."""
    return f"{seconds:.0f}s" if seconds < 59.5 else format_duration(seconds)


def perhaps(content: Child, kind: str = "") -> Cell:
    """A cell with something in it; a dash where there is nothing, which a phone does not show."""
    return Cell(content, None, kind) if content else Cell("–", None, f"{kind} blank".strip())


def facts(*pairs: tuple[str, Child]) -> Safe:
    """Names and what stands for them."""
    return el("dl", *(el("div", el("dt", name), el("dd", value)) for name, value in pairs), class_="facts")


def search_form(page: Page, where: str, fields: Mapping[str, str], choices: Sequence[str], chosen: str) -> Safe:
    """Ask for a status and for what a name must hold; works without a script. `fields` are kept."""
    kept = [el("input", type="hidden", name=name, value=value) for name, value in fields.items() if name != "search"]
    options = [
        el("option", each or "any", value=each, selected=each == chosen) for each in ("", *choices)
    ]  # fmt: skip
    return el(
        "form",
        kept,
        el("label", "Status ", el("select", *options, name="status")),
        el("label", "Search ", el("input", type="search", name="search", value=fields.get("search", ""), id="search")),
        el("button", "Show"),
        method="get", action=page.url(where), class_="asks", role="search",
    )  # fmt: skip


def following(page: Page, where: str, after: str | None, **asked: object) -> Child:
    """The link to the next page of a list."""
    if after is None:
        return None
    return el("p", el("a", "Next page", href=page.url(where, after=after, **asked), rel="next"))


def may_act(page: Page) -> None:
    """Raise `Refused` for who may give no orders here: read-only mode is for everybody."""
    if page.services.settings().read_only:
        raise Refused(403, "the monitor is in read-only mode (monitor.read_only_mode)")


def back(page: Page, where: str, **asked: object) -> Redirect:
    """The answer to a form that was obeyed."""
    return Redirect(page.url(where, **asked), status_code=303)


def refused(page: Page, error: Refused | DunlinError) -> Response[str]:
    """The page that says why something was not done."""
    if isinstance(error, DunlinError):
        error = told(error)
    hint = el("p", error.hint, class_="hint") if error.hint else None
    words = el("p", f"{error.detail[:1].upper()}{error.detail[1:]}.", class_="message bad", role="alert")
    again = el("p", el("a", "To the overview", href=page.url()))
    found = whole(page, "That was not done", "none", el("section", words, hint, again), status=error.status)
    found.headers.update(error.headers)
    return found
