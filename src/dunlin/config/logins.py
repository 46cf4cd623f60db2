"""From what people gave, in many places, to one `Login` for each side of a pair.

What can be said, from the strongest to the weakest (a layer's form for one side, `--source-account-key`, comes
before its general form, `--account-key`):

    url         a SAS behind a URL, the account in the host's name
    flags       the command line
    environment DUNLIN_ACCOUNT_KEY and its like
    job         an entry of `jobs`
    location    where the place is loc://NAME/PATH: the credentials of that location. A location that says more than
                a URL stands for itself: of all other layers only the forms for one side are asked
    file        the sections azure, s3, gcs
    standard    the variables that the services' own programs read: AZURE_STORAGE_KEY, AWS_PROFILE, ... They come last,
                because they are often there for another purpose

Single values (account, region, endpoint) come from the strongest layer that names them. For the *way to log in* that
would be wrong: a connection string in the file must not beat `--use-managed-identity` on the command line because
connection strings come first in some order. So the strongest layer that names any way decides, and the order counts
within that layer only:

    Azure    SAS or connection string, account key, service principal, managed identity, workload identity, CLI
    S3       access key, profile, anonymous
    GCS      service account, anonymous

Nothing named: the store tries its default chain. And a secret stays with whom it belongs to: where a layer names an
account (or access key id) beside its secret, and a stronger layer names another one, the secret is not used. So an
AZURE_STORAGE_KEY that happens to be set is never sent in the name of the account that the command line asks for.

A secret written as ``@path`` is the content of that file without the line break at its end; from a configuration
file the path is relative to the file. What keys and tokens must look like is checked by the stores.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from dunlin.config.credentials import CREDENTIALS, Credential, side_flag
from dunlin.config.file import store_of
from dunlin.config.settings import Settings
from dunlin.errors import DunlinError, ErrorKind, printable, translate, usage
from dunlin.stores.login import SECRET, Login

YES = "true"
_NO = ("", "0", "false", "no", "off", "n", "f")
_LARGEST = 1 << 20
_ACCOUNT = re.compile(r"(?:^|;)\s*AccountName\s*=\s*([^;]*)", re.IGNORECASE)


class Said(NamedTuple):
    """A value of one layer. `origin`: where it stands; `base`: the directory that an ``@path`` in it is relative to."""

    value: str
    origin: str
    base: str = ""


Layer = Mapping[str, Said]
"""What one layer says, by the names of `Login`."""


class Way(NamedTuple):
    """A way to log in: the values that stand for it, those it takes along, and whose it is."""

    decides: tuple[str, ...]
    along: tuple[str, ...] = ()
    owner: str = ""


_AZURE_ALWAYS = ("endpoint", "authority_host")
_WAYS = {
    "azure": (
        Way(("sas_token",), ("account_name",), "account_name"),
        Way(("connection_string",), (), "account_name"),
        Way(("account_key",), ("account_name",), "account_name"),
        Way(("client_secret",), ("account_name", "tenant_id", "client_id")),
        Way(("use_managed_identity",), ("account_name", "client_id", "identity_endpoint")),
        Way(("use_workload_identity",), ("account_name", "tenant_id", "client_id", "federated_token_file")),
        Way(("use_azure_cli",), ("account_name", "tenant_id")),
    ),
    "s3": (
        Way(("secret_access_key", "access_key_id"), ("session_token",), "access_key_id"),
        Way(("profile",)),
        Way(("anonymous",)),
    ),
    "gcs": (Way(("service_account",)), Way(("anonymous",))),
}
_ALWAYS = {
    "azure": _AZURE_ALWAYS,
    "s3": ("endpoint", "region", "role_arn"),
    "gcs": ("endpoint", "project"),
}
_CHAIN = {
    "azure": ("account_name", "tenant_id", "client_id", "federated_token_file", "identity_endpoint"),
    "s3": (),
    "gcs": (),
}
"""What the default chain takes along."""


class Located(NamedTuple):
    """A side of a pair. `url`: without secrets, and no loc://. `exposed`: the URL as given held a secret."""

    url: str
    login: Login
    exposed: bool = False


def place(
    text: str,
    side: str,
    flags: Mapping[str, str],
    settings: Settings,
    environ: Mapping[str, str] | None = None,
) -> Located:
    """The place that `text` means, and how to get in.

    Args:
        text: a path or URL; ``loc://NAME/PATH`` is looked up in the file.
        side: "source" or "dest".
        flags: the credential options of the command line by their long names; switches are "true" or "".
        settings: the layers below it.
        environ: the environment, for standard variables; None: this process's own.

    Raises USAGE and CONFIG; NOT_FOUND and its like for an ``@path``.
    """
    url, location = _located(text, settings)
    url, query = _bare(url)
    store = store_of(url)
    if not store:
        return Located(url, Login())
    layers = [_of_url(url, query)]
    layers += _layers(store, side, flags, settings, location, os.environ if environ is None else environ)
    beside = _beside(settings, side, location)
    return Located(url, _login(store, layers, url, beside), exposed=bool(query) and "?" in text)


def _located(text: str, settings: Settings) -> tuple[str, Layer | None]:
    """The URL that loc://NAME/PATH stands for and its location's credentials; anything else as it is, and None."""
    if not text.lower().startswith("loc:"):
        return text, None
    match = re.fullmatch(r"loc://([^/]+)(/.*)?", text, re.IGNORECASE | re.DOTALL)
    if match is None:
        from dunlin.stores.open import shown_place

        raise usage(f"{printable(shown_place(text))} names no location", "write loc://NAME/PATH")
    known = settings.file.locations if settings.file else {}
    found = known.get(match[1])
    if found is None:
        from dunlin.config.words import closest

        hint = closest(match[1], known) or "locations stand in the configuration file"
        raise usage(f"there is no location {printable(match[1])}", hint)
    base, question, query = found.url.partition("?")
    path = (match[2] or "").strip("/")
    url = f"{base.rstrip('/')}/{path}" if path else base
    directory = _directory(settings)
    layer = {name: Said(_text(each.value), each.origin, directory) for name, each in found.values.items()}
    return url + question + query, layer


def _bare(url: str) -> tuple[str, str]:
    """A URL without its query, and the query. Raises USAGE where a login stands before the host."""
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", url):
        return url, ""
    scheme, _, rest = url.partition("://")
    if "@" in rest.partition("/")[0] and scheme.lower() != "memory" and scheme.lower() != "file":
        raise usage(
            f"the {printable(scheme)}:// URL has a login before the host's name",
            "take it out: credentials are options, variables or keys of the configuration",
        )
    bare, _, query = url.partition("?")
    # In s3:// and gs:// a question mark is a character like any other, and so it is in az:// but before a SAS.
    if scheme.lower() in ("http", "https") or (scheme.lower() in ("az", "azure", "azfiles") and "sig=" in query):
        return bare, query
    return url, ""


def _of_url(url: str, query: str) -> Layer:
    said = {"sas_token": Said(query, "the URL")} if query else {}
    host = re.match(r"https?://([a-z0-9]+)\.(?:blob|file)\.", url)
    return said | ({"account_name": Said(host[1], "the URL")} if host else {})


def _layers(
    store: str,
    side: str,
    flags: Mapping[str, str],
    settings: Settings,
    location: Layer | None,
    environ: Mapping[str, str],
) -> Iterator[Layer]:
    known = [each for each in CREDENTIALS if each.store == store]
    own = [(each, side_flag(each.flag, side)) for each in known if each.flag]
    general = [(each, each.flag) for each in known if each.flag]
    for wanted in (own,) if location else (own, general):
        yield {each.name: Said(flags[flag], flag) for each, flag in wanted if flag in flags}
    yield from _below(settings, (own,) if location else (own, general))
    if location:
        yield location
        return
    yield {each.name: said for each in known if (said := _standard(each, environ)) is not None}


def _below(settings: Settings, groups: Sequence[Sequence[tuple[Credential, str]]]) -> Iterator[Layer]:
    directory = _directory(settings)
    for ask, base in ((settings.environment, ""), (settings.in_job, directory), (settings.in_file, directory)):
        for wanted in groups:
            layer = {}
            for each, flag in wanted:
                found = ask(flag)
                if found is not None:
                    layer[each.name] = Said(_text(found.value, found.key if each.switch else ""), found.origin, base)
            yield layer


def _text(value: object, switch: str = "") -> str:
    """A value as a `Login` holds it; `switch` names a switch whose text may be wrong."""
    if isinstance(value, bool):
        return YES if value else ""
    if switch and str(value).strip().lower() not in (*_NO, "1", "true", "yes", "on", "y", "t"):
        raise DunlinError("read the configuration", switch, ErrorKind.CONFIG, "it must be true or false")
    if switch:
        return "" if str(value).strip().lower() in _NO else YES
    return str(value)


def _standard(credential: Credential, environ: Mapping[str, str]) -> Said | None:
    for name in credential.standard:
        value = environ.get(name)
        if value:
            if name == "STORAGE_EMULATOR_HOST" and "://" not in value:
                value = f"http://{value}"
            return Said(value, name)
    return None


def _directory(settings: Settings) -> str:
    return os.path.dirname(os.path.abspath(settings.file.path)) if settings.file else ""


def _beside(settings: Settings, side: str, location: Layer | None) -> frozenset[str]:
    """Where a SAS may stand that is given together with the URL, apart from the URL itself and the command line."""
    said = [settings.in_job("--sas-token"), settings.in_job(side_flag("--sas-token", side))]
    return frozenset(
        [found.origin for found in said if found is not None] + [each.origin for each in (location or {}).values()]
    )


def _check_sas(url: str, said: Said, home: Layer, endpoint: str, beside: frozenset[str]) -> None:
    """A SAS opens what it opens to whoever is sent it; so one that was not given for this URL goes to Azure's own
    hosts, to the endpoint that stands beside it, or to one that was named on purpose, and there not in clear text.
    """
    from dunlin.stores.objects.address import is_azure, is_private, origin

    named = re.match(r"https?://[^/]+", url, re.IGNORECASE)
    where = named[0] if named else endpoint
    if not where or said.origin == "the URL" or said.origin.startswith("--") or said.origin in beside:
        return
    there = origin(where)
    if is_azure(where) or ("endpoint" in home and origin(home["endpoint"].value) == there != ""):
        return
    if origin(endpoint) == there and is_private(where):
        return
    raise usage(
        f"the SAS of {said.origin} is not sent to {printable(where)}, which it was not given for",
        "give it behind the URL or as --sas-token, or name the host beside it",
    )


def _login(store: str, layers: Sequence[Layer], url: str = "", beside: frozenset[str] = frozenset()) -> Login:
    """The login that the layers add up to; see the module docstring."""
    kept = [dict(layer) for layer in layers]
    ways = _WAYS[store]
    for way in ways:
        if way.owner:
            _keep_to_owner(kept, way)
    merged: dict[str, tuple[int, Said]] = {}
    for rank, layer in enumerate(kept):
        for name, said in layer.items():
            merged.setdefault(name, (rank, said))
    given = [(min(merged[name][0] for name in way.decides if _is(merged, name)), at)
             for at, way in enumerate(ways) if any(_is(merged, name) for name in way.decides)]  # fmt: skip
    _one_way(store, given, ways, len(layers) - 1)
    chosen = ways[min(given)[1]] if given else Way((), _CHAIN[store])
    names = (*chosen.decides, *chosen.along, *_ALWAYS[store])
    values = {name: _value(name, merged[name][1]) for name in names if _is(merged, name)}
    if "sas_token" in values:
        rank, said = merged["sas_token"]
        _check_sas(url, said, kept[rank], values.get("endpoint", ""), beside)
    if store == "gcs" and not given and merged.get("endpoint", (0, Said("", "")))[1].origin == "STORAGE_EMULATOR_HOST":
        values["anonymous"] = YES  # as the service's own library does
    return Login({name: value for name, value in values.items() if value})


def _is(merged: Mapping[str, tuple[int, Said]], name: str) -> bool:
    return name in merged and bool(merged[name][1].value)


def _one_way(store: str, given: Sequence[tuple[int, int]], ways: Sequence[Way], standard: int) -> None:
    """S3 and GCS know no order among ways that one layer names; standard variables are often set side by side."""
    if store == "azure" or not given or min(given)[0] == standard:
        return
    same = [ways[at].decides[-1] for rank, at in given if rank == min(given)[0]]
    if len(same) > 1:
        raise usage(f"{' and '.join(same)} are different ways to log in to {store}", "give one of them")


def _keep_to_owner(layers: Sequence[dict[str, Said]], way: Way) -> None:
    """Take out secrets of layers whose owner (account, access key id) a stronger layer replaces."""
    owner = ""
    bound = [name for name in (*way.decides, *way.along) if name in SECRET]
    for layer in layers:
        mine = layer[way.owner].value if way.owner in layer else ""
        secrets = [name for name in bound if name in layer]
        named = mine
        if "connection_string" in secrets:
            match = _ACCOUNT.search(secret_of(layer["connection_string"]))
            named = match[1].strip() if match else mine
        if owner and named and named != owner:
            for name in secrets:
                del layer[name]
        # A connection string that stays names the account for all weaker layers, too.
        owner = owner or mine or (named if "connection_string" in layer else "")


def _value(name: str, said: Said) -> str:
    if name == "service_account":
        return _key_file(said)
    return secret_of(said) if name in SECRET else said.value


def secret_of(said: Said) -> str:
    """A secret, read from its file if it is an ``@path``."""
    if not said.value.startswith("@"):
        return said.value
    return _read(said.value[1:], said).rstrip("\r\n")


def _key_file(said: Said) -> str:
    """The JSON text of a service account's key: as it is, or out of the file of that name.

    GOOGLE_APPLICATION_CREDENTIALS may name other kinds of credentials, too: those the default chain reads itself.
    """
    if said.value.lstrip().startswith("{"):
        return said.value
    text = _read(said.value.removeprefix("@"), said)
    if said.origin == "GOOGLE_APPLICATION_CREDENTIALS" and '"service_account"' not in text:
        return ""
    return text


def _read(path: str, said: Said) -> str:
    path = os.path.join(said.base, os.path.expanduser(path))
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_LARGEST)
    except OSError as error:
        problem = translate(error, f"read the secret that {said.origin} names:", path)
        raise DunlinError(problem.operation, path, ErrorKind.CONFIG, problem.reason) from error
    except UnicodeDecodeError:
        raise DunlinError(
            f"read the secret that {said.origin} names:", path, ErrorKind.CONFIG, "it is no text"
        ) from None
    if not text.strip():
        raise DunlinError(f"read the secret that {said.origin} names:", path, ErrorKind.CONFIG, "the file is empty")
    return text
