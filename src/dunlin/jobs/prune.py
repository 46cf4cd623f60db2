"""Pruning: which tenants, and how much may stay unused."""

from __future__ import annotations

from typing import NamedTuple

from dunlin.backup.prune import Pruned
from dunlin.backup.prune import prune as prune_tenant
from dunlin.backup.repack import MAX_UNUSED
from dunlin.backup.repository import Repository
from dunlin.backup.stages import Stages
from dunlin.backup.words import check_name
from dunlin.pace.stop import Stop
from dunlin.report import Report


class Options(NamedTuple):
    """What is to be pruned.

    Attributes:
        tenant: whose; liveness of packs is over all shares of a tenant.
        max_unused: part of the bytes of packs that may stay unused, 0 to 1.
        dry: only tell.
    """

    tenant: str
    max_unused: float = MAX_UNUSED
    dry: bool = False


def prune(
    opened: Repository, options: Options, who: str, report: Report | None = None, stop: Stop | None = None
) -> Pruned:
    """Remove what no snapshot needs; see `dunlin.backup.prune`.

    `who`: shown to others who want to prune. Raises READ_ONLY, LOCKED, BUSY, CORRUPT, INTERRUPTED.
    """
    tenant = check_name("tenant", options.tenant)
    stages = Stages("prune", report, stop)
    return prune_tenant(opened, tenant, who, max_unused=options.max_unused, dry=options.dry, stages=stages)
