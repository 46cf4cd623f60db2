"""The repository of a run over a queue, for the workers that the run brings along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dunlin.backup.keys import Secrets
from dunlin.backup.objects import Objects
from dunlin.backup.repository import Repository
from dunlin.jobs.repo import Place, store_of
from dunlin.stores.open import canonical_url, is_far, shown_place


def as_told(name: str, place: Place) -> str:
    """A repository's place as workers are told it. `name`: as it was written, if that is a location; else ""."""
    return name or (shown_place(place.url) if is_far(place.url) else canonical_url(place.url))


class GivenVault:
    """The repository of one run, as this process opened it (`workers.part.Vaults`); can be sent to a process.

    Args:
        place: of the repository. told: what `Repository.told` says for the tenant.
    """

    def __init__(self, place: Place, told: tuple[dict[str, Any], Secrets, Path | None]) -> None:
        self._place, self._told = place, told

    def __call__(self, text: str, idle: float, total: float) -> Repository:
        config, secrets, cache = self._told
        return Repository(Objects(store_of(self._place)), config, secrets, cache)
