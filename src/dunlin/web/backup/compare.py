"""Page: what differs between two snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dunlin.pace.sizes import format_size
from dunlin.web.backup.browse import choices, crumbs, kept
from dunlin.web.backup.changes import MOST, WHATS, Change, Compared
from dunlin.web.backup.shares import Where
from dunlin.web.markup import Child, Safe, el
from dunlin.web.monitor.shell import following
from dunlin.web.tables import Cell, number, table

if TYPE_CHECKING:
    from dunlin.backup.manifest import Manifest

COUNT = 200
TONES = {"added": "good", "removed": "bad", "changed": "fair", "moved": "busy", "metadata": "busy"}
SIGNS = {"added": "+", "removed": "-", "changed": "≠", "moved": "→", "metadata": "·"}


def compare_page(where: Where, found: Compared, what: str, start: int, known: Sequence[Manifest]) -> list[Child]:
    """The page. `what`: a word of `WHATS`, "" for all; `start`: the number of the first that is shown."""
    chosen = found.only(what)
    rows = [_row(where, found, each) for each in chosen[start : start + COUNT]]
    more = str(start + COUNT) if start + COUNT < len(chosen) else None
    heads = ["", "Path", "Before", "After", ""]
    listed: Child = table(heads, rows, path=1, wide=(4,)) if rows else el("p", "Nothing.", class_="dim")
    about = {"old": found.old.id, "new": found.new.id, "path": found.path, "what": what}
    after = following(where.page, "backup/compare", more, **where.told, **about)
    short = None
    if not found.whole:
        words = f"⚠ There is more: these are the first {len(found.changes):,} (at most {MOST:,}, and five seconds)."
        short = el("p", words, class_="t-fair")
    return [
        el("section", crumbs(where, found.new.id, found.path), _chooser(where, found, what, known)),
        el("section", _counts(where, found, what), short, listed, after),
    ]


def _chooser(where: Where, found: Compared, what: str, known: Sequence[Manifest]) -> Safe:
    return el(
        "form", where.fields(what=what), kept(found.path),
        el("label", "From ", choices("old", found.old, known)), el("label", "to ", choices("new", found.new, known)),
        el("button", "Compare"), method="get", action=where.page.url("backup/compare"), class_="asks",
    )  # fmt: skip


def _counts(where: Where, found: Compared, what: str) -> Safe:
    links: list[Child] = []
    for each in ("", *WHATS):
        count = found.counts[each] if each else len(found.changes)
        address = where.url("backup/compare", old=found.old.id, new=found.new.id, path=found.path, what=each)
        here = "true" if each == what else None
        links.append(el("a", f"{each or 'all'} {count:,}", href=address, aria_current=here))
    return el("p", "Show ", [[" ", each] for each in links], class_="sorts")


def _row(where: Where, found: Compared, change: Change) -> list[Cell]:
    at = found.old.id if change.what == "removed" else found.new.id
    name = (change.path or where.share) + ("/" if change.directory else "")
    link: Child = el("a", name, href=where.url("backup/browse", at=at, path=change.path))
    if change.source:
        link = [link, el("div", "from ", change.source, class_="dim")]
    word = el("span", f"{SIGNS[change.what]} {change.what}", class_=f"tag t-{TONES[change.what]}")
    grown: int | None = None
    if not change.directory:
        grown = (change.after or 0) - (change.before or 0)
    return [
        Cell(word), Cell(link), number(change.before, format_size), number(change.after, format_size),
        Cell(_signed(grown) if grown else "", grown, "num"),
    ]  # fmt: skip


def _signed(count: int) -> str:
    return f"{'+' if count > 0 else '-'}{format_size(abs(count))}"
