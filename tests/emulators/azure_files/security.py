"""Security descriptors: SDDL to the self-relative binary form and back, and the key of each.

**Formats** ([MS-DTYP] 2.4.6 and 2.5.1). The binary form is a header of 20 bytes (revision, flags, four offsets), then
owner, group, SACL and DACL. An ACL is a header of 8 bytes and its ACEs; an ACE has type, flags, size, access mask and
a SID; a SID has revision, count, a 48-bit authority and 32-bit sub-authorities. SDDL writes the same as
`O:BAG:SYD:PAI(A;OICI;FA;;;BA)`.

The share keeps the binary form, so a descriptor has one key however it came, and can be read in either format (Create
and Get Permission, `x-ms-file-permission-format`, 2024-11-04 and later). ACE types other than allow, deny, audit and
mandatory label have no SDDL here: Get Permission then answers CannotConvertToSddlDueToCustomAce, as the service does
for conditional and custom ACEs. SIDs of a domain have no alias, so `O:DA` and its like are refused.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterator, Mapping

from tests.emulators.azure_files.wire import Refused

LARGEST = 8 * 1024
_SELF_RELATIVE = 0x8000
_ACL = r"[A-Z]*(?:\([^()]*\))*"
_FORM = re.compile(rf"(?:O:(?P<O>[^:()]*?))?(?:G:(?P<G>[^:()]*?))?(?:D:(?P<D>{_ACL}))?(?:S:(?P<S>{_ACL}))?")
_ALIASES = {
    "WD": "S-1-1-0", "CO": "S-1-3-0", "CG": "S-1-3-1", "OW": "S-1-3-4", "NU": "S-1-5-2", "IU": "S-1-5-4",
    "SU": "S-1-5-6", "AN": "S-1-5-7", "PS": "S-1-5-10", "AU": "S-1-5-11", "RC": "S-1-5-12", "SY": "S-1-5-18",
    "LS": "S-1-5-19", "NS": "S-1-5-20", "BA": "S-1-5-32-544", "BU": "S-1-5-32-545", "BG": "S-1-5-32-546",
    "PU": "S-1-5-32-547", "AO": "S-1-5-32-548", "SO": "S-1-5-32-549", "PO": "S-1-5-32-550", "BO": "S-1-5-32-551",
    "RE": "S-1-5-32-552", "LW": "S-1-16-4096", "ME": "S-1-16-8192", "HI": "S-1-16-12288", "SI": "S-1-16-16384",
}  # fmt: skip
_RIGHTS = {
    "GA": 1 << 28, "GX": 1 << 29, "GW": 1 << 30, "GR": 1 << 31, "RC": 1 << 17, "SD": 1 << 16, "WD": 1 << 18,
    "WO": 1 << 19, "FA": 0x1F01FF, "FR": 0x120089, "FW": 0x120116, "FX": 0x1200A0, "CC": 1, "DC": 2, "LC": 4, "SW": 8,
    "RP": 16, "WP": 32, "DT": 64, "LO": 128, "CR": 256, "NW": 1, "NR": 2, "NX": 4,
}  # fmt: skip
_TYPES = {"A": 0, "D": 1, "AU": 2, "ML": 0x11}
_ACE_FLAGS = {"OI": 1, "CI": 2, "NP": 4, "IO": 8, "ID": 16, "SA": 64, "FA": 128}
_DACL_FLAGS = {"AI": 0x0400, "AR": 0x0100, "P": 0x1000}
_SACL_FLAGS = {"AI": 0x0800, "AR": 0x0200, "P": 0x2000}


def binary(sddl: str) -> bytes:
    """The binary form of a descriptor. Raises Refused when it is not one; `O:` and `G:` must be there, as the
    service demands."""
    if len(sddl.encode()) > LARGEST:
        raise Refused("FilePermissionTooLarge")
    match = _FORM.fullmatch(sddl)
    if match is None or not match["O"] or not match["G"] or match["D"] is None:
        raise Refused("FileInvalidPermission")
    owner, group = _sid(match["O"]), _sid(match["G"])
    dacl_flags, dacl = _acl(match["D"], _DACL_FLAGS)
    control, sacl = _SELF_RELATIVE | 4 | dacl_flags, b""
    if match["S"] is not None:
        sacl_flags, sacl = _acl(match["S"], _SACL_FLAGS)
        control |= 0x10 | sacl_flags
    at, offsets = 20, []
    for part in (owner, group, sacl, dacl):
        offsets.append(at if part else 0)
        at += len(part)
    return struct.pack("<BBHIIII", 1, 0, control, *offsets) + owner + group + sacl + dacl


def sddl(descriptor: bytes) -> str:
    """The SDDL of a binary descriptor. Raises Refused when it has none, or is no descriptor."""
    try:
        _, _, control, owner, group, sacl, dacl = struct.unpack_from("<BBHIIII", descriptor)
        text = f"O:{_sid_text(descriptor, owner)}G:{_sid_text(descriptor, group)}"
        if control & 4:
            text += f"D:{_flags_text(control, _DACL_FLAGS)}{_aces_text(descriptor, dacl)}"
        if control & 0x10:
            text += f"S:{_flags_text(control, _SACL_FLAGS)}{_aces_text(descriptor, sacl)}"
    except struct.error:
        raise Refused("FileInvalidPermission") from None
    return text


def checked(descriptor: bytes) -> bytes:
    """A binary descriptor that came over the wire. Raises Refused when it cannot be one."""
    if len(descriptor) > LARGEST:
        raise Refused("FilePermissionTooLarge")
    if len(descriptor) < 20 or descriptor[0] != 1 or not descriptor[3] & 0x80:
        raise Refused("FileInvalidPermission")
    return descriptor


def inherited(above: bytes, *, directory: bool) -> bytes:
    """What a new file or directory has from a directory's descriptor: its owner and group, and the entries that are
    handed down ([MS-DTYP] 2.5.3.4; "creator owner" stays as it is, CREATOR GROUP too)."""
    _, _, control, owner, group, _, dacl = struct.unpack_from("<BBHIIII", above)
    aces = []
    for kind, flags, mask, sid in _aces(above, dacl) if control & 4 else ():
        if directory and flags & 3:
            only = 8 if not flags & 2 else 8 if sid in _CREATORS else 0
            aces.append((kind, (flags & 3) | only | 16, mask, sid))
        elif not directory and flags & 1:
            aces.append((kind, 16, mask, sid))
    body = b"".join(struct.pack("<BBHI", kind, flags, 8 + len(sid), mask) + sid for kind, flags, mask, sid in aces)
    acl = struct.pack("<BBHHH", 2, 0, 8 + len(body), len(aces), 0) + body
    parts = [_sid_bytes(above, owner), _sid_bytes(above, group)]
    offsets = (20, 20 + len(parts[0]), 0, 20 + len(parts[0]) + len(parts[1]))
    return struct.pack("<BBHIIII", 1, 0, _SELF_RELATIVE | 4 | _DACL_FLAGS["AI"], *offsets) + b"".join(parts) + acl


def _sid_bytes(data: bytes, at: int) -> bytes:
    return data[at : at + 8 + 4 * data[at + 1]]


def _aces(data: bytes, at: int) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, mask and all that follows the mask of each entry of an ACL."""
    count = struct.unpack_from("<H", data, at + 4)[0]
    at += 8
    for _ in range(count):
        kind, flags, size, mask = struct.unpack_from("<BBHI", data, at)
        yield kind, flags, mask, data[at + 8 : at + size]
        at += size


def key_of(share: str, descriptor: bytes) -> str:
    """The permission key of a descriptor in a share: two 64-bit numbers, as the service's look."""
    digest = hashlib.blake2b(share.encode() + b"\0" + descriptor, digest_size=16).digest()
    return "*".join(str(int.from_bytes(half)) for half in (digest[:8], digest[8:]))


def _sid(text: str) -> bytes:
    text = _ALIASES.get(text, text)
    if not re.fullmatch(r"S-1-\d{1,15}(-\d{1,10}){1,15}", text):
        raise Refused("FileInvalidPermission")
    authority, *rest = map(int, text.split("-")[2:])
    if authority >= 1 << 48 or max(rest) >= 1 << 32:
        raise Refused("FileInvalidPermission")
    return bytes((1, len(rest))) + authority.to_bytes(6) + struct.pack(f"<{len(rest)}I", *rest)


_CREATORS = (_sid("CO"), _sid("CG"))
_NAMES = {sid: alias for alias, sid in _ALIASES.items()}


def _sid_text(data: bytes, at: int) -> str:
    revision, count = struct.unpack_from("<BB", data, at)
    rest = struct.unpack_from(f"<{count}I", data, at + 8)
    text = "-".join(map(str, ("S", revision, int.from_bytes(data[at + 2 : at + 8]), *rest)))
    return _NAMES.get(text, text)


def _acl(text: str, control: Mapping[str, int]) -> tuple[int, bytes]:
    words, flags = text.partition("(")[0], 0
    for word, bit in sorted(control.items(), reverse=True):
        if word in words:
            words, flags = words.replace(word, "", 1), flags | bit
    if words:
        raise Refused("FileInvalidPermission")
    aces = [_ace(inner) for inner in re.findall(r"\(([^()]*)\)", text)]
    body = b"".join(aces)
    return flags, struct.pack("<BBHHH", 2, 0, 8 + len(body), len(aces), 0) + body


def _ace(text: str) -> bytes:
    parts = text.split(";")
    if len(parts) != 6 or parts[0] not in _TYPES or parts[3] or parts[4]:
        raise Refused("FileInvalidPermission")
    kind, flags, rights, _, _, who = parts
    sid = _sid(who)
    return struct.pack("<BBHI", _TYPES[kind], _bits(flags, _ACE_FLAGS), 8 + len(sid), _mask(rights)) + sid


def _mask(rights: str) -> int:
    if re.fullmatch(r"0x[0-9a-fA-F]{1,8}", rights):
        return int(rights, 16)
    return _bits(rights, _RIGHTS)


def _bits(words: str, known: Mapping[str, int]) -> int:
    found = 0
    for at in range(0, len(words), 2):
        if words[at : at + 2] not in known:
            raise Refused("FileInvalidPermission")
        found |= known[words[at : at + 2]]
    return found


def _flags_text(control: int, known: Mapping[str, int]) -> str:
    return "".join(word for word in ("P", "AR", "AI") if control & known[word])


_WHOLE = {mask: word for word, mask in _RIGHTS.items() if word in ("FA", "FR", "FW", "FX", "GA", "GX", "GW", "GR")}


def _aces_text(data: bytes, at: int) -> str:
    text, kinds = "", {code: kind for kind, code in _TYPES.items()}
    for kind, flags, mask, sid in _aces(data, at):
        if kind not in kinds:
            raise Refused("CannotConvertToSddlDueToCustomAce")
        words = "".join(word for word, bit in _ACE_FLAGS.items() if flags & bit)
        text += f"({kinds[kind]};{words};{_WHOLE.get(mask, hex(mask))};;;{_sid_text(sid, 0)})"
    return text


DEFAULT_DESCRIPTOR = binary(
    "O:SYG:SYD:(A;OICI;FA;;;BA)(A;OICI;FA;;;SY)(A;OICI;0x1301bf;;;AU)(A;OICIIO;GA;;;CO)(A;OICI;0x1200a9;;;BU)"
)
"""What the root of a new share has."""
