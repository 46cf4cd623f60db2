"""A pair before its run: which two places, how they lie to each other, what they can hold."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from dunlin import transfer
from dunlin.errors import DunlinError, ErrorKind, printable, translate, usage
from dunlin.hashing import blake2b
from dunlin.jobs.options import SyncOptions, Within
from dunlin.pace.gate import Gate
from dunlin.pace.stop import Stop
from dunlin.plan import Policy
from dunlin.report import Event, Level, Report
from dunlin.stores.base import Caps, MakesDirs, Store, power
from dunlin.stores.local.writing import WriteOptions
from dunlin.stores.open import (
    Far,
    beginning,
    canonical_url,
    drop_snapshot,
    drop_snapshots,
    is_far,
    local_path,
    open_store,
    shown_place,
    take_snapshot,
)
from dunlin.stores.probe import probe_case


@dataclass(slots=True, eq=False, repr=False)
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
        source_place, target_place: what each store is opened by, in any process.
        source_far, target_far: what each is told when it is an object store, else None.
        source_empty: it is an object store without a name in it.
        local: both are of this machine, and nothing was loaded that forbids to fork it.
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
    source_place: str = ""
    target_place: str = ""
    source_far: Far | None = None
    target_far: Far | None = None
    source_empty: bool = False
    local: bool = True


def open_pair(
    options: SyncOptions, token: str = "0", report: Report | None = None, stop: Stop | None = None
) -> PairOfStores:
    """Open both sides and check that they can be a pair; makes the destination's root unless this is a dry run.

    `token` names the run in temporary files; `report` is told which login of a chain answered; a request for `stop`
    ends the waiting for a service that asks for patience.

    Raises USAGE, NOT_FOUND, DENIED, READ_ONLY: everything that makes a run pointless from the start. INTERRUPTED.
    """
    from dunlin.jobs.within import stay  # here, since a backup looks at its source with functions of this module

    source_url = canonical_url(options.source, options.login_source)
    target_url = canonical_url(options.destination, options.login_target)
    stay(options.within.roots, source_url, target_url)
    if source_url == target_url:
        raise usage(f"source and destination are the same place: {shown_place(options.source)}")
    source_far, target_far = _told(options)
    source_place = options.source if source_far else source_url
    target_place = options.destination if target_far else target_url
    if options.share_snapshot:
        begun = _beginning(source_far, source_url, report, stop) or Far()
        taken = take_snapshot(source_place, begun, _mark(token, target_url))
        source_far = (source_far or Far())._replace(snapshot=taken)
    opened: list[Store] = []
    try:
        begun_far = _beginning(source_far, source_url, report, stop)
        source = options.opens() if options.opens is not None else open_store(source_place, far=begun_far)
        opened.append(source)
        far = _beginning(target_far, target_url, report, stop)
        target = open_store(target_place, options=WriteOptions(run_id=token), far=far)
        opened.append(target)
        check_source(source, shown_place(options.source))
        exists = _check_target(target, options)
        pair = PairOfStores(source_url, target_url, source, target, target.caps, exists)
        pair.source_place, pair.target_place = source_place, target_place
        pair.source_far, pair.target_far = source_far, target_far
        near = options.opens.forks if options.opens is not None else source_url.startswith("file:")
        pair.local = near and target_url.startswith("file:")
        _check_typed(pair, options)
        _nesting(pair)
        if options.opens is not None:
            _beside(pair, options.opens.beside)
        if options.backup_dir:
            _backup(pair, options.backup_dir, options.within, make=options.mode == "sync")
        return pair
    except DunlinError:
        for store in opened:
            store.close()
        forget_snapshot(source_place, source_far, report)
        raise


def forget_snapshot(place: str, far: Far | None, report: Report | None) -> None:
    """Delete the share snapshot that was made for a run; where that fails it is said, and the run is none the worse."""
    if far is None or not far.snapshot:
        return
    try:
        drop_snapshot(place, far)
    except DunlinError as error:
        if report is not None:
            message = f"the share snapshot {far.snapshot} stays: {error.reason}"
            report.event(Event(Level.WARN, "snapshot.kept", message, {"snapshot": far.snapshot}))


def forget_dead_snapshots(pair: PairOfStores, dead: Collection[str], report: Report) -> None:
    """Delete the share snapshots that runs of this pair left behind which were killed, and no others.

    `dead`: their tokens. A login that may not list snapshots leaves them alone, which is said.
    """
    if not dead or pair.source_far is None or not pair.source_far.snapshot:
        return
    try:
        marks = frozenset(_mark(token, pair.target) for token in dead)
        gone = drop_snapshots(pair.source_place, pair.source_far, marks)
    except DunlinError as error:
        message = f"share snapshots of killed runs, if there are any, stay: {error.reason}"
        report.event(Event(Level.INFO, "snapshot.kept", message, {}))
        return
    if gone:
        message = f"deleted {gone} share snapshots of runs that were killed"
        report.event(Event(Level.INFO, "snapshot.deleted", message, {"snapshots": gone}))


def _mark(token: str, destination: str) -> str:
    """What a run's share snapshot is marked with: the run, and a hash of where it writes, whose lock it holds."""
    return token + blake2b(destination.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def _beginning(far: Far | None, url: str, report: Report | None, stop: Stop | None) -> Far | None:
    """What the store of a run's beginning is told: not to be patient, who wants it to stop, whom to tell of logins."""
    if far is None:
        return None

    def answered(name: str) -> None:
        if report is not None:
            report.event(Event(Level.INFO, "login.answered", f"logged in to {url} by {name}", {"login": name}))

    gate = None if stop is None else Gate(far.connections, stopped=lambda: stop.requested)
    return far._replace(start=True, on_login=answered, gate=gate)


def _told(options: SyncOptions) -> tuple[Far | None, Far | None]:
    """What the two sides are told, as far as they are object stores."""
    source, target = is_far(options.source), is_far(options.destination)
    # Between object stores a directory marker is an object like any other; files have no place for it.
    common = Far(
        markers=source and target,
        verify=options.verify,
        page=options.batch_size,
        idle=options.timeout,
        total=options.request_timeout,
    )
    return (
        common._replace(login=options.login_source, begin=options.begin) if source else None,
        common._replace(login=options.login_target) if target else None,
    )


def _check_typed(pair: PairOfStores, options: SyncOptions) -> None:
    """A prefix under which nothing lies is a mistyped one until somebody says otherwise; an empty bucket is empty."""
    if not pair.source_store.caps.far or not is_empty(pair.source_store):
        return
    pair.source_empty = True
    prefix = beginning(options.source, options.login_source) + options.begin
    if prefix and options.watch is None and not options.accept_source:
        raise DunlinError(
            "read the source",
            shown_place(options.source),
            ErrorKind.NOT_FOUND,
            f"there is nothing whose name begins with {printable(prefix)}",
            "check the spelling; --accept-source says that this is right",
        )


def probe_target(pair: PairOfStores, shown: str, token: str, dead: frozenset[str]) -> None:
    """Find out what the destination does with names, and at the same time whether it can be written to at all.

    The caller has the lock. `dead`: tokens of runs cut short, whose temporary files and stages in the root are
    removed, for a continued run need not come there. Raises READ_ONLY, NO_SPACE and what else writing raises.
    """
    target = pair.target_store
    if target.caps.far:
        return  # it folds no names, leaves no temporary files behind, and says at the first write what it refuses
    try:
        if dead:
            from dunlin.workers.leftover import sweep

            # What somebody else owns stays; whether we can write here at all, the probe finds out.
            sweep(target, "", lambda run, _: run in dead)
        case, form = probe_case(target, token)
        pair.caps = replace(target.caps, case_sensitive=case, preserves_form=form)
    except DunlinError as error:
        if error.kind is ErrorKind.DENIED:
            error = DunlinError("write to the destination", shown, ErrorKind.READ_ONLY, error.reason)
        if not error.hint:
            error.hint = "check its permissions, its mount options and its free space"
        raise error from None


def check_source(source: Store, shown: str) -> None:
    """See that there is a source to read. Raises NOT_FOUND, USAGE, AUTH with words for the person."""
    try:
        source.stat("")
        if source.caps.far:
            return
        path = _local(source)
        if path is not None:
            os.scandir(path).close()
    except DunlinError as error:
        if source.caps.far:
            raise _let_in(error) from error
        if error.kind is ErrorKind.NOT_FOUND:
            path = _local(source)
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


def _let_in(error: DunlinError) -> DunlinError:
    """Who may not even look into a bucket has the wrong login: no other request will do better."""
    if error.kind is not ErrorKind.DENIED:
        return error
    hint = error.hint or "the login needs the right to list and read there"
    return DunlinError(error.operation, error.where, ErrorKind.AUTH, error.reason, hint)


def is_empty(store: Store) -> bool:
    """Whether nothing stands at the root, asked as cheaply as can be."""
    path = _local(store)
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
        # A bucket or a share is never made; a directory in a share is.
        lacking = error.kind is ErrorKind.NOT_FOUND and not error.reason.startswith("Share")
        if target.caps.far and not (target.caps.directories and lacking):
            raise _let_in(error) from error
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
    path = _local(target)
    if path is not None and os.path.lexists(path):
        raise DunlinError(
            "write to", shown_place(options.destination), ErrorKind.USAGE, "it is a file", "name a directory"
        )
    if options.mode == "check":
        raise DunlinError(
            "read the destination", shown_place(options.destination), ErrorKind.NOT_FOUND, "there is no such directory"
        )
    if options.mode == "sync":
        dirs = power(target, MakesDirs)
        try:
            if path is not None and options.make_parents:
                _make_parents(path)
            if dirs is not None:
                dirs.make_directory("")
        except DunlinError as failure:
            failure.where = shown_place(failure.where)
            if failure.kind is ErrorKind.NOT_FOUND:
                failure.hint = "the directory above it is missing: make it, or check the path"
            elif failure.kind in (ErrorKind.DENIED, ErrorKind.READ_ONLY):
                hint = "check its permissions"
                raise DunlinError(
                    "make the destination", shown_place(options.destination), ErrorKind.READ_ONLY, failure.reason, hint
                ) from failure
            raise
    return False


def _make_parents(path: str) -> None:
    """Make what is missing above `path`, under the umask. Raises what the system says of the first that fails."""
    above = os.path.dirname(path)
    try:
        os.makedirs(above, exist_ok=True)
    except OSError as error:
        raise translate(error, "make the directory", str(error.filename or above)) from error


def _nesting(pair: PairOfStores) -> None:
    if pair.source_far and pair.target_far:
        if inner := _key_below(pair.target, pair.source):
            pair.skip_source = frozenset({inner})
        if outer := _key_below(pair.source, pair.target):
            pair.skip_target = frozenset({outer})
        return
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


def _beside(pair: PairOfStores, urls: Iterable[str]) -> None:
    """Leave alone what a snapshot is read from, on both sides. Raises USAGE where the destination lies in it."""
    for url in urls:
        if pair.target == url or below(pair.target, url):
            raise usage(f"the destination {printable(pair.target)} is part of {printable(url)}, which is read from")
        if inner := below(url, pair.target):
            pair.skip_source |= {inner}
            pair.skip_target |= {inner}


def _local(store: Store) -> str | None:
    """The path of a local store; None for another."""
    return None if store.caps.far else local_path(store.url)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:  # the destination of a dry run
        return None
    return status.st_dev, status.st_ino


def _key_below(url: str, root: str) -> str:
    """The path of a prefix of a bucket relative to another prefix that it lies below, else ""."""
    if not url.startswith(root + "/"):
        return ""
    from dunlin.stores.objects.keys import path_of

    return path_of(url[len(root) + 1 :])


def below(url: str, root: str) -> str:
    """The path of one canonical URL relative to another that it lies below, else ""."""
    inner, outer = local_path(url), local_path(root)
    if (inner is None) != (outer is None):
        return ""
    return _key_below(url, root) if inner is None or outer is None else _below(inner, outer)


def _below(path: str, root: str) -> str:
    """The path of `path` relative to `root` if it lies below it, else ""."""
    path, root = os.path.realpath(path), os.path.realpath(root)
    prefix = root.rstrip("/") + "/"
    return path[len(prefix) :] if path.startswith(prefix) and path != root else ""


def _backup(pair: PairOfStores, directory: str, within: Within, make: bool) -> None:
    target = local_path(pair.target)
    if target is None:
        raise usage("--backup-dir works with local destinations only")
    path = os.path.normpath(os.path.join(target, directory))
    if within.has("backup_dir"):
        from dunlin.jobs.within import stay

        stay(within.roots, canonical_url(path))
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
    # An owner that is only put down beside an object can be anybody.
    anyone = root or target.far
    return policy._replace(
        compare=compare,
        owner=policy.owner and anyone and target.owners,
        group=policy.group and target.owners,
        groups=None if anyone else frozenset({os.getegid(), *os.getgroups()}),
        perms=policy.perms and target.modes,
        hard_links=policy.hard_links and (target.hard_links or not target.far),
        plain=target.far and not (target.links or target.specials),
        window=max(policy.window, precision if precision > 1 else 0),
        partial=source.far or target.far,
    )


def resolve_attributes(options: transfer.Options, source: Caps, target: Caps) -> tuple[transfer.Options, str]:
    """The options without the extended attributes and ACLs that an object store has not, and a line on that, or ""."""
    asked = [what for what, wanted in (("extended attributes", options.xattrs), ("ACLs", options.acls)) if wanted]
    lacking = [side for side, caps in (("source", source), ("destination", target)) if caps.far and not caps.xattrs]
    if not asked or not lacking:
        return options, ""
    line = f"{' and '.join(asked)} are not kept: objects have none, and the {lacking[0]} is an object store"
    return options._replace(xattrs=False, acls=False), line


def selection_hash(options: SyncOptions) -> str:
    """A fingerprint of the options that select and name files: when it changes, the frontier is void."""
    policy = options.policy
    parts: tuple[object, ...] = (
        options.selection.fingerprint(), policy.links, policy.specials, policy.devices, policy.delete
    )  # fmt: skip
    if options.begin:
        parts += (options.begin,)
    return blake2b(repr(parts).encode(), digest_size=12).hexdigest()


def root_identity(url: str) -> str:
    """What tells whether another file system is mounted at a local root; "" where nothing does."""
    path = local_path(url)
    if path is None:
        return ""
    status = os.statvfs(path)
    return f"{status.f_fsid:x}" if status.f_fsid else f"dev{os.stat(path).st_dev:x}"
