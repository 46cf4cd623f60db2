"""Operations on the account and on whole shares, from the reference pages of the same names."""

from __future__ import annotations

import base64
import json
import re
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from tests.emulators.azure_files import security, times
from tests.emulators.azure_files.names import share_name
from tests.emulators.azure_files.smb import descriptor
from tests.emulators.azure_files.tree import Account, Share, copied, etag
from tests.emulators.azure_files.wire import Answer, Refused, Request, xml

MOST_SNAPSHOTS = 200
LARGEST_QUOTA = 102_400
_OFF = "<Enabled>false</Enabled>"
_NO_METRICS = f"<Version>1.0</Version>{_OFF}<RetentionPolicy>{_OFF}</RetentionPolicy>"
_PROPERTIES = (
    f"<StorageServiceProperties><HourMetrics>{_NO_METRICS}</HourMetrics><MinuteMetrics>{_NO_METRICS}</MinuteMetrics>"
    "<Cors /><ProtocolSettings><SMB><Multichannel>" + _OFF + "</Multichannel></SMB></ProtocolSettings>"
    "</StorageServiceProperties>"
)


def get_service_properties(account: Account, request: Request) -> Answer:
    """Get File Service Properties."""
    answer = xml(_PROPERTIES)
    answer.body = account.properties or answer.body
    return answer


def set_service_properties(account: Account, request: Request) -> Answer:
    """Set File Service Properties: kept as they came."""
    _parsed(request.body)
    account.properties = request.body
    return Answer(202)


def _parsed(body: bytes) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(body)
    except ElementTree.ParseError:
        raise Refused("InvalidXmlDocument") from None


def list_shares(account: Account, request: Request) -> Answer:
    """List Shares, by name; the snapshots of a share stand before it, as the base share is the newest."""
    include = set(filter(None, request.query.get("include", "").lower().split(",")))
    if include - {"metadata", "snapshots", "deleted"}:
        raise Refused("InvalidQueryParameterValue")
    prefix, most = request.query.get("prefix", ""), page_size(request, 5000)
    marker = opened(request.query.get("marker", ""), "shares")
    found = [
        (f"{name}\0{when or '~'}", each)
        for name, share in sorted(account.shares.items())
        for when, each in [*(share.snapshots.items() if "snapshots" in include else ()), ("", share)]
        if name.startswith(prefix)
    ]
    left = [(key, share) for key, share in found if key > marker]
    shown = "".join(_share_xml(share, "metadata" in include) for _, share in left[:most])
    following = closed("shares", left[most - 1][0]) if len(left) > most else ""
    given = "".join(
        f"<{tag}>{escape(request.query[name])}</{tag}>"
        for name, tag in (("prefix", "Prefix"), ("marker", "Marker"), ("maxresults", "MaxResults"))
        if request.query.get(name)
    )
    end = f"<NextMarker>{following}</NextMarker>" if following else "<NextMarker />"
    return xml(
        f'<EnumerationResults ServiceEndpoint="{endpoint(account, request)}">{given}<Shares>{shown}</Shares>{end}'
        "</EnumerationResults>"
    )


def _share_xml(share: Share, metadata: bool) -> str:
    text = f"<Share><Name>{share.name}</Name>"
    if share.snapshot:
        text += f"<Snapshot>{share.snapshot}</Snapshot>"
    text += (
        f"<Properties><Last-Modified>{times.http(share.modified)}</Last-Modified><Etag>{escape(share.etag)}</Etag>"
        f"<Quota>{share.quota}</Quota><AccessTier>{share.tier}</AccessTier>"
        f"<LeaseStatus>{'locked' if share.lease.state == 'leased' else 'unlocked'}</LeaseStatus>"
        f"<LeaseState>{share.lease.state}</LeaseState></Properties>"
    )
    if metadata:
        text += "<Metadata>" + "".join(f"<{k}>{escape(v)}</{k}>" for k, v in share.metadata.items()) + "</Metadata>"
    return text + "</Share>"


def page_size(request: Request, limit: int) -> int:
    """`maxresults`, 5,000 at most. Raises Refused when it is no positive number."""
    text = request.query.get("maxresults", "5000")
    if not re.fullmatch(r"-?\d+", text):
        raise Refused("InvalidQueryParameterValue")
    if int(text) <= 0:
        raise Refused("OutOfRangeQueryParameterValue")
    return min(int(text), limit, 5000)


def closed(*parts: str) -> str:
    """A marker: nothing that a client could make or read by chance."""
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


def opened(marker: str, *about: str) -> str:
    """What `closed` hid behind `about`, "" for no marker. Raises Refused for a marker of another listing."""
    if not marker:
        return ""
    try:
        *known, value = json.loads(base64.urlsafe_b64decode(marker))
    except ValueError:
        raise Refused("InvalidQueryParameterValue") from None
    if tuple(known) != about:
        raise Refused("InvalidQueryParameterValue")
    return str(value)


def endpoint(account: Account, request: Request) -> str:
    """The account's address as the client knows it."""
    return escape(f"http://{request.headers.get('host', '127.0.0.1')}/{account.name}/", {'"': "&quot;"})


def create(account: Account, request: Request) -> Answer:
    """Create Share."""
    name = share_name(request.path[0])
    if account.leaving.get(name, 0) > account.clock():
        raise Refused("ShareBeingDeleted")
    if name in account.shares:
        raise Refused("ShareAlreadyExists")
    share = account.new_share(name, _quota(request) or 5120)
    share.metadata, share.tier = request.metadata(), request.headers.get("x-ms-access-tier", share.tier)
    account.shares[name] = share
    return _done(share, 201)


def _quota(request: Request) -> int | None:
    quota = request.number("x-ms-share-quota", 1)
    if quota is not None and quota > LARGEST_QUOTA:
        raise Refused("InvalidHeaderValue")
    return quota


def _done(share: Share, status: int) -> Answer:
    return Answer(status, {"ETag": share.etag, "Last-Modified": times.http(share.modified)})


def get_properties(account: Account, request: Request) -> Answer:
    """Get Share Properties, Get Share Metadata."""
    share = account.share(request)
    answer = _done(share, 200)
    answer.headers |= {f"x-ms-meta-{name}": value for name, value in share.metadata.items()}
    answer.headers |= {"x-ms-share-quota": str(share.quota), "x-ms-access-tier": share.tier, **share.lease.headers()}
    answer.headers["x-ms-enabled-protocols"] = "SMB"
    return answer


def set_properties(account: Account, request: Request) -> Answer:
    """Set Share Properties: quota and tier."""
    share = _changed(account, request)
    share.quota = _quota(request) or share.quota
    share.tier = request.headers.get("x-ms-access-tier", share.tier)
    return _done(share, 200)


def set_metadata(account: Account, request: Request) -> Answer:
    """Set Share Metadata: all of it."""
    metadata = request.metadata()
    share = _changed(account, request)
    share.metadata = metadata
    return _done(share, 200)


def _changed(account: Account, request: Request) -> Share:
    share = account.share(request, change=True)
    share.modified = account.now()
    share.etag = etag(share.modified)
    return share


def delete(account: Account, request: Request) -> Answer:
    """Delete Share, or one snapshot of it."""
    share = account.share(request)
    if share.snapshot:
        del account.shares[share.name].snapshots[share.snapshot]
        return Answer(202)
    share.lease.check(request)
    snapshots_too = request.headers.get("x-ms-delete-snapshots", "").lower() in ("include", "include-leased")
    if share.snapshots and not snapshots_too:
        raise Refused("ShareHasSnapshots")
    del account.shares[share.name]
    account.leaving[share.name] = account.clock() + int(account.deleting_s * times.TICKS)
    return Answer(202)


def snapshot(account: Account, request: Request) -> Answer:
    """Snapshot Share: named by its time in whole seconds, with the share's metadata unless the request has some."""
    share = account.share(request, change=True)
    if len(share.snapshots) >= MOST_SNAPSHOTS:
        raise Refused("ShareSnapshotCountExceeded")
    second = account.now() // times.TICKS
    while (when := times.written(second * times.TICKS)) in share.snapshots:
        second += 1
    taken = Share(
        share.name, copied(share.root, None), share.quota, share.etag, share.modified,
        request.metadata() or dict(share.metadata), share.permissions, share.tier, snapshot=when,
    )  # fmt: skip
    share.snapshots[when] = taken
    answer = _done(share, 201)
    answer.headers["x-ms-snapshot"] = when
    return answer


def stats(account: Account, request: Request) -> Answer:
    """Get Share Stats: what is allocated, where the service says "approximate"."""
    share = account.share(request)
    answer = xml(f"<ShareStats><ShareUsageBytes>{share.used()}</ShareUsageBytes></ShareStats>")
    answer.headers |= _done(share, 200).headers
    return answer


def create_permission(account: Account, request: Request) -> Answer:
    """Create Permission: JSON with `permission` and, since 2024-11-04, `format`."""
    share = account.share(request, change=True)
    try:
        given = json.loads(request.body)
        text, form = given["permission"], given.get("format") or "sddl"
    except (ValueError, TypeError, KeyError):
        raise Refused("InvalidInput") from None
    return Answer(201, {"x-ms-file-permission-key": share.keep(descriptor(text, form, request.version))})


def get_permission(account: Account, request: Request) -> Answer:
    """Get Permission in either format."""
    share = account.share(request)
    kept = share.permissions.get(request.needed("x-ms-file-permission-key"))
    if kept is None:
        raise Refused("FileInvalidPermissionKey")
    form = request.headers.get("x-ms-file-permission-format", "sddl").lower()
    if form == "binary" and request.version >= "2024-11-04":
        found = {"format": "binary", "permission": base64.b64encode(kept).decode()}
    elif form == "sddl":
        found = {"permission": security.sddl(kept)}
    else:
        raise Refused("InvalidHeaderValue")
    return Answer(200, {"Content-Type": "application/json"}, json.dumps(found).encode())


def get_policies(account: Account, request: Request) -> Answer:
    """Get Share ACL: the stored access policies."""
    share = account.share(request)
    answer = xml("<SignedIdentifiers />")
    answer.body = share.policies or answer.body
    answer.headers |= _done(share, 200).headers
    return answer


def set_policies(account: Account, request: Request) -> Answer:
    """Set Share ACL: up to five stored access policies."""
    if request.body and len(list(_parsed(request.body))) > 5:
        raise Refused("InvalidXmlDocument")
    share = _changed(account, request)
    share.policies = request.body
    return _done(share, 200)
