"""What holds below the command line, value by value, with where it came from and without secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from dunlin.config.credentials import CREDENTIALS
from dunlin.config.file import File, Value
from dunlin.config.schema import KEYS, OPTIONS, SERVICE, Key
from dunlin.config.settings import Settings
from dunlin.stores.login import SECRET
from dunlin.stores.open import shown_place

MASK = "***"
DEFAULT = "default"


class Row(NamedTuple):
    """A value. `origin`: a variable, ``FILE:LINE`` or "default"."""

    key: str
    value: Any
    origin: str


def rows(settings: Settings, environ: Mapping[str, str] | None = None) -> Iterator[Row]:
    """Every key that has a value or a default, then those of single sides and of the service that are given.

    `environ`: the environment, for the standard variables of the services; None: this process's own.
    """
    variables = os.environ if environ is None else environ
    standard = {each.flag: each.standard for each in CREDENTIALS}
    known = {key.flag for key in KEYS}
    given = [key for key in SERVICE if settings.find(key.flag) is not None]
    for key in (*KEYS, *(key for key in OPTIONS.values() if key.flag not in known), *given):
        found = settings.find(key.flag)
        if found is not None:
            yield Row(key.path, shown(key, found.value), found.origin)
            continue
        name = next((name for name in standard.get(key.flag, ()) if variables.get(name)), None)
        if name is not None:
            yield Row(key.path, shown(key, variables[name]), name)
        elif key.default:
            yield Row(key.path, key.default, DEFAULT)


def listed(file: File) -> Iterator[Row]:
    """The entries of `locations`, `repositories` and `jobs`."""
    for location in file.locations.values():
        yield Row(f"locations.{location.name}.url", _bare(location.url), location.origin)
        for name, value in location.values.items():
            yield Row(f"locations.{location.name}.{name}", _shown(name, value.value, name in SECRET), value.origin)
    for repository in file.repositories.values():
        for name, value in repository.values.items():
            yield Row(f"repositories.{repository.name}.{name}", _shown(name, value.value, False), value.origin)
    by_flag = {key.flag: key for key in OPTIONS.values()}
    for number, job in enumerate(file.jobs, 1):
        for name, place in (("source", job.source), ("destination", job.destination)):
            if place:
                yield Row(f"jobs[{number}].{name}", _bare(place), job.origin)
        yield from (_entry(by_flag[flag], value) for flag, value in job.values.items())


def _entry(key: Key, value: Value) -> Row:
    return Row(value.key, shown(key, value.value), value.origin)


def shown(key: Key, value: Any) -> Any:
    """A value as it may be seen: of a secret no more than the name of the file that holds it, and no login in a URL."""
    return _shown(key.name, value, key.secret)


def _shown(name: str, value: Any, secret: bool) -> Any:
    """`name`: of the key. What is no secret may still be a URL that holds one, in whatever key it was written."""
    if secret:
        # The name of a key file may be seen, the key itself (its JSON text in its place) not.
        key_file = name.endswith("service_account") and not str(value).lstrip().startswith("{")
        return value if key_file else _masked(value)
    if isinstance(value, list):
        return [_shown(name, each, secret) for each in value]
    if not isinstance(value, str):
        return value
    return _bare_host(value) if name.endswith("endpoint") else _bare(value) if "://" in value else shown_place(value)


def _masked(value: Any) -> str:
    text = str(value)
    return text if not text or text.startswith("@") else MASK


def _bare(url: str) -> str:
    """A URL without what stands behind its question mark or before its host."""
    return _without_query(re.sub(r"//[^/]*@", f"//{MASK}@", url))


def _bare_host(endpoint: str) -> str:
    """The URL of a service: nothing in one but a login has an @ behind it, also where the scheme was forgotten."""
    if "@" in endpoint.partition("?")[2]:
        return MASK  # nobody knows which of the two is meant
    bare = _without_query(endpoint)
    return re.sub(r"^((?:[A-Za-z][A-Za-z0-9+.-]*:/+|/*)).*@", rf"\1{MASK}@", bare, flags=re.DOTALL)


def _without_query(url: str) -> str:
    return re.sub(r"([?#]).*", rf"\1{MASK}", url, count=1, flags=re.DOTALL)
