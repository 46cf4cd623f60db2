"""Operations on files that are not about their bytes, from the reference pages of the same names.

Create File replaces a file of that name with a new one (new file id). From 2026-02-06 on it may carry up to 4 MiB of
content; before, a body is refused. Set File Properties leaves the content headers alone when it names none, else those
that are missing are cleared, as the page says.
"""

from __future__ import annotations

import base64
import hashlib

from tests.emulators.azure_files import smb
from tests.emulators.azure_files.content import LARGEST
from tests.emulators.azure_files.names import components
from tests.emulators.azure_files.tree import READ_ONLY, Account, Node, Share, existing, find, parent_of
from tests.emulators.azure_files.wire import Answer, Refused, Request, xml

MOST_BYTES = 4 << 20
"""Most content of one request."""


def changing(account: Account, request: Request, *, bytes_too: bool = False) -> tuple[Share, Node]:
    """The file that a request wants to change. Raises Refused when lease, handle or attribute forbid it."""
    share = account.share(request, change=True)
    node = existing(share, request, directory=False)
    free(node, request, bytes_too=bytes_too)
    return share, node


def free(
    node: Node, request: Request, *, bytes_too: bool, lease: str = "x-ms-lease-id", read_only: bool = False
) -> None:
    """Let a change of a file pass. Raises Refused; `read_only`: such a file may be changed all the same."""
    if node.handle:
        raise Refused(node.handle)
    if node.lease:
        node.lease.check(request, header=lease)
    elif request.headers.get(lease):
        raise Refused("LeaseNotPresentWithFileOperation")
    if bytes_too and node.attributes & READ_ONLY and not read_only:
        raise Refused("ReadOnlyAttribute")


def create(account: Account, request: Request) -> Answer:
    """Create File."""
    share = account.share(request, change=True)
    if request.needed("x-ms-type").lower() != "file":
        raise Refused("InvalidHeaderValue")
    size = _size(request)
    if size is None:
        raise Refused("MissingRequiredHeader")
    if len(request.body) > (min(size, MOST_BYTES) if request.version >= "2026-02-06" else 0):
        raise Refused("InvalidHeaderValue")
    digest = digest_of(request)
    node = replacement(account, share, request)
    metadata = request.metadata()
    smb.apply(account, share, node, request, "create")
    node.metadata, node.headers = metadata, {"content-type": "application/octet-stream", **smb.http_headers(request)}
    assert node.content
    node.content.resize(size)
    node.content.write(0, request.body)
    account.put(node)
    answer = smb.done(node, 201)
    if request.body:
        answer.headers["Content-MD5"] = digest
    return answer


def replacement(account: Account, share: Share, request: Request) -> Node:
    """A new file for the path of a request, not yet in its directory. Raises Refused when what is there must stay."""
    names = components(request.path[1:], request)
    parent, there = parent_of(share, names), find(share, names)
    if there and there.is_directory():
        raise Refused("ResourceTypeMismatch")
    node = account.new(names[-1], parent, parent.permission, directory=False)
    if there:
        free(there, request, bytes_too=True, read_only=request.flag("x-ms-file-copy-ignore-readonly"))
        node.lease = there.lease
    elif request.headers.get("x-ms-lease-id"):
        raise Refused("LeaseNotPresentWithFileOperation")
    return node


def _size(request: Request) -> int | None:
    size = request.number("x-ms-content-length")
    if size is not None and size > LARGEST:
        raise Refused("InvalidHeaderValue")
    return size


def digest_of(request: Request) -> str:
    """The MD5 of the body. Raises Refused when Content-MD5 says another one."""
    digest = base64.b64encode(hashlib.md5(request.body, usedforsecurity=False).digest()).decode()
    if request.headers.get("content-md5", digest) != digest:
        raise Refused("Md5Mismatch")
    return digest


def get_properties(account: Account, request: Request) -> Answer:
    """Get File Properties, Get File Metadata."""
    node = existing(account.share(request), request, directory=False)
    assert node.content
    return Answer(200, smb.told(node), length=node.content.size)


def get_metadata(account: Account, request: Request) -> Answer:
    """Get File Metadata by GET: the same headers, no body."""
    return Answer(200, smb.told(existing(account.share(request), request, directory=False)))


def set_properties(account: Account, request: Request) -> Answer:
    """Set File Properties: content headers, SMB properties, size."""
    size = _size(request)
    share, node = changing(account, request, bytes_too=size is not None)
    smb.apply(account, share, node, request, "set")
    headers = smb.http_headers(request)
    if headers:
        node.headers = {name: value for name, value in node.headers.items() if name.startswith("x-ms-copy")} | headers
    if size is not None:
        assert node.content
        node.content.resize(size)
    return smb.done(node, 200)


def set_metadata(account: Account, request: Request) -> Answer:
    """Set File Metadata: all of it."""
    metadata = request.metadata()
    _, node = changing(account, request)
    node.metadata = metadata
    account.touch(node)
    return smb.done(node, 200)


def delete(account: Account, request: Request) -> Answer:
    """Delete File."""
    _, node = changing(account, request, bytes_too=True)
    account.drop(node)
    return Answer(202)


def list_handles(account: Account, request: Request) -> Answer:
    """List Handles: there are no SMB clients here."""
    account.share(request)
    return xml("<EnumerationResults><Entries /><NextMarker /></EnumerationResults>")


def close_handles(account: Account, request: Request) -> Answer:
    """Force Close Handles: ends what a test pretended with `hold`."""
    share = account.share(request)
    node = find(share, components(request.path[1:], request))
    if node is None:
        raise Refused("ResourceNotFound")
    closed = int(bool(node.handle))
    node.handle = ""
    return Answer(200, {"x-ms-number-of-handles-closed": str(closed), "x-ms-number-of-handles-failed": "0"})
