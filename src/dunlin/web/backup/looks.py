"""What is asked of repositories, by pages and by the API: plain questions and plain answers.

All of it waits for a store and is called by `Vaults.ask`. Lists are bounded, and what walks through a whole tree is
given some seconds (`PATIENCE`); an answer that was cut short says so.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

from dunlin.errors import DunlinError, ErrorKind
from dunlin.web.backup.words import Late, patience, raw, text, tidy

if TYPE_CHECKING:
    from dunlin.backup.manifest import Manifest
    from dunlin.backup.objects import Found
    from dunlin.backup.retention import Policy
    from dunlin.backup.tree.columns import Ints
    from dunlin.backup.tree.paging import Sums
    from dunlin.backup.tree.view import Directory, File, Tree
    from dunlin.jobs.forget import Fate
    from dunlin.web.vaults import Vault

Times = Callable[[], "dict[bytes, int]"]
"""When each pack was last found whole, ns since 1970: read when it is asked for."""

PATIENCE = 5.0
"""Seconds that a search, a sum or a comparison may take before it says what it has."""

HITS = 500
"""Names that a search finds at most."""

OLD, OLD_FAR = 30.0, 300.0
"""Seconds that the figures of a share are good, nearby and where they cost requests."""

MANY = 20_000
"""Directories in a directory whose sums are kept."""

KINDS = {
    stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device",
}  # fmt: skip


# ---- shares and their snapshots ----


class Kept(NamedTuple):
    """Objects of a kind, and their bytes."""

    objects: int
    bytes: int


class Checked(NamedTuple):
    """What verifications have read of some packs. Bytes; times in ns since 1970, None: never.

    It is summed up while packs are listed, and that is all that is kept of them: a list of millions would be a GB.

    Attributes:
        packs, bytes: all of them. whole, whole_bytes: those that were found whole.
        oldest: the time of the one that was not read for longest, None where one never was; newest: of the last.
    """

    packs: int
    bytes: int
    whole: int
    whole_bytes: int
    oldest: int | None
    newest: int | None

    @property
    def kept(self) -> Kept:
        """All of them."""
        return Kept(self.packs, self.bytes)


class Share(NamedTuple):
    """A share: how many snapshots it has, the newest of them, and what was verified of its bundles."""

    name: str
    snapshots: int
    newest: Manifest | None
    checked: Checked


class Some(NamedTuple):
    """Some snapshots of a share, the newest first; `more`: how far one has come, None at the end."""

    share: str
    total: int
    snapshots: list[Manifest]
    more: int | None


class Usage(NamedTuple):
    """What a share takes, and what it stands for. Bytes.

    Attributes:
        bundles, indexes, trees, manifests: objects of the share alone.
        packs: chunks of larger files, which all shares of the tenant use together.
        snapshots: how many there are; source_bytes: of the files in all of them, newest_bytes: in the newest.
        new_bytes: content that their backups had to store; stored_bytes: what that took.
        checked: of bundles and packs.
    """

    share: str
    bundles: Kept
    indexes: Kept
    trees: Kept
    manifests: Kept
    packs: Kept
    snapshots: int
    source_bytes: int
    newest_bytes: int
    new_bytes: int
    stored_bytes: int
    checked: Checked

    @property
    def ratio(self) -> float:
        """Bytes of files for each byte that their backups stored; 0: none was."""
        return self.source_bytes / self.stored_bytes if self.stored_bytes else 0.0


def shares(vault: Vault) -> list[Share]:
    """The shares of a tenant."""
    times = cache(partial(_times, vault))
    found = []
    for name in vault.shares():
        try:
            names = vault.names(name)
            # One that is damaged hides neither its share nor the others; `verify` tells of it.
            newest = next((found for each in reversed(names) for found in vault.manifests(name, [each])), None)
        except DunlinError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
            names, newest = [], None
        found.append(Share(name, len(names), newest, _bundles(vault, name, times)))
    return found


def snapshots(vault: Vault, share: str, start: int = 0, count: int = 50, tag: str = "") -> Some:
    """Snapshots of a share, the newest first, from the one with this number on. Raises NOT_FOUND."""
    names = vault.names(share)[::-1]
    if tag:
        marked = [each for each in vault.manifests(share, names) if tag in each.tags]
        return Some(share, len(marked), marked[start : start + count], _next(start, count, len(marked)))
    found = vault.manifests(share, names[start : start + count])
    return Some(share, len(names), found, _next(start, count, len(names)))


def usage(vault: Vault, share: str) -> Usage:
    """What a share takes. Raises NOT_FOUND."""
    return _usage(vault, share, cache(partial(_times, vault)))


def _usage(vault: Vault, share: str, times: Times) -> Usage:
    names = vault.names(share)

    def make() -> Usage:
        area = vault.area(share)
        packs, bundles = _packs(vault, times), _bundles(vault, share, times)
        made = [each.totals for each in vault.manifests(share, names)]

        def kept(directory: str) -> Kept:
            return _kept(area.objects.each(f"{area.root}/{directory}"))

        return Usage(
            share, bundles.kept, kept("chunks"), kept("tree"), kept("snapshots"), packs.kept,
            len(made), sum(each.bytes for each in made), made[-1].bytes if made else 0,
            sum(each.new_bytes for each in made), sum(each.stored_bytes for each in made),
            _together([bundles, packs]),
        )  # fmt: skip

    return vault.answers.get(("usage", share, names[-1].id), make, _good_for(vault))


def total(vault: Vault) -> Usage:
    """What all shares of a tenant take together; `share` is "", and packs count once."""
    found, times = [], cache(partial(_times, vault))
    packs = _packs(vault, times)
    checked = [packs]
    for name in vault.shares():
        try:
            found.append(_usage(vault, name, times))
        except DunlinError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
            continue  # it has no snapshot yet, or no more
        checked.append(_bundles(vault, name, times))
    return Usage(
        "", _all(each.bundles for each in found), _all(each.indexes for each in found),
        _all(each.trees for each in found), _all(each.manifests for each in found), packs.kept,
        sum(each.snapshots for each in found), sum(each.source_bytes for each in found),
        sum(each.newest_bytes for each in found), sum(each.new_bytes for each in found),
        sum(each.stored_bytes for each in found), _together(checked),
    )  # fmt: skip


def preview(vault: Vault, share: str, policy: Policy) -> list[Fate]:
    """What a policy would keep of a share, newest first; nothing is removed. Raises NOT_FOUND, USAGE without a rule."""
    from dunlin.jobs.forget import judge

    if not any(policy):
        raise DunlinError("decide what is kept", "", ErrorKind.USAGE, "no rule says what is kept")
    return judge(vault.manifests(share, vault.names(share)), policy)


def _good_for(vault: Vault) -> float:
    return OLD_FAR if vault.far else OLD


def _bundles(vault: Vault, share: str, times: Times) -> Checked:
    def make() -> Checked:
        return _checked(vault.area(share).each_pack(True), times())

    return vault.answers.get(("bundles", share), make, _good_for(vault))


def _packs(vault: Vault, times: Times) -> Checked:
    """Those that the shares of a tenant use together."""

    def make() -> Checked:
        names = vault.shares()
        return _checked(vault.area(names[0]).each_pack(False) if names else (), times())

    return vault.answers.get("packs", make, _good_for(vault))


def _times(vault: Vault) -> dict[bytes, int]:
    """The ledger of verifications: a row for each pack, so it is read where something is summed up, and let go."""
    from dunlin.backup import verified

    names = vault.shares()
    return verified.read(vault.area(names[0])) if names else {}


def _checked(packs: Iterable[tuple[bytes, Found]], times: Mapping[bytes, int]) -> Checked:
    count = size = whole = whole_size = 0
    oldest: int | None = None
    newest: int | None = None
    for pack, found in packs:
        count, size = count + 1, size + found.size
        at = times.get(pack)
        if at is not None:
            whole, whole_size = whole + 1, whole_size + found.size
            oldest = at if oldest is None else min(oldest, at)
            newest = at if newest is None else max(newest, at)
    return Checked(count, size, whole, whole_size, oldest if whole == count else None, newest)


def _together(parts: Sequence[Checked]) -> Checked:
    """The same of all packs of some parts, which have none in common."""
    packs, whole = sum(each.packs for each in parts), sum(each.whole for each in parts)
    oldest = (each.oldest for each in parts if each.oldest is not None)
    newest = (each.newest for each in parts if each.newest is not None)
    return Checked(
        packs, sum(each.bytes for each in parts), whole, sum(each.whole_bytes for each in parts),
        min(oldest, default=None) if whole == packs else None, max(newest, default=None),
    )  # fmt: skip


def _all(parts: Iterable[Kept]) -> Kept:
    some = list(parts)
    return Kept(sum(each.objects for each in some), sum(each.bytes for each in some))


def _kept(found: Iterable[Found]) -> Kept:
    count = size = 0
    for each in found:
        count, size = count + 1, size + each.size
    return Kept(count, size)


def _next(start: int, count: int, total: int) -> int | None:
    return start + count if start + count < total else None


# ---- in a snapshot ----


class Name(NamedTuple):
    """A name in a snapshot. `size` in bytes, `mtime` ns since 1970; `below`: (directories, files, bytes) in it."""

    path: str
    kind: str
    size: int
    mtime: int
    below: tuple[int, int, int] | None = None

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]


class Folder(NamedTuple):
    """A part of a directory: its names, directories first; how many there are; `below`: all that lies in it."""

    snapshot: Manifest
    path: str
    mtime: int
    names: list[Name]
    directories: int
    files: int
    below: tuple[int, int, int] | None
    more: int | None


class Details(NamedTuple):
    """One name with everything that is known of it. `target`: of a link; `torn`: it changed while it was read."""

    snapshot: Manifest
    name: Name
    mode: int
    uid: int | None
    gid: int | None
    links: int
    target: str
    content: bool
    torn: bool


class Hits(NamedTuple):
    """Names that fit. `whole`: nothing was left out."""

    snapshot: Manifest
    names: list[Name]
    whole: bool


def kind(vault: Vault, snapshot: Manifest, path: str) -> str:
    """What stands at a path: a word of `KINDS`. Raises NOT_FOUND."""
    return name_of(node_at(vault.tree(snapshot), snapshot, path), path).kind


def folder(
    vault: Vault, snapshot: Manifest, path: str, order: str = "name", down: bool = False, start: int = 0,
    count: int = 200, sums: bool = True,
) -> Folder:  # fmt: skip
    """A part of a directory, from the name with this number on. Raises NOT_FOUND, USAGE for what is none.

    `sums`: say what each directory holds altogether.
    """
    from dunlin.backup.tree import paging
    from dunlin.backup.tree.view import File

    path, tree = tidy(path), vault.tree(snapshot)
    node = node_at(tree, snapshot, path)
    if isinstance(node, File):
        raise DunlinError("list", path, ErrorKind.USAGE, "it is no directory")
    handles = paging.children(tree, node.node)
    total = _sums(vault, tree, snapshot, node, handles) if sums or order == "size" else None
    found = paging.page(tree, node.node, handles, total, order, start, count, down=down)
    names = [name_of(row.node, f"{path}/{text(row.node.name)}" if path else text(row.node.name), row.below)
             for row in found.rows]  # fmt: skip
    below = None
    if total is not None:
        whole = (int(total.directories.sum()), int(total.files.sum()), int(total.size.sum()))
        below = (whole[0] + 1, whole[1] + node.files, whole[2] + node.size)
    return Folder(
        snapshot, path, node.mtime, names, found.directories, found.files, below,
        _next(start, count, found.directories + found.files),
    )  # fmt: skip


def _sums(vault: Vault, tree: Tree, snapshot: Manifest, node: Directory, handles: Ints) -> Sums | None:
    from dunlin.backup.tree import paging

    def make() -> Sums | None:
        try:
            return paging.sums(tree, handles, patience(PATIENCE))
        except Late:
            return None

    return vault.large.get(("sums", snapshot.id, node.node), make) if 0 < len(handles) <= MANY else make()


def details(vault: Vault, snapshot: Manifest, path: str) -> Details:
    """Everything that is known of a name. Raises NOT_FOUND, IO where it is damaged."""
    from dunlin.backup.tree.columns import CHANGED, NO_CONTENT
    from dunlin.model import GID, MODE, NLINK, UID

    path = tidy(path)
    node = node_at(vault.tree(snapshot), snapshot, path)
    store = vault.looking(snapshot)
    facts = store.stat(path).facts
    target = store.read_link(path) if stat.S_ISLNK(facts[MODE]) else ""
    return Details(
        snapshot, name_of(node, path), facts[MODE], facts[UID], facts[GID], facts[NLINK] or 1, target,
        snapshot.content and not node.flags & NO_CONTENT, bool(node.flags & CHANGED),
    )  # fmt: skip


def search(
    vault: Vault, snapshot: Manifest, pattern: str, path: str = "", *, ignore_case: bool = True, count: int = HITS
) -> Hits:
    """The names below a directory that fit a pattern, or hold it where it has no wildcards. Raises NOT_FOUND, USAGE."""
    from dunlin.backup.tree.find import find
    from dunlin.backup.tree.view import File

    path, tree = tidy(path), vault.tree(snapshot)
    node = node_at(tree, snapshot, path)
    if isinstance(node, File):
        raise DunlinError("search", path, ErrorKind.USAGE, "it is no directory")
    if not pattern:
        raise DunlinError("search", "", ErrorKind.USAGE, "what for? give a pattern, or a part of a name")
    wanted = pattern if any(each in pattern for each in "*?[") else f"*{pattern}*"
    names: list[Name] = []
    look = patience(PATIENCE)
    try:
        for hit in find(tree, wanted, ignore_case=ignore_case, node=node.node, look=look):
            if len(names) == count:
                return Hits(snapshot, names, False)
            names.append(name_of(hit.row, text(hit.path)))
            look()
    except Late:
        return Hits(snapshot, names, False)
    return Hits(snapshot, names, True)


def node_at(tree: Tree, snapshot: Manifest, path: str) -> Directory | File:
    """What stands at a path of a snapshot. Raises NOT_FOUND."""
    found = tree.lookup(raw(tidy(path)))
    if found is None:
        raise DunlinError("find", path, ErrorKind.NOT_FOUND, f"snapshot {snapshot.id[:8]} holds no such thing")
    return found


def name_of(node: Directory | File, path: str, below: tuple[int, int, int] | None = None) -> Name:
    """A row of a tree as a name at a path."""
    from dunlin.backup.tree.view import File

    if isinstance(node, File):
        return Name(path, KINDS.get(node.kind, "other"), node.size, node.mtime)
    return Name(path, "directory", 0, node.mtime, below)
