"""The repositories that a worker opens: at the place that a run names, with the password of this machine's own.

That is the one which `dunlin backup` would take here without a terminal: what DUNLIN_PASSWORD_FILE names, then
DUNLIN_PASSWORD, then `backup.password_file` of the configuration.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dunlin.config.credentials import REPOSITORY
from dunlin.config.environment import repository_cache, variable
from dunlin.config.logins import Said, place, secret_of
from dunlin.config.settings import FILE, Settings

if TYPE_CHECKING:
    from dunlin.backup.repository import Repository


class Vaults:
    """Opens repositories (`workers.part.Vaults`)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self, text: str, idle: float, total: float) -> Repository:
        """Raises USAGE and CONFIG, AUTH where the password is missing or wrong, and what the store raises."""
        from dunlin.jobs.repo import Place, open_at

        found = place(text, REPOSITORY, {}, self._settings)
        return open_at(Place(found.url, found.login, self._cache(), idle, total), self.password)

    def password(self) -> bytes | None:
        """The password of repositories; None: nobody says it. Raises CONFIG for a file that cannot be read."""
        found, said = self._settings.find("--password-file"), variable("--password")
        if found is not None and found.value and not (found.layer == FILE and said):
            file = self._settings.file
            base = os.path.dirname(os.path.abspath(file.path)) if found.layer == FILE and file is not None else ""
            return secret_of(Said(f"@{found.value}", found.origin, base)).encode("utf-8", "surrogateescape")
        return os.fsencode(said) if said else None

    def _cache(self) -> str | None:
        found = self._settings.find("--cache")
        return repository_cache(None if found is None else found.value)
