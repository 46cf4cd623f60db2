"""Verifying: which shares, which snapshot, how much of the content."""

from __future__ import annotations

import re
from functools import partial
from typing import NamedTuple

from dunlin.backup.repository import Repository
from dunlin.backup.stages import Stages
from dunlin.backup.verified import Subset
from dunlin.backup.verify import Verified
from dunlin.backup.verify import verify as verify_areas
from dunlin.backup.words import check_name
from dunlin.errors import DunlinError, ErrorKind, usage
from dunlin.jobs.options import Spread
from dunlin.jobs.repo import Place
from dunlin.pace.sizes import parse_size
from dunlin.pace.stop import Stop
from dunlin.report import NullReport, Report

_PART = re.compile(r"([0-9]+)/([0-9]+)")
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?)%")


class Options(NamedTuple):
    """What is to be verified.

    Attributes:
        tenant: whose; share: one share, "": all of the tenant's.
        snapshot: one snapshot, as people name it (a share must be told or be the only one); "": all.
        data: packs whose content is read; None: none.
        max_age: seconds; packs found whole within them are not read again.
        spread: workers look at the packs, wherever they are; None: this process does.
        place: of the repository, for them.
    """

    tenant: str
    share: str = ""
    snapshot: str = ""
    data: Subset | None = None
    max_age: float | None = None
    spread: Spread | None = None
    place: Place | None = None


def subset(text: str) -> Subset:
    """The packs that ``n/t``, ``x%`` or a size mean. Raises USAGE."""
    if match := _PART.fullmatch(text):
        number, parts = int(match[1]), int(match[2])
        if not 1 <= number <= parts:
            raise usage(f"{text!r} is no part of the data", "2/7 is the second of seven parts")
        return Subset(part=(number, parts))
    if match := _PERCENT.fullmatch(text):
        if not 0 < float(match[1]) <= 100:
            raise usage(f"{text!r} is no part of the data", "write a percentage above 0 and up to 100")
        return Subset(fraction=float(match[1]) / 100)
    return Subset(size=parse_size(text, "part of the data (n/t, x% or a size)"))


def verify(
    opened: Repository, options: Options, report: Report | None = None, stop: Stop | None = None
) -> Verified:
    """Verify what the options name; damage is in the result.

    Raises NOT_FOUND for what is not there, USAGE, INTERRUPTED, and what ends the whole.
    """
    shares = opened.shares(check_name("tenant", options.tenant))
    if options.share:
        if check_name("share", options.share) not in shares:
            where = f"{options.tenant}/{options.share}"
            raise DunlinError("verify", where, ErrorKind.NOT_FOUND, "there is no such share in the repository")
        shares = [options.share]
    if not shares:
        raise DunlinError("verify", options.tenant, ErrorKind.NOT_FOUND, "nothing was ever backed up for this tenant")
    if options.snapshot and len(shares) > 1:
        raise usage(f"which share of {', '.join(shares)}?", "say --share NAME")
    areas = [opened.area(options.tenant, share) for share in shares]
    stages = Stages("verify", report, stop)
    act = partial(
        verify_areas, areas, text=options.snapshot or None, data=options.data, max_age=options.max_age, stages=stages
    )
    if options.spread is None or options.place is None:
        return act()
    from dunlin.jobs.spread_verify import looking

    how, place, told = options.spread, options.place, report or NullReport()
    with looking(how, place, opened, options.tenant, stages.look, told) as looks:
        return act(elsewhere=looks)
