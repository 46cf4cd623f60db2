"""A service that knows no repositories needs nothing of what backups need, and pages say what commands say."""

from __future__ import annotations

import subprocess
import sys

from dunlin.jobs.restore import OVERWRITE
from dunlin.web.backup import browse, shares
from dunlin.web.backup.forms import ChangeWord, KindWord, OrderWord

SCRIPT = """
import sys
import dunlin.web.serve, dunlin.web.monitor.routes, dunlin.web.backup.routes, dunlin.web.backup.api
print([name for name in ("numpy", "flatbuffers", "cryptography", "zstandard", "pyfastcdc") if name in sys.modules])
"""


def test_pages_and_routes_load_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_words_are_those_of_the_parts_below() -> None:
    from dunlin.backup.retention import Policy
    from dunlin.backup.tree.diff import What
    from dunlin.backup.tree.paging import ORDERS
    from dunlin.web.backup.changes import WHATS
    from dunlin.web.backup.looks import KINDS

    assert tuple(browse.OVERWRITE) == OVERWRITE
    assert ORDERS == tuple(browse.WORDS) == OrderWord.__args__  # type: ignore[attr-defined]
    assert Policy._fields[:6] == shares.RULES
    assert {each.value for each in What} | {"moved"} == set(WHATS) == set(ChangeWord.__args__)  # type: ignore[attr-defined]
    assert {*KINDS.values(), "other"} == set(KindWord.__args__)  # type: ignore[attr-defined]
