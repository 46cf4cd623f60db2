"""The configuration file: which one it is, what stands in it, and in which line.

The first of these that is there is read, and no other:

    --config FILE, or DUNLIN_CONFIG
    ./dunlin.yaml  ./dunlin.yml  ./dunlin.toml
    config.yaml, config.yml, config.toml in the user's directory: $XDG_CONFIG_HOME/dunlin (~/.config/dunlin),
    %APPDATA%\\dunlin on Windows

YAML (1.1, as PyYAML reads it) keeps the line of every node. TOML has no such thing in the standard library: lines
are found once more by reading the text for table headers and keys, which is exact for files that people write and
falls back to the table's line elsewhere. Whatever does not fit `schema` is a CONFIG error that names file, line
and key. No message quotes a value of a key that holds a secret.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dunlin.config import schema
from dunlin.config.credentials import CREDENTIALS
from dunlin.config.words import closest
from dunlin.errors import DunlinError, ErrorKind, printable, translate

DEEPEST = 10
NAMES = "a name is made of letters, digits, '.', '_' and '-'"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class Node(NamedTuple):
    """A value as it stands in the file, with its line from 1. Sections hold nodes by name, lists hold nodes."""

    value: Any
    line: int


class Value(NamedTuple):
    """A checked value of a key. `origin`: ``FILE:LINE``, for people."""

    value: Any
    origin: str
    key: str


class Job(NamedTuple):
    """An entry of `jobs`: values by option (``--workers``), and the two places where it names them."""

    values: Mapping[str, Value]
    source: str
    destination: str
    origin: str


class Location(NamedTuple):
    """An entry of `locations`: a URL, values for a `Login` by their names, and whether other machines reach it."""

    name: str
    url: str
    values: Mapping[str, Value]
    origin: str
    shared: bool = False


class Tenant(NamedTuple):
    """An entry of `tenants`: values by the names of its keys."""

    name: str
    values: Mapping[str, Value]
    origin: str


class Repository(NamedTuple):
    """An entry of `repositories`: values by the names of its keys."""

    name: str
    values: Mapping[str, Value]
    origin: str


class File(NamedTuple):
    """A configuration file, checked. `values`: by option, as ``--workers``. `path`: as people know it."""

    path: str
    values: Mapping[str, Value]
    jobs: tuple[Job, ...] = ()
    locations: Mapping[str, Location] = {}
    exposed: bool = False
    tenants: Mapping[str, Tenant] = {}
    repositories: Mapping[str, Repository] = {}


def load(path: str) -> File:
    """Read and check a file. Raises CONFIG, NOT_FOUND, DENIED."""
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read()
    except OSError as error:
        raise translate(error, "read the configuration", path) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _wrong(path, line, "", "it is not UTF-8") from None
    root = _toml(text, path) if path.lower().endswith(".toml") else _yaml(text, path)
    found = _Reader(path).file(root)
    readable = os.name == "posix" and bool(mode & 0o044)
    return found._replace(exposed=readable and any(_is_secret(root)))


def _is_secret(root: Node) -> list[bool]:
    """Whether the file holds secrets themselves, and not only names of files that do."""
    secret = {each.name for each in CREDENTIALS if each.secret} - {"service_account"}
    secret |= {name for name, key in schema.OPTIONS.items() if key.secret and "service" not in name}
    secret |= {key.name for key in schema.KEYS if key.secret and key.section in schema.COMMANDS_OWN}
    secret |= {"secret_key", "password"}
    found = []
    waiting = [("", root)]
    while waiting:
        name, (value, _) = waiting.pop()
        if isinstance(value, dict):
            waiting += list(value.items())
        elif isinstance(value, list):
            waiting += [("", each) for each in value]
        elif isinstance(value, str) and (_shows(name, value) if name not in secret else value[:1] not in ("", "@")):
            found.append(True)
    return found


def _shows(name: str, value: str) -> bool:
    """Whether a place of a queue or ledger holds a password."""
    return name in ("url", "ledger") and re.match(r"[a-z]+://[^/@:]*:[^/@]+@", value) is not None


def _wrong(path: str, line: int, key: str, reason: str, hint: str = "") -> DunlinError:
    words = f"line {line}: {key}: {reason}" if key else f"line {line}: {reason}"
    return DunlinError("read the configuration", path, ErrorKind.CONFIG, words, hint)


class _Reader:
    """Checks one file by the schema."""

    def __init__(self, path: str) -> None:
        self.path = path

    def file(self, root: Node) -> File:
        """The whole file."""
        values: dict[str, Value] = {}
        jobs: tuple[Job, ...] = ()
        locations: dict[str, Location] = {}
        tenants: dict[str, Tenant] = {}
        repositories: dict[str, Repository] = {}
        for name, node in self._section(root, "").items():
            if name == "jobs":
                jobs = tuple(self._job(each, at) for at, each in enumerate(self._list(node, name), 1))
            elif name == "locations":
                for each, entry in self._section(node, name).items():
                    locations[each] = self._location(each, entry)
            elif name == "tenants":
                for each, entry in self._section(node, name).items():
                    tenants[each] = Tenant(each, *self._named(name, each, entry, schema.TENANT))
            elif name == "repositories":
                for each, entry in self._section(node, name).items():
                    repositories[each] = Repository(each, *self._named(name, each, entry, schema.REPOSITORY))
            elif name in schema.SECTIONS or name in schema.SECTION_NAMES:
                for key, entry in self._section(node, name).items():
                    self._put(values, self._key(name, key, entry), entry, f"{name}.{key}")
            else:
                sections = (*schema.SECTIONS, *schema.LISTS)
                raise self.wrong(node, name, "there is no such section", closest(name, sections) or self._where(name))
        if jobs and "--container" in values:
            raise DunlinError(
                "read the configuration", self.path, ErrorKind.CONFIG,
                f"sync.container ({values['--container'].origin}) and jobs ({jobs[0].origin}) both say what is synced",
                "move the container into the list",
            )  # fmt: skip
        return File(self.path, values, jobs, locations, tenants=tenants, repositories=repositories)

    def wrong(self, node: Node, key: str, reason: str, hint: str = "") -> DunlinError:
        """A CONFIG error that names file, line and key."""
        return _wrong(self.path, node.line, printable(key), reason, hint)

    def _origin(self, node: Node) -> str:
        return f"{self.path}:{node.line}"

    def _section(self, node: Node, name: str) -> dict[str, Node]:
        if node.value is None:
            return {}
        if not isinstance(node.value, dict):
            raise self.wrong(node, name, "there must be keys and values here")
        section: dict[str, Node] = node.value
        return section

    def _list(self, node: Node, name: str) -> list[Node]:
        if node.value is None:
            return []
        if not isinstance(node.value, list):
            raise self.wrong(node, name, "it must be a list")
        entries: list[Node] = node.value
        return entries

    def _put(self, values: dict[str, Value], key: schema.Key, node: Node, shown: str) -> None:
        if node.value is None:
            return
        if key.flag in values:
            first = values[key.flag]
            raise self.wrong(node, shown, f"{first.key} ({first.origin}) says the same thing", "leave one of them out")
        values[key.flag] = Value(self._checked(key, node, shown), self._origin(node), shown)

    def _checked(self, key: schema.Key, node: Node, shown: str) -> Any:
        value = [each.value for each in node.value] if isinstance(node.value, list) else node.value
        if isinstance(value, dict):
            value = {name: each.value for name, each in value.items()}
        try:
            return key.kind(value)
        except ValueError as error:
            raise self.wrong(node, shown, str(error)) from None

    def _key(self, section: str, name: str, node: Node) -> schema.Key:
        key = schema.PATHS.get((section, name))
        if key is not None:
            return key
        hint = closest(name, [each for at, each in schema.PATHS if at == section]) or self._where(name)
        raise self.wrong(node, f"{section}.{name}", "there is no such key", hint)

    def _where(self, name: str) -> str:
        """A key that stands in another section."""
        for section, key in schema.PATHS:
            if key == name:
                return f"did you mean {section}.{key}?"
        return ""

    def _job(self, node: Node, number: int) -> Job:
        shown = f"jobs[{number}]"
        values: dict[str, Value] = {}
        places = dict.fromkeys(schema.PLACES, "")
        for name, entry in self._section(node, shown).items():
            if name in places:
                if not isinstance(entry.value, str) or not entry.value.strip():
                    raise self.wrong(entry, f"{shown}.{name}", "it must be a path or a URL")
                places[name] = entry.value
                continue
            key = schema.OPTIONS.get(name)
            if key is None:
                hint = closest(name, [*schema.PLACES, *schema.OPTIONS])
                raise self.wrong(entry, f"{shown}.{name}", "there is no such key", hint)
            self._put(values, key, entry, f"{shown}.{name}")
        self._say_what(node, shown, values, places)
        return Job(values, places["source"], places["destination"], self._origin(node))

    def _say_what(self, node: Node, shown: str, values: Mapping[str, Value], places: Mapping[str, str]) -> None:
        """Each job names two places or a container."""
        given = [name for name in schema.PLACES if places[name]]
        other = [values[flag].key.rpartition(".")[2] for flag in ("--container", "--output-path", "--prefix")
                 if flag in values]  # fmt: skip
        if given and other:
            raise self.wrong(node, shown, f"{given[0]} and {other[0]} do not go together",
                             "write source and destination, or container, output_path and prefix")  # fmt: skip
        if len(given) == 1:
            missing = next(name for name in schema.PLACES if not places[name])
            raise self.wrong(node, shown, f"{missing} is missing")
        if not given and "--container" not in values:
            raise self.wrong(node, shown, "it names neither source and destination nor a container")

    def _location(self, name: str, node: Node) -> Location:
        shown = f"locations.{name}"
        entries = dict(self._section(node, shown))
        url = entries.pop("url", None)
        if url is None or not isinstance(url.value, str) or not url.value.strip():
            raise self.wrong(url or node, shown, "url is missing: where does it lie?")
        if url.value.startswith("loc:"):
            raise self.wrong(url, f"{shown}.url", "a location cannot lie in another one")
        if not _NAME.fullmatch(name):
            raise self.wrong(node, shown, NAMES)
        store = store_of(url.value)
        shared = entries.pop("shared", None)
        if shared is not None and not isinstance(shared.value, bool):
            raise self.wrong(shared, f"{shown}.shared", "it must be true or false")
        known = {each.name: each for each in CREDENTIALS if each.store == store and each.flag}
        values: dict[str, Value] = {}
        for key, entry in entries.items():
            each = known.get(key)
            if each is None:
                what = f"a place of this kind ({store}) has no such key" if store else "it needs nothing but a url"
                raise self.wrong(entry, f"{shown}.{key}", what, closest(key, known))
            if entry.value is not None:
                full = schema.Key("locations", key, each.flag, schema.kind_of(each), secret=each.secret)
                values[key] = Value(self._checked(full, entry, f"{shown}.{key}"), self._origin(entry), key)
        return Location(name, url.value, values, self._origin(node), shared is not None and bool(shared.value))

    def _named(
        self, section: str, name: str, node: Node, keys: Sequence[schema.Key]
    ) -> tuple[dict[str, Value], str]:
        """The values of an entry that has a name, and where it stands."""
        shown = f"{section}.{name}"
        if not _NAME.fullmatch(name):
            raise self.wrong(node, shown, NAMES)
        known = {key.name: key for key in keys}
        values: dict[str, Value] = {}
        for each, entry in self._section(node, shown).items():
            key = known.get(each)
            if key is None:
                raise self.wrong(entry, f"{shown}.{each}", "there is no such key", closest(each, known))
            if entry.value is not None:
                values[each] = Value(self._checked(key, entry, f"{shown}.{each}"), self._origin(entry), each)
        return values, self._origin(node)


_STORES = {
    **dict.fromkeys(("az", "azure", "azfiles", "https", "http"), "azure"),
    "s3": "s3", "gs": "gcs", "gcs": "gcs",
}  # fmt: skip


def store_of(url: str) -> str:
    """The kind of store whose credentials a place needs: "azure", "s3", "gcs", or "" for none."""
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    return _STORES.get(scheme, "")


def _yaml(text: str, path: str) -> Node:
    import yaml

    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        return Node({}, 1) if root is None else _node(root, loader, path, 0)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        # The problem alone: the context would quote the line, and with it perhaps a secret.
        # What it quotes is cut out, but for single characters: a tag or an alias may be a secret without quotes.
        reason = re.sub(r"'[^']{5,}'|\"[^\"]{5,}\"", "'...'", getattr(error, "problem", None) or "it is no YAML")
        raise _wrong(path, mark.line + 1 if mark else 1, "", f"not valid YAML: {printable(reason)}") from None
    finally:
        loader.dispose()


def _node(node: Any, loader: Any, path: str, depth: int) -> Node:
    line = node.start_mark.line + 1
    if depth > DEEPEST:
        raise _wrong(path, line, "", "it is nested too deeply")
    if node.id == "sequence":
        return Node([_node(each, loader, path, depth + 1) for each in node.value], line)
    if node.id == "scalar":
        value = loader.construct_object(node)
        return Node(node.value if isinstance(value, datetime.date) else value, line)
    found: dict[str, Node] = {}
    for key, value in node.value:
        name = key.value if key.id == "scalar" else "?"
        if name in found:
            raise _wrong(path, key.start_mark.line + 1, printable(name),
                         f"it stands in line {found[name].line} already")  # fmt: skip
        found[name] = _node(value, loader, path, depth + 1)._replace(line=key.start_mark.line + 1)
    return Node(found, line)


_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_PAIR = re.compile(r"\s*([A-Za-z0-9_.\-\"' ]+?)\s*=")


def _toml(text: str, path: str) -> Node:
    import tomllib

    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        line = int(match[1]) if match else text.count("\n") + 1
        reason = str(error)[: match.start()] if match else str(error).partition(" (at ")[0]
        raise _wrong(path, line, "", f"not valid TOML: {printable(reason)}") from None
    return _lined(found, (), _lines(text), 1)


def _lines(text: str) -> dict[tuple[str | int, ...], int]:
    """The line of every key, by its path; entries of a list have their number from 0."""
    table: tuple[str | int, ...] = ()
    counts: dict[tuple[str | int, ...], int] = {}
    found: dict[tuple[str | int, ...], int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _path(header[2])
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                found.setdefault(table, number)
                table = (*table, counts[table])
            found.setdefault(table, number)
        elif pair := _PAIR.match(line):
            found.setdefault((*table, *_path(pair[1])), number)
    return found


def _path(words: str) -> tuple[str, ...]:
    return tuple(word.strip().strip("\"'") for word in words.split("."))


def _lined(value: Any, path: tuple[str | int, ...], lines: Mapping[tuple[str | int, ...], int], above: int) -> Node:
    line = lines.get(path, above)
    if isinstance(value, dict):
        return Node({name: _lined(each, (*path, name), lines, line) for name, each in value.items()}, line)
    if isinstance(value, list):
        return Node([_lined(each, (*path, at), lines, line) for at, each in enumerate(value)], line)
    return Node(value.isoformat() if isinstance(value, (datetime.date, datetime.time)) else value, line)
