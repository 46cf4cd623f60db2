"""The repositories that `dunlin serve` knows by name: where they lie, their passwords, whose they are.

A tenant of the service is the tenant of the same name in a repository, so what one of them stores has keys and places
of its own there. The password opens the repository for the service, which decides who may ask for what; it is read
each time that a repository is opened, so a file that is replaced needs no restart.

No tenant may name the repository's own files as a place, nor the password, nor the cache, where indexes lie in the
clear: whoever could sync from there, or to there, would be past every other rule. So the roots of tenants are kept
apart from all of these.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from dunlin.backup.words import check_name
from dunlin.config.credentials import REPOSITORY
from dunlin.config.environment import repository_cache
from dunlin.config.logins import Said, place, secret_of
from dunlin.config.words import closest
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import is_below
from dunlin.stores.login import Login
from dunlin.stores.open import canonical_url, local_path

if TYPE_CHECKING:
    from dunlin.config.file import Repository as Entry
    from dunlin.config.settings import Settings

EVERYBODY = "*"
"""In `tenants`: all that there are."""


class Repository(NamedTuple):
    """A repository as the service knows it.

    Attributes:
        name: what people call it.
        place: as it was written. url, login: where that is, and what lets us in.
        password_file: path of the file with the password; "": it needs none.
        tenants: who may use it.
        append_only: nothing is ever removed from it.
        cache: directory in which what was read stays; None: nothing does.
        lies: its place in the spelling in which places are compared, a real path or a canonical URL, as it was when
            the configuration was read: a mount that does not answer later holds nobody up who goes elsewhere.
    """

    name: str
    place: str
    url: str
    login: Login
    password_file: str
    tenants: tuple[str, ...]
    append_only: bool = False
    cache: str | None = None
    lies: str = ""

    def password(self) -> bytes | None:
        """The password, or None where none is needed. Raises CONFIG for a file that cannot be read."""
        if not self.password_file:
            return None
        said = Said(f"@{self.password_file}", f"repositories.{self.name}.password_file")
        return secret_of(said).encode("utf-8", "surrogateescape")


def repositories(
    settings: Settings, tenants: Collection[str], roots: Mapping[str, Sequence[str]], default: str
) -> dict[str, Repository]:
    """The repositories of the file, by name. Raises CONFIG, and USAGE for places that are none.

    Args:
        tenants: of the service; none: there is only the one called `default`.
        roots: what each of them may name, as `Service.roots`.
    """
    found = {}
    for name, entry in (settings.file.repositories if settings.file else {}).items():
        found[name] = _repository(name, entry, settings, tuple(tenants) or (default,), bool(tenants))
        _apart(found[name], roots)
    return found


def _repository(
    name: str, entry: Entry, settings: Settings, known: Sequence[str], several: bool
) -> Repository:
    values = {key: each.value for key, each in entry.values.items()}
    where = f"repositories.{name}"
    text = str(values.get("place") or "").strip()
    if not text:
        raise wrong(entry.origin, f"{where}.place", "it is missing: where does the repository lie?")
    located = place(text, REPOSITORY, {}, settings)
    if located.exposed:
        hint = "make it a location of the configuration, and write loc://NAME"
        raise wrong(entry.origin, f"{where}.place", "a URL with a secret behind it", hint)
    file = str(values.get("password_file") or "")
    if file and settings.file is not None:
        file = os.path.join(os.path.dirname(os.path.abspath(settings.file.path)), os.path.expanduser(file))
    given = values.get("tenants") or ([] if several else [EVERYBODY])
    if not given:
        hint = f'name those who may use it, or write ["{EVERYBODY}"]'
        raise wrong(entry.origin, f"{where}.tenants", "it is missing", hint)
    for each in given:
        if each != EVERYBODY and each not in known:
            raise wrong(entry.origin, f"{where}.tenants", f"there is no tenant {each!r}", closest(each, known))
    mine = tuple(known) if EVERYBODY in given else tuple(dict.fromkeys(given))
    for each in mine:
        try:
            check_name("tenant", each)
        except DunlinError as error:
            raise wrong(entry.origin, f"{where}.tenants", error.reason, error.hint) from None
    made = Repository(
        name, text, located.url, located.login, file, mine, bool(values.get("append_only")), _cache(settings),
        lies(located.url, located.login),
    )  # fmt: skip
    made.password()  # what is wrong with it is told at the start, and not at night
    return made


def _cache(settings: Settings) -> str | None:
    found = settings.find("--cache")
    path = repository_cache(None if found is None else found.value)
    if path is None or _writable(path):
        return path
    if found is not None:
        raise DunlinError("read the configuration", found.key, ErrorKind.CONFIG, f"{path} cannot be written to")
    return None  # a service may have no home


def _writable(path: str) -> bool:
    """Whether a directory can be written to, or made."""
    path = os.path.abspath(path)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)


def lies(url: str, login: Login) -> str:
    """A place in the spelling in which places are compared."""
    path = local_path(url)
    return os.path.realpath(path) if path is not None else canonical_url(url, login).rstrip("/")


def _apart(repository: Repository, roots: Mapping[str, Sequence[str]]) -> None:
    file = os.path.realpath(repository.password_file) if repository.password_file else ""
    cache = os.path.realpath(repository.cache) if repository.cache else ""
    parts = (("it", repository.lies), ("its password", file), ("what is kept of it (backup.cache)", cache))
    for tenant, some in roots.items():
        for root in some:
            for what, here in parts:
                if here and ("://" in root) is ("://" in here) and (is_below(here, root) or is_below(root, here)):
                    raise DunlinError(
                        "start the service", f"repositories.{repository.name}", ErrorKind.CONFIG,
                        f"{what} lies where tenants.{tenant}.allowed_roots leads",
                        "tenants reach it by its name; keep it apart from their own places",
                    )  # fmt: skip


def wrong(origin: str, key: str, reason: str, hint: str = "") -> DunlinError:
    """A CONFIG error about a key of an entry."""
    return DunlinError("read the configuration", key, ErrorKind.CONFIG, f"{reason} ({origin})", hint)
