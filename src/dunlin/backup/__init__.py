"""KEEP: a repository of chunks, packs, the node tree and snapshots. Only this room may import numpy."""
