"""What every row needs: where to work, how to call the programs, how often, and the alternation itself."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import Failed, Measured, remove, run
from bench.results import Row
from bench.trees import Tree, build

CHECKOUT = Path(__file__).resolve().parent.parent
Command = Callable[[Path, Path], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Context:
    """Settings of one call of the harness. ``work`` is on tmpfs, ``disk`` on a real disk; both go at the end."""

    work: Path
    disk: Path
    pairs: int
    quick: bool
    dunlin: str
    only_peers: bool = False
    nodes: int = 20_000_000
    gib: float = 4
    files: int = 1_000_000

    def tree(self, tree: Tree) -> Path:
        """The tree, made at most once per call of the harness."""
        return build(tree, self.work)

    def fewer(self, full: int, quick: int) -> int:
        """``full``, or ``quick`` when only the harness is tried."""
        return quick if self.quick else full

    def sync(self, *options: str) -> Command:
        """``dunlin sync -a`` with a state file of its own, blake3 as by default."""
        state = self.work / "state.db"

        def command(source: Path, destination: Path) -> list[str]:
            return [
                *shlex.split(self.dunlin), "sync", "-a", str(source), str(destination), "--state-db", str(state),
                *options,
            ]  # fmt: skip

        return command

    def forget(self) -> None:
        """Remove the state file, so that the next run is a first run."""
        for path in self.work.glob("state.db*"):
            path.unlink()

    def objects(self, source: str | Path, destination: str | Path, *options: str) -> list[str]:
        """``dunlin sync`` where one side is an object store: times are kept, as the peers do; blake3 as by default."""
        state = str(self.work / "state.db")
        return [*shlex.split(self.dunlin), "sync", str(source), str(destination), "--state-db", state, *options]

    def run(
        self,
        command: Sequence[str],
        login: Mapping[str, str] | None = None,
        *,
        expect: int = 0,
        watch: Callable[[int], None] | None = None,
    ) -> Measured:
        """One command in the checkout; `login` is added to its environment. `expect`, `watch`: see `measure.run`."""
        kept = {**environment(), **(login or {})}
        return run(command, cwd=CHECKOUT, env=kept, output=self.work / "output.txt", expect=expect, watch=watch)

    def told(self) -> dict[str, Any]:
        """What the last command that was run told with ``--json``: its last line that is an object. Raises Failed."""
        for line in reversed((self.work / "output.txt").read_text(errors="replace").splitlines()):
            # Two streams go to one file, so a line of the log may stand before the object or behind it.
            if (at := line.find('{"')) >= 0:
                return dict(json.JSONDecoder().raw_decode(line[at:])[0])
        raise Failed("the command was to print an object, and did not")


def environment() -> dict[str, str]:
    """The environment of every program: that of the caller, and dunlin's source for ``python -m dunlin``.

    Where the caller forbids Python to keep what it compiled, every start would be measured with a compilation.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": str(CHECKOUT / "src")}


def rsync(*options: str) -> Command:
    """``rsync -a`` of the contents of one directory into another."""
    return lambda source, destination: ["rsync", "-a", *options, f"{source}/", f"{destination}/"]


def cp(*options: str) -> Command:
    """``cp -a`` of the contents of one directory into another that does not exist."""
    return lambda source, destination: ["cp", "-a", *options, str(source), str(destination)]


def say(text: str) -> None:
    """Progress, for whoever waits."""
    print(text, file=sys.stderr, flush=True)


def alternate(
    context: Context,
    row: Row,
    programs: Mapping[str, Callable[[], Measured]],
    *,
    pairs: int | None = None,
    after: Callable[[str], None] = lambda name: None,
) -> None:
    """Run the programs in turn, the order reversed every other time, and keep every run.

    ``after`` checks and clears away what a program made; it is not timed.
    """
    wanted = {name: call for name, call in programs.items() if not (context.only_peers and name.startswith("dunlin"))}
    for number in range(pairs or context.pairs):
        order = list(wanted.items())
        for name, call in order if number % 2 == 0 else reversed(order):
            measured = call()
            after(name)
            row.runs.setdefault(name, []).append(measured.as_dict())
            say(
                f"  {row.name} {number + 1}/{pairs or context.pairs} {name}: {measured.wall:.2f} s wall, "
                f"{measured.cpu:.2f} s CPU, {measured.peak_pss / 1e6:.0f} MB"
            )


def prefault(context: Context, size: int) -> None:
    """Touch ``size`` bytes of tmpfs once, untimed.

    Memory that a virtual machine has never used must first be found by its host, which is several times slower
    than a copy; without this the first program to need it would be measured with the host's work.
    """
    path = context.work / "prefault"
    block = bytes(1 << 22)
    with open(path, "wb", buffering=0) as file:
        for _ in range(size // len(block)):
            file.write(block)
    remove(path)
