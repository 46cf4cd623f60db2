"""dunlin: move, mirror, watch and back up very many files between any two places."""

__version__ = "0.1.0"
