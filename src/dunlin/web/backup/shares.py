"""Pages: all shares with how they stand, and one share with its snapshots, its growth and what a policy would keep."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from dunlin.pace.sizes import format_size
from dunlin.queue.ledger.words import Role
from dunlin.web.backup.looks import Checked, Share, Some, Usage
from dunlin.web.charts import columns, plot, round_up
from dunlin.web.forms import legible
from dunlin.web.markup import Child, Safe, el
from dunlin.web.monitor.shell import Page, age, following, moment, perhaps, section
from dunlin.web.problems import Refused
from dunlin.web.tables import Cell, number, table

if TYPE_CHECKING:
    from dunlin.backup.manifest import Manifest
    from dunlin.jobs.forget import Fate

COUNT = 50
CHARTED = 400
"""Snapshots that a chart shows; the newest."""

FATES = 300
"""Snapshots that a preview shows."""

RULES = ("last", "hourly", "daily", "weekly", "monthly", "yearly")


class Where(NamedTuple):
    """Whose share in which repository a page is about. `tenant`: "" where nobody has to say it."""

    page: Page
    repository: str
    tenant: str
    share: str = ""

    @property
    def told(self) -> dict[str, str]:
        """What addresses and forms say of it."""
        return {"repository": self.repository, "tenant": self.tenant, "share": self.share}

    def url(self, page: str, **asked: object) -> str:
        """The address of a page about the same share."""
        return self.page.url(page, **{**self.told, **asked})

    def fields(self, **more: object) -> list[Safe]:
        """The same for a form."""
        known = {**self.told, **more}
        return [hidden(name, value) for name, value in known.items() if value not in ("", None)]

    @property
    def admin(self) -> bool:
        """Whether orders are drawn that only administrators may give."""
        return self.page.acts and self.page.principal.role.covers(Role.ADMIN)


def hidden(name: str, value: object) -> Safe:
    """What a form sends without asking."""
    return el("input", type="hidden", name=name, value=str(value))


def form(where: Where, to: str, *content: Child, kind: str = "new", **more: object) -> Safe:
    """A form that gives an order."""
    token = hidden("_csrf", where.page.principal.csrf)
    return el(
        "form", where.fields(**more), token, *content, method="post", action=where.page.url(f"backup/{to}"), class_=kind
    )  # fmt: skip


def order(where: Where, to: str, words: str, *, sure: bool = False, **more: object) -> Child:
    """A button that gives an order; nothing for who may not."""
    if not where.page.acts:
        return None
    return form(where, to, el("button", words, class_="act", data_sure=sure), kind="one", **more)


# ---- all shares ----


def overview(
    page: Page, found: Sequence[tuple[Where, list[Share] | Refused]], left: Sequence[str] = ()
) -> list[Child]:  # fmt: skip
    """All shares that somebody may see.

    Args:
        found: for each repository and tenant, or why they cannot be seen.
        left: tenants of whom not everything is among them.
    """
    several = len({where.repository for where, _ in found}) < len(found)
    parts: list[Child] = []
    for where, shares in found:
        title = f"{where.repository}, {where.tenant}" if several else where.repository
        if isinstance(shares, Refused):
            words = [el("p", f"✗ {shares.detail}.", class_="message t-bad"), el("p", shares.hint, class_="hint")]
            parts.append(section(title, None, words))
        else:
            hint = "Verified: how much of the small files of a share; its page says it of everything."
            shown = _shares(where, shares) if shares else _nothing()
            parts.append(section(title, hint if shares else None, shown))
    if not found:
        hint = "`repositories` in the configuration of the service names those that it shall know."
        parts.append(section("None", hint))
    if left:
        links = [[" ", el("a", name, href=page.url("backup", tenant=name))] for name in left]
        parts.append(section("More", "These tenants have more; one shows all of it.", el("p", links, class_="sorts")))
    if page.acts and found:
        parts.append(_new([where for where, _ in found]))
    return parts


def _nothing() -> Safe:
    return el("p", "Nothing was backed up yet.", class_="dim")


def _shares(where: Where, shares: list[Share]) -> Safe:
    now = where.page.services.clock()
    rows = []
    for each in shares:
        here, newest = where._replace(share=each.name), each.newest
        at = newest.time / 1e9 if newest else 0.0
        rows.append(
            [
                Cell(el("a", each.name, href=here.url("backup/share")), None, "loose"),
                Cell(moment(at) if newest else "–", at), Cell(age(now - at) if newest else "–", now - at, "num"),
                number(newest.totals.files if newest else None),
                number(newest.totals.bytes if newest else None, format_size), number(each.snapshots),
                Cell(verified(each.checked, now)),
                Cell(
                    [
                        el("a", "Browse", href=here.url("backup/browse"), class_="act") if newest else None,
                        again(here, newest) if newest else None,
                    ],
                    None, "do",
                ),
            ]
        )  # fmt: skip
    heads = ["Share", "Newest (UTC)", "Age", "Files", "Size", "Snapshots", "Verified", ""]
    return table(heads, rows, wide=(5,), stack=True)


def verified(checked: Checked, now: float) -> Child:
    """How much of the content was found whole, and how long ago."""
    if not checked.packs:
        return "–"
    if not checked.whole:
        return el("span", "○ never", class_="tag t-fair")
    share = checked.whole_bytes / max(1, checked.bytes)
    ago = f", {age(max(0.0, now - checked.newest / 1e9))} ago" if checked.newest else ""
    if checked.oldest is not None:
        return [el("span", "✓ all", class_="tag t-good"), f", oldest {age(max(0.0, now - checked.oldest / 1e9))} ago"]
    return [el("span", f"⚠ {min(0.99, share):.0%}", class_="tag t-fair"), ago]


def again(where: Where, newest: Manifest) -> Child:
    """The button that backs the source of a snapshot up again."""
    kind = "backup" if newest.content else "scan"
    return order(where, "backup", "Back up now", source=legible(newest.source), what=kind)


def _new(places: list[Where]) -> Safe:
    first = places[0]
    options = [
        el("option", f"{each.repository}, {each.tenant}" if each.tenant else each.repository,
           value=f"{each.repository}/{each.tenant}" if each.tenant else each.repository)
        for each in places
    ]  # fmt: skip
    fields = [
        el("label", "Repository", el("select", options, name="into")),
        el("label", "Source", el("input", name="source", required=True, placeholder="/srv/photos")),
        el("label", "Share", el("input", name="share", placeholder="the last name of the source"),
           el("span", "Its snapshots make one history.", class_="hint")),
        el("label", "Tag", el("input", name="tag")),
        el("button", "Back up"),
    ]  # fmt: skip
    blank = first._replace(repository="", tenant="", share="")
    schedules = el("a", "schedule", href=first.page.url("schedules"))
    return section("Back up something else", ["Once. A ", schedules, " does it again and again."],
                   form(blank, "backup", fields))  # fmt: skip


# ---- one share ----


class Span(NamedTuple):
    """The time from a snapshot to the next, in seconds since the first; sums of all up to it."""

    begin: float
    end: float
    made: Manifest
    files: int
    stored: int
    errors: int = 0


def share_page(where: Where, some: Some, charted: list[Manifest], usage: Usage, preview: Child) -> list[Child]:
    """One share. `some`: the snapshots of the table; `charted`: those of the charts, oldest first."""
    newest = charted[-1] if charted else None
    return [
        _lead(where, newest, usage),
        _cards(usage),
        _charts(where, charted),
        _snapshots(where, some),
        preview,
    ]


def _lead(where: Where, newest: Manifest | None, usage: Usage) -> Safe:
    now = where.page.services.clock()
    if newest is None:
        return el("section", _nothing(), class_="lead fair")
    tone = "good" if newest.complete else "fair"
    words = "✓ complete" if newest.complete else "⚠ some of it could not be read"
    told = [
        f"Newest snapshot {age(max(0.0, now - newest.time / 1e9))} ago, of ", el("span", newest.source, class_="path"),
        f" on {newest.host or 'a host'}",
    ]  # fmt: skip
    read = where._replace(share=where.share)
    orders = [
        el("a", "Browse", href=where.url("backup/browse"), class_="act"),
        again(where, newest),
        order(read, "verify", "Verify"),
        order(read, "verify", "Verify, reading 5%", read="5%"),
        order(where, "prune", "Prune", sure=True) if where.admin else None,
    ]
    return el(
        "section", el("p", words, class_="verdict"), el("p", told),
        el("p", ["Content verified: ", verified(usage.checked, now)]), el("div", orders, class_="orders"),
        class_=f"lead {tone}",
    )  # fmt: skip


def _cards(usage: Usage) -> Safe:
    own = usage.bundles.bytes + usage.indexes.bytes + usage.trees.bytes + usage.manifests.bytes

    def card(name: str, value: str, note: str = "") -> Safe:
        return el("div", el("dt", name), el("dd", el("b", value), el("div", note, class_="small") if note else None))

    return el(
        "dl",
        card("Snapshots", f"{usage.snapshots:,}"),
        card("Newest", format_size(usage.newest_bytes)),
        card("Small files and indexes", format_size(own), "of this share"),
        card("Packs", format_size(usage.packs.bytes), "of all shares"),
        card("Stored for it", format_size(usage.stored_bytes), f"for {format_size(usage.new_bytes)} of new content"),
        card("All snapshots hold", format_size(usage.source_bytes), f"{usage.ratio:.1f} times what was stored"),
        class_="cards",
    )  # fmt: skip


def spans(made: Sequence[Manifest], now: float) -> list[Span]:
    """What charts are drawn from."""
    found: list[Span] = []
    if not made:
        return found
    first, files, stored = made[0].time / 1e9, 0, 0
    for at, each in enumerate(made):
        files, stored = files + each.totals.bytes, stored + each.totals.stored_bytes
        begin = each.time / 1e9 - first
        end = made[at + 1].time / 1e9 - first if at + 1 < len(made) else max(begin, now - first)
        found.append(Span(begin, max(end, begin + 1e-6), each, files, stored, each.totals.failed_entries))
    return found


def _charts(where: Where, made: list[Manifest]) -> Child:
    points = spans(made, where.page.services.clock())
    if not points:
        return None
    seconds, first = points[-1].end, points[0].made.time / 1e9
    most = max(each.made.totals.bytes for each in points)
    last = points[-1]

    def when(at: float) -> str:
        return _date(first + at, seconds)

    def bytes_of(value: float) -> str:
        return format_size(value)

    tips = [f"{_date(each.made.time / 1e9, 0)}: {format_size(each.made.totals.bytes)}" for each in points]
    held = plot(
        points, lambda each: float(each.made.totals.bytes), seconds, name="Bytes of files",
        what=f"at most {format_size(most)}, now {format_size(last.made.totals.bytes)}", kind="of-bytes",
        ceiling=round_up(max(1, most), 1024), written=bytes_of, when=when, tips=tips,
    )  # fmt: skip
    stored = plot(
        points, lambda each: float(each.stored), seconds, name="Bytes stored, all together",
        what=f"{format_size(last.stored)} by {len(points):,} snapshots", kind="of-files",
        ceiling=round_up(max(1, last.stored), 1024), written=bytes_of, low=True, when=when,
    )  # fmt: skip
    newest = points[-60:]
    added = columns(
        [(float(each.made.totals.new_bytes), "good" if each.made.complete else "fair",
          f"{_date(each.made.time / 1e9, 0)}: {format_size(each.made.totals.new_bytes)} new, "
          f"{format_size(each.made.totals.stored_bytes)} stored") for each in newest],
        name="Bytes added by each snapshot",
        what=f"the last {len(newest)}, at most {format_size(max(e.made.totals.new_bytes for e in newest))}",
    )  # fmt: skip
    growth = section(
        "Growth", "What the snapshots hold, and what it took to store them.",
        el("h3", "Bytes of files"), held, el("h3", "Stored, all together"), stored,
        el("h3", "New content of each snapshot"), added,
    )  # fmt: skip
    return el("div", growth, _dedup(points, seconds, when), class_="two")


def _dedup(points: list[Span], seconds: float, when: object) -> Safe:
    def ratio(each: Span) -> float | None:
        return each.files / each.stored if each.stored else None

    def saved(each: Span) -> float | None:
        done = each.made.totals
        return 100 * (1 - min(1.0, done.stored_bytes / done.bytes)) if done.bytes else None

    most = max((ratio(each) or 0.0 for each in points), default=0.0)
    last = ratio(points[-1])
    told = f"{last:.1f}" if last else "unknown"
    whole = plot(
        points, ratio, seconds, name="Bytes of files for each stored byte", what=f"now {told}", kind="of-files",
        ceiling=round_up(max(1.0, most), 1000), written=lambda value: f"{value:g}", when=when,  # type: ignore[arg-type]
    )  # fmt: skip
    each = plot(
        points, saved, seconds, name="Share of each snapshot that needed no room", what="per cent", kind="of-bytes",
        ceiling=100.0, written=lambda value: f"{value:.0f}%", low=True, when=when,  # type: ignore[arg-type]
    )  # fmt: skip
    return section(
        "Deduplication", "What is stored already, and compression, save room.",
        el("h3", "Bytes of files for each stored byte"), whole, el("h3", "What needed no room, by snapshot"), each,
    )  # fmt: skip


def _date(seconds: float, span: float) -> str:
    try:
        at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, OSError, ValueError):
        return "–"
    if not span:
        return f"{at:%Y-%m-%d %H:%M}"
    return f"{at:%H:%M}" if span < 2 * 86_400 else f"{at:%m-%d}" if span < 300 * 86_400 else f"{at:%Y-%m}"


def marks(made: Manifest, *, tags: bool = True) -> list[Child]:
    """What is out of the ordinary about a snapshot, and its tags."""
    found: list[Child] = []
    if not made.content:
        found.append(el("span", "○ scan", class_="tag t-busy"))
    if not made.complete:
        found.append(el("span", "⚠ incomplete", class_="tag t-fair"))
    found += [el("span", tag) for tag in made.tags if tags]
    return [[", " if at else None, each] for at, each in enumerate(found)]


def _snapshots(where: Where, some: Some) -> Safe:
    rows = []
    for each in some.snapshots:
        totals = each.totals
        link = el("a", moment(each.time / 1e9), href=where.url("backup/browse", at=each.id))
        differs = el("a", "Changes", href=where.url("backup/compare", old=each.parent, new=each.id), class_="act")
        rows.append(
            [
                Cell(link, each.time / 1e9), Cell(each.id[:8], None, "path"), number(totals.files),
                number(totals.bytes, format_size), number(totals.new_files), number(totals.changed_files),
                number(totals.removed_files), number(totals.new_bytes, format_size),
                number(totals.stored_bytes, format_size), perhaps(marks(each), "loose"),
                Cell(differs if each.parent else None, None, "do"),
            ]
        )  # fmt: skip
    heads = ["Snapshot (UTC)", "Id", "Files", "Size", "New", "Changed", "Gone", "Added", "Stored", "Tags", ""]
    more = None if some.more is None else str(some.more)
    after = following(where.page, "backup/share", more, **where.told)
    listed = el("div", table(heads, rows, wide=(1, 2, 4, 5, 6, 8, 10)), class_="lean")
    return section("Snapshots", f"{some.total:,}, the newest first.", listed, after)


# ---- what a policy would keep ----


def retention(where: Where, asked: dict[str, str], fates: list[Fate] | None, wrong: str, append_only: bool) -> Safe:
    """The form of a policy, and what it would do to each snapshot; nothing is removed by looking."""
    hints = {"last": "the newest", "hourly": "of so many hours", "daily": "days", "weekly": "weeks",
             "monthly": "months", "yearly": "years"}  # fmt: skip
    fields = [
        el("label", f"Keep {name}", el("input", name=name, value=asked.get(name, ""), inputmode="numeric"),
           el("span", hints[name], class_="hint"))
        for name in RULES
    ]  # fmt: skip
    fields.append(el("label", "Keep within", el("input", name="within", value=asked.get("within", "")),
                     el("span", "30d, 12h", class_="hint")))  # fmt: skip
    fields.append(el("label", "Keep tag", el("input", name="tag", value=asked.get("tag", ""))))
    look = el(
        "form", where.fields(), fields, el("button", "Show what that keeps"), method="get",
        action=f"{where.page.url('backup/share')}#retention", class_="new rules",
    )  # fmt: skip
    hint = "Numbers, or `all`. Whatever any rule keeps stays, and so does the newest snapshot. Looking removes nothing."
    shown: Child = el("p", f"✗ {wrong}.", class_="message t-bad", role="alert") if wrong else None
    if fates is not None:
        shown = _fates(where, asked, fates, append_only)
    return el("div", section("What a policy would keep", hint, look, shown), id="retention")


def _fates(where: Where, asked: dict[str, str], fates: list[Fate], append_only: bool) -> list[Child]:
    gone = sum(not each.reasons for each in fates)
    rows = [
        [
            Cell(el("span", "✓ keep" if each.reasons else "✗ remove",
                    class_=f"tag {'t-good' if each.reasons else 't-bad'}")),
            Cell(moment(each.snapshot.time / 1e9), each.snapshot.time / 1e9), Cell(each.snapshot.id[:8], None, "path"),
            number(each.snapshot.totals.bytes, format_size), perhaps(", ".join(each.reasons), "loose"),
            perhaps(marks(each.snapshot), "loose"),
        ]
        for each in fates[:FATES]
    ]  # fmt: skip
    words = f"{gone:,} of {len(fates):,} snapshots would go."
    if len(fates) > FATES:
        words += f" The newest {FATES} are shown."
    apply: Child = None
    if append_only:
        apply = el("p", "This repository is append-only: nothing is removed from it.", class_="dim")
    elif where.admin and gone:
        free = el("label", el("input", type="checkbox", name="prune", value="true"), " and free what they alone needed")
        button = el("button", f"Forget {gone:,}", class_="act", data_sure=True)
        apply = form(where, "forget", free, button, kind="apply", **asked)
    heads = ["", "Snapshot (UTC)", "Id", "Size", "Kept by", "Tags"]
    return [el("p", words, class_="verdict-words"), apply,
            el("div", table(heads, rows, wide=(2, 5)), class_="lean")]  # fmt: skip


__all__ = ["Where", "form", "hidden", "marks", "order", "overview", "retention", "share_page"]
