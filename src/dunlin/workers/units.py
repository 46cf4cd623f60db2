"""The unit functions: what is done with each kind of task, in whatever process."""

from __future__ import annotations

import time
from collections.abc import Callable

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import (
    BARE_DIRECTORY,
    DEV,
    IDENT,
    MODE,
    TYPE_BITS,
    Action,
    Difference,
    Facts,
    Kind,
    Operation,
    Row,
    facts,
    is_directory,
    is_file,
    join,
)
from dunlin.pace.window import Slot
from dunlin.plan import decide, decide_content, same_content, same_meta
from dunlin.report import Level
from dunlin.stores.base import MakesLinks, power, remove_directory
from dunlin.transfer import keep
from dunlin.transfer.content import as_copied, still_there
from dunlin.transfer.directory import carry_out
from dunlin.transfer.outcome import Outcome
from dunlin.workers.context import Context
from dunlin.workers.effort import effort
from dunlin.workers.leftover import sweep
from dunlin.workers.scan import Emit, finish, scan
from dunlin.workers.tally import compare_links
from dunlin.workers.tasks import Again, Begin, Bring, Complete, Delete, Finish, Join, Move, Scan, Task, Unblock


def run_unit(context: Context, task: Task, emit: Emit) -> Outcome:
    """Do a task and tell what became of it. Raises nothing: what fails stands in the outcome.

    A directory that is to be scanned waits for its slot in the window; that is no part of the time it took.
    """
    if not isinstance(task, Scan):
        return _timed(context, task, emit, None)
    came = time.perf_counter()
    try:
        with context.window.slot() as slot:
            waited = time.perf_counter() - came
            outcome = _timed(context, task, emit, slot)
            outcome.waited = waited
            return outcome
    except DunlinError as error:
        if error.kind is not ErrorKind.INTERRUPTED:
            raise
        outcome = Outcome()
        outcome.end(error)
        return outcome


def _timed(context: Context, task: Task, emit: Emit, slot: Slot | None) -> Outcome:
    wall, cpu = time.perf_counter(), effort()
    if isinstance(task, Scan):
        outcome = scan(context, task, emit, slot)
    else:
        outcome = Outcome()
        try:
            _DO[type(task)](context, task, outcome, emit)
        except DunlinError as error:
            outcome.fail("", error, count="failed_directories")
    outcome.seconds = time.perf_counter() - wall
    outcome.cpu = effort() - cpu
    # The batch and the store each notice what is not taken; the store fills `context.refused` as it goes.
    for kind, reason in {**context.refused, **outcome.refused}.items():
        what = _KINDS_OF_METADATA.get(kind, kind)
        if what not in context.warned:
            context.warned.add(what)
            outcome.tell(Level.WARN, "metadata.refused", f"the destination does not take {what}: {reason}", what=what)
    return outcome


_KINDS_OF_METADATA = {"mode": "permissions", "xattrs": "extended attributes"}
"""The store's words for kinds of metadata, where people use others."""


def _move(context: Context, task: Move, outcome: Outcome, emit: Emit) -> None:
    if task.sweep:
        _sweep(context, task, outcome)
    site = context.site
    # What stands there matters where it is kept, gives its mode, or must not be taken for a vacant name.
    asks = site.backup is not None or not site.options.perms or site.vacant is not site.target
    by_action: dict[Action, list[Row]] = {}
    for name, size, action, exists in task.turns:
        row: Row = (name, facts(Kind.FILE, size), None)
        try:
            if exists and (asks or action != Action.COPY):
                row = _with_target(context, task.directory, row)
            if action != Action.COPY:
                row = (name, still_there(context.site, join(task.directory, name)).facts, row[2])
        except DunlinError as error:
            outcome.fail(name, error)
            continue
        by_action.setdefault(Action(action), []).append(row)
    operations = [Operation(action, rows) for action, rows in by_action.items()]
    for operation in operations:
        if operation.action is Action.VERIFY:
            missing = [row for row in operation.rows if row[2] is None]
            operation.rows = [row for row in operation.rows if row[2] is not None]
            operations.append(Operation(Action.COPY, missing))
    try:
        carry_out(context.site, task.directory, operations, outcome)
    except DunlinError as error:
        if error.kind is not ErrorKind.NOT_FOUND or not _is_gone(context, task.directory):
            raise
        for name, *_ in task.turns:
            outcome.vanish(name)


def _is_gone(context: Context, directory: str) -> bool:
    """Whether the source has the directory no more."""
    try:
        context.site.source.stat(directory)
    except DunlinError as error:
        return error.kind is ErrorKind.NOT_FOUND
    return False


def _with_target(context: Context, directory: str, row: Row) -> Row:
    try:
        there = context.site.target.stat(join(directory, row[0])).facts
    except DunlinError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
        return row[0], row[1], None
    # Where the destination holds both, a directory of that name is another one.
    return row[0], row[1], None if context.apart and is_directory(there) else there


def _sweep(context: Context, task: Move | Begin, outcome: Outcome) -> None:
    """Remove temporary files that a dead run or mover left in a directory that will not be listed."""
    dead = context.rules.dead
    for error in sweep(context.site.target, task.directory, lambda run, n: run in dead or run + n in task.dead):
        outcome.tell(Level.WARN, "temporary.kept", str(error))


def _finish(context: Context, task: Finish, outcome: Outcome, emit: Emit) -> None:
    if not (context.site.source.caps.directories and context.site.target.caps.directories):
        return  # one side has no directories of their own, so there is nothing to give or nobody to take it
    try:
        source = context.site.source.stat(task.directory).facts
    except DunlinError as error:
        if error.kind is ErrorKind.NOT_FOUND:
            return
        raise
    finish(context, task.directory, source, outcome)


def _delete(context: Context, task: Delete, outcome: Outcome, emit: Emit) -> None:
    """Remove extras: directories (emptied before, children come first) and files; objects many in a request."""
    site = context.site
    if task.absent and not _is_absent(context, task.directory, outcome):
        return
    objects: list[str] = []
    for name, directory in task.names:
        if site.bucket.stopped:
            outcome.end(DunlinError("delete", task.directory, ErrorKind.INTERRUPTED, "the run was stopped"))
            break
        path = join(task.directory, name)
        try:
            if not task.absent and not _is_absent(context, path, outcome, directory):
                continue
            if directory:
                outcome.counts["deleted_directories"] += remove_directory(site.target, path)
            elif site.target.caps.far:
                objects.append(name)
            else:
                _delete_file(context, path, outcome)
        except DunlinError as error:
            if directory and error.kind is ErrorKind.EXISTS:
                # Names that the filters protect are still in it.
                outcome.tell(Level.INFO, "directory.kept", f"{path}: not empty", path=path)
            elif error.kind is not ErrorKind.NOT_FOUND:
                outcome.fail(name, error)
    _delete_objects(context, task.directory, objects, outcome)


def _delete_file(context: Context, path: str, outcome: Outcome) -> None:
    if context.site.backup is not None:
        keep.keep(context.site, path)
        outcome.counts["deleted_files"] += 1
    else:
        outcome.counts["deleted_files"] += sum(context.site.target.delete([path]))
    outcome.tell(Level.INFO, "file.deleted", path, path=path)


def _delete_objects(context: Context, directory: str, names: list[str], outcome: Outcome) -> None:
    """Delete in as few requests as can be; where one of them is refused, one by one, to learn which may not go."""
    paths = [join(directory, name) for name in names]
    try:
        context.site.target.delete(paths)
    except DunlinError:
        for name, path in zip(names, paths, strict=True):
            try:
                _delete_file(context, path, outcome)
            except DunlinError as error:
                outcome.fail(name, error)
        return
    outcome.counts["deleted_files"] += len(paths)
    for path in paths:
        outcome.tell(Level.INFO, "file.deleted", path, path=path)


def _is_absent(context: Context, path: str, outcome: Outcome, directory: bool = True) -> bool:
    """The live look: whether the source really has no such name (or one that the filters exclude).

    A directory is also absent when the source has something else of that name, or in the place of one above it.
    """
    # What lies in an excluded directory is excluded with it, though no rule may name it.
    if context.rules.delete_excluded and not context.rules.selection.explain(path, directory).takes_part:
        return True
    try:
        there = _seen_at_source(context, path, directory)
    except DunlinError as error:
        # A path that leads through a link is refused: the link is what the source has.
        if error.kind is ErrorKind.NOT_FOUND or (error.kind is ErrorKind.CHANGED and _ends_above(context, path)):
            return True
        outcome.counts["source_errors"] += 1
        raise
    if is_directory(there) != directory and (directory or context.apart):
        return True
    outcome.tell(Level.WARN, "delete.refused", f"{path}: the source has it after all, not deleted", path=path)
    return False


def _seen_at_source(context: Context, path: str, directory: bool) -> Facts:
    """The facts of what the source has at a path; raises NOT_FOUND.

    Of a file and a directory of one name `stat` tells the file, so a directory is asked for by what lies in it.
    """
    source = context.site.source
    if not (directory and source.caps.twins):
        return source.stat(path).facts
    next(iter(source.list(path)), None)
    return BARE_DIRECTORY


def _ends_above(context: Context, path: str) -> bool:
    """Whether the source has something else than a directory in the place of one above `path`."""
    parts = path.split("/")
    for n in range(1, len(parts)):
        try:
            there = context.site.source.stat("/".join(parts[:n])).facts
        except DunlinError:
            return False
        if not is_directory(there):
            return True
    return False


def _unblock(context: Context, task: Unblock, outcome: Outcome, emit: Emit) -> None:
    rows: list[Row] = []
    for name in task.names:
        path = join(task.directory, name)
        try:
            row = _with_target(context, task.directory, (name, still_there(context.site, path).facts, None))
            if row[2] is not None and is_directory(row[2]):
                raise keep.still_blocked(path, "what is in it was not deleted")
        except DunlinError as error:
            outcome.fail(name, error)
            continue
        rows.append(row)
    carry_out(context.site, task.directory, decide(Difference(rows), context.rules.policy), outcome)


def _again(context: Context, task: Again, outcome: Outcome, emit: Emit) -> None:
    rows: list[Row] = []
    for name in task.names:
        try:
            rows.append(
                _with_target(
                    context, task.directory, (name, still_there(context.site, join(task.directory, name)).facts, None)
                )
            )
        except DunlinError as error:
            outcome.fail(name, error)
    # Each is looked at by itself, so nobody knows the other names of its inode: the next look at everything does.
    policy = context.rules.policy._replace(hard_links=False)
    carry_out(context.site, task.directory, decide(Difference(rows), policy), outcome)
    for name in outcome.blocked:
        outcome.fail(name, keep.still_blocked(join(task.directory, name), "only a whole run deletes what is in it"))
    outcome.blocked.clear()
    # What a stop left to do stays on record as what it was: failed.
    outcome.waiting.clear()


def _join(context: Context, task: Join, outcome: Outcome, emit: Emit) -> None:
    if context.rules.mode == "check":
        compare_links(context, task, outcome)
        return
    leader: Leader | None = None
    try:
        leader = None if task.failed else _leader(context, task.first)
    except DunlinError as error:
        outcome.fail(task.first, error)
    for path in task.others:
        if outcome.fatal is not None:
            return
        try:
            leader = _join_name(context, path, leader, outcome)
        except DunlinError as error:
            outcome.fail(path, error)


Leader = tuple[str, Facts]
"""The name that the others of its inode are linked to, and its facts at the destination."""


def _leader(context: Context, path: str) -> Leader | None:
    """`path`, if the destination has there what the source has: a stale copy must not become that of every name."""
    try:
        what, there = context.site.source.stat(path).facts, context.site.target.stat(path).facts
    except DunlinError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
        return None
    alike = not (what[MODE] ^ there[MODE]) & TYPE_BITS
    return (path, there) if alike and (not is_file(what) or same_content(context.rules.policy, what, there)) else None


def _join_name(context: Context, path: str, leader: Leader | None, outcome: Outcome) -> Leader | None:
    """Make `path` a name of the leader's inode, or in sync by itself; the leader of the names that follow."""
    site = context.site
    if leader is None:
        return _leader(context, path) if _copy_of_its_own(context, path, outcome) else None
    what = _still_one(context, leader[0], path)
    if what is None:
        # The source has changed since they were found: inode numbers are used again.
        _copy_of_its_own(context, path, outcome)
        return leader
    directory, _, name = path.rpartition("/")
    there = _with_target(context, directory, (name, None, None))[2]
    if there is not None and there[7:9] == leader[1][7:9]:
        outcome.counts["equal_files"] += 1
        outcome.joined.append((leader[0], False, as_copied(path, what)))
        return leader
    if is_file(what) and decide_content(context.rules.policy, what, there)[0] is Action.SKIP:
        _copy_of_its_own(context, path, outcome)
        return leader
    try:
        links = power(site.target, MakesLinks)
        if links is None:
            raise DunlinError("link", path, ErrorKind.UNSUPPORTED)
        # What is no file was made, and what stood there kept, with all the others that are no files.
        if there is not None and site.backup is not None and (is_file(what) or (what[MODE] ^ there[MODE]) & TYPE_BITS):
            keep.keep_copy(site, path)
        links.make_hard_link(leader[0], path)
    except DunlinError as error:
        if error.kind not in (ErrorKind.UNSUPPORTED, ErrorKind.DENIED, ErrorKind.IO):
            raise
        # The destination cannot link (or not so often): the name gets a copy of its own.
        _copy_of_its_own(context, path, outcome)
        return leader
    outcome.counts["hard_links"] += 1
    outcome.joined.append((leader[0], True, as_copied(path, what)))
    outcome.tell(Level.INFO, "file.linked", path, path=path)
    return leader


def _still_one(context: Context, first: str, path: str) -> Facts | None:
    """The facts of `path` if the source still has both names for one inode."""
    try:
        one, other = (context.site.source.stat(name).facts for name in (first, path))
    except DunlinError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
        return None
    return other if one[DEV] == other[DEV] and one[IDENT] == other[IDENT] else None


def _copy_of_its_own(context: Context, path: str, outcome: Outcome) -> bool:
    """Bring a name in sync that has no other at the destination; whether it is. Looks at both sides anew."""
    directory, _, name = path.rpartition("/")
    try:
        what = context.site.source.stat(path).facts
    except DunlinError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
        outcome.vanish(path)
        return False
    there = _with_target(context, directory, (name, None, None))[2]
    if not is_file(what) and there is not None:
        return True  # links and special files were made before
    policy = context.rules.policy
    # It is one of several names, of which only this one is looked at.
    operations = decide(Difference([(name, what, there)]), policy._replace(hard_links=False))
    action = operations[0].action if operations else Action.SKIP
    if there is not None and action is Action.META and not policy.attributes and same_meta(policy, what, there):
        outcome.counts["equal_files"] += 1
        outcome.seen.append(as_copied(path, what))
        return True
    part = Outcome()
    carry_out(context.site, directory, operations, part)
    outcome.take_in(part, directory)
    return action is not Action.SKIP and not (part.failed or part.vanished or part.waiting or part.blocked)


def _range(context: Context, task: Begin | Bring | Complete, outcome: Outcome, emit: Emit) -> None:
    """A step of a file that is copied in ranges; what it takes is loaded with the first of them."""
    from dunlin.workers.ranges import do

    if isinstance(task, Begin) and task.sweep:
        _sweep(context, task, outcome)
    do(context, task, outcome)


_DO: dict[type[Task], Callable[..., None]] = {
    Move: _move,
    Finish: _finish,
    Delete: _delete,
    Join: _join,
    Unblock: _unblock,
    Again: _again,
    Begin: _range,
    Bring: _range,
    Complete: _range,
}
