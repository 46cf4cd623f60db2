"""Whose something is that is asked for, where several share a service.

A key or user belongs to a tenant, or to nobody in particular: then it is one of the whole service, and says for whom it
asks. A tenant that is taken out of the configuration leaves keys and users behind, which are good for nothing from then
on: what they may do is said nowhere any more.
"""

from __future__ import annotations

from typing import Annotated

from litestar.params import QueryParameter

from dunlin.config.service import DEFAULT_TENANT, Service, Tenant
from dunlin.web.problems import Refused
from dunlin.web.services import EVERYBODY, Principal, Services

FOR_TENANT = Annotated[
    str,
    QueryParameter(name="tenant", max_length=100, description="For whom, where a key of the whole service asks."),
]  # fmt: skip


def check_tenant(settings: Service, principal: Principal) -> None:
    """Refuse whose tenant is no more. Raises `Refused`."""
    if principal.way != "local" and principal.tenant != EVERYBODY and settings.tenant(principal.tenant) is None:
        raise Refused(403, "the tenant of this key or login is no more")


def tenant_of(services: Services, principal: Principal, wanted: str = "") -> Tenant:
    """The tenant for whom something is done. Raises `Refused` where it is none, or another's."""
    own = "" if principal.tenant == EVERYBODY else principal.tenant
    if wanted and own and wanted != own:
        raise Refused(403, "that is another tenant")
    settings = services.settings()
    found = settings.tenant(wanted or own or DEFAULT_TENANT)
    if found is None and not wanted and not own:
        raise Refused(400, "for which tenant? this key is of the whole service", "name it as `tenant`")
    if found is None:
        raise Refused(400 if wanted else 403, f"there is no tenant {wanted or own}")
    return found
