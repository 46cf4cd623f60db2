"""The units of a huge file that is copied in ranges; what they do is `transfer.ranges`, who asks for them `ranged`."""

from __future__ import annotations

from dunlin.errors import DunlinError
from dunlin.model import Row, join
from dunlin.stores.local.parts import temp_of
from dunlin.transfer import ranges
from dunlin.transfer.content import have_copied, on_record
from dunlin.transfer.outcome import Outcome
from dunlin.transfer.site import Site
from dunlin.workers.context import Context
from dunlin.workers.tasks import Begin, Bring, Complete


def do(context: Context, task: Begin | Bring | Complete, outcome: Outcome) -> None:
    """Do one of them; what it brought, or what was in its way, stands in the outcome."""
    site = context.site
    path = join(task.directory, task.name)
    try:
        if isinstance(task, Bring):
            span = (task.start, task.length)
            outcome.brought = (*ranges.bring(site, path, task.facts, task.begun, span),)
        elif isinstance(task, Complete):
            ranges.complete(site, path, task.exists, task.facts, task.begun, task.ranges, outcome)
        else:
            _begin(site, path, task, outcome)
    except DunlinError as error:
        if error.fatal:
            outcome.end(error)
        else:
            outcome.fail(task.name, error)


def _begin(site: Site, path: str, task: Begin, outcome: Outcome) -> None:
    """What a service can copy by itself needs no ranges, and is done at once."""
    if site.copies is not None and (brought := have_copied(site, site.copies, path, None)) is not None:
        row: Row = (task.name, brought[0].facts, brought[0].facts if task.exists else None)
        on_record(site, task.directory, row, brought, outcome)
        return
    if task.gone and site.target.caps.directories:
        site.target.delete([join(task.directory, temp_of(token)) for token in task.gone])
    facts, begun = ranges.begin(site, path, task.token)
    outcome.begun = facts, (*begun,)
