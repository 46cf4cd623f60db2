"""Which backing file a kernel inode means.

The kernel names files by numbers that *we* hand out in lookups and that live until it forgets them. A node is
one backing inode (so hard links share a node); it remembers the names under which it was seen, and its path is
found by walking up, so that renaming a directory moves everything below it at no cost.
"""

from __future__ import annotations

import os
import stat
import threading
from dataclasses import dataclass, field

ROOT = 1
Key = tuple[int, int, int]  # device, inode, kind


@dataclass(slots=True, eq=False)
class Node:
    """One backing inode known to the kernel. ``names`` are ``(parent, name)``, the newest last."""

    id: int
    key: Key
    names: list[tuple[Node, bytes]] = field(default_factory=list)
    lookups: int = 0
    fds: list[int] = field(default_factory=list)


def key_of(st: os.stat_result) -> Key:
    """The identity of a backing file; the kind is part of it because inode numbers are used again."""
    return st.st_dev, st.st_ino, stat.S_IFMT(st.st_mode)


class Nodes:
    """The table of nodes; callers hold ``steady`` from looking at the backing files until the table tells of it.

    Two threads that each looked first and told later would tell in the wrong order: a name that one of them has just
    renamed would be entered again by the other, or a new file would be taken for the old one whose inode number the
    backing file system has given to it.
    """

    def __init__(self, backing: bytes) -> None:
        self._backing = backing
        self.steady = threading.RLock()
        self._root = Node(ROOT, key_of(os.stat(backing)), lookups=1)
        self._by_id = {ROOT: self._root}
        self._by_key = {self._root.key: self._root}
        self._by_name: dict[tuple[int, bytes], Node] = {}
        self._next = ROOT + 1

    def get(self, node_id: int) -> Node:
        """The node that the kernel means; KeyError if it was never handed out or is forgotten."""
        return self._by_id[node_id]

    def path(self, node: Node, name: bytes = b"") -> bytes:
        """The backing path of ``node`` (or of ``name`` in it); FileNotFoundError when it has no name any more."""
        parts = [name] if name else []
        while node is not self._root:
            if not node.names:
                raise FileNotFoundError(2, os.strerror(2))
            node, part = node.names[-1]
            parts.append(part)
        parts.append(self._backing)
        return b"/".join(reversed(parts))

    def relative(self, path: bytes) -> str:
        """A backing path as the tests write it: relative to the mount, without a leading slash."""
        return os.fsdecode(path[len(self._backing) + 1 :])

    def seen(self, parent: Node, name: bytes, st: os.stat_result) -> Node:
        """The node of a looked-up name, its kernel reference counted."""
        key = key_of(st)
        node = self._by_key.get(key)
        if node is None:
            node = Node(self._next, key)
            self._next += 1
            self._by_id[node.id] = node
            self._by_key[key] = node
        place = (parent.id, name)
        known = self._by_name.get(place)
        if known is not node:
            if known is not None:
                known.names.remove((parent, name))
            self._by_name[place] = node
            node.names.append((parent, name))
        node.lookups += 1
        return node

    def forget(self, node_id: int, count: int) -> None:
        """The kernel dropped ``count`` references."""
        node = self._by_id.get(node_id)
        if node is None or node is self._root:
            return
        node.lookups -= count
        if node.lookups > 0:
            return
        del self._by_id[node_id]
        if self._by_key.get(node.key) is node:
            del self._by_key[node.key]
        for parent, name in node.names:
            self._by_name.pop((parent.id, name), None)

    def removed(self, parent: Node, name: bytes, *, last: bool) -> None:
        """``name`` is gone; ``last`` = its inode too, whose number may now be given to another file."""
        self._drop(parent, name, last=last)

    def renamed(self, parent: Node, name: bytes, new_parent: Node, new_name: bytes, *, last: bool) -> None:
        """``name`` became ``new_name``; ``last`` = the file that was replaced lost its last name."""
        self._drop(new_parent, new_name, last=last)
        node = self._by_name.pop((parent.id, name), None)
        if node is not None:
            node.names.remove((parent, name))
            node.names.append((new_parent, new_name))
            self._by_name[(new_parent.id, new_name)] = node

    def _drop(self, parent: Node, name: bytes, *, last: bool) -> None:
        node = self._by_name.pop((parent.id, name), None)
        if node is None:
            return
        node.names.remove((parent, name))
        if last and self._by_key.get(node.key) is node:
            del self._by_key[node.key]
