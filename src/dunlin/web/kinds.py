"""The kinds of jobs that the service runs, and who may ask for them."""

from __future__ import annotations

from dunlin.queue.ledger.words import Role
from dunlin.web.problems import Refused
from dunlin.web.services import Principal

SYNCS = ("sync", "check")
KEEPS = ("backup", "scan", "restore", "verify", "forget", "prune")
"""What has to do with a repository of backups."""

RUNS = (*SYNCS, *KEEPS)
REMOVES = frozenset({"forget", "prune"})
"""These take away what nobody can bring back."""


def role_of(kind: str) -> Role:
    """The least role that may begin, continue and schedule jobs of this kind."""
    return Role.ADMIN if kind in REMOVES else Role.OPERATOR


def check_role(principal: Principal, *kinds: str) -> None:
    """Refuse who may not begin jobs of these kinds. Raises `Refused`."""
    for kind in kinds:
        role = role_of(kind)
        if not principal.role.covers(role):
            raise Refused(403, f"{kind}: this needs the role {role.value}")
