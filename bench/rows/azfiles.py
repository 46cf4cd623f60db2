"""The row about listings of Azure Files: how many entries a second one core takes in."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable

from bench.context import CHECKOUT, Context, alternate
from bench.measure import Measured
from bench.results import Row, at_least
from bench.sharepages import FORMS, PAGE


def sharelist(context: Context) -> Row:
    """Entries per second of one process, with their times, etags, attributes and permission keys."""
    count = context.fewer(200_000, 10_000)
    row = Row("sharelist", f"listing of Azure Files: {count:,} entries in pages of {PAGE:,}, from memory, one core")
    seconds: dict[str, list[float]] = {}

    def parse(form: str) -> Callable[[], Measured]:
        def run() -> Measured:
            command = [sys.executable, "-m", "bench.sharepages", form, str(count)]
            measured = context.run(command, {"PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'src'}"})
            seconds.setdefault(form, []).append(float(measured.tail))
            return measured

        return run

    alternate(context, row, {f"dunlin, {form}": parse(form) for form in FORMS})
    for form, taken in seconds.items():
        rate = count / statistics.median(taken)
        row.checks.append(at_least(f"{form}: entries a second of processor time", rate, 100_000, "/s"))
    row.notes.append("pages are made up beforehand: what the network, TLS and the service take is not in it")
    return row
