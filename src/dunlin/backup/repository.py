"""A repository: where its objects lie, how it is made and opened, and what a tenant's share may reach of it.

    dunlin-repository.json               plain JSON: format, id, sizes, encryption, append-only, key slots
    dunlin-repository.copy               the same once more, should the first be lost or cut short
    {tenant}/packs/{xx}/{pack}           chunks of larger files, for all shares of the tenant
    {tenant}/chunks/{segment}            chunk index of these
    {tenant}/chunks/{id}.joins           which pieces of it others contain (`pieces`)
    {tenant}/leases/{share}.{token}      backups that are going on
    {tenant}/marks/{id}                  packs that a prune wants removed
    {tenant}/verified/{id}               when packs were found whole
    {tenant}/{share}/{pack}              bundles: small files, for this share alone
    {tenant}/{share}/chunks/{segment}    chunk index of the bundles, and .joins as above
    {tenant}/{share}/tree/{segment}      tree segments, and .pages with the metadata of their nodes
    {tenant}/{share}/snapshots/{name}    manifests

Every object but the first two, the leases and the packs is a *sealed container* (`frames.seal`). All of them are
written once under a random name and never changed; leases and the first two objects are the exceptions. So a reader
needs no lock, and what it has read once it may keep (`cache`): files that are mapped into memory lie there unpacked,
and have checksums of their own; manifests lie there as they are stored, since their frames are what proves them whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from dunlin.backup import room
from dunlin.backup.cache import Cache, Unpacked
from dunlin.backup.chunker import SIZES, Sizes, identifier, identify
from dunlin.backup.frames import Codec, seal, unseal
from dunlin.backup.keys import Secrets, Slot, begin_slots, bound, make_slot, new_key, open_slots
from dunlin.backup.objects import Found, Objects
from dunlin.backup.words import GROUP, SMALL, ChunkId, check_name, is_name, new_id
from dunlin.errors import DunlinError, ErrorKind, usage

if TYPE_CHECKING:  # to open a repository takes no numpy: that is loaded while the password is tried
    from dunlin.backup import chunks
    from dunlin.backup.manifest import Manifest, SegmentRef

CONFIG = "dunlin-repository.json"
COPY = "dunlin-repository.copy"
FORMAT = 1

LATEST = "latest"
"""What people call the newest snapshot."""

T = TypeVar("T")

_SNAPSHOT = re.compile(r"(\d{8}T\d{6}\.\d{6}Z)-([0-9a-f]{32})")
_OBJECT = re.compile(r"[0-9a-f]{32}")


class Settings(NamedTuple):
    """What is chosen when a repository is made, and holds for good.

    Attributes:
        chunks: lengths between which content is cut.
        small: bytes below which a file is one chunk in a bundle.
        group: raw bytes that are compressed as one frame.
        append_only: nothing is removed through this program, leases excepted.
    """

    chunks: Sizes = SIZES
    small: int = SMALL
    group: int = GROUP
    append_only: bool = False


class SnapshotName(NamedTuple):
    """What the key of a manifest tells."""

    time: str
    id: str
    key: str

    @property
    def moment(self) -> int:
        """Its time, ns since 1970, to the microsecond."""
        when = datetime.strptime(self.time, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
        return (when - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1) * 1000


def meant(names: Sequence[SnapshotName], text: str) -> list[SnapshotName]:
    """Those of some snapshots, oldest first, that a person may mean: `LATEST`, or the beginning of an id or a time."""
    if text == LATEST:
        return list(names[-1:])
    return [name for name in names if text and (name.id.startswith(text) or name.time.startswith(text))]


class Repository:
    """An open repository.

    Attributes:
        id: 32 hexadecimal digits.
        objects: what it is made of.
        settings: see `Settings`.
        secrets: what the password opened.
        slots: the key slots as they were when it was opened.
        cache: of what was read; None: nothing is kept.
    """

    def __init__(self, objects: Objects, config: dict[str, Any], secrets: Secrets, cache: Path | None = None) -> None:
        self.objects, self.secrets = objects, secrets
        self.id = str(config["id"])
        self.settings = _settings(config)
        self.slots: list[Slot] = list(config["slots"])
        self._config = config
        self._folder = cache
        self.cache = Cache(cache / self.id) if cache is not None else None
        objects.append_only = self.settings.append_only

    def again(self, objects: Objects) -> Repository:
        """The same repository for another process: through `objects`, with the keys that are open already."""
        return Repository(objects, self._config, self.secrets, self._folder)

    def told(self, tenant: str) -> tuple[dict[str, Any], Secrets, Path | None]:
        """What it is made of beside its objects, for a process that needs one tenant and nothing else. Raises AUTH."""
        keys = {tenant: self.secrets.raw(tenant)}
        return self._config, Secrets(None, keys, sealed=self.secrets.sealed), self._folder

    def tenants(self) -> list[str]:
        """The names of the tenants that have anything in it. What else lies there is passed over."""
        return sorted(filter(is_name, self.objects.directories("")))

    def shares(self, tenant: str) -> list[str]:
        """The names of a tenant's shares. What else lies there is passed over."""
        return sorted(filter(is_name, self.objects.directories(check_name("tenant", tenant))))

    def area(self, tenant: str, share: str) -> Area:
        """What one share may reach. Raises USAGE for odd names, AUTH when the password is another tenant's."""
        return Area(self, check_name("tenant", tenant), check_name("share", share))

    def add_password(self, password: bytes, tenant: str = "") -> str:
        """Let another password open it, or only one tenant of it; the new slot's id. Raises AUTH."""
        key = self.secrets.raw(check_name("tenant", tenant)) if tenant else self.secrets.master
        if key is None:
            raise DunlinError(
                "add a password to", self.objects.url, ErrorKind.AUTH, "this password is that of a tenant"
            )
        slot = make_slot(self._config, key, password, tenant)
        self._change_slots(lambda slots: [*slots, slot])
        return str(slot["id"])

    def remove_password(self, slot: str) -> None:
        """Take a slot away. Raises USAGE for one that is not there, or is the last of its kind, and AUTH.

        Only the password of everything, or of its own tenant, takes one away.
        """

        def without(slots: list[Slot]) -> list[Slot]:
            left = [each for each in slots if each["id"] != slot]
            if len(left) == len(slots):
                raise usage(f"there is no key slot {slot!r}", f"there are {', '.join(str(s['id']) for s in slots)}")
            tenant = next(each["tenant"] for each in slots if each["id"] == slot)
            if self.secrets.master is None:
                if not tenant:
                    reason = "this password is that of a tenant"
                    raise DunlinError("remove a password from", self.objects.url, ErrorKind.AUTH, reason)
                self.secrets.raw(tenant)
            if not any(each["tenant"] == tenant for each in left) and (not tenant or self.secrets.master is None):
                what = f"the tenant {tenant}" if tenant else "the repository"
                raise usage(f"key slot {slot} is the last that opens {what}", "add another password first")
            return left

        self._change_slots(without)

    def unpacked(
        self, key: str, codec: Codec, size: int | None = None, digest: bytes = b"", *, sealed: bool = False
    ) -> Unpacked:
        """A sealed container as memory: from the cache, where it is put first if it is not there.

        Args:
            size: bytes that it must have.
            digest: their BLAKE3; asked of what is fetched.
            sealed: it is small, and lies in the cache as it is stored.

        Raises NOT_FOUND, CORRUPT.
        """
        cache, found = self.cache, None
        if cache is not None and sealed:
            found = cache.get(key)
            if found is None:
                found = self.objects.get(key)
                cache.put(key, [found])
            return b"".join(unseal(codec, bytes(found)))
        if cache is not None:
            found = cache.get(key)
            if found is None or size not in (None, len(found)):
                cache.put(key, _digested(unseal(codec, self.objects.pieces(key)), key, digest))
                found = cache.get(key)
        if found is None:
            found = b"".join(_digested(unseal(codec, self.objects.pieces(key)), key, digest))
        return _checked(found, key, size)

    def parsed(
        self, key: str, codec: Codec, parse: Callable[[Unpacked], T], size: int | None = None, digest: bytes = b"",
        *, sealed: bool = False,
    ) -> T:  # fmt: skip
        """What `parse` makes of a sealed container; see `unpacked`. Raises CORRUPT, and what `parse` raises.

        Where that is CORRUPT of a copy in the cache, the copy is thrown away, and the object is read once more.
        """
        kept = self.cache is not None and self.cache.path(key) is not None
        try:
            return parse(self.unpacked(key, codec, size, digest, sealed=sealed))
        except DunlinError as error:
            if error.kind is not ErrorKind.CORRUPT or not kept or self.cache is None:
                raise
        self.cache.drop(key)
        return parse(self.unpacked(key, codec, size, digest, sealed=sealed))

    def adopt(self, key: str, path: Path) -> None:
        """Take an unpacked file that was just stored under `key` into the cache; it is moved or left alone."""
        if self.cache is not None:
            self.cache.adopt(key, path)

    @property
    def beside(self) -> Path | None:
        """Where the cache lies, and temporary files as large as what is in it; None: there is none."""
        return self._folder

    def cached(self, key: str) -> Path | None:
        """The unpacked copy of an object in the cache, or None."""
        return self.cache.path(key) if self.cache is not None else None

    def close(self) -> None:
        """Give back what the store holds."""
        self.objects.close()

    def _change_slots(self, change: Callable[[list[Slot]], list[Slot]]) -> None:
        """Store other slots. One of the two objects is whole at every moment, also of a power cut."""
        config = _read_config(self.objects)  # others may have changed passwords meanwhile
        if bound(config) != bound(self._config):
            reason = "its configuration was changed since it was opened"
            raise DunlinError("change the passwords of", self.objects.url, ErrorKind.CORRUPT, reason)
        config["slots"] = change(list(config["slots"]))
        for key in (CONFIG, COPY):
            self.objects.put(key, _to_json(config))
            self.objects.sync()
        self._config, self.slots = config, config["slots"]


class Area:
    """What a share of a tenant may reach of a repository: its own objects and the tenant's chunks."""

    def __init__(self, repository: Repository, tenant: str, share: str) -> None:
        self.repository, self.tenant, self.share = repository, tenant, share
        self.objects = repository.objects
        self.keys = repository.secrets.tenant(tenant)
        self.identify = identify(self.keys.chunk)
        self.root = f"{tenant}/{share}"

    def identifier(self) -> Callable[[bytes | memoryview], ChunkId]:
        """What `identify` does, for one thread that has many small chunks."""
        return identifier(self.keys.chunk)

    def codec(self, key: str) -> Codec:
        """What makes and opens the frames of the object under `key`."""
        return Codec(self.keys, key)

    def pack_key(self, pack: str, small: bool) -> str:
        """The key of a pack: of small files (a bundle of the share), or of chunks of larger ones."""
        return f"{self.root}/{pack}" if small else f"{self.tenant}/packs/{pack[:2]}/{pack}"

    def chunk_directory(self, small: bool) -> str:
        """Where the segments of the chunk index lie, of bundles or of packs."""
        return f"{self.root if small else self.tenant}/chunks"

    def packs(self, small: bool) -> dict[bytes, Found]:
        """The packs that are stored: bundles of the share, or packs of its tenant, by their ids (16 bytes)."""
        return dict(self.each_pack(small))

    def each_pack(self, small: bool) -> Iterator[tuple[bytes, Found]]:
        """The same one after the other, as they are listed."""
        for each in self.objects.each(self.root) if small else self.objects.below(f"{self.tenant}/packs"):
            name = each.key.rpartition("/")[2]
            if _OBJECT.fullmatch(name):
                yield bytes.fromhex(name), each

    def put_container(self, key: str, data: bytes | memoryview) -> int:
        """Store a sealed container; bytes of the object."""
        sealed = seal(self.codec(key), data)
        self.objects.put(key, sealed, if_absent=True)
        return len(sealed)

    def stored(self, key: str) -> Iterator[bytes]:
        """The data of a sealed container as the store holds it, piece by piece. Raises NOT_FOUND, CORRUPT."""
        return unseal(self.codec(key), self.objects.pieces(key))

    def tree(self, ref: SegmentRef) -> Iterator[bytes]:
        """A tree segment as the store holds it, piece by piece.

        Raises NOT_FOUND, and CORRUPT, behind the last piece where all of them are not what the snapshot names.
        """
        key = f"{self.root}/tree/{ref.id}"
        return _digested(self.stored(key), key, ref.digest or b"none")

    def chunk_segments(
        self, small: bool, damaged: list[DunlinError] | None = None
    ) -> list[tuple[str, chunks.Segment]]:
        """The segments of the chunk index, each with its object's key, without those that others hold (`pieces.read`).

        What is wrong with those that cannot be read is added to `damaged`; None: it is raised, CORRUPT.
        """
        from dunlin.backup import pieces

        return pieces.read(self, small, damaged)

    def put_chunk_segment(self, segment: chunks.Segment, small: bool) -> str:
        """Store a segment of the chunk index; its key."""
        from dunlin.backup import chunks

        key = f"{self.chunk_directory(small)}/{new_id()}"
        data = chunks.to_bytes(segment)
        self.put_container(key, data)
        if self.repository.cache is not None:
            self.repository.cache.put(key, [data])
        return key

    def snapshots(self) -> list[SnapshotName]:
        """The share's snapshots, oldest first, as their keys tell."""
        found = []
        for each in self.objects.list(f"{self.root}/snapshots"):
            match = _SNAPSHOT.fullmatch(each.key.rpartition("/")[2])
            if match:
                found.append(SnapshotName(match[1], match[2], each.key))
        self._tidy(found)
        return sorted(found)

    def _tidy(self, listed: list[SnapshotName]) -> None:
        """Throw away what the cache holds of snapshots that are gone, and trees of which none that it holds speaks."""
        cache, directory = self.repository.cache, f"{self.root}/snapshots"
        names = {each.key.rpartition("/")[2]: each for each in listed}
        held = cache.names(directory) if cache is not None else set()
        if cache is None or held <= names.keys():
            return
        needed: set[str] = set()
        for name in held & names.keys():
            with suppress(DunlinError):
                needed |= {ref.id for ref in self.manifest(names[name]).segments}
        cache.keep(f"{self.root}/tree", needed)
        cache.keep(directory, names.keys())

    def manifest(self, name: SnapshotName, *, stored: bool = False) -> Manifest:
        """What a snapshot is; `stored`: whatever the cache says. Raises NOT_FOUND, CORRUPT, NEWER."""
        from dunlin.backup import manifest

        parse = partial(manifest.from_bytes, where=name.key)
        if stored:
            found = parse(b"".join(self.stored(name.key)))
        else:
            codec = self.codec(name.key)
            found = self.repository.parsed(name.key, codec, lambda data: parse(bytes(data)), sealed=True)
        if found.key != name.key:
            raise DunlinError("read the snapshot", name.key, ErrorKind.CORRUPT, "its manifest is that of another one")
        return found

    def manifests(self, damaged: list[tuple[SnapshotName, DunlinError]] | None = None) -> list[Manifest]:
        """What all snapshots are, oldest first. One that cannot be read is added to `damaged`; None: it is raised."""
        found = []
        for name in self.snapshots():
            try:
                found.append(self.manifest(name))
            except DunlinError as error:
                if error.kind is ErrorKind.NOT_FOUND:
                    continue  # it was forgotten in this moment
                if error.kind is not ErrorKind.CORRUPT or damaged is None:
                    raise
                damaged.append((name, error))
        return found

    def put_manifest(self, new: Manifest) -> None:
        """Make a snapshot appear. Raises EXISTS."""
        from dunlin.backup import manifest

        sealed = seal(self.codec(new.key), manifest.to_bytes(new))
        self.objects.put(new.key, sealed, if_absent=True)
        if self.repository.cache is not None:
            self.repository.cache.put(new.key, [sealed])

    def resolve(self, text: str) -> SnapshotName:
        """The snapshot that `text` means: ``latest``, the beginning of an id, or of a time. Raises NOT_FOUND, USAGE."""
        names = self.snapshots()
        if not names:
            raise DunlinError("find a snapshot of", self.root, ErrorKind.NOT_FOUND, "there is none yet")
        found = meant(names, text)
        if len(found) > 1:
            raise usage(f"{text!r} could be {len(found)} snapshots of {self.root}", "give more of the id")
        if not found:
            hint = "dunlin snapshots lists them"
            raise DunlinError("find the snapshot", f"{self.root}:{text}", ErrorKind.NOT_FOUND, "there is none", hint)
        return found[0]


def init(objects: Objects, password: bytes | None, settings: Settings, cache: Path | None = None) -> Repository:
    """Make a repository; `password` None: not encrypted. Raises EXISTS where there is one already."""
    config: dict[str, Any] = {
        "format": FORMAT,
        "id": new_id(),
        "chunker": settings.chunks._asdict(),
        "small": settings.small,
        "group": settings.group,
        "encryption": "none" if password is None else "aes-256-gcm",
        "append_only": settings.append_only,
    }
    config["slots"] = [make_slot(config, new_key(), password)]
    try:
        objects.put(CONFIG, _to_json(config), if_absent=True)
    except DunlinError as error:
        if error.kind is not ErrorKind.EXISTS:
            raise
        raise DunlinError(
            "make a repository at", objects.url, ErrorKind.EXISTS, "there is one already", "choose another place"
        ) from error
    objects.put(COPY, _to_json(config))
    if not settings.append_only:
        room.keep(objects)
    objects.sync()
    return Repository(objects, config, open_slots(config, password), cache)


def open_repository(
    objects: Objects, password: Callable[[], bytes | None], cache: Path | None = None,
    known: Callable[[], bytes | None] | None = None,
) -> Repository:  # fmt: skip
    """Open the repository at a place.

    Args:
        password: asked for it where the repository is encrypted.
        cache: directory in which what was read stays; None: nothing does.
        known: asked where it is not encrypted whether there is a password; None: `password` is, since it asks nobody.

    Raises NOT_FOUND when there is none, CORRUPT when its first object cannot be read, NEWER, and AUTH: the password is
    missing or wrong, or there is one and the repository says that it is not encrypted. Who can write to the store can
    let it say that.
    """
    return begin_opening(objects, password, cache, known)()


def begin_opening(
    objects: Objects, password: Callable[[], bytes | None], cache: Path | None = None,
    known: Callable[[], bytes | None] | None = None,
) -> Callable[[], Repository]:  # fmt: skip
    """As `open_repository`, in two steps: the password is being tried when this returns, and the call waits for it."""
    try:
        config = _read_config(objects)
    except DunlinError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
        hint = "dunlin repo init makes one"
        raise DunlinError("open", objects.url, ErrorKind.NOT_FOUND, "there is no repository", hint) from error
    if config["encryption"] == "none":
        if (known or password)():
            reason = "there is a password for it, and it says that it is not encrypted"
            hint = "it is another repository, or somebody has changed it; if it never was, leave the password out"
            raise DunlinError("open the repository", "", ErrorKind.AUTH, reason, hint)
        opened = begin_slots(config, None)
    else:
        opened = begin_slots(config, password())
    return lambda: Repository(objects, config, opened(), cache)


def _read_config(objects: Objects) -> dict[str, Any]:
    try:
        return _from_json(objects.get(CONFIG), objects.url)
    except DunlinError as error:
        if error.kind not in (ErrorKind.NOT_FOUND, ErrorKind.CORRUPT):
            raise
        wrong = error
    with suppress(DunlinError):  # what is wrong with the first is told
        return _from_json(objects.get(COPY), objects.url)
    raise wrong


def _to_json(config: dict[str, Any]) -> bytes:
    return json.dumps(config, indent=1).encode() + b"\n"


def _from_json(raw: bytes, where: str) -> dict[str, Any]:
    try:
        config = json.loads(raw)
        if config["format"] > FORMAT:
            reason = f"its format is {config['format']}, this dunlin reads up to {FORMAT}"
            raise DunlinError("open the repository", where, ErrorKind.NEWER, reason, "use a newer dunlin")
        _settings(config)
        known = config["encryption"] in ("none", "aes-256-gcm") and _OBJECT.fullmatch(config["id"])
        if not (known and config["slots"] and isinstance(config["slots"], list)):
            raise ValueError("what it says makes no sense")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{CONFIG} cannot be read; it was cut short, or is no file of dunlin"
        raise DunlinError("open the repository", where, ErrorKind.CORRUPT, reason) from error
    return dict(config)


def _settings(config: dict[str, Any]) -> Settings:
    sizes = Sizes(**{name: int(config["chunker"][name]) for name in Sizes._fields})
    return Settings(sizes, int(config["small"]), int(config["group"]), bool(config["append_only"]))


def _digested(pieces: Iterable[bytes], key: str, digest: bytes) -> Iterator[bytes]:
    """The pieces of a container. Raises CORRUPT behind the last where all of them together are something else."""
    if not digest:
        yield from pieces
        return
    from blake3 import blake3

    found = blake3()
    for piece in pieces:
        found.update(piece)
        yield piece
    if found.digest() != digest:
        raise DunlinError("read the object", key, ErrorKind.CORRUPT, "it is not what its snapshot names")


def _checked(data: Unpacked, key: str, size: int | None) -> Unpacked:
    if size is not None and len(data) != size:
        reason = f"it holds {len(data)} bytes where the snapshot names {size}"
        raise DunlinError("read the object", key, ErrorKind.CORRUPT, reason)
    return data
