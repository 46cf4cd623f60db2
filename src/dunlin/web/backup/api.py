"""What repositories hold, by HTTP. Nothing here changes anything; jobs do that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, TypeVar, cast

from litestar import Request, Response, get, head
from litestar.di import NamedDependency, Provide
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery, PathParameter, QueryParameter
from litestar.response import Stream

from dunlin.web.auth import operator, principal_of, viewer
from dunlin.web.backup import changes, looks, versions
from dunlin.web.backup.file import Downloads, Part, Wanted, find, headers
from dunlin.web.backup.forms import (
    ChangeWord,
    ComparedShown,
    DetailsShown,
    FolderShown,
    HistoryShown,
    HitsShown,
    OrderWord,
    PreviewShown,
    RepositoryShown,
    ShareShown,
    SnapshotShown,
    UsageShown,
    compared_shown,
    details_shown,
    folder_shown,
    history_shown,
    hits_shown,
    preview_shown,
    share_shown,
    snapshot_shown,
    usage_shown,
)
from dunlin.web.backup.words import exact
from dunlin.web.forms import Count, Page, legible
from dunlin.web.problems import Refused, responses
from dunlin.web.services import Principal, Services
from dunlin.web.tenancy import FOR_TENANT, tenant_of

if TYPE_CHECKING:
    from dunlin.backup.manifest import Manifest
    from dunlin.backup.retention import Policy
    from dunlin.jobs.forget import Fate
    from dunlin.web.vaults import Vault, Vaults

P = ParamSpec("P")
T = TypeVar("T")

TAGS = ["Backups"]
BASE = "/api/v1/repositories"
REPOSITORY = f"{BASE}/{{name:str}}"
SHARE = f"{REPOSITORY}/shares/{{share:str}}"
SNAPSHOT = f"{SHARE}/snapshots/{{snapshot:str}}"

NAME = "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$"
TEXT = "^(latest|[0-9A-Za-z.]{1,40})$"
RepositoryName = Annotated[str, PathParameter(max_length=100, description="The repository, as configured.")]
ShareName = Annotated[str, PathParameter(pattern=NAME, description="The share.")]
SnapshotText = Annotated[
    str, PathParameter(pattern=TEXT, description="`latest`, or the beginning of an id or of a time (20260131T18).")
]
Path = Annotated[
    str,
    QueryParameter(
        name="path", max_length=16_384, description="From the root of the snapshot; bytes that are no UTF-8 as %XX."
    ),
]
Text = Annotated[str, QueryParameter(name="old", pattern=TEXT, description="The earlier snapshot.")]
Other = Annotated[str, QueryParameter(name="new", pattern=TEXT, description="The later snapshot.")]
After = Annotated[str, QueryParameter(name="after", pattern="^[0-9]{0,15}$", description="`next` of the part before.")]
Number = Annotated[int, QueryParameter(ge=-1, le=1_000_000)]
WORKING = (404, 502)
CONTENT = {
    status: ResponseSpec(bytes, generate_examples=False, description=words, media_type="application/octet-stream")
    for status, words in ((200, "The content."), (206, "The part of it that `Range` asks for."))
}


def vaults_of(services: Services) -> Vaults:
    """The repositories that the service looks into. Raises `Refused` where it has none."""
    if services.vaults is None:
        raise Refused(404, "this service knows no repositories", "`repositories` in the configuration names them")
    return services.vaults


def allowed(services: Services, principal: Principal, name: str) -> tuple[str, ...]:
    """The tenants of a repository that somebody may see; none: for him there is no such repository."""
    if services.vaults is None:
        return ()
    known = services.settings().tenants
    mine = (each for each in services.vaults.tenants(name) if principal.may_see(each))
    return tuple(each for each in mine if not known or each in known)


def policy_of(counts: Sequence[int], within: str, tags: Sequence[str]) -> Policy:
    """The rules of a request. Raises USAGE.

    `counts`: of last, hourly, daily, weekly, monthly, yearly; -1: all.
    """
    from dunlin.backup.retention import Policy
    from dunlin.pace.sizes import parse_duration

    seconds = parse_duration(within) if within.strip() else 0.0
    last, hourly, daily, weekly, monthly, yearly = counts
    return Policy(last, hourly, daily, weekly, monthly, yearly, seconds, tuple(each for each in tags if each))


class Looking:
    """The part of a repository that a request may look into: what all routes below one have in common.

    Attributes:
        request: who asks, and for what. name: of the repository.
    """

    __slots__ = ("_services", "_tenant", "name", "request")

    def __init__(self, services: Services, request: Request[Any, Any, Any], name: str, tenant: str) -> None:
        self._services, self.request, self.name, self._tenant = services, request, name, tenant

    def tenant(self) -> str:
        """For whom. Raises `Refused`."""
        return tenant_of(self._services, principal_of(self.request), self._tenant).name

    def exact(self, name: str) -> str:
        """An argument as it stands in the address (`words.exact`). Raises `Refused`."""
        return exact(self.request, name)

    async def __call__(self, do: Callable[Concatenate[Vault, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a question is answered. Raises `Refused`, and what the question raises."""
        return await vaults_of(self._services).ask(self.name, self.tenant(), do, *args, **kwargs)

    async def inside(
        self, share: str, snapshot: str, do: Callable[Concatenate[Vault, Manifest, P], T], *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:  # fmt: skip
        """The same about a snapshot, as the address names it."""
        return await self(lambda vault: do(vault, vault.snapshot(share, snapshot), *args, **kwargs))


Look = NamedDependency[Looking]


def routes(services: Services) -> list[Any]:
    """The routes."""

    async def look(request: Request[Any, Any, Any], name: RepositoryName, tenant_name: FOR_TENANT = "") -> Looking:
        return Looking(services, request, name, tenant_name)

    needs = {"look": Provide(look)}
    route = partial(get, guards=[viewer], tags=TAGS, responses=responses(*WORKING), dependencies=needs)
    return [
        _repositories(services),
        *_shares(route),
        *_snapshots(route),
        *_inside(route),
        *_contents(services, needs),
    ]


def _repositories(services: Services) -> Any:
    @get(BASE, guards=[viewer], summary="Repositories of backups", tags=TAGS, responses=responses())
    async def listed(request: Request[Any, Any, Any]) -> Page[RepositoryShown]:
        principal = principal_of(request)
        found = []
        for name, known in sorted(services.settings().repositories.items()):
            mine = allowed(services, principal, name)
            if mine:
                found.append(RepositoryShown(name, list(mine), known.append_only))
        return Page(found)

    return listed


def _shares(route: partial[get]) -> list[Any]:
    @route(f"{REPOSITORY}/shares", summary="Shares, each with its newest snapshot")
    async def shares(look: Look) -> Page[ShareShown]:
        return Page([share_shown(each) for each in await look(looks.shares)])

    @route(f"{SHARE}/usage", summary="What a share takes, and what of it was verified")
    async def usage(look: Look, share: ShareName) -> UsageShown:
        return usage_shown(await look(looks.usage, share))

    @route(f"{REPOSITORY}/usage", summary="What all shares take together")
    async def whole(look: Look) -> UsageShown:
        return usage_shown(await look(looks.total))

    return [shares, usage, whole]


def _snapshots(route: partial[get]) -> list[Any]:
    @route(f"{SHARE}/snapshots", summary="Snapshots, the newest first")
    async def listed(
        look: Look, share: ShareName, tag: FromQuery[str] = "", after: After = "", count: Count = 100
    ) -> Page[SnapshotShown]:
        found = await look(looks.snapshots, share, int(after or 0), count, tag)
        more = None if found.more is None else str(found.more)
        return Page([snapshot_shown(each) for each in found.snapshots], more)

    @route(SNAPSHOT, summary="A snapshot")
    async def one(look: Look, share: ShareName, snapshot: SnapshotText) -> SnapshotShown:
        return await look.inside(share, snapshot, lambda _, found: snapshot_shown(found))

    @route(
        f"{SHARE}/retention", summary="What a policy would keep, and what it would remove",
        description="Rules as `dunlin forget` has them; -1 keeps one of each there is. Nothing is removed.",
    )  # fmt: skip
    async def retention(
        look: Look,
        share: ShareName,
        last: Number = 0,
        hourly: Number = 0,
        daily: Number = 0,
        weekly: Number = 0,
        monthly: Number = 0,
        yearly: Number = 0,
        within: FromQuery[str] = "",
        tag: FromQuery[list[str] | None] = None,
    ) -> PreviewShown:
        def decide(vault: Vault) -> list[Fate]:
            policy = policy_of((last, hourly, daily, weekly, monthly, yearly), within, tag or [])
            return looks.preview(vault, share, policy)

        return preview_shown(share, await look(decide))

    return [listed, one, retention]


def _inside(route: partial[get]) -> list[Any]:
    @route(f"{SNAPSHOT}/tree", summary="A directory of a snapshot")
    async def tree(
        look: Look,
        share: ShareName,
        snapshot: SnapshotText,
        path: Path = "",
        sort: FromQuery[OrderWord] = "name",
        down: FromQuery[bool] = False,
        sums: FromQuery[bool] = True,
        after: After = "",
        count: Count = 100,
    ) -> FolderShown:
        place, start = look.exact("path"), int(after or 0)
        return folder_shown(await look.inside(share, snapshot, looks.folder, place, sort, down, start, count, sums))

    @route(f"{SNAPSHOT}/entry", summary="One name of a snapshot with all that is known of it")
    async def entry(look: Look, share: ShareName, snapshot: SnapshotText, path: Path = "") -> DetailsShown:
        return details_shown(await look.inside(share, snapshot, looks.details, look.exact("path")))

    @route(
        f"{SNAPSHOT}/search", summary="Names of a snapshot that fit a pattern",
        description="`*`, `?`, `[abc]`; a word without any of them is looked for anywhere in names. It takes five "
        "seconds at most; `complete` says whether that was enough.",
    )  # fmt: skip
    async def search(
        look: Look,
        share: ShareName,
        snapshot: SnapshotText,
        pattern: Annotated[str, QueryParameter(name="pattern", min_length=1, max_length=200)],
        path: Path = "",
        ignore_case: FromQuery[bool] = True,
        count: Count = 100,
    ) -> HitsShown:
        place, wanted = look.exact("path"), look.exact("pattern")
        found = await look.inside(share, snapshot, looks.search, wanted, place, ignore_case=ignore_case, count=count)
        return hits_shown(found)

    @route(f"{SHARE}/compare", summary="What differs between two snapshots")
    async def compare(
        look: Look,
        share: ShareName,
        old: Text,
        new: Other = "latest",
        path: Path = "",
        what: FromQuery[ChangeWord | None] = None,
        after: After = "",
        count: Count = 100,
    ) -> ComparedShown:
        found = await look(changes.compare, share, old, new, look.exact("path"))
        start, chosen = int(after or 0), found.only(what or "")
        more = start + count if start + count < len(chosen) else None
        return compared_shown(found, chosen[start : start + count], more)

    @route(f"{SHARE}/history", summary="What stood at a path, in which snapshots")
    async def history(look: Look, share: ShareName, path: Path = "") -> HistoryShown:
        return history_shown(await look(versions.history, share, look.exact("path")))

    return [tree, entry, search, compare, history]


def _contents(services: Services, needs: dict[str, Provide]) -> list[Any]:
    def note(request: Request[Any, Any, Any], wanted: Wanted) -> None:
        where = f"{wanted.vault.name} {wanted.snapshot.share} {wanted.snapshot.id[:8]}:{legible(wanted.entry.path)}"
        services.ledger.audit.record(principal_of(request).name, "backup.download", where, "", wanted.vault.tenant)

    downloads = Downloads(services.vaults, note) if services.vaults is not None else None

    @get(
        f"{SNAPSHOT}/file", guards=[operator], summary="The content of a file", tags=TAGS, dependencies=needs,
        description="As a download; one range may be asked for.", media_type="application/octet-stream",
        responses={**CONTENT, **responses(*WORKING, 416)},
    )  # fmt: skip
    async def file(look: Look, share: ShareName, snapshot: SnapshotText, path: Path = "") -> Stream:
        place, whose = look.exact("path"), look.tenant()
        if downloads is None:
            raise Refused(404, "there is no such repository")
        return await downloads.send(look.request, look.name, whose, share, snapshot, place)

    @head(
        f"{SNAPSHOT}/file", guards=[operator], summary="What a download would be, without it", tags=TAGS,
        dependencies=needs, media_type="application/octet-stream", responses=responses(*WORKING),
    )  # fmt: skip
    async def about(look: Look, share: ShareName, snapshot: SnapshotText, path: Path = "") -> Response[None]:
        found = await look.inside(share, snapshot, find, look.exact("path"))
        nothing = cast("None", b"")  # the framework writes no None as bytes, and takes only None from HEAD
        return Response(nothing, headers=headers(found, Part(0, found.entry.size, True)))

    return [file, about]


__all__ = ["allowed", "policy_of", "routes", "vaults_of"]
