"""What a tree holds, with facts and content, for tests that compare trees."""

from __future__ import annotations

import stat
from typing import Any

from dunlin.model import MODE, Facts, join

Held = dict[str, tuple[Facts, bytes]]


def everything(store: Any, directory: str = "") -> Held:
    """Each entry below a directory by its path: its facts, and its content (of a link: what it names)."""
    found: Held = {}
    for batch in store.list(directory):
        for name, facts in batch:
            path, content = join(directory, name), b""
            if stat.S_ISREG(facts[MODE]):
                content = b"".join(map(bytes, store.read(store.stat(path))))
            elif stat.S_ISLNK(facts[MODE]):
                content = store.read_link(path).encode("utf-8", "surrogateescape")
            elif stat.S_ISDIR(facts[MODE]):
                found |= everything(store, path)
            found[path] = facts, content
    return found
