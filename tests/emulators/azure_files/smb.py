"""The SMB side of a file or directory: attributes, four times, the permission key; from headers and back.

From the reference pages "Create File", "Set File Properties", "Rename File", "Copy File" and their directory twins.
Creating takes what is missing as new (times now, permission inherited from the parent directory; a file gets Archive
unless `x-ms-file-property-semantics` is Restore), setting and renaming leave it as it is, copying understands `source`
besides.
"""

from __future__ import annotations

import base64
import binascii
from typing import Literal

from tests.emulators.azure_files import security, times
from tests.emulators.azure_files.tree import ARCHIVE, DIRECTORY, Account, Node, Share
from tests.emulators.azure_files.wire import Answer, Refused, Request

Mode = Literal["create", "set", "copy"]
WORDS = {
    "ReadOnly": 1, "Hidden": 2, "System": 4, "Directory": 16, "Archive": 32, "Temporary": 256, "Offline": 4096,
    "NotContentIndexed": 8192, "NoScrubData": 131072,
}  # fmt: skip
_LOWER = {word.lower(): bit for word, bit in WORDS.items()} | {"none": 0}
_ONLY_DIRECTORIES = 16
_ONLY_FILES = 256
HTTP = ("content-type", "content-encoding", "content-language", "content-disposition", "cache-control", "content-md5")
_SHOWN = {name: name.title().replace("Md5", "MD5") for name in HTTP}


def attributes_text(bits: int) -> str:
    """Attributes as the service writes them."""
    return " | ".join(word for word, bit in WORDS.items() if bits & bit) or "None"


def _attributes(text: str, directory: bool) -> int:
    try:
        bits = 0
        for word in text.split("|"):
            bits |= _LOWER[word.strip().lower()]
    except KeyError:
        raise Refused("InvalidHeaderValue") from None
    if bits & (_ONLY_FILES if directory else _ONLY_DIRECTORIES):
        raise Refused("InvalidHeaderValue")
    return bits | (DIRECTORY if directory else 0)


def apply(account: Account, share: Share, node: Node, request: Request, mode: Mode, source: Node | None = None) -> None:
    """Give a node what the headers say. `source` is what a copy is made from. Raises Refused before any change."""
    permission = _permission(share, node, request, mode, source)
    bits = _wanted_attributes(node, request, mode, source)
    created = _time(request, "x-ms-file-creation-time", node.created, account, source.created if source else None)
    written = _time(request, "x-ms-file-last-write-time", node.written, account, source.written if source else None)
    changed = _time(request, "x-ms-file-change-time", None, account, source.changed if source else None)
    account.touch(node)
    node.permission, node.attributes, node.created, node.written = permission, bits, created, written
    if changed is not None:
        node.changed = changed


def _wanted_attributes(node: Node, request: Request, mode: Mode, source: Node | None) -> int:
    text = request.headers.get("x-ms-file-attributes", "preserve" if mode == "set" else "None").lower()
    if text == "preserve":
        return node.attributes
    if text == "source" and source:
        return source.attributes
    bits = _attributes(text, node.is_directory())
    restored = request.headers.get("x-ms-file-property-semantics", "").lower() == "restore"
    if mode == "create" and not node.is_directory() and not restored:
        return bits | ARCHIVE
    return bits | (ARCHIVE if mode == "copy" and request.flag("x-ms-file-copy-set-archive") else 0)


def _time(request: Request, name: str, current: int | None, account: Account, source: int | None) -> int:
    text = request.headers.get(name, "preserve")
    if text.lower() == "now" or (text.lower() == "preserve" and current is None):
        return account.now()
    if text.lower() == "preserve":
        assert current is not None
        return current
    if text.lower() == "source" and source is not None:
        return source
    return times.read(text)


def _permission(share: Share, node: Node, request: Request, mode: Mode, source: Node | None) -> str:
    key = request.headers.get("x-ms-file-permission-key", "")
    text = request.headers.get("x-ms-file-permission", "")
    if key and text:
        raise Refused("InvalidHeaderValue")
    if request.headers.get("x-ms-file-permission-copy-mode", "").lower() == "source" and source:
        return source.permission
    if key:
        if key not in share.permissions:
            raise Refused("FileInvalidPermissionKey")
        return key
    if text.lower() == "preserve" or (not text and mode == "set"):
        return node.permission
    if text.lower() in ("", "inherit"):
        above = share.permissions[node.parent.permission] if node.parent else b""
        return share.keep(security.inherited(above, directory=node.is_directory())) if above else node.permission
    return share.keep(descriptor(text, request.headers.get("x-ms-file-permission-format", "sddl"), request.version))


def descriptor(text: str, form: str, version: str) -> bytes:
    """A security descriptor from its text in a format. Raises Refused."""
    if form.lower() == "sddl":
        return security.binary(text)
    if form.lower() != "binary" or version < "2024-11-04":
        raise Refused("InvalidHeaderValue")
    try:
        return security.checked(base64.b64decode(text, validate=True))
    except binascii.Error:
        raise Refused("FileInvalidPermission") from None


def headers_of(node: Node) -> dict[str, str]:
    """What every answer about a file or directory tells."""
    return {
        "ETag": node.etag,
        "Last-Modified": times.http(node.modified),
        "x-ms-file-permission-key": node.permission,
        "x-ms-file-attributes": attributes_text(node.attributes),
        "x-ms-file-creation-time": times.written(node.created),
        "x-ms-file-last-write-time": times.written(node.written),
        "x-ms-file-change-time": times.written(node.changed),
        "x-ms-file-id": str(node.id),
        "x-ms-file-parent-id": str(node.parent.id) if node.parent else "0",
    }


def told(node: Node) -> dict[str, str]:
    """All properties of a file or directory, metadata included."""
    found = headers_of(node) | {f"x-ms-meta-{name}": value for name, value in node.metadata.items()}
    found["x-ms-server-encrypted"] = "true"
    if node.lease:
        found |= node.lease.headers()
    elif node.content:
        found |= {"x-ms-lease-state": "available", "x-ms-lease-status": "unlocked"}
    if node.content:
        found["x-ms-type"] = "File"
        found |= {_SHOWN.get(name, name): value for name, value in node.headers.items()}
    return found


def done(node: Node, status: int) -> Answer:
    """The answer to a change of a file or directory."""
    return Answer(status, headers_of(node) | {"x-ms-request-server-encrypted": "true"})


def http_headers(request: Request) -> dict[str, str]:
    """The x-ms-content- and x-ms-cache-control headers, by their plain names."""
    return {name: request.headers[f"x-ms-{name}"] for name in HTTP if request.headers.get(f"x-ms-{name}")}
