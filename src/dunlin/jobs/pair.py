"""A pair before its run: which two places, how they lie to each other, what they can hold."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace

from dunlin.errors import DunlinError, ErrorKind, printable, translate, usage
from dunlin.jobs.options import SyncOptions
from dunlin.plan import Policy
from dunlin.stores.base import Caps, MakesDirs, Store, power
from dunlin.stores.local.writing import WriteOptions
from dunlin.stores.open import canonical_url, local_path, open_store
from dunlin.stores.probe import probe_case
from dunlin.workers.context import TEMPORARY


@dataclass(slots=True)
class PairOfStores:
    """Both stores, opened, and how they lie to each other.

    Attributes:
        source, target: canonical URLs, without credentials.
        source_store, target_store: opened for this process.
        target_exists: the destination's root was there.
        roots: device and inode of each root that is local.
        skip_source, skip_target: paths that never take part (one side lies in the other, the backup directory).
        caps: what the destination can hold; case and Unicode form of names were tried out.
        backup, backup_prefix: as in `workers.setup.Setup`.
    """

    source: str
    target: str
    source_store: Store
    target_store: Store
    caps: Caps
    target_exists: bool = True
    skip_source: frozenset[str] = frozenset()
    skip_target: frozenset[str] = frozenset()
    roots: frozenset[tuple[int, int]] = frozenset()
    backup: str = ""
    backup_prefix: str = ""


def open_pair(options: SyncOptions, token: str = "0") -> PairOfStores:
    """Open both sides and check that they can be a pair; makes the destination's root unless this is a dry run.

    `token` names the run in temporary files.

    Raises USAGE, NOT_FOUND, DENIED, READ_ONLY: everything that makes a run pointless from the start.
    """
    source_url, target_url = canonical_url(options.source), canonical_url(options.destination)
    if source_url == target_url:
        raise usage(f"source and destination are the same place: {options.source}")
    source, target = open_store(source_url), open_store(target_url, options=WriteOptions(run_id=token))
    try:
        _check_source(source, options.source)
        exists = _check_target(target, options)
        pair = PairOfStores(source_url, target_url, source, target, target.caps, exists)
        _nesting(pair)
        if options.backup_dir:
            _backup(pair, options.backup_dir, make=options.mode == "sync")
        return pair
    except DunlinError:
        source.close()
        target.close()
        raise


def probe_target(pair: PairOfStores, shown: str, token: str, dead: frozenset[str]) -> None:
    """Find out what the destination does with names, and at the same time whether it can be written to at all.

    The caller has the lock. `dead`: tokens of runs cut short, whose temporary files in the root are removed, for a
    continued run need not come there. Raises READ_ONLY, NO_SPACE and what else writing raises.
    """
    target = pair.target_store
    try:
        if dead:
            left = [name for batch in target.list("") for name, _ in batch if _is_left(name, dead)]
            target.delete(left)
        case, form = probe_case(target, token)
        pair.caps = replace(target.caps, case_sensitive=case, preserves_form=form)
    except DunlinError as error:
        if error.kind is ErrorKind.DENIED:
            error = DunlinError("write to the destination", shown, ErrorKind.READ_ONLY, error.reason)
        if not error.hint:
            error.hint = "check its permissions, its mount options and its free space"
        raise error from None


def _is_left(name: str, dead: frozenset[str]) -> bool:
    match = TEMPORARY.fullmatch(name)
    return match is not None and match[1] in dead


def _check_source(source: Store, shown: str) -> None:
    try:
        source.stat("")
        path = local_path(source.url)
        if path is not None:
            os.scandir(path).close()
    except DunlinError as error:
        if error.kind is ErrorKind.NOT_FOUND:
            path = local_path(source.url)
            if path is not None and os.path.lexists(path) and not os.path.isdir(path):
                raise usage(
                    f"the source {shown} is a file; dunlin syncs directories", "name its directory, and use --include"
                ) from error
            raise DunlinError(
                "read the source", shown, ErrorKind.NOT_FOUND, "there is no such directory", "is it mounted?"
            ) from error
        if error.kind is ErrorKind.DENIED:
            raise DunlinError(
                "read the source", shown, ErrorKind.USAGE, "permission denied", "run as a user who may read it"
            ) from error
        raise


def is_empty(store: Store) -> bool:
    """Whether nothing stands at the root, asked as cheaply as can be."""
    path = local_path(store.url)
    if path is None:
        return next(iter(store.list("")), None) is None
    try:
        with os.scandir(path) as names:
            return next(names, None) is None
    except OSError as error:
        raise translate(error, "list", path) from error


def _check_target(target: Store, options: SyncOptions) -> bool:
    try:
        target.stat("")
        return True
    except DunlinError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
    path = local_path(target.url)
    if path is not None and os.path.lexists(path):
        raise DunlinError("write to", options.destination, ErrorKind.USAGE, "it is a file", "name a directory")
    if options.mode == "check":
        raise DunlinError(
            "read the destination", options.destination, ErrorKind.NOT_FOUND, "there is no such directory"
        )
    if options.mode == "sync":
        dirs = power(target, MakesDirs)
        try:
            if dirs is not None:
                dirs.make_directory("")
        except DunlinError as failure:
            if failure.kind is ErrorKind.NOT_FOUND:
                failure.hint = "the directory above it is missing: make it, or check the path"
            elif failure.kind in (ErrorKind.DENIED, ErrorKind.READ_ONLY):
                hint = "check its permissions"
                raise DunlinError(
                    "make the destination", options.destination, ErrorKind.READ_ONLY, failure.reason, hint
                ) from failure
            raise
    return False


def _nesting(pair: PairOfStores) -> None:
    source, target = local_path(pair.source), local_path(pair.target)
    if source is None or target is None:
        return
    here, there = _identity(source), _identity(target)
    if here == there:
        # Two mounts of one place have two paths.
        raise usage(f"source and destination are the same place: {printable(source)} and {printable(target)}")
    pair.roots = frozenset(root for root in (here, there) if root is not None)
    inner = _below(target, source)
    if inner:
        pair.skip_source = frozenset({inner})
    outer = _below(source, target)
    if outer:
        pair.skip_target = frozenset({outer})


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:  # the destination of a dry run
        return None
    return status.st_dev, status.st_ino


def _below(path: str, root: str) -> str:
    """The path of `path` relative to `root` if it lies below it, else ""."""
    path, root = os.path.realpath(path), os.path.realpath(root)
    prefix = root.rstrip("/") + "/"
    return path[len(prefix) :] if path.startswith(prefix) and path != root else ""


def _backup(pair: PairOfStores, directory: str, make: bool) -> None:
    target = local_path(pair.target)
    if target is None:
        raise usage("--backup-dir works with local destinations only")
    path = os.path.normpath(os.path.join(target, directory))
    if os.path.realpath(path) == os.path.realpath(target):
        raise usage("--backup-dir is the destination itself", "name a directory in or beside it")
    inside = _below(path, target)
    source = local_path(pair.source)
    if source is not None and os.path.realpath(path) == os.path.realpath(source):
        raise usage("--backup-dir is the source itself", "name a directory of its own")
    try:
        if make:
            os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise DunlinError("make the backup directory", path, ErrorKind.READ_ONLY, error.strerror or "") from error
    if inside:
        pair.backup_prefix = inside
        pair.skip_target |= {inside}
    else:
        pair.backup = canonical_url(path)
    in_source = _below(path, source) if source else ""
    if in_source:
        pair.skip_source |= {in_source}


def resolve_policy(policy: Policy, source: Caps, target: Caps) -> Policy:
    """The policy as this process can carry it out between these stores.

    Only root gives files away, so others do not compare owners they could never set; groups are limited
    to those the process is in. Times agree within the coarser store's precision.
    """
    root = os.geteuid() == 0
    precision = max(source.mtime_precision or 0, target.mtime_precision or 0)
    compare = policy.compare
    if target.mtime_precision is None and compare in ("size+mtime", "mtime"):
        compare = "size"
    return replace(
        policy,
        compare=compare,
        owner=policy.owner and root and target.owners,
        group=policy.group and target.owners,
        groups=None if root else frozenset({os.getegid(), *os.getgroups()}),
        perms=policy.perms and target.modes,
        window=max(policy.window, precision if precision > 1 else 0),
    )


def selection_hash(options: SyncOptions) -> str:
    """A fingerprint of the options that select and name files: when it changes, the frontier is void."""
    policy = options.policy
    parts = (options.selection.fingerprint(), policy.links, policy.specials, policy.devices, policy.delete)
    return hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()


def root_identity(url: str) -> str:
    """What tells whether another file system is mounted at a local root; "" where nothing does."""
    path = local_path(url)
    if path is None:
        return ""
    status = os.statvfs(path)
    return f"{status.f_fsid:x}" if status.f_fsid else f"dev{os.stat(path).st_dev:x}"
