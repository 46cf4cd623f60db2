"""``python -m bench [ROW ...]``: measure, print PASS or SHORT for every bar, keep the results as JSON."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from bench import docs, machine
from bench.context import CHECKOUT, Context, say
from bench.measure import Failed
from bench.results import RESULTS, Row, save
from bench.rows import ROWS


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"default: all of {', '.join(ROWS)}")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each program (default 5)")
    parser.add_argument("--quick", action="store_true", help="tiny trees, one pair: tries the harness; saves nothing")
    parser.add_argument("--nodes", type=int, default=20_000_000, help="of the tree of `index` (default 20,000,000)")
    parser.add_argument("--gib", type=float, default=4, help="of the files of `backup-large` (default 4)")
    parser.add_argument("--files", type=int, default=1_000_000, help="of `backup-memory` (default 1,000,000)")
    parser.add_argument("--dir", type=Path, default=Path("/dev/shm"), help="a tmpfs to work in (default /dev/shm)")
    parser.add_argument("--disk-dir", type=Path, default=Path("/var/tmp"), help="a real disk (default /var/tmp)")
    parser.add_argument("--dunlin", default=str(CHECKOUT / "dunlin"), help="the command to measure")
    parser.add_argument("--peers", action="store_true", help="only rsync and cp; saves nothing")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON goes")
    parser.add_argument("--write-docs", action="store_true", help="render docs/benchmarks.md; without rows, only that")
    chosen = parser.parse_args()
    for name in chosen.rows:
        if name not in ROWS:
            parser.error(f"no row {name!r}; there are {', '.join(ROWS)}")
    if not chosen.rows and not chosen.write_docs:
        chosen.rows = list(ROWS)
    return chosen


def tell(row: Row) -> None:
    """Print what a row found."""
    print(f"{row.name}: {row.title}")
    for check in row.checks:
        print(f"  {check.verdict or '-':5} {check.what}: {docs.measured(check)}  {check.bar}")
    for note in row.notes:
        print(f"        {note}")
    sys.stdout.flush()


def main() -> int:
    """Exit code 0 when every bar was reached, 3 when one was not, 2 when a row could not be measured."""
    chosen = arguments()
    work = Path(tempfile.mkdtemp(prefix="bench-", dir=chosen.dir))
    disk = Path(tempfile.mkdtemp(prefix="bench-", dir=chosen.disk_dir))
    pairs = 1 if chosen.quick else chosen.pairs
    context = Context(
        work, disk, pairs, chosen.quick, chosen.dunlin, chosen.peers, chosen.nodes, chosen.gib, chosen.files
    )
    short = failed = False
    try:
        for name in chosen.rows:
            say(f"{name} …")
            try:
                row = ROWS[name](context)
            except Failed as error:
                failed = True
                print(f"{name}: NOT MEASURED: {error}", flush=True)
                continue
            row.quick, row.machine = chosen.quick, machine.facts()
            tell(row)
            short |= any(check.passed is False for check in row.checks)
            if not chosen.quick and not chosen.peers:
                save(row, chosen.results)
    finally:
        for folder in (work, disk):
            shutil.rmtree(folder, ignore_errors=True)
    if chosen.write_docs:
        docs.PAGE.write_text(docs.render(chosen.results))
    return 2 if failed else 3 if short else 0


if __name__ == "__main__":
    os.umask(0o022)
    raise SystemExit(main())
