"""Who may ask: Shared Key, a SAS of the account or of a share or file, and a token.

Written from the reference pages "Authorize with Shared Key", "Create an account SAS", "Create a service SAS" and
"Authorize with Microsoft Entra ID", and from nothing in src/: the two are to disagree where one of them is wrong.

**Shared Key** signs the method, eleven standard headers, the x-ms- headers in order, "/" with the account and the
path as it was sent, and the query. The page says "lexicographically"; the service compares as .NET does in its
invariant culture: hyphens do not count at first, then "_" comes before digits and digits before letters. Dates more
than 15 minutes off are refused.

**SAS**: fields of the query, signed in a fixed order. Permissions, time, address, protocol, service and resource type
are held against the operation. **Token**: any configured one, over plain HTTP too (the service wants TLS), and only
with `x-ms-file-request-intent: backup`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import unquote
from xml.etree import ElementTree

from tests.emulators.azure_files import times
from tests.emulators.azure_files.tree import Account, skew
from tests.emulators.azure_files.wire import Refused, Request

SKEW_S = 15 * 60
_SIGNED = (
    "content-encoding", "content-language", "content-length", "content-md5", "content-type", "date",
    "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range",
)  # fmt: skip
_SERVICE_FIELDS = ("si", "sip", "spr", "sv", "rscc", "rscd", "rsce", "rscl", "rsct")
_ACCOUNT_FIELDS = ("sp", "ss", "srt", "st", "se", "sip", "spr", "sv", "ses")


def authorise(account: Account, request: Request, letters: str, level: str) -> None:
    """Let a request pass or raise Refused.

    Args:
        letters: the SAS permissions of which one is enough. level: the resource type, s(ervice), c(share) or o(bject).
    """
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme and not re.fullmatch(r"20\d\d-\d\d-\d\d", request.version):
        raise Refused("InvalidHeaderValue" if request.version else "MissingRequiredHeader")
    if scheme == "SharedKey":
        _shared_key(account, request, value)
    elif scheme == "Bearer":
        _token(account, request, value)
    elif "sig" in request.query:
        _shared_access(account, request, request.query, letters, level)
    else:
        raise Refused("AuthenticationFailed")


def _shared_key(account: Account, request: Request, value: str) -> None:
    if skew(request, account.clock()) > SKEW_S:
        raise Refused("AuthenticationFailed")
    who, _, signature = value.partition(":")
    text = string_to_sign(request, account.name)
    if who != account.name or not _signed(account, text, signature):
        raise Refused("AuthenticationFailed")


def string_to_sign(request: Request, account: str) -> str:
    """What Shared Key signs."""
    fixed = {name: request.headers.get(name, "") for name in _SIGNED}
    if fixed["content-length"] == "0":
        fixed["content-length"] = ""
    if "x-ms-date" in request.headers:
        fixed["date"] = ""
    own = sorted((name for name in request.headers if name.startswith("x-ms-")), key=_collated)
    headers = "".join(f"{name}:{request.headers[name].strip()}\n" for name in own)
    query = "".join(f"\n{name}:{request.query[name]}" for name in sorted(request.query))
    return "\n".join([request.method, *fixed.values(), headers]) + f"/{account}{request.raw_path}{query}"


def _collated(name: str) -> tuple[list[tuple[int, str]], str]:
    letters = [(1 + c.isdigit() + 2 * c.isalpha(), c) for c in name if c != "-"]
    return letters, name


def _signed(account: Account, text: str, signature: str) -> bool:
    def digest(key: bytes) -> str:
        return base64.b64encode(hmac.digest(key, text.encode(), hashlib.sha256)).decode()

    return any(hmac.compare_digest(digest(key).encode(), signature.encode()) for key in account.keys)


def _token(account: Account, request: Request, value: str) -> None:
    if not account.token or value != account.token:
        raise Refused("AuthenticationFailed", status=401, headers={"WWW-Authenticate": "Bearer"})
    if request.needed("x-ms-file-request-intent") != "backup":
        raise Refused("InvalidHeaderValue")


def _shared_access(account: Account, request: Request, sas: Mapping[str, str], letters: str, level: str) -> None:
    if "ss" in sas:
        text = "\n".join([account.name, *(sas.get(name, "") for name in _ACCOUNT_FIELDS)]) + "\n"
        fields = dict(sas)
    else:
        names = [unquote(part) for part in request.raw_path.removeprefix("/").split("/")]
        upto = {"s": 2, "f": len(names)}.get(sas.get("sr", ""), 0)
        parts = [sas.get("sp", ""), sas.get("st", ""), sas.get("se", ""), "/file/" + "/".join(names[:upto])]
        text = "\n".join([*parts, *(sas.get(name, "") for name in _SERVICE_FIELDS)])
        fields = {**sas, **_policy(account, request, sas)}
    if not _signed(account, text, sas["sig"]):
        raise Refused("AuthenticationFailed")
    _in_time(fields, account.clock())
    if "sip" in fields and not _among(request.peer, fields["sip"]):
        raise Refused("AuthorizationSourceIPMismatch")
    if fields.get("spr") == "https":
        raise Refused("AuthorizationProtocolMismatch")
    _allowed(fields, letters, level)


def _allowed(fields: Mapping[str, str], letters: str, level: str) -> None:
    if "ss" in fields:
        if "f" not in fields["ss"]:
            raise Refused("AuthorizationServiceMismatch")
        if level not in fields.get("srt", ""):
            raise Refused("AuthorizationResourceTypeMismatch")
    elif level == "s":
        raise Refused("AuthorizationResourceTypeMismatch")
    if not set(letters) & set(fields.get("sp", "")):
        raise Refused("AuthorizationPermissionMismatch")


def _policy(account: Account, request: Request, sas: Mapping[str, str]) -> dict[str, str]:
    """What the stored access policy that a SAS names gives to it."""
    if "si" not in sas:
        return {}
    share = account.shares.get(request.path[0]) if request.path else None
    for entry in ElementTree.fromstring(share.policies or b"<none/>") if share else ():
        if entry.findtext("Id") == sas["si"]:
            known = {"st": "Start", "se": "Expiry", "sp": "Permission"}
            found = {name: entry.findtext(f"AccessPolicy/{tag}") or "" for name, tag in known.items()}
            return {name: value for name, value in found.items() if value}
    raise Refused("AuthenticationFailed")


def _in_time(fields: Mapping[str, str], now: int) -> None:
    moment = datetime.fromtimestamp(now / times.TICKS - times.UNIX_EPOCH, UTC)
    try:
        start, end = (datetime.fromisoformat(fields.get(name) or moment.isoformat()) for name in ("st", "se"))
        if not fields.get("se") or not _utc(start) <= moment <= _utc(end):
            raise Refused("AuthenticationFailed")
    except ValueError:
        raise Refused("AuthenticationFailed") from None


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _among(peer: str, addresses: str) -> bool:
    first, _, last = addresses.partition("-")
    low, high = (int(ipaddress.ip_address(each)) for each in (first, last or first))
    return low <= int(ipaddress.ip_address(peer)) <= high
