"""What stands for a whole listing: two listings with one fingerprint hold the same names, kinds and versions."""

from __future__ import annotations

import marshal
from collections.abc import Callable
from operator import itemgetter

from dunlin.compare.listing import Named
from dunlin.model import DIRECTORY_BITS, MODE, TYPE_BITS, Facts


def fingerprint(names: list[Named], version: Callable[[Facts], object]) -> bytes:
    """Bytes that differ when any name, kind, or version of a file in the listing differs.

    `version`: the facts of a file that count.
    """
    known = [(name, what[:1] if what[MODE] & TYPE_BITS == DIRECTORY_BITS else version(what)) for name, what in names]
    # A file and a directory of one name, as object stores hold them, stay in the order of the store.
    known.sort(key=itemgetter(0))
    return marshal.dumps(known, 2)
