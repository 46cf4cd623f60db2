"""The emulator as a process of its own, for benchmarks: `python -m tests.emulators.azure_files [--entries N]`.

Prints a connection string and the name of a share with N files in its root, then serves until its input ends.
"""

from __future__ import annotations

import argparse
import sys

from tests.emulators.azure_files import azure_files
from tests.emulators.azure_files.names import ORDERS


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.emulators.azure_files")
    parser.add_argument("--port", type=int, default=0, help="0 = a free one")
    parser.add_argument("--order", choices=sorted(ORDERS), default="folded", help="of listings")
    parser.add_argument("--entries", type=int, default=0, help="files of 4 bytes in the share's root")
    given = parser.parse_args()
    with azure_files(port=given.port, order=given.order) as files:
        share = files.share()
        files.fill(share, "", (f"file {n:09d}" for n in range(given.entries)), data=b"1234")
        print(files.connection_string, share, sep="\n", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
