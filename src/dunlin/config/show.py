"""What holds below the command line, value by value, with where it came from and without secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from dunlin.config.credentials import CREDENTIALS
from dunlin.config.file import File, Value
from dunlin.config.schema import KEYS, OPTIONS, Key
from dunlin.config.settings import Settings
from dunlin.stores.login import SECRET

MASK = "***"
DEFAULT = "default"


class Row(NamedTuple):
    """A value. `origin`: a variable, ``FILE:LINE`` or "default"."""

    key: str
    value: Any
    origin: str


def rows(settings: Settings, environ: Mapping[str, str] | None = None) -> Iterator[Row]:
    """Every key that has a value or a default, then those of single sides that are given.

    `environ`: the environment, for the standard variables of the services; None: this process's own.
    """
    variables = os.environ if environ is None else environ
    standard = {each.flag: each.standard for each in CREDENTIALS}
    known = {key.flag for key in KEYS}
    for key in (*KEYS, *(key for key in OPTIONS.values() if key.flag not in known)):
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
    """The entries of `locations` and `jobs`."""
    for location in file.locations.values():
        yield Row(f"locations.{location.name}.url", _bare(location.url), location.origin)
        for name, value in location.values.items():
            text = _masked(value.value) if name in SECRET and name != "service_account" else value.value
            yield Row(f"locations.{location.name}.{name}", text, value.origin)
    by_flag = {key.flag: key for key in OPTIONS.values()}
    for number, job in enumerate(file.jobs, 1):
        for name, place in (("source", job.source), ("destination", job.destination)):
            if place:
                yield Row(f"jobs[{number}].{name}", _bare(place), job.origin)
        yield from (_entry(by_flag[flag], value) for flag, value in job.values.items())


def _entry(key: Key, value: Value) -> Row:
    return Row(value.key, shown(key, value.value), value.origin)


def shown(key: Key, value: Any) -> Any:
    """A value as it may be seen: of a secret no more than the name of the file that holds it."""
    return _masked(value) if key.secret and not key.flag.endswith("service-account") else _key_file(key, value)


def _key_file(key: Key, value: Any) -> Any:
    """The name of a key file may be seen, the key itself (its JSON text in its place) not."""
    return MASK if key.secret and str(value).lstrip().startswith("{") else value


def _masked(value: Any) -> str:
    text = str(value)
    return text if not text or text.startswith("@") else MASK


def _bare(url: str) -> str:
    """A URL without what stands behind its question mark or before its host."""
    url = re.sub(r"//[^/@]*@", f"//{MASK}@", url)
    base, question, _ = url.partition("?")
    return f"{base}?{MASK}" if question else base
