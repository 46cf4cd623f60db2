"""The command line: one file per command. Parse, call, print, exit code; nothing is decided here."""
