"""What travels between the publisher and the workers can be read by many threads at once, from the first time on."""

from __future__ import annotations

import subprocess
import sys

import pytest

FIRST = """
import sys, threading
from dunlin.workers import publish_words as words

unit = words.PublishUnit(words.VERSION, "j", 1, 1, "p", "b", 1.0, 0.0, [], [], [])
outcome = words.UnitOutcome(words.VERSION, "j", 1, 1, "b", [])
read, body = {
    "unit": (words.unpack_unit, words.pack(unit)), "outcome": (words.unpack_outcome, words.pack(outcome)),
}[sys.argv[1]]
sys.setswitchinterval(1e-6)
together, found = threading.Barrier(8), []

def first():
    together.wait()
    found.append(read(body))

threads = [threading.Thread(target=first) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert found == [{"unit": unit, "outcome": outcome}[sys.argv[1]]] * 8
"""


@pytest.mark.parametrize("what", ["unit", "outcome"])
def test_the_first_ones_may_come_together(what: str) -> None:
    """Types that are compiled when they are first met ended the process here, in two of three attempts."""
    for _ in range(10):
        done = subprocess.run([sys.executable, "-c", FIRST, what], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
