"""Which snapshots stay: the policy of `forget`. Pure.

Snapshots are looked at from the newest to the oldest. Each rule keeps on its own account, and what any rule keeps
stays; the reasons are told. `last` keeps the newest n. A calendar rule (`hourly` ... `yearly`) keeps the newest
snapshot of each of the newest n hours, days, ISO weeks, months, years *that have one*: a machine that was off for a
month loses nothing by it. `within` keeps what is no older than a span before the newest snapshot, not before now:
clocks that are wrong and machines that stand still must not make anything look old. `tags` keeps what has one of
these.

No rule at all keeps everything, and the newest snapshot of a share always stays, as does the newest that is complete: a
policy that is a typing error costs space, not a backup. Hours and days are those of the time zone that is given, since
"one a day" is meant by people.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, tzinfo
from typing import NamedTuple

FOREVER = -1
"""As a count: all of them."""


class Candidate(NamedTuple):
    """A snapshot as retention sees it: id, time of the commit (ns since 1970), tags.

    Attributes:
        complete: nothing was left out of it.
        made: the time that its hour, day and so on are of, ns since 1970; 0: `time`. The two differ where a clock was
            wrong: `time` tells the order, in which snapshots were made, whatever the clocks said.
    """

    id: str
    time: int
    tags: tuple[str, ...] = ()
    complete: bool = True
    made: int = 0


class Policy(NamedTuple):
    """How many are kept by each rule; 0: the rule is not given, `FOREVER`: all. `within`: seconds."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within: float = 0
    tags: tuple[str, ...] = ()


class Verdict(NamedTuple):
    """What becomes of a snapshot: the rules that keep it, none: it goes."""

    snapshot: Candidate
    reasons: tuple[str, ...]

    @property
    def kept(self) -> bool:
        """Whether it stays."""
        return bool(self.reasons)


_PERIODS: dict[str, Callable[[datetime], tuple[int, ...]]] = {
    "hourly": lambda at: (at.year, at.month, at.day, at.hour, at.fold),
    "daily": lambda at: (at.year, at.month, at.day),
    "weekly": lambda at: tuple(at.isocalendar()[:2]),
    "monthly": lambda at: (at.year, at.month),
    "yearly": lambda at: (at.year,),
}


def decide(snapshots: Sequence[Candidate], policy: Policy, zone: tzinfo | None = None) -> list[Verdict]:
    """What becomes of each snapshot of one share, newest first.

    Args:
        snapshots: in any order.
        policy: what is kept.
        zone: by whose hours, days, weeks periods are meant; None: those of this machine, summer time and all.
    """
    ordered = sorted(snapshots, key=lambda each: (each.time, each.id), reverse=True)
    left = {"last": policy.last, **{name: getattr(policy, name) for name in _PERIODS}}
    seen: dict[str, tuple[int, ...]] = {}
    whole = next((each.id for each in ordered if each.complete), "")
    verdicts = []
    for number, each in enumerate(ordered):
        reasons = [] if any(policy) else ["no rule"]
        if left["last"]:
            left["last"] -= 1
            reasons.append("last")
        at = datetime.fromtimestamp(_made(each) / 10**9, zone)
        for name, period in _PERIODS.items():
            if left[name] and seen.get(name) != period(at):
                left[name] -= 1
                seen[name] = period(at)
                reasons.append(name)
        if policy.within and _made(each) >= _made(ordered[0]) - policy.within * 10**9:
            reasons.append("within")
        reasons += [f"tag {tag}" for tag in policy.tags if tag in each.tags]
        if not reasons and number == 0:
            reasons = ["newest"]
        elif not reasons and each.id == whole:
            reasons = ["newest complete"]
        verdicts.append(Verdict(each, tuple(reasons)))
    return verdicts


def _made(each: Candidate) -> int:
    return each.made or each.time
