"""The routes of the pages of backups, below that of the monitor, and of their forms."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from litestar import Request, Response, get, post
from litestar.params import FromQuery, URLEncodedBody

from dunlin.errors import DunlinError, ErrorKind
from dunlin.web.auth import operator, viewer
from dunlin.web.backup import browse, changes, looks, shares, versions
from dunlin.web.backup.api import allowed, policy_of, vaults_of
from dunlin.web.backup.compare import compare_page
from dunlin.web.backup.orders import ORDERS, Form, counted, obey
from dunlin.web.backup.shares import Where
from dunlin.web.backup.words import exact, place_of, tidy
from dunlin.web.markup import Child
from dunlin.web.monitor.shell import back, may_act, page_of, refused, whole
from dunlin.web.problems import Refused, told
from dunlin.web.services import EVERYBODY, Services
from dunlin.web.tenancy import tenant_of

if TYPE_CHECKING:
    from dunlin.backup.manifest import Manifest
    from dunlin.web.vaults import Vault

Asking = Request[Any, Any, Any]
Draw = Callable[[Where, "Vault"], Response[Any]]
MOST_PLACES = 24
"""Repositories and tenants that are looked into for one page."""


def routes(services: Services) -> list[Any]:
    """All of them; none where the monitor is off."""
    if not services.settings().monitor:
        return []
    return [*_shares(services), *_inside(services), *_orders(services)]


def _root(services: Services) -> str:
    return f"{services.settings().root_path.rstrip('/')}/backup"


async def _answer(services: Services, request: Asking, draw: Draw) -> Response[Any]:
    """A page about a share: what it is drawn from is looked up where stores are waited for."""
    page = page_of(services, request)
    asked = {name: exact(request, name) for name in ("repository", "tenant", "share")}
    try:
        vaults = vaults_of(services)
        whose = tenant_of(services, page.principal, asked["tenant"]).name
        shown = whose if page.principal.tenant == EVERYBODY else ""
        where = Where(page, asked["repository"], shown, asked["share"])
        return await vaults.ask(where.repository, whose, lambda vault: draw(where, vault))
    except (Refused, DunlinError) as error:
        return refused(page, error)


def _shares(services: Services) -> list[Any]:
    root = _root(services)
    look = partial(get, guards=[viewer], include_in_schema=False)

    async def seen(where: Where, whose: str) -> list[looks.Share] | Refused:
        try:
            return await vaults_of(services).ask(where.repository, whose, looks.shares)
        except DunlinError as error:
            return told(error)
        except Refused as error:
            return error

    @look(root)
    async def all_(request: Asking) -> Response[Any]:
        page = page_of(services, request)
        every, wanted = page.principal.tenant == EVERYBODY, exact(request, "tenant")
        places = [
            (Where(page, name, tenant if every else ""), tenant)
            for name in sorted(services.settings().repositories)
            for tenant in allowed(services, page.principal, name)
            if wanted in ("", tenant)
        ]
        left = sorted({tenant for _, tenant in places[MOST_PLACES:]})
        found = await asyncio.gather(*(seen(*each) for each in places[:MOST_PLACES]))
        drawn = [(where, each) for (where, _), each in zip(places, found, strict=False)]
        return whole(page, "Backups", "backup", *shares.overview(page, drawn, left))

    @look(f"{root}/share")
    async def one(request: Asking, after: FromQuery[str] = "") -> Response[Any]:
        rules = {name: exact(request, name) for name in (*shares.RULES, "within", "tag")}

        def draw(where: Where, vault: Vault) -> Response[Any]:
            start = _number(after)
            some = looks.snapshots(vault, where.share, start, shares.COUNT)
            charted = vault.manifests(where.share, vault.names(where.share)[-shares.CHARTED :])
            preview = _preview(where, vault, {name: words for name, words in rules.items() if words.strip()})
            parts = shares.share_page(where, some, charted, looks.usage(vault, where.share), preview)
            return whole(where.page, where.share, "backup", *parts)

        return await _answer(services, request, draw)

    return [all_, one]


def _preview(where: Where, vault: Vault, rules: dict[str, str]) -> Child:
    fates, wrong = None, ""
    if rules:
        try:
            counts = [-1 if (n := counted(rules.get(name, ""))) == "all" else int(n) for name in shares.RULES]
            tags = [each.strip() for each in rules.get("tag", "").split(",")]
            fates = looks.preview(vault, where.share, policy_of(counts, rules.get("within", ""), tags))
        except Refused as error:
            wrong = error.detail
        except DunlinError as error:
            wrong = error.reason
    return shares.retention(where, rules, fates, wrong, vault.append_only)


def _inside(services: Services) -> list[Any]:
    root = _root(services)
    look = partial(get, guards=[viewer], include_in_schema=False)

    @look(f"{root}/browse")
    async def browsed(
        request: Asking, at: FromQuery[str] = "latest", sort: FromQuery[str] = "name", down: FromQuery[str] = "",
        after: FromQuery[str] = "",
    ) -> Response[Any]:  # fmt: skip
        path = tidy(place_of(request))

        def draw(where: Where, vault: Vault) -> Response[Any]:
            snapshot, known = vault.snapshot(where.share, at), _known(vault, where.share)
            order = sort if sort in browse.WORDS else "name"
            asked = browse.Asked(snapshot.id, path, order, down == "1", _number(after))
            return _browsed(where, vault, snapshot, asked, known)

        return await _answer(services, request, draw)

    @look(f"{root}/search")
    async def search(request: Asking, at: FromQuery[str] = "latest") -> Response[Any]:
        path, pattern = tidy(place_of(request)), exact(request, "pattern")

        def draw(where: Where, vault: Vault) -> Response[Any]:
            snapshot = vault.snapshot(where.share, at)
            if not pattern.strip():
                return back(where.page, "backup/browse", **where.told, at=snapshot.id, path=path)
            found = looks.search(vault, snapshot, pattern.strip()[:200], path)
            known = _known(vault, where.share)
            return whole(where.page, "Found", "backup", *browse.hits_page(where, pattern, path, found, known))

        return await _answer(services, request, draw)

    @look(f"{root}/compare")
    async def compared(
        request: Asking, old: FromQuery[str] = "", new: FromQuery[str] = "latest", what: FromQuery[str] = "",
        after: FromQuery[str] = "",
    ) -> Response[Any]:  # fmt: skip
        path = tidy(place_of(request))

        def draw(where: Where, vault: Vault) -> Response[Any]:
            found = changes.compare(vault, where.share, old, new, path)
            word = what if what in changes.WHATS else ""
            known = _known(vault, where.share)
            return whole(where.page, "Changes", "backup", *compare_page(where, found, word, _number(after), known))

        return await _answer(services, request, draw)

    return [browsed, search, compared]


def _browsed(
    where: Where, vault: Vault, snapshot: Manifest, asked: browse.Asked, known: list[Manifest]
) -> Response[Any]:  # fmt: skip
    page, title = where.page, asked.path.rpartition("/")[2] or where.share
    try:
        kind = looks.kind(vault, snapshot, asked.path)
    except DunlinError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
        parts = browse.missing_page(where, snapshot.id, asked.path, snapshot, known)
        return whole(page, title, "backup", *parts, status=404)
    if kind == "directory":
        found = looks.folder(vault, snapshot, asked.path, asked.sort, asked.down, asked.after, browse.COUNT)
        parts = browse.folder_page(where, asked, found, known, append_only=vault.append_only)
        return whole(page, title, "backup", *parts)
    details = looks.details(vault, snapshot, asked.path)
    past = versions.history(vault, where.share, asked.path)
    return whole(page, title, "backup", *browse.details_page(where, details, past, known))


def _known(vault: Vault, share: str) -> list[Manifest]:
    """The newest snapshots, among which one can choose."""
    return vault.manifests(share, vault.names(share)[: -browse.CHOICES - 1 : -1])


def _number(after: str) -> int:
    if after and not (after.isdecimal() and after.isascii() and len(after) < 16):
        raise Refused(400, "`after` is a number")
    return int(after or 0)


def _orders(services: Services) -> list[Any]:
    root = _root(services)

    def route(verb: str) -> Any:
        @post(
            f"{root}/{verb}", guards=[operator], include_in_schema=False, status_code=303, name=f"monitor_backup_{verb}"
        )
        async def give(request: Asking, data: URLEncodedBody[Form]) -> Response[Any]:
            page = page_of(services, request)
            try:
                may_act(page)
                # Its paths are looked at, and may lie where nobody answers.
                job = await services.publishes(obey, page, verb, data)
            except (Refused, DunlinError) as error:
                return refused(page, error)
            found: Response[Any] = back(page, "job", id=job.id)
            return found

        return give

    return [route(verb) for verb in ORDERS]


__all__ = ["routes"]
