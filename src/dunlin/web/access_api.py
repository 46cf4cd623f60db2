"""API keys and users by HTTP, for administrators.

An administrator of a tenant manages that tenant's access; one of the whole service anybody's. Where there are no
tenants everybody is of the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

from litestar import Request, delete, get, post
from litestar.params import JSONBody, PathParameter

from dunlin.config.service import DEFAULT_TENANT
from dunlin.queue.ledger.words import ApiKey, Role, User
from dunlin.web.auth import admin, principal_of
from dunlin.web.forms import KeyShown, NewKey, NewUser, Page, UserShown, key_shown, user_shown
from dunlin.web.problems import Refused, responses
from dunlin.web.services import EVERYBODY, Principal, Services

Known = Callable[[], Mapping[str, ApiKey | User]]
Name = Annotated[str, PathParameter(max_length=100)]


def _tenant(services: Services, principal: Principal, wanted: str) -> str:
    """The tenant whose key or user is made; "" for one of the whole service. Raises `Refused`."""
    if principal.tenant != EVERYBODY:
        if wanted and wanted != principal.tenant:
            raise Refused(403, "that is another tenant")
        # Where there are tenants, a key of nobody's is one of the whole service.
        return principal.tenant if services.settings().tenants else ""
    if wanted and services.settings().tenant(wanted) is None:
        raise Refused(400, f"there is no tenant {wanted}")
    return wanted


def _own(services: Services, principal: Principal, tenant: str) -> bool:
    return principal.may_see(tenant or (EVERYBODY if services.settings().tenants else DEFAULT_TENANT))


def routes(services: Services) -> list[Any]:
    """The routes."""
    calls, ledger, own = services.calls, services.ledger, partial(_own, services)

    def revoking(path: str, summary: str, kind: str, all: Known, revoke: Callable[[str], bool]) -> Any:
        @delete(
            path, guards=[admin], status_code=204, summary=summary, tags=["Access"], operation_id=f"revoke_{kind}",
            name=f"revoke_{kind}", responses=responses(404),
        )  # fmt: skip
        async def revoked(request: Request[Any, Any, Any], id: Name) -> None:
            principal = principal_of(request)
            known = (await calls(all)).get(id)
            if known is None or not own(principal, known.tenant) or not await calls(revoke, id):
                raise Refused(404, f"there is no such {kind}, or it was revoked")
            label = known.label if isinstance(known, ApiKey) else ""
            await calls(ledger.audit.record, principal.name, f"{kind}.revoke", id, label, known.tenant)
            request.scope["state"]["forget"]()

        return revoked

    @get("/api/v1/keys", guards=[admin], summary="API keys", tags=["Access"], responses=responses())
    async def keys(request: Request[Any, Any, Any]) -> Page[KeyShown]:
        principal = principal_of(request)
        return Page([key_shown(each) for each in await calls(ledger.keys.all) if own(principal, each.tenant)])

    @post("/api/v1/keys", guards=[admin], summary="Make an API key", tags=["Access"], responses=responses())
    async def new_key(request: Request[Any, Any, Any], data: JSONBody[NewKey]) -> KeyShown:
        principal = principal_of(request)
        tenant = _tenant(services, principal, data.tenant)
        made = await calls(ledger.keys.add, data.label, Role(data.role), tenant, principal.name)
        await calls(ledger.audit.record, principal.name, "key.add", made.key.id, data.label, tenant)
        return key_shown(made.key, made.text)

    revoke_key = revoking(
        "/api/v1/keys/{id:str}", "Revoke an API key", "key", lambda: {each.id: each for each in ledger.keys.all()},
        ledger.keys.revoke,
    )  # fmt: skip

    @get("/api/v1/users", guards=[admin], summary="Users", tags=["Access"], responses=responses())
    async def users(request: Request[Any, Any, Any]) -> Page[UserShown]:
        principal = principal_of(request)
        return Page([user_shown(each) for each in await calls(ledger.accounts.users) if own(principal, each.tenant)])

    @post("/api/v1/users", guards=[admin], summary="Make a user", tags=["Access"], responses=responses(409))
    async def new_user(request: Request[Any, Any, Any], data: JSONBody[NewUser]) -> UserShown:
        principal = principal_of(request)
        tenant = _tenant(services, principal, data.tenant)
        made = await calls(ledger.accounts.add_user, data.name, data.password, Role(data.role), tenant)
        await calls(ledger.audit.record, principal.name, "user.add", data.name, data.role, tenant)
        return user_shown(made)

    revoke_user = revoking(
        "/api/v1/users/{id:str}", "Remove a user", "user",
        lambda: {each.name: each for each in ledger.accounts.users()}, ledger.accounts.remove_user,
    )  # fmt: skip

    return [keys, new_key, revoke_key, users, new_user, revoke_user]
