"""Operations on directories, from the reference pages of the same names.

**List Directories and Files.** One level, directories and files intermingled in the account's order (names.py), up to
5,000 to a page. The marker is opaque to clients: it holds the name that the next page begins with (recorded replies
show that, and the form), so pages go on where they should when entries come and go between them. `include` may be
separated by commas, or by "%82" as the reference says; it, or `x-ms-file-extended-info: true`, brings DirectoryId and
FileId, and each of its words its own elements.
"""

from __future__ import annotations

import base64
import re
from xml.sax.saxutils import escape

from tests.emulators.azure_files import smb, times
from tests.emulators.azure_files.names import attribute, components, element, folded
from tests.emulators.azure_files.shares import endpoint, page_size
from tests.emulators.azure_files.tree import Account, Node, Share, existing, find, parent_of
from tests.emulators.azure_files.wire import Answer, Refused, Request, xml

_INCLUDE = {"timestamps", "etag", "attributes", "permissionkey"}


def create(account: Account, request: Request) -> Answer:
    """Create Directory."""
    share = account.share(request, change=True)
    names = components(request.path[1:], request)
    if not names:
        raise Refused("ResourceAlreadyExists")
    parent = parent_of(share, names)
    there = find(share, names)
    if there:
        raise Refused("ResourceAlreadyExists" if there.is_directory() else "ResourceTypeMismatch")
    metadata = request.metadata()
    node = account.new(names[-1], parent, parent.permission, directory=True)
    smb.apply(account, share, node, request, "create")
    node.metadata = metadata
    account.put(node)
    return smb.done(node, 201)


def get_properties(account: Account, request: Request) -> Answer:
    """Get Directory Properties, Get Directory Metadata."""
    return Answer(200, smb.told(existing(account.share(request), request, directory=True)))


def set_properties(account: Account, request: Request) -> Answer:
    """Set Directory Properties."""
    share = account.share(request, change=True)
    node = existing(share, request, directory=True)
    smb.apply(account, share, node, request, "set")
    return smb.done(node, 200)


def set_metadata(account: Account, request: Request) -> Answer:
    """Set Directory Metadata: all of it."""
    node, metadata = existing(account.share(request, change=True), request, directory=True), request.metadata()
    node.metadata = metadata
    account.touch(node)
    return smb.done(node, 200)


def delete(account: Account, request: Request) -> Answer:
    """Delete Directory: an empty one."""
    node = existing(account.share(request, change=True), request, directory=True)
    if node.parent is None:
        raise Refused("CannotDeleteFileOrDirectory")
    if node.handle:
        raise Refused(node.handle)
    if node.children:
        raise Refused("DirectoryNotEmpty")
    account.drop(node)
    return Answer(202)


def listing(account: Account, request: Request) -> Answer:
    """List Directories and Files."""
    share = account.share(request)
    directory = existing(share, request, directory=True)
    include = {word for word in re.split("[,\x82]", request.query.get("include", "").lower()) if word}
    if include - _INCLUDE or (include and request.version < "2020-04-08"):
        raise Refused("InvalidQueryParameterValue")
    prefix, most = request.query.get("prefix", ""), page_size(request, account.page_limit)
    page, following = _page(account, directory, folded(prefix), marked(request.query.get("marker", "")), most)
    marker = marking(following) if following else ""
    extended = bool(include) or request.flag("x-ms-file-extended-info")
    shown = "".join(_entry(node, include, extended) for node in page)
    head = _head(account, request, share, directory, extended)
    end = f"<NextMarker>{marker}</NextMarker>" if marker else "<NextMarker />"
    return xml(f"{head}<Entries>{shown}</Entries>{end}</EnumerationResults>")


def marking(name: str) -> str:
    """The marker of a page that begins with a name, in the service's form."""
    text = base64.b64encode(name.encode()).decode()
    return f"1!{len(text)}!{text}"


def marked(marker: str) -> str:
    """The name that a marker holds, "" for none. Raises Refused for what is no marker."""
    try:
        _, size, text = marker.split("!") if marker else ("1", "0", "")
        if len(text) != int(size):
            raise Refused("InvalidQueryParameterValue")
        return base64.b64decode(text, validate=True).decode()
    except ValueError:
        raise Refused("InvalidQueryParameterValue") from None


def _page(account: Account, directory: Node, prefix: str, first: str, most: int) -> tuple[list[Node], str]:
    """The nodes of a page that begins with a name, or what follows it, and the name that the next one begins with."""
    nodes, at = directory.listed(account.order, first)
    if prefix:
        nodes, at = [node for node in nodes[at:] if folded(node.name).startswith(prefix)], 0
    return nodes[at : at + most], nodes[at + most].name if at + most < len(nodes) else ""


def _head(account: Account, request: Request, share: Share, directory: Node, extended: bool) -> str:
    path, encoded = attribute(directory.path())
    snapshot = f' ShareSnapshot="{share.snapshot}"' if share.snapshot else ""
    text = (
        f'<EnumerationResults ServiceEndpoint="{endpoint(account, request)}" ShareName="{share.name}"{snapshot}'
        f'{" Encoded=" + chr(34) + "true" + chr(34) if encoded else ""} DirectoryPath="{path}">'
    )
    if request.query.get("prefix"):
        text += element("Prefix", request.query["prefix"])
    if request.query.get("marker"):
        text += f"<Marker>{escape(request.query['marker'])}</Marker>"
    if request.query.get("maxresults"):
        text += f"<MaxResults>{escape(request.query['maxresults'])}</MaxResults>"
    return text + (f"<DirectoryId>{directory.id}</DirectoryId>" if extended else "")


def _entry(node: Node, include: set[str], extended: bool) -> str:
    tag = "Directory" if node.content is None else "File"
    known = f"<Content-Length>{node.content.size}</Content-Length>" if node.content is not None else ""
    if "timestamps" in include:
        known += (
            f"<CreationTime>{times.written(node.created)}</CreationTime>"
            f"<LastAccessTime>{times.written(node.accessed)}</LastAccessTime>"
            f"<LastWriteTime>{times.written(node.written)}</LastWriteTime>"
            f"<ChangeTime>{times.written(node.changed)}</ChangeTime>"
            f"<Last-Modified>{times.http(node.modified)}</Last-Modified>"
        )
    if "etag" in include:
        known += f"<Etag>{node.etag}</Etag>"
    text = f"<{tag}>{element('Name', node.name)}" + (f"<FileId>{node.id}</FileId>" if extended else "")
    text += f"<Properties>{known}</Properties>" if known else "<Properties />"
    if "attributes" in include:
        text += f"<Attributes>{smb.attributes_text(node.attributes)}</Attributes>"
    if "permissionkey" in include:
        text += f"<PermissionKey>{node.permission}</PermissionKey>"
    return f"{text}</{tag}>"
