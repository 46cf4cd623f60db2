"""Reads a repository by docs/format.md alone: nothing of dunlin is imported here.

It is slow, checks little, and shows that the page says everything that one must know.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard
from awscrt import checksums
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NONE = 0xFFFFFFFF
CODES = {"u1": "B", "u4": "I", "u8": "Q", "i8": "q"}


def derive(key: bytes, purpose: str) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=b"dunlin " + purpose.encode()).derive(key)


# ---- FlatBuffers ----


class Table:
    """A table: fields by their numbers in the schema."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at
        self._fields = at - struct.unpack_from("<i", data, at)[0]

    def place(self, field: int) -> int:
        size = struct.unpack_from("<H", self.data, self._fields)[0]
        at = 4 + 2 * field
        offset = struct.unpack_from("<H", self.data, self._fields + at)[0] if at < size else 0
        return self.at + offset if offset else 0

    def number(self, field: int, code: str) -> int:
        place = self.place(field)
        return int(struct.unpack_from(f"<{code}", self.data, place)[0]) if place else 0

    def vector(self, field: int, code: str) -> list[int]:
        place = self.place(field)
        if not place:
            return []
        start = place + struct.unpack_from("<I", self.data, place)[0]
        return list(struct.unpack_from(f"<{struct.unpack_from('<I', self.data, start)[0]}{code}", self.data, start + 4))

    def text(self, field: int) -> bytes:
        return bytes(self.vector(field, "B"))

    def tables(self, field: int) -> list[Table]:
        place = self.place(field)
        start = place + struct.unpack_from("<I", self.data, place)[0] + 4
        offsets = self.vector(field, "I")
        return [Table(self.data, start + 4 * at + offset) for at, offset in enumerate(offsets)]


def root(data: bytes, identifier: bytes) -> Table:
    assert data[4:8] == identifier
    return Table(data, struct.unpack_from("<I", data)[0])


# ---- the repository ----


class Book:
    """One tenant of a repository."""

    def __init__(self, folder: Path, password: bytes | None, tenant: str) -> None:
        self.folder, self.tenant = folder, tenant
        self.config = json.loads((folder / "dunlin-repository.json").read_bytes())
        assert self.config["format"] == 1
        self.sealed = self.config["encryption"] == "aes-256-gcm"
        key = self._tenant_key(password)
        self.chunk_key, self.data_key = derive(key, "chunk ids"), derive(key, "data")

    def _tenant_key(self, password: bytes | None) -> bytes:
        for slot in self.config["slots"]:
            if slot["kdf"] == "none":
                found = bytes.fromhex(slot["key"])
            else:
                assert password is not None
                salt, nonce, wrapped = (bytes.fromhex(slot[name]) for name in ("salt", "nonce", "wrapped"))
                wrapping = hashlib.scrypt(
                    password, salt=salt, n=slot["n"], r=slot["r"], p=slot["p"], maxmem=1 << 27, dklen=32
                )
                try:
                    found = AESGCM(wrapping).decrypt(nonce, wrapped, self._bound(slot))
                except InvalidTag:
                    continue
            if slot["tenant"] == self.tenant:
                return found
            if slot["tenant"] == "":
                return derive(found, f"tenant {self.tenant}")
        raise ValueError("no slot opens")

    def _bound(self, slot: dict[str, Any]) -> bytes:
        made = {name: value for name, value in self.config.items() if name != "slots"}
        text = json.dumps(made, sort_keys=True, separators=(",", ":"))
        return f"dunlin slot {slot['id']} {slot['tenant']} {text}".encode()

    def open_frame(self, key: str, data: bytes, offset: int) -> tuple[bytes, int]:
        """The content of the frame that stands at an offset of an object, and where the next one begins."""
        frame, end = data[offset:], 0
        if self.sealed:
            magic, length = struct.unpack_from("<II", frame)
            payload, end = frame[8 : 8 + length], offset + 8 + length
            cipher = AESGCM(derive(self.data_key, f"object {key}"))
            place = offset.to_bytes(12, "big")
            if magic == 0x184D2A50:
                frame = cipher.decrypt(place, payload, key.encode())
            else:
                assert magic == 0x184D2A51
                frame = cipher.decrypt(payload[:12], payload[12:], key.encode() + place)
        expand = zstandard.ZstdDecompressor().decompressobj()
        content = expand.decompress(frame)
        return content, end or len(data) - len(expand.unused_data)

    def open_long(self, key: str, data: bytes, offset: int) -> bytes:
        """The content of something that goes on in the next frame while there are 16 MiB in one."""
        whole, part = b"", None
        while part is None or len(part) == 16 << 20:
            part, offset = self.open_frame(key, data, offset)
            whole += part
        return whole

    def container(self, key: str) -> bytes:
        data, place, whole = (self.folder / key).read_bytes(), 0, b""
        while place < len(data):
            part, place = self.open_frame(key, data, place)
            whole += part
        return whole

    def snapshots(self, share: str) -> list[tuple[str, Table]]:
        keys = sorted(f"{self.tenant}/{share}/snapshots/{path.name}"
                      for path in (self.folder / self.tenant / share / "snapshots").iterdir())  # fmt: skip
        return [(key, root(self.container(key), b"DLSN")) for key in keys]

    def marks(self, key: str) -> set[str]:
        """The keys in marks."""
        head, *lines = self.container(key).decode().split("\n")
        if head == "dunlin marks 2":
            assert lines.pop() == f"end {len(lines)}"
        else:
            assert head == "dunlin marks 1"
        return set(lines)

    # ---- chunks ----

    def contained(self, folder: str) -> set[str]:
        """The pieces that need not be read, since others have what is in them."""
        found: set[str] = set()
        for path in (self.folder / folder).glob("*.joins"):
            head, *lines = self.container(f"{folder}/{path.name}").decode().split("\n")
            assert head == "dunlin joins 1"
            assert lines.pop() == f"end {len(lines)}"
            if all((self.folder / folder / line[2:]).exists() for line in lines if line[0] == "+"):
                found |= {line[2:] for line in lines if line[0] == "-"}
        return found

    def chunk_places(self, folder: str) -> dict[bytes, tuple[bytes, int, int, int]]:
        """From the first 16 bytes of ids: pack, offset and length of the frame, place of the content in it."""
        found = {}
        contained = self.contained(folder)
        for path in (self.folder / folder).iterdir():
            if path.name.endswith(".joins") or path.name in contained:
                continue
            data = self.container(f"{folder}/{path.name}")
            magic, version, _, count, packs, width = struct.unpack_from("<4sHHQII", data)
            assert (magic, version, width) == (b"DLCI", 1, 16)
            names = [data[24 + 16 * at :][:16] for at in range(packs)]
            at = 24 + 16 * packs
            high, low = (struct.unpack_from(f"<{count}Q", data, at + 8 * count * n) for n in (0, 1))
            at += 16 * count
            pack, offset, frame = (struct.unpack_from(f"<{count}I", data, at + 4 * count * n) for n in range(3))
            for row in range(count):
                half = high[row].to_bytes(8, "big") + low[row].to_bytes(8, "big")
                found[half] = names[pack[row]], offset[row], frame[row] >> 8, (frame[row] & 255) * 512
        return found

    def chunk(self, key: str, chunk: bytes, offset: int, length: int, inside: int) -> bytes:
        data = (self.folder / key).read_bytes()
        raw, end = self.open_frame(key, data, offset)
        assert end == offset + length
        header = raw[inside - 512 : inside]
        assert header[:64] == chunk.hex().encode()
        content = raw[inside : inside + int(header[124:135], 8)]
        assert blake3(content, key=self.chunk_key).digest() == chunk
        return content

    def pack_contents(self, key: str) -> list[tuple[bytes, int]]:
        """The ids and sizes in a pack's own table of contents."""
        data = (self.folder / key).read_bytes()
        start, _, version, _, magic = struct.unpack_from("<Q8sHH4s", data, len(data) - 24)
        assert (magic, version) == (b"DLPK", 1)
        assert struct.unpack_from("<II", data, start) == (0x184D2A5E, len(data) - start - 8)
        table, _ = self.open_frame(key, data[:-24], start + 8)
        frames, members = struct.unpack_from("<II", table)
        at = 8 + 8 * frames
        sizes = struct.unpack_from(f"<{members}I", table, at + 32 * members)
        return [(table[at + 32 * n :][:32], size) for n, size in enumerate(sizes)]

    # ---- the tree ----

    def columns(self, key: str) -> dict[str, list[int]]:
        """The columns of a segment, and "rows": directories, files."""
        data = self.container(key)
        assert data[:8] == b"DUNLTREE"
        version, order, _, names, count, directories, files, _, size = struct.unpack_from("<HHBBHQQQQ", data, 8)
        assert (version, order, names, size) == (1, 0x0102, 0, len(data))
        found: dict[str, list[int]] = {}
        for at in range(64, 64 + 64 * count, 64):
            raw, kind, coding, offset, length, _, value = struct.unpack_from("<16s2sB5xQQQQ", data, at)
            name = raw.rstrip(b"\0").decode()
            part = data[offset : offset + length]
            if coding == 1:
                found[name] = [value] * (directories if name.startswith("d.") else files)
            elif kind == b"u3":
                found[name] = [int.from_bytes(part[n : n + 3], "little") for n in range(0, length, 3)]
            else:
                code = CODES[kind.decode()]
                found[name] = list(struct.unpack(f"<{length // struct.calcsize('<' + code)}{code}", part))
        found["rows"] = [directories, files]
        return found

    def pages(self, key: str) -> tuple[list[Table], list[Table]]:
        """Metadata pages of directories, and of files."""
        data = (self.folder / key).read_bytes()
        start, bound, magic = struct.unpack_from("<Q8s4s", data, len(data) - 20)
        assert magic == b"DLPI"
        assert bound == checksums.crc64nvme(key.encode()).to_bytes(8, "big")
        index = self.open_long(key, data[:-20], start)
        version, _, _, directories, files, _, _ = struct.unpack_from("<HBBIIII", index)
        assert version == 1
        offsets = struct.unpack_from(f"<{directories + files}Q", index, 20)
        found = [root(self.open_long(key, data, offset), b"DLPG") for offset in offsets]
        return found[:directories], found[directories:]

    def everything(self, share: str, number: int) -> dict[str, tuple[int, int, bytes]]:
        """Mode, time of modification and content of everything in a snapshot, by path."""
        _, manifest = self.snapshots(share)[number]
        ids = [segment.text(0).decode() for segment in manifest.tables(15)]
        folder = f"{self.tenant}/{share}"
        segments = [self.columns(f"{folder}/tree/{name}") for name in ids]
        pages = [self.pages(f"{folder}/tree/{name}.pages") for name in ids]
        rows: dict[int, tuple[int, int]] = {}
        runs: dict[int, tuple[int, int, int]] = {}
        for at, each in enumerate(segments):
            for node in each["x.node"]:
                rows.pop(node, None)
            for row, node in enumerate(each["d.node"]):
                rows[node] = at, row
                if each["d.start"][row] != NONE:
                    runs[node] = at, each["d.start"][row], each["d.files"][row]
        places = {False: self.chunk_places(f"{self.tenant}/chunks"), True: self.chunk_places(f"{folder}/chunks")}
        found: dict[str, tuple[int, int, bytes]] = {}
        waiting = [(1, "")]
        while waiting:
            node, path = waiting.pop()
            for child, (at, row) in rows.items():
                each = segments[at]
                if each["d.parent"][row] == node:
                    name = bytes(each["d.names"][each["d.offset"][row] : each["d.offset"][row + 1]])
                    below = f"{path}{name.decode('utf-8', 'surrogateescape')}"
                    entry = each["d.page"][row]
                    page = pages[at][0][entry // 4096]
                    found[below] = mode_and_time(page, entry % 4096), b""
                    waiting.append((child, below + "/"))
            at, start, count = runs.get(node, (0, 0, 0))
            for row in range(start, start + count):
                page, entry = pages[at][1][row // 4096], row % 4096
                name = file_name(segments[at], row).decode("utf-8", "surrogateescape")
                found[path + name] = mode_and_time(page, entry), b"".join(self._content(folder, places, page, entry))
        return {path: (*facts, content) for path, (facts, content) in found.items()}

    def _content(self, folder: str, places: Any, page: Table, entry: int) -> Iterator[bytes]:
        yield bytes(page.vector(19, "B")[slice(*bounds(page, 14, entry))])  # of a symbolic link
        ids, lengths = bytes(page.vector(15, "B")), bytes(page.vector(16, "B"))
        for at in range(*bounds(page, 11, entry)):
            chunk = ids[32 * at : 32 * at + 32]
            small = chunk[:16] in places[True]
            pack, *place = places[small][chunk[:16]]
            name = pack.hex()
            key = f"{folder}/{name}" if small else f"{self.tenant}/packs/{name[:2]}/{name}"
            content = self.chunk(key, chunk, *place)
            assert len(content) == struct.unpack_from("<I", lengths, 4 * at)[0]
            yield content


def bounds(page: Table, field: int, entry: int) -> tuple[int, int]:
    """Where the items of an entry stand whose ends are in a field."""
    ends = page.vector(field, "I")
    return ends[entry - 1] if entry else 0, ends[entry]


def mode_and_time(page: Table, entry: int) -> tuple[int, int]:
    time = page.vector(4, "q")[entry]
    if time == -(1 << 63):
        seconds, rest = struct.unpack_from("<qI", bytes(page.vector(21, "B")), 12 * bounds(page, 20, entry)[0])
        time = seconds * 10**9 + rest
    return page.vector(1, "I")[entry], time


def file_name(segment: dict[str, list[int]], row: int) -> bytes:
    def length(at: int) -> int:
        known = segment["f.length"][at]
        return known if known != 255 else segment["f.long"][segment["f.long-row"].index(at)]

    first = row // 64 * 64
    start = segment["f.offset"][row // 64] + sum(length(at) for at in range(first, row))
    return bytes(segment["f.names"][start : start + length(row)])
