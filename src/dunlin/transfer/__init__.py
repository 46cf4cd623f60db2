"""DO: operations become bytes moved, whole or not at all, hashed on the way."""

from dunlin.transfer.options import Options

__all__ = ["Options"]
