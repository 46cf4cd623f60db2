"""Whose paths a job names: those of one machine, or such as every machine has.

Services on several machines may share a ledger. A path is checked on the machine that is asked, and means another file
elsewhere, so a job keeps the label of that machine, and services with another label leave it alone. No label: all its
places are far away, or below directories that are mounted everywhere (`queue.shared_roots`), or the ledger is a file,
which services of one machine share.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from dunlin.jobs.options import SyncOptions
from dunlin.model import is_within
from dunlin.stores.open import local_path
from dunlin.web.roots import FILES, allowed_path, named_paths

if TYPE_CHECKING:
    from dunlin.config.service import Service
    from dunlin.queue.ledger.ledger import Ledger


class Machine(NamedTuple):
    """This machine, as services on others see it.

    Attributes:
        label: "": there are no others.
        shared: directories that all have, without links.
    """

    label: str = ""
    shared: tuple[str, ...] = ()

    def of_paths(self, paths: Iterable[str]) -> str:
        """The label of a job that names these paths. Looks at none of them: a mount may not answer."""
        return "" if all(is_within(os.path.normpath(path), self.shared) for path in paths) else self.label

    def of_run(self, options: SyncOptions, given: Mapping[str, object]) -> str:
        """The label of a sync or check; `given`: its options as they were asked for."""
        if options.spread is not None and options.spread.host:
            return self.label
        places = () if options.spread is not None else (options.source, options.destination)
        paths = [path for path in map(local_path, places) if path is not None]
        paths += [path for _, path in named_paths(options, given)]
        for name in FILES:
            value = given.get(name)
            paths += [str(each) for each in (value if isinstance(value, list) else [value]) if each]
        return "" if all(allowed_path(path, self.shared) for path in paths) else self.label


def machine(service: Service, ledger: Ledger) -> Machine:
    """This machine, as its service is set up now."""
    return Machine(service.host if ledger.shared else "", service.shared)
