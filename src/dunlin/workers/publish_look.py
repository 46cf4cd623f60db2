"""What stands at the keys of a unit of a publish job, in few requests; and whether it is what the source has.

Theory. A unit has up to 250 files, mostly of one folder, whose keys lie in one directory. To look at each of them is a
request each; to list the directory is one request for a thousand names, but nobody knows how many names lie there.
So a listing is begun where there are `WORTH` keys or more, and broken off as soon as it has cost more requests than it
has answered questions: in a directory with millions of other keys that is after a page, and what was asked for in vain
is a request or two for a unit. Where the listing is in order, and nearly all are, what it has passed is known even
then: names before the last one seen that it did not bring are not there. All others are looked at one by one.

A directory of this machine is looked at name by name: that costs no requests.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence

from dunlin import hashing
from dunlin.errors import DunlinError, ErrorKind
from dunlin.model import IDENT, Entry, Facts, is_directory, is_file, join, sort_key
from dunlin.pace.bucket import Paces
from dunlin.stores.base import HasCaps, MakesDirs, Order, StatesDigests, Store, find_file, power
from dunlin.stores.buffers import Buffers
from dunlin.stores.objects.keys import path_of
from dunlin.transfer.stream import digest_of

PAGE = 1_000
"""Names that a listing brings with one request."""
WORTH = 8
"""Keys in one directory from which a listing is tried."""


def store_path(store: HasCaps, key: str) -> str:
    """The path that stands for a key: where directories are parts of names only, odd names are escaped (`keys`)."""
    return key if store.caps.directories else path_of(key)


class Keys:
    """What stands at some paths of a store; each is asked for once. Safe to use from many threads.

    Args:
        paths: that will be asked for. Nothing is asked before the first `find`... but for listings, begun here.
    """

    def __init__(self, store: Store, paths: Sequence[str]) -> None:
        self._store = store
        self._known: dict[str, Facts | None] = {}
        if not store.caps.far:
            return
        directories: dict[str, set[str]] = defaultdict(set)
        for path in paths:
            directory, _, name = path.rpartition("/")
            directories[directory].add(name)
        for directory, names in directories.items():
            if len(names) >= WORTH:
                # What cannot be listed is looked at key by key, and tells then what is wrong.
                with contextlib.suppress(DunlinError):
                    self._list(directory, names)

    def find(self, path: str) -> Entry | None:
        """The file at `path`; None where there is none. Raises what the store raises."""
        if path in self._known:
            facts = self._known[path]
            return None if facts is None else Entry(path, facts)
        return find_file(self._store, path)

    def _list(self, directory: str, names: set[str]) -> None:
        found: dict[str, Facts | None] = {}
        wanted = sorted(sort_key(name, False) for name in names)
        seen, last, ended, ordered = 0, b"", True, self._store.caps.order is Order.PROVEN
        try:
            for batch in self._store.list(directory):
                for name, facts in batch:
                    if name in names and is_file(facts):
                        found[name] = facts
                seen += len(batch)
                now = sort_key(batch[-1][0], is_directory(batch[-1][1]))
                ordered = ordered and now > last
                last = now
                answered = bisect_left(wanted, last) if ordered else len(found)
                if len(found) == len(names) or answered < seen // PAGE:
                    ended = False
                    break
        except DunlinError as error:
            if error.kind is not ErrorKind.NOT_FOUND or not directory:
                raise
        for name in names - found.keys():
            if ended or (ordered and sort_key(name, False) < last):
                found[name] = None
        self._known.update({join(directory, name): facts for name, facts in found.items()})


def make_parents(store: Store, path: str, made: set[str]) -> None:
    """Make the directories above `path`, the root too, where the store has such; `made`: those that are known."""
    directory = path.rpartition("/")[0]
    if not store.caps.directories or directory in made:
        return
    makes = power(store, MakesDirs)
    if makes is None:
        return
    above = ""
    if "" not in made:
        _make(makes, "")
        made.add("")
    for name in directory.split("/") if directory else ():
        above = join(above, name)
        if above not in made:
            _make(makes, above)
            made.add(above)


def _make(makes: MakesDirs, path: str) -> None:
    try:
        makes.make_directory(path)
    except DunlinError as error:
        if error.kind is not ErrorKind.EXISTS:
            raise
        reason = f"a file stands where the directory {path} should be"
        raise DunlinError("make the directory", path, ErrorKind.CLASH, reason) from error


def still_there(store: Store, kept: Entry) -> bool:
    """Whether a path holds what was put or found there before: by size, and by etag or inode where the store has such.

    Raises what the store raises.
    """
    have = find_file(store, kept.path)
    if have is None or have.size != kept.size:
        return False
    return not (have.facts[IDENT] and kept.facts[IDENT]) or have.facts[IDENT] == kept.facts[IDENT]


def same_content(source: Store, entry: Entry, target: Store, have: Entry, bucket: Paces) -> bool:
    """Whether both files hold the same bytes: by the checksum that the destination states, else by reading both.

    Raises VANISHED, CHANGED, and what the stores raise.
    """
    if entry.size != have.size:
        return False
    states = power(target, StatesDigests)
    told = states.stated_digest(have) if states is not None else None
    if told is None:
        return digest_of(source, entry, "blake3", bucket) == digest_of(target, have, "blake3", bucket)
    name, wanted = told
    hasher = hashing.stated(name)
    pool = Buffers(1 << 20, 2)
    for data in source.read(entry, into=pool):
        bucket.take(len(data))
        hasher.update(data)
        pool.give(data)
    return hasher.digest() == wanted
