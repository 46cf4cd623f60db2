"""List everything below a URL in one process, and tell how long that took: ``python -m bench.walk URL``.

Facts are made for every key, as a sync needs them; start-up is not part of the time that is told. The login comes from
the environment: ``BENCH_LOGIN`` holds it as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time

from dunlin.stores.base import Walks, power
from dunlin.stores.login import Login
from dunlin.stores.open import Far, open_store


def main() -> None:
    """Print seconds and keys."""
    store = open_store(sys.argv[1], far=Far(Login(json.loads(os.environ["BENCH_LOGIN"]))))
    walks = power(store, Walks)
    assert walks is not None
    begun = time.perf_counter()
    keys = sum(map(len, walks.walk("")))
    print(time.perf_counter() - begun, keys)
    store.close()


if __name__ == "__main__":
    main()
