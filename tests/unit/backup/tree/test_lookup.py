"""Tables of rows: every key is found, no other."""

from __future__ import annotations

import random

import numpy as np
import pytest

from dunlin.backup.tree import lookup


@pytest.mark.parametrize("count", [0, 1, 2, 7, 1_000])
def test_every_node_is_found_and_no_other(count: int) -> None:
    nodes = np.array(random.Random(count).sample(range(1, 1 << 62), count), np.int64)
    table = lookup.make_table(lookup.node_slots(nodes, lookup.slots(count)))
    assert lookup.find_nodes(nodes, table, nodes).tolist() == list(range(count))
    assert lookup.find_nodes(nodes + 1, table, nodes).tolist() == [-1] * count
    cells = table.tolist()
    for row, node in enumerate(nodes.tolist()):
        assert lookup.node_slot(node, lookup.slots(count)) < lookup.slots(count)
        assert lookup.find_node(node, cells, nodes.tolist(), lookup.slots(count)) == row
        assert lookup.find_node(node + 1, cells, nodes.tolist(), lookup.slots(count)) == -1
    assert len(table) <= max(4, 2 * count + 2)
    assert sorted(cell for cell in cells if cell != lookup.EMPTY) == list(range(count))


def test_rows_with_one_slot_stand_behind_each_other() -> None:
    table = lookup.make_table(np.array([3, 3, 0, 3, 4], np.int64))
    assert table.tolist()[:7] == [2, lookup.EMPTY, lookup.EMPTY, 0, 1, 3, 4]
    assert table[-1] == lookup.EMPTY


def test_the_slot_of_a_name_depends_on_the_parent() -> None:
    assert len({lookup.name_slot(parent, b"name", 1 << 30) for parent in range(1, 50)}) == 49
    assert lookup.name_slot(7, b"etc", 1 << 20) == lookup.name_slot(7, b"etc", 1 << 21) // 2
