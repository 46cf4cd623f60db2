"""One answer per option from what the command line does not say: the environment, then the file.

The layers, the upper one wins:

    command line    (click; not here)
    environment     DUNLIN_<FLAG>, DUNLIN_<alias>, DUNLIN_<SECTION>_<KEY>; then the same as getblobz_… (in any case of
                    letters) and SYNC4LOONG_…, with a notice that tells the name of today
    job             an entry of `jobs` in the file
    file            its sections
    default         (the rooms' own options)
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dunlin.config.environment import PREFIX, user_config_dir, variable_name

if TYPE_CHECKING:
    from dunlin.config.file import File, Job

OLD_PREFIXES = ("GETBLOBZ_", "SYNC4LOONG_")
ENDINGS = ("yaml", "yml", "toml")
ENVIRONMENT, FILE = "environment", "file"


class Found(NamedTuple):
    """What a layer says: text from the environment, text, number, truth or list from a file.

    `origin` is the variable or ``FILE:LINE``; `key` names what is meant in a message; `layer`: which one said it.
    """

    value: Any
    origin: str
    key: str
    layer: str


class Settings:
    """The layers below the command line. `notes`: lines to tell the person, in the order in which they came up."""

    def __init__(
        self, file: File | None = None, job: Job | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self.file = file
        self.job = job
        self.notes: list[str] = []
        self._environ = os.environ if environ is None else environ
        self._variables: dict[str, str] = {}
        for name in self._environ:
            upper = name.upper()
            if name.startswith(PREFIX) or upper.startswith(OLD_PREFIXES):
                self._variables.setdefault(name if name.startswith(PREFIX) else upper, name)
        if file is not None and file.exposed:
            self.notes.append(f"{file.path} holds secrets and others may read it; chmod 600 {file.path}")

    def for_job(self, job: Job) -> Settings:
        """The same settings with an entry of `jobs` above the rest of the file."""
        return Settings(self.file._replace(exposed=False) if self.file else None, job, self._environ)

    def find(self, flag: str, aliases: Sequence[str] = ()) -> Found | None:
        """What the uppermost layer says of an option, by its long name; None when none does."""
        return self.environment(flag, aliases) or self.in_job(flag) or self.in_file(flag)

    def environment(self, flag: str, aliases: Sequence[str] = ()) -> Found | None:
        """What the environment says."""
        if not self._variables:
            return None
        today = variable_name(flag)
        bare = [today, *(variable_name(alias) for alias in aliases if alias.startswith("--"))]
        wanted = [name.removeprefix(PREFIX) for name in (*bare, *_by_section(flag))]
        for prefix in (PREFIX, *OLD_PREFIXES):
            for rest in wanted:
                name = self._variables.get(prefix + rest)
                if name is None:
                    continue
                if prefix != PREFIX:
                    note = f"{name} is read as {today}: use that name"
                    self.notes += [note] if note not in self.notes else []
                return Found(self._environ[name], name, name, ENVIRONMENT)
        return None

    def in_job(self, flag: str) -> Found | None:
        """What the entry of `jobs` says."""
        return None if self.job is None else _found(self.job.values, flag)

    def in_file(self, flag: str) -> Found | None:
        """What the file's sections say."""
        return None if self.file is None else _found(self.file.values, flag)


def _found(values: Mapping[str, Any], flag: str) -> Found | None:
    value = values.get(flag)
    return None if value is None else Found(value.value, value.origin, f"{value.key} ({value.origin})", FILE)


def _by_section(flag: str) -> list[str]:
    from dunlin.config.schema import FLAGS

    return [f"{PREFIX}{section}_{name}".upper() for section, name in FLAGS.get(flag, ())]


def discover() -> str | None:
    """The file that is read when none is named; None when there is none. The order is in `file`'s docstring."""
    for directory, name in (("", "dunlin"), (user_config_dir(), "config")):
        for ending in ENDINGS:
            path = os.path.join(directory, f"{name}.{ending}")
            if os.path.isfile(path):
                return path
    return None


def settings(path: str | None = None) -> Settings:
    """The settings with the file at `path`, "none" for no file, or None for the one that `discover` finds.

    Raises CONFIG for a file that cannot be used, NOT_FOUND for a named one that is not there.
    """
    if path in ("none", ""):
        return Settings()
    found = path or discover()
    if not found:
        return Settings()
    from dunlin.config.file import load

    return Settings(load(found))
