"""The command line: one file per command. Parse, call, print, exit code; nothing is decided here."""

import gc

# This runs before anything else of a `dunlin` process. Imports make objects by the ten thousand and hardly any garbage:
# to look for it among them takes some milliseconds of every start.
gc.set_threshold(100_000, 20, 20)
