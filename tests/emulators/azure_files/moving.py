"""Rename (File, Directory) and Copy File, from the reference pages of the same names.

A rename stays in its share, keeps the file id, the SMB times but change time, and replaces a file only with
`x-ms-file-rename-replace-if-exists: true`, a read-only one only with `x-ms-file-rename-ignore-readonly: true`
besides; a directory is never replaced. A copy within the account is done when it is answered (`x-ms-copy-status:
success`), which the service may do too; a source in another account is refused, where the service would fetch it.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from tests.emulators.azure_files import smb, times
from tests.emulators.azure_files.files import free, replacement
from tests.emulators.azure_files.names import components
from tests.emulators.azure_files.tree import Account, Node, Share, existing, find, new_id, parent_of
from tests.emulators.azure_files.wire import Answer, Refused, Request, parsed


def source_of(account: Account, request: Request, url: str) -> tuple[Share, Node]:
    """The share and node that a source URL names. Raises Refused."""
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query else ""
    source = parsed(request, parts.path + query, account.name)
    if len(source.path) < 2:
        raise Refused("InvalidHeaderValue")
    share = account.share(source)
    node = find(share, components(source.path[1:], request, dots="x-ms-source-allow-trailing-dot"))
    if node is None:
        raise Refused("ResourceNotFound")
    return share, node


def rename(account: Account, request: Request) -> Answer:
    """Rename File, Rename Directory."""
    directory = request.query.get("restype", "").lower() == "directory"
    share = account.share(request, change=True)
    of, node = source_of(account, request, request.needed("x-ms-file-rename-source"))
    if of is not share or node.is_directory() != directory:
        raise Refused("InvalidHeaderValue" if of is not share else "ResourceTypeMismatch")
    free(node, request, bytes_too=False, lease="x-ms-source-lease-id")
    names = components(request.path[1:], request)
    parent, there = parent_of(share, names), find(share, names)
    _no_loop(node, parent)
    if there and there is not node:
        _may_replace(there, node, request)
    metadata = request.metadata()
    smb.apply(account, share, node, request, "set")
    node.metadata = metadata or node.metadata
    account.drop(node)
    node.name, node.parent = names[-1], parent
    account.put(node)
    return smb.done(node, 200)


def _no_loop(node: Node, parent: Node) -> None:
    above: Node | None = parent
    while above:
        if above is node:
            raise Refused("InvalidInput")
        above = above.parent


def _may_replace(there: Node, node: Node, request: Request) -> None:
    if not request.flag("x-ms-file-rename-replace-if-exists"):
        raise Refused("ResourceAlreadyExists")
    if there.is_directory() or node.is_directory():
        same = there.is_directory() == node.is_directory()
        raise Refused("ResourceAlreadyExists" if same else "ResourceTypeMismatch")
    read_only = request.flag("x-ms-file-rename-ignore-readonly")
    free(there, request, bytes_too=True, lease="x-ms-destination-lease-id", read_only=read_only)


def copy(account: Account, request: Request) -> Answer:
    """Copy File."""
    share = account.share(request, change=True)
    url = request.needed("x-ms-copy-source")
    of, source = source_of(account, request, url)
    if source.content is None:
        raise Refused("ResourceNotFound")
    node = replacement(account, share, request)
    if request.headers.get("x-ms-file-permission-copy-mode", "").lower() == "source" and of.name != share.name:
        raise Refused("InvalidHeaderValue")
    metadata = request.metadata()
    smb.apply(account, share, node, request, "copy", source)
    done = times.http(node.modified)
    node.headers = {name: value for name, value in source.headers.items() if not name.startswith("x-ms-copy")} | {
        "x-ms-copy-id": new_id(), "x-ms-copy-source": url.partition("?")[0], "x-ms-copy-status": "success",
        "x-ms-copy-progress": f"{source.content.size}/{source.content.size}", "x-ms-copy-completion-time": done,
    }  # fmt: skip
    node.metadata, node.content = metadata or dict(source.metadata), source.content.copy()
    account.put(node)
    answer = smb.done(node, 202)
    answer.headers |= {name: node.headers[name] for name in ("x-ms-copy-id", "x-ms-copy-status")}
    return answer


def abort_copy(account: Account, request: Request) -> Answer:
    """Abort Copy File: there is never one left to abort."""
    existing(account.share(request, change=True), request, directory=False)
    raise Refused("NoPendingCopyOperation")
