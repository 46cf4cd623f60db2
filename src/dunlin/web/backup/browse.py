"""Pages: a directory or a file of a snapshot, what a search finds in it, and the form that restores."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from dunlin.pace.sizes import format_number, format_size
from dunlin.web.backup.looks import HITS, Details, Folder, Hits, Name
from dunlin.web.backup.shares import Where, form, hidden, marks
from dunlin.web.backup.versions import History
from dunlin.web.backup.words import escaped, holds
from dunlin.web.markup import Child, Safe, el
from dunlin.web.monitor.shell import facts, moment, section
from dunlin.web.tables import Cell, number, table

if TYPE_CHECKING:
    from dunlin.backup.manifest import Manifest

COUNT = 200
"""Names of a page."""

CHOICES = 100
"""Snapshots among which one can choose on a page."""

OVERWRITE = {
    "if-changed": "replace them if they differ", "always": "replace them", "if-newer": "replace older ones",
    "never": "leave them",
}  # fmt: skip
"""What may become of files that stand at the destination (`jobs.restore`), in words."""

SIGNS = {"directory": "/", "link": " →"}
WORDS = {"name": "name", "size": "size", "time": "time"}


class Asked(NamedTuple):
    """How a directory is shown: the snapshot as it stands in the address, path, order, from which name on."""

    at: str
    path: str
    sort: str
    down: bool
    after: int


def folder_page(
    where: Where, asked: Asked, found: Folder, known: Sequence[Manifest], *, append_only: bool
) -> list[Child]:
    """A directory; that of the whole snapshot has the button that removes it."""
    below = found.below
    told = [format_number(count, one, many) for count, one, many in (
        (found.directories, "directory", "directories"), (found.files, "file", "files")) if count]  # fmt: skip
    words = f"{' and '.join(told) or 'Nothing'} here"
    if below is not None:
        words += f"; {below[1]:,} files, {format_size(below[2])} in all that lies below"
    rows = [_row(where, found.snapshot, each) for each in found.names]
    heads = ["Name", "Size", "Files", "Modified (UTC)", ""]
    listed: Child = table(heads, rows, wide=(2, 4), path=0) if rows else el("p", "Empty.", class_="dim")
    return [
        _top(where, found.snapshot, found.path, known),
        el("section", _search(where, found.snapshot, found.path), el("p", words, class_="hint"),
           _orders(where, asked, found), listed, _more(where, asked, found)),
        _restore(where, found.snapshot, found.path, "what lies in it"),
        _forget(where, found.snapshot) if where.admin and not (found.path or append_only) else None,
    ]  # fmt: skip


def details_page(where: Where, found: Details, past: History, known: Sequence[Manifest]) -> list[Child]:
    """A file, or anything else that is no directory."""
    name = found.name
    about: list[tuple[str, Child]] = [
        ("Kind", name.kind),
        ("Size", f"{format_size(name.size)} ({name.size:,} bytes)" if name.size >= 1024 else f"{name.size:,} bytes"),
        ("Modified", [moment(name.mtime / 1e9), " UTC"]),
        ("Mode", stat.filemode(found.mode)),
        ("Owner", f"{_or(found.uid)}:{_or(found.gid)}"),
    ]
    if found.target:
        about.append(("Leads to", el("span", found.target, class_="path")))
    if found.links > 1:
        about.append(("Names", f"{found.links:,} of one file"))
    if found.torn:
        about.append(("Content", el("span", "⚠ it changed while it was read", class_="tag t-fair")))
    elif not found.content and name.kind == "file":
        about.append(("Content", el("span", "○ not in this snapshot, which is a scan", class_="tag t-busy")))
    load = _download(where, found.snapshot, name) if found.content else None
    return [
        _top(where, found.snapshot, name.path, known),
        el("section", facts(*about), el("div", load, class_="orders") if load else None),
        _versions(where, found.snapshot, past),
        _restore(where, found.snapshot, name.path, "it, under its own name"),
    ]


def hits_page(where: Where, pattern: str, path: str, found: Hits, known: Sequence[Manifest]) -> list[Child]:
    """What a search found."""
    shown = format_number(len(found.names), "name")
    words = f"{shown} found." if found.whole else f"{shown} found so far; there may be more: say more of the name."
    if len(found.names) >= HITS:
        words = f"The first {HITS} names; there are more: say more of the name."
    rows = [_row(where, found.snapshot, each, whole=True) for each in found.names]
    listed: Child = table(["Path", "Size", "Files", "Modified (UTC)", ""], rows, wide=(2, 4), path=0) if rows else None
    return [
        _top(where, found.snapshot, path, known),
        el("section", _search(where, found.snapshot, path, pattern), el("p", words, class_="hint"), listed),
    ]


def missing_page(where: Where, at: str, path: str, snapshot: Manifest, known: Sequence[Manifest]) -> list[Child]:
    """There is nothing at this path in this snapshot."""
    up = path.rpartition("/")[0]
    words = el("p", "This snapshot holds no such thing.", class_="message t-fair", role="alert")
    link = el("a", "What lies above it", href=where.url("backup/browse", at=at, path=up))
    return [_top(where, snapshot, path, known), el("section", words, el("p", link))]


# ---- parts ----


def _or(value: int | None) -> str:
    return "–" if value is None else str(value)


def _top(where: Where, snapshot: Manifest, path: str, known: Sequence[Manifest]) -> Safe:
    """Where one is: the path, and the snapshot, of which another can be chosen for the same path."""
    return el("section", crumbs(where, snapshot.id, path), chooser(where, "backup/browse", snapshot, path, known))


def crumbs(where: Where, at: str, path: str) -> Safe:
    """The path, each part of which leads there."""
    parts: list[Child] = [el("a", where.share, href=where.url("backup/browse", at=at))]
    names = path.split("/") if path else []
    for number_, name in enumerate(names, 1):
        parts.append(el("span", " / ", aria_hidden="true"))
        if number_ == len(names):
            parts.append(el("span", name, aria_current="page"))
        else:
            parts.append(el("a", name, href=where.url("backup/browse", at=at, path="/".join(names[:number_]))))
    return el("nav", parts, aria_label="Path", class_="crumbs path")


def chooser(where: Where, to: str, snapshot: Manifest, path: str, known: Sequence[Manifest]) -> Child:
    """Choose another snapshot for the same path."""
    compare = el(
        "a", "Changes since the one before", class_="act",
        href=where.url("backup/compare", old=snapshot.parent, new=snapshot.id, path=path),
    ) if snapshot.parent else None  # fmt: skip
    return el(
        "form", where.fields(), kept(path), el("label", "Snapshot ", choices("at", snapshot, known)),
        el("button", "Show"), compare, el("span", marks(snapshot, tags=False)), method="get",
        action=where.page.url(to), class_="asks",
    )  # fmt: skip


def kept(path: str) -> Child:
    """The path that a form is about; nothing for all of a snapshot."""
    return hidden("place", escaped(path)) if path else None


def choices(name: str, chosen: Manifest, known: Sequence[Manifest]) -> Safe:
    """The snapshots of a share, of which one is chosen, known or not."""
    some = list(known[:CHOICES])
    if all(each.id != chosen.id for each in some):
        some.append(chosen)
    options = [el("option", title(each), value=each.id, selected=each.id == chosen.id) for each in some]
    return el("select", options, name=name)


def title(snapshot: Manifest) -> str:
    """A snapshot in one line."""
    import datetime

    at = datetime.datetime.fromtimestamp(snapshot.time // 10**9, datetime.UTC)
    tags = f", {', '.join(snapshot.tags)}" if snapshot.tags else ""
    return f"{at:%Y-%m-%d %H:%M:%S} ({snapshot.id[:8]}{tags})"


def _search(where: Where, snapshot: Manifest, path: str, pattern: str = "") -> Safe:
    words = f"Find below {path.rpartition('/')[2]} " if path else "Find "
    return el(
        "form", where.fields(at=snapshot.id), kept(path),
        el("label", words, el("input", type="search", name="pattern", value=pattern, id="search", maxlength=200)),
        el("button", "Find"), method="get", action=where.page.url("backup/search"), class_="asks", role="search",
    )  # fmt: skip


def _orders(where: Where, asked: Asked, found: Folder) -> Child:
    """By what it is sorted; the same again turns it around."""
    if len(found.names) < 2 and not asked.after:
        return None
    links: list[Child] = []
    for name, words in WORDS.items():
        here = name == asked.sort
        turned = (not asked.down) if here else name != "name"
        sign = (" ↓" if asked.down else " ↑") if here else ""
        address = where.url("backup/browse", at=asked.at, path=asked.path, sort=name, down="1" if turned else "")
        links.append(el("a", words + sign, href=address, aria_current="true" if here else None))
    return el("p", "Sort by ", [[" ", each] for each in links], class_="sorts")


def _more(where: Where, asked: Asked, found: Folder) -> Child:
    if found.more is None and not asked.after:
        return None
    total = found.directories + found.files
    first, last = asked.after + 1, asked.after + len(found.names)

    def link(words: str, start: int, rel: str) -> Safe:
        address = where.url(
            "backup/browse", at=asked.at, path=asked.path, sort=asked.sort, down="1" if asked.down else "",
            after=start or "",
        )  # fmt: skip
        return el("a", words, href=address, rel=rel)

    before = link("Page before", max(0, asked.after - COUNT), "prev") if asked.after else None
    after = link("Next page", found.more, "next") if found.more is not None else None
    return el("p", f"{first:,} to {last:,} of {total:,}. ", before, " " if before and after else None, after)


def _row(where: Where, snapshot: Manifest, name: Name, *, whole: bool = False) -> list[Cell]:
    shown = (name.path if whole else name.name) + SIGNS.get(name.kind, "")
    link = el("a", shown, href=where.url("backup/browse", at=snapshot.id, path=name.path))
    if name.kind == "directory":
        below = name.below
        size = number(below[2] if below else None, format_size)
        files = number(below[1] if below else None)
        return [Cell(link), size, files, Cell(moment(name.mtime / 1e9), None, "when"), Cell(None, None, "do")]
    load = _download(where, snapshot, name) if name.kind == "file" and snapshot.content else None
    kind = number(name.size, format_size) if name.kind == "file" else Cell(name.kind, -1, "num dim")
    return [Cell(link), kind, Cell("", -1, "num"), Cell(moment(name.mtime / 1e9), None, "when"), Cell(load, None, "do")]


def _versions(where: Where, snapshot: Manifest, past: History) -> Safe:
    """What stood there in other snapshots."""
    rows = []
    for each in past.versions:
        here = each.oldest.time <= snapshot.time <= each.newest.time
        span: list[Child] = [moment(each.newest.time / 1e9)]
        if each.snapshots > 1:
            span = [moment(each.oldest.time / 1e9), " to ", *span]
        name = each.name
        link: Child = span
        if name is not None:
            link = el("a", span, href=where.url("backup/browse", at=each.newest.id, path=past.path))
        what = Cell(el("span", "nothing there", class_="dim")) if name is None else number(name.size, format_size)
        load = name is not None and name.kind == "file" and each.newest.content
        rows.append(
            [
                Cell([link, " (this one)" if here else None], None, "loose"), number(each.snapshots), what,
                Cell(moment(name.mtime / 1e9) if name else None, None, "when"),
                Cell(_download(where, each.newest, name) if name and load else None, None, "do"),
            ]
        )  # fmt: skip
    hint = "The newest first." if past.whole else "The newest first; older snapshots were not looked at."
    heads = ["In the snapshots of (UTC)", "Snapshots", "Size", "Modified (UTC)", ""]
    return section("Versions", hint, el("div", table(heads, rows, wide=(1, 3)), class_="lean"))


def _download(where: Where, snapshot: Manifest, name: Name) -> Child:
    """For operators: what files hold is not for everybody who may look."""
    if not where.page.reads:
        return None
    tenant = f"&tenant={escaped(where.tenant)}" if where.tenant else ""
    address = (
        f"/api/v1/repositories/{escaped(where.repository)}/shares/{escaped(where.share)}/snapshots/{snapshot.id}/file"
        f"?path={escaped(name.path)}{tenant}"
    )
    return el("a", "Download", href=address, class_="act", download=True)


def _restore(where: Where, snapshot: Manifest, path: str, what: str) -> Child:
    """The form that brings it back."""
    if not where.page.acts or not snapshot.content:
        return None
    if not holds(path):
        words = "Its name is no text, so it can only be restored with the directory above it, or by the command line."
        return section("Restore", words)
    fields = [
        el("label", "Destination", el("input", name="destination", required=True, placeholder="/srv/restored"),
           el("span", f"A directory or URL, into which goes {what}.", class_="hint")),
        el("label", "Files that stand there",
           el("select", [el("option", words, value=each) for each, words in OVERWRITE.items()], name="overwrite")),
        el("label", "Afterwards",
           el("select", el("option", "nothing more", value=""), el("option", "compare all of it", value="true"),
              name="verify")),
        el("button", "Restore"),
    ]  # fmt: skip
    asked = form(where, "restore", fields, at=snapshot.id, place=escaped(path))
    head = f"Restore {path}" if path else "Restore all of it"
    return el("section", el("details", el("summary", head), asked))


def _forget(where: Where, snapshot: Manifest) -> Safe:
    """The form that removes the snapshot, whatever a policy would keep."""
    words = "Say because it holds what nobody should see. Rules on the share's page remove old ones."
    free = el("label", el("input", type="checkbox", name="prune", value="true"), " and free what it alone needed")
    button = el("button", f"Forget {snapshot.id[:8]}", class_="act", data_sure=True)
    asked = form(where, "forget", free, button, kind="apply", at=snapshot.id)
    return el("section", el("details", el("summary", "Forget this snapshot"), el("p", words, class_="hint"), asked))
