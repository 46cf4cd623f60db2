"""The unit functions: what is done with each kind of task, in whatever process."""

from __future__ import annotations

import time
from collections.abc import Callable

from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import DEV, FILE_BITS, IDENT, MODE, TYPE_BITS, Action, Kind, Operation, Row, facts, is_file, join
from dunlin.plan import decide_content, same_meta
from dunlin.report import Level
from dunlin.stores.base import MakesLinks, power
from dunlin.transfer import keep
from dunlin.transfer.directory import as_copied, births, carry_out, still_there
from dunlin.transfer.outcome import Outcome
from dunlin.workers.context import TEMPORARY, Context
from dunlin.workers.effort import effort
from dunlin.workers.scan import Emit, finish, scan
from dunlin.workers.tasks import Delete, Finish, Join, Move, Record, Scan, Task


def run_unit(context: Context, task: Task, emit: Emit) -> Outcome:
    """Do a task and tell what became of it. Raises nothing: what fails stands in the outcome."""
    wall, cpu = time.perf_counter(), effort()
    if isinstance(task, Scan):
        outcome = scan(context, task, emit)
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
    keeps_modes = context.site.options.perms
    by_action: dict[Action, list[Row]] = {}
    for name, size, action, exists in task.turns:
        row: Row = (name, facts(Kind.FILE, size), None)
        try:
            if exists and (context.site.backup is not None or action != Action.COPY or not keeps_modes):
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
        return row[0], row[1], context.site.target.stat(join(directory, row[0])).facts
    except DunlinError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
        return row[0], row[1], None


def _sweep(context: Context, task: Move, outcome: Outcome) -> None:
    """Remove temporary files that a dead run or mover left in a directory that will not be listed."""
    try:
        for batch in context.site.target.list(task.directory):
            for name, _ in batch:
                match = TEMPORARY.fullmatch(name)
                if match and (match[1] in context.rules.dead or match[1] + match[2] in task.dead):
                    context.site.target.delete([join(task.directory, name)])
    except DunlinError as error:
        outcome.tell(Level.WARN, "temporary.kept", str(error))


def _finish(context: Context, task: Finish, outcome: Outcome, emit: Emit) -> None:
    try:
        source = context.site.source.stat(task.directory).facts
    except DunlinError as error:
        if error.kind is ErrorKind.NOT_FOUND:
            return
        raise
    finish(context, task.directory, source, outcome)


def _delete(context: Context, task: Delete, outcome: Outcome, emit: Emit) -> None:
    """Remove extras: files in one call, directories (emptied before, children come first) one by one."""
    site = context.site
    if task.absent and not _is_absent(context, task.directory, outcome):
        return
    for name, is_directory in task.names:
        if site.bucket.stopped:
            outcome.end(DunlinError("delete", task.directory, ErrorKind.INTERRUPTED, "the run was stopped"))
            return
        path = join(task.directory, name)
        try:
            if not task.absent and not _is_absent(context, path, outcome, is_directory):
                continue
            if is_directory:
                outcome.counts["deleted_directories"] += sum(site.target.delete([path]))
            else:
                if site.backup is not None:
                    keep.keep(site, path)
                    outcome.counts["deleted_files"] += 1
                else:
                    outcome.counts["deleted_files"] += sum(site.target.delete([path]))
                outcome.tell(Level.INFO, "file.deleted", path, path=path)
        except DunlinError as error:
            if is_directory and error.kind is ErrorKind.EXISTS:
                # Names that the filters protect are still in it.
                outcome.tell(Level.INFO, "directory.kept", f"{path}: not empty", path=path)
            elif error.kind is not ErrorKind.NOT_FOUND:
                outcome.fail(name, error)


def _is_absent(context: Context, path: str, outcome: Outcome, is_directory: bool = True) -> bool:
    """The live look: whether the source really has no such name (or one that the filters exclude)."""
    # What lies in an excluded directory is excluded with it, though no rule may name it.
    if context.rules.delete_excluded and not context.rules.selection.explain(path, is_directory).takes_part:
        return True
    try:
        context.site.source.stat(path)
    except DunlinError as error:
        if error.kind is ErrorKind.NOT_FOUND:
            return True
        outcome.counts["source_errors"] += 1
        raise
    outcome.tell(Level.WARN, "delete.refused", f"{path}: the source has it after all, not deleted", path=path)
    return False


def _join(context: Context, task: Join, outcome: Outcome, emit: Emit) -> None:
    site = context.site
    links = power(site.target, MakesLinks)
    first: Row | None = None
    for path in (task.first, *task.others):
        directory, _, name = path.rpartition("/")
        there: Row = (name, None, None)
        try:
            there = _with_target(context, directory, there)
            if first is None:
                # Usually that is the first name. Where it failed or vanished, the content is had from the next.
                if there[2] is None and path != task.first:
                    _copy_of_its_own(context, directory, there, outcome)
                    there = _with_target(context, directory, there)
                first = (path, None, there[2]) if there[2] is not None else None
                continue
            assert first[2] is not None
            if not _still_one(context, first[0], path):
                # The source has changed since they were found: inode numbers are used again.
                _copy_of_its_own(context, directory, there, outcome)
                continue
            if there[2] is not None and there[2][7:9] == first[2][7:9]:
                outcome.counts["equal_files"] += 1
                continue
            if links is None:
                raise DunlinError("link", path, ErrorKind.UNSUPPORTED)
            if there[2] is not None and site.backup is not None:
                keep.keep(site, path)
            links.make_hard_link(first[0], path)
            outcome.counts["hard_links"] += 1
        except DunlinError as error:
            if error.kind not in (ErrorKind.UNSUPPORTED, ErrorKind.DENIED, ErrorKind.IO):
                outcome.fail(path, error)
                continue
            # The destination cannot link (or not so often): the name gets a copy of its own.
            _copy_of_its_own(context, directory, there, outcome)


def _still_one(context: Context, first: str, path: str) -> bool:
    """Whether the source still has both names for one inode."""
    try:
        one, other = (context.site.source.stat(name).facts for name in (first, path))
    except DunlinError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
        return False
    return bool(one[DEV] == other[DEV] and one[IDENT] == other[IDENT])


def _copy_of_its_own(context: Context, directory: str, row: Row, outcome: Outcome) -> None:
    """Bring a file in sync that has no other name at the destination. Links and special files were made before."""
    name, _, there = row
    try:
        what = context.site.source.stat(join(directory, name)).facts
    except DunlinError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
        outcome.vanish(join(directory, name))
        return
    if not is_file(what):
        return
    policy = context.rules.policy
    action, _ = decide_content(policy, what, there)
    if there is not None and action is Action.META and not policy.attributes and same_meta(policy, what, there):
        outcome.counts["equal_files"] += 1
        return
    carry_out(context.site, directory, [Operation(action, [(name, what, there)])], outcome)


def _record(context: Context, task: Record, outcome: Outcome, emit: Emit) -> None:
    takes = context.rules.selection.matcher(task.directory)
    for batch in context.site.source.list(task.directory):
        part = Outcome(unfinished=True)
        files = [
            (name, what)
            for name, what in batch
            if what[MODE] & TYPE_BITS == FILE_BITS and takes(name, False) and context.rules.selection.takes(what)
        ]
        born = births(context.site, task.directory, [name for name, _ in files])
        part.seen = [as_copied(*named, None, birth) for named, birth in zip(files, born, strict=True)]
        emit(part)


_DO: dict[type[Task], Callable[..., None]] = {
    Move: _move,
    Finish: _finish,
    Delete: _delete,
    Join: _join,
    Record: _record,
}
