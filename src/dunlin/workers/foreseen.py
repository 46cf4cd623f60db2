"""What a backup would change in a share, name by name: the end of a dry run."""

from __future__ import annotations

from pathlib import Path

from dunlin.backup.tree.diff import diff
from dunlin.backup.tree.segment import Segment
from dunlin.backup.tree.view import Directory, Tree
from dunlin.report import Event, Level, Report


def tell_differences(old: Tree, segment: Path, base: bool, report: Report) -> None:
    """Report each name by which the new segment differs from the last snapshot, as an event ``plan``.

    Args:
        old: the tree of the last snapshot.
        segment: the new one; `base`: it is the whole tree, not a delta.
    """
    fresh = Segment.open(segment, check=False)
    new = Tree([fresh] if base else [*old.segments, fresh])
    for change in diff(old, new):
        row = change.new or change.old
        path = change.path.decode("utf-8", "surrogateescape")
        slash = "/" if isinstance(row, Directory) else ""
        fields = {"verb": change.what.value, "path": f"{path or '.'}{slash}", "reason": ""}
        report.event(Event(Level.INFO, "plan", f"{change.what.value} {fields['path']}", fields))
