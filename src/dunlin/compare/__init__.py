"""SEE: two listings of one directory become differences, one window at a time."""

from dunlin.compare.listing import RUN, Side
from dunlin.compare.merge import merge

__all__ = ["RUN", "Side", "merge"]
