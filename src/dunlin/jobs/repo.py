"""Repositories: making and opening them, the passwords that do, what is stored in one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dunlin.backup import repository
from dunlin.backup.objects import Found, Objects
from dunlin.backup.repository import Area, Repository, Settings
from dunlin.backup.stages import Stages
from dunlin.backup.words import check_name
from dunlin.errors import DunlinError, ErrorKind, usage
from dunlin.pace.stop import Stop
from dunlin.report import Event, Level, Report
from dunlin.stores.base import MakesDirs, Store, power
from dunlin.stores.login import Login
from dunlin.stores.open import Far, is_far, open_store, shown_place

if TYPE_CHECKING:  # what opens a repository is loaded before the password is tried, all else meanwhile
    from dunlin.backup import rebuild

Password = Callable[[], bytes | None]
"""Asked for the password, and only where one is needed; None: there is none."""


class Place(NamedTuple):
    """Where a repository lies.

    Attributes:
        url: of its location; login: what lets us in there.
        cache: directory in which what was read stays; None: nothing does.
        timeout, request_timeout: see `jobs.options.SyncOptions`.
    """

    url: str
    login: Login = Login()
    cache: str | None = None
    timeout: float = 30.0
    request_timeout: float = 300.0


class Slot(NamedTuple):
    """A password of a repository: the id of its key slot, and the tenant that it opens, "" for everything."""

    id: str
    tenant: str


class Kept(NamedTuple):
    """Objects of one kind: how many, and their bytes."""

    objects: int
    bytes: int


class Stats(NamedTuple):
    """What a repository holds, of one tenant or of all.

    Attributes:
        kinds: by kind: packs, bundles, indexes, trees, snapshots.
        chunks: chunks in packs and bundles, once each.
        source_bytes: of all files of all snapshots together; newest_bytes: of the newest snapshot of each share.
        new_bytes: content that the backups of these snapshots had to store; stored_bytes: what it took.
    """

    tenants: int
    shares: int
    kinds: dict[str, Kept]
    chunks: int
    source_bytes: int
    newest_bytes: int
    new_bytes: int
    stored_bytes: int

    @property
    def bytes(self) -> int:
        """Everything together."""
        return sum(kind.bytes for kind in self.kinds.values())

    @property
    def ratio(self) -> float:
        """Bytes of files in all snapshots for each byte in packs and bundles; 0: unknown.

        Deduplication and compression together. Which of them gave what is known of each backup (its manifest), not of
        what is left when some of them are forgotten.
        """
        content = self.kinds["packs"].bytes + self.kinds["bundles"].bytes
        return self.source_bytes / content if content else 0.0


def store_of(place: Place, report: Report | None = None) -> Store:
    """The store at a place; `report` is told which login of a chain answered. Raises USAGE."""

    def answered(name: str) -> None:
        if report is not None:
            url = shown_place(place.url)
            report.event(Event(Level.INFO, "login.answered", f"logged in to {url} by {name}", {"login": name}))

    if not is_far(place.url):
        return open_store(place.url)
    far = Far(login=place.login, idle=place.timeout, total=place.request_timeout, start=True, on_login=answered)
    return open_store(place.url, far=far)


def open_at(
    place: Place, password: Password, report: Report | None = None, known: Password | None = None
) -> Repository:
    """The repository at a place. Raises NOT_FOUND, AUTH, CORRUPT, NEWER, and what the store raises.

    `known`: tells the password as far as nobody has to be asked; None: `password` asks nobody.
    """
    return begin_opening(place, password, report, known)()


def begin_opening(
    place: Place, password: Password, report: Report | None = None, known: Password | None = None
) -> Callable[[], Repository]:
    """As `open_at`, in two steps: the password is being tried when this returns, and the call waits for it."""
    store = store_of(place, report)
    try:
        begun = repository.begin_opening(Objects(store), password, _cache(place), known)
    except DunlinError:
        store.close()
        raise

    def opened() -> Repository:
        try:
            return begun()
        except DunlinError:
            store.close()
            raise

    return opened


def again(place: Place, opened: Repository) -> Repository:
    """An open repository for another process: nothing is asked, neither for a password nor of the store."""
    return opened.again(Objects(store_of(place)))


def init(place: Place, password: bytes | None, settings: Settings) -> Repository:
    """Make a repository; `password` None: it is not encrypted.

    Raises USAGE where there is one or something else, or the password is empty.
    """
    if password is not None and not password:
        raise usage("an empty password protects nothing", "--no-encryption says that nothing is to be encrypted")
    store = store_of(place)
    try:
        _room(store, place)
        return repository.init(Objects(store), password, settings, _cache(place))
    except DunlinError as error:
        store.close()
        if error.kind is not ErrorKind.EXISTS:
            raise
        shown = shown_place(place.url)
        raise DunlinError(error.operation, shown, ErrorKind.USAGE, error.reason, error.hint) from error


def _cache(place: Place) -> Path | None:
    return Path(place.cache) if place.cache else None


def _room(store: Store, place: Place) -> None:
    """Make the directory, or see that nothing but a half-made repository is there."""
    shown = shown_place(place.url)
    makes = power(store, MakesDirs) if store.caps.directories else None
    if makes is not None:
        try:
            makes.make_directory("", 0o700)
        except DunlinError as error:
            if error.kind is ErrorKind.NOT_FOUND:
                hint = "the directory above it is missing: make it, or check the path"
                raise DunlinError("make a repository at", shown, error.kind, error.reason, hint) from error
            if error.kind is not ErrorKind.EXISTS:
                raise
    from dunlin.jobs.pair import is_empty

    if is_empty(store):
        return
    names = [name for batch in store.list("") for name, _ in batch]
    if repository.CONFIG in names or all(name.startswith(".dunlin-") for name in names):
        return  # the one is told by who makes it; the others were left by somebody who was cut short
    reason = "other things are there, and nothing makes out a repository among them"
    raise DunlinError("make a repository at", shown, ErrorKind.USAGE, reason, "name an empty or a new directory")


# ---- passwords ----


def slots(opened: Repository) -> list[Slot]:
    """The passwords of a repository that this one has a say in; one without encryption has none."""
    found = [Slot(str(each["id"]), str(each["tenant"])) for each in opened.slots if each["kdf"] != "none"]
    return found if opened.secrets.master is not None else [each for each in found if each.tenant in visible(opened)]


def add_password(opened: Repository, password: bytes, tenant: str = "") -> Slot:
    """Let another password open everything, or one tenant. Raises USAGE, AUTH."""
    _encrypted(opened)
    if not password:
        raise usage("an empty password protects nothing")
    return Slot(opened.add_password(password, tenant), tenant)


def remove_password(opened: Repository, slot: str) -> None:
    """Take a password away. Raises USAGE for one that is not there, or is the last of its kind, AUTH."""
    _encrypted(opened)
    found = [each.id for each in slots(opened) if each.id.startswith(slot)] if slot else []
    opened.remove_password(found[0] if len(found) == 1 else slot)


def _encrypted(opened: Repository) -> None:
    if not opened.secrets.sealed:
        raise usage("the repository is not encrypted, and has no passwords", "that is decided when it is made")


# ---- what is stored ----


def stats(opened: Repository, tenant: str | None = None) -> Stats:
    """Count what is stored, of one tenant or of all that the password opens."""
    tenants = [check_name("tenant", tenant)] if tenant else visible(opened)
    kinds = {name: Kept(0, 0) for name in ("packs", "bundles", "indexes", "trees", "snapshots")}
    shares = chunks = source = newest = new = stored = 0
    for name in tenants:
        names = opened.shares(name)
        shares += len(names)
        _add(kinds, "packs", opened.objects.below(f"{name}/packs"))
        _add(kinds, "indexes", opened.objects.list(f"{name}/chunks"))
        for number, share in enumerate(names):
            area = opened.area(name, share)
            chunks += _distinct(area, True) + (_distinct(area, False) if number == 0 else 0)
            _add(kinds, "bundles", opened.objects.list(area.root))
            _add(kinds, "indexes", opened.objects.list(f"{area.root}/chunks"))
            _add(kinds, "trees", opened.objects.list(f"{area.root}/tree"))
            _add(kinds, "snapshots", opened.objects.list(f"{area.root}/snapshots"))
            made = [each.totals for each in area.manifests([])]
            source += sum(each.bytes for each in made)
            newest += made[-1].bytes if made else 0
            new += sum(each.new_bytes for each in made)
            stored += sum(each.stored_bytes for each in made)
    return Stats(len(tenants), shares, kinds, chunks, source, newest, new, stored)


def visible(opened: Repository) -> list[str]:
    """The tenants that the password opens and that hold anything."""
    found = []
    for name in opened.tenants():
        try:
            opened.secrets.raw(name)
        except DunlinError:
            continue
        found.append(name)
    return found


def rebuild_index(
    opened: Repository, tenant: str | None, who: str, report: Report | None = None, stop: Stop | None = None
) -> rebuild.Rebuilt:
    """Make the chunk index anew from the packs, and damaged trees from their pages.

    `tenant`: whose; None: of all that the password opens. `who`: shown to others who want to prune. Raises LOCKED,
    INTERRUPTED.
    """
    from dunlin.backup import mend, rebuild

    done, stages = rebuild.Rebuilt(), Stages("rebuild the index", report, stop)
    for name in [check_name("tenant", tenant)] if tenant else visible(opened):
        each = rebuild.chunk_index(opened, name, who, stages=stages)
        done.packs, done.chunks = done.packs + each.packs, done.chunks + each.chunks
        done.damaged += each.damaged
        done.trees += mend.trees(opened, name, who, stages=stages)
    return done


def _add(kinds: dict[str, Kept], name: str, found: Iterable[Found]) -> None:
    sizes = [each.size for each in found]
    kinds[name] = Kept(kinds[name].objects + len(sizes), kinds[name].bytes + sum(sizes))


def _distinct(area: Area, small: bool) -> int:
    """Chunks in the index of bundles or packs, once each."""
    from dunlin.backup import marks
    from dunlin.backup.chunks import merge

    return len(merge([segment for _, segment in marks.stored_segments(area, small)]))
