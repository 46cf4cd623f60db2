"""What deltas say over a base segment: the newest row of every directory that they mention, as one small table.

A view would have to ask each of its deltas, newest first, at every step. Instead their directory rows are put together
once, when the view is opened: for each node id the newest row wins, and its run is the newest one that any segment has
for it. The result has columns like those of a segment, sorted by parent and name, with the same two hash tables. Base
rows that have been replaced or removed are marked in `gone`. After that a step costs one look here and one in the base,
however many deltas there are.

A directory below a removed one is not mentioned anywhere: it cannot be reached any more, unless a newer row moved it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dunlin.backup.tree import lookup, names
from dunlin.backup.tree.columns import NO_RUN, SLACK, Array, Bytes, Ints
from dunlin.backup.tree.segment import Segment

FIELDS = ("node", "parent", "files", "size", "check", "fingerprint", "flags")


class Overlay:
    """The rows of `segments[1:]` over `segments[0]`, the base."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        base, deltas = segments[0], segments[1:]
        counts = [delta.directories.rows for delta in deltas]
        which = np.repeat(np.arange(1, len(segments)), counts)
        row = _joined([np.arange(count, dtype=np.int64) for count in counts])

        def column(name: str) -> Array:
            return _joined([delta.array(f"d.{name}") for delta in deltas])

        node, start = column("node"), column("start").astype(np.int64)
        removed, removed_in = _newest(
            _joined([delta.removed for delta in deltas]),
            np.repeat(np.arange(1, len(segments)), [len(delta.removed) for delta in deltas]),
        )
        keep, run = _newest_rows(node, start)
        # A row that is as new as the removal of its directory, or newer, brings it back.
        if len(removed):
            at = np.minimum(np.searchsorted(removed, node[keep]), len(removed) - 1)
            alive = (removed[at] != node[keep]) | (which[keep] >= removed_in[at])
            keep, run = keep[alive], run[alive]
        self.removed: Ints = removed[~np.isin(removed, node[keep])] if len(removed) else removed

        heap, offsets, lengths = _heap(deltas)
        order = names.order(column("parent")[keep], heap, offsets[keep], lengths[keep])
        keep, run = keep[order], run[order]
        self.rows = len(keep)
        self.columns: dict[str, Array] = {name: column(name)[keep] for name in FIELDS}
        self.heap, self.offsets, self.lengths = heap, offsets[keep], lengths[keep]
        self.segment, self.row = which[keep], row[keep]
        self.node: Ints = self.columns["node"]
        self.parent: Ints = self.columns["parent"]
        self.by_node = lookup.make_table(lookup.node_slots(self.node, lookup.slots(self.rows)))
        slot, count = lookup.name_slot, lookup.slots(self.rows)
        self._slots = count
        slots = [slot(parent, self.name(at), count) for at, parent in enumerate(self.parent.tolist())]
        self.by_name = lookup.make_table(np.array(slots, np.int64))

        base_node, base_table = base.array("d.node"), base.array("d.by-node")
        under = lookup.find_nodes(self.node, base_table, base_node)
        self.gone = np.zeros(base.directories.rows, bool)
        self.gone[under[under >= 0]] = True
        if len(self.removed):
            below = lookup.find_nodes(self.removed, base_table, base_node)
            self.gone[below[below >= 0]] = True
        self.run_segment, self.run_start = self._runs(base, which, start, run, under)
        self._gone = self.gone.view(np.uint8).data
        self._cells = tuple(part.data for part in (self.node, self.parent, self.by_node, self.by_name))

    @staticmethod
    def _runs(base: Segment, which: Ints, start: Ints, run: Ints, under: Ints) -> tuple[Ints, Ints]:
        """Segment and first row of each run; -1 as the first row where no segment has one."""
        begin = np.full(len(run), -1, np.int64)
        known = np.flatnonzero(under >= 0)
        old = base.array("d.start")[under[known]].astype(np.int64)
        begin[known] = np.where(old == NO_RUN, -1, old)
        segment = np.zeros(len(run), np.int64)
        own = run >= 0
        segment[own], begin[own] = which[run[own]], start[run[own]]
        return segment, begin

    def name(self, row: int) -> bytes:
        """The name of a row."""
        begin = int(self.offsets[row])
        return self.heap[begin : begin + int(self.lengths[row])].tobytes()

    def find_node(self, node: int) -> int:
        """The row of a directory, -1 if no delta mentions it (or one removed it)."""
        nodes, _, table, _ = self._cells
        return lookup.find_node(node, table, nodes, self._slots)

    def find_child(self, parent: int, name: bytes) -> int:
        """The row of a directory by parent and name, -1 if there is none."""
        _, parents, _, table = self._cells
        at = lookup.name_slot(parent, name, self._slots)
        while (row := table[at]) != lookup.EMPTY:
            if parents[row] == parent and self.name(row) == name:
                return int(row)
            at += 1
        return -1

    def is_gone(self, base_row: int) -> bool:
        """Whether a row of the base does not count any more."""
        return bool(self._gone[base_row])


def _joined(parts: list[Array]) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _newest_rows(node: Ints, start: Ints) -> tuple[Ints, Ints]:
    """Of rows in order of age: the newest of each node, and the newest of it that has a run (-1: none)."""
    order = np.argsort(node, kind="stable")
    if not len(order):
        return order, order
    ends = np.flatnonzero(np.append(node[order][1:] != node[order][:-1], True))
    with_run = np.where(start[order] != NO_RUN, np.arange(len(order)), -1)
    begins = np.concatenate(([0], ends[:-1] + 1))
    last = np.maximum.reduceat(with_run, begins)
    return order[ends], np.where(last >= 0, order[last], -1)


def _newest(node: Ints, which: Ints) -> tuple[Ints, Ints]:
    """Of ids in order of age: each once, sorted, with its newest segment."""
    order = np.argsort(node, kind="stable")
    last = np.append(node[order][1:] != node[order][:-1], True)[: len(order)]
    return node[order][last], which[order][last]


def _heap(deltas: Sequence[Segment]) -> tuple[Bytes, Ints, Ints]:
    """The directory names of all deltas in one heap."""
    parts, lengths = [], []
    for delta in deltas:
        heap, _, sizes = delta.directories.places()
        parts.append(heap[:-SLACK].tobytes())
        lengths.append(sizes.astype(np.int64))
    every = _joined(lengths)
    return names.padded(b"".join(parts)), names.starts(every)[:-1], every
