"""A process of this program's own, started anew: where forking would not do."""

from __future__ import annotations

import os
import sys


def command(module: str, *words: object) -> list[str]:
    """What starts an interpreter like this one, which calls `main` of a module with these words."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    body = f"import sys; sys.path.insert(0, {root!r}); from {module} import main; main(sys.argv[1:])"
    # As isolated as we are, and never with the working directory on the path: a file there may be named `queue.py`.
    how = ["-I" if sys.flags.isolated else "-P"]
    if sys.pycache_prefix:
        how += ["-X", f"pycache_prefix={sys.pycache_prefix}"]
    return [sys.executable, *how, "-c", body, *map(str, words)]
